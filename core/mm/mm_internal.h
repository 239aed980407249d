/* SPDX-License-Identifier: MIT */
/* What the files of core/mm share: VMAs and their tree, the address space, and the page allocator's
 * private calls. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/sched/sched.h"
#include "hal.h"

/* --- page.c ---------------------------------------------------------------------------------- */

/* Gives `pages` pages from `physical` on back; they were parts of allocated blocks. */
void page_free_run(uint64_t physical, uint64_t pages);

/* From now on `thread` may use the reserve: it reports that there is no memory. */
void page_set_reserve_owner(const struct hal_thread *thread);

/* --- vma.c ----------------------------------------------------------------------------------- */

enum {
    VMA_SHARED = 1,
    VMA_PINNED = 2, /* the image, the kernel and the like: cannot be unmapped, its pages are not
                       page_alloc's */
    VMA_BORROWED =
        4,        /* the pages belong to `file`; never set on a private mapping that is writable */
    VMA_HUGE = 8, /* MADV_HUGEPAGE */
    VMA_NO_HUGE = 16,   /* MADV_NOHUGEPAGE */
    VMA_LOCKED = 32,    /* mlock */
    VMA_MAY_WRITE = 64, /* of shared file mappings: the file is open for writing */
};

/* One mapping: page-aligned, not empty. All under vm.lock. */
struct vma {
    uintptr_t start, end;
    struct vma *left, *right, *parent;
    struct vma *previous, *next; /* by address */
    size_t gap_max;              /* the largest gap in front of a VMA of this subtree */
    uint8_t height;
    uint8_t prot; /* PROT_R | PROT_W | PROT_X as asked for */
    uint16_t flags;
    struct file *file; /* with a reference; NULL: anonymous */
    uint64_t offset;   /* of `start` in the file */
    const char *name;  /* static, for /proc; NULL: none */
};

struct vma_tree {
    struct vma *root, *first, *last;
    unsigned count;
    size_t size, peak; /* bytes in all of them, and the most that there were */
};

/* The first VMA that ends above `address`, or NULL. */
struct vma *vma_find(const struct vma_tree *tree, uintptr_t address);

/* `vma` has start and end set and overlaps with none. */
void vma_insert(struct vma_tree *tree, struct vma *vma);
void vma_remove(struct vma_tree *tree, struct vma *vma);

/* Changes the bounds; the order of the VMAs stays the same. */
void vma_resize(struct vma_tree *tree, struct vma *vma, uintptr_t start, uintptr_t end);

/* Takes the part from `address` on out of `vma` and makes `upper`, a new VMA, hold it. No reference
 * is counted. */
void vma_split(struct vma_tree *tree, struct vma *vma, uintptr_t address, struct vma *upper);

/* Whether `upper` could be the continuation of `lower`. */
bool vma_can_merge(const struct vma *lower, const struct vma *upper);

/* The highest address in [low, high) where `size` bytes are free, aligned to `align` (a power of
 * two, at least a page), plus `phase`; 0: none. */
uintptr_t vma_find_gap(const struct vma_tree *tree, size_t size, uintptr_t low, uintptr_t high,
                       size_t align, size_t phase);

/* --- vm.c, fault.c --------------------------------------------------------------------------- */

struct address_space {
    struct rwlock lock; /* faults read, changes write */
    struct vma_tree tree;
    uint64_t resident; /* pages; atomic */
    uint64_t peak;     /* the most that resident has been; atomic */
    uintptr_t brk_start, brk;
    uint16_t new_flags; /* of mappings to come: VMA_LOCKED after mlockall(MCL_FUTURE) */
    bool lock_on_fault; /* MCL_ONFAULT */
};
extern struct address_space vm;

/* What the page tables get for a VMA: readable if anything, as on Linux on this CPU. */
static inline unsigned vma_page_prot(const struct vma *vma)
{
    return vma->prot != 0 ? vma->prot | PROT_R : 0;
}

static inline uint64_t vma_file_offset(const struct vma *vma, uintptr_t address)
{
    return vma->offset + (address - vma->start);
}

/* Maps the page at `address` and perhaps some behind it; `wanted` bytes will surely be used (0:
 * unknown). Bytes from `address` on that are mapped now, or -errno as vm_fault. Read or write lock
 * held. */
long fault_in(struct vma *vma, uintptr_t address, size_t wanted);

/* Maps all of a range, as if it were touched: -ENOMEM, -EACCES, -EFAULT or what the fault gave. No
 * lock held. */
int vm_populate(uintptr_t start, uintptr_t end, bool write);

/* Gives the pages of [start, end) of `vma` back; the mapping stays. -ENOMEM when a huge page cannot
 * be split. Write lock. */
int vma_drop_pages(struct vma *vma, uintptr_t start, uintptr_t end);

int vm_msync(uintptr_t address, size_t length, int flags);
int vm_mlock(uintptr_t address, size_t length, bool lock, bool on_fault);
int vm_mlockall(int flags);
void vm_munlockall(void);
uintptr_t vm_brk(uintptr_t wanted);

/* Counts pages that have been mapped. */
void vm_count_resident(uint64_t pages);
