/* SPDX-License-Identifier: MIT */
/* Beginning and end: clone, exit, and the end of the one process. No lock; `ending` is set once. */
#include "core/syscall/process.h"

#include <linux/errno.h>
#include <linux/futex.h>
#include <linux/sched.h>
#include <linux/signal.h>

#include "core/fs/fs.h"
#include "core/lib/log.h"
#include "core/lib/string.h"
#include "core/mm/kmalloc.h"
#include "core/net/net.h"
#include "core/sched/futex.h"
#include "core/sched/sched.h"
#include "core/sched/sched_internal.h"
#include "core/signal/signal.h"
#include "core/syscall/syscall.h"
#include "goruntime/hostlink.h"
#include "hal.h"

/* --- the end
 * --------------------------------------------------------------------------------------------------------
 */

/* As on Linux nothing that has been written is lost: files are written back (`sync`), and what was
 * sent goes out. */
static _Noreturn void end(int status, bool sync)
{
    static bool ending;
    char record[16];
    if (__atomic_exchange_n(&ending, true, __ATOMIC_ACQ_REL)) {
        thread_stop(); /* somebody else ends the process */
    }
    thread_stop_others();
    if (sync) {
        fs_sync();
    }
    net_finish();
    int length = format(record, sizeof(record), "%cX%d\n", HOSTLINK_ESCAPE, status & 0xff);
    hal_console_write(HAL_STREAM_CONTROL, record, (size_t)length);
    hal_shutdown(HAL_SHUTDOWN_EXIT, status & 0xff);
}

void process_exit(int status)
{
    end(status, false);
}

/* What a shell prints for a program that a signal has ended (strsignal(3)); nothing for those that
 * somebody asked for. */
static const char *const death_notes[] = {
    [SIGHUP] = "Hangup",
    [SIGQUIT] = "Quit",
    [SIGILL] = "Illegal instruction",
    [SIGTRAP] = "Trace/breakpoint trap",
    [SIGABRT] = "Aborted",
    [SIGBUS] = "Bus error",
    [SIGFPE] = "Floating point exception",
    [SIGKILL] = "Killed",
    [SIGUSR1] = "User defined signal 1",
    [SIGSEGV] = "Segmentation fault",
    [SIGUSR2] = "User defined signal 2",
    [SIGALRM] = "Alarm clock",
    [SIGTERM] = "Terminated",
    [SIGSTKFLT] = "Stack fault",
    [SIGXCPU] = "CPU time limit exceeded",
    [SIGXFSZ] = "File size limit exceeded",
    [SIGVTALRM] = "Virtual timer expired",
    [SIGPROF] = "Profiling timer expired",
    [SIGIO] = "I/O possible",
    [SIGPWR] = "Power failure",
    [SIGSYS] = "Bad system call",
};

void process_kill(int signal)
{
    char line[64];
    const char *note = NULL;
    if (signal < (int)(sizeof(death_notes) / sizeof(death_notes[0]))) {
        note = death_notes[signal];
    }
    if (note != NULL) {
        int length = format(line, sizeof(line), "%s\n", note);
        hal_console_write(HAL_STREAM_ERR, line, (size_t)length);
    }
    process_exit(128 + signal);
}

long sys_exit_group(struct syscall_args *a)
{
    end((int)a->arg[0], true);
}

long sys_exit(struct syscall_args *a)
{
    struct thread *thread = current_thread();
    if (thread_count() == 1) {
        end((int)a->arg[0], true);
    }
    futex_exit_robust_list(thread->robust_list, thread->tid);
    if (thread->clear_tid != 0) {
        uint32_t zero = 0;
        if (copy_to_user(thread->clear_tid, &zero, sizeof(zero)) == 0) {
            futex_wake(thread->clear_tid, 1, FUTEX_BITSET_MATCH_ANY);
        }
    }
    thread_exit();
}

/* --- clone
 * ----------------------------------------------------------------------------------------------------------
 */

/* A thread shares all this. What asks for less is fork, which one address space cannot do. */
#define CLONE_THREAD_FLAGS (CLONE_VM | CLONE_FS | CLONE_FILES | CLONE_SIGHAND | CLONE_THREAD)
#define CLONE_KNOWN_FLAGS                                                                          \
    (CLONE_THREAD_FLAGS | CLONE_SYSVSEM | CLONE_SETTLS | CLONE_PARENT_SETTID |                     \
     CLONE_CHILD_SETTID | CLONE_CHILD_CLEARTID | CLONE_DETACHED)

/* The child's beginning, on its own kernel stack: takes its frame, goes to the program. */
static void child_main(void *argument)
{
    struct regs *start = argument;
    struct thread *thread = current_thread();
    struct regs *regs = hal_user_regs(&thread->hal);
    *regs = *start;
    kfree(start);
    hal_irq_disable();
    while (__atomic_load_n(&thread->work, __ATOMIC_ACQUIRE) != 0) {
        core_return_to_user(regs);
    }
    hal_enter_user(regs);
}

static struct regs *child_regs(const struct regs *parent, uintptr_t stack)
{
    struct regs *regs = kmalloc(sizeof(*regs));
    if (regs != NULL) {
        *regs = *parent;
        regs->rax = 0;
        if (stack != 0) {
            regs->rsp = stack;
        }
        regs->error = (uint64_t)-1; /* returns from no system call that could be made again */
    }
    return regs;
}

long sys_clone(struct syscall_args *a)
{
    uint64_t flags = a->arg[0];
    uintptr_t stack = a->arg[1], parent_tid = a->arg[2], child_tid = a->arg[3], tls = a->arg[4];
    struct thread *parent = current_thread(), *child;
    if ((flags & CLONE_THREAD_FLAGS) != CLONE_THREAD_FLAGS ||
        (flags & ~(uint64_t)CLONE_KNOWN_FLAGS) != 0) {
        return -ENOSYS;
    }
    if ((flags & CLONE_SETTLS) != 0 && tls >= USER_END) {
        return -EPERM;
    }
    struct regs *regs = child_regs(syscall_regs(a), stack);
    if (regs == NULL) {
        return -ENOMEM;
    }
    int error = thread_create(&child, parent->name, child_main, regs);
    if (error != 0) {
        kfree(regs);
        return error;
    }
    error = signal_thread_init(child, parent);
    if (error != 0) {
        kfree(regs);
        bool irq = hal_irq_save();
        thread_free(child); /* it has never run */
        hal_irq_restore(irq);
        return error;
    }
    child->affinity = parent->affinity;
    child->credentials = parent->credentials;
    hal_thread_inherit(&child->hal);
    child->hal.fs_base = (flags & CLONE_SETTLS) != 0 ? tls : parent->hal.fs_base;
    if ((flags & CLONE_CHILD_CLEARTID) != 0) {
        child->clear_tid = child_tid;
    }
    thread_register(child);
    int32_t tid = child->tid;
    if ((flags & CLONE_PARENT_SETTID) != 0) {
        (void)copy_to_user(parent_tid, &tid, sizeof(tid)); /* Linux does not care either */
    }
    if ((flags & CLONE_CHILD_SETTID) != 0) {
        (void)copy_to_user(child_tid, &tid, sizeof(tid));
    }
    thread_start(child);
    return tid;
}

/* There are never children to wait for. */
long sys_wait4(struct syscall_args *a)
{
    (void)a;
    return -ECHILD;
}

long sys_waitid(struct syscall_args *a)
{
    (void)a;
    return -ECHILD;
}
