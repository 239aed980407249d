/* SPDX-License-Identifier: MIT */
/* A memory map as bad as they come: overlaps, duplicates, 64 ranges; and a machine of 2 MiB. */
#include "core/mm/page.h"
#include "fakes/check.h"
#include "fakes/fake_memory.h"
#include "hal.h"

static uint8_t seen[FAKE_MEMORY_SIZE / PAGE_SIZE];

int main(void)
{
    fake_memory_reset();
    fake_memory_add(0, 0x100000); /* page 0 is never given out */
    fake_memory_add(0x80000, 0x100000);
    fake_memory_add(0x80000, 0x100000);
    fake_memory_add(0x90000, 0x1000);
    fake_memory_add(0x200800, 0x2000); /* one whole page */
    for (unsigned i = fake_boot_info.range_count; i < BOOT_MAX_RANGES; i++) {
        fake_memory_add(0x300000 + i * 0x10000ul, 0x9000);
    }
    page_init();
    page_init_high();
    uint64_t physical, count = 0;
    while ((physical = page_alloc(0, PAGE_RESERVE | PAGE_ZERO)) != 0) {
        CHECK(physical != 0 && physical % PAGE_SIZE == 0, "%#lx", physical);
        CHECK(seen[physical / PAGE_SIZE]++ == 0, "page %#lx was given twice", physical);
        count++;
    }
    CHECK(count == page_total(), "%lu pages of %lu", count, page_total());
    CHECK(count >= 0x180 - 4 + 59 * 8, "only %lu pages", count);
    return 0;
}
