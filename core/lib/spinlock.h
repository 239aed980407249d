/* SPDX-License-Identifier: MIT */
/* Spinlocks. A lock that an interrupt handler takes is always taken with the _irqsave form; the
 * others may be taken plainly, since kernel code is never preempted. Locks are taken in ascending
 * order of their class; docs/locking.md lists the classes and debug builds (-DUNIGORNEL_LOCK_CHECK)
 * check the order. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "hal_irq.h"

/* The order: a lock may be taken while holding only locks of lower classes. */
enum lock_class {
    LOCK_CLASS_NONE, /* not checked */
    LOCK_FILE,       /* file tables, pipes, inodes */
    LOCK_EPOLL,
    LOCK_FUTEX,
    LOCK_THREADS, /* the table of threads */
    LOCK_SIGNAL,
    LOCK_CHANNEL, /* a 9P channel's queue: its end wakes who waits for answers */
    LOCK_NET,     /* lwIP and the inet sockets */
    LOCK_WAIT_QUEUE,
    LOCK_TIMER,
    LOCK_RUN_QUEUE,
    LOCK_DEVICE, /* a driver's queue */
    LOCK_MM,
    LOCK_CACHE, /* the page cache */
    LOCK_KMALLOC,
    LOCK_PAGE,
    LOCK_CONSOLE,
};

struct spinlock {
    uint32_t locked;
#ifdef UNIGORNEL_LOCK_CHECK
    enum lock_class lock_class;
#endif
};

#ifdef UNIGORNEL_LOCK_CHECK
#define SPINLOCK_INIT(lock_class_)                                                                 \
    {                                                                                              \
        0, lock_class_                                                                             \
    }
void lock_check_acquire(struct spinlock *lock);
void lock_check_release(struct spinlock *lock);
#else
#define SPINLOCK_INIT(lock_class_)                                                                 \
    {                                                                                              \
        0                                                                                          \
    }
static inline void lock_check_acquire(struct spinlock *lock)
{
    (void)lock;
}
static inline void lock_check_release(struct spinlock *lock)
{
    (void)lock;
}
#endif

static inline void spinlock_init(struct spinlock *lock, enum lock_class lock_class)
{
    lock->locked = 0;
#ifdef UNIGORNEL_LOCK_CHECK
    lock->lock_class = lock_class;
#else
    (void)lock_class;
#endif
}

static inline bool spin_try_lock(struct spinlock *lock)
{
    if (__atomic_exchange_n(&lock->locked, 1, __ATOMIC_ACQUIRE) != 0) {
        return false;
    }
    lock_check_acquire(lock);
    return true;
}

static inline void spin_lock(struct spinlock *lock)
{
    while (__atomic_exchange_n(&lock->locked, 1, __ATOMIC_ACQUIRE) != 0) {
        while (__atomic_load_n(&lock->locked, __ATOMIC_RELAXED) != 0) {
            hal_spin_hint();
        }
    }
    lock_check_acquire(lock);
}

static inline void spin_unlock(struct spinlock *lock)
{
    lock_check_release(lock);
    __atomic_store_n(&lock->locked, 0, __ATOMIC_RELEASE);
}

static inline bool spin_lock_irqsave(struct spinlock *lock)
{
    bool irq = hal_irq_save();
    spin_lock(lock);
    return irq;
}

static inline void spin_unlock_irqrestore(struct spinlock *lock, bool irq)
{
    spin_unlock(lock);
    hal_irq_restore(irq);
}
