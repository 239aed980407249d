/* SPDX-License-Identifier: MIT */
/* Wait queues: who wants to know that something (a file, a socket, a child) has changed. An entry
 * is a callback, so that a sleeping thread and an epoll set hang on the same queue. Events are the
 * POLL bits of Linux (poll(2)). */
#pragma once

#include <stdint.h>

#include "core/lib/list.h"
#include "core/lib/spinlock.h"

struct wait_entry {
    struct list node; /* queue lock */
    /* Called with the queue's lock held and interrupts masked: short, and must not take the queue's
     * lock. */
    void (*notify)(struct wait_entry *entry, uint32_t events);
    struct wait_queue *queue; /* NULL: not on a queue */
};

struct wait_queue {
    struct spinlock lock;
    struct list entries;
};

void wait_queue_init(struct wait_queue *queue);

/* Any context. */
void wait_queue_add(struct wait_queue *queue, struct wait_entry *entry);
void wait_queue_remove(struct wait_entry *entry);
void wait_queue_notify(struct wait_queue *queue, uint32_t events);

/* A wait_entry that wakes the thread that made it. */
struct thread_waiter {
    struct wait_entry entry;
    struct thread *thread;
};

void thread_waiter_init(struct thread_waiter *waiter);

/* Sleeps until `condition` is true: 0, -ETIMEDOUT or -EINTR as thread_sleep. Evaluates `condition`
 * with no lock held. */
#define wait_event(queue, deadline, condition)                                                     \
    ({                                                                                             \
        struct thread_waiter waiter_;                                                              \
        int result_ = 0;                                                                           \
        thread_waiter_init(&waiter_);                                                              \
        wait_queue_add((queue), &waiter_.entry);                                                   \
        for (;;) {                                                                                 \
            thread_prepare_sleep(THREAD_SLEEPING_SIGNAL);                                          \
            if (condition) {                                                                       \
                thread_cancel_sleep();                                                             \
                result_ = 0;                                                                       \
                break;                                                                             \
            }                                                                                      \
            if (result_ != 0) {                                                                    \
                thread_cancel_sleep();                                                             \
                break;                                                                             \
            }                                                                                      \
            result_ = thread_sleep(deadline);                                                      \
        }                                                                                          \
        wait_queue_remove(&waiter_.entry);                                                         \
        result_;                                                                                   \
    })
