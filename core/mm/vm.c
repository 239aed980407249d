/* SPDX-License-Identifier: MIT */
/* The program's address space: mmap and its relatives. Changes hold vm.lock for writing; they first
 * split VMAs at the edges of the range, which changes nothing that can be seen, then work on whole
 * VMAs. Memory of VMAs and references to files are let go after the lock (struct dead_list). The
 * program's memory is never touched with the lock held. */
#include "core/mm/vm.h"

#include <linux/fcntl.h>
#include <linux/mman.h>

#include "core/fs/file.h"
#include "core/fs/fs.h"
#include "core/fs/inode.h"
#include "core/lib/errno.h"
#include "core/lib/log.h"
#include "core/lib/string.h"
#include "core/mm/kmalloc.h"
#include "core/mm/mm_internal.h"
#include "core/mm/page.h"
#include "goruntime/image_info.h"

#define PROT_MASK (PROT_R | PROT_W | PROT_X)
#define MMAP_TOP (USER_END - (64ul << 20)) /* the stack is above */
#define BRK_LIMIT (1ul << 30)
#define OVERCOMMIT_SLACK                                                                           \
    (64ul << 20) /* Go maps some tables whole, also on a machine smaller than they are */
#define FILE_BATCH 32
#define MINCORE_CHUNK 256

extern const struct image_info image_info;

struct address_space vm;

/* VMAs that are out of the tree, linked by `next`. */
struct dead_list {
    struct vma *first;
};

static void bury(struct dead_list *dead, struct vma *vma)
{
    vma->next = dead->first;
    dead->first = vma;
}

/* No lock held. */
static void free_dead(struct dead_list *dead)
{
    while (dead->first != NULL) {
        struct vma *vma = dead->first;
        dead->first = vma->next;
        if (vma->file != NULL) {
            file_put(vma->file);
        }
        kfree(vma);
    }
}

static inline uintptr_t round_down(uintptr_t value)
{
    return value & ~(PAGE_SIZE - 1);
}

static inline uintptr_t round_up(uintptr_t value)
{
    return round_down(value + PAGE_SIZE - 1);
}

static inline uintptr_t lower_of(uintptr_t a, uintptr_t b)
{
    return a < b ? a : b;
}

static inline uintptr_t higher_of(uintptr_t a, uintptr_t b)
{
    return a > b ? a : b;
}

/* Turns the (address, length) of a system call into a page-aligned range in the program's part. */
static int check_range(uintptr_t address, size_t length, uintptr_t *end)
{
    if ((address & (PAGE_SIZE - 1)) != 0) {
        return -EINVAL;
    }
    if (length > USER_END || address > USER_END - round_up(length)) {
        return -ENOMEM;
    }
    *end = address + round_up(length);
    return 0;
}

static bool writable_executable(unsigned prot)
{
    return (prot & (PROT_W | PROT_X)) == (PROT_W | PROT_X);
}

static uint64_t address_limit = UINT64_MAX; /* RLIMIT_AS, bytes */

/* What can never be backed is refused at once, as Linux's overcommit mode 0 does, so that the
 * program can say so. */
static bool overcommits(size_t length)
{
    return length > page_total() * PAGE_SIZE + OVERCOMMIT_SLACK;
}

/* --- VMAs; write lock ------------------------------------------------------------------------ */

static int split_at(uintptr_t address)
{
    struct vma *vma = vma_find(&vm.tree, address);
    if (vma == NULL || vma->start >= address) {
        return 0;
    }
    struct vma *upper = kmalloc(sizeof(*upper));
    if (upper == NULL) {
        return -ENOMEM;
    }
    vma_split(&vm.tree, vma, address, upper);
    if (vma->file != NULL) {
        file_get(vma->file);
    }
    return 0;
}

/* Afterwards no VMA crosses `start` or `end`. */
static int split_edges(uintptr_t start, uintptr_t end)
{
    int error = split_at(start);
    return error != 0 ? error : split_at(end);
}

static void absorb_next(struct vma *vma, struct dead_list *dead)
{
    struct vma *next = vma->next;
    uintptr_t end = next->end;
    vma_remove(&vm.tree, next);
    vma_resize(&vm.tree, vma, vma->start, end);
    bury(dead, next);
}

/* Joins what can be joined in and around a range. */
static void merge_range(uintptr_t start, uintptr_t end, struct dead_list *dead)
{
    struct vma *vma = vma_find(&vm.tree, start);
    if (vma != NULL && vma->previous != NULL) {
        vma = vma->previous;
    }
    while (vma != NULL && vma->start <= end) {
        while (vma->next != NULL && vma_can_merge(vma, vma->next)) {
            absorb_next(vma, dead);
        }
        vma = vma->next;
    }
}

/* Puts a new VMA into free space, by making a neighbour larger where that does. */
static void insert_merged(struct vma *vma, struct dead_list *dead)
{
    struct vma *next = vma_find(&vm.tree, vma->start);
    struct vma *previous = next != NULL ? next->previous : vm.tree.last;
    if (previous != NULL && vma_can_merge(previous, vma)) {
        vma_resize(&vm.tree, previous, previous->start, vma->end);
        bury(dead, vma);
        if (next != NULL && vma_can_merge(previous, next)) {
            absorb_next(previous, dead);
        }
    } else if (next != NULL && vma_can_merge(vma, next)) {
        next->offset = vma->offset;
        vma_resize(&vm.tree, next, vma->start, next->end);
        bury(dead, vma);
    } else {
        vma_insert(&vm.tree, vma);
    }
}

static bool range_has_flags(uintptr_t start, uintptr_t end, unsigned flags)
{
    struct vma *vma = vma_find(&vm.tree, start);
    for (; vma != NULL && vma->start < end; vma = vma->next) {
        if ((vma->flags & flags) != 0) {
            return true;
        }
    }
    return false;
}

