/* SPDX-License-Identifier: MIT */
/* Physical pages: a binary buddy allocator over bitmaps, with a small cache of single pages for
 * each CPU in front. Nothing is kept for a page that is in use, so metadata is 2 bits a page and
 * set-up touches only that. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define PAGE_MAX_ORDER 10 /* 4 MiB */

enum {
    PAGE_ZERO = 1,    /* filled with zeroes */
    PAGE_RESERVE = 2, /* may use the last pages, kept so that running out can be reported */
};

/* Takes the ranges of hal_boot_info below 4 GiB: boot's own page tables reach no further. */
void page_init(void);

/* Takes those above, once hal_init has mapped them; vm_init calls it. */
void page_init_high(void);

/* 2^order pages, naturally aligned: the physical address, or 0 when there are none. Before it gives
 * up it calls the shrinkers. Thread context or interrupts masked; LOCK_PAGE and everything below
 * may be held. */
uint64_t page_alloc(unsigned order, unsigned flags);
void page_free(uint64_t physical, unsigned order);

/* Gives memory that boot had set aside (a module, start-up code) to the allocator; whole pages
 * inside it. */
void page_add(uint64_t base, uint64_t size);

uint64_t page_total(void); /* pages ever added */
uint64_t page_free_count(void);

/* Whether more than an eighth of all memory is left after taking `pages`: then taking memory ahead
 * of need is fine. */
bool page_is_plentiful(uint64_t pages);

/* Registers somebody who can give pages back when there are none left. `fn` frees what it can
 * without waiting (try-locks only: any spinlock may be held) and returns about how many pages that
 * was. A few registrations, before other CPUs run. */
typedef size_t page_shrinker_fn(void);
void page_register_shrinker(page_shrinker_fn *fn);

/* Asks all of them now: about how many pages were given back. */
size_t page_shrink(void);

/* Zeroes 2^order pages with the fastest stores the CPU has. */
void page_clear(uint64_t physical, unsigned order);
