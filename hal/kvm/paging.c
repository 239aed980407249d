/* SPDX-License-Identifier: MIT */
/* Page tables and TLBs of bare metal (Intel SDM 3A 4.5). One set of tables serves all CPUs and
 * never changes CR3. Entries are installed with compare-and-swap, so faults on several CPUs need no
 * lock here; unmapping and protecting exclude them by core's lock on the address space. Unmapping
 * takes three steps: clear the present bits (the frame numbers stay), flush every TLB once, then
 * give the pages back: so nothing is freed that a CPU can still reach, and no list of pages is
 * needed. flush.lock guards the one flush request. */
#include <linux/errno.h>

#include "core/lib/log.h"
#include "core/lib/spinlock.h"
#include "core/lib/string.h"
#include "core/mm/page.h"
#include "cpu.h"
#include "goruntime/image_info.h"
#include "hal.h"
#include "hal/x86_64/x86.h"
#include "kvm_internal.h"

#define PTE_PRESENT 1ul
#define PTE_WRITE 2ul
#define PTE_UNCACHED 0x18ul /* PWT, PCD */
#define PTE_ACCESSED_DIRTY 0x60ul
#define PTE_LARGE 0x80ul
#define PTE_KEPT                                                                                   \
    0x200ul /* not present, but the frame belongs to the mapping (protection none, or being        \
               unmapped) */
#define PTE_NX (1ul << 63)
#define PTE_FRAME 0x000ffffffffff000ul

#define ENTRIES 512
#define FLUSH_ALL_PAGES 32 /* from here on a flush of everything is cheaper than single pages */

/* Levels count from the bottom: 0 maps 4 KiB pages, 1 maps 2 MiB, 3 is the root. */
#define LEVEL_SHIFT(level) (PAGE_SHIFT + 9 * (level))
#define LEVEL_SIZE(level) (1ul << LEVEL_SHIFT(level))
#define LEVEL_INDEX(address, level) ((address) >> LEVEL_SHIFT(level) & (ENTRIES - 1))

extern uint64_t boot_pml4[], boot_pdpt_low[], boot_pd_low[], boot_pt_low[], boot_pdpt_direct[];
extern char boot_stack[];
extern const char text_start[], rodata_start[], data_start[], bss_end[];
extern const struct image_info image_info;
extern struct vvar vvar_page;

static uint64_t load_offset;
static uintptr_t device_next = KERNEL_MAP_END - (1ul << 40); /* the last TiB of the kernel map */

static struct {
    struct spinlock lock;
    uintptr_t start;
    size_t size;
    uint32_t pending; /* CPUs that have not flushed yet */
} flush = {.lock = SPINLOCK_INIT(LOCK_CLASS_NONE)};

enum { TLB_OFFLINE, TLB_ACTIVE, TLB_LAZY, TLB_LAZY_STALE };
static uint32_t tlb_state[HAL_MAX_CPUS] = {TLB_ACTIVE};

uint64_t hal_image_physical(uintptr_t address)
{
    return address + load_offset;
}

uint64_t paging_root(void)
{
    return image_physical(boot_pml4);
}

static uint64_t protection_bits(unsigned prot)
{
    uint64_t bits = PTE_ACCESSED_DIRTY;
    bits |= (prot & (PROT_R | PROT_W | PROT_X)) != 0 ? PTE_PRESENT : PTE_KEPT;
    bits |= (prot & PROT_W) != 0 ? PTE_WRITE : 0;
    bits |= (prot & PROT_X) != 0 ? 0 : PTE_NX;
    bits |= (prot & PROT_UNCACHED) != 0 ? PTE_UNCACHED : 0;
    return bits;
}

static uint64_t *entry_table(uint64_t entry)
{
    return direct_map(entry & PTE_FRAME);
}

/* The entry for `address` at `level`, making tables on the way. NULL: no memory, or a large page
 * above (`*large`). */
