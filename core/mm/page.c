/* SPDX-License-Identifier: MIT */
/* Physical pages. Each range of memory is a zone that begins with its own bitmaps: for each order
 * one bit a block, set while that block is free. Free blocks hang in one list per order, linked
 * through their own first bytes, so nothing is kept for a page in use. What has never been needed
 * is in no list: set-up writes only bitmaps, since the first write to a block has the host find and
 * clear memory for it, 2 MiB at a time where it has large pages. page_lock guards zones, bits and
 * lists; the cache of single pages of each CPU is guarded by masked interrupts. */
#include "core/mm/page.h"

#include "core/lib/list.h"
#include "core/lib/log.h"
#include "core/lib/spinlock.h"
#include "core/mm/mm_internal.h"
#include "hal.h"

#define ORDERS (PAGE_MAX_ORDER + 1)
#define ZONE_ALIGN (1ul << PAGE_MAX_ORDER) /* pages */
#define MAX_ZONES (2 * BOOT_MAX_RANGES)
#define EARLY_PAGES ((4ul << 30) / PAGE_SIZE)
#define RESERVE_MAX 64
#define REFILL_ORDER                                                                               \
    4 /* a refill takes one block, so neighbours in memory are handed out in a row */
#define CACHE_LIMIT_MIN 8u
#define CACHE_LIMIT_MAX 64u
#define MAX_SHRINKERS 8

/* Page numbers throughout. */
struct zone {
    uint64_t first, end; /* usable pages, behind the bitmaps */
    uint64_t fresh;      /* from here on nothing has been in use or in a list yet */
    uint64_t
        origin; /* `first` rounded down to the largest block: where the bitmaps begin to count */
    uint32_t words[ORDERS]; /* where the bitmap of each order begins in `bits` */
    uint64_t bits[];
};

struct page_cache {
    uint64_t head; /* physical; each page begins with the next; 0 ends */
    uint32_t count;
} __attribute__((aligned(64)));

static struct spinlock page_lock = SPINLOCK_INIT(LOCK_PAGE);
static struct zone *zones[MAX_ZONES]; /* ascending */
static unsigned zone_count;
static struct list free_lists[ORDERS];
static uint32_t nonempty;   /* bit per order */
static uint64_t free_pages; /* in the lists or fresh; written under page_lock */
static uint64_t total_pages;
static uint64_t reserve_pages;
static uint32_t cache_limit = CACHE_LIMIT_MIN;
static const struct hal_thread *reserve_owner;
static struct page_cache caches[HAL_MAX_CPUS];
static page_shrinker_fn *shrinkers[MAX_SHRINKERS];

static inline struct list *block_node(uint64_t page)
{
    return direct_map(page << PAGE_SHIFT);
}

static inline uint64_t node_block(const struct list *node)
{
    return direct_map_physical(node) >> PAGE_SHIFT;
}

/* Zeroes a multiple of 512 bytes with 16-byte stores. The vector register may hold a value of the
 * program. */
static __attribute__((noinline)) void clear_memory(void *to, size_t size)
{
    char saved[16];
    char *end = (char *)to + size;
    __asm__ volatile("movups %%xmm0, %[saved]\n\t"
                     "pxor %%xmm0, %%xmm0\n"
                     "1:\n\t"
                     ".set page_clear_offset, 0\n\t"
                     ".rept 32\n\t"
                     "movaps %%xmm0, page_clear_offset(%[to])\n\t"
                     ".set page_clear_offset, page_clear_offset + 16\n\t"
                     ".endr\n\t"
                     "addq $512, %[to]\n\t"
                     "cmpq %[end], %[to]\n\t"
                     "jne 1b\n\t"
                     "movups %[saved], %%xmm0"
                     : [to] "+r"(to), [saved] "=m"(saved)
                     : [end] "r"(end)
                     : "memory", "cc");
}

void page_clear(uint64_t physical, unsigned order)
{
    clear_memory(direct_map(physical), PAGE_SIZE << order);
}

/* --- blocks; page_lock ----------------------------------------------------------------------- */

