/* SPDX-License-Identifier: MIT */
/* CPU and interrupt state behind fakes/hal_cpu.h and fakes/hal_irq.h. */
#include "hal.h"

static struct hal_thread boot_thread;
static struct hal_cpu boot_cpu = {.self = &boot_cpu, .current = &boot_thread};

_Thread_local struct hal_cpu *fake_cpu = &boot_cpu;
_Thread_local bool fake_irq_enabled = true;
