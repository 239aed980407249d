/* SPDX-License-Identifier: MIT */
/* The page cache: a hash table of pages of block devices. A lock guards each group of buckets; a
 * page's state changes without it. The table holds a reference to each page; a page to which there
 * is no other may go. The hand of a clock goes round the buckets and takes those that were not used
 * since it last came by: when the cache itself wants a page and little memory is left, or when
 * page_alloc has none (the shrinker). */
#include "core/block/block.h"
#include "core/lib/errno.h"
#include "core/lib/string.h"
#include "core/mm/kmalloc.h"
#include "core/mm/page.h"
#include "core/sched/wait.h"
#include "hal.h"

#define LOCKS 64u
#define QUEUES 64u
#define MIN_BUCKETS 256u
#define MAX_BUCKETS ((PAGE_SIZE << PAGE_MAX_ORDER) / sizeof(struct cached_page *))
#define FIRST_WINDOW 8u
#define EVICT_STEPS 64u   /* buckets looked at for a new page's sake */
#define REQUEST_PAGES 64u /* in one request, when the device takes that many */

/* A read of pages that follow each other. */
struct cache_read {
    struct block_request request;
    unsigned count, capacity;
    struct cached_page **pages;
    struct block_segment segments[];
};

static struct cached_page **buckets;
static uint32_t bucket_mask;
static struct spinlock locks[LOCKS];
static uint32_t hand;   /* atomic */
static uint64_t cached; /* pages in the table; atomic */

/* Threads wait here for pages and requests, by the address of the state they look at. */
static struct wait_queue queues[QUEUES];

/* --- waiting --------------------------------------------------------------------------------- */

static struct wait_queue *queue_of(const int32_t *state)
{
    return &queues[((uintptr_t)state >> 5) % QUEUES];
}

int block_wait(const int32_t *state)
{
    int32_t value = __atomic_load_n(state, __ATOMIC_ACQUIRE);
    if (value != CACHE_BUSY) {
        return value;
    }
    struct thread_waiter waiter;
    thread_waiter_init(&waiter);
    wait_queue_add(queue_of(state), &waiter.entry);
    for (;;) {
        thread_prepare_sleep(THREAD_SLEEPING);
        value = __atomic_load_n(state, __ATOMIC_ACQUIRE);
        if (value != CACHE_BUSY) {
            break;
        }
        thread_sleep(UINT64_MAX);
    }
    thread_cancel_sleep();
    wait_queue_remove(&waiter.entry);
    current_thread()->disk_waits++;
    return value;
}

void block_done(int32_t *state, int32_t value)
{
    struct wait_queue *queue = queue_of(state);
    __atomic_store_n(state, value, __ATOMIC_RELEASE);
    wait_queue_notify(queue, 0);
}

/* --- the table ------------------------------------------------------------------------------- */

static uint32_t bucket_of(const struct block_device *device, uint64_t index)
{
    uint64_t hash = ((uintptr_t)device ^ index) * 0x9e3779b97f4a7c15ull;
    return (uint32_t)(hash >> 32) & bucket_mask;
}

/* With a reference, or NULL. The bucket's lock is held. */
static struct cached_page *find(uint32_t bucket, const struct block_device *device, uint64_t index)
{
    for (struct cached_page *page = buckets[bucket]; page != NULL; page = page->next) {
        if (page->index == index && page->device == device) {
            __atomic_add_fetch(&page->references, 1, __ATOMIC_RELAXED);
            __atomic_store_n(&page->used, true, __ATOMIC_RELAXED);
            return page;
        }
    }
    return NULL;
}

static struct cached_page *lookup(const struct block_device *device, uint64_t index)
{
    uint32_t bucket = bucket_of(device, index);
    bool irq = spin_lock_irqsave(&locks[bucket % LOCKS]);
    struct cached_page *page = find(bucket, device, index);
    spin_unlock_irqrestore(&locks[bucket % LOCKS], irq);
    return page;
}

/* Puts a new page into the table, or finds the one that is there: either with a reference for the
 * caller. */
static struct cached_page *insert(struct cached_page *page)
{
    uint32_t bucket = bucket_of(page->device, page->index);
    bool irq = spin_lock_irqsave(&locks[bucket % LOCKS]);
    struct cached_page *there = find(bucket, page->device, page->index);
    if (there == NULL) {
        page->next = buckets[bucket];
        buckets[bucket] = page;
        __atomic_add_fetch(&cached, 1, __ATOMIC_RELAXED);
    }
    spin_unlock_irqrestore(&locks[bucket % LOCKS], irq);
    return there != NULL ? there : page;
}

