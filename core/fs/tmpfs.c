/* SPDX-License-Identifier: MIT */
/* Files in memory, alone or as the writable layer over an EROFS image. Names are kept by the dentry
 * cache; here are inodes and their pages. An inode of the layer below is copied page by page as it
 * is written: a page that has none here is read from below up to `lower_size`. The inode's lock
 * (sleeping) orders reads, writes and changes of size; `pages_lock` guards the tree of pages, also
 * against map_page, which cannot take it. `inodes_lock` guards the table of the layer below. */
#include <asm/statfs.h>
#include <linux/falloc.h>
#include <linux/fs.h>
#include <linux/magic.h>

#include "core/block/block.h"
#include "core/fs/erofs.h"
#include "core/fs/fs.h"
#include "core/fs/fs_internal.h"
#include "core/fs/inode.h"
#include "core/mm/page.h"
#include "core/mm/vm.h"
#include "core/time/clock.h"

#define SLOTS_BITS 6
#define SLOTS (1u << SLOTS_BITS)
#define MAPS_BITS 24 /* of a slot: how often the page is mapped; above: its page frame number */
#define MAPS_MASK ((1ull << MAPS_BITS) - 1)
#define TABLE 256u
#define MAX_FILE_SIZE 0x7ffffffffffff000ull

/* A page that was cut off while it was mapped. */
struct orphan {
    struct orphan *next;
    uint64_t slot;
};

struct node {
    struct inode inode; /* first */
    struct spinlock pages_lock;
    uint32_t height;     /* of the tree: 0: `tree` is the slot of page 0 */
    uint64_t tree;       /* a slot, or the address of SLOTS slots */
    uint64_t lower_size; /* below here, pages that are missing come from `lower` */
    uint64_t lower_maps; /* how often pages of the layer below are mapped; pages_lock */
    struct orphan *orphans;
    char *target; /* of a symbolic link made here */
    struct erofs_inode *lower;
    struct node *next; /* in the table; inodes_lock */
};

struct tmpfs {
    struct filesystem filesystem; /* first */
    uint64_t limit, used;         /* pages; atomic */
    uint64_t last_number;         /* change_lock, and atomic for files without a name */
    struct erofs *lower;
    struct spinlock inodes_lock;
    struct node **table; /* of inodes of the layer below, by number */
};

static const struct inode_operations tmpfs_inode, tmpfs_layered_inode;
static const struct file_operations tmpfs_file;

static struct node *node_of(struct inode *inode)
{
    return (struct node *)inode;
}

static struct tmpfs *tmpfs_of(struct inode *inode)
{
    return (struct tmpfs *)inode->filesystem;
}

/* --- pages
 * ----------------------------------------------------------------------------------------------------------
 */

static bool charge(struct tmpfs *fs)
{
    if (__atomic_add_fetch(&fs->used, 1, __ATOMIC_RELAXED) > fs->limit) {
        __atomic_sub_fetch(&fs->used, 1, __ATOMIC_RELAXED);
        return false;
    }
    return true;
}

static void free_slot_page(struct tmpfs *fs, uint64_t slot)
{
    page_free(slot >> MAPS_BITS << PAGE_SHIFT, 0);
    __atomic_sub_fetch(&fs->used, 1, __ATOMIC_RELAXED);
}

/* The slot of a page, with the tree grown to it when `grow`; else NULL where there is none.
 * pages_lock held. */
static uint64_t *find_slot(struct node *node, uint64_t page, bool grow)
{
    while (page >> (node->height * SLOTS_BITS) != 0) {
        if (!grow) {
            return NULL;
        }
        if (node->tree == 0 && node->height == 0) {
            node->height = 1;
            continue;
        }
        uint64_t *above = NULL;
        if (node->tree != 0) {
            above = kzalloc(SLOTS * sizeof(*above));
            if (above == NULL) {
                return NULL;
            }
            above[0] = node->tree;
        }
        node->tree = (uint64_t)above;
        node->height++;
    }
    uint64_t *slot = &node->tree;
    for (uint32_t level = node->height; level > 0; level--) {
        if (*slot == 0) {
            uint64_t *table = grow ? kzalloc(SLOTS * sizeof(*table)) : NULL;
            if (table == NULL) {
                return NULL;
            }
            *slot = (uint64_t)table;
        }
        slot = (uint64_t *)*slot + ((page >> ((level - 1) * SLOTS_BITS)) & (SLOTS - 1));
    }
    return slot;
}

static char *slot_bytes(uint64_t slot)
{
    return direct_map(slot >> MAPS_BITS << PAGE_SHIFT);
}

