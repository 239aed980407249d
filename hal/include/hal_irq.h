/* SPDX-License-Identifier: MIT */
/* Masking of interrupts on the calling CPU, and a hint for spin loops. Inline because every lock
 * uses it. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

/* Masks interrupts; returns whether they were enabled before. Any context. */
static inline bool hal_irq_save(void)
{
    uint64_t flags;
    __asm__ volatile("pushfq; popq %0; cli" : "=r"(flags)::"memory");
    return (flags & 0x200) != 0;
}

/* Takes interrupts back to what hal_irq_save returned. Any context. */
static inline void hal_irq_restore(bool enabled)
{
    if (enabled) {
        __asm__ volatile("sti" ::: "memory");
    }
}

static inline void hal_irq_disable(void)
{
    __asm__ volatile("cli" ::: "memory");
}

static inline void hal_irq_enable(void)
{
    __asm__ volatile("sti" ::: "memory");
}

/* Tells the CPU (and a hypervisor) that this is a spin loop. */
static inline void hal_spin_hint(void)
{
    __asm__ volatile("pause" ::: "memory");
}
