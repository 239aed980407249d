/* SPDX-License-Identifier: MIT */
/* Masking of interrupts on the calling CPU, and a hint for spin loops. Inline because every lock uses it. A Xen PV
 * guest runs in ring 3 and masks event channels in its vcpu_info instead (hal/xen/irq.c). */
#pragma once

#include <stdbool.h>
#include <stdint.h>

/* Set once at entry, before the first use: true on Xen PV only. */
extern bool hal_xen_pv;

bool xen_irq_save(void);
void xen_irq_restore(bool enabled);

/* Masks interrupts; returns whether they were enabled before. Any context. */
static inline bool hal_irq_save(void)
{
    if (__builtin_expect(hal_xen_pv, 0)) {
        return xen_irq_save();
    }
    uint64_t flags;
    __asm__ volatile("pushfq; popq %0; cli" : "=r"(flags)::"memory");
    return (flags & 0x200) != 0;
}

/* Takes interrupts back to what hal_irq_save returned. Any context. */
static inline void hal_irq_restore(bool enabled)
{
    if (__builtin_expect(hal_xen_pv, 0)) {
        xen_irq_restore(enabled);
    } else if (enabled) {
        __asm__ volatile("sti" ::: "memory");
    }
}

static inline void hal_irq_disable(void)
{
    (void)hal_irq_save();
}

static inline void hal_irq_enable(void)
{
    hal_irq_restore(true);
}

/* Tells the CPU (and a hypervisor) that this is a spin loop. */
static inline void hal_spin_hint(void)
{
    __asm__ volatile("pause" ::: "memory");
}