/* The bytes of a page, NULL when it has none here. The inode's lock keeps it in place. */
static char *page_bytes(struct node *node, uint64_t page)
{
    spin_lock(&node->pages_lock);
    uint64_t *slot = find_slot(node, page, false);
    char *bytes = slot == NULL || *slot == 0 ? NULL : slot_bytes(*slot);
    spin_unlock(&node->pages_lock);
    return bytes;
}

/* Reads what the layer below has of a page; zero elsewhere. */
static int read_lower(struct node *node, uint64_t offset, void *to, size_t size)
{
    size_t from_below = offset >= node->lower_size ? 0 : MIN(size, node->lower_size - offset);
    int result = from_below == 0 ? 0
                                 : erofs_read(tmpfs_of(&node->inode)->lower, node->lower, offset,
                                              to, from_below);
    memset((char *)to + from_below, 0, size - from_below);
    return result == -EUCLEAN ? -EIO : result;
}

/* Makes sure that a page is here. `count`: it is being mapped once more. 0, or 1 when it has taken
 * the place of a page of the layer below that is mapped; -ENOSPC, -ENOMEM, -EIO. */
static int need_page(struct node *node, uint64_t page, bool count, uint64_t *physical)
{
    struct tmpfs *fs = tmpfs_of(&node->inode);
    uint64_t fresh = 0;
    bool below = false, replaces = false;
    for (;;) {
        spin_lock(&node->pages_lock);
        uint64_t *slot = find_slot(node, page, fresh != 0);
        bool present = slot != NULL && *slot != 0;
        if (!present && fresh != 0 && slot != NULL) {
            *slot = fresh >> PAGE_SHIFT << MAPS_BITS;
            node->inode.pages++;
            fresh = 0;
            present = true;
            replaces = below && node->lower_maps != 0;
        }
        if (present) {
            *slot += count;
            *physical = *slot >> MAPS_BITS << PAGE_SHIFT;
        }
        spin_unlock(&node->pages_lock);
        if (present || fresh != 0) {
            if (fresh != 0) {
                page_free(fresh, 0);
                __atomic_sub_fetch(&fs->used, 1, __ATOMIC_RELAXED);
            }
            return present ? replaces : -ENOMEM;
        }
        if (!charge(fs)) {
            return -ENOSPC;
        }
        below = page << PAGE_SHIFT < node->lower_size;
        fresh = page_alloc(0, below ? 0 : PAGE_ZERO);
        int result = fresh == 0 ? -ENOMEM
                     : !below   ? 0
                              : read_lower(node, page << PAGE_SHIFT, direct_map(fresh), PAGE_SIZE);
        if (result != 0) {
            if (fresh != 0) {
                page_free(fresh, 0);
            }
            __atomic_sub_fetch(&fs->used, 1, __ATOMIC_RELAXED);
            return result;
        }
    }
}

/* A page to be written to, by somebody who may take the address-space lock. */
static int own_page(struct node *node, uint64_t page, uint64_t *physical)
{
    int result = need_page(node, page, false, physical);
    if (result > 0) {
        vm_unmap_file(&node->inode, page << PAGE_SHIFT, (page << PAGE_SHIFT) | (PAGE_SIZE - 1),
                      false);
        result = 0;
    }
    return result;
}

/* Frees the pages of a subtree from `first` to `last` (page numbers inside it); mapped ones become
 * orphans. pages_lock held. */
static void cut_tree(struct node *node, uint64_t *slot, uint32_t level, uint64_t first,
                     uint64_t last)
{
    if (*slot == 0) {
        return;
    }
    if (level == 0) {
        if ((*slot & MAPS_MASK) != 0) {
            struct orphan *orphan = kmalloc(sizeof(*orphan));
            if (orphan != NULL) {
                orphan->slot = *slot;
                orphan->next = node->orphans;
                node->orphans = orphan;
            }
            /* Without memory for the record the page is lost, which is better than freeing what is
             * mapped. */
        } else {
            free_slot_page(tmpfs_of(&node->inode), *slot);
        }
        node->inode.pages--;
        *slot = 0;
        return;
    }
    uint64_t *table = (uint64_t *)*slot;
    uint32_t shift = (level - 1) * SLOTS_BITS;
    for (uint64_t i = first >> shift; i <= last >> shift; i++) {
        uint64_t begin = i == first >> shift ? first & ((1ull << shift) - 1) : 0;
        uint64_t end = i == last >> shift ? last & ((1ull << shift) - 1) : (1ull << shift) - 1;
        cut_tree(node, &table[i], level - 1, begin, end);
    }
    for (unsigned i = 0; i < SLOTS; i++) {
        if (table[i] != 0) {
            return;
        }
    }
    kfree(table);
    *slot = 0;
}

