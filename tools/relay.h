/* SPDX-License-Identifier: MIT */
/* QEMU as a child process: starts it, relays the program's standard streams by
 * goruntime/hostlink.h, and finds the exit status. */
#pragma once

#include "tools/qemu.h"

struct relay_options {
    long timeout;          /* seconds; 0: none */
    char *const *debugger; /* a command to run in the foreground meanwhile, which then owns the
                              terminal; or NULL */
};

/* Runs the machine and returns the exit status of the whole command: the program's own, or one of
 * STATUS_* after a message. */
int relay_run(const struct machine *machine, const struct relay_options *options);
