/* SPDX-License-Identifier: MIT */
/* Timers that send signals: timer_create(2) and setitimer(2). */
#pragma once

#include <stdint.h>

/* A SI_TIMER signal of timer `id` was taken from its queue with this overrun, for timer_getoverrun.
 * Thread context, no spinlock held. */
void posix_timer_delivered(int32_t id, int32_t overrun);

/* Expiries closer together than this only count as overrun, so that no interval can keep a CPU from
 * the program. */
#define INTERVAL_MIN_NS 20000ull

/* The first of deadline + n * interval (n >= 1) after `now`, and how many were passed over.
 * `interval` is not 0. */
static inline uint64_t interval_next(uint64_t deadline, uint64_t now, uint64_t interval,
                                     uint32_t *overrun)
{
    uint64_t past = now > deadline ? now - deadline : 0;
    if (interval < INTERVAL_MIN_NS) {
        past += INTERVAL_MIN_NS;
    }
    uint64_t missed = past / interval;
    *overrun = missed < INT32_MAX ? (uint32_t)missed : INT32_MAX;
    return deadline + (missed + 1) * interval;
}