/* Frees the pages [first, last]. */
static void cut_pages(struct node *node, uint64_t first, uint64_t last)
{
    uint64_t reach = (node->height >= 10 ? 0 : 1ull << (node->height * SLOTS_BITS)) - 1;
    spin_lock(&node->pages_lock);
    if (first <= reach && first <= last) {
        cut_tree(node, &node->tree, node->height, first, MIN(last, reach));
    }
    if (node->tree == 0) {
        node->height = 0;
    }
    spin_unlock(&node->pages_lock);
}

/* Makes [offset, offset + size) of a page zero when it is here or comes from below. */
static int zero_part(struct node *node, uint64_t offset, size_t size)
{
    uint64_t physical;
    char *bytes = page_bytes(node, offset >> PAGE_SHIFT);
    if (bytes == NULL && offset < node->lower_size) {
        int result = own_page(node, offset >> PAGE_SHIFT, &physical);
        if (result != 0) {
            return result;
        }
        bytes = direct_map(physical);
    }
    if (bytes != NULL) {
        memset(bytes + offset % PAGE_SIZE, 0, size);
    }
    return 0;
}

/* --- file operations
 * ------------------------------------------------------------------------------------------------
 */

/* Copies out what the layer below has from `at` on, at most `*piece` bytes, and sets it to how many
 * that were. */
static int read_below(struct file *file, struct io_vector *io, uint64_t at, size_t *piece)
{
    struct node *node = node_of(file->inode);
    const struct erofs *lower = tmpfs_of(file->inode)->lower;
    static const char zeroes[512];
    struct erofs_view view = {(const uint8_t *)zeroes, sizeof(zeroes), NULL};
    uint64_t from = EROFS_HOLE, length = *piece;
    int result = 0;
    if (at < node->lower_size) {
        result = erofs_map(lower, node->lower, at, &from, &length);
        length = MIN(length, node->lower_size - at);
    }
    if (result == 0 && from != EROFS_HOLE) {
        result = erofs_get(lower, from, length, file->data, &view);
    }
    if (result != 0) {
        return result == -ENOMEM ? result : -EIO;
    }
    *piece = MIN(*piece, MIN(length, view.length));
    result = io_copy_to(io, view.bytes, *piece);
    erofs_put(&view);
    return result;
}

/* As Linux's relatime: only when it was not later than the last change, or is a day old. */
static void touch_atime(struct file *file)
{
    struct inode *inode = file->inode;
    int64_t now = inode_now();
    if ((inode->flags & INODE_LOWER) == 0 && (file->flags & O_NOATIME) == 0 &&
        (inode->atime <= inode->mtime || inode->atime <= inode->ctime ||
         now - inode->atime >= (int64_t)(86400 * NS_PER_SECOND))) {
        inode->atime = now;
    }
}

static long tmpfs_read(struct file *file, struct io_vector *io, uint64_t *offset)
{
    struct node *node = node_of(file->inode);
    struct read_ahead *ahead = file->data;
    long done = 0;
    int result = 0;
    if (ahead != NULL) {
        ahead->wanted =
            (uint32_t)MIN((io->remaining + PAGE_SIZE - 1) >> PAGE_SHIFT, READ_AHEAD_MAX);
    }
    rwlock_read_lock(&node->inode.lock);
    while (io->remaining != 0 && *offset < node->inode.size && result == 0) {
        uint64_t at = *offset;
        size_t within = at % PAGE_SIZE;
        size_t piece = MIN(MIN(io->remaining, PAGE_SIZE - within), node->inode.size - at);
        const char *bytes = page_bytes(node, at >> PAGE_SHIFT);
        result = bytes != NULL ? io_copy_to(io, bytes + within, piece)
                               : read_below(file, io, at, &piece);
        if (result == 0) {
            *offset += piece;
            done += (long)piece;
        }
    }
    rwlock_read_unlock(&node->inode.lock);
    touch_atime(file);
    return done != 0 ? done : result;
}

