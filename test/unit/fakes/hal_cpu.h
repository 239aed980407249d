/* SPDX-License-Identifier: MIT */
/* The calling CPU on the host: each host thread says which one it plays (CPU 0 unless it says
 * otherwise). */
#pragma once

#define hal_this_cpu hal_this_cpu_of_hardware
#define hal_current_thread hal_current_thread_of_hardware
#include "hal/include/hal_cpu.h"
#undef hal_this_cpu
#undef hal_current_thread

extern _Thread_local struct hal_cpu *fake_cpu;

static inline struct hal_cpu *hal_this_cpu(void)
{
    return fake_cpu;
}

static inline struct hal_thread *hal_current_thread(void)
{
    return fake_cpu->current;
}
