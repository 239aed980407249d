/* SPDX-License-Identifier: MIT */
/* See fake_paging.h. Behaves as hal.h says, also in that a table outlives its pages unless a whole
 * block is unmapped. */
#include "fakes/fake_paging.h"

#include <errno.h>
#include <stdlib.h>

#include "fakes/check.h"
#include "hal.h"

#define SLOTS 8192u
#define ENTRIES (HUGE_PAGE_SIZE / PAGE_SIZE)
#define VALID 0x800ul

struct block {
    bool used;
    uintptr_t number;
    uint64_t huge;   /* entry, or 0 */
    uint64_t *table; /* entries, or NULL */
};

static struct block blocks[SLOTS];

static struct block *find_block(uintptr_t address, bool make)
{
    uintptr_t number = address >> HUGE_PAGE_SHIFT;
    for (unsigned i = (unsigned)(number * 2654435761u) % SLOTS, tries = 0; tries < SLOTS;
         i = (i + 1) % SLOTS, tries++) {
        if (blocks[i].used && blocks[i].number == number) {
            return &blocks[i];
        }
        if (!blocks[i].used) {
            if (!make) {
                return NULL;
            }
            blocks[i].used = true;
            blocks[i].number = number;
            return &blocks[i];
        }
    }
    CHECK(false, "the fake page table is full");
    return NULL;
}

static uint64_t *entry_of(struct block *block, uintptr_t address)
{
    return &block->table[(address >> PAGE_SHIFT) % ENTRIES];
}

int hal_map_page(uintptr_t address, uint64_t physical, unsigned order, unsigned prot)
{
    CHECK(address % (PAGE_SIZE << order) == 0 && physical % (PAGE_SIZE << order) == 0,
          "%#lx -> %#lx", address, physical);
    CHECK((prot & (PROT_W | PROT_X)) != (PROT_W | PROT_X), "writable and executable at %#lx",
          address);
    struct block *block = find_block(address, true);
    uint64_t entry = physical | VALID | prot;
    if (block->huge != 0 || (order != 0 && block->table != NULL)) {
        return -EEXIST;
    }
    if (order != 0) {
        block->huge = entry;
        return 0;
    }
    if (block->table == NULL) {
        block->table = calloc(ENTRIES, sizeof(uint64_t));
    }
    if (*entry_of(block, address) != 0) {
        return -EEXIST;
    }
    *entry_of(block, address) = entry;
    return 0;
}

static void split_at(uintptr_t address)
{
    struct block *block = find_block(address, false);
    if (address % HUGE_PAGE_SIZE == 0 || block == NULL || block->huge == 0) {
        return;
    }
    block->table = calloc(ENTRIES, sizeof(uint64_t));
    for (unsigned i = 0; i < ENTRIES; i++) {
        block->table[i] = block->huge + i * PAGE_SIZE;
    }
    block->huge = 0;
}

static uintptr_t block_end(uintptr_t address)
{
    return (address & ~(HUGE_PAGE_SIZE - 1)) + HUGE_PAGE_SIZE;
}

int hal_unmap(uintptr_t address, size_t size, hal_release_fn *release, void *context)
{
    CHECK(address % PAGE_SIZE == 0 && size % PAGE_SIZE == 0 && address + size <= USER_END,
          "%#lx+%#zx", address, size);
    split_at(address);
    split_at(address + size);
    for (uintptr_t at = address, end = address + size, next; at < end; at = next) {
        next = block_end(at) < end ? block_end(at) : end;
        struct block *block = find_block(at, false);
        if (block == NULL) {
            continue;
        }
        if (block->huge != 0) {
            uint64_t entry = block->huge;
            block->huge = 0;
            if (release != NULL) {
                release(entry & ~0xffful, HUGE_PAGE_ORDER, context);
            }
        }
        for (uintptr_t page = at; block->table != NULL && page < next; page += PAGE_SIZE) {
            uint64_t entry = *entry_of(block, page);
            *entry_of(block, page) = 0;
            if (entry != 0 && release != NULL) {
                release(entry & ~0xffful, 0, context);
            }
        }
        if (next - at == HUGE_PAGE_SIZE) {
            free(block->table);
            block->table = NULL;
        }
    }
    return 0;
}

int hal_protect(uintptr_t address, size_t size, unsigned prot)
{
    CHECK((prot & (PROT_W | PROT_X)) != (PROT_W | PROT_X), "writable and executable at %#lx",
          address);
    split_at(address);
    split_at(address + size);
    for (uintptr_t at = address, end = address + size; at < end;) {
        struct block *block = find_block(at, false);
        if (block == NULL || block->table == NULL) {
            if (block != NULL && block->huge != 0) {
                block->huge = (block->huge & ~7ul) | prot;
            }
            at = block_end(at);
            continue;
        }
        uint64_t *entry = entry_of(block, at);
        *entry = *entry != 0 ? (*entry & ~7ul) | prot : 0;
        at += PAGE_SIZE;
    }
    return 0;
}

size_t hal_query(uintptr_t address, uint64_t *physical, unsigned *prot, size_t *hole)
{
    struct block *block = find_block(address, false);
    uint64_t entry = 0;
    size_t size = HUGE_PAGE_SIZE;
    if (block != NULL && block->huge != 0) {
        entry = block->huge + (address & (HUGE_PAGE_SIZE - 1) & ~(PAGE_SIZE - 1));
    } else if (block != NULL && block->table != NULL) {
        entry = *entry_of(block, address);
        size = PAGE_SIZE;
    }
    if (entry == 0) {
        if (hole != NULL) {
            *hole = size;
        }
        return 0;
    }
    if (physical != NULL) {
        *physical = entry & ~0xffful;
    }
    if (prot != NULL) {
        *prot = entry & 7;
    }
    return size;
}

uint64_t fake_paging_translate(uintptr_t address, unsigned prot)
{
    uint64_t physical = 0;
    unsigned have = 0;
    if (hal_query(address, &physical, &have, NULL) == 0 || (have & prot) != prot) {
        return 0;
    }
    return physical + address % PAGE_SIZE;
}

void fake_paging_count(uint64_t *small, uint64_t *huge)
{
    *small = *huge = 0;
    for (unsigned i = 0; i < SLOTS; i++) {
        *huge += blocks[i].huge != 0;
        for (unsigned at = 0; blocks[i].table != NULL && at < ENTRIES; at++) {
            *small += blocks[i].table[at] != 0;
        }
    }
}
