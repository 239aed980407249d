/* SPDX-License-Identifier: MIT */
/* Page tables of a paravirtual guest. They hold machine frames; the guest may read them, Xen
 * changes them on request and sees to it that none is ever mapped writable. Requests go out in
 * batches. Physical addresses are numbers of our own: p2m (the domain builder's list) has the
 * machine frame of each page, Xen's table at MACHINE_TO_PHYS the way back. One set of tables
 * serves all CPUs. There are no large pages: a block of 2 MiB is a full table, filled while it is
 * still an ordinary page. mmu_lock guards the installing of entries; unmapping and protecting
 * exclude it by core's lock on the address space, as in hal/kvm/paging.c. */
#include <linux/errno.h>

#include "core/lib/log.h"
#include "core/lib/spinlock.h"
#include "core/mm/page.h"
#include "goruntime/image_info.h"
#include "hal/kvm/kvm_internal.h"
#include "xen_internal.h"

#define PTE_PRESENT 1ul
#define PTE_WRITE 2ul
#define PTE_USER 4ul /* Xen makes it a global page, which stays in the TLB between the modes */
#define PTE_ACCESSED_DIRTY 0x60ul
#define PTE_KEPT 0x200ul /* not present, but a page belongs to the mapping: see kept_entry */
#define PTE_NX (1ul << 63)
#define PTE_FRAME 0x000ffffffffff000ul
#define PTE_TABLE (PTE_PRESENT | PTE_WRITE | PTE_ACCESSED_DIRTY)
#define PTE_PROTECTION (PTE_PRESENT | PTE_WRITE | PTE_NX | PTE_KEPT)

#define NO_FRAME UINT64_MAX /* in p2m: the page has left the domain */
#define ENTRIES 512
#define BATCH 64

/* Levels count from the bottom: 0 maps pages, 3 is the root. */
#define LEVEL_SHIFT(level) (PAGE_SHIFT + 9 * (level))
#define LEVEL_SIZE(level) (1ul << LEVEL_SHIFT(level))
#define LEVEL_INDEX(address, level) ((address) >> LEVEL_SHIFT(level) & (ENTRIES - 1))

extern char boot_stack[];
extern const char text_start[], rodata_start[], data_start[], bss_end[];
extern const struct image_info image_info;

static uint64_t *p2m;
static uint64_t page_count;      /* entries of p2m */
static bool p2m_mapped;          /* at P2M_ADDRESS */
static uint64_t *root;           /* the top-level table */
static uintptr_t table_base;     /* where physical addresses are mapped: 0, then DIRECT_MAP_BASE */
static uint64_t *direct_entries; /* the entry of each page in the direct map */
static uintptr_t low_end;        /* of what the domain builder has mapped */
static struct spinlock mmu_lock = SPINLOCK_INIT(LOCK_CLASS_NONE);

uint64_t mmu_frame(uint64_t physical)
{
    return xen_is_pvh ? physical >> PAGE_SHIFT : p2m[physical >> PAGE_SHIFT];
}

uint64_t mmu_physical(uint64_t frame)
{
    return ((const uint64_t *)MACHINE_TO_PHYS)[frame] << PAGE_SHIFT;
}

uint64_t mmu_root_frame(void)
{
    return mmu_frame((uintptr_t)root - table_base);
}

static uint64_t machine(uint64_t physical)
{
    return p2m[physical >> PAGE_SHIFT] << PAGE_SHIFT;
}

static uint64_t entry_physical(uint64_t entry)
{
    return (entry & PTE_PRESENT) != 0 ? mmu_physical((entry & PTE_FRAME) >> PAGE_SHIFT)
                                      : ~entry & PTE_FRAME;
}

static uint64_t *entry_table(uint64_t entry)
{
    return (uint64_t *)(table_base + entry_physical(entry));
}

