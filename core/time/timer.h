/* SPDX-License-Identifier: MIT */
/* One-shot timers, kept in a heap on the CPU that armed them and run there in interrupt context. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "core/lib/spinlock.h"

struct timer {
    uint64_t deadline; /* monotonic ns */
    void (*expired)(
        struct timer *timer); /* interrupt context, no lock held; may arm the timer again */
    struct timer *child, *next,
        *previous; /* pairing heap; `previous` is the parent for a first child; timer_queue lock */
    struct timer_queue
        *queue; /* whose lock guards it: where it is armed, runs, or was last; NULL: never armed */
    bool armed; /* in the heap; timer_queue lock */
};

struct timer_queue {
    struct spinlock lock;
    struct timer *first;   /* the earliest: root of the heap */
    struct timer *running; /* whose callback runs now */
    unsigned cpu;
};

void timer_queue_init(struct timer_queue *queue, unsigned cpu);

void timer_init(struct timer *timer, void (*expired)(struct timer *));

/* Arms (or moves) the timer on this CPU; while its callback runs on another one, on that. Any
 * context. */
void timer_arm(struct timer *timer, uint64_t deadline);

/* Disarms; when it returns, the callback does not run and will not, unless it arms itself (then
 * false and it may run again). Returns whether it was armed. Not from the timer's own callback, nor
 * with a lock held that the callback takes. */
bool timer_cancel(struct timer *timer);

/* Disarms without waiting for a callback that runs now. Returns whether it was armed. Any context.
 */
bool timer_disarm(struct timer *timer);

/* The earliest deadline on this CPU or UINT64_MAX. Interrupts masked. */
uint64_t timer_next(struct timer_queue *queue);

/* Runs the callbacks of all timers due by now. Interrupts masked. The caller then arms the one-shot
 * timer. */
void timer_run(struct timer_queue *queue);
