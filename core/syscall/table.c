/* SPDX-License-Identifier: MIT */
/* Which handler does which system call (numbers: Linux, arch/x86/include/uapi), and the trace of `log=strace`. */
#include <asm/unistd_64.h>
#include <linux/errno.h>

#include "core/lib/log.h"
#include "core/sched/sched.h"
#include "core/syscall/strace.h"
#include "core/syscall/syscall.h"

#define SYSCALL_HANDLER(name) long sys_##name(struct syscall_args *a);
#include "core/syscall/all_calls.h"
#undef SYSCALL_HANDLER

#define TABLE_SIZE 512

static syscall_handler *const handlers[TABLE_SIZE] = {
#define SYSCALL_HANDLER(name) [__NR_##name] = sys_##name,
#include "core/syscall/all_calls.h"
#undef SYSCALL_HANDLER
};

/* Names each number that is not there once. */
static void report_missing(uint64_t number)
{
    static uint64_t reported[TABLE_SIZE / 64];
    uint64_t bit = 1ull << (number % 64);
    if (number < TABLE_SIZE &&
        (__atomic_fetch_or(&reported[number / 64], bit, __ATOMIC_RELAXED) & bit) == 0) {
        log_debug("system call %lu is not there: ENOSYS", (unsigned long)number);
    }
}

long core_syscall(struct regs *regs)
{
    struct syscall_args args = {
        .arg = {regs->rdi, regs->rsi, regs->rdx, regs->r10, regs->r8, regs->r9},
        .regs = regs,
    };
    uint64_t number = regs->rax;
    if (__builtin_expect(number >= TABLE_SIZE || handlers[number] == NULL, 0)) {
        report_missing(number);
        return -ENOSYS;
    }
    if (__builtin_expect(log_level == LOG_STRACE, 0)) {
        strace_enter(number, &args);
        long result = handlers[number](&args);
        strace_leave(number, &args, result);
        return result;
    }
    return handlers[number](&args);
}