static uint64_t protection_bits(unsigned prot)
{
    return PTE_ACCESSED_DIRTY | PTE_USER |
           ((prot & (PROT_R | PROT_W | PROT_X)) != 0 ? PTE_PRESENT : PTE_KEPT) |
           ((prot & PROT_W) != 0 ? PTE_WRITE : 0) | ((prot & PROT_X) != 0 ? 0 : PTE_NX);
}

/* The entry of a page. One that is kept but not accessible has the physical address inverted: an
 * address of real memory in an entry that is not present would be refused (XSA-273). */
static uint64_t page_entry(uint64_t physical, unsigned prot)
{
    uint64_t bits = protection_bits(prot);
    return bits | ((bits & PTE_PRESENT) != 0 ? machine(physical) : ~physical & PTE_FRAME);
}

/* --- requests --------------------------------------------------------------------------------- */

struct batch {
    unsigned count;
    struct mmu_update updates[BATCH];
};

/* Changes the tables, in order; then, with `flush`, all CPUs drop what they have of the range. */
static void batch_commit(struct batch *batch, bool flush, uintptr_t start, size_t size)
{
    if (batch->count == 0) {
        return;
    }
    struct mmuext_op op = {.cmd = size <= PAGE_SIZE ? MMUEXT_INVLPG_ALL : MMUEXT_TLB_FLUSH_ALL,
                           .linear_addr = start};
    struct multicall calls[2] = {
        {.op = HYPERCALL_MMU_UPDATE,
         .arguments = {(uint64_t)batch->updates, batch->count, 0, DOMID_SELF}},
        {.op = HYPERCALL_MMUEXT_OP, .arguments = {(uint64_t)&op, 1, 0, DOMID_SELF}},
    };
    long error = hypercall2(HYPERCALL_MULTICALL, (uint64_t)calls, flush ? 2 : 1);
    if (error == 0) {
        error = calls[0].result != 0 ? calls[0].result : flush ? calls[1].result : 0;
    }
    if (error != 0) {
        panic("paging: Xen refuses %u changes from %#lx on: %ld", batch->count,
              (unsigned long)start, error);
    }
    batch->count = 0;
}

static void batch_add(struct batch *batch, uint64_t *slot, uint64_t value)
{
    uint64_t physical = (uintptr_t)slot - table_base;
    batch->updates[batch->count++] =
        (struct mmu_update){machine(physical) + (physical & (PAGE_SIZE - 1)), value};
    if (batch->count == BATCH) {
        batch_commit(batch, false, 0, 0);
    }
}

/* The page becomes a table below `slot`. It must hold nothing but entries. */
static void batch_link_table(struct batch *batch, uint64_t *slot, uint64_t page)
{
    batch_add(batch, &direct_entries[page >> PAGE_SHIFT], page_entry(page, PROT_R));
    batch_add(batch, slot, machine(page) | PTE_TABLE);
}

static void batch_unlink_table(struct batch *batch, uint64_t *slot, uint64_t page)
{
    batch_add(batch, slot, 0);
    batch_add(batch, &direct_entries[page >> PAGE_SHIFT], page_entry(page, PROT_R | PROT_W));
}

/* --- mapping ---------------------------------------------------------------------------------- */

/* The slot for `address` at `level`, with requests for tables on the way. NULL: no memory. */
static uint64_t *walk_make(struct batch *batch, uintptr_t address, unsigned level)
{
    uint64_t *table = root;
    for (unsigned at = 3; at > level; at--) {
        uint64_t *slot = &table[LEVEL_INDEX(address, at)];
        if (*slot != 0) {
            table = entry_table(*slot);
            continue;
        }
        uint64_t page = page_alloc(0, PAGE_ZERO);
        if (page == 0) {
            return NULL;
        }
        batch_link_table(batch, slot, page);
        table = direct_map(page);
    }
    return &table[LEVEL_INDEX(address, level)];
}

