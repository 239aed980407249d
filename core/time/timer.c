/* SPDX-License-Identifier: MIT */
/* One pairing heap of timers for each CPU (Fredman, Sedgewick, Sleator, Tarjan 1986): arming costs
 * a comparison, taking the earliest a logarithmic number. A timer belongs to timer->queue and its
 * lock; it changes queues only when it is off every heap and no callback of it runs, so looking at
 * timer->queue again under the lock tells whether it is the right lock. */
#include "core/time/timer.h"

#include <stddef.h>

#include "core/sched/sched.h"
#include "hal.h"

void timer_queue_init(struct timer_queue *queue, unsigned cpu)
{
    spinlock_init(&queue->lock, LOCK_TIMER);
    queue->first = NULL;
    queue->running = NULL;
    queue->cpu = cpu;
}

void timer_init(struct timer *timer, void (*expired)(struct timer *))
{
    timer->expired = expired;
    timer->queue = NULL;
    timer->armed = false;
}

/* --- the heap
 * ---------------------------------------------------------------------------------------------------
 */

/* Two roots into one; at equal deadlines `left` comes first. */
static struct timer *merge(struct timer *left, struct timer *right)
{
    if (right->deadline < left->deadline) {
        struct timer *swap = left;
        left = right;
        right = swap;
    }
    right->previous = left;
    right->next = left->child;
    if (left->child != NULL) {
        left->child->previous = right;
    }
    left->child = right;
    return left;
}

/* The siblings from `first` on into one heap: pairs from left to right, then their sum from right
 * to left. */
static struct timer *merge_siblings(struct timer *first)
{
    struct timer *pairs = NULL;
    while (first != NULL) {
        struct timer *second = first->next;
        struct timer *rest = second != NULL ? second->next : NULL;
        struct timer *pair = second != NULL ? merge(first, second) : first;
        pair->next = pairs;
        pairs = pair;
        first = rest;
    }
    struct timer *root = NULL;
    while (pairs != NULL) {
        struct timer *next = pairs->next;
        root = root != NULL ? merge(root, pairs) : pairs;
        pairs = next;
    }
    if (root != NULL) {
        root->next = NULL;
        root->previous = NULL;
    }
    return root;
}

static void heap_insert(struct timer_queue *queue, struct timer *timer)
{
    timer->child = NULL;
    timer->next = NULL;
    timer->previous = NULL;
    timer->armed = true;
    queue->first = queue->first != NULL ? merge(queue->first, timer) : timer;
}

static void heap_remove(struct timer_queue *queue, struct timer *timer)
{
    struct timer *children = merge_siblings(timer->child);
    timer->armed = false;
    if (queue->first == timer) {
        queue->first = children;
        return;
    }
    if (timer->previous->child == timer) {
        timer->previous->child = timer->next;
    } else {
        timer->previous->next = timer->next;
    }
    if (timer->next != NULL) {
        timer->next->previous = timer->previous;
    }
    if (children != NULL) {
        queue->first = merge(queue->first, children);
    }
}

/* --- arming and disarming
 * ---------------------------------------------------------------------------------------- */

/* Locks and returns the timer's queue; NULL when it has never been armed. Interrupts masked. */
static struct timer_queue *lock_queue_of(struct timer *timer)
{
    for (;;) {
        struct timer_queue *queue = __atomic_load_n(&timer->queue, __ATOMIC_ACQUIRE);
        if (queue == NULL) {
            return NULL;
        }
        spin_lock(&queue->lock);
        if (__atomic_load_n(&timer->queue, __ATOMIC_RELAXED) == queue) {
            return queue;
        }
        spin_unlock(&queue->lock);
    }
}

/* Locks the queue that the timer is to be armed in, with the timer off the heap. Interrupts masked.
 */
static struct timer_queue *claim(struct timer *timer, struct timer_queue *mine)
{
    for (;;) {
        struct timer_queue *queue = lock_queue_of(timer);
        if (queue != NULL) {
            if (timer->armed) {
                heap_remove(queue, timer);
            }
            if (queue == mine || queue->running == timer) {
                return queue;
            }
            __atomic_store_n(&timer->queue, NULL, __ATOMIC_RELEASE);
            spin_unlock(&queue->lock);
        }
        spin_lock(&mine->lock);
        struct timer_queue *none = NULL;
        if (__atomic_compare_exchange_n(&timer->queue, &none, mine, false, __ATOMIC_ACQ_REL,
                                        __ATOMIC_RELAXED)) {
            return mine;
        }
        spin_unlock(&mine->lock); /* somebody else arms it at the same time */
    }
}

void timer_arm(struct timer *timer, uint64_t deadline)
{
    bool irq = hal_irq_save();
    struct timer_queue *mine = &this_cpu()->timers;
    struct timer_queue *queue = claim(timer, mine);
    timer->deadline = deadline;
    heap_insert(queue, timer);
    /* timer_run looks at the heap again by itself after a callback, and its caller arms the
     * hardware. */
    bool earliest = queue == mine && queue->first == timer && queue->running == NULL;
    spin_unlock(&queue->lock);
    if (earliest) {
        sched_update_timer();
    }
    hal_irq_restore(irq);
}

/* The one-shot timer stays armed for a deadline that is gone: one interrupt too many costs less
 * than setting it each time. */
static bool disarm(struct timer *timer, bool wait)
{
    bool irq = hal_irq_save();
    struct timer_queue *queue = lock_queue_of(timer);
    bool armed = false;
    if (queue != NULL) {
        armed = timer->armed;
        if (armed) {
            heap_remove(queue, timer);
        }
        bool running = queue->running == timer;
        spin_unlock(&queue->lock);
        while (wait && running) {
            hal_spin_hint();
            running = __atomic_load_n(&queue->running, __ATOMIC_ACQUIRE) == timer;
        }
    }
    hal_irq_restore(irq);
    return armed;
}

bool timer_cancel(struct timer *timer)
{
    return disarm(timer, true);
}

bool timer_disarm(struct timer *timer)
{
    return disarm(timer, false);
}

/* --- running
 * ----------------------------------------------------------------------------------------------------
 */

uint64_t timer_next(struct timer_queue *queue)
{
    if (__atomic_load_n(&queue->first, __ATOMIC_RELAXED) == NULL) {
        return UINT64_MAX; /* only this CPU adds timers, or its timer_run is on the way */
    }
    spin_lock(&queue->lock);
    uint64_t deadline = queue->first != NULL ? queue->first->deadline : UINT64_MAX;
    spin_unlock(&queue->lock);
    return deadline;
}

void timer_run(struct timer_queue *queue)
{
    spin_lock(&queue->lock);
    uint64_t now = queue->first != NULL ? hal_clock_monotonic() : 0;
    for (;;) {
        struct timer *timer = queue->first;
        if (timer == NULL) {
            break;
        }
        if (timer->deadline > now) {
            now = hal_clock_monotonic();
            if (timer->deadline > now) {
                break;
            }
        }
        heap_remove(queue, timer);
        queue->running = timer;
        spin_unlock(&queue->lock);
        timer->expired(timer);
        spin_lock(&queue->lock);
        __atomic_store_n(&queue->running, NULL, __ATOMIC_RELEASE);
    }
    spin_unlock(&queue->lock);
}
