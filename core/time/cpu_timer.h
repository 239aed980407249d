/* SPDX-License-Identifier: MIT */
/* Timers on CPU time: of one thread, or of the whole process. They are looked at by the one-shot
 * timer of the CPU that the thread runs on, and cost the scheduler one comparison while there are
 * none. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "core/sched/sched.h"

struct cpu_timer {
    struct cpu_timer
        *next; /* of the same thread, or of the process; this and all below: cpu_timer.c's lock */
    struct thread *thread; /* NULL: on the process's time */
    uint64_t expires;      /* CPU time, ns, on the scale of cpu_timer_time */
    uint64_t interval;     /* 0: once */
    /* Interrupt context, no lock held; `overrun`: how many further expiries passed unseen. */
    void (*expired)(struct cpu_timer *timer, uint32_t overrun);
    bool armed, running;
};

extern bool cpu_timer_process_active; /* some timer on the process's time is armed; atomic */

void cpu_timer_init(struct cpu_timer *timer, void (*expired)(struct cpu_timer *, uint32_t));

/* Arms a timer that is not armed. `thread` NULL: on the process's time; else the caller makes sure
 * that it exists (thread_with). */
void cpu_timer_arm(struct cpu_timer *timer, struct thread *thread, uint64_t expires,
                   uint64_t interval);

/* When it returns the timer is not armed and its callback does not run. Not from a callback. */
void cpu_timer_cancel(struct cpu_timer *timer);

/* CPU time until it expires, 0: not armed; and its interval. */
uint64_t cpu_timer_left(struct cpu_timer *timer, uint64_t *interval);

/* The scale of `expires`: the thread's CPU time, or what timers on the process's time (NULL) count.
 */
uint64_t cpu_timer_time(struct thread *thread);

/* CPU time of a thread, of all threads that there are and were. */
uint64_t thread_cpu_time(const struct thread *thread);
uint64_t process_cpu_time(void);

/* The thread ends: its timers are disarmed, its time stays the process's. */
void cpu_timer_thread_end(struct thread *thread);

/* --- for the scheduler, interrupts masked
 * --------------------------------------------------------------------------- */

void cpu_timer_account_process(struct thread *thread);
uint64_t cpu_timer_deadline(struct thread *thread, uint64_t now);
void cpu_timer_run(struct thread *thread);

static inline bool cpu_timer_active(const struct thread *thread)
{
    return __builtin_expect(__atomic_load_n(&thread->cpu_timers, __ATOMIC_RELAXED) != NULL ||
                                __atomic_load_n(&cpu_timer_process_active, __ATOMIC_RELAXED),
                            0);
}

/* The thread's run_ns is up to date. */
static inline void cpu_timer_account(struct thread *thread)
{
    if (cpu_timer_active(thread)) {
        cpu_timer_account_process(thread);
    }
}

/* When (monotonic ns) cpu_timer_tick is due if `thread` runs on from `now`; UINT64_MAX: never. */
static inline uint64_t cpu_timer_next(struct thread *thread, uint64_t now)
{
    return cpu_timer_active(thread) ? cpu_timer_deadline(thread, now) : UINT64_MAX;
}

/* The CPU's one-shot timer has expired while `thread` runs there, whose time is accounted. */
static inline void cpu_timer_tick(struct thread *thread)
{
    if (cpu_timer_active(thread)) {
        cpu_timer_run(thread);
    }
}
