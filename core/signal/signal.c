/* SPDX-License-Identifier: MIT */
/* Who gets which signal: queues of the process and of each thread, masks, dispositions. All of it
 * is guarded by signals.lock; a signal is taken off its queue under it, so that one signal is never
 * delivered twice. WORK_SIGNAL of a thread is set by senders and cleared only by the thread itself,
 * under the lock. */
#include "core/signal/signal.h"

#include <linux/errno.h>

#include "core/lib/string.h"
#include "core/mm/kmalloc.h"
#include "core/sched/sched.h"
#include "core/signal/signal_internal.h"
#include "core/syscall/process.h"
#include "core/time/cpu_timer.h"

/* Without a handler these do nothing; the stop signals among them because there is nobody who could
 * continue us. */
#define SIGNALS_DEFAULT_IGNORED                                                                    \
    (SIGNAL_BIT(SIGCHLD) | SIGNAL_BIT(SIGURG) | SIGNAL_BIT(SIGWINCH) | SIGNAL_BIT(SIGCONT) |       \
     SIGNAL_BIT(SIGSTOP) | SIGNAL_BIT(SIGTSTP) | SIGNAL_BIT(SIGTTIN) | SIGNAL_BIT(SIGTTOU))

#define ACTION_DEFAULT 0
#define ACTION_IGNORE 1

struct queued_signal {
    struct list node;
    struct signal_info info;
};

struct signals signals = {
    .lock = SPINLOCK_INIT(LOCK_SIGNAL),
    .threads = LIST_INIT(signals.threads),
    .pending.infos = LIST_INIT(signals.pending.infos),
};

void signal_init(void)
{
}

struct signal_thread *signal_current(void)
{
    return current_thread()->signal;
}

bool signal_is_ignored(int number)
{
    uint64_t handler = signals.actions[number - 1].handler;
    return handler == ACTION_IGNORE ||
           (handler == ACTION_DEFAULT && (SIGNALS_DEFAULT_IGNORED & SIGNAL_BIT(number)) != 0);
}

/* --- queues
 * -------------------------------------------------------------------------------------------------------
 */

/* One more expiry of a timer whose signal still waits (timer_getoverrun(2)). */
static bool count_overrun(struct signal_queue *queue, const struct signal_info *info)
{
    list_for_each (node, &queue->infos) {
        struct signal_info *queued = &list_entry(node, struct queued_signal, node)->info;
        if (queued->signo == info->signo && queued->code == SI_TIMER &&
            queued->timer.timer_id == info->timer.timer_id) {
            queued->timer.overrun += 1 + info->timer.overrun;
            return true;
        }
    }
    return false;
}

/* Lock held. */
static void enqueue(struct signal_queue *queue, const struct signal_info *info)
{
    uint64_t bit = SIGNAL_BIT(info->signo);
    if ((queue->set & bit) != 0) {
        if (info->code == SI_TIMER ? count_overrun(queue, info) : info->signo < SIGRTMIN) {
            return;
        }
    }
    queue->set |= bit;
    struct queued_signal *queued = kmalloc(sizeof(*queued));
    if (queued != NULL) {
        queued->info = *info;
        list_push_back(&queue->infos, &queued->node);
    }
    if (signals.sent != NULL) {
        signals.sent();
    }
}

/* Takes the first `number` off; it must be in the set. Lock held. */
static void take(struct signal_queue *queue, int number, struct signal_info *info)
{
    bool found = false, more = false;
    memset(info, 0, sizeof(*info));
    info->signo = number;
    info->code = SI_USER;
    list_for_each_safe (node, &queue->infos) {
        struct queued_signal *queued = list_entry(node, struct queued_signal, node);
        if (queued->info.signo != number) {
            continue;
        }
        if (found) {
            more = true;
            break;
        }
        found = true;
        *info = queued->info;
        list_remove(node);
        kfree(queued);
    }
    if (!more) {
        queue->set &= ~SIGNAL_BIT(number);
    }
}

/* Lock held. */
static void discard(struct signal_queue *queue, uint64_t set)
{
    if ((queue->set & set) == 0) {
        return;
    }
    queue->set &= ~set;
    list_for_each_safe (node, &queue->infos) {
        struct queued_signal *queued = list_entry(node, struct queued_signal, node);
        if ((SIGNAL_BIT(queued->info.signo) & set) != 0) {
            list_remove(node);
            kfree(queued);
        }
    }
}

static int lowest(uint64_t set)
{
    uint64_t first = (set & SIGNALS_SYNCHRONOUS) != 0 ? set & SIGNALS_SYNCHRONOUS : set;
    return __builtin_ctzll(first) + 1;
}