static int map_block(struct batch *batch, uint64_t *slot, uint64_t physical, unsigned prot)
{
    uint64_t page = page_alloc(0, 0);
    if (page == 0) {
        return -ENOMEM;
    }
    uint64_t *entries = direct_map(page);
    for (unsigned i = 0; i < ENTRIES; i++) {
        entries[i] = page_entry(physical + i * PAGE_SIZE, prot);
    }
    batch_link_table(batch, slot, page);
    return 0;
}

int xen_map_page(uintptr_t address, uint64_t physical, unsigned order, unsigned prot)
{
    struct batch batch;
    batch.count = 0;
    int error = 0;
    spin_lock(&mmu_lock);
    uint64_t *slot = walk_make(&batch, address, order == 0 ? 0 : 1);
    if (slot == NULL) {
        error = -ENOMEM;
    } else if (*slot != 0) {
        error = -EEXIST;
    } else if (order == 0) {
        batch_add(&batch, slot, page_entry(physical, prot));
    } else {
        error = map_block(&batch, slot, physical, prot);
    }
    batch_commit(&batch, false, address, 0);
    spin_unlock(&mmu_lock);
    return error;
}

int mmu_map_table(uintptr_t address, uint64_t frame)
{
    struct batch batch;
    batch.count = 0;
    spin_lock(&mmu_lock);
    uint64_t *slot = walk_make(&batch, address, 0);
    if (slot != NULL) {
        batch_add(&batch, slot, frame << PAGE_SHIFT | protection_bits(PROT_R | PROT_W));
    }
    batch_commit(&batch, false, address, 0);
    spin_unlock(&mmu_lock);
    return slot != NULL ? 0 : -ENOMEM;
}

void mmu_release(const uint64_t *pages, uint64_t *frames, unsigned count)
{
    struct batch batch;
    batch.count = 0;
    spin_lock(&mmu_lock);
    for (unsigned i = 0; i < count; i++) {
        frames[i] = mmu_frame(pages[i]);
        if (!xen_is_pvh) {
            batch_add(&batch, &direct_entries[pages[i] >> PAGE_SHIFT], 0);
        }
    }
    batch_commit(&batch, true, DIRECT_MAP_BASE, BATCH * PAGE_SIZE);
    for (unsigned i = 0; i < count && !xen_is_pvh; i++) {
        p2m[pages[i] >> PAGE_SHIFT] = NO_FRAME;
    }
    spin_unlock(&mmu_lock);
}

void mmu_restore(const uint64_t *pages, const uint64_t *frames, unsigned count)
{
    struct batch batch;
    batch.count = 0;
    spin_lock(&mmu_lock);
    for (unsigned i = 0; i < count && !xen_is_pvh; i++) {
        p2m[pages[i] >> PAGE_SHIFT] = frames[i];
        batch_add(&batch, &direct_entries[pages[i] >> PAGE_SHIFT],
                  page_entry(pages[i], PROT_R | PROT_W));
    }
    batch_commit(&batch, false, DIRECT_MAP_BASE, 0);
    spin_unlock(&mmu_lock);
}

/* The table of frames at P2M_ADDRESS: by the tables that map it in the direct map. -ENOMEM. */
static int map_p2m(void)
{
    uint64_t table = direct_map_physical(p2m) / HUGE_PAGE_SIZE;
    uint64_t last = (direct_map_physical(p2m + page_count) - 1) / HUGE_PAGE_SIZE;
    int error = 0;
    spin_lock(&mmu_lock);
    for (uintptr_t address = P2M_ADDRESS; table <= last && error == 0;
         table++, address += HUGE_PAGE_SIZE) {
        struct batch batch;
        batch.count = 0;
        uint64_t *slot = walk_make(&batch, address, 1);
        if (slot != NULL) {
            uint64_t page = direct_map_physical(direct_entries) + table * PAGE_SIZE;
            batch_add(&batch, slot, machine(page) | PTE_TABLE);
        }
        batch_commit(&batch, false, address, 0);
        error = slot != NULL ? 0 : -ENOMEM;
    }
    spin_unlock(&mmu_lock);
    return error;
}

