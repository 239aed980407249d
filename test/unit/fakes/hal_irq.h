/* SPDX-License-Identifier: MIT */
/* Interrupt masking on the host: a flag per host thread. */
#pragma once

int sched_yield(void); /* not by <sched.h>: the C library's headers and Linux's do not mix */

#define hal_irq_save hal_irq_save_of_hardware
#define hal_irq_restore hal_irq_restore_of_hardware
#define hal_irq_disable hal_irq_disable_of_hardware
#define hal_irq_enable hal_irq_enable_of_hardware
#define hal_spin_hint hal_spin_hint_of_hardware
#include "hal/include/hal_irq.h"
#undef hal_irq_save
#undef hal_irq_restore
#undef hal_irq_disable
#undef hal_irq_enable
#undef hal_spin_hint

extern _Thread_local bool fake_irq_enabled;

static inline bool hal_irq_save(void)
{
    bool enabled = fake_irq_enabled;
    fake_irq_enabled = false;
    return enabled;
}

static inline void hal_irq_restore(bool enabled)
{
    fake_irq_enabled = enabled;
}

static inline void hal_irq_disable(void)
{
    fake_irq_enabled = false;
}

static inline void hal_irq_enable(void)
{
    fake_irq_enabled = true;
}

/* More host threads than host CPUs may spin: whoever holds the lock should run. */
static inline void hal_spin_hint(void)
{
    sched_yield();
}
