/* SPDX-License-Identifier: MIT */
/* The balloon: memory that goes back to Xen when the toolstack sets a lower target (`xl mem-set`)
 * and returns when it raises it (docs/misc/xenstore-paths.pandoc: memory/target). Pages that are
 * gone are noted in pages that are not. All on the xenbus thread. */
#include "core/lib/log.h"
#include "core/mm/page.h"
#include "xen_internal.h"
#include "xenstore.h"

#define KIB_PER_PAGE (PAGE_SIZE / 1024)
#define BATCH 32
#define FREE_SHARE 32 /* of all memory one part of so many stays free for the program */

#define NOTES_PER_PAGE (PAGE_SIZE / sizeof(uint64_t) - 2)
struct notes {
    struct notes *before;
    uint64_t count;
    uint64_t pages[NOTES_PER_PAGE]; /* physical addresses of pages that are gone */
};

static struct notes *notes; /* the last; NULL: nothing is gone */
static uint64_t gone;       /* pages */
static uint64_t full;       /* the target, KiB, for which nothing is gone */

static unsigned reservation_op(unsigned operation, uint64_t *frames, unsigned count)
{
    struct xen_memory_reservation reservation = {
        .extent_start = (uint64_t)frames,
        .nr_extents = count,
        .domid = DOMID_SELF,
    };
    long done = hypercall2(HYPERCALL_MEMORY_OP, operation, (uint64_t)&reservation);
    return done > 0 ? (unsigned)done : 0;
}

/* Room for a note: false when there is no memory for it. */
static bool make_room(void)
{
    if (notes != NULL && notes->count < NOTES_PER_PAGE) {
        return true;
    }
    uint64_t page = page_alloc(0, 0);
    if (page == 0) {
        return false;
    }
    struct notes *more = direct_map(page);
    more->before = notes;
    more->count = 0;
    notes = more;
    return true;
}

/* Up to `wanted` pages go: how many. */
static unsigned give(uint64_t wanted)
{
    uint64_t pages[BATCH], frames[BATCH];
    unsigned count = 0;
    if (!make_room()) {
        return 0;
    }
    while (count < BATCH && count < wanted && count < NOTES_PER_PAGE - notes->count &&
           (page_free_count() > page_total() / FREE_SHARE || page_shrink() != 0) &&
           (pages[count] = page_alloc(0, 0)) != 0) {
        count++;
    }
    mmu_release(pages, frames, count);
    unsigned done = reservation_op(XENMEM_DECREASE_RESERVATION, frames, count);
    for (unsigned i = 0; i < done; i++) {
        notes->pages[notes->count++] = pages[i];
    }
    mmu_restore(pages + done, frames + done, count - done);
    for (unsigned i = done; i < count; i++) {
        page_free(pages[i], 0);
    }
    gone += done;
    return done;
}

/* Up to `wanted` of the pages that are gone come back: how many. */
static unsigned take(uint64_t wanted)
{
    uint64_t pages[BATCH], frames[BATCH];
    unsigned count = 0;
    if (notes->count == 0) {
        struct notes *empty = notes;
        notes = empty->before;
        page_free(direct_map_physical(empty), 0);
    }
    while (count < BATCH && count < wanted && count < notes->count) {
        pages[count] = notes->pages[notes->count - 1 - count];
        frames[count] = pages[count] >> PAGE_SHIFT; /* Xen puts the machine's frames here */
        count++;
    }
    unsigned done = reservation_op(XENMEM_POPULATE_PHYSMAP, frames, count);
    mmu_restore(pages, frames, done);
    for (unsigned i = 0; i < done; i++) {
        page_free(pages[i], 0);
    }
    notes->count -= done;
    gone -= done;
    return done;
}

static void target_changed(void *unused)
{
    (void)unused;
    uint64_t target;
    if (xenstore_read_number("memory/target", full, &target) != 0) {
        return; /* more than there can be, or no number */
    }
    uint64_t wanted = (full - target) / KIB_PER_PAGE;
    while (gone < wanted && give(wanted - gone) != 0) {
    }
    while (gone > wanted && take(gone - wanted) != 0) {
    }
    if (gone != wanted) {
        log_warn("xen: the balloon has %lu KiB instead of %lu: %s has no more memory to give",
                 (unsigned long)(gone * KIB_PER_PAGE), (unsigned long)(wanted * KIB_PER_PAGE),
                 gone < wanted ? "the program" : "Xen");
    }
}

void balloon_start(void)
{
    /* A PVH domain is built for its maximum, a paravirtual one for its first target. */
    const char *path = xen_is_pvh ? "memory/static-max" : "memory/target";
    if (xenstore_read_number(path, UINT64_MAX / 2, &full) == 0) {
        xenstore_watch("memory/target", target_changed, NULL);
    }
}
