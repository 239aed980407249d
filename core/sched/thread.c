/* SPDX-License-Identifier: MIT */
/* Threads: their stacks, their ids, their beginning and end. threads.lock guards the table and the
 * cache of stacks. */
#include <linux/errno.h>

#include "core/lib/log.h"
#include "core/lib/string.h"
#include "core/mm/kmalloc.h"
#include "core/mm/page.h"
#include "core/sched/sched.h"
#include "core/sched/sched_internal.h"
#include "core/signal/signal.h"

#define BUCKETS 64
#define TID_MAX 4194304 /* as Linux's pid_max on 64 bits */

/* A stack's place in the kernel map: the stack itself above an unmapped gap. */
#define STACK_SLOT_SIZE (2ul * HAL_KERNEL_STACK_SIZE)

static struct {
    struct spinlock lock;
    struct list buckets[BUCKETS]; /* of struct thread by all_node */
    unsigned count;
    int32_t next_tid;
    uint32_t started;      /* since boot */
    uintptr_t free_stacks; /* tops of unused stacks, each linked through the word below its top; 0:
                              none */
    uintptr_t next_slot;
    bool stopping; /* the process is ending */
} threads = {
    .lock = SPINLOCK_INIT(LOCK_THREADS),
    .next_tid = 1,
    .next_slot = KERNEL_MAP_BASE,
};

static struct list *bucket(int32_t tid)
{
    struct list *list = &threads.buckets[(unsigned)tid % BUCKETS];
    if (list->next == NULL) {
        list_init(list);
    }
    return list;
}

/* --- stacks
 * -------------------------------------------------------------------------------------------------------
 */

static void stack_free(uintptr_t top)
{
    bool irq = spin_lock_irqsave(&threads.lock);
    ((uintptr_t *)top)[-1] = threads.free_stacks;
    threads.free_stacks = top;
    spin_unlock_irqrestore(&threads.lock, irq);
}

/* Stacks of ended threads stay mapped for the next ones. */
static uintptr_t stack_reuse(uintptr_t *slot)
{
    bool irq = spin_lock_irqsave(&threads.lock);
    uintptr_t top = threads.free_stacks;
    if (top != 0) {
        threads.free_stacks = ((uintptr_t *)top)[-1];
    } else {
        *slot = threads.next_slot;
        threads.next_slot += STACK_SLOT_SIZE;
    }
    spin_unlock_irqrestore(&threads.lock, irq);
    return top;
}

static void release_page(uint64_t physical, unsigned order, void *context)
{
    (void)context;
    page_free(physical, order);
}

/* Undoes a mapping that memory ran out for; only the slot's addresses are lost, if others have been
 * taken since. */
static void stack_abandon(uintptr_t slot, uintptr_t mapped_from, uintptr_t mapped_to)
{
    if (mapped_from != mapped_to) {
        (void)hal_unmap(mapped_from, mapped_to - mapped_from, release_page, NULL);
    }
    bool irq = spin_lock_irqsave(&threads.lock);
    if (threads.next_slot == slot + STACK_SLOT_SIZE) {
        threads.next_slot = slot;
    }
    spin_unlock_irqrestore(&threads.lock, irq);
}

static uintptr_t stack_alloc(void)
{
    uintptr_t slot = 0;
    uintptr_t top = stack_reuse(&slot);
    if (top != 0) {
        return top;
    }
    top = slot + STACK_SLOT_SIZE;
    uintptr_t bottom = top - HAL_KERNEL_STACK_SIZE;
    for (uintptr_t page = bottom; page < top; page += PAGE_SIZE) {
        uint64_t physical = page_alloc(0, 0);
        if (physical == 0 || hal_map_page(page, physical, 0, PROT_R | PROT_W) != 0) {
            if (physical != 0) {
                page_free(physical, 0);
            }
            stack_abandon(slot, bottom, page);
            return 0;
        }
    }
    return top;
}

/* --- life
 * ------------------------------------------------------------------------------------------------------------
 */

struct start {
    void (*entry)(void *);
    void *argument;
};

/* Every thread starts here, inside a switch. The start block lies at the top of its stack, where a
 * frame of the program will be. */
static void thread_main(void *argument)
{
    struct start start = *(struct start *)argument;
    sched_finish_switch();
    hal_irq_enable();
    start.entry(start.argument);
    thread_exit();
}