static uint64_t *walk_make(uintptr_t address, unsigned level, bool *large)
{
    uint64_t *table = boot_pml4;
    *large = false;
    for (unsigned at = 3; at > level; at--) {
        uint64_t *slot = &table[LEVEL_INDEX(address, at)];
        uint64_t entry = __atomic_load_n(slot, __ATOMIC_ACQUIRE);
        if (entry == 0) {
            uint64_t page = page_alloc(0, PAGE_ZERO);
            if (page == 0) {
                return NULL;
            }
            if (__atomic_compare_exchange_n(slot, &entry, page | PTE_PRESENT | PTE_WRITE, false,
                                            __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE)) {
                entry = page | PTE_PRESENT;
            } else {
                page_free(page, 0);
            }
        }
        if ((entry & PTE_LARGE) != 0) {
            *large = true;
            return NULL;
        }
        table = entry_table(entry);
    }
    return &table[LEVEL_INDEX(address, level)];
}

int hal_map_page(uintptr_t address, uint64_t physical, unsigned order, unsigned prot)
{
    bool large;
    uint64_t *slot = walk_make(address, order == 0 ? 0 : 1, &large);
    if (slot == NULL) {
        return large ? -EEXIST : -ENOMEM;
    }
    uint64_t expected = 0;
    uint64_t entry = physical | protection_bits(prot) | (order == 0 ? 0 : PTE_LARGE);
    bool done = __atomic_compare_exchange_n(slot, &expected, entry, false, __ATOMIC_RELEASE,
                                            __ATOMIC_RELAXED);
    return done ? 0 : -EEXIST;
}

size_t hal_query(uintptr_t address, uint64_t *physical, unsigned *prot, size_t *hole)
{
    uint64_t *table = boot_pml4;
    for (unsigned level = 3;; level--) {
        uint64_t entry = __atomic_load_n(&table[LEVEL_INDEX(address, level)], __ATOMIC_ACQUIRE);
        if (entry == 0) {
            if (hole != NULL) {
                *hole = LEVEL_SIZE(level);
            }
            return 0;
        }
        if (level == 0 || (entry & PTE_LARGE) != 0) {
            if (physical != NULL) {
                *physical =
                    (entry & PTE_FRAME) + (address & (LEVEL_SIZE(level) - 1) & ~(PAGE_SIZE - 1));
            }
            if (prot != NULL) {
                *prot = 0;
                if ((entry & PTE_PRESENT) != 0) {
                    *prot = PROT_R | ((entry & PTE_WRITE) != 0 ? PROT_W : 0) |
                            ((entry & PTE_NX) == 0 ? PROT_X : 0);
                }
            }
            return LEVEL_SIZE(level);
        }
        table = entry_table(entry);
    }
}

/* --- TLBs
 * -----------------------------------------------------------------------------------------------------------
 */

static void flush_local(uintptr_t start, size_t size)
{
    if (size > FLUSH_ALL_PAGES * PAGE_SIZE) {
        write_cr3(read_cr3());
        return;
    }
    for (uintptr_t address = start; address < start + size; address += PAGE_SIZE) {
        invlpg(address);
    }
}

void tlb_flush_handler(void)
{
    flush_local(flush.start, flush.size);
    __atomic_sub_fetch(&flush.pending, 1, __ATOMIC_RELEASE);
}

void tlb_cpu_online(unsigned cpu)
{
    __atomic_store_n(&tlb_state[cpu], TLB_ACTIVE, __ATOMIC_SEQ_CST);
}

void hal_tlb_lazy(bool lazy)
{
    uint32_t *state = &tlb_state[hal_this_cpu()->id];
    if (lazy) {
        __atomic_store_n(state, TLB_LAZY, __ATOMIC_SEQ_CST);
    } else if (__atomic_exchange_n(state, TLB_ACTIVE, __ATOMIC_SEQ_CST) == TLB_LAZY_STALE) {
        write_cr3(read_cr3());
    }
}

