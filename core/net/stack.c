/* SPDX-License-Identifier: MIT */
/* The network lock and lwIP's environment. One spinlock guards all of lwIP. Threads take it with
 * interrupts enabled, so an interrupt (a device's or the timer's) may find it held, even by the
 * code that it interrupted. It then only leaves a note in `work`, and the holder does the work.
 *
 * No note is lost: an interrupt sets its bit and then tries the lock; a holder frees the lock and
 * then reads the bits. Both are separated by a full barrier, so in the one order of these four
 * accesses that all CPUs see either the interrupt finds the lock free, or the holder finds the bit.
 * When the holder then finds the lock taken again, the new holder reads the bits in its turn. */
#include "core/net/stack.h"

#include "core/lib/list.h"
#include "core/lib/random.h"
#include "core/lib/spinlock.h"
#include "core/lib/string.h"
#include "core/mm/kmalloc.h"
#include "core/mm/page.h"
#include "core/time/timer.h"
#include "hal.h"
#include "lwip/sys.h"

#define PAUSE_NS 20000

static struct spinlock lock = SPINLOCK_INIT(LOCK_NET);
static uint32_t work; /* NET_WORK_ bits; atomic */

/* A thread in net_wait. */
struct waiter {
    struct list node; /* in `waiters` */
    bool (*condition)(void *);
    void *context;
    struct thread *thread;
    bool met; /* read by anybody */
};

static struct list waiters = LIST_INIT(waiters); /* lock */

void net_lock(void)
{
    spin_lock(&lock);
    net_timers_wake();
}

/* The devices or loopback have had their turn and there is more: it goes on after a pause in which
 * threads run.
 */
static void go_on(struct timer *unused)
{
    (void)unused;
    net_request(NET_WORK_DEVICES);
}

static struct timer pause = {.expired = go_on};

static void wake_waiters(void)
{
    list_for_each (node, &waiters) {
        struct waiter *waiter = list_entry(node, struct waiter, node);
        if (!waiter->met && waiter->condition(waiter->context)) {
            waiter->met = true;
            thread_wake(waiter->thread);
        }
    }
}

static void run(void)
{
    bool more = false;
    uint32_t bits = __atomic_exchange_n(&work, 0, __ATOMIC_SEQ_CST);
    if (bits != 0) {
        if ((bits & NET_WORK_TIMERS) != 0) {
            net_devices_reclaim();
        }
        if ((bits & NET_WORK_DEVICES) != 0) {
            net_timers_wake();
        }
        more = net_devices_poll();
        if ((bits & NET_WORK_TIMERS) != 0) {
            net_timers_run();
        }
    }
    if (core_net_loopback) {
        more |= net_loopback_poll();
    }
    if (net_devices_to_flush) {
        net_devices_flush();
    }
    if (net_timers_changed) {
        net_timers_arm();
    }
    if (!list_empty(&waiters)) {
        wake_waiters();
    }
    if (more) {
        timer_arm(&pause, hal_clock_monotonic() + PAUSE_NS);
    }
}

void net_unlock(void)
{
    do {
        run();
        spin_unlock(&lock);
        __atomic_thread_fence(__ATOMIC_SEQ_CST);
    } while (__atomic_load_n(&work, __ATOMIC_RELAXED) != 0 && spin_try_lock(&lock));
}

int net_wait(enum thread_state how, uint64_t deadline, bool (*condition)(void *), void *context)
{
    struct waiter waiter = {.condition = condition, .context = context, .thread = current_thread()};
    net_lock();
    list_push_back(&waiters, &waiter.node);
    net_unlock(); /* which looks at the condition */
    int result = 0;
    for (;;) {
        thread_prepare_sleep(how);
        if (result != 0 || __atomic_load_n(&waiter.met, __ATOMIC_RELAXED)) {
            thread_cancel_sleep();
            break;
        }
        result = thread_sleep(deadline);
    }
    net_lock();
    list_remove(&waiter.node);
    net_unlock();
    return waiter.met ? 0 : result;
}

void net_request(enum net_work bit)
{
    __atomic_fetch_or(&work, bit, __ATOMIC_SEQ_CST);
    if (spin_try_lock(&lock)) {
        net_unlock();
    }
}

/* The network stops taking memory while a part of it is still there for the program's pages. */
bool net_memory_is_short(void)
{
    return !page_is_plentiful(0) && page_free_count() < page_total() / 16;
}

void *core_net_malloc(size_t size)
{
    bool enough = page_is_plentiful(0) || page_free_count() >= page_total() / 32;
    return enough ? kmalloc(size) : NULL;
}

void *core_net_calloc(size_t count, size_t size)
{
    void *memory = core_net_malloc(count * size); /* lwIP's counts are 1 */
    if (memory != NULL) {
        memset(memory, 0, count * size);
    }
    return memory;
}

void core_net_free(void *pointer)
{
    kfree(pointer);
}

uint32_t core_net_random(void)
{
    return (uint32_t)random_u64();
}

u32_t sys_now(void)
{
    return (u32_t)(hal_clock_monotonic() / 1000000);
}