int signal_dequeue(struct signal_thread *thread, uint64_t set, struct signal_info *info)
{
    struct signal_queue *queue = &thread->pending;
    if ((queue->set & set) == 0) {
        queue = &signals.pending;
    }
    if ((queue->set & set) == 0) {
        return 0;
    }
    int number = lowest(queue->set & set);
    take(queue, number, info);
    return number;
}

/* --- who looks
 * ----------------------------------------------------------------------------------------------------
 */

/* Lock held, so the thread stays. */
static void alert(struct signal_thread *thread)
{
    __atomic_or_fetch(&thread->thread->work, WORK_SIGNAL, __ATOMIC_SEQ_CST);
    thread_notify_signal(thread->thread);
}

static bool wants(const struct signal_thread *thread, uint64_t bit)
{
    return (bit & (~thread->blocked | thread->waiting_for)) != 0;
}

static bool is_alerted(const struct signal_thread *thread)
{
    return (__atomic_load_n(&thread->thread->work, __ATOMIC_RELAXED) & WORK_SIGNAL) != 0;
}

/* Tells a thread that takes it of a process signal: the current one, else one that has nothing to
 * deliver yet, else any. Lock held. */
static void alert_one(uint64_t bit)
{
    struct signal_thread *current = signal_current();
    if (current != NULL && !list_empty(&current->node) && wants(current, bit)) {
        alert(current);
        return;
    }
    struct signal_thread *chosen = NULL;
    list_for_each (node, &signals.threads) {
        struct signal_thread *thread = list_entry(node, struct signal_thread, node);
        if (wants(thread, bit) && (chosen == NULL || !is_alerted(thread))) {
            chosen = thread;
            if (!is_alerted(thread)) {
                break;
            }
        }
    }
    if (chosen != NULL) {
        alert(chosen);
    }
}

void signal_recalculate(struct signal_thread *thread)
{
    uint64_t pending = thread->pending.set | signals.pending.set;
    if ((pending & ~thread->blocked) != 0) {
        __atomic_or_fetch(&thread->thread->work, WORK_SIGNAL, __ATOMIC_SEQ_CST);
    } else {
        __atomic_and_fetch(&thread->thread->work, ~(uint32_t)WORK_SIGNAL, __ATOMIC_SEQ_CST);
    }
}

/* `thread` no longer takes these: somebody else should look. Lock held. */
static void hand_over(uint64_t set)
{
    for (uint64_t left = signals.pending.set & set; left != 0; left &= left - 1) {
        alert_one(left & -left);
    }
}

void signal_set_mask(uint64_t mask)
{
    struct signal_thread *thread = signal_current();
    bool irq = spin_lock_irqsave(&signals.lock);
    uint64_t newly_blocked = mask & ~thread->blocked;
    thread->blocked = mask & ~SIGNALS_UNBLOCKABLE;
    if (((thread->pending.set | signals.pending.set) & ~thread->blocked) != 0) {
        __atomic_or_fetch(&thread->thread->work, WORK_SIGNAL, __ATOMIC_SEQ_CST);
    }
    hand_over(newly_blocked);
    spin_unlock_irqrestore(&signals.lock, irq);
}

bool signal_pending(void)
{
    struct signal_thread *thread = signal_current();
    if (thread == NULL || !is_alerted(thread)) {
        return false;
    }
    bool irq = spin_lock_irqsave(&signals.lock);
    uint64_t pending = thread->pending.set | signals.pending.set;
    spin_unlock_irqrestore(&signals.lock, irq);
    return (pending & ~thread->blocked) != 0;
}

/* The work bit and nothing more: a system call that is interrupted by it always passes
 * signal_deliver, also when another thread has taken the signal meanwhile. */
bool thread_signal_pending(void)
{
    uint32_t work = __atomic_load_n(&current_thread()->work, __ATOMIC_ACQUIRE);
    return (work & (WORK_SIGNAL | WORK_STOP)) != 0;
}

/* --- sending
 * ------------------------------------------------------------------------------------------------------
 */

/* Linux drops an ignored signal at once unless it is blocked: somebody may ask for it by
 * rt_sigtimedwait. */
void signal_send_thread(struct thread *thread, const struct signal_info *info)
{
    uint64_t bit = SIGNAL_BIT(info->signo);
    bool irq = spin_lock_irqsave(&signals.lock);
    struct signal_thread *target = thread->signal;
    if (target != NULL && !(signal_is_ignored(info->signo) && (target->blocked & bit) == 0)) {
        enqueue(&target->pending, info);
        if (wants(target, bit)) {
            alert(target);
        }
    }
    spin_unlock_irqrestore(&signals.lock, irq);
}