static bool range_is_mapped(uintptr_t start, uintptr_t end)
{
    struct vma *vma = vma_find(&vm.tree, start);
    while (vma != NULL && vma->start <= start) {
        if (vma->end >= end) {
            return true;
        }
        start = vma->end;
        vma = vma->next;
    }
    return false;
}

static bool range_is_free(uintptr_t start, uintptr_t end)
{
    struct vma *vma = vma_find(&vm.tree, start);
    return vma == NULL || vma->start >= end;
}

/* --- pages; write lock ----------------------------------------------------------------------- */

static void release_page(uint64_t physical, unsigned order, void *context)
{
    uint64_t *pages = context;
    page_free(physical, order);
    *pages += 1ull << order;
}

static void count_dropped(uint64_t pages)
{
    __atomic_sub_fetch(&vm.resident, pages, __ATOMIC_RELAXED);
}

/* The file gets its pages back after no CPU can reach them any more; it wants to know which they
 * were, so they are noted first. */
static int drop_borrowed(struct vma *vma, uintptr_t start, uintptr_t end)
{
    struct {
        uint64_t offset, physical;
    } batch[FILE_BATCH];
    for (uintptr_t address = start; address < end;) {
        uintptr_t from = address;
        unsigned count = 0;
        while (address < end && count < FILE_BATCH) {
            size_t hole;
            batch[count].offset = vma_file_offset(vma, address);
            if (hal_query(address, &batch[count].physical, NULL, &hole) != 0) {
                count++;
                address += PAGE_SIZE;
            } else {
                address = lower_of(end, (address & ~(hole - 1)) + hole);
            }
        }
        if (count == 0) {
            break;
        }
        int error = hal_unmap(from, address - from, NULL, NULL);
        if (error != 0) {
            return error;
        }
        for (unsigned i = 0; i < count; i++) {
            vma->file->operations->unmap_page(vma->file, batch[i].offset, batch[i].physical);
        }
        count_dropped(count);
    }
    return 0;
}

int vma_drop_pages(struct vma *vma, uintptr_t start, uintptr_t end)
{
    if ((vma->flags & VMA_BORROWED) != 0) {
        return drop_borrowed(vma, start, end);
    }
    uint64_t pages = 0;
    int error = hal_unmap(start, end - start, release_page, &pages);
    count_dropped(pages);
    return error;
}

/* Unmaps everything in a range. Where no VMA is near, to the edges of the 2 MiB blocks, so that
 * page tables go too: an empty one costs a page and keeps a huge page from its place. */
static int unmap_range(uintptr_t start, uintptr_t end, const struct vma *previous,
                       const struct vma *next)
{
    uintptr_t first_block = start & ~(HUGE_PAGE_SIZE - 1);
    uintptr_t last_block = (end + HUGE_PAGE_SIZE - 1) & ~(HUGE_PAGE_SIZE - 1);
    if (first_block != 0 && (previous == NULL || previous->end <= first_block)) {
        start = first_block;
    }
    if (last_block <= USER_END && (next == NULL || next->start >= last_block)) {
        end = last_block;
    }
    uint64_t pages = 0;
    int error = hal_unmap(start, end - start, release_page, &pages);
    count_dropped(pages);
    return error;
}

/* Empties a range of address space. -EPERM: something in it is not the program's to unmap. */
static int remove_range(uintptr_t start, uintptr_t end, struct dead_list *dead)
{
    if (range_is_free(start, end)) {
        return 0;
    }
    if (range_has_flags(start, end, VMA_PINNED)) {
        return -EPERM;
    }
    int error = split_edges(start, end);
    struct vma *first = vma_find(&vm.tree, start), *vma = first;
    for (; error == 0 && vma != NULL && vma->start < end; vma = vma->next) {
        if ((vma->flags & VMA_BORROWED) != 0) {
            error = drop_borrowed(vma, vma->start, vma->end);
        }
    }
    if (error == 0) {
        error = unmap_range(start, end, first->previous, vma);
    }
    struct vma *next;
    for (vma = first; error == 0 && vma != NULL && vma->start < end; vma = next) {
        next = vma->next;
        vma_remove(&vm.tree, vma);
        bury(dead, vma);
    }
    return error;
}

/* --- files that change or are many ------------------------------------------------------------ */

/* The part of a VMA that maps bytes [first, last] of the inode: false when there is none. */
static bool maps_range(const struct vma *vma, const struct inode *inode, uint64_t first,
                       uint64_t last, uintptr_t *start, uintptr_t *end)
{
    uint64_t size = vma->end - vma->start;
    if (vma->file == NULL || vma->file->inode != inode || last < vma->offset ||
        (first > vma->offset && first - vma->offset >= size)) {
        return false;
    }
    *start = vma->start + (first > vma->offset ? round_down(first - vma->offset) : 0);
    *end = last - vma->offset >= size ? vma->end : round_up(vma->start + (last - vma->offset) + 1);
    return true;
}

/* A file's pages are never huge, so that unmapping them cannot fail. */
static void unmap_ranges(const struct inode *inode, uint64_t first, uint64_t last, bool copies)
{
    uintptr_t start, end;
    for (struct vma *vma = vm.tree.first; vma != NULL; vma = vma->next) {
        if ((copies || (vma->flags & VMA_BORROWED) != 0) &&
            maps_range(vma, inode, first, last, &start, &end)) {
            vma_drop_pages(vma, start, end);
        }
    }
}

