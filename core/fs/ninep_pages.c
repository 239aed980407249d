/* SPDX-License-Identifier: MIT */
/* Mapped pages of 9P files. A page is here as long as some mapping has it; reads and writes go to
 * the server. Since nothing tells which pages the program has written to, all that it may write are
 * written back: by msync and fsync, before each read of the file, and when the last mapping goes.
 * The node's spinlock guards its pages; it is never held across a request. */
#include "core/fs/fs_internal.h"
#include "core/fs/ninep.h"
#include "core/mm/page.h"

static struct ninep_page **bucket_of(struct ninep_node *node, uint64_t offset)
{
    return &node->pages[(offset >> PAGE_SHIFT) % NINEP_PAGE_BUCKETS];
}

/* The lock is held, here and in the next two. */
static struct ninep_page *find_page(struct ninep_node *node, uint64_t offset)
{
    struct ninep_page *page = node->pages == NULL ? NULL : *bucket_of(node, offset);
    while (page != NULL && page->offset != offset) {
        page = page->next;
    }
    return page;
}

static void set_writable(struct ninep_node *node, struct ninep_page *page, struct ninep_fid *fid)
{
    if (page->writable) {
        return;
    }
    page->writable = true;
    if (node->writable++ == 0) {
        node->writer = ninep_fid_get(fid);
    }
}

/* The caller puts what is returned, if anything, once it has let go of the lock. */
static struct ninep_fid *clear_writable(struct ninep_node *node, struct ninep_page *page)
{
    struct ninep_fid *writer = NULL;
    if (page->writable) {
        page->writable = false;
        if (--node->writable == 0) {
            writer = node->writer;
            node->writer = NULL;
        }
    }
    return writer;
}

static int write_back(struct ninep_node *node, struct ninep_page *page, struct ninep_fid *writer)
{
    uint64_t size = __atomic_load_n(&node->inode.size, __ATOMIC_RELAXED);
    size_t length = page->offset >= size ? 0 : MIN(PAGE_SIZE, size - page->offset);
    char *bytes = direct_map(page->physical);
    for (size_t at = 0; at < length;) {
        long done = ninep_transfer(writer, NINEP_TWRITE, page->offset + at, bytes + at, length - at,
                                   &page->scratch);
        if (done <= 0) {
            log_warn("9p: a mapped page is not written back: error %ld", -done);
            return done == 0 ? -EIO : (int)done;
        }
        at += (size_t)done;
    }
    return 0;
}

/* Gives one use of the page back. The last one writes the page back, until nobody has come to write
 * to it meanwhile, and frees it. The lock is held before and not after; `locked`: so is
 * write_back_lock, before and after. */
static void release_page(struct ninep_node *node, struct ninep_page *page, bool locked)
{
    while (page->maps == 1 && page->writable) {
        struct ninep_fid *writer = ninep_fid_get(node->writer), *last;
        last = clear_writable(node, page);
        spin_unlock(&node->lock);
        if (!locked) {
            mutex_lock(&node->write_back_lock);
        }
        (void)write_back(node, page, writer);
        if (!locked) {
            mutex_unlock(&node->write_back_lock);
        }
        ninep_fid_put(writer);
        if (last != NULL) {
            ninep_fid_put(last);
        }
        spin_lock(&node->lock);
    }
    bool unused = --page->maps == 0;
    if (unused) {
        struct ninep_page **link = bucket_of(node, page->offset);
        while (*link != page) {
            link = &(*link)->next;
        }
        *link = page->next;
    }
    spin_unlock(&node->lock);
    if (unused) {
        page_free(page->physical, 0);
        kfree(page);
    }
}

/* A page of the bucket that this round has still to write back, or NULL. */
static struct ninep_page *next_writable(struct ninep_page *page, uint32_t round)
{
    while (page != NULL && (!page->writable || page->round == round)) {
        page = page->next;
    }
    return page;
}

