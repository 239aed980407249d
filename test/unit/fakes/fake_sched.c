/* SPDX-License-Identifier: MIT */
/* fake_sched.h. Each thread sleeps on a condition variable under its own mutex, which also guards
 * its state. */
#include "fakes/fake_sched.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <time.h>

#include "fakes/check.h"

struct fake_thread {
    struct thread thread; /* first */
    struct cpu cpu;
    pthread_t host;
    pthread_mutex_t mutex;
    pthread_cond_t changed;
    bool signal, asleep;
    void (*fn)(void *);
    void *argument;
    int32_t tid;
};

static struct fake_thread *self(void)
{
    return (struct fake_thread *)current_thread();
}

static void attach(struct fake_thread *thread)
{
    pthread_condattr_t attributes;
    pthread_condattr_init(&attributes);
    pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
    pthread_mutex_init(&thread->mutex, NULL);
    pthread_cond_init(&thread->changed, &attributes);
    thread->thread.tid = thread->tid;
    thread->cpu.hal.self = &thread->cpu.hal;
    thread->cpu.hal.current = &thread->thread.hal;
    timer_queue_init(&thread->cpu.timers, 0);
}

void fake_sched_attach(int32_t tid)
{
    struct fake_thread *thread = calloc(1, sizeof(*thread));
    CHECK(thread != NULL);
    thread->tid = tid;
    attach(thread);
    fake_cpu = &thread->cpu.hal;
}

static void *run(void *argument)
{
    struct fake_thread *thread = argument;
    fake_cpu = &thread->cpu.hal;
    thread->fn(thread->argument);
    return NULL;
}

struct fake_thread *fake_sched_start(int32_t tid, void (*fn)(void *), void *argument)
{
    struct fake_thread *thread = calloc(1, sizeof(*thread));
    CHECK(thread != NULL);
    thread->tid = tid;
    thread->fn = fn;
    thread->argument = argument;
    attach(thread);
    CHECK(pthread_create(&thread->host, NULL, run, thread) == 0);
    return thread;
}

void fake_sched_join(struct fake_thread *thread)
{
    CHECK(pthread_join(thread->host, NULL) == 0);
    free(thread);
}

struct thread *fake_sched_thread(struct fake_thread *thread)
{
    return &thread->thread;
}

static void set_state(struct fake_thread *thread, uint32_t state)
{
    pthread_mutex_lock(&thread->mutex);
    thread->thread.state = state;
    pthread_cond_broadcast(&thread->changed);
    pthread_mutex_unlock(&thread->mutex);
}

void fake_sched_signal(struct fake_thread *thread, bool pending)
{
    pthread_mutex_lock(&thread->mutex);
    thread->signal = pending;
    if (thread->thread.state == THREAD_SLEEPING_SIGNAL) {
        thread->thread.state = THREAD_RUNNABLE;
    }
    pthread_cond_broadcast(&thread->changed);
    pthread_mutex_unlock(&thread->mutex);
}

void fake_sched_await_sleep(struct fake_thread *thread)
{
    pthread_mutex_lock(&thread->mutex);
    while (!thread->asleep) {
        pthread_cond_wait(&thread->changed, &thread->mutex);
    }
    pthread_mutex_unlock(&thread->mutex);
}

bool thread_signal_pending(void)
{
    return __atomic_load_n(&self()->signal, __ATOMIC_SEQ_CST);
}

void thread_prepare_sleep(enum thread_state state)
{
    set_state(self(), state);
}

void thread_cancel_sleep(void)
{
    set_state(self(), THREAD_RUNNABLE);
}

int thread_sleep(uint64_t deadline)
{
    struct fake_thread *thread = self();
    struct timespec until = {(time_t)(deadline / 1000000000u), (long)(deadline % 1000000000u)};
    int result = 0;
    pthread_mutex_lock(&thread->mutex);
    bool by_signal = thread->thread.state == THREAD_SLEEPING_SIGNAL;
    thread->asleep = true;
    pthread_cond_broadcast(&thread->changed);
    while (thread->thread.state != THREAD_RUNNABLE && !(by_signal && thread->signal) &&
           result == 0) {
        if (deadline == UINT64_MAX) {
            pthread_cond_wait(&thread->changed, &thread->mutex);
        } else {
            result = -pthread_cond_timedwait(&thread->changed, &thread->mutex, &until);
        }
    }
    thread->asleep = false;
    thread->thread.state = THREAD_RUNNABLE;
    if (by_signal && thread->signal) {
        result = -EINTR;
    }
    pthread_mutex_unlock(&thread->mutex);
    return result;
}

void thread_wake(struct thread *thread)
{
    set_state((struct fake_thread *)thread, THREAD_RUNNABLE);
}

void thread_wake_telling(struct thread *thread, uint32_t *told, uint32_t value)
{
    thread_wake(thread);
    __atomic_store_n(told, value, __ATOMIC_RELEASE);
}

uint64_t hal_clock_monotonic(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}