/* Whether CPU `id` must be interrupted: one that idles only learns that it is stale. */
static bool must_interrupt(unsigned id)
{
    uint32_t state = __atomic_load_n(&tlb_state[id], __ATOMIC_SEQ_CST);
    while (state == TLB_LAZY) {
        if (__atomic_compare_exchange_n(&tlb_state[id], &state, TLB_LAZY_STALE, false,
                                        __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST)) {
            return false;
        }
    }
    return state == TLB_ACTIVE;
}

/* All CPUs drop [start, start + size). Interrupts are enabled: two CPUs may ask at once and must
 * answer each other. */
static void flush_all_cpus(uintptr_t start, size_t size)
{
    flush_local(start, size);
    if (hal_cpu_count() == 1) {
        return;
    }
    unsigned self = hal_this_cpu()->id;
    spin_lock(&flush.lock);
    flush.start = start;
    flush.size = size;
    for (unsigned id = 0; id < hal_cpu_count(); id++) {
        if (id != self && must_interrupt(id)) {
            __atomic_add_fetch(&flush.pending, 1, __ATOMIC_ACQ_REL);
            apic_send_ipi(id, VECTOR_TLB);
        }
    }
    while (__atomic_load_n(&flush.pending, __ATOMIC_ACQUIRE) != 0) {
        hal_spin_hint();
    }
    spin_unlock(&flush.lock);
}

/* --- ranges
 * -----------------------------------------------------------------------------------------------------------
 */

/* Calls `visit` for each last-level entry that is not empty in [start, end). After the entries of a
 * table `leave` is called (may be NULL) for each table below the root's second level that lies
 * wholly inside the range. */
typedef void visit_fn(uint64_t *slot, uintptr_t address, unsigned level, void *context);
typedef void leave_fn(uint64_t *slot, unsigned level, void *context);

static void walk_range(uint64_t *table, unsigned level, uintptr_t start, uintptr_t end,
                       visit_fn *visit, leave_fn *leave, void *context)
{
    for (uintptr_t address = start; address < end;) {
        uintptr_t next = (address & ~(LEVEL_SIZE(level) - 1)) + LEVEL_SIZE(level);
        uintptr_t stop = next < end ? next : end;
        uint64_t *slot = &table[LEVEL_INDEX(address, level)];
        uint64_t entry = *slot;
        if (entry != 0) {
            if (level == 0 || (entry & PTE_LARGE) != 0) {
                visit(slot, address, level, context);
            } else {
                walk_range(entry_table(entry), level - 1, address, stop, visit, leave, context);
                if (leave != NULL && level <= 2 && stop - address == LEVEL_SIZE(level)) {
                    leave(slot, level, context);
                }
            }
        }
        address = stop;
    }
}

/* Makes sure that no large page crosses `address`. */
static int split_at(uintptr_t address)
{
    if ((address & (HUGE_PAGE_SIZE - 1)) == 0) {
        return 0;
    }
    uint64_t *table = boot_pml4;
    for (unsigned level = 3; level > 1; level--) {
        uint64_t entry = table[LEVEL_INDEX(address, level)];
        if (entry == 0) {
            return 0;
        }
        table = entry_table(entry);
    }
    uint64_t *slot = &table[LEVEL_INDEX(address, 1)];
    uint64_t entry = *slot;
    if ((entry & PTE_LARGE) == 0) {
        return 0;
    }
    uint64_t page = page_alloc(0, 0);
    if (page == 0) {
        return -ENOMEM;
    }
    uint64_t *pages = direct_map(page);
    for (unsigned i = 0; i < ENTRIES; i++) {
        pages[i] = (entry & ~PTE_LARGE) + i * PAGE_SIZE;
    }
    __atomic_store_n(slot, page | PTE_PRESENT | PTE_WRITE, __ATOMIC_RELEASE);
    return 0;
}

static int split_edges(uintptr_t start, uintptr_t end)
{
    int error = split_at(start);
    return error != 0 ? error : split_at(end);
}