void vm_unmap_file(const struct inode *inode, uint64_t first, uint64_t last, bool copies)
{
    bool mapped = false;
    uintptr_t start, end;
    rwlock_read_lock(&vm.lock);
    for (struct vma *vma = vm.tree.first; vma != NULL && !mapped; vma = vma->next) {
        mapped = maps_range(vma, inode, first, last, &start, &end);
    }
    rwlock_read_unlock(&vm.lock);
    if (mapped) {
        rwlock_write_lock(&vm.lock);
        unmap_ranges(inode, first, last, copies);
        rwlock_write_unlock(&vm.lock);
    }
}

size_t vm_reclaim(void)
{
    rwlock_write_lock(&vm.lock);
    for (struct vma *vma = vm.tree.first; vma != NULL; vma = vma->next) {
        if ((vma->flags & VMA_BORROWED) != 0) {
            vma_drop_pages(vma, vma->start, vma->end);
        }
    }
    rwlock_write_unlock(&vm.lock);
    return page_shrink();
}

/* --- mmap, munmap, brk ----------------------------------------------------------------------- */

/* What mmap asks of the file: the VMA's flags, or -errno. */
static int file_mapping_flags(const struct file *file, unsigned prot, unsigned flags)
{
    unsigned mode = file->flags & O_ACCMODE;
    bool shared = (flags & MAP_TYPE) != MAP_PRIVATE;
    if (mode == O_WRONLY || (shared && (prot & PROT_W) != 0 && mode != O_RDWR)) {
        return -EACCES;
    }
    bool read_only = file->operations->map_read_only;
    if (file->operations->map_page == NULL || (shared && read_only && (prot & PROT_W) != 0)) {
        return -ENODEV;
    }
    if (shared) {
        return VMA_SHARED | VMA_BORROWED | (mode == O_RDWR && !read_only ? VMA_MAY_WRITE : 0);
    }
    return (prot & PROT_W) != 0 ? 0 : VMA_BORROWED;
}

/* Room for `length` bytes: where the hint says, or as high as possible; large ones so that huge
 * pages fit, at `phase` in their 2 MiB block. 0: none. */
static uintptr_t choose_address(uintptr_t hint, size_t length, size_t phase)
{
    hint = round_down(hint);
    if (hint >= USER_MIN && hint <= USER_END - length && range_is_free(hint, hint + length)) {
        return hint;
    }
    uintptr_t found = 0;
    if (length >= HUGE_PAGE_SIZE) {
        found = vma_find_gap(&vm.tree, length, USER_MIN, MMAP_TOP, HUGE_PAGE_SIZE, phase);
    }
    return found != 0 ? found : vma_find_gap(&vm.tree, length, USER_MIN, MMAP_TOP, PAGE_SIZE, 0);
}

static long map_locked(struct vma *vma, uintptr_t address, size_t length, unsigned flags,
                       struct dead_list *dead)
{
    if ((flags & (MAP_FIXED | MAP_FIXED_NOREPLACE)) == 0) {
        address = choose_address(address, length, 0);
        if (address == 0) {
            return -ENOMEM;
        }
    } else if ((flags & MAP_FIXED_NOREPLACE) != 0) {
        if (!range_is_free(address, address + length)) {
            return -EEXIST;
        }
    } else {
        int error = remove_range(address, address + length, dead);
        if (error != 0) {
            return error;
        }
    }
    vma->start = address;
    vma->end = address + length;
    insert_merged(vma, dead);
    return (long)address;
}

/* Bytes of the program's mappings that do not lie in a range. */
static size_t mapped_outside(uintptr_t start, uintptr_t end)
{
    size_t size = 0;
    for (const struct vma *vma = vm.tree.first; vma != NULL; vma = vma->next) {
        if (vma->start < PROGRAM_MIN && (vma->flags & VMA_PINNED) != 0) {
            continue;
        }
        uintptr_t from = vma->start > start ? vma->start : start;
        uintptr_t to = vma->end < end ? vma->end : end;
        size += vma->end - vma->start - (from < to ? to - from : 0);
    }
    return size;
}

/* Whether a mapping over a range (from 0: anywhere) would be more than RLIMIT_AS has. */
static bool beyond_limit(uintptr_t start, size_t length)
{
    uint64_t limit = __atomic_load_n(&address_limit, __ATOMIC_RELAXED);
    return limit != UINT64_MAX && mapped_outside(start, start + length) + length > limit;
}

void vm_limit_addresses(uint64_t bytes)
{
    __atomic_store_n(&address_limit, bytes, __ATOMIC_RELAXED);
}

/* The arguments that need no look at the tree: 0 or -errno. */
static int check_mmap(uintptr_t address, size_t length, unsigned prot, unsigned flags,
                      uint64_t offset)
{
    unsigned type = flags & MAP_TYPE;
    if (length == 0 || (offset & (PAGE_SIZE - 1)) != 0 ||
        (type != MAP_SHARED && type != MAP_PRIVATE && type != MAP_SHARED_VALIDATE)) {
        return -EINVAL;
    }
    if (writable_executable(prot)) {
        return -EACCES;
    }
    if (length > USER_END - USER_MIN || (flags & MAP_HUGETLB) != 0) {
        return -ENOMEM; /* there is no pool of huge pages */
    }
    if (offset + round_up(length) < offset) {
        return -EOVERFLOW;
    }
    if ((flags & (MAP_FIXED | MAP_FIXED_NOREPLACE)) != 0) {
        uintptr_t end;
        int error = check_range(address, length, &end);
        if (error != 0 || address < USER_MIN) {
            return error != 0 ? error : -EPERM;
        }
    }
    bool backed = type == MAP_PRIVATE ? (prot & PROT_W) != 0 : (flags & MAP_ANONYMOUS) != 0;
    return backed && (flags & MAP_NORESERVE) == 0 && overcommits(length) ? -ENOMEM : 0;
}

