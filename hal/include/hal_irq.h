/* SPDX-License-Identifier: MIT */
/* Masking of interrupts on the calling CPU, and a hint for spin loops. Inline because every lock
 * uses it. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

/* Marks an instruction that needs ring 0, padded by empty prefixes to the five bytes of the call
 * that a platform without ring 0 puts in its place at boot (hal/xen/replace.c, which tells by the
 * bytes what it has before it). The caller's registers are kept but for those of the output. */
#define RING0_SITE(code)                                                                           \
    "990: " code "; .pushsection .ring0_sites, \"a\"; .long 990b - .; .popsection"

/* Masks interrupts; returns whether they were enabled before. Any context. */
static inline bool hal_irq_save(void)
{
    uint64_t flags;
    __asm__ volatile(RING0_SITE("pushfq; popq %%rax; ds; ds; cli") : "=a"(flags)::"memory");
    return (flags & 0x200) != 0;
}

static inline void hal_irq_disable(void)
{
    __asm__ volatile(RING0_SITE("ds; ds; ds; ds; cli")::: "memory");
}

static inline void hal_irq_enable(void)
{
    __asm__ volatile(RING0_SITE("ds; ds; ds; ds; sti")::: "memory");
}

/* Takes interrupts back to what hal_irq_save returned. Any context. */
static inline void hal_irq_restore(bool enabled)
{
    if (enabled) {
        hal_irq_enable();
    }
}

/* Tells the CPU (and a hypervisor) that this is a spin loop. */
static inline void hal_spin_hint(void)
{
    __asm__ volatile("pause" ::: "memory");
}
