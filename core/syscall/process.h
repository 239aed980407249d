/* SPDX-License-Identifier: MIT */
/* The one process: its ids, its name, its end. */
#pragma once

#include <stdint.h>

#define PROCESS_ID 1

/* Ends everything: other threads stop, what was sent goes out (net_finish), the machine goes off
 * with `status` (0-255) as the program's exit status; process_kill gives 128 + signal, as a shell
 * sees it, with a line on the error stream that a shell would print ("Segmentation fault"). */
_Noreturn void process_exit(int status);
_Noreturn void process_kill(int signal);

/* The limits of a resource (RLIMIT_); ~0: none. */
void process_limit(unsigned resource, uint64_t *soft, uint64_t *hard);