long vm_mmap(uintptr_t address, size_t length, unsigned prot, unsigned flags, struct file *file,
             uint64_t offset)
{
    prot &= PROT_MASK;
    int error = check_mmap(address, length, prot, flags, offset);
    if (error != 0) {
        return error;
    }
    length = round_up(length);
    int vma_flags = (flags & MAP_TYPE) != MAP_PRIVATE ? VMA_SHARED : 0;
    if ((flags & MAP_ANONYMOUS) != 0) {
        file = NULL;
    } else {
        vma_flags = file == NULL ? -EBADF : file_mapping_flags(file, prot, flags);
    }
    if (vma_flags < 0) {
        return vma_flags;
    }
    struct vma *vma = kzalloc(sizeof(*vma));
    if (vma == NULL) {
        return -ENOMEM;
    }
    vma->prot = (uint8_t)prot;
    vma->file = file != NULL ? file_get(file) : NULL;
    vma->offset = file != NULL ? offset : 0;
    vma->name = (flags & MAP_GROWSDOWN) != 0 ? "[stack]" : NULL;

    struct dead_list dead = {NULL};
    rwlock_write_lock(&vm.lock);
    vma->flags =
        (uint16_t)(vma_flags | vm.new_flags | ((flags & MAP_LOCKED) != 0 ? VMA_LOCKED : 0));
    bool populate = (flags & MAP_POPULATE) != 0 || (flags & MAP_LOCKED) != 0 ||
                    ((vma->flags & VMA_LOCKED) != 0 && !vm.lock_on_fault);
    bool fixed = (flags & (MAP_FIXED | MAP_FIXED_NOREPLACE)) != 0;
    long result = beyond_limit(fixed ? address : 0, length)
                      ? -ENOMEM
                      : map_locked(vma, address, length, flags, &dead);
    if (result < 0) {
        bury(&dead, vma);
    }
    rwlock_write_unlock(&vm.lock);
    free_dead(&dead);
    if (populate && result >= 0 && prot != 0) {
        vm_populate((uintptr_t)result, (uintptr_t)result + length, (prot & PROT_W) != 0);
    }
    return result;
}

int vm_munmap(uintptr_t address, size_t length)
{
    uintptr_t end;
    if (length == 0 || check_range(address, length, &end) != 0) {
        return -EINVAL;
    }
    struct dead_list dead = {NULL};
    rwlock_write_lock(&vm.lock);
    int error = remove_range(address, end, &dead);
    rwlock_write_unlock(&vm.lock);
    free_dead(&dead);
    return error;
}

uintptr_t vm_brk(uintptr_t wanted)
{
    struct dead_list dead = {NULL};
    struct vma *vma = kzalloc(sizeof(*vma));
    rwlock_write_lock(&vm.lock);
    uintptr_t result = vm.brk;
    uintptr_t old_end = round_up(vm.brk), new_end = round_up(wanted);
    bool valid = wanted >= vm.brk_start && wanted - vm.brk_start <= BRK_LIMIT;
    if (valid && new_end < old_end) {
        valid = remove_range(new_end, old_end, &dead) == 0;
    } else if (valid && new_end > old_end) {
        valid = vma != NULL && !overcommits(new_end - old_end) &&
                !beyond_limit(old_end, new_end - old_end) && range_is_free(old_end, new_end);
        if (valid) {
            *vma = (struct vma){
                .start = old_end, .end = new_end, .prot = PROT_R | PROT_W, .name = "[heap]"};
            vma->flags = vm.new_flags;
            insert_merged(vma, &dead);
            vma = NULL;
        }
    }
    if (valid) {
        vm.brk = result = wanted;
    }
    rwlock_write_unlock(&vm.lock);
    free_dead(&dead);
    kfree(vma);
    return result;
}

int vm_map_fixed_pages(uintptr_t address, uint64_t physical, size_t size, unsigned prot,
                       const char *name)
{
    struct vma *vma = kzalloc(sizeof(*vma));
    if (vma == NULL) {
        return -ENOMEM;
    }
    rwlock_write_lock(&vm.lock);
    int error = range_is_free(address, address + size) ? 0 : -EEXIST;
    for (size_t at = 0; error == 0 && at < size; at += PAGE_SIZE) {
        error = hal_map_page(address + at, physical + at, 0, prot);
    }
    if (error == 0) {
        *vma = (struct vma){
            .start = address, .end = address + size, .flags = VMA_PINNED, .name = name};
        vma->prot = (uint8_t)prot;
        vma_insert(&vm.tree, vma);
    }
    rwlock_write_unlock(&vm.lock);
    if (error != 0) {
        kfree(vma);
    }
    return error;
}

/* --- mprotect, mlock ------------------------------------------------------------------------- */

static int protect_vma(struct vma *vma, unsigned prot)
{
    if ((vma->flags & VMA_PINNED) != 0 && vma->start < PROGRAM_MIN) {
        return -EACCES;
    }
    bool gains_write = (prot & PROT_W) != 0 && (vma->prot & PROT_W) == 0;
    if (gains_write && (vma->flags & VMA_SHARED) != 0 && vma->file != NULL &&
        (vma->flags & VMA_MAY_WRITE) == 0) {
        return -EACCES;
    }
    if (gains_write && (vma->flags & VMA_SHARED) == 0 && overcommits(vma->end - vma->start)) {
        return -ENOMEM;
    }
    int error;
    if (gains_write && (vma->flags & VMA_BORROWED) != 0) {
        /* Private: copies from now on. Shared: the file may want to give another page for writing.
         */
        error = drop_borrowed(vma, vma->start, vma->end);
        if (error == 0 && (vma->flags & VMA_SHARED) == 0) {
            vma->flags &= (uint16_t)~VMA_BORROWED;
        }
    } else {
        error = hal_protect(vma->start, vma->end - vma->start, prot != 0 ? prot | PROT_R : 0);
    }
    if (error == 0) {
        vma->prot = (uint8_t)prot;
    }
    return error;
}

