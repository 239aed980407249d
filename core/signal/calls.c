/* SPDX-License-Identifier: MIT */
/* The system calls on signals but for rt_sigreturn (deliver.c). State and its lock:
 * signal_internal.h. */
#include <linux/errno.h>

#include "core/lib/string.h"
#include "core/sched/sched.h"
#include "core/signal/signal_internal.h"
#include "core/syscall/process.h"
#include "core/syscall/syscall.h"
#include "core/time/clock.h"
#include "core/time/posix_timer.h"

static bool is_signal(int64_t number)
{
    return number >= 1 && number <= SIGNAL_COUNT;
}

long sys_rt_sigaction(struct syscall_args *a)
{
    int number = (int)a->arg[0];
    uintptr_t new = a->arg[1], old = a->arg[2];
    struct signal_action action, previous;
    if (a->arg[3] != sizeof(uint64_t)) {
        return -EINVAL;
    }
    if (new != 0 && copy_from_user(&action, new, sizeof(action)) != 0) {
        return -EFAULT;
    }
    if (!is_signal(number) || (new != 0 && (SIGNAL_BIT(number) & SIGNALS_UNBLOCKABLE) != 0)) {
        return -EINVAL;
    }
    bool irq = spin_lock_irqsave(&signals.lock);
    previous = signals.actions[number - 1];
    if (new != 0) {
        signal_set_action(number, &action);
    }
    spin_unlock_irqrestore(&signals.lock, irq);
    return old != 0 ? copy_to_user(old, &previous, sizeof(previous)) : 0;
}

long sys_rt_sigprocmask(struct syscall_args *a)
{
    struct signal_thread *thread = signal_current();
    uint64_t set, old = thread->blocked;
    if (a->arg[3] != sizeof(set)) {
        return -EINVAL;
    }
    if (a->arg[1] != 0) {
        if (copy_from_user(&set, a->arg[1], sizeof(set)) != 0) {
            return -EFAULT;
        }
        switch ((int)a->arg[0]) {
        case SIG_BLOCK:
            set |= old;
            break;
        case SIG_UNBLOCK:
            set = old & ~set;
            break;
        case SIG_SETMASK:
            break;
        default:
            return -EINVAL;
        }
        if ((set & ~SIGNALS_UNBLOCKABLE) != old) {
            signal_set_mask(set);
        }
    }
    return a->arg[2] != 0 ? copy_to_user(a->arg[2], &old, sizeof(old)) : 0;
}

long sys_rt_sigpending(struct syscall_args *a)
{
    struct signal_thread *thread = signal_current();
    if (a->arg[1] > sizeof(uint64_t)) {
        return -EINVAL;
    }
    bool irq = spin_lock_irqsave(&signals.lock);
    uint64_t set = (thread->pending.set | signals.pending.set) & thread->blocked;
    spin_unlock_irqrestore(&signals.lock, irq);
    return copy_to_user(a->arg[0], &set, a->arg[1]);
}

/* --- waiting
 * ------------------------------------------------------------------------------------------------------
 */

/* One look for a signal of `set`; arranges to be woken for it when there is none. */
static int look_for(struct signal_thread *thread, uint64_t set, struct signal_info *info)
{
    bool irq = spin_lock_irqsave(&signals.lock);
    int number = signal_dequeue(thread, set, info);
    thread->waiting_for = number == 0 ? set : 0;
    signal_recalculate(thread);
    spin_unlock_irqrestore(&signals.lock, irq);
    return number;
}

static int stop_looking(struct signal_thread *thread, uint64_t set, struct signal_info *info)
{
    bool irq = spin_lock_irqsave(&signals.lock);
    thread->waiting_for = 0;
    int number = signal_dequeue(thread, set, info);
    signal_recalculate(thread);
    spin_unlock_irqrestore(&signals.lock, irq);
    return number;
}

long sys_rt_sigtimedwait(struct syscall_args *a)
{
    struct signal_thread *thread = signal_current();
    struct signal_info info;
    uint64_t set, deadline = UINT64_MAX;
    if (a->arg[3] != sizeof(set)) {
        return -EINVAL;
    }
    if (copy_from_user(&set, a->arg[0], sizeof(set)) != 0) {
        return -EFAULT;
    }
    set &= ~SIGNALS_UNBLOCKABLE;
    if (a->arg[2] != 0) {
        uint64_t ns;
        int error = timespec_from_user(a->arg[2], &ns);
        if (error != 0) {
            return error;
        }
        deadline = deadline_after(ns);
    }
    int number = look_for(thread, set, &info);
    while (number == 0) {
        thread_prepare_sleep(THREAD_SLEEPING_SIGNAL);
        int result = thread_sleep(deadline);
        number = stop_looking(thread, set, &info);
        if (number == 0 && thread_signal_pending()) {
            return -EINTR;
        }
        if (number == 0 && result == -ETIMEDOUT) {
            return -EAGAIN;
        }
        if (number == 0) {
            number = look_for(thread, set, &info);
        }
    }
    if (info.code == SI_TIMER) {
        posix_timer_delivered(info.timer.timer_id, info.timer.overrun);
    }
    if (a->arg[1] != 0 && copy_to_user(a->arg[1], &info, sizeof(info)) != 0) {
        return -EFAULT;
    }
    return number;
}

static long wait_for_handler(void)
{
    while (!thread_signal_pending()) {
        thread_prepare_sleep(THREAD_SLEEPING_SIGNAL);
        thread_sleep(UINT64_MAX);
    }
    return -ERESTARTNOHAND;
}

