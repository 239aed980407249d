/* SPDX-License-Identifier: MIT */
/* The system calls' view of time: clock ids, timespec conversion. */
#pragma once

#include <stdint.h>

#define NS_PER_SECOND 1000000000ull

struct timespec64 {
    int64_t seconds;
    int64_t nanoseconds;
};

/* The time of a Linux clock id (CLOCK_REALTIME, CLOCK_MONOTONIC, _RAW, _COARSE, BOOTTIME, TAI,
 * PROCESS_CPUTIME_ID, THREAD_CPUTIME_ID and thread clocks): -EINVAL. */
int clock_get(int clock_id, uint64_t *ns);

/* Nanoseconds that CLOCK_REALTIME, CLOCK_TAI or CLOCK_BOOTTIME (also _ALARM) is ahead of the
 * monotonic clock; 0 for others. */
uint64_t clock_offset(int clock_id);

/* Wall-clock ns since 1970. */
uint64_t clock_wall(void);

/* Reads a timespec of the program and turns it into ns (saturating): -EFAULT, -EINVAL. */
int timespec_from_user(uintptr_t address, uint64_t *ns);
int timespec_to_user(uintptr_t address, uint64_t ns);

/* Absolute monotonic deadline `ns` from now, saturating at UINT64_MAX. */
uint64_t deadline_after(uint64_t ns);