int vm_mprotect(uintptr_t address, size_t length, unsigned prot)
{
    uintptr_t end;
    if ((prot & ~(unsigned)PROT_MASK) != 0) {
        return -EINVAL;
    }
    int error = check_range(address, length, &end);
    if (error != 0 || length == 0) {
        return error;
    }
    if (writable_executable(prot)) {
        return -EACCES;
    }
    struct dead_list dead = {NULL};
    rwlock_write_lock(&vm.lock);
    error = range_is_mapped(address, end) ? split_edges(address, end) : -ENOMEM;
    struct vma *vma = vma_find(&vm.tree, address);
    for (; error == 0 && vma != NULL && vma->start < end; vma = vma->next) {
        if (vma->prot != prot) {
            error = protect_vma(vma, prot);
        }
    }
    merge_range(address, end, &dead);
    rwlock_write_unlock(&vm.lock);
    free_dead(&dead);
    return error;
}

/* Changes flags of the VMAs in a range, but not of pinned ones. -ENOMEM: there are holes, or no
 * memory for a split. */
static int change_flags(uintptr_t start, uintptr_t end, unsigned set, unsigned clear)
{
    struct dead_list dead = {NULL};
    rwlock_write_lock(&vm.lock);
    int error = split_edges(start, end);
    if (error == 0) {
        struct vma *vma = vma_find(&vm.tree, start);
        for (; vma != NULL && vma->start < end; vma = vma->next) {
            if ((vma->flags & VMA_PINNED) == 0) {
                vma->flags = (uint16_t)((vma->flags & ~clear) | set);
            }
        }
        error = range_is_mapped(start, end) ? 0 : -ENOMEM;
    }
    merge_range(start, end, &dead);
    rwlock_write_unlock(&vm.lock);
    free_dead(&dead);
    return error;
}

/* Nothing is ever paged out, so locking is: fill now, and refuse MADV_DONTNEED. */
int vm_mlock(uintptr_t address, size_t length, bool lock, bool on_fault)
{
    uintptr_t start = round_down(address), end;
    int error = check_range(start, length + (address - start), &end);
    if (error != 0 || start == end) {
        return error;
    }
    error = change_flags(start, end, lock ? VMA_LOCKED : 0, VMA_LOCKED);
    if (error == 0 && lock && !on_fault) {
        error = vm_populate(start, end, false);
        error = error == -EACCES ? -ENOMEM : error == -EIO ? -EAGAIN : error;
    }
    return error;
}

/* Fills every mapping that can be touched. */
static int populate_all(void)
{
    int error = 0;
    for (uintptr_t at = USER_MIN; error == 0;) {
        rwlock_read_lock(&vm.lock);
        struct vma *vma = vma_find(&vm.tree, at);
        while (vma != NULL && (vma->prot == 0 || (vma->flags & VMA_PINNED) != 0)) {
            vma = vma->next;
        }
        uintptr_t start = vma != NULL ? higher_of(vma->start, at) : 0,
                  end = vma != NULL ? vma->end : 0;
        rwlock_read_unlock(&vm.lock);
        if (vma == NULL) {
            break;
        }
        error = vm_populate(start, end, false);
        error = error == -EIO || error == -EACCES
                    ? 0
                    : error; /* the end of a file; changed meanwhile */
        at = end;
    }
    return error;
}

int vm_mlockall(int flags)
{
    if (flags == 0 || (flags & ~(MCL_CURRENT | MCL_FUTURE | MCL_ONFAULT)) != 0 ||
        flags == MCL_ONFAULT) {
        return -EINVAL;
    }
    rwlock_write_lock(&vm.lock);
    vm.new_flags = (flags & MCL_FUTURE) != 0 ? VMA_LOCKED : 0;
    vm.lock_on_fault = (flags & MCL_ONFAULT) != 0;
    rwlock_write_unlock(&vm.lock);
    if ((flags & MCL_CURRENT) == 0) {
        return 0;
    }
    change_flags(USER_MIN, USER_END, VMA_LOCKED, 0);
    return (flags & MCL_ONFAULT) == 0 ? populate_all() : 0;
}

void vm_munlockall(void)
{
    rwlock_write_lock(&vm.lock);
    vm.new_flags = 0;
    vm.lock_on_fault = false;
    rwlock_write_unlock(&vm.lock);
    change_flags(USER_MIN, USER_END, 0, VMA_LOCKED);
}

/* --- madvise --------------------------------------------------------------------------------- */

/* Whether `advice` may take the pages of `vma`, and does anything: 1, 0 or -errno. */
static int may_discard(const struct vma *vma, int advice)
{
    bool shared = (vma->flags & VMA_SHARED) != 0;
    if ((vma->flags & VMA_PINNED) != 0 ||
        ((vma->flags & VMA_LOCKED) != 0 && advice != MADV_DONTNEED_LOCKED)) {
        return -EINVAL;
    }
    if (advice == MADV_FREE) {
        return vma->file == NULL && !shared ? 1 : -EINVAL;
    }
    if (advice == MADV_REMOVE) {
        if (!shared || vma->file != NULL) {
            return shared ? -EOPNOTSUPP : -EINVAL;
        }
        return (vma->prot & PROT_W) != 0 ? 1 : -EACCES;
    }
    /* What is shared and anonymous belongs to the object behind the mapping, and only its page
     * tables would be emptied. */
    return shared && vma->file == NULL ? 0 : 1;
}

static int discard(uintptr_t start, uintptr_t end, int advice)
{
    rwlock_write_lock(&vm.lock);
    int error = 0;
    struct vma *vma = vma_find(&vm.tree, start);
    for (; error >= 0 && vma != NULL && vma->start < end; vma = vma->next) {
        error = may_discard(vma, advice);
        if (error > 0) {
            error = vma_drop_pages(vma, higher_of(vma->start, start), lower_of(vma->end, end));
        }
    }
    if (error >= 0) {
        error = range_is_mapped(start, end) ? 0 : -ENOMEM;
    }
    rwlock_write_unlock(&vm.lock);
    return error;
}

