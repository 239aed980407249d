/* SPDX-License-Identifier: MIT */
/* The page allocator against a model that knows the owner of each page: holes, tiny ranges, memory
 * above 4 GiB, several CPUs. */
#include <pthread.h>
#include <string.h>

#include "core/mm/mm_internal.h"
#include "core/mm/page.h"
#include "fakes/check.h"
#include "fakes/fake_memory.h"
#include "hal.h"

#define PAGES (FAKE_MEMORY_SIZE / PAGE_SIZE)
#define MAX_BLOCKS 60000
#define CPUS 4

static uint8_t owned[PAGES]; /* atomic */

struct block {
    uint64_t physical, stamp;
    unsigned order;
};

static bool in_ranges(uint64_t physical, uint64_t size)
{
    for (unsigned i = 0; i < fake_boot_info.range_count; i++) {
        const struct boot_range *range = &fake_boot_info.ranges[i];
        if (physical >= range->base && physical + size <= range->base + range->size) {
            return true;
        }
    }
    return false;
}

static bool take(struct block *block, unsigned order, unsigned flags, uint64_t stamp)
{
    uint64_t physical = page_alloc(order, flags);
    if (physical == 0) {
        return false;
    }
    uint64_t size = PAGE_SIZE << order;
    CHECK(physical % size == 0, "%#lx is not aligned to order %u", physical, order);
    CHECK(in_ranges(physical, size), "%#lx order %u is not memory", physical, order);
    for (uint64_t at = 0; at < size; at += PAGE_SIZE) {
        uint8_t *owner = &owned[(physical + at) / PAGE_SIZE];
        CHECK(__atomic_exchange_n(owner, 1, __ATOMIC_SEQ_CST) == 0, "page %#lx given twice",
              physical + at);
        uint64_t *words = direct_map(physical + at);
        for (unsigned i = 0; (flags & PAGE_ZERO) != 0 && i < PAGE_SIZE / 8; i++) {
            CHECK(words[i] == 0, "page %#lx word %u is not zero", physical + at, i);
        }
        words[0] = words[1] = words[PAGE_SIZE / 8 - 1] = stamp;
    }
    *block = (struct block){physical, stamp, order};
    return true;
}

static void check_and_disown(const struct block *block)
{
    for (uint64_t at = 0; at < PAGE_SIZE << block->order; at += PAGE_SIZE) {
        uint64_t *words = direct_map(block->physical + at);
        CHECK(words[0] == block->stamp && words[1] == block->stamp &&
                  words[PAGE_SIZE / 8 - 1] == block->stamp,
              "page %#lx was written by others", block->physical + at);
        __atomic_store_n(&owned[(block->physical + at) / PAGE_SIZE], 0, __ATOMIC_SEQ_CST);
    }
}

static void give(const struct block *block, uint64_t how)
{
    check_and_disown(block);
    if (how % 4 == 0) {
        page_free_run(block->physical, 1ul << block->order);
    } else if (how % 4 == 1) { /* in pieces */
        for (uint64_t i = 0; i < 1ul << block->order; i++) {
            page_free(block->physical + i * PAGE_SIZE, 0);
        }
    } else {
        page_free(block->physical, block->order);
    }
}

/* `steps` random allocations and frees, then everything goes back. */
static void churn(uint64_t seed, unsigned steps, unsigned orders, unsigned max_blocks)
{
    struct block *blocks = malloc(max_blocks * sizeof(*blocks));
    unsigned count = 0;
    for (unsigned i = 0; i < steps; i++) {
        uint64_t dice = test_random(&seed);
        bool growing = (i / 4096) % 2 == 0;
        if (count < max_blocks && dice % 8 < (growing ? 6 : 2)) {
            unsigned order = (dice >> 8) % 3 != 0 ? 0 : (unsigned)(dice >> 16) % orders;
            count += take(&blocks[count], order, (dice >> 24) % 8 == 0 ? PAGE_ZERO : 0, dice | 1);
        } else if (count != 0) {
            unsigned victim = (unsigned)((dice >> 32) % count);
            give(&blocks[victim], dice >> 3);
            blocks[victim] = blocks[--count];
        }
    }
    while (count != 0) {
        count--;
        give(&blocks[count], 2);
    }
    free(blocks);
}

static void *churn_thread(void *argument)
{
    uint64_t id = (uint64_t)argument;
    struct hal_thread thread = {0};
    struct hal_cpu cpu = {.id = (uint32_t)id, .current = &thread};
    fake_cpu = &cpu;
    churn(id + 77, 60000, 6, 2000);
    return NULL;
}

