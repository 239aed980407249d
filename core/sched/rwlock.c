/* SPDX-License-Identifier: MIT */
/* Sleeping reader-writer lock. `count` changes by compare-and-swap; `lock` guards the list of
 * waiters, who get the lock handed over in order: the first, and with a reader all readers that
 * directly follow it. Somebody who waits is announced in `writers_waiting` before `count` is looked
 * at for the last time, and whoever brings `count` to 0 looks at that afterwards, so one of the two
 * sees the other. */
#include "core/sched/sched.h"
#include "core/sched/wake_ticket.h"

struct rwlock_waiter {
    struct list node;
    bool writer;
    struct wake_ticket ticket;
};

void rwlock_init(struct rwlock *rwlock)
{
    rwlock->count = 0;
    rwlock->writers_waiting = 0;
    spinlock_init(&rwlock->lock, LOCK_WAIT_QUEUE);
    list_init(&rwlock->waiters);
}

static bool try_take(struct rwlock *rwlock, bool writer)
{
    int32_t count = __atomic_load_n(&rwlock->count, __ATOMIC_SEQ_CST);
    while (writer ? count == 0 : count >= 0) {
        int32_t wanted = writer ? -1 : count + 1;
        if (__atomic_compare_exchange_n(&rwlock->count, &count, wanted, false, __ATOMIC_SEQ_CST,
                                        __ATOMIC_SEQ_CST)) {
            return true;
        }
    }
    return false;
}

/* Hands the lock to those at the front who can have it. Takes rwlock->lock. */
static void hand_over(struct rwlock *rwlock)
{
    struct list called = LIST_INIT(called);
    spin_lock(&rwlock->lock);
    while (!list_empty(&rwlock->waiters)) {
        struct rwlock_waiter *first = list_entry(rwlock->waiters.next, struct rwlock_waiter, node);
        if (!try_take(rwlock, first->writer)) {
            break;
        }
        list_remove(&first->node);
        list_push_back(&called, &first->node);
        wake_ticket_call(&first->ticket);
        __atomic_sub_fetch(&rwlock->writers_waiting, 1, __ATOMIC_SEQ_CST);
        if (first->writer) {
            break;
        }
    }
    spin_unlock(&rwlock->lock);
    struct list *node;
    while ((node = list_pop_front(&called)) != NULL) {
        wake_ticket_finish(&list_entry(node, struct rwlock_waiter, node)->ticket);
    }
}

static void lock_slowly(struct rwlock *rwlock, bool writer)
{
    struct rwlock_waiter waiter = {.writer = writer};
    wake_ticket_init(&waiter.ticket);
    spin_lock(&rwlock->lock);
    __atomic_add_fetch(&rwlock->writers_waiting, 1, __ATOMIC_SEQ_CST);
    if (list_empty(&rwlock->waiters) && try_take(rwlock, writer)) {
        __atomic_sub_fetch(&rwlock->writers_waiting, 1, __ATOMIC_SEQ_CST);
        spin_unlock(&rwlock->lock);
        return;
    }
    list_push_back(&rwlock->waiters, &waiter.node);
    spin_unlock(&rwlock->lock);
    wake_ticket_wait(&waiter.ticket, THREAD_SLEEPING, UINT64_MAX);
}

static void announce_free(struct rwlock *rwlock)
{
    if (__atomic_load_n(&rwlock->writers_waiting, __ATOMIC_SEQ_CST) != 0) {
        hand_over(rwlock);
    }
}

void rwlock_read_lock(struct rwlock *rwlock)
{
    if (__atomic_load_n(&rwlock->writers_waiting, __ATOMIC_RELAXED) != 0 ||
        !try_take(rwlock, false)) {
        lock_slowly(rwlock, false);
    }
}

void rwlock_read_unlock(struct rwlock *rwlock)
{
    if (__atomic_sub_fetch(&rwlock->count, 1, __ATOMIC_SEQ_CST) == 0) {
        announce_free(rwlock);
    }
}

void rwlock_write_lock(struct rwlock *rwlock)
{
    if (__atomic_load_n(&rwlock->writers_waiting, __ATOMIC_RELAXED) != 0 ||
        !try_take(rwlock, true)) {
        lock_slowly(rwlock, true);
    }
}

void rwlock_write_unlock(struct rwlock *rwlock)
{
    __atomic_store_n(&rwlock->count, 0, __ATOMIC_SEQ_CST);
    announce_free(rwlock);
}
