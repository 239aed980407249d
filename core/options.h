/* SPDX-License-Identifier: MIT */
/* The guest's command line (DESIGN 7): words for the kernel before `--`, the program's arguments
 * after it. Words are separated by blanks; a word may hold double-quoted parts, and a backslash
 * takes the next byte as it is. */
#pragma once

#include <stdbool.h>

#define OPTIONS_MAX_WORDS 512

struct options {
    bool hostlink;        /* goruntime/hostlink.h */
    bool hostlink_merged; /* standard output and error are one file on the other side */
    bool probe;           /* end once the machine has shown that it works, with PROBE_STATUS */
    const char *cwd;      /* "/" unless given */
    const char *program;  /* exe=: where the program's own file lies; NULL: nowhere */
    const char *hostname; /* "unigornel" unless given */
    const char *root;     /* NULL: the image's own file system, or none */
    const char
        *crash; /* "panic", "fault", "overflow": a broken kernel, for the tests of the report */
    unsigned env_count, argument_count, mount_count;
    const char *mounts[OPTIONS_MAX_WORDS];    /* mount= */
    const char *env[OPTIONS_MAX_WORDS];       /* NAME=VALUE */
    const char *arguments[OPTIONS_MAX_WORDS]; /* argv[1] on */
};

extern struct options options;

/* Reads the command line into `options`; sets log_level. What is wrong ends the machine with one
 * line that says so. */
void options_parse(const char *command_line);

/* Ends the machine because of what the user gave us: one line on the error stream, exit status 64.
 */
_Noreturn void options_fail(const char *format, ...) __attribute__((format(printf, 1, 2)));
