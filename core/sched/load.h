/* SPDX-License-Identifier: MIT */
/* How much the CPUs have to do, for /proc and sysinfo(2). The kernel for programs that open no
 * files takes no averages (core/fs/absent.c). */
#pragma once

#include <stdint.h>

/* How long a CPU has idled since boot, up to `now`; ns. Any context. */
uint64_t cpu_idle_time(unsigned id, uint64_t now);

/* How many threads run, or wait for a CPU. Any context. */
unsigned cpu_active_threads(void);

#define LOAD_ONE 65536u /* one thread, in averages */

/* Begins to take averages of the number of threads that run or wait, over 1, 5 and 15 minutes.
 * Once. */
void load_start(void);

/* Any context. */
void load_averages(uint64_t averages[3]);

/* The arithmetic: five seconds have passed, in which `active` threads (in 1/65536) ran or waited.
 */
void load_step(uint64_t averages[3], uint64_t active);