/* Puts one huge page in the place of what is mapped in a block of an anonymous VMA. While pages are
 * copied nobody can touch them: they are protected, and faults wait for vm.lock. Write lock. */
static int collapse_block(struct vma *vma, uintptr_t block)
{
    if (hal_query(block, NULL, NULL, NULL) == HUGE_PAGE_SIZE) {
        return 0;
    }
    uint64_t huge = page_alloc(HUGE_PAGE_ORDER, 0);
    if (huge == 0) {
        return -ENOMEM;
    }
    int error = hal_protect(block, HUGE_PAGE_SIZE, 0);
    if (error != 0) {
        page_free(huge, HUGE_PAGE_ORDER);
        return error;
    }
    for (size_t at = 0; at < HUGE_PAGE_SIZE; at += PAGE_SIZE) {
        uint64_t physical;
        if (hal_query(block + at, &physical, NULL, NULL) != 0) {
            memcpy(direct_map(huge + at), direct_map(physical), PAGE_SIZE);
        } else {
            page_clear(huge + at, 0);
        }
    }
    error = vma_drop_pages(vma, block, block + HUGE_PAGE_SIZE);
    if (error == 0) {
        error = hal_map_page(block, huge, HUGE_PAGE_ORDER, vma_page_prot(vma));
    }
    if (error != 0) {
        panic("collapse at %#lx: error %d", block,
              -error); /* the block was whole and its table is there */
    }
    vm_count_resident(HUGE_PAGE_SIZE / PAGE_SIZE);
    return 0;
}

static int collapse(uintptr_t start, uintptr_t end)
{
    int error = 0;
    uintptr_t block = (start + HUGE_PAGE_SIZE - 1) & ~(HUGE_PAGE_SIZE - 1);
    for (; error == 0 && block + HUGE_PAGE_SIZE <= end; block += HUGE_PAGE_SIZE) {
        rwlock_write_lock(&vm.lock);
        struct vma *vma = vma_find(&vm.tree, block);
        if (vma == NULL || vma->start > block) {
            error = -ENOMEM;
        } else if (vma->end < block + HUGE_PAGE_SIZE || vma->file != NULL ||
                   (vma->flags & VMA_PINNED) != 0 || vma->prot == 0) {
            error = -EINVAL;
        } else {
            error = collapse_block(vma, block);
        }
        rwlock_write_unlock(&vm.lock);
    }
    return error;
}

static int advise_nothing(uintptr_t start, uintptr_t end)
{
    rwlock_read_lock(&vm.lock);
    int error = range_is_mapped(start, end) ? 0 : -ENOMEM;
    rwlock_read_unlock(&vm.lock);
    return error;
}

int vm_madvise(uintptr_t address, size_t length, int advice)
{
    uintptr_t end;
    if (check_range(address, length, &end) != 0) {
        return -EINVAL;
    }
    int error;
    switch (advice) {
    case MADV_DONTNEED:
    case MADV_DONTNEED_LOCKED:
    case MADV_FREE:
    case MADV_REMOVE:
        return length == 0 ? 0 : discard(address, end, advice);
    case MADV_HUGEPAGE:
        return length == 0 ? 0 : change_flags(address, end, VMA_HUGE, VMA_NO_HUGE);
    case MADV_NOHUGEPAGE:
        return length == 0 ? 0 : change_flags(address, end, VMA_NO_HUGE, VMA_HUGE);
    case MADV_COLLAPSE:
        return collapse(address, end);
    case MADV_POPULATE_READ:
    case MADV_POPULATE_WRITE:
        error = vm_populate(address, end, advice == MADV_POPULATE_WRITE);
        return error == -EACCES ? -EINVAL : error == -EIO ? -EFAULT : error;
    case MADV_NORMAL:
    case MADV_RANDOM:
    case MADV_SEQUENTIAL:
    case MADV_WILLNEED:
    case MADV_COLD:
    case MADV_PAGEOUT:  /* no swap: there is nowhere to page out to */
    case MADV_DONTFORK: /* no fork */
    case MADV_DOFORK:
    case MADV_WIPEONFORK:
    case MADV_KEEPONFORK:
    case MADV_DONTDUMP: /* no core dumps */
    case MADV_DODUMP:
        return length == 0 ? 0 : advise_nothing(address, end);
    default:
        return -EINVAL;
    }
}

/* --- mremap ---------------------------------------------------------------------------------- */

/* Maps what is mapped at `from` at `to` as well. On failure nothing is left there. */
static int alias_pages(const struct vma *vma, uintptr_t from, uintptr_t to, size_t size)
{
    unsigned prot = vma_page_prot(vma);
    int error = 0;
    size_t at = 0;
    while (error == 0 && at < size) {
        uint64_t physical;
        size_t hole;
        size_t mapped = hal_query(from + at, &physical, NULL, &hole);
        if (mapped == 0) {
            at = lower_of(size, ((from + at) & ~(hole - 1)) + hole - from);
            continue;
        }
        bool whole = mapped == HUGE_PAGE_SIZE && ((from + at) & (HUGE_PAGE_SIZE - 1)) == 0 &&
                     ((to + at) & (HUGE_PAGE_SIZE - 1)) == 0 && size - at >= HUGE_PAGE_SIZE;
        if (whole && hal_map_page(to + at, physical, HUGE_PAGE_ORDER, prot) == 0) {
            at += HUGE_PAGE_SIZE;
        } else {
            error = hal_map_page(to + at, physical, 0, prot);
            at += PAGE_SIZE;
        }
    }
    if (error != 0) {
        hal_unmap(to, lower_of(at, size), NULL, NULL);
    }
    return error;
}