static long tmpfs_write(struct file *file, struct io_vector *io, uint64_t *offset)
{
    struct node *node = node_of(file->inode);
    struct inode *inode = file->inode;
    long done = 0;
    int result = 0;
    if (io->remaining == 0) {
        return 0;
    }
    rwlock_write_lock(&inode->lock);
    if ((file->flags & O_APPEND) != 0) {
        *offset = inode->size;
    }
    if (*offset >= MAX_FILE_SIZE) {
        result = -EFBIG;
    }
    inode_dirty(inode);
    while (result == 0 && io->remaining != 0 && *offset < MAX_FILE_SIZE) {
        size_t within = *offset % PAGE_SIZE;
        size_t piece = MIN(io->remaining, PAGE_SIZE - within);
        uint64_t physical;
        result = own_page(node, *offset >> PAGE_SHIFT, &physical);
        if (result != 0) {
            break;
        }
        size_t before = io->remaining;
        result = io_copy_from(io, (char *)direct_map(physical) + within, piece);
        piece = before - io->remaining;
        *offset += piece;
        done += (long)piece;
        if (*offset > inode->size) {
            inode->size = *offset;
        }
    }
    if (done != 0) {
        inode->mtime = inode->ctime = inode_now();
    }
    rwlock_write_unlock(&inode->lock);
    return done != 0 ? done : result;
}

/* Sets the size. The inode's lock is held for writing. */
static int resize(struct node *node, uint64_t size)
{
    struct inode *inode = &node->inode;
    if (size > MAX_FILE_SIZE) {
        return -EFBIG;
    }
    inode_dirty(inode);
    if (size < inode->size) {
        if (size % PAGE_SIZE != 0) {
            int result = zero_part(node, size, PAGE_SIZE - size % PAGE_SIZE);
            if (result != 0) {
                return result;
            }
        }
        __atomic_store_n(&inode->size, size, __ATOMIC_RELAXED);
        spin_lock(&node->pages_lock);
        node->lower_size = MIN(node->lower_size, size);
        spin_unlock(&node->pages_lock);
        uint64_t first = (size + PAGE_SIZE - 1) >> PAGE_SHIFT;
        vm_unmap_file(inode, first << PAGE_SHIFT, UINT64_MAX, true);
        cut_pages(node, first, UINT64_MAX >> PAGE_SHIFT);
    }
    inode->size = size;
    inode->mtime = inode->ctime = inode_now();
    return 0;
}

static int tmpfs_resize(struct inode *inode, uint64_t size)
{
    rwlock_write_lock(&inode->lock);
    int result = resize(node_of(inode), size);
    rwlock_write_unlock(&inode->lock);
    return result;
}

static int tmpfs_truncate(struct file *file, uint64_t size)
{
    return tmpfs_resize(file->inode, size);
}

/* Whether there is room for the pages of a range that are not here yet: seen before anything is
 * changed. */
static int check_room(struct node *node, uint64_t offset, uint64_t end)
{
    const struct tmpfs *fs = tmpfs_of(&node->inode);
    uint64_t used = __atomic_load_n(&fs->used, __ATOMIC_RELAXED);
    uint64_t room = fs->limit - MIN(fs->limit, used), first = offset >> PAGE_SHIFT;
    uint64_t count = ((end + PAGE_SIZE - 1) >> PAGE_SHIFT) - first;
    if (count > room + node->inode.pages) {
        return -ENOSPC;
    }
    for (uint64_t page = first; page < first + count && count > room; page++) {
        count -= page_bytes(node, page) != NULL;
    }
    return count > room ? -ENOSPC : 0;
}

static int tmpfs_allocate(struct file *file, int mode, uint64_t offset, uint64_t length)
{
    struct node *node = node_of(file->inode);
    struct inode *inode = file->inode;
    uint64_t end = offset + length, physical;
    int result = 0;
    bool zero = (mode & FALLOC_FL_ZERO_RANGE) != 0, punch = (mode & FALLOC_FL_PUNCH_HOLE) != 0;
    if ((mode & ~(FALLOC_FL_KEEP_SIZE | FALLOC_FL_PUNCH_HOLE | FALLOC_FL_ZERO_RANGE)) != 0 ||
        (zero && punch) || (punch && (mode & FALLOC_FL_KEEP_SIZE) == 0)) {
        return -EOPNOTSUPP;
    }
    if (end > MAX_FILE_SIZE) {
        return -EFBIG;
    }
    rwlock_write_lock(&inode->lock);
    if (!punch) {
        result = check_room(node, offset, end);
    }
    inode_dirty(inode);
    for (uint64_t at = offset; result == 0 && (zero || punch) && at < MIN(end, inode->size);) {
        size_t piece = MIN(PAGE_SIZE - at % PAGE_SIZE, end - at);
        if (piece == PAGE_SIZE && at >= node->lower_size) {
            /* Nothing comes through from below, so whole pages can go. */
            uint64_t last = (MIN(end, inode->size + PAGE_SIZE) >> PAGE_SHIFT) - 1;
            vm_unmap_file(inode, at, (last << PAGE_SHIFT) | (PAGE_SIZE - 1), false);
            cut_pages(node, at >> PAGE_SHIFT, last);
            at = (last + 1) << PAGE_SHIFT;
        } else {
            result = zero_part(node, at, piece);
            at += piece;
        }
    }
    for (uint64_t at = offset & ~(PAGE_SIZE - 1); result == 0 && !punch && at < end;
         at += PAGE_SIZE) {
        result = own_page(node, at >> PAGE_SHIFT, &physical);
    }
    if (result == 0 && (mode & FALLOC_FL_KEEP_SIZE) == 0 && end > inode->size) {
        inode->size = end;
    }
    if (result == 0) {
        inode->mtime = inode->ctime = inode_now();
    }
    rwlock_write_unlock(&inode->lock);
    return result;
}

