/* SPDX-License-Identifier: MIT */
/* Page tables on the host: the paging part of hal.h over a table of 2 MiB blocks. Not for several
 * host threads. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

/* What a CPU would do with an access: the physical address, or 0 for a fault. */
uint64_t fake_paging_translate(uintptr_t address, unsigned prot);

/* Pages of 4 KiB and of 2 MiB that are mapped. */
void fake_paging_count(uint64_t *small, uint64_t *huge);
