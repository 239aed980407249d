/* SPDX-License-Identifier: MIT */
/* Between sched.c and thread.c. */
#pragma once

#include "core/sched/sched.h"

/* Gives the thread's memory back; it is off every CPU. Interrupts masked. */
void thread_free(struct thread *thread);

/* Completes a switch on the stack of the thread that now runs; also the first thing a new thread
 * does. Interrupts masked. */
void sched_finish_switch(void);

/* Gives the CPU up for good; the thread is freed after the switch. Interrupts masked. */
_Noreturn void sched_exit(void);
