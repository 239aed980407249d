/* SPDX-License-Identifier: MIT */
/* The options that `run` and `exec` share. */
#pragma once

#include "tools/options.h"
#include "tools/qemu.h"

struct run_settings {
    struct machine machine;
    long timeout; /* seconds; 0: none */
    bool debugger;
    bool dry_run;
    const char *files; /* --fs; NULL: none */
};

#define RUN_OPTION_COUNT 20
extern const struct option_spec run_specs[RUN_OPTION_COUNT];

/* Takes all options at the cursor. OPTION_END, OPTION_HELP, or OPTION_ERROR after a message. */
int run_options_parse(struct option_cursor *cursor, struct run_settings *settings);

/* Runs machine.image (machine_check has passed), or prints QEMU's command line. Returns the exit
 * status of the whole command. */
int run_machine(struct run_settings *settings);

/* Splits a guest command line into words as core/options.c does. 0, or -1 after a message. */
int parse_guest_line(const char *line, struct arguments *kernel_words,
                     struct arguments *program_words);