long sys_rt_sigsuspend(struct syscall_args *a)
{
    if (a->arg[0] == 0) {
        return a->arg[1] != sizeof(uint64_t) ? -EINVAL : -EFAULT;
    }
    int error = signal_mask_during(a->arg[0], a->arg[1]);
    return error != 0 ? error : wait_for_handler();
}

long sys_pause(struct syscall_args *a)
{
    (void)a;
    return wait_for_handler();
}

/* --- the alternate stack
 * --------------------------------------------------------------------------------------------- */

bool signal_on_stack(const struct signal_thread *thread, uint64_t rsp)
{
    const struct signal_stack *stack = &thread->stack;
    if (stack->size == 0 || (stack->flags & (int32_t)SS_AUTODISARM) != 0) {
        return false; /* it would have been disarmed */
    }
    return rsp > stack->base && rsp - stack->base <= stack->size;
}

int signal_set_stack(const struct signal_stack *stack, uint64_t rsp, uint64_t minimum)
{
    struct signal_thread *thread = signal_current();
    int32_t mode = stack->flags & (int32_t)~SS_AUTODISARM;
    if (signal_on_stack(thread, rsp)) {
        return -EPERM;
    }
    if (mode != 0 && mode != SS_ONSTACK && mode != SS_DISABLE) {
        return -EINVAL;
    }
    if (mode == SS_DISABLE) {
        thread->stack = (struct signal_stack){.flags = stack->flags};
        return 0;
    }
    if (stack->size < minimum) {
        return -ENOMEM;
    }
    thread->stack =
        (struct signal_stack){.base = stack->base, .flags = stack->flags, .size = stack->size};
    return 0;
}

long sys_sigaltstack(struct syscall_args *a)
{
    struct signal_thread *thread = signal_current();
    struct signal_stack new, old = thread->stack;
    uint64_t rsp = syscall_regs(a)->rsp;
    if (a->arg[0] != 0 && copy_from_user(&new, a->arg[0], sizeof(new)) != 0) {
        return -EFAULT;
    }
    old.flags &= (int32_t)SS_AUTODISARM;
    old.flags |= old.size == 0 ? SS_DISABLE : signal_on_stack(thread, rsp) ? SS_ONSTACK : 0;
    if (a->arg[0] != 0) {
        int error = signal_set_stack(&new, rsp, MINSIGSTKSZ);
        if (error != 0) {
            return error;
        }
    }
    return a->arg[1] != 0 ? copy_to_user(a->arg[1], &old, sizeof(old)) : 0;
}

/* --- sending
 * ---------------------------------------------------------------------------------------------------------
 */

static struct signal_info from_user(int number, int code)
{
    return (struct signal_info){.signo = number, .code = code, .sender = {.pid = PROCESS_ID}};
}

/* Who is meant by a process id, in a world of one process in a group of its own. */
static int find_process(int64_t pid)
{
    if (pid == PROCESS_ID || pid == 0 || pid == -PROCESS_ID) {
        return 0;
    }
    return -ESRCH; /* also for -1: everybody but init and oneself */
}

long sys_kill(struct syscall_args *a)
{
    int number = (int)a->arg[1];
    if (number != 0 && !is_signal(number)) {
        return -EINVAL;
    }
    int error = find_process((int32_t)a->arg[0]);
    if (error == 0 && number != 0) {
        struct signal_info info = from_user(number, SI_USER);
        signal_send_process(&info);
    }
    return error;
}

static int send_to(struct thread *thread, void *info)
{
    if (info != NULL) {
        signal_send_thread(thread, info);
    }
    return 0;
}

static long send_to_thread(int32_t tid, int number, struct signal_info *info)
{
    if (number != 0 && !is_signal(number)) {
        return -EINVAL;
    }
    return thread_with(tid, send_to, number != 0 ? info : NULL);
}

long sys_tkill(struct syscall_args *a)
{
    struct signal_info info = from_user((int)a->arg[1], SI_TKILL);
    if ((int32_t)a->arg[0] <= 0) {
        return -EINVAL;
    }
    return send_to_thread((int32_t)a->arg[0], (int)a->arg[1], &info);
}

long sys_tgkill(struct syscall_args *a)
{
    struct signal_info info = from_user((int)a->arg[2], SI_TKILL);
    if ((int32_t)a->arg[0] <= 0 || (int32_t)a->arg[1] <= 0) {
        return -EINVAL;
    }
    if ((int32_t)a->arg[0] != PROCESS_ID) {
        return -ESRCH;
    }
    return send_to_thread((int32_t)a->arg[1], (int)a->arg[2], &info);
}

static int read_info(uintptr_t address, int number, struct signal_info *info)
{
    if (copy_from_user(info, address, sizeof(*info)) != 0) {
        return -EFAULT;
    }
    info->signo = number;
    return 0;
}

long sys_rt_sigqueueinfo(struct syscall_args *a)
{
    struct signal_info info;
    int number = (int)a->arg[1];
    int error = read_info(a->arg[2], number, &info);
    if (error != 0) {
        return error;
    }
    if (number != 0 && !is_signal(number)) {
        return -EINVAL;
    }
    error = find_process((int32_t)a->arg[0]);
    if (error == 0 && number != 0) {
        signal_send_process(&info);
    }
    return error;
}

long sys_rt_tgsigqueueinfo(struct syscall_args *a)
{
    struct signal_info info;
    int number = (int)a->arg[2];
    int error = read_info(a->arg[3], number, &info);
    if (error != 0) {
        return error;
    }
    if ((int32_t)a->arg[0] <= 0 || (int32_t)a->arg[1] <= 0) {
        return -EINVAL;
    }
    if ((int32_t)a->arg[0] != PROCESS_ID) {
        return -ESRCH;
    }
    return send_to_thread((int32_t)a->arg[1], number, &info);
}