int mmu_publish_p2m(void)
{
    int error = p2m_mapped ? 0 : map_p2m();
    if (error == 0) {
        p2m_mapped = true;
        shared_info->max_pfn = page_count;
        shared_info->p2m_vaddr = P2M_ADDRESS + direct_map_physical(p2m) % HUGE_PAGE_SIZE;
        shared_info->p2m_cr3 = mmu_root_frame() << PAGE_SHIFT;
    }
    return error;
}

size_t xen_query(uintptr_t address, uint64_t *physical, unsigned *prot, size_t *hole)
{
    uint64_t *table = root, entry = 0;
    for (unsigned level = 3;; level--) {
        entry = __atomic_load_n(&table[LEVEL_INDEX(address, level)], __ATOMIC_ACQUIRE);
        if (entry == 0) {
            if (hole != NULL) {
                *hole = LEVEL_SIZE(level);
            }
            return 0;
        }
        if (level == 0) {
            break;
        }
        table = entry_table(entry);
    }
    if (physical != NULL) {
        *physical = entry_physical(entry);
    }
    if (prot != NULL) {
        *prot = 0;
        if ((entry & PTE_PRESENT) != 0) {
            *prot = PROT_R | ((entry & PTE_WRITE) != 0 ? PROT_W : 0) |
                    ((entry & PTE_NX) == 0 ? PROT_X : 0);
        }
    }
    return PAGE_SIZE;
}

/* --- ranges ----------------------------------------------------------------------------------- */

struct change {
    struct batch batch;
    bool unmap;
    unsigned prot;
    uintptr_t start, end; /* what the requests of the batch are about */
    hal_release_fn *release;
    void *context;
    unsigned page_count;
    uint64_t pages[BATCH]; /* unmapped by the batch */
};

static void change_commit(struct change *change)
{
    batch_commit(&change->batch, true, change->start, change->end - change->start);
    for (unsigned i = 0; i < change->page_count && change->release != NULL; i++) {
        change->release(change->pages[i], 0, change->context);
    }
    change->page_count = 0;
}

static void change_entry(struct change *change, uint64_t *slot, uintptr_t address)
{
    uint64_t old = *slot, entry = 0, bits = protection_bits(change->prot);
    if (change->unmap) {
        change->pages[change->page_count++] = entry_physical(old);
    } else if (((old ^ bits) & PTE_PROTECTION) == 0) {
        return;
    } else if ((old & bits & PTE_PRESENT) != 0) {
        entry = (old & PTE_FRAME) | bits;
    } else {
        entry = page_entry(entry_physical(old), change->prot);
    }
    if (change->batch.count == 0) {
        change->start = address;
    }
    change->end = address + PAGE_SIZE;
    batch_add(&change->batch, slot, entry);
    if (change->batch.count == BATCH - 1) {
        change_commit(change);
    }
}

/* Unmaps all that a table maps, with the table: one request for Xen. */
static void drop_table(struct change *change, uint64_t *slot, uintptr_t address)
{
    change_commit(change);
    uint64_t page = entry_physical(*slot);
    uint64_t *entries = direct_map(page);
    batch_unlink_table(&change->batch, slot, page);
    batch_commit(&change->batch, true, address, HUGE_PAGE_SIZE);
    for (unsigned i = 0; i < ENTRIES && change->release != NULL; i++) {
        if (entries[i] != 0) {
            change->release(entry_physical(entries[i]), 0, change->context);
        }
    }
    page_free(page, 0);
}

/* Whether the table for [address, stop) goes as a whole. Tables of the kernel's own map stay, since
 * it is changed without a lock over all of it; so do the domain builder's, and those above the
 * lowest level, which are few. */
static bool may_drop_table(const struct change *change, unsigned level, uintptr_t address,
                           uintptr_t stop)
{
    return change->unmap && level == 1 && stop - address == HUGE_PAGE_SIZE && address < USER_END &&
           address >= low_end;
}

