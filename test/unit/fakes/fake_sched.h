/* SPDX-License-Identifier: MIT */
/* Threads of the kernel as host threads, each on a CPU of its own, that sleep and wake as
 * core/sched promises. */
#pragma once

#include "core/sched/sched.h"

/* Makes the calling host thread a kernel thread; before anything else it does. */
void fake_sched_attach(int32_t tid);

/* Starts a host thread that attaches and runs fn(argument); fake_sched_join waits for its end. */
struct fake_thread;
struct fake_thread *fake_sched_start(int32_t tid, void (*fn)(void *), void *argument);
void fake_sched_join(struct fake_thread *thread);

struct thread *fake_sched_thread(struct fake_thread *thread);

/* What thread_signal_pending says for the thread from now on; wakes it. */
void fake_sched_signal(struct fake_thread *thread, bool pending);

/* Returns when the thread sleeps. */
void fake_sched_await_sleep(struct fake_thread *thread);
