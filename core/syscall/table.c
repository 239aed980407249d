/* SPDX-License-Identifier: MIT */
/* Which handler does which system call (numbers: Linux, arch/x86/include/uapi). The table that the
 * gate calls through is made at boot from the list of those that are there, and the results that it
 * gives by itself from their handlers; the trace of `log=strace` puts itself into every entry. */
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

static const uint16_t numbers[] = {
#define SYSCALL_HANDLER(name) __NR_##name,
#include "core/syscall/all_calls.h"
#undef SYSCALL_HANDLER
};

/* In the order of `numbers`. */
static syscall_handler *const handlers[] = {
#define SYSCALL_HANDLER(name) sys_##name,
#include "core/syscall/all_calls.h"
#undef SYSCALL_HANDLER
};

/* Calls whose result never changes. */
static const uint16_t fixed_numbers[] = {__NR_getpid, __NR_getppid};

core_syscall_fn *core_syscalls[CORE_SYSCALL_COUNT];
int32_t core_fixed_results[CORE_SYSCALL_COUNT];

static void set_all(syscall_handler *handler)
{
    for (unsigned number = 0; number < CORE_SYSCALL_COUNT; number++) {
        core_syscalls[number] = (core_syscall_fn *)handler;
        core_fixed_results[number] = -1;
    }
}

void syscall_init(void)
{
    set_all(missing);
    for (size_t i = 0; i < sizeof(numbers) / sizeof(numbers[0]); i++) {
        core_syscalls[numbers[i]] = (core_syscall_fn *)handlers[i];
    }
    for (size_t i = 0; i < sizeof(fixed_numbers) / sizeof(fixed_numbers[0]); i++) {
        core_fixed_results[fixed_numbers[i]] = (int32_t)core_syscalls[fixed_numbers[i]](NULL);
    }
}

int syscall_index(uint64_t number)
{
    for (size_t i = 0; i < sizeof(numbers) / sizeof(numbers[0]); i++) {
        if (numbers[i] == number) {
            return (int)i;
        }
    }
    return -1;
}

static long traced(struct syscall_args *a)
{
    uint64_t number = syscall_regs(a)->error;
    int index = syscall_index(number);
    strace_enter(number, a);
    long result = index < 0 ? missing(a) : handlers[index](a);
    strace_leave(number, a, result);
    return result;
}

void syscall_trace(void)
{
    set_all(traced);
}