static void free_page(struct cached_page *page)
{
    page_free(page->physical, 0);
    kfree(page);
}

void cache_put(struct cached_page *page)
{
    __atomic_sub_fetch(&page->references, 1, __ATOMIC_RELEASE);
}

/* Takes out of a bucket what nobody refers to and `wanted` says: how many pages that were. */
static size_t sweep(uint32_t bucket, bool (*wanted)(struct cached_page *, const void *),
                    const void *context)
{
    struct cached_page *gone = NULL;
    size_t count = 0;
    if (__atomic_load_n(&buckets[bucket], __ATOMIC_RELAXED) == NULL) {
        return 0;
    }
    bool irq = spin_lock_irqsave(&locks[bucket % LOCKS]);
    for (struct cached_page **link = &buckets[bucket]; *link != NULL;) {
        struct cached_page *page = *link;
        uint32_t alone = 1;
        if (wanted(page, context) &&
            __atomic_compare_exchange_n(&page->references, &alone, 0, false, __ATOMIC_ACQUIRE,
                                        __ATOMIC_RELAXED)) {
            *link = page->next;
            page->next = gone;
            gone = page;
            count++;
        } else {
            link = &page->next;
        }
    }
    spin_unlock_irqrestore(&locks[bucket % LOCKS], irq);
    __atomic_sub_fetch(&cached, count, __ATOMIC_RELAXED);
    while (gone != NULL) {
        struct cached_page *page = gone;
        gone = page->next;
        free_page(page);
    }
    return count;
}

static bool is_unused(struct cached_page *page, const void *context)
{
    (void)context;
    return !__atomic_exchange_n(&page->used, false, __ATOMIC_RELAXED);
}

/* Looks at up to `steps` buckets and gives about `wanted` pages back; fewer when the others are in
 * use. Any context. */
static size_t evict(size_t wanted, uint64_t steps)
{
    size_t freed = 0;
    for (; steps != 0 && freed < wanted; steps--) {
        if (__atomic_load_n(&cached, __ATOMIC_RELAXED) == 0) {
            break;
        }
        uint32_t bucket = __atomic_fetch_add(&hand, 1, __ATOMIC_RELAXED) & bucket_mask;
        freed += sweep(bucket, is_unused, NULL);
    }
    return freed;
}

static size_t shrink(void)
{
    /* Twice round: the first time a page may have been used. */
    return evict(__atomic_load_n(&cached, __ATOMIC_RELAXED) / 8 + 32, 2ull * bucket_mask + 2);
}

uint64_t cache_pages(void)
{
    return __atomic_load_n(&cached, __ATOMIC_RELAXED);
}

int cache_init(void)
{
    uint64_t count = MIN_BUCKETS;
    unsigned order = 0;
    while (count < page_total() / 4 && count < MAX_BUCKETS) {
        count *= 2;
    }
    while (PAGE_SIZE << order < count * sizeof(struct cached_page *)) {
        order++;
    }
    uint64_t table = page_alloc(order, PAGE_ZERO);
    if (table == 0) {
        return -ENOMEM;
    }
    buckets = direct_map(table);
    bucket_mask = (uint32_t)count - 1;
    for (unsigned i = 0; i < LOCKS; i++) {
        spinlock_init(&locks[i], LOCK_CACHE);
    }
    for (unsigned i = 0; i < QUEUES; i++) {
        wait_queue_init(&queues[i]);
    }
    page_register_shrinker(shrink);
    return 0;
}

/* --- reading --------------------------------------------------------------------------------- */

/* The device has read, or has not: then each page is left to be tried alone, so that one bad block
 * fails no other. */
static void read_done(struct block_request *request, int error)
{
    struct cache_read *read = container_of(request, struct cache_read, request);
    block_account(read->pages[0]->device, request);
    if (error != 0) {
        error = read->count > 1 ? -EAGAIN : -EIO;
    }
    for (unsigned i = 0; i < read->count; i++) {
        struct cached_page *page = read->pages[i];
        block_done(&page->state, error);
        cache_put(page);
    }
    kfree(read);
}