static void change_range(struct change *change, uint64_t *table, unsigned level, uintptr_t start,
                         uintptr_t end)
{
    for (uintptr_t address = start; address < end;) {
        uintptr_t next = (address & ~(LEVEL_SIZE(level) - 1)) + LEVEL_SIZE(level);
        uintptr_t stop = next < end ? next : end;
        uint64_t *slot = &table[LEVEL_INDEX(address, level)];
        if (*slot != 0 && level == 0) {
            change_entry(change, slot, address);
        } else if (*slot != 0 && may_drop_table(change, level, address, stop)) {
            drop_table(change, slot, address);
        } else if (*slot != 0) {
            change_range(change, entry_table(*slot), level - 1, address, stop);
        }
        address = stop;
    }
}

static void change_all(struct change *change, uintptr_t address, size_t size)
{
    change->batch.count = change->page_count = 0;
    change->start = change->end = address;
    change_range(change, root, 3, address, address + size);
    change_commit(change);
}

int xen_unmap(uintptr_t address, size_t size, hal_release_fn *release, void *context)
{
    struct change change;
    change.unmap = true;
    change.prot = 0;
    change.release = release;
    change.context = context;
    change_all(&change, address, size);
    return 0;
}

int xen_protect(uintptr_t address, size_t size, unsigned prot)
{
    struct change change;
    change.unmap = false;
    change.prot = prot;
    change_all(&change, address, size);
    return 0;
}

void *xen_map_device(uint64_t physical, size_t size)
{
    (void)physical;
    (void)size;
    return NULL; /* this machine has none */
}

/* --- set-up ----------------------------------------------------------------------------------- */

static void map_at(const void *at, uint64_t entry)
{
    long error = hypercall3(HYPERCALL_UPDATE_VA_MAPPING, (uintptr_t)at, entry, UVMF_INVLPG_ALL);
    if (error != 0) {
        panic("paging: Xen does not map %#lx: %ld", (unsigned long)entry, error);
    }
}

void mmu_map_frame(void *at, uint64_t frame)
{
    map_at(at, frame << PAGE_SHIFT | PTE_PRESENT | PTE_WRITE | PTE_ACCESSED_DIRTY | PTE_NX);
}

void mmu_unmap_frame(void *at)
{
    map_at(at, page_entry((uintptr_t)at, PROT_R | PROT_W));
}

/* What the image wants to be mapped with at `address`; 0: nothing. */
static unsigned image_protection(uintptr_t address)
{
    if (address < PROGRAM_MIN) {
        if (address < (uintptr_t)text_start || address >= (uintptr_t)bss_end ||
            address == (uintptr_t)boot_stack) {
            return 0;
        }
        if (address < (uintptr_t)rodata_start) {
            return PROT_R | PROT_X;
        }
        return address < (uintptr_t)data_start ? PROT_R : PROT_R | PROT_W;
    }
    for (unsigned i = 0; i < image_info.segment_count; i++) {
        const struct image_segment *segment = &image_info.segments[i];
        if (address >= segment->address && address < segment->address + segment->file_size) {
            return segment->prot;
        }
    }
    return 0;
}

/* The tables that the domain builder made, and ours: pages [first, end) each. */
struct tables {
    uint64_t builder_first, builder_end, first, end;
};

static uint64_t direct_entry(uint64_t page, const struct tables *tables)
{
    unsigned prot = image_protection(page << PAGE_SHIFT);
    if ((page >= tables->first && page < tables->end) ||
        (page >= tables->builder_first && page < tables->builder_end)) {
        prot = PROT_R;
    } else if (prot == 0 || (prot & PROT_W) != 0) {
        prot = PROT_R | PROT_W;
    } else {
        return 0;
    }
    return page_entry(page << PAGE_SHIFT, prot);
}