/* Moves the first `size` bytes of pages; `new_size` is what the new place is to have. Write lock.
 */
static long move_mapping(struct vma *vma, uintptr_t from, size_t size, size_t new_size,
                         uintptr_t to, unsigned flags, struct dead_list *dead)
{
    size_t kept = lower_of(size, new_size);
    struct vma *moved = kmalloc(sizeof(*moved));
    int error = moved != NULL ? split_edges(from, from + size) : -ENOMEM;
    if (error == 0) {
        vma = vma_find(&vm.tree, from);
        error = alias_pages(vma, from, to, kept);
    }
    if (error == 0) {
        error = hal_unmap(from, kept, NULL, NULL);
        if (error != 0) {
            hal_unmap(to, kept, NULL, NULL);
        }
    }
    if (error != 0) {
        kfree(moved);
        return error;
    }
    *moved = *vma;
    moved->start = to;
    moved->end = to + new_size;
    if (moved->file != NULL) {
        file_get(moved->file);
    }
    insert_merged(moved, dead);
    if ((flags & MREMAP_DONTUNMAP) == 0) {
        remove_range(from, from + size, dead);
    }
    return (long)to;
}

static long resize_mapping(struct vma *vma, uintptr_t address, size_t old_size, size_t new_size,
                           unsigned flags, struct dead_list *dead)
{
    uintptr_t old_end = address + old_size, new_end = address + new_size;
    if (new_size <= old_size) {
        int error = new_size == old_size ? 0 : remove_range(new_end, old_end, dead);
        return error != 0 ? error : (long)address;
    }
    if (vma->end == old_end && new_end > address && new_end <= USER_END &&
        range_is_free(old_end, new_end)) {
        vma_resize(&vm.tree, vma, vma->start, new_end);
        merge_range(address, new_end, dead);
        return (long)address;
    }
    if ((flags & MREMAP_MAYMOVE) == 0) {
        return -ENOMEM;
    }
    uintptr_t to = choose_address(0, new_size, address & (HUGE_PAGE_SIZE - 1));
    return to == 0 ? -ENOMEM : move_mapping(vma, address, old_size, new_size, to, flags, dead);
}

static long remap_locked(uintptr_t address, size_t old_size, size_t new_size, unsigned flags,
                         uintptr_t to, struct dead_list *dead)
{
    struct vma *vma = vma_find(&vm.tree, address);
    if (vma == NULL || vma->start > address || address + old_size > vma->end ||
        (vma->flags & VMA_PINNED) != 0) {
        return -EFAULT;
    }
    if (new_size > old_size && (((vma->prot & PROT_W) != 0 && overcommits(new_size - old_size)) ||
                                beyond_limit(0, new_size - old_size))) {
        return -ENOMEM;
    }
    if ((flags & MREMAP_DONTUNMAP) != 0 && (vma->flags & VMA_BORROWED) != 0) {
        return -EINVAL;
    }
    if ((flags & MREMAP_FIXED) != 0) {
        int error = remove_range(to, to + new_size, dead);
        /* The tree may have changed, but not around `address`: the ranges are apart. */
        return error != 0 ? error
                          : move_mapping(vma_find(&vm.tree, address), address, old_size, new_size,
                                         to, flags, dead);
    }
    if ((flags & MREMAP_DONTUNMAP) != 0) {
        to = choose_address(0, new_size, address & (HUGE_PAGE_SIZE - 1));
        return to == 0 ? -ENOMEM : move_mapping(vma, address, old_size, new_size, to, flags, dead);
    }
    return resize_mapping(vma, address, old_size, new_size, flags, dead);
}

long vm_mremap(uintptr_t address, size_t old_length, size_t new_length, unsigned flags,
               uintptr_t new_address)
{
    uintptr_t end, new_end;
    if ((flags & ~(unsigned)(MREMAP_MAYMOVE | MREMAP_FIXED | MREMAP_DONTUNMAP)) != 0 ||
        ((flags & (MREMAP_FIXED | MREMAP_DONTUNMAP)) != 0 && (flags & MREMAP_MAYMOVE) == 0) ||
        ((flags & MREMAP_DONTUNMAP) != 0 && round_up(old_length) != round_up(new_length)) ||
        old_length == 0 || new_length == 0 || check_range(address, old_length, &end) != 0) {
        return -EINVAL;
    }
    if (new_length > USER_END) {
        return -ENOMEM;
    }
    size_t old_size = end - address, new_size = round_up(new_length);
    if ((flags & MREMAP_FIXED) != 0) {
        if (check_range(new_address, new_size, &new_end) != 0 || new_address < USER_MIN ||
            (new_address < end && address < new_end)) {
            return -EINVAL;
        }
    }
    struct dead_list dead = {NULL};
    rwlock_write_lock(&vm.lock);
    long result = remap_locked(address, old_size, new_size, flags, new_address, &dead);
    bool locked =
        result > 0 && range_has_flags((uintptr_t)result, (uintptr_t)result + new_size, VMA_LOCKED);
    rwlock_write_unlock(&vm.lock);
    free_dead(&dead);
    if (locked && new_size > old_size) {
        vm_populate((uintptr_t)result + old_size, (uintptr_t)result + new_size, false);
    }
    return result;
}

/* --- mincore, msync -------------------------------------------------------------------------- */

