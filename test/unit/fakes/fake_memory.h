/* SPDX-License-Identifier: MIT */
/* Physical memory and boot information for tests. */
#pragma once

#include <stdint.h>

#define FAKE_MEMORY_SIZE (16ul << 30)

struct boot_info;
extern struct boot_info fake_boot_info;
extern unsigned fake_cpu_count;

/* Fresh memory, no ranges. */
void fake_memory_reset(void);
void fake_memory_add(uint64_t base, uint64_t size);