static bool is_blocked_everywhere(uint64_t bit)
{
    list_for_each (node, &signals.threads) {
        if ((list_entry(node, struct signal_thread, node)->blocked & bit) == 0) {
            return false;
        }
    }
    return true;
}

void signal_send_process(const struct signal_info *info)
{
    uint64_t bit = SIGNAL_BIT(info->signo);
    bool irq = spin_lock_irqsave(&signals.lock);
    if (!signal_is_ignored(info->signo) || is_blocked_everywhere(bit)) {
        enqueue(&signals.pending, info);
        alert_one(bit);
    }
    spin_unlock_irqrestore(&signals.lock, irq);
}

void signal_force(const struct signal_info *info)
{
    struct signal_thread *thread = signal_current();
    struct regs *regs = hal_user_regs(&current_thread()->hal);
    uint64_t bit = SIGNAL_BIT(info->signo);
    if (regs->vector < 32) {
        thread->fault_vector = regs->vector;
        thread->fault_error = regs->error;
        thread->fault_address = regs->vector == 14 ? info->fault.address : 0;
    }
    bool irq = spin_lock_irqsave(&signals.lock);
    struct signal_action *action = &signals.actions[info->signo - 1];
    if (action->handler == ACTION_IGNORE || (thread->blocked & bit) != 0) {
        action->handler = ACTION_DEFAULT;
        thread->blocked &= ~bit;
    }
    enqueue(&thread->pending, info);
    __atomic_or_fetch(&thread->thread->work, WORK_SIGNAL, __ATOMIC_SEQ_CST);
    spin_unlock_irqrestore(&signals.lock, irq);
}

void signal_force_broken_frame(int while_delivering)
{
    if (while_delivering == SIGSEGV) {
        process_kill(SIGSEGV);
    }
    struct signal_info info = {.signo = SIGSEGV, .code = SI_KERNEL};
    signal_force(&info);
}

void signal_set_action(int number, const struct signal_action *action)
{
    signals.actions[number - 1] = *action;
    signals.actions[number - 1].mask &= ~SIGNALS_UNBLOCKABLE;
    if (signal_is_ignored(number)) {
        discard(&signals.pending, SIGNAL_BIT(number));
        list_for_each (node, &signals.threads) {
            discard(&list_entry(node, struct signal_thread, node)->pending, SIGNAL_BIT(number));
        }
    }
}

/* --- threads
 * -------------------------------------------------------------------------------------------------------
 */

int signal_thread_init(struct thread *thread, const struct thread *parent)
{
    struct signal_thread *new = kzalloc(sizeof(*new));
    if (new == NULL) {
        return -ENOMEM;
    }
    new->thread = thread;
    new->stack.flags = SS_DISABLE;
    list_init(&new->pending.infos);
    if (parent != NULL && parent->signal != NULL) {
        new->blocked = parent->signal->blocked;
    }
    bool irq = spin_lock_irqsave(&signals.lock);
    list_push_back(&signals.threads, &new->node);
    thread->signal = new;
    spin_unlock_irqrestore(&signals.lock, irq);
    return 0;
}

void signal_thread_free(struct thread *thread)
{
    struct signal_thread *old = thread->signal;
    cpu_timer_thread_end(thread);
    if (old == NULL) {
        return;
    }
    bool irq = spin_lock_irqsave(&signals.lock);
    list_remove(&old->node);
    thread->signal = NULL;
    discard(&old->pending, ~0ull);
    hand_over(~old->blocked);
    spin_unlock_irqrestore(&signals.lock, irq);
    kfree(old);
}

/* --- masks for the length of a system call
 * ------------------------------------------------------------------------- */

int signal_mask_during(uintptr_t address, size_t size)
{
    uint64_t mask;
    if (address == 0) {
        return 0;
    }
    if (size != sizeof(mask)) {
        return -EINVAL;
    }
    int error = copy_from_user(&mask, address, sizeof(mask));
    if (error == 0) {
        struct signal_thread *thread = signal_current();
        thread->saved_mask = thread->blocked;
        thread->restore_mask = true;
        signal_set_mask(mask);
    }
    return error;
}

void signal_mask_restore(bool interrupted)
{
    struct signal_thread *thread = signal_current();
    if (thread->restore_mask && !interrupted) {
        thread->restore_mask = false;
        signal_set_mask(thread->saved_mask);
    }
}

long restart_later(long (*resume)(const struct restart_block *), uint64_t a, uint64_t b, uint64_t c,
                   uint64_t d)
{
    signal_current()->restart = (struct restart_block){resume, {a, b, c, d}};
    return -ERESTART_RESTARTBLOCK;
}