static int tmpfs_stat(struct file *file, struct stat *stat)
{
    inode_stat(file->inode, stat);
    return 0;
}

/* The first page from `page` on that is here, or UINT64_MAX. `base`: the first page of the subtree.
 * pages_lock held. */
static uint64_t first_page(uint64_t slot, uint32_t level, uint64_t base, uint64_t page)
{
    if (slot == 0 || level == 0) {
        return slot == 0 ? UINT64_MAX : base;
    }
    const uint64_t *table = (const uint64_t *)slot;
    uint32_t shift = (level - 1) * SLOTS_BITS;
    for (uint64_t i = page > base ? (page - base) >> shift : 0; i < SLOTS; i++) {
        uint64_t found = first_page(table[i], level - 1, base + (i << shift), page);
        if (found != UINT64_MAX) {
            return found;
        }
    }
    return UINT64_MAX;
}

/* Whether byte `at` is data, and up to where that is so at least. */
static int find_extent(struct node *node, uint64_t at, bool *data, uint64_t *end)
{
    uint64_t page = at >> PAGE_SHIFT, from = EROFS_HOLE, length;
    spin_lock(&node->pages_lock);
    uint64_t next = first_page(node->tree, node->height, 0, page);
    spin_unlock(&node->pages_lock);
    *data = next == page;
    *end = next == page ? (page + 1) << PAGE_SHIFT : next == UINT64_MAX ? next : next << PAGE_SHIFT;
    if (next != page && at < node->lower_size) {
        int result = erofs_map(tmpfs_of(&node->inode)->lower, node->lower, at, &from, &length);
        if (result != 0) {
            return -EIO;
        }
        *data = from != EROFS_HOLE;
        *end = MIN(*end, MIN(at + length, node->lower_size));
    }
    return 0;
}

static long tmpfs_seek(struct file *file, uint64_t offset, int whence)
{
    struct node *node = node_of(file->inode);
    uint64_t size = file->inode->size;
    bool data = false;
    int result = 0;
    if (whence == SEEK_END) {
        return (long)size;
    }
    rwlock_read_lock(&node->inode.lock);
    size = file->inode->size;
    uint64_t at = offset, end = offset;
    while (end < size && result == 0) {
        at = end;
        result = find_extent(node, at, &data, &end);
        if (data == (whence == SEEK_DATA)) {
            break;
        }
    }
    rwlock_read_unlock(&node->inode.lock);
    if (result != 0) {
        return result;
    }
    bool found = offset < size && data == (whence == SEEK_DATA) && at < size;
    return found ? (long)at : offset < size && whence == SEEK_HOLE ? (long)size : -ENXIO;
}

/* The page of the image itself, when it needs no zeroes at its end: 1 when it will not do. On a
 * device it is kept until lower_unmap. */
static int lower_map(struct file *file, uint64_t offset, uint64_t *physical)
{
    struct node *node = node_of(file->inode);
    const struct erofs *lower = tmpfs_of(file->inode)->lower;
    struct erofs_view view;
    uint64_t at, length;
    if (node->lower_size < offset + PAGE_SIZE ||
        erofs_map(lower, node->lower, offset, &at, &length) != 0 || at == EROFS_HOLE ||
        length < PAGE_SIZE || at % PAGE_SIZE != 0) {
        return 1;
    }
    int result = erofs_get(lower, at, length, file->data, &view);
    if (result != 0) {
        return result == -ENOMEM ? result : -EIO;
    }
    *physical = direct_map_physical(view.bytes);
    return (*physical & (PAGE_SIZE - 1)) != 0;
}