int thread_create(struct thread **out, const char *name, void (*entry)(void *), void *argument)
{
    struct thread *thread = kzalloc(sizeof(*thread));
    if (thread == NULL) {
        return -ENOMEM;
    }
    thread->created_ns = hal_clock_monotonic();
    uintptr_t top = stack_alloc();
    thread->hal.xstate = kmalloc(hal_xstate_size());
    if (top == 0 || thread->hal.xstate == NULL) {
        if (top != 0) {
            stack_free(top);
        }
        kfree(thread->hal.xstate);
        kfree(thread);
        return -ENOMEM;
    }
    thread->hal.kernel_stack_top = top;
    struct start *start = (struct start *)hal_user_regs(&thread->hal);
    *start = (struct start){entry, argument};
    hal_thread_init(&thread->hal, thread_main, start);
    list_init(&thread->run_node);
    list_init(&thread->all_node);
    thread->affinity = ~0ull;
    thread->cpu = hal_this_cpu()->id;
    memcpy(thread->name, name, strnlen(name, sizeof(thread->name) - 1));
    *out = thread;
    return 0;
}

void thread_register(struct thread *thread)
{
    bool irq = spin_lock_irqsave(&threads.lock);
    threads.started++;
    thread->tid = threads.next_tid++;
    if (threads.next_tid == TID_MAX) {
        threads.next_tid = 2;
    }
    list_push_back(bucket(thread->tid), &thread->all_node);
    threads.count++;
    if (threads.stopping) {
        thread->work |= WORK_STOP; /* it has not been started yet */
    }
    spin_unlock_irqrestore(&threads.lock, irq);
}

void thread_start(struct thread *thread)
{
    thread->state = THREAD_PARKED;
    thread_wake(thread);
}

void thread_exit(void)
{
    struct thread *thread = current_thread();
    bool irq = spin_lock_irqsave(&threads.lock);
    if (!list_empty(&thread->all_node)) {
        list_remove(&thread->all_node);
        threads.count--;
    }
    spin_unlock_irqrestore(&threads.lock, irq);
    signal_thread_free(thread);
    hal_irq_disable();
    sched_exit();
}

static bool request_stop(struct thread *thread, void *self)
{
    if (thread != self) {
        __atomic_or_fetch(&thread->work, WORK_STOP, __ATOMIC_SEQ_CST);
        thread_notify_signal(thread);
    }
    return true;
}

void thread_stop_others(void)
{
    bool irq = spin_lock_irqsave(&threads.lock);
    threads.stopping = true;
    spin_unlock_irqrestore(&threads.lock, irq);
    thread_for_each(request_stop, current_thread());
}

void thread_stop(void)
{
    for (;;) {
        thread_prepare_sleep(THREAD_SLEEPING);
        thread_sleep(UINT64_MAX);
    }
}

void thread_free(struct thread *thread)
{
    stack_free(thread->hal.kernel_stack_top);
    kfree(thread->hal.xstate);
    kfree(thread);
}

void thread_discard(struct thread *thread)
{
    bool irq = hal_irq_save();
    thread_free(thread);
    hal_irq_restore(irq);
}

/* --- table
 * ------------------------------------------------------------------------------------------------------------
 */

int thread_with(int32_t tid, int (*fn)(struct thread *, void *), void *context)
{
    int result = -ESRCH;
    bool irq = spin_lock_irqsave(&threads.lock);
    list_for_each (node, bucket(tid)) {
        struct thread *thread = list_entry(node, struct thread, all_node);
        if (thread->tid == tid) {
            result = fn(thread, context);
            break;
        }
    }
    spin_unlock_irqrestore(&threads.lock, irq);
    return result;
}

void thread_for_each(bool (*fn)(struct thread *, void *), void *context)
{
    bool irq = spin_lock_irqsave(&threads.lock);
    bool more = true;
    for (unsigned i = 0; i < BUCKETS && more; i++) {
        list_for_each (node, bucket((int32_t)i)) {
            more = fn(list_entry(node, struct thread, all_node), context);
            if (!more) {
                break;
            }
        }
    }
    spin_unlock_irqrestore(&threads.lock, irq);
}

unsigned thread_count(void)
{
    return threads.count;
}

unsigned threads_started(void)
{
    return threads.started;
}
