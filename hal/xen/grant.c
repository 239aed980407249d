/* SPDX-License-Identifier: MIT */
/* The grant table: which of our pages another domain may use (xen/include/public/grant_table.h,
 * version 1). Xen owns its frames, which are mapped one after the other as more references are
 * needed. Free references are linked in a list of our own, since other domains can see the table.
 * grant_lock guards the list. */
#include <linux/errno.h>

#include "core/lib/spinlock.h"
#include "core/mm/page.h"
#include "grant.h"
#include "xen_internal.h"

#define FRAMES_MAX 64 /* what Xen gives a domain unless it is told otherwise */
#define PER_FRAME (PAGE_SIZE / sizeof(struct grant_entry))
#define TABLE_ADDRESS (KERNEL_MAP_END - (1ul << 39))

static volatile struct grant_entry *const table = (volatile struct grant_entry *)TABLE_ADDRESS;
static uint32_t *next_free[FRAMES_MAX]; /* the links: a page for two frames' references */
static uint32_t first_free;             /* 0: none; the reference 0 is reserved */
static unsigned frame_count;
static struct spinlock grant_lock = SPINLOCK_INIT(LOCK_CLASS_NONE);

static uint32_t *link_of(uint32_t reference)
{
    return &next_free[reference / PER_FRAME][reference % PER_FRAME];
}

/* Asks for one more frame. grant_lock is held. */
static int grow(void)
{
    uint64_t frames[FRAMES_MAX];
    struct gnttab_setup_table setup = {
        .dom = DOMID_SELF, .nr_frames = frame_count + 1, .frame_list = frames};
    if (frame_count == FRAMES_MAX) {
        return -ENOSPC;
    }
    uint64_t links = page_alloc(0, 0);
    if (links == 0) {
        return -ENOMEM;
    }
    long error = hypercall3(HYPERCALL_GRANT_TABLE_OP, GNTTABOP_SETUP_TABLE, (uint64_t)&setup, 1);
    int result = error != 0 || setup.status != 0
                     ? -ENOSPC
                     : mmu_map_table(TABLE_ADDRESS + frame_count * PAGE_SIZE, frames[frame_count]);
    if (result != 0) {
        page_free(links, 0);
        return result;
    }
    next_free[frame_count] = direct_map(links);
    uint32_t first = frame_count++ * PER_FRAME;
    for (uint32_t reference = first + PER_FRAME - 1; reference + 1 > first; reference--) {
        if (reference >= GRANTS_RESERVED) {
            *link_of(reference) = first_free;
            first_free = reference;
        } else if (reference == 0) {
            break;
        }
    }
    return 0;
}

int grant_alloc(uint32_t *reference)
{
    bool irq = spin_lock_irqsave(&grant_lock);
    int error = first_free != 0 ? 0 : grow();
    if (error == 0) {
        *reference = first_free;
        first_free = *link_of(first_free);
    }
    spin_unlock_irqrestore(&grant_lock, irq);
    return error;
}

void grant_give(uint32_t reference, uint16_t domain, const void *page, bool read_only)
{
    table[reference].frame = (uint32_t)mmu_frame(direct_map_physical(page));
    table[reference].domid = domain;
    __atomic_store_n(&table[reference].flags, GTF_PERMIT_ACCESS | (read_only ? GTF_READONLY : 0),
                     __ATOMIC_RELEASE);
}

bool grant_take_back(uint32_t reference)
{
    uint16_t flags = __atomic_load_n(&table[reference].flags, __ATOMIC_ACQUIRE);
    do {
        if ((flags & (GTF_READING | GTF_WRITING)) != 0) {
            return false;
        }
    } while (!__atomic_compare_exchange_n(&table[reference].flags, &flags, 0, false,
                                          __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE));
    return true;
}
