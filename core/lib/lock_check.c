/* SPDX-License-Identifier: MIT */
/* The check of the order of spinlocks (docs/locking.md), in builds with -DLOCK_CHECK=ON. Each CPU
 * has the list of locks it holds; interrupts are masked while it changes. An interrupt handler's
 * locks come on top of those of the code it interrupted, since it may wait for another CPU while
 * that code cannot go on. */
#include "core/lib/log.h"
#include "core/lib/spinlock.h"
#include "hal.h"

#ifdef UNIGORNEL_LOCK_CHECK

#define MAX_HELD 16

static struct {
    struct spinlock *locks[MAX_HELD];
    unsigned count;
} held[HAL_MAX_CPUS];

/* Two locks of one class are taken in the order of their addresses. */
static bool in_order(const struct spinlock *first, const struct spinlock *second)
{
    return first->lock_class < second->lock_class ||
           (first->lock_class == second->lock_class && first < second);
}

void lock_check_acquire(struct spinlock *lock)
{
    if (lock->lock_class == LOCK_CLASS_NONE) {
        return;
    }
    bool irq = hal_irq_save();
    unsigned cpu = hal_this_cpu()->id;
    for (unsigned i = 0; i < held[cpu].count; i++) {
        if (!in_order(held[cpu].locks[i], lock)) {
            panic("lock of class %d taken while one of class %d is held", lock->lock_class,
                  held[cpu].locks[i]->lock_class);
        }
    }
    if (held[cpu].count == MAX_HELD) {
        panic("more than %d spinlocks held", MAX_HELD);
    }
    held[cpu].locks[held[cpu].count++] = lock;
    hal_irq_restore(irq);
}

void lock_check_release(struct spinlock *lock)
{
    if (lock->lock_class == LOCK_CLASS_NONE) {
        return;
    }
    bool irq = hal_irq_save();
    unsigned cpu = hal_this_cpu()->id;
    for (unsigned i = held[cpu].count; i-- > 0;) {
        if (held[cpu].locks[i] == lock) {
            held[cpu].locks[i] = held[cpu].locks[--held[cpu].count];
            break;
        }
    }
    hal_irq_restore(irq);
}

#endif
