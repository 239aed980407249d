/* SPDX-License-Identifier: MIT */
/* What the platform keeps for each CPU and each thread. Core embeds these as the first member of
 * its own `struct cpu` and `struct thread`. The assembly in hal/x86_64 knows the offsets
 * (frame.inc); static assertions in hal/x86_64/thread.c keep the two in step. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#define HAL_MAX_CPUS 64

/* Each kernel stack is this large, with an unmapped guard page below it. */
#define HAL_KERNEL_STACK_SIZE 16384

struct hal_thread {
    uint64_t kernel_stack_top; /* first address above the stack; 16-byte aligned */
    uint64_t saved_rsp; /* where hal_switch left off; valid while the thread is not running */
    uint64_t fs_base;   /* the program's TLS base; only arch_prctl and clone change it */
    void *xstate;       /* 64-byte aligned area of hal_xstate_size() bytes */
    bool xstate_live;   /* inside a kernel entry: vector registers hold values of the program that
                           must   survive a switch (any entry but the system-call gate, whose callers
                           have none) */
    uint32_t mxcsr;     /* control words across a switch made with !xstate_live */
    uint16_t x87_control;
};

struct hal_cpu {
    struct hal_cpu *self;       /* GS:0 */
    struct hal_thread *current; /* GS:8: the running thread */
    uint32_t id;                /* 0 .. hal_cpu_count() - 1; 0 booted */
    uint32_t apic_id;
    void *platform; /* the platform's own data for this CPU */
    /* ns for which it wanted to run while the hypervisor ran others; NULL: it does not say. */
    const volatile uint64_t *stolen_ns;
};

/* The calling CPU. Stable only while the caller cannot move: kernel code moves only when it blocks.
 */
static inline struct hal_cpu *hal_this_cpu(void)
{
    struct hal_cpu *cpu;
    __asm__ volatile("movq %%gs:0, %0" : "=r"(cpu));
    return cpu;
}

static inline struct hal_thread *hal_current_thread(void)
{
    struct hal_thread *thread;
    __asm__ volatile("movq %%gs:8, %0" : "=r"(thread));
    return thread;
}