/* Room for a request of up to `count` pages. */
static struct cache_read *read_new(const struct blockdev *hardware, uint64_t count)
{
    uint64_t capacity = count < REQUEST_PAGES ? count : REQUEST_PAGES;
    capacity = capacity < hardware->segment_max ? capacity : hardware->segment_max;
    uint64_t most = hardware->request_max / PAGE_SIZE;
    capacity = capacity < most ? capacity : most;
    struct cache_read *read = kmalloc(
        sizeof(*read) + capacity * (sizeof(read->segments[0]) + sizeof(struct cached_page *)));
    if (read != NULL) {
        memset(read, 0, sizeof(*read));
        read->capacity = (unsigned)capacity;
        read->pages = (struct cached_page **)&read->segments[capacity];
    }
    return read;
}

/* Adds the page that follows. The request holds a reference until it is done. */
static void read_add(struct cache_read *read, struct cached_page *page)
{
    struct block_request *request = &read->request;
    uint64_t rest = block_size(page->device) - (page->index << PAGE_SHIFT);
    uint32_t length = rest < PAGE_SIZE ? (uint32_t)rest : (uint32_t)PAGE_SIZE;
    uint8_t *bytes = cached_bytes(page);
    struct block_segment *last = &read->segments[request->segment_count];
    memset(bytes + length, 0, PAGE_SIZE - length);
    if (request->segment_count != 0 && (uint8_t *)last[-1].data + last[-1].length == bytes) {
        last[-1].length += length;
    } else {
        *last = (struct block_segment){bytes, length};
        request->segment_count++;
    }
    __atomic_add_fetch(&page->references, 1, __ATOMIC_RELAXED);
    read->pages[read->count++] = page;
}

static void read_submit(struct cache_read *read)
{
    struct block_device *device = read->pages[0]->device;
    struct block_request *request = &read->request;
    request->operation = BLOCK_READ;
    request->sector = read->pages[0]->index << (PAGE_SHIFT - SECTOR_SHIFT);
    request->segments = read->segments;
    request->done = read_done;
    block_submit(device, request);
}

/* A page that is not in the table yet. While little memory is left, the cache lives from its own,
 * as far as a short look finds any: where all are mapped, a long one for each page would be the
 * work. */
static struct cached_page *page_new(struct block_device *device, uint64_t index)
{
    if (!page_is_plentiful(page_total() / 16) &&
        __atomic_load_n(&cached, __ATOMIC_RELAXED) > page_total() / 32) {
        evict(1, EVICT_STEPS);
    }
    struct cached_page *page = kmalloc(sizeof(*page));
    uint64_t physical = page != NULL ? page_alloc(0, 0) : 0;
    if (physical == 0) {
        kfree(page);
        return NULL;
    }
    *page = (struct cached_page){.device = device,
                                 .index = index,
                                 .physical = physical,
                                 .references = 2,
                                 .state = CACHE_BUSY,
                                 .used = true};
    return page;
}

/* Starts reading `count` pages from `first` on, up to one that is there already. `wanted` (may be
 * NULL) gets the first, with a reference. */
static int start_reads(struct block_device *device, uint64_t first, uint64_t count,
                       struct cached_page **wanted)
{
    struct cache_read *read = NULL;
    int result = -ENOMEM;
    for (uint64_t i = 0; i < count; i++) {
        if (read == NULL) {
            read = read_new(device->hardware, count - i);
        }
        struct cached_page *fresh = read != NULL ? page_new(device, first + i) : NULL;
        if (fresh == NULL) {
            break;
        }
        struct cached_page *page = insert(fresh);
        if (page == fresh) {
            read_add(read, page);
        } else {
            free_page(fresh);
        }
        if (i == 0 && wanted != NULL) {
            *wanted = page;
        } else {
            cache_put(page);
        }
        result = 0;
        if (page != fresh) {
            break;
        }
        if (read->count == read->capacity) {
            read_submit(read);
            read = NULL;
        }
    }
    if (read != NULL && read->count != 0) {
        read_submit(read);
    } else {
        kfree(read);
    }
    return result;
}

/* What to ask for when page `index` is read, beside a page that is missing: returns how many pages
 * from *from on. */
