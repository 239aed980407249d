/* SPDX-License-Identifier: MIT */
/* A one-time wake-up of a thread that waits in somebody's list, with no memory but the waiter's own
 * stack. The waker takes the ticket off the list and marks it (under the list's lock), then wakes
 * the thread (with no lock) and lets it go: a thread that sees the mark before its wake-up waits
 * for that, so neither its stack nor the thread itself can go away under the waker. */
#pragma once

#include <stdint.h>

#include "core/sched/sched.h"

enum wake_ticket_state { TICKET_WAITING, TICKET_CALLED, TICKET_DONE };

struct wake_ticket {
    struct thread *thread;
    uint32_t state; /* enum wake_ticket_state, atomic */
};

static inline void wake_ticket_init(struct wake_ticket *ticket)
{
    ticket->thread = current_thread();
    ticket->state = TICKET_WAITING;
}

/* Under the lock of the list that the ticket was on; it must be off the list now. */
static inline void wake_ticket_call(struct wake_ticket *ticket)
{
    __atomic_store_n(&ticket->state, TICKET_CALLED, __ATOMIC_RELEASE);
}

/* Once after wake_ticket_call, soon: the waiter may be spinning for it. The ticket is gone
 * afterwards. */
static inline void wake_ticket_finish(struct wake_ticket *ticket)
{
    thread_wake_telling(ticket->thread, &ticket->state, TICKET_DONE);
}

/* Whether it was called; then returns only after the waker has let go. */
static inline bool wake_ticket_called(struct wake_ticket *ticket)
{
    if (__atomic_load_n(&ticket->state, __ATOMIC_ACQUIRE) == TICKET_WAITING) {
        return false;
    }
    while (__atomic_load_n(&ticket->state, __ATOMIC_ACQUIRE) != TICKET_DONE) {
        hal_spin_hint();
    }
    return true;
}

/* Sleeps until the ticket is called (0), `deadline` (-ETIMEDOUT) or, with THREAD_SLEEPING_SIGNAL, a
 * signal (-EINTR). After an error the ticket is still on its list, or was called just now: the
 * caller takes the lock, then asks wake_ticket_called. */
int wake_ticket_wait(struct wake_ticket *ticket, enum thread_state state, uint64_t deadline);