static void lower_unmap(struct node *node, uint64_t offset)
{
    const struct erofs *lower = tmpfs_of(&node->inode)->lower;
    uint64_t at, length;
    if (lower->device != NULL && erofs_map(lower, node->lower, offset, &at, &length) == 0) {
        cache_put_at(lower->device, at >> PAGE_SHIFT);
    }
}

static int tmpfs_map_page(struct file *file, uint64_t offset, bool write, uint64_t *physical)
{
    struct node *node = node_of(file->inode);
    if (offset >= __atomic_load_n(&node->inode.size, __ATOMIC_RELAXED)) {
        return -EIO;
    }
    if (!write && node->lower != NULL && page_bytes(node, offset >> PAGE_SHIFT) == NULL) {
        int result = lower_map(file, offset, physical);
        if (result < 0) {
            return result;
        }
        if (result == 0) {
            spin_lock(&node->pages_lock);
            uint64_t *slot = find_slot(node, offset >> PAGE_SHIFT, false);
            bool replaced = slot != NULL && *slot != 0;
            node->lower_maps += !replaced;
            spin_unlock(&node->pages_lock);
            if (!replaced) {
                return 0;
            }
            lower_unmap(node, offset);
        }
    }
    if (write) {
        inode_dirty(file->inode);
    }
    int result = need_page(node, offset >> PAGE_SHIFT, true, physical);
    return result > 0 ? 0 : result;
}

static void tmpfs_unmap_page(struct file *file, uint64_t offset, uint64_t physical)
{
    struct node *node = node_of(file->inode);
    uint64_t frame = physical >> PAGE_SHIFT;
    bool below = false;
    spin_lock(&node->pages_lock);
    uint64_t *slot = find_slot(node, offset >> PAGE_SHIFT, false);
    if (slot != NULL && *slot >> MAPS_BITS == frame) {
        *slot -= 1;
    } else {
        struct orphan **link = &node->orphans;
        while (*link != NULL && (*link)->slot >> MAPS_BITS != frame) {
            link = &(*link)->next;
        }
        struct orphan *orphan = *link;
        below = orphan == NULL && node->lower_maps != 0;
        node->lower_maps -= below;
        if (orphan != NULL && (--orphan->slot & MAPS_MASK) == 0) {
            *link = orphan->next;
            free_slot_page(tmpfs_of(&node->inode), orphan->slot);
            kfree(orphan);
        }
    }
    spin_unlock(&node->pages_lock);
    if (below) {
        lower_unmap(node, offset);
    }
}

static int tmpfs_sync(struct file *file)
{
    (void)file;
    return 0; /* there is nothing behind the memory */
}

static void tmpfs_close(struct file *file)
{
    kfree(file->data);
}

static const struct file_operations tmpfs_file = {
    .read = tmpfs_read,
    .write = tmpfs_write,
    .stat = tmpfs_stat,
    .truncate = tmpfs_truncate,
    .allocate = tmpfs_allocate,
    .sync = tmpfs_sync,
    .seek = tmpfs_seek,
    .map_page = tmpfs_map_page,
    .unmap_page = tmpfs_unmap_page,
    .release = tmpfs_close,
};

/* --- inodes
 * ---------------------------------------------------------------------------------------------------------
 */

static struct node *node_new(struct tmpfs *fs, uint32_t mode)
{
    struct node *node = kzalloc(sizeof(*node));
    if (node == NULL) {
        return NULL;
    }
    inode_init(&node->inode, fs->lower != NULL ? &tmpfs_layered_inode : &tmpfs_inode,
               &fs->filesystem, mode);
    spinlock_init(&node->pages_lock, LOCK_FILE);
    return node;
}

static int tmpfs_create_inode(struct inode *directory, const struct inode_request *request,
                              struct inode **out)
{
    struct tmpfs *fs = tmpfs_of(directory);
    /* A file costs a page of the limit, so that empty ones have an end too. Inodes of the layer
     * below cost nothing: a full file system can still be read. */
    if (!charge(fs)) {
        return -ENOSPC;
    }
    struct node *node = node_new(fs, request->mode);
    if (node == NULL) {
        __atomic_sub_fetch(&fs->used, 1, __ATOMIC_RELAXED);
        return -ENOMEM;
    }
    /* Without a layer below a miss in the dentry cache is final; a directory made here has nothing
     * below either. */
    node->inode.operations = &tmpfs_inode;
    /* Above the numbers of the layer below. */
    node->inode.number = __atomic_add_fetch(&fs->last_number, 1, __ATOMIC_RELAXED);
    node->inode.rdev = request->rdev;
    if ((directory->mode & 02000) != 0) {
        node->inode.gid = directory->gid;
        node->inode.mode |= S_ISDIR(request->mode) ? 02000 : 0;
    }
    if (request->target != NULL) {
        node->inode.size = strlen(request->target);
        node->target = kmalloc(node->inode.size + 1);
        if (node->target == NULL) {
            inode_put(&node->inode);
            return -ENOMEM;
        }
        memcpy(node->target, request->target, node->inode.size + 1);
    }
    *out = &node->inode;
    return 0;
}