static uint64_t plan(struct read_ahead *ahead, uint64_t index, uint64_t run, bool missing,
                     uint64_t *from)
{
    uint64_t limit = index + run, most = page_total() / 64, end;
    *from = index;
    if (ahead == NULL) {
        return 1;
    }
    most = most < READ_AHEAD_MAX ? most : READ_AHEAD_MAX;
    uint64_t next = ahead->next;
    ahead->next = index + 1;
    if (index != next && index + 1 != next) {
        ahead->window = 0;
        end = index + (ahead->wanted < most ? ahead->wanted : most);
    } else if (missing) {
        uint64_t window = ahead->window != 0 ? 2ull * ahead->window : FIRST_WINDOW;
        window = window > ahead->wanted ? window : ahead->wanted;
        ahead->window = (uint32_t)(window < most ? window : most);
        end = index + ahead->window;
    } else if (ahead->window != 0 && ahead->end > index && ahead->end < limit &&
               ahead->end - index <= ahead->window / 2) {
        /* Half of what was asked for is read: time for the next. */
        ahead->window = (uint32_t)(2ull * ahead->window < most ? 2ull * ahead->window : most);
        *from = ahead->end;
        end = ahead->end + ahead->window;
    } else {
        return 0;
    }
    end = end < limit ? end : limit;
    if (!missing && end <= *from) {
        return 0;
    }
    end = end > *from ? end : *from + 1;
    ahead->end = end;
    return end - *from;
}

/* Reads one page again that could not be read. */
static void retry(struct cached_page *page)
{
    struct cache_read *read = read_new(page->device->hardware, 1);
    if (read == NULL) {
        block_done(&page->state, -ENOMEM);
        return;
    }
    read_add(read, page);
    read_submit(read);
}

int cache_get(struct block_device *device, uint64_t index, uint64_t run, struct read_ahead *ahead,
              struct cached_page **out)
{
    uint64_t from;
    uint64_t size = block_size(device);
    if (index >= (size + PAGE_SIZE - 1) >> PAGE_SHIFT) {
        return -EIO;
    }
    uint64_t rest = ((size + PAGE_SIZE - 1) >> PAGE_SHIFT) - index;
    run = run < rest ? run : rest;
    struct cached_page *page = lookup(device, index);
    bool missing = page == NULL;
    if (missing || ahead != NULL) {
        uint64_t count = plan(ahead, index, run, missing, &from);
        int result = count == 0 ? 0 : start_reads(device, from, count, missing ? &page : NULL);
        if (missing && result != 0) {
            return result;
        }
    }
    int32_t state = __atomic_load_n(&page->state, __ATOMIC_ACQUIRE);
    bool tried = state == CACHE_BUSY;
    while (state != 0) {
        if (state == CACHE_BUSY) {
            state = block_wait(&page->state);
        } else if (tried && state != -EAGAIN) {
            cache_put(page);
            return state;
        } else if (__atomic_compare_exchange_n(&page->state, &state, CACHE_BUSY, false,
                                               __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE)) {
            tried = true;
            state = CACHE_BUSY;
            retry(page);
        }
    }
    *out = page;
    return 0;
}

/* --- changes --------------------------------------------------------------------------------- */

void cache_put_at(struct block_device *device, uint64_t index)
{
    struct cached_page *page = lookup(device, index);
    if (page != NULL) {
        cache_put(page); /* of the lookup */
        cache_put(page);
    }
}

void cache_update(struct block_device *device, uint64_t offset, const void *bytes, size_t size)
{
    const char *from = bytes;
    while (size != 0) {
        uint64_t within = offset % PAGE_SIZE;
        size_t piece = size < PAGE_SIZE - within ? size : PAGE_SIZE - within;
        struct cached_page *page = lookup(device, offset >> PAGE_SHIFT);
        if (page != NULL) {
            /* One that is being read may get what was there before the write. */
            bool readable = block_wait(&page->state) == 0;
            if (readable && from != NULL) {
                memcpy(cached_bytes(page) + within, from, piece);
            } else if (readable) {
                memset(cached_bytes(page) + within, 0, piece);
            }
            cache_put(page);
        }
        from = from != NULL ? from + piece : NULL;
        offset += piece;
        size -= piece;
    }
}

struct range {
    const struct block_device *device;
    uint64_t first, last;
};

static bool is_within(struct cached_page *page, const void *context)
{
    const struct range *range = context;
    return page->device == range->device && page->index >= range->first &&
           page->index <= range->last;
}

void cache_drop(struct block_device *device, uint64_t offset, uint64_t size)
{
    struct range range = {device, offset >> PAGE_SHIFT, (offset + size - 1) >> PAGE_SHIFT};
    for (uint32_t bucket = 0; size != 0 && bucket <= bucket_mask; bucket++) {
        sweep(bucket, is_within, &range);
    }
}
