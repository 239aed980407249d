/* SPDX-License-Identifier: MIT */
/* Which CPU time a clock id names: CLOCK_PROCESS_CPUTIME_ID, CLOCK_THREAD_CPUTIME_ID, and the ids
 * that clock_getcpuclockid(3) and pthread_getcpuclockid(3) make (Linux,
 * include/linux/posix-timers_types.h). */
#pragma once

#include <stdbool.h>
#include <stdint.h>

struct cpu_clock {
    bool of_thread; /* else of the process */
    int32_t tid;
};

/* -EINVAL: not a CPU-time clock, or of another process. A tid is not looked up. */
int cpu_clock_parse(int clock_id, struct cpu_clock *clock);
