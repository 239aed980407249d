/* SPDX-License-Identifier: MIT */
/* Views of physical memory that loaders and firmware point at. Their pointers are not to be
 * trusted, so the page tables are asked before anything is read. Boot CPU only, no lock. */
#include "kvm_internal.h"

#define PHYSICAL_LIMIT (KERNEL_MAP_BASE - DIRECT_MAP_BASE)

bool physical_can_map;

const void *physical_view(uint64_t physical, size_t size)
{
    if (physical == 0 || size == 0 || physical >= PHYSICAL_LIMIT ||
        size > PHYSICAL_LIMIT - physical) {
        return NULL;
    }
    uintptr_t start = (uintptr_t)direct_map(physical);
    uintptr_t end = start + size;
    for (uintptr_t address = start; address < end;) {
        size_t page = hal_query(address, NULL, NULL, NULL);
        if (page == 0) {
            return physical_can_map ? hal_map_device(physical, size) : NULL;
        }
        address = (address & ~(page - 1)) + page;
    }
    return (const void *)start;
}
