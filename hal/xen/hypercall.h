/* SPDX-License-Identifier: MIT */
/* Calls into the hypervisor (xen/include/public/arch-x86/xen-x86_64.h): number in RAX, arguments in
 * RDI, RSI, RDX, R10. They return 0 or more, or -errno (Xen's numbers are Linux's). Any context. */
#pragma once

#include "abi.h"

/* A debug build of Xen spoils the argument registers, hence the outputs. */
static inline long hypercall4(unsigned number, uint64_t first, uint64_t second, uint64_t third,
                              uint64_t fourth)
{
    long result;
    register uint64_t r10 __asm__("r10") = fourth;
    __asm__ volatile("call xen_hypercall"
                     : "=a"(result), "+D"(first), "+S"(second), "+d"(third), "+r"(r10)
                     : "a"((uint64_t)number)
                     : "rcx", "r11", "memory");
    return result;
}

static inline long hypercall3(unsigned number, uint64_t first, uint64_t second, uint64_t third)
{
    long result;
    __asm__ volatile("call xen_hypercall"
                     : "=a"(result), "+D"(first), "+S"(second), "+d"(third)
                     : "a"((uint64_t)number)
                     : "rcx", "r11", "memory");
    return result;
}

static inline long hypercall2(unsigned number, uint64_t first, uint64_t second)
{
    return hypercall3(number, first, second, 0);
}

static inline long event_channel_op(unsigned operation, void *argument)
{
    return hypercall2(HYPERCALL_EVENT_CHANNEL_OP, operation, (uint64_t)argument);
}

static inline long vcpu_op(unsigned operation, unsigned vcpu, void *argument)
{
    return hypercall3(HYPERCALL_VCPU_OP, operation, vcpu, (uint64_t)argument);
}

static inline long sched_op(unsigned operation, void *argument)
{
    return hypercall2(HYPERCALL_SCHED_OP, operation, (uint64_t)argument);
}
