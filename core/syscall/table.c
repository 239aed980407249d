/* SPDX-License-Identifier: MIT */
/* Which handler does which system call (numbers: Linux, arch/x86/include/uapi), and the second
 * table that goes through the trace of `log=strace`. The gate takes its table from core_syscalls.
 */
#include <linux/errno.h>

#include "core/lib/log.h"
#include "core/syscall/strace.h"
#include "core/syscall/syscall.h"

#define SYSCALL_HANDLER(name) long sys_##name(struct syscall_args *a);
#include "core/syscall/all_calls.h"
#undef SYSCALL_HANDLER

#define LAST (CORE_SYSCALL_COUNT - 1) /* stands for every number that is too large */

/* Names each number that is not there once. */
static long missing(struct syscall_args *a)
{
    static uint64_t reported[CORE_SYSCALL_COUNT / 64];
    uint64_t number = syscall_regs(a)->error;
    uint64_t slot = number < LAST ? number : LAST;
    uint64_t bit = 1ull << (slot % 64);
    if ((__atomic_fetch_or(&reported[slot / 64], bit, __ATOMIC_RELAXED) & bit) == 0) {
        log_debug("system call %lu is not there: ENOSYS", (unsigned long)number);
    }
    return -ENOSYS;
}

#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Woverride-init"
static syscall_handler *const handlers[CORE_SYSCALL_COUNT] = {
    [0 ... LAST] = missing,
#define SYSCALL_HANDLER(name) [__NR_##name] = sys_##name,
#include "core/syscall/all_calls.h"
#undef SYSCALL_HANDLER
};
#pragma GCC diagnostic pop

core_syscall_fn *const *core_syscalls = (core_syscall_fn *const *)handlers;

static long traced(struct syscall_args *a)
{
    uint64_t number = syscall_regs(a)->error;
    syscall_handler *handler = handlers[number < LAST ? number : LAST];
    strace_enter(number, a);
    long result = handler(a);
    strace_leave(number, a, result);
    return result;
}

static syscall_handler *const tracers[CORE_SYSCALL_COUNT] = {[0 ... LAST] = traced};

void syscall_trace(void)
{
    core_syscalls = (core_syscall_fn *const *)tracers;
}
