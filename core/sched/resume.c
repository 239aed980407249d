/* SPDX-License-Identifier: MIT */
/* What is due before a thread goes on with the program. */
#include "core/sched/sched.h"
#include "core/signal/signal.h"

void core_return_to_user(struct regs *regs)
{
    struct thread *thread = current_thread();
    uint32_t work = __atomic_load_n(&thread->work, __ATOMIC_ACQUIRE);
    if ((work & WORK_FRAME) != 0) {
        __atomic_and_fetch(&thread->work, ~(uint32_t)WORK_FRAME, __ATOMIC_RELAXED);
    }
    hal_irq_enable();
    if ((work & WORK_STOP) != 0) {
        thread_stop();
    }
    if ((work & WORK_RESCHEDULE) != 0) {
        thread_yield();
    }
    if ((work & WORK_SIGNAL) != 0) {
        signal_deliver(regs);
    }
    hal_irq_disable();
}