static long tmpfs_read_link(struct inode *inode, char *to, size_t size)
{
    struct node *node = node_of(inode);
    size_t length = MIN(inode->size, size);
    if (node->target != NULL) {
        memcpy(to, node->target, length);
        return (long)inode->size;
    }
    int result = erofs_read(tmpfs_of(inode)->lower, node->lower, 0, to, length);
    return result != 0 ? -EIO : (long)inode->size;
}

static int tmpfs_open(struct inode *inode, struct file *file)
{
    const struct erofs *lower = tmpfs_of(inode)->lower;
    if (lower != NULL && lower->device != NULL) {
        file->data = kzalloc(sizeof(struct read_ahead));
        if (file->data == NULL) {
            return -ENOMEM;
        }
    }
    file->operations = &tmpfs_file;
    file_set_seekable(file);
    return 0;
}

static void tmpfs_release(struct inode *inode)
{
    struct node *node = node_of(inode);
    struct tmpfs *fs = tmpfs_of(inode);
    if (node->lower == NULL) {
        __atomic_sub_fetch(&fs->used, 1, __ATOMIC_RELAXED);
    } else {
        spin_lock(&fs->inodes_lock);
        for (struct node **link = &fs->table[node->lower->number % TABLE]; *link != NULL;
             link = &(*link)->next) {
            if (*link == node) {
                *link = node->next;
                break;
            }
        }
        spin_unlock(&fs->inodes_lock);
        kfree(node->lower);
    }
    cut_pages(node, 0, UINT64_MAX >> PAGE_SHIFT);
    if (S_ISFIFO(inode->mode)) {
        fifo_release(inode);
    }
    kfree(node->target);
    kfree(node);
}

static const struct inode_operations tmpfs_inode = {
    .create = tmpfs_create_inode,
    .read_link = tmpfs_read_link,
    .open = tmpfs_open,
    .truncate = tmpfs_resize,
    .release = tmpfs_release,
};

/* --- the layer below
 * ------------------------------------------------------------------------------------------------
 */

/* The inode for a number of the layer below; hard links share it. Also called with change_lock held
 * only. */
static int lower_inode(struct tmpfs *fs, uint64_t number, struct inode **out)
{
    spin_lock(&fs->inodes_lock);
    for (struct node *node = fs->table[number % TABLE]; node != NULL; node = node->next) {
        uint32_t references = __atomic_load_n(&node->inode.references, __ATOMIC_RELAXED);
        /* One that is on its way out is clean, or has no name: a new one takes its place. */
        while (node->lower->number == number && references != 0) {
            if (__atomic_compare_exchange_n(&node->inode.references, &references, references + 1,
                                            true, __ATOMIC_ACQUIRE, __ATOMIC_RELAXED)) {
                spin_unlock(&fs->inodes_lock);
                *out = &node->inode;
                return 0;
            }
        }
    }
    spin_unlock(&fs->inodes_lock);
    struct erofs_inode *lower = kmalloc(sizeof(*lower));
    int result = lower == NULL ? -ENOMEM : erofs_read_inode(fs->lower, number, lower);
    struct node *node = result == 0 ? node_new(fs, lower->mode) : NULL;
    if (node == NULL) {
        kfree(lower);
        return result == 0 ? -ENOMEM : result == -ENOMEM ? result : -EIO;
    }
    struct inode *inode = &node->inode;
    node->lower = lower;
    node->lower_size = S_ISREG(lower->mode) ? lower->size : 0;
    inode->flags = INODE_LOWER;
    inode->number = number;
    inode->size = lower->size;
    inode->uid = lower->uid;
    inode->gid = lower->gid;
    inode->links = S_ISDIR(lower->mode) ? MAX(lower->links, 2u) : lower->links;
    inode->rdev = lower->rdev;
    /* Seconds that do not fit into 64 bits of nanoseconds are cut off at the end of the range. */
    int64_t seconds = MAX(MIN(lower->modified, INT64_MAX / (int64_t)NS_PER_SECOND - 1),
                          -(INT64_MAX / (int64_t)NS_PER_SECOND));
    inode->atime = inode->mtime = inode->ctime = inode->birth =
        seconds * (int64_t)NS_PER_SECOND + lower->nanoseconds;
    spin_lock(&fs->inodes_lock);
    node->next = fs->table[number % TABLE];
    fs->table[number % TABLE] = node;
    spin_unlock(&fs->inodes_lock);
    *out = inode;
    return 0;
}

