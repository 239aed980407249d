/* SPDX-License-Identifier: MIT */
/* The grant table: which of our pages another domain may use (xen/include/public/grant_table.h,
 * version 1). Xen owns its frames, which are mapped one after the other as more references are
 * needed. Free references are linked in a list of our own, since other domains can see the table.
 * grant_lock guards the list. */
#include <linux/errno.h>

#include "core/lib/log.h"
#include "core/lib/spinlock.h"
#include "core/mm/page.h"
#include "grant.h"
#include "xen_internal.h"

#define FRAMES_MAX 64 /* what Xen gives a domain unless it is told otherwise */
#define PER_FRAME (PAGE_SIZE / sizeof(struct grant_entry))

static struct grant_entry *frames[FRAMES_MAX];
static uint32_t *next_free[FRAMES_MAX]; /* the links, a page for each frame */
static uint32_t first_free;             /* 0: none; the reference 0 is reserved */
static unsigned frame_count;
static struct spinlock grant_lock = SPINLOCK_INIT(LOCK_CLASS_NONE);

static uint32_t *link_of(uint32_t reference)
{
    return &next_free[reference / PER_FRAME][reference % PER_FRAME];
}

static struct grant_entry *entry_of(uint32_t reference)
{
    return &frames[reference / PER_FRAME][reference % PER_FRAME];
}

/* Whether entries have room for the number of any frame that a domain may have:
 * docs/architecture.md says why there is no version 2. */
static bool frames_fit(void)
{
    return xen_is_pvh || hypercall2(HYPERCALL_MEMORY_OP, XENMEM_MAXIMUM_RAM_PAGE, 0) <= UINT32_MAX;
}

/* Maps the frames [first, end) of the table; under PVH each over a page that is there. */
static int map_frames(unsigned first, unsigned end)
{
    int error = 0;
    if (xen_is_pvh) {
        for (unsigned i = first; i < end && error == 0; i++) {
            error = xen_pvh_share(XENMAPSPACE_GRANT_TABLE, i, frames[i]);
        }
        return error;
    }
    uint64_t list[FRAMES_MAX];
    struct gnttab_setup_table setup = {.dom = DOMID_SELF, .nr_frames = end, .frame_list = list};
    if (hypercall3(HYPERCALL_GRANT_TABLE_OP, GNTTABOP_SETUP_TABLE, (uint64_t)&setup, 1) != 0 ||
        setup.status != 0) {
        return -ENOSPC;
    }
    for (unsigned i = first; i < end && error == 0; i++) {
        uintptr_t address = GRANT_TABLE_ADDRESS + i * PAGE_SIZE;
        frames[i] = (struct grant_entry *)address;
        error = mmu_map_table(address, list[i]);
    }
    return error;
}

void grants_suspend(void)
{
    xen_unmap(GRANT_TABLE_ADDRESS, frame_count * PAGE_SIZE, NULL, NULL);
}

void grants_resume(void)
{
    if (frame_count != 0 && (!frames_fit() || map_frames(0, frame_count) != 0)) {
        panic("xen: no grant table of %u frames, as before the suspend", frame_count);
    }
}

/* Asks for one more frame. grant_lock is held. */
static int grow(void)
{
    if (frame_count == FRAMES_MAX) {
        return -ENOSPC;
    }
    if (frame_count == 0 && !frames_fit()) {
        log_error("xen: the machine has memory above 16 TiB: no pages can be granted");
        return -EOPNOTSUPP;
    }
    uint64_t links = page_alloc(0, 0);
    if (links == 0) {
        return -ENOMEM;
    }
    uint64_t page = xen_is_pvh ? page_alloc(0, 0) : 0;
    int error = xen_is_pvh && page == 0 ? -ENOMEM : 0;
    if (error == 0) {
        frames[frame_count] = direct_map(page);
        error = map_frames(frame_count, frame_count + 1);
    }
    if (error != 0) {
        if (page != 0) {
            page_free(page, 0);
        }
        page_free(links, 0);
        return error;
    }
    next_free[frame_count] = direct_map(links);
    uint32_t first = frame_count++ * PER_FRAME;
    for (uint32_t reference = first + PER_FRAME; reference-- > first;) {
        if (reference >= GRANTS_RESERVED) {
            *link_of(reference) = first_free;
            first_free = reference;
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
    struct grant_entry *entry = entry_of(reference);
    entry->frame = (uint32_t)mmu_frame(direct_map_physical(page));
    entry->domid = domain;
    __atomic_store_n(&entry->flags, GTF_PERMIT_ACCESS | (read_only ? GTF_READONLY : 0),
                     __ATOMIC_RELEASE);
}

bool grant_take_back(uint32_t reference)
{
    struct grant_entry *entry = entry_of(reference);
    uint16_t flags = __atomic_load_n(&entry->flags, __ATOMIC_ACQUIRE);
    do {
        if ((flags & (GTF_READING | GTF_WRITING)) != 0) {
            return false;
        }
    } while (!__atomic_compare_exchange_n(&entry->flags, &flags, 0, false, __ATOMIC_ACQ_REL,
                                          __ATOMIC_ACQUIRE));
    return true;
}