int ninep_pages_sync(struct ninep_node *node)
{
    struct ninep_page *page;
    int result = 0;
    if (__atomic_load_n(&node->writable, __ATOMIC_RELAXED) == 0) {
        return 0;
    }
    mutex_lock(&node->write_back_lock);
    uint32_t round = ++node->round;
    for (unsigned i = 0; i < NINEP_PAGE_BUCKETS; i++) {
        spin_lock(&node->lock);
        while ((page = next_writable(node->pages[i], round)) != NULL) {
            struct ninep_fid *writer = ninep_fid_get(node->writer);
            page->maps++;
            page->round = round;
            spin_unlock(&node->lock);
            int error = write_back(node, page, writer);
            result = result != 0 ? result : error;
            ninep_fid_put(writer);
            spin_lock(&node->lock);
            release_page(node, page, true);
            spin_lock(&node->lock);
        }
        spin_unlock(&node->lock);
    }
    mutex_unlock(&node->write_back_lock);
    return result;
}

void ninep_pages_update(struct ninep_node *node, uint64_t offset, const char *bytes, size_t size)
{
    if (__atomic_load_n(&node->pages, __ATOMIC_ACQUIRE) == NULL) {
        return;
    }
    for (size_t at = 0; at < size;) {
        size_t within = (offset + at) % PAGE_SIZE, piece = MIN(PAGE_SIZE - within, size - at);
        spin_lock(&node->lock);
        struct ninep_page *page = find_page(node, offset + at - within);
        if (page != NULL && bytes != NULL) {
            memcpy((char *)direct_map(page->physical) + within, bytes + at, piece);
        } else if (page != NULL) {
            memset((char *)direct_map(page->physical) + within, 0, piece);
        }
        spin_unlock(&node->lock);
        at += piece;
    }
}

/* --- what the address space asks ------------------------------------------------------------- */

/* Reads a page that is not here. */
static int read_page(struct ninep_fid *fid, struct ninep_page *page)
{
    char *bytes = direct_map(page->physical);
    size_t at = 0;
    while (at < PAGE_SIZE) {
        long done = ninep_transfer(fid, NINEP_TREAD, page->offset + at, bytes + at, PAGE_SIZE - at,
                                   &page->scratch);
        if (done < 0) {
            return -EIO;
        }
        if (done == 0) {
            break;
        }
        at += (size_t)done;
    }
    memset(bytes + at, 0, PAGE_SIZE - at);
    return at == 0 ? -EIO : 0; /* past the end */
}

static int new_page(struct ninep_node *node, struct ninep_fid *fid, uint64_t offset,
                    struct ninep_page **out)
{
    struct ninep_page **buckets = NULL, *page = kzalloc(sizeof(*page));
    if (node->pages == NULL) {
        buckets = kzalloc(NINEP_PAGE_BUCKETS * sizeof(struct ninep_page *));
    }
    int result = page == NULL || (node->pages == NULL && buckets == NULL) ? -ENOMEM : 0;
    if (result == 0) {
        spin_lock(&node->lock);
        if (node->pages == NULL) {
            __atomic_store_n(&node->pages, buckets, __ATOMIC_RELEASE);
            buckets = NULL;
        }
        spin_unlock(&node->lock);
        page->offset = offset;
        page->physical = page_alloc(0, 0);
        result = page->physical == 0 ? -ENOMEM : read_page(fid, page);
    }
    kfree(buckets);
    if (result == 0) {
        *out = page;
        return 0;
    }
    if (page != NULL && page->physical != 0) {
        page_free(page->physical, 0);
    }
    kfree(page);
    return result;
}

int ninep_map_page(struct file *file, uint64_t offset, bool write, uint64_t *physical)
{
    struct ninep_node *node = ninep_node_of(file->inode);
    struct ninep_page *fresh = NULL;
    spin_lock(&node->lock);
    struct ninep_page *page = find_page(node, offset);
    if (page == NULL) {
        spin_unlock(&node->lock);
        int result = new_page(node, file->data, offset, &fresh);
        if (result != 0) {
            return result;
        }
        spin_lock(&node->lock);
        page = find_page(node, offset);
        if (page == NULL) {
            struct ninep_page **bucket = bucket_of(node, offset);
            page = fresh;
            page->next = *bucket;
            *bucket = page;
            fresh = NULL;
        }
    }
    page->maps++;
    if (write) {
        set_writable(node, page, file->data);
    }
    *physical = page->physical;
    spin_unlock(&node->lock);
    if (fresh != NULL) {
        page_free(fresh->physical, 0);
        kfree(fresh);
    }
    return 0;
}

void ninep_unmap_page(struct file *file, uint64_t offset, uint64_t physical)
{
    struct ninep_node *node = ninep_node_of(file->inode);
    (void)physical;
    spin_lock(&node->lock);
    release_page(node, find_page(node, offset), false);
}
