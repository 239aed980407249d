/* SPDX-License-Identifier: MIT */
/* The HAL on the host: its declarations are the real ones, its direct map is memory that the test
 * reserves (fake_memory.c). */
#pragma once

#include "fakes/hal_cpu.h"
#include "fakes/hal_irq.h"

#define direct_map direct_map_of_hardware
#define direct_map_physical direct_map_physical_of_hardware
#include "hal/include/hal.h"
#undef direct_map
#undef direct_map_physical

extern char *fake_memory; /* physical address 0 */

static inline void *direct_map(uint64_t physical)
{
    return fake_memory + physical;
}

static inline uint64_t direct_map_physical(const void *address)
{
    return (uint64_t)((const char *)address - fake_memory);
}