static size_t shrinker_calls;
static uint64_t shrinker_page;

static size_t shrinker(void)
{
    shrinker_calls++;
    if (shrinker_page == 0) {
        return 0;
    }
    page_free(shrinker_page, 0);
    shrinker_page = 0;
    return 1;
}

static void test_exhaustion(void)
{
    static struct block blocks[2 * MAX_BLOCKS];
    unsigned count = 0;
    uint64_t before = page_free_count();
    shrinker_page = page_alloc(0, 0);
    page_register_shrinker(shrinker);
    for (unsigned order = PAGE_MAX_ORDER + 1; order-- > 0;) {
        while (count < 2 * MAX_BLOCKS && take(&blocks[count], order, 0, 5)) {
            count++;
        }
    }
    CHECK(shrinker_calls != 0 && shrinker_page == 0, "the shrinker was not asked");
    uint64_t left = page_free_count();
    CHECK(left > 0 && left <= 64, "%lu pages are left for the reserve", left);
    uint64_t reserved = 0;
    while (take(&blocks[count], 0, PAGE_RESERVE, 6)) {
        count++;
        reserved++;
    }
    CHECK(reserved == left && page_free_count() == 0, "%lu of %lu reserve pages were given",
          reserved, left);
    CHECK(count == 0 || page_alloc(PAGE_MAX_ORDER + 1, 0) == 0, "an order that is not there");
    while (count != 0) {
        count--;
        give(&blocks[count], count);
    }
    CHECK(page_free_count() == before, "%lu pages of %lu came back", page_free_count(), before);
}

static unsigned count_largest(void)
{
    static uint64_t pages[4096];
    unsigned count = 0;
    while (count < 4096 && (pages[count] = page_alloc(PAGE_MAX_ORDER, 0)) != 0) {
        count++;
    }
    for (unsigned i = 0; i < count; i++) {
        page_free(pages[i], PAGE_MAX_ORDER);
    }
    return count;
}

int main(void)
{
    fake_memory_reset();
    fake_memory_add(0x1000, 0x9e000);                       /* below 640 KiB */
    fake_memory_add(0x100000, 0x1000);                      /* nothing but its bitmaps */
    fake_memory_add(0x200000, 0x3000);                      /* tiny */
    fake_memory_add(0x345000, (96ul << 20) + 0x3000);       /* odd edges */
    fake_memory_add((4ul << 30) - (6ul << 20), 16ul << 20); /* across 4 GiB */
    fake_memory_add(9ul << 30, 33ul << 20);
    page_init();
    uint64_t low_total = page_total();
    CHECK(low_total > (100ul << 20) / PAGE_SIZE && low_total < (104ul << 20) / PAGE_SIZE, "%lu",
          low_total);
    page_init_high();
    uint64_t total = page_total();
    CHECK(total > low_total + (42ul << 20) / PAGE_SIZE, "%lu pages in all", total);
    CHECK(page_free_count() == total, "%lu free of %lu", page_free_count(), total);
    unsigned largest = count_largest();
    CHECK(largest >= 32, "%u blocks of 4 MiB", largest);

    churn(1, 200000, PAGE_MAX_ORDER + 1, MAX_BLOCKS);
    churn(2, 200000, 4, MAX_BLOCKS);
    CHECK(page_free_count() == total, "%lu free of %lu", page_free_count(), total);
    test_exhaustion();
    CHECK(count_largest() == largest, "%u blocks of 4 MiB, %u at first", count_largest(), largest);

    fake_cpu_count = CPUS;
    pthread_t threads[CPUS];
    for (uint64_t i = 0; i < CPUS; i++) {
        pthread_create(&threads[i], NULL, churn_thread, (void *)i);
    }
    for (unsigned i = 0; i < CPUS; i++) {
        pthread_join(threads[i], NULL);
    }
    CHECK(page_free_count() == total, "%lu free of %lu", page_free_count(), total);

    page_add((12ul << 30) + 0x800, 0x10800); /* 16 whole pages, one for bitmaps */
    CHECK(page_total() == total + 15, "%lu pages were added", page_total() - total);

    page_set_reserve_owner(hal_current_thread());
    uint64_t count = 0;
    while (page_alloc(0, 0) != 0) {
        count++;
    }
    CHECK(count + 64 * CPUS >= page_total(), "the reserve's owner got %lu of %lu", count,
          page_total());
    return 0;
}
