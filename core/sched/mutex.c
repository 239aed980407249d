/* SPDX-License-Identifier: MIT */
/* Sleeping mutex: one compare-and-swap when nobody waits, else handed to the first waiter. `lock`
 * guards the list of waiters; state 2 sends unlock to it. */
#include "core/sched/sched.h"
#include "core/sched/wake_ticket.h"

enum { MUTEX_FREE, MUTEX_HELD, MUTEX_CONTENDED };

struct mutex_waiter {
    struct list node;
    struct wake_ticket ticket;
};

void mutex_init(struct mutex *mutex)
{
    mutex->state = MUTEX_FREE;
    spinlock_init(&mutex->lock, LOCK_WAIT_QUEUE);
    list_init(&mutex->waiters);
}

bool mutex_try_lock(struct mutex *mutex)
{
    uint32_t expected = MUTEX_FREE;
    return __atomic_compare_exchange_n(&mutex->state, &expected, MUTEX_HELD, false,
                                       __ATOMIC_ACQUIRE, __ATOMIC_RELAXED);
}

void mutex_lock(struct mutex *mutex)
{
    if (mutex_try_lock(mutex)) {
        return;
    }
    struct mutex_waiter waiter;
    wake_ticket_init(&waiter.ticket);
    spin_lock(&mutex->lock);
    if (__atomic_exchange_n(&mutex->state, MUTEX_CONTENDED, __ATOMIC_ACQUIRE) == MUTEX_FREE) {
        /* Freed meanwhile, so nobody waits: ours. The next unlock finds an empty list. */
        spin_unlock(&mutex->lock);
        return;
    }
    list_push_back(&mutex->waiters, &waiter.node);
    spin_unlock(&mutex->lock);
    wake_ticket_wait(&waiter.ticket, THREAD_SLEEPING, UINT64_MAX);
}

void mutex_unlock(struct mutex *mutex)
{
    uint32_t expected = MUTEX_HELD;
    if (__atomic_compare_exchange_n(&mutex->state, &expected, MUTEX_FREE, false, __ATOMIC_RELEASE,
                                    __ATOMIC_RELAXED)) {
        return;
    }
    spin_lock(&mutex->lock);
    struct list *node = list_pop_front(&mutex->waiters);
    if (node == NULL) {
        __atomic_store_n(&mutex->state, MUTEX_FREE, __ATOMIC_RELEASE);
        spin_unlock(&mutex->lock);
        return;
    }
    struct mutex_waiter *next = list_entry(node, struct mutex_waiter, node);
    wake_ticket_call(&next->ticket);
    spin_unlock(&mutex->lock);
    wake_ticket_finish(&next->ticket);
}