static int layered_lookup(struct inode *directory, const char *name, size_t length,
                          struct inode **out)
{
    struct node *node = node_of(directory);
    struct tmpfs *fs = tmpfs_of(directory);
    uint64_t number;
    int result = erofs_lookup(fs->lower, node->lower, name, length, &number);
    return result == 0 ? lower_inode(fs, number, out) : result == -ENOENT ? result : -EIO;
}

static int layered_list(struct inode *directory, uint64_t *position, list_emit_fn *emit,
                        void *context)
{
    int result =
        erofs_list(tmpfs_of(directory)->lower, node_of(directory)->lower, position, emit, context);
    return result == 0 || result == -ENOMEM ? result : -EIO;
}

static long layered_list_attributes(struct inode *inode, char *to, size_t size)
{
    long result = erofs_list_attributes(tmpfs_of(inode)->lower, node_of(inode)->lower, to, size);
    return result == -EUCLEAN ? -EIO : result;
}

static long layered_get_attribute(struct inode *inode, const char *name, void *to, size_t size)
{
    long result =
        erofs_get_attribute(tmpfs_of(inode)->lower, node_of(inode)->lower, name, to, size);
    return result == -EUCLEAN ? -EIO : result;
}

static const struct inode_operations tmpfs_layered_inode = {
    .lookup = layered_lookup,
    .create = tmpfs_create_inode,
    .list = layered_list,
    .list_attributes = layered_list_attributes,
    .get_attribute = layered_get_attribute,
    .read_link = tmpfs_read_link,
    .open = tmpfs_open,
    .truncate = tmpfs_resize,
    .release = tmpfs_release,
};

/* --- the file system
 * ------------------------------------------------------------------------------------------------
 */

static void tmpfs_statfs(struct filesystem *filesystem, struct statfs *out)
{
    struct tmpfs *fs = (struct tmpfs *)filesystem;
    uint64_t used = MIN(__atomic_load_n(&fs->used, __ATOMIC_RELAXED), fs->limit);
    uint64_t lower_pages =
        fs->lower == NULL ? 0 : (fs->lower->blocks << fs->lower->block_bits) >> PAGE_SHIFT;
    uint64_t limit = filesystem->read_only ? used : fs->limit;
    out->f_blocks = (long)(lower_pages + (filesystem->read_only ? 0 : fs->limit));
    out->f_bfree = out->f_bavail = (long)MIN(limit - used, page_free_count());
    out->f_files = (long)((fs->lower == NULL ? 0 : fs->lower->inodes) +
                          (filesystem->read_only ? 0 : fs->limit));
    out->f_ffree = (long)(limit - used);
}

int tmpfs_create(struct filesystem **out, struct erofs *lower, uint64_t limit)
{
    struct tmpfs *fs = kzalloc(sizeof(*fs));
    struct inode *root;
    int result = 0;
    if (fs == NULL) {
        return -ENOMEM;
    }
    fs->filesystem.type = lower != NULL ? "overlay" : "tmpfs";
    fs->filesystem.source = fs->filesystem.type;
    fs->filesystem.options = "rw";
    fs->filesystem.magic = lower != NULL ? OVERLAYFS_SUPER_MAGIC : TMPFS_MAGIC;
    fs->filesystem.in_memory = true;
    fs->filesystem.statfs = tmpfs_statfs;
    fs->limit = limit;
    fs->lower = lower;
    spinlock_init(&fs->inodes_lock, LOCK_FILE);
    fs->last_number = 1;
    if (lower != NULL) {
        fs->last_number = lower->size >> 5;
        fs->table = kzalloc(TABLE * sizeof(struct node *));
        result = fs->table == NULL ? -ENOMEM : lower_inode(fs, lower->root, &root);
    } else {
        fs->used = 1;
        struct node *node = node_new(fs, S_IFDIR | 0755);
        result = node == NULL ? -ENOMEM : 0;
        root = node == NULL ? NULL : &node->inode;
        if (node != NULL) {
            root->number = 1;
        }
    }
    if (result == 0) {
        result = filesystem_init(&fs->filesystem, root);
    }
    if (result == 0) {
        *out = &fs->filesystem;
    } else {
        kfree(fs->table);
        kfree(fs);
    }
    return result;
}