struct unmap_context {
    hal_release_fn *release;
    void *context;
    bool was_present;
    uint64_t *free_tables; /* linked through their first word */
};

static void unmap_mark(uint64_t *slot, uintptr_t address, unsigned level, void *context)
{
    (void)address;
    (void)level;
    struct unmap_context *unmap = context;
    if ((*slot & PTE_PRESENT) != 0) {
        unmap->was_present = true;
        __atomic_store_n(slot, (*slot & ~PTE_PRESENT) | PTE_KEPT, __ATOMIC_RELAXED);
    }
}

static void unmap_release(uint64_t *slot, uintptr_t address, unsigned level, void *context)
{
    (void)address;
    struct unmap_context *unmap = context;
    uint64_t physical = *slot & PTE_FRAME;
    __atomic_store_n(slot, 0, __ATOMIC_RELAXED);
    if (unmap->release != NULL) {
        unmap->release(physical, level == 0 ? 0 : HUGE_PAGE_ORDER, unmap->context);
    }
}

static void unmap_table(uint64_t *slot, unsigned level, void *context)
{
    (void)level;
    struct unmap_context *unmap = context;
    uint64_t *table = entry_table(*slot);
    __atomic_store_n(slot, 0, __ATOMIC_RELAXED);
    table[0] = (uint64_t)unmap->free_tables;
    unmap->free_tables = table;
}

int hal_unmap(uintptr_t address, size_t size, hal_release_fn *release, void *context)
{
    struct unmap_context unmap = {.release = release, .context = context};
    int error = split_edges(address, address + size);
    if (error != 0) {
        return error;
    }
    walk_range(boot_pml4, 3, address, address + size, unmap_mark, NULL, &unmap);
    if (unmap.was_present) {
        flush_all_cpus(address, size);
    }
    /* Tables of the kernel's own map stay: it is changed without a lock over all of it. */
    leave_fn *leave = address < USER_END ? unmap_table : NULL;
    walk_range(boot_pml4, 3, address, address + size, unmap_release, leave, &unmap);
    if (unmap.free_tables != NULL) {
        flush_all_cpus(address, FLUSH_ALL_PAGES * PAGE_SIZE + 1);
    }
    while (unmap.free_tables != NULL) {
        uint64_t *table = unmap.free_tables;
        unmap.free_tables = (uint64_t *)table[0];
        page_free(direct_map_physical(table), 0);
    }
    return 0;
}

struct protect_context {
    uint64_t bits;
    bool flush;
};

static void protect_entry(uint64_t *slot, uintptr_t address, unsigned level, void *context)
{
    (void)address;
    (void)level;
    struct protect_context *protect = context;
    uint64_t old = *slot;
    uint64_t new_value = (old & (PTE_FRAME | PTE_LARGE | PTE_UNCACHED)) | protect->bits;
    if (new_value != old) {
        __atomic_store_n(slot, new_value, __ATOMIC_RELAXED);
        protect->flush |= (old & PTE_PRESENT) != 0;
    }
}

int hal_protect(uintptr_t address, size_t size, unsigned prot)
{
    struct protect_context protect = {.bits = protection_bits(prot)};
    int error = split_edges(address, address + size);
    if (error != 0) {
        return error;
    }
    walk_range(boot_pml4, 3, address, address + size, protect_entry, NULL, &protect);
    if (protect.flush) {
        flush_all_cpus(address, size);
    }
    return 0;
}

void *hal_map_device(uint64_t physical, size_t size)
{
    static struct spinlock lock = SPINLOCK_INIT(LOCK_CLASS_NONE);
    uint64_t first = physical & ~(PAGE_SIZE - 1);
    uint64_t pages = (physical + size - first + PAGE_SIZE - 1) / PAGE_SIZE;
    bool irq = spin_lock_irqsave(&lock);
    uintptr_t address = device_next;
    device_next += pages * PAGE_SIZE;
    spin_unlock_irqrestore(&lock, irq);
    for (uint64_t i = 0; i < pages; i++) {
        int error = hal_map_page(address + i * PAGE_SIZE, first + i * PAGE_SIZE, 0,
                                 PROT_R | PROT_W | PROT_UNCACHED);
        if (error != 0) {
            return NULL;
        }
    }
    return (char *)address + (physical - first);
}

