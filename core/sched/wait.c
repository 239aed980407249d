/* SPDX-License-Identifier: MIT */
/* Wait queues and wake tickets. A queue's entries are guarded by its lock. */
#include "core/sched/wait.h"

#include "core/sched/sched.h"
#include "core/sched/wake_ticket.h"

void wait_queue_init(struct wait_queue *queue)
{
    spinlock_init(&queue->lock, LOCK_WAIT_QUEUE);
    list_init(&queue->entries);
}

void wait_queue_add(struct wait_queue *queue, struct wait_entry *entry)
{
    bool irq = spin_lock_irqsave(&queue->lock);
    entry->queue = queue;
    list_push_back(&queue->entries, &entry->node);
    spin_unlock_irqrestore(&queue->lock, irq);
    /* The entry is visible before the caller looks at the condition; pairs with wait_queue_notify.
     */
    __atomic_thread_fence(__ATOMIC_SEQ_CST);
}

void wait_queue_remove(struct wait_entry *entry)
{
    struct wait_queue *queue = entry->queue;
    if (queue == NULL) {
        return;
    }
    bool irq = spin_lock_irqsave(&queue->lock);
    list_remove(&entry->node);
    entry->queue = NULL;
    spin_unlock_irqrestore(&queue->lock, irq);
}

void wait_queue_notify(struct wait_queue *queue, uint32_t events)
{
    /* The condition was changed before this; whoever is not on the list yet will see that. */
    __atomic_thread_fence(__ATOMIC_SEQ_CST);
    if (__atomic_load_n(&queue->entries.next, __ATOMIC_RELAXED) == &queue->entries) {
        return;
    }
    bool irq = spin_lock_irqsave(&queue->lock);
    list_for_each_safe (node, &queue->entries) {
        struct wait_entry *entry = list_entry(node, struct wait_entry, node);
        entry->notify(entry, events);
    }
    spin_unlock_irqrestore(&queue->lock, irq);
}

static void wake_waiter(struct wait_entry *entry, uint32_t events)
{
    (void)events;
    thread_wake(container_of(entry, struct thread_waiter, entry)->thread);
}

void thread_waiter_init(struct thread_waiter *waiter)
{
    list_init(&waiter->entry.node);
    waiter->entry.notify = wake_waiter;
    waiter->entry.queue = NULL;
    waiter->thread = current_thread();
}

int wake_ticket_wait(struct wake_ticket *ticket, enum thread_state state, uint64_t deadline)
{
    int result = 0;
    do {
        thread_prepare_sleep(state);
        if (__atomic_load_n(&ticket->state, __ATOMIC_ACQUIRE) != TICKET_WAITING) {
            thread_cancel_sleep();
            break;
        }
        result = thread_sleep(deadline);
    } while (result == 0);
    return wake_ticket_called(ticket) ? 0 : result;
}