/* One page of the direct map's tables at a time, seen through the page that is to guard the boot
 * stack; no other mapping of them exists. Level 0 first: `count` entries of each level, the tables
 * of which are those from `first` on. Returns the page of the last table. */
static uint64_t build_direct_map(uint64_t page_count, const struct tables *tables)
{
    uint64_t *view = (uint64_t *)boot_stack;
    uint64_t next = tables->first, below = 0, count = page_count;
    for (unsigned level = 0; level < 3; level++) {
        uint64_t first = next;
        for (uint64_t done = 0; done < count; done += ENTRIES) {
            map_at(view, page_entry(next++ << PAGE_SHIFT, PROT_R | PROT_W));
            for (uint64_t i = 0; i < ENTRIES; i++) {
                uint64_t entry = 0;
                if (done + i < count && level == 0) {
                    entry = direct_entry(done + i, tables);
                } else if (done + i < count) {
                    entry = machine((below + done + i) << PAGE_SHIFT) | PTE_TABLE;
                }
                view[i] = entry;
            }
        }
        below = first;
        count = next - first;
    }
    map_at(view, 0);
    return next - 1;
}

static uint64_t tables_for(uint64_t pages)
{
    uint64_t count = 0;
    for (unsigned level = 0; level < 3; level++) {
        pages = (pages + ENTRIES - 1) / ENTRIES;
        count += pages;
    }
    return count;
}

void mmu_init(const struct start_info *info)
{
    uint64_t builder_first = info->pt_base >> PAGE_SHIFT;
    p2m = (uint64_t *)info->mfn_list;
    page_count = info->nr_pages;
    root = (uint64_t *)info->pt_base;
    low_end = info->pt_base;
    while (xen_query(low_end, NULL, NULL, NULL) != 0) {
        low_end += PAGE_SIZE;
    }
    struct tables tables = {
        .builder_first = builder_first,
        .builder_end = builder_first + info->nr_pt_frames,
        .first = low_end >> PAGE_SHIFT,
        .end = (low_end >> PAGE_SHIFT) + tables_for(info->nr_pages),
    };
    boot_info_require(tables.first << PAGE_SHIFT, (tables.end - tables.first) << PAGE_SHIFT);
    boot_info_reserve(tables.first << PAGE_SHIFT, (tables.end - tables.first) << PAGE_SHIFT);
    boot_info_reserve(info->pt_base, info->nr_pt_frames << PAGE_SHIFT);

    uint64_t top = build_direct_map(info->nr_pages, &tables) << PAGE_SHIFT;
    struct batch batch;
    batch.count = 0;
    batch_add(&batch, &root[LEVEL_INDEX(DIRECT_MAP_BASE, 3)], machine(top) | PTE_TABLE);
    batch_commit(&batch, false, DIRECT_MAP_BASE, 0);

    struct mmuext_op op = {.cmd = MMUEXT_NEW_USER_BASEPTR, .linear_addr = mmu_root_frame()};
    long error = hypercall4(HYPERCALL_MMUEXT_OP, (uint64_t)&op, 1, 0, DOMID_SELF);
    if (error != 0) {
        panic("paging: no tables for user mode: %ld", error);
    }
    table_base = DIRECT_MAP_BASE;
    p2m = direct_map(info->mfn_list);
    root = direct_map(info->pt_base);
    direct_entries = direct_map(tables.first << PAGE_SHIFT);
}

void mmu_protect(void)
{
    uintptr_t stop;
    for (uintptr_t address = 0; address < low_end; address = stop) {
        unsigned prot = image_protection(address);
        for (stop = address + PAGE_SIZE; stop < low_end && image_protection(stop) == prot;) {
            stop += PAGE_SIZE;
        }
        if (prot == 0) {
            xen_unmap(address, stop - address, NULL, NULL);
        } else {
            xen_protect(address, stop - address, prot);
        }
    }
    map_at((void *)VVAR_ADDRESS, page_entry((uintptr_t)&vvar_page, PROT_R));
}