int vm_mincore(uintptr_t address, size_t length, uintptr_t vector)
{
    uintptr_t end;
    int error = check_range(address, length, &end);
    uint8_t present[MINCORE_CHUNK];
    while (error == 0 && address < end) {
        size_t count = lower_of((end - address) / PAGE_SIZE, MINCORE_CHUNK);
        rwlock_read_lock(&vm.lock);
        if (!range_is_mapped(address, address + count * PAGE_SIZE)) {
            error = -ENOMEM;
        }
        for (size_t i = 0; i < count; i++) {
            present[i] = hal_query(address + i * PAGE_SIZE, NULL, NULL, NULL) != 0;
        }
        rwlock_read_unlock(&vm.lock);
        if (error == 0) {
            error = copy_to_user(vector, present, count);
        }
        vector += count;
        address += count * PAGE_SIZE;
    }
    return error;
}

/* A shared mapping is the file's own pages, so only MS_SYNC has something to do: the file's own way
 * to the disk. */
int vm_msync(uintptr_t address, size_t length, int flags)
{
    uintptr_t end;
    if ((flags & ~(MS_ASYNC | MS_INVALIDATE | MS_SYNC)) != 0 ||
        ((flags & MS_ASYNC) != 0 && (flags & MS_SYNC) != 0)) {
        return -EINVAL;
    }
    int error = check_range(address, length, &end);
    if (error != 0 || address == end) {
        return error;
    }
    int hole = advise_nothing(address, end);
    while (error == 0 && address < end) {
        struct file *file = NULL;
        rwlock_read_lock(&vm.lock);
        struct vma *vma = vma_find(&vm.tree, address);
        if (vma == NULL || vma->start >= end) {
            address = end;
        } else {
            address = vma->end;
            if ((flags & MS_INVALIDATE) != 0 && (vma->flags & VMA_LOCKED) != 0) {
                error = -EBUSY;
            } else if ((flags & MS_SYNC) != 0 && (vma->flags & VMA_SHARED) != 0 &&
                       vma->file != NULL) {
                file = file_get(vma->file);
            }
        }
        rwlock_read_unlock(&vm.lock);
        if (file != NULL) {
            if (file->operations->sync != NULL) {
                error = file->operations->sync(file);
            }
            file_put(file);
        }
    }
    return error != 0 ? error : hole;
}

/* --- start, /proc ---------------------------------------------------------------------------- */

static const char program_name[] = "[program]";

static void add_area(uintptr_t start, uintptr_t end, unsigned prot, unsigned flags,
                     const char *name, uint64_t offset)
{
    if (start >= end) {
        return;
    }
    struct vma *vma = kzalloc(sizeof(*vma));
    if (vma == NULL) {
        panic("no memory for the address space");
    }
    vma->start = start;
    vma->end = end;
    vma->prot = (uint8_t)prot;
    vma->flags = (uint16_t)flags;
    vma->name = name;
    vma->offset = offset;
    vma_insert(&vm.tree, vma);
}

void vm_init(void)
{
    page_init_high();
    rwlock_init(&vm.lock);
    add_area(KERNEL_IMAGE_BASE, VVAR_ADDRESS, 0, VMA_PINNED, "[kernel]", 0);
    add_area(VVAR_ADDRESS, VVAR_ADDRESS + PAGE_SIZE, PROT_R, VMA_PINNED, "[vvar]", 0);
    uintptr_t program_end = PROGRAM_MIN;
    for (unsigned i = 0; i < image_info.segment_count; i++) {
        const struct image_segment *segment = &image_info.segments[i];
        uintptr_t file_end = round_up(segment->address + segment->file_size);
        uintptr_t end = higher_of(round_up(segment->address + segment->size), file_end);
        add_area(segment->address, file_end, segment->prot, VMA_PINNED, program_name,
                 segment->file_offset);
        add_area(file_end, end, segment->prot, 0, NULL, 0);
        vm_count_resident((file_end - segment->address) / PAGE_SIZE);
        program_end = higher_of(program_end, end);
    }
    vm.brk_start = vm.brk = program_end;
}

void vm_usage(struct vm_usage *usage)
{
    *usage = (struct vm_usage){0};
    rwlock_read_lock(&vm.lock);
    for (const struct vma *vma = vm.tree.first; vma != NULL; vma = vma->next) {
        if (vma->start < PROGRAM_MIN && (vma->flags & VMA_PINNED) != 0) {
            continue;
        }
        size_t size = vma->end - vma->start;
        usage->mapped += size;
        usage->text += (vma->prot & PROT_X) != 0 ? size : 0;
        usage->data += (vma->prot & PROT_W) != 0 && (vma->flags & VMA_SHARED) == 0 ? size : 0;
    }
    /* The kernel's own, which are left out here, are never unmapped. */
    usage->mapped_peak = vm.tree.peak - (vm.tree.size - usage->mapped);
    rwlock_read_unlock(&vm.lock);
    usage->resident = __atomic_load_n(&vm.resident, __ATOMIC_RELAXED) * PAGE_SIZE;
    usage->peak = __atomic_load_n(&vm.peak, __ATOMIC_RELAXED) * PAGE_SIZE;
}

void vm_for_each(bool (*fn)(const struct vm_area_info *, void *), void *context)
{
    char *path = kmalloc(PATH_MAX);
    bool more = true;
    rwlock_read_lock(&vm.lock);
    for (const struct vma *vma = vm.tree.first; vma != NULL && more; vma = vma->next) {
        const char *name = vma->name;
        if (vma->file != NULL && path != NULL) {
            name = file_path(vma->file, path, PATH_MAX);
        }
        struct vm_area_info info = {
            .start = vma->start,
            .end = vma->end,
            .prot = vma->prot,
            .shared = (vma->flags & VMA_SHARED) != 0,
            .offset = vma->offset,
            .inode = vma->file != NULL && vma->file->inode != NULL ? vma->file->inode->number : 0,
            .program = name == program_name,
            .name = name != NULL ? name : "",
        };
        more = fn(&info, context);
    }
    rwlock_read_unlock(&vm.lock);
    kfree(path);
}