static struct zone *find_zone(uint64_t page)
{
    unsigned low = 0, high = zone_count;
    while (low < high) {
        unsigned middle = (low + high) / 2;
        if (zones[middle]->first <= page) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return low != 0 && page < zones[low - 1]->end ? zones[low - 1] : NULL;
}

static inline uint64_t *bit_word(struct zone *zone, uint64_t page, unsigned order, uint64_t *mask)
{
    uint64_t index = (page - zone->origin) >> order;
    *mask = 1ull << (index % 64);
    return &zone->bits[zone->words[order] + index / 64];
}

static void mark_free(struct zone *zone, uint64_t page, unsigned order)
{
    uint64_t mask, *word = bit_word(zone, page, order, &mask);
    if ((*word & mask) != 0) {
        panic("page %#lx is freed twice", (unsigned long)page);
    }
    *word |= mask;
    nonempty |= 1u << order;
}

static bool unmark_free(struct zone *zone, uint64_t page, unsigned order)
{
    uint64_t mask, *word = bit_word(zone, page, order, &mask);
    if ((*word & mask) == 0) {
        return false;
    }
    *word &= ~mask;
    return true;
}

static void unlink_block(uint64_t page, unsigned order)
{
    struct list *node = block_node(page);
    node->prev->next = node->next;
    node->next->prev = node->prev;
    if (list_empty(&free_lists[order])) {
        nonempty &= ~(1u << order);
    }
}

/* The largest block that begins at `page` and ends by `end`. */
static unsigned largest_order(uint64_t page, uint64_t end)
{
    unsigned fits = 63 - (unsigned)__builtin_clzll(end - page);
    unsigned aligned = (unsigned)__builtin_ctzll(page | ZONE_ALIGN);
    return fits < aligned ? fits : aligned;
}

/* Puts the next fresh block into its list; false: there are none left. Its buddy is never fresh:
 * the block is as large as its alignment allows, and then the buddy lies below, or as the end of
 * the zone allows, and then it has none. */
static bool list_fresh_block(void)
{
    for (unsigned i = 0; i < zone_count; i++) {
        struct zone *zone = zones[i];
        if (zone->fresh != zone->end) {
            unsigned order = largest_order(zone->fresh, zone->end);
            mark_free(zone, zone->fresh, order);
            list_push_back(&free_lists[order], block_node(zone->fresh));
            zone->fresh += 1ull << order;
            return true;
        }
    }
    return false;
}

/* A page number, or 0: page 0 is never ours. */
static uint64_t take_block(unsigned order)
{
    uint32_t candidates;
    while ((candidates = nonempty >> order) == 0) {
        if (!list_fresh_block()) {
            return 0;
        }
    }
    unsigned at = order + (unsigned)__builtin_ctz(candidates);
    uint64_t page = node_block(free_lists[at].next);
    struct zone *zone = find_zone(page);
    unlink_block(page, at);
    unmark_free(zone, page, at);
    while (at > order) {
        at--;
        uint64_t half = page + (1ull << at);
        mark_free(zone, half, at);
        list_push_front(&free_lists[at], block_node(half));
    }
    free_pages -= 1ull << order;
    return page;
}

static void give_block(uint64_t page, unsigned order)
{
    struct zone *zone = find_zone(page);
    if (zone == NULL || page + (1ull << order) > zone->fresh) {
        panic("page %#lx of order %u is freed, but is not memory", (unsigned long)page, order);
    }
    free_pages += 1ull << order;
    while (order < PAGE_MAX_ORDER) {
        uint64_t buddy = page ^ (1ull << order);
        if (!unmark_free(zone, buddy, order)) {
            break;
        }
        unlink_block(buddy, order);
        page &= ~(1ull << order);
        order++;
    }
    mark_free(zone, page, order);
    list_push_front(&free_lists[order], block_node(page));
}

/* --- zones ----------------------------------------------------------------------------------- */

static uint64_t words_layout(uint64_t first, uint64_t end, uint32_t words[ORDERS])
{
    uint64_t origin = first & ~(ZONE_ALIGN - 1);
    uint64_t pages = ((end + ZONE_ALIGN - 1) & ~(ZONE_ALIGN - 1)) - origin;
    uint64_t next = 0;
    for (unsigned order = 0; order < ORDERS; order++) {
        words[order] = (uint32_t)next;
        next += ((pages >> order) + 63) / 64;
    }
    return next;
}

static void add_zone(uint64_t first, uint64_t end)
{
    uint32_t words[ORDERS];
    if (first == 0) {
        first = 1;
    }
    if (first >= end) {
        return;
    }
    size_t size = sizeof(struct zone) + words_layout(first, end, words) * sizeof(uint64_t);
    uint64_t overhead = (size + PAGE_SIZE - 1) / PAGE_SIZE;
    if (end - first <= overhead) {
        return; /* nothing would be left */
    }
    struct zone *zone = direct_map(first << PAGE_SHIFT);
    clear_memory(zone, overhead * PAGE_SIZE);
    zone->origin = first & ~(ZONE_ALIGN - 1);
    zone->first = first + overhead;
    zone->fresh = zone->first;
    zone->end = end;
    for (unsigned order = 0; order < ORDERS; order++) {
        zone->words[order] = words[order];
    }

    bool irq = spin_lock_irqsave(&page_lock);
    unsigned at = zone_count;
    if (zone_count == MAX_ZONES) {
        spin_unlock_irqrestore(&page_lock, irq);
        log_warn("too many pieces of memory: %lu KiB stay unused",
                 (unsigned long)(end - first) * 4);
        return;
    }
    while (at > 0 && zones[at - 1]->first > first) {
        zones[at] = zones[at - 1];
        at--;
    }
    zones[at] = zone;
    zone_count++;
    uint64_t added = end - zone->first;
    free_pages += added;
    total_pages += added;
    reserve_pages = total_pages / 64 < RESERVE_MAX ? total_pages / 64 : RESERVE_MAX;
    uint32_t limit =
        total_pages / 1024 < CACHE_LIMIT_MAX ? (uint32_t)(total_pages / 1024) : CACHE_LIMIT_MAX;
    cache_limit = limit > CACHE_LIMIT_MIN ? limit : CACHE_LIMIT_MIN;
    spin_unlock_irqrestore(&page_lock, irq);
}

/* The part of each boot range that lies in [low, high). The platform promises ranges that are
 * sorted and apart; what overlaps all the same is taken once. */
static void add_ranges(uint64_t low, uint64_t high)
{
    const struct boot_info *info = hal_boot_info();
    for (unsigned i = 0; i < info->range_count; i++) {
        const struct boot_range *range = &info->ranges[i];
        uint64_t first = (range->base + PAGE_SIZE - 1) >> PAGE_SHIFT;
        uint64_t end = (range->base + range->size) >> PAGE_SHIFT;
        first = first > low ? first : low;
        end = end < high ? end : high;
        low = end > low ? end : low;
        add_zone(first, end);
    }
}

void page_init(void)
{
    for (unsigned order = 0; order < ORDERS; order++) {
        list_init(&free_lists[order]);
    }
    add_ranges(0, EARLY_PAGES);
}

void page_init_high(void)
{
    add_ranges(EARLY_PAGES, UINT64_MAX);
}

void page_add(uint64_t base, uint64_t size)
{
    add_zone((base + PAGE_SIZE - 1) >> PAGE_SHIFT, (base + size) >> PAGE_SHIFT);
}

/* --- allocation ------------------------------------------------------------------------------ */

static bool may_use_reserve(unsigned flags)
{
    return (flags & PAGE_RESERVE) != 0 ||
           (reserve_owner != NULL && reserve_owner == hal_current_thread());
}

/* A block, leaving the reserve alone unless `flags` allow it; 0 when there is none. */
static uint64_t take_checked(unsigned order, unsigned flags)
{
    if (free_pages < reserve_pages + (1ull << order) && !may_use_reserve(flags)) {
        return 0;
    }
    return take_block(order);
}

static void cache_push(struct page_cache *cache, uint64_t physical)
{
    *(uint64_t *)direct_map(physical) = cache->head;
    cache->head = physical;
    cache->count++;
}

static uint64_t cache_pop(struct page_cache *cache)
{
    uint64_t physical = cache->head;
    if (physical != 0) {
        cache->head = *(uint64_t *)direct_map(physical);
        cache->count--;
    }
    return physical;
}

/* Gives pages of the cache back until `keep` are left. Interrupts masked. */
static void cache_drain(struct page_cache *cache, uint32_t keep)
{
    spin_lock(&page_lock);
    while (cache->count > keep) {
        give_block(cache_pop(cache) >> PAGE_SHIFT, 0);
    }
    spin_unlock(&page_lock);
}

/* A single page from a block that then fills the cache. Interrupts masked. */
static uint64_t cache_refill(struct page_cache *cache, unsigned flags)
{
    unsigned order = cache_limit < 2u << REFILL_ORDER ? 2 : REFILL_ORDER;
    spin_lock(&page_lock);
    uint64_t page = take_checked(order, 0);
    while (page == 0 && order > 0) {
        order--;
        page = take_checked(order, order == 0 ? flags : 0);
    }
    spin_unlock(&page_lock);
    for (uint64_t i = (1ull << order) - 1; page != 0 && i > 0; i--) {
        cache_push(cache, (page + i) << PAGE_SHIFT);
    }
    return page << PAGE_SHIFT;
}

static uint64_t try_alloc(unsigned order, unsigned flags)
{
    uint64_t physical;
    bool irq = hal_irq_save();
    if (order == 0) {
        struct page_cache *cache = &caches[hal_this_cpu()->id];
        physical = cache_pop(cache);
        if (physical == 0) {
            physical = cache_refill(cache, flags);
        }
    } else {
        spin_lock(&page_lock);
        physical = take_checked(order, flags) << PAGE_SHIFT;
        spin_unlock(&page_lock);
    }
    hal_irq_restore(irq);
    return physical;
}

size_t page_shrink(void)
{
    size_t freed = 0;
    for (unsigned i = 0; i < MAX_SHRINKERS && shrinkers[i] != NULL; i++) {
        freed += shrinkers[i]();
    }
    bool irq = hal_irq_save();
    struct page_cache *cache = &caches[hal_this_cpu()->id];
    freed += cache->count;
    cache_drain(cache, 0);
    hal_irq_restore(irq);
    return freed;
}

uint64_t page_alloc(unsigned order, unsigned flags)
{
    if (order > PAGE_MAX_ORDER) {
        return 0;
    }
    uint64_t physical = try_alloc(order, flags);
    if (__builtin_expect(physical == 0, 0)) {
        if (page_shrink() == 0) {
            return 0;
        }
        physical = try_alloc(order, flags);
        if (physical == 0) {
            return 0;
        }
    }
    if ((flags & PAGE_ZERO) != 0) {
        page_clear(physical, order);
    }
    return physical;
}

void page_free(uint64_t physical, unsigned order)
{
    bool irq = hal_irq_save();
    if (order == 0) {
        struct page_cache *cache = &caches[hal_this_cpu()->id];
        cache_push(cache, physical);
        if (cache->count > cache_limit) {
            cache_drain(cache, cache_limit / 2);
        }
    } else {
        spin_lock(&page_lock);
        give_block(physical >> PAGE_SHIFT, order);
        spin_unlock(&page_lock);
    }
    hal_irq_restore(irq);
}

void page_free_run(uint64_t physical, uint64_t pages)
{
    uint64_t page = physical >> PAGE_SHIFT;
    uint64_t end = page + pages;
    bool irq = spin_lock_irqsave(&page_lock);
    while (page < end) {
        unsigned order = largest_order(page, end);
        give_block(page, order);
        page += 1ull << order;
    }
    spin_unlock_irqrestore(&page_lock, irq);
}

void page_register_shrinker(page_shrinker_fn *fn)
{
    for (unsigned i = 0; i < MAX_SHRINKERS; i++) {
        if (shrinkers[i] == NULL) {
            shrinkers[i] = fn;
            return;
        }
    }
    panic("more than %d shrinkers", MAX_SHRINKERS);
}

uint64_t page_total(void)
{
    return total_pages;
}

uint64_t page_free_count(void)
{
    uint64_t count = __atomic_load_n(&free_pages, __ATOMIC_RELAXED);
    for (unsigned i = 0; i < hal_cpu_count(); i++) {
        count += __atomic_load_n(&caches[i].count, __ATOMIC_RELAXED);
    }
    return count;
}

bool page_is_plentiful(uint64_t pages)
{
    return __atomic_load_n(&free_pages, __ATOMIC_RELAXED) > pages + total_pages / 8;
}

void page_set_reserve_owner(const struct hal_thread *thread)
{
    __atomic_store_n(&reserve_owner, thread, __ATOMIC_RELAXED);
}
