/* SPDX-License-Identifier: MIT */
/* Shared by the files of core/signal. Everything here is guarded by signals.lock (LOCK_SIGNAL,
 * taken with interrupts masked), except what says that only its own thread touches it. */
#pragma once

#include <linux/signal.h>
#include <stdint.h>

#include "core/lib/list.h"
#include "core/lib/spinlock.h"
#include "core/signal/restart.h"
#include "core/signal/signal.h"

#define SIGNAL_COUNT 64
#define SIGNAL_BIT(number) (1ull << ((number)-1))
#define SIGNALS_UNBLOCKABLE (SIGNAL_BIT(SIGKILL) | SIGNAL_BIT(SIGSTOP))
#define SIGNALS_SYNCHRONOUS                                                                        \
    (SIGNAL_BIT(SIGSEGV) | SIGNAL_BIT(SIGBUS) | SIGNAL_BIT(SIGILL) | SIGNAL_BIT(SIGTRAP) |         \
     SIGNAL_BIT(SIGFPE) | SIGNAL_BIT(SIGSYS))

/* struct sigaction as the kernel has it (rt_sigaction(2)). */
struct signal_action {
    uint64_t handler; /* SIG_DFL 0, SIG_IGN 1 */
    uint64_t flags;
    uint64_t restorer;
    uint64_t mask;
};

/* stack_t */
struct signal_stack {
    uint64_t base;
    int32_t flags, pad;
    uint64_t size;
};

struct signal_queue {
    uint64_t set;      /* signals that are pending */
    struct list infos; /* struct queued_signal; a pending signal without one had no memory for it */
};

struct signal_thread {
    struct thread *thread;
    struct list node;     /* in signals.threads */
    uint64_t blocked;     /* written by its own thread only */
    uint64_t saved_mask;  /* own thread: comes back when `restore_mask` */
    bool restore_mask;    /* own thread: blocked is only for the duration of a system call */
    uint64_t waiting_for; /* rt_sigtimedwait: wake for these although they are blocked */
    struct signal_queue pending;
    struct signal_stack stack;                         /* own thread */
    struct restart_block restart;                      /* own thread */
    uint64_t fault_address, fault_vector, fault_error; /* own thread: the last exception */
};

struct signals {
    struct spinlock lock;
    struct list threads;         /* struct signal_thread */
    struct signal_queue pending; /* of the process */
    struct signal_action actions[SIGNAL_COUNT];
    void (*sent)(void); /* called for each signal that is queued; NULL: nobody asks (signalfd.c) */
};

extern struct signals signals;

/* The current thread's. */
struct signal_thread *signal_current(void);

/* Takes one pending signal of `set` off the queues of the thread and the process; its number or 0.
 * Lock held. */
int signal_dequeue(struct signal_thread *thread, uint64_t set, struct signal_info *info);

/* Makes WORK_SIGNAL of the current thread say whether something is deliverable. Lock held. */
void signal_recalculate(struct signal_thread *thread);

/* Changes the current thread's mask and looks what is pending now; hands process signals over that
 * it no longer takes. No lock held. */
void signal_set_mask(uint64_t mask);

/* Whether nothing happens on this signal. Lock held. */
bool signal_is_ignored(int number);

/* Sets an action, dropping what is pending if it is ignored now. Lock held. */
void signal_set_action(int number, const struct signal_action *action);

/* Handler called by a program that was told its own frame is broken: SIGSEGV, or the end when that
 * cannot be handled either. */
void signal_force_broken_frame(int while_delivering);

/* As Linux's sigaltstack(2) on the current thread, for a program whose stack pointer is `rsp`. */
int signal_set_stack(const struct signal_stack *stack, uint64_t rsp, uint64_t minimum);
bool signal_on_stack(const struct signal_thread *thread, uint64_t rsp);
