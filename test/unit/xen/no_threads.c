/* SPDX-License-Identifier: MIT */
/* Threads that are never run and events that never come: what sleeps has its test act instead
 * (thread_sleep is the test's own). */
#include <stdlib.h>

#include "core/sched/sched.h"
#include "hal/xen/xen_internal.h"

static struct thread own_thread;

void thread_prepare_sleep(enum thread_state state)
{
    (void)state;
}

void thread_cancel_sleep(void)
{
}

void thread_wake(struct thread *thread)
{
    (void)thread;
}

int thread_create(struct thread **out, const char *name, void (*entry)(void *), void *argument)
{
    (void)name;
    (void)entry;
    (void)argument;
    *out = &own_thread;
    return 0;
}

void thread_start(struct thread *thread)
{
    (void)thread;
}

void thread_discard(struct thread *thread)
{
    (void)thread;
}

void thread_exit(void)
{
    abort();
}

int event_bind(uint32_t port, unsigned cpu, event_handler *handler, void *context)
{
    (void)port;
    (void)cpu;
    (void)handler;
    (void)context;
    return 0;
}