/* --- set-up
 * ---------------------------------------------------------------------------------------------------------------
 */

static void must(int error, const char *what)
{
    if (error != 0) {
        panic("paging: %s: not enough memory", what);
    }
}

/* Maps RAM above what entry.asm has mapped. */
static void extend_direct_map(void)
{
    const struct boot_info *info = hal_boot_info();
    for (unsigned i = 0; i < info->range_count; i++) {
        uint64_t end = info->ranges[i].base + info->ranges[i].size;
        uint64_t base = info->ranges[i].base & ~(HUGE_PAGE_SIZE - 1);
        for (base = base > 4ul << 30 ? base : 4ul << 30; base < end; base += HUGE_PAGE_SIZE) {
            int error =
                hal_map_page(DIRECT_MAP_BASE + base, base, HUGE_PAGE_ORDER, PROT_R | PROT_W);
            must(error == -EEXIST ? 0 : error, "direct map");
        }
    }
}

/* Takes [start, end) of the image out of the direct map unless it is writable data. */
static void hide_image(uintptr_t start, uintptr_t end)
{
    uintptr_t base = DIRECT_MAP_BASE + load_offset;
    must(hal_protect(base + start, end - start, 0), "image");
}

static void protect_kernel(void)
{
    for (uintptr_t address = 0; address < PROGRAM_MIN; address += PAGE_SIZE) {
        uint64_t *slot = &boot_pt_low[address / PAGE_SIZE];
        uint64_t frame = *slot & PTE_FRAME;
        if (address < (uintptr_t)text_start || address >= (uintptr_t)bss_end ||
            address == (uintptr_t)boot_stack) {
            *slot = 0;
        } else if (address < (uintptr_t)rodata_start) {
            *slot = frame | protection_bits(PROT_R | PROT_X);
        } else if (address < (uintptr_t)data_start) {
            *slot = frame | protection_bits(PROT_R);
        } else {
            *slot = frame | protection_bits(PROT_R | PROT_W);
        }
    }
    boot_pt_low[VVAR_ADDRESS / PAGE_SIZE] = image_physical(&vvar_page) | protection_bits(PROT_R);
}

static void map_program(void)
{
    for (unsigned i = 0; i < image_info.segment_count; i++) {
        const struct image_segment *segment = &image_info.segments[i];
        for (uint64_t at = 0; at < segment->file_size; at += PAGE_SIZE) {
            must(hal_map_page(segment->address + at, segment->address + at + load_offset, 0,
                              segment->prot),
                 "program");
        }
        if ((segment->prot & PROT_W) == 0) {
            hide_image(segment->address, segment->address + ((segment->file_size + PAGE_SIZE - 1) &
                                                             ~(PAGE_SIZE - 1)));
        }
    }
}

void paging_early_init(uint64_t offset)
{
    load_offset = offset;
}

void paging_init(void)
{
    extend_direct_map();
    for (unsigned i = 1; i < ENTRIES; i++) {
        boot_pdpt_low[i] = 0;
    }
    for (unsigned i = 2; i < ENTRIES; i++) {
        boot_pd_low[i] = 0;
    }
    protect_kernel();
    hide_image((uintptr_t)text_start, (uintptr_t)data_start);
    map_program();
    write_cr3(read_cr3());
}

int paging_map_trampoline(uint64_t physical)
{
    return hal_map_page(physical, physical, 0, PROT_R | PROT_X);
}

void paging_unmap_trampoline(uint64_t physical)
{
    boot_pt_low[physical / PAGE_SIZE] = 0;
    write_cr3(read_cr3());
}
