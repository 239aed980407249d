/* SPDX-License-Identifier: MIT */
/* Disks: the front end of Xen's block protocol (xen/include/public/io/blkif.h), with a ring of
 * requests for each queue. Data goes through pages that stay granted for as long as there is a back
 * end, which so has to map each of them once (feature-persistent), and never gets hold of a page
 * that is anything else. What the back end writes is copied and checked: a response to a request
 * that is not in flight, or an index beyond the ring, closes the device.
 *
 * A back end that leaves takes no request with it: what was in flight is sent again to the next one
 * (front_end.c). `lock` guards a queue. */
#include <linux/errno.h>

#include "blockdev.h"
#include "core/lib/log.h"
#include "core/lib/spinlock.h"
#include "core/lib/string.h"
#include "core/mm/kmalloc.h"
#include "core/mm/page.h"
#include "core/sched/sched.h"
#include "grant.h"
#include "xen_internal.h"
#include "xenbus.h"
#include "xenstore.h"

#define RING_ORDER_MAX 2
#define SLOTS_MAX 128 /* requests in the largest ring */
#define PAGES_MAX 32  /* pages of data in a request, with an indirect list */
#define POOL_MAX 1024 /* pages of a queue: what Linux's back end keeps mapped */
#define NO_SLOT SLOTS_MAX
#define DRAIN_NS 10000000000ull

struct ring {
    struct ring_header header;
    union blkif_request entries[];
};
_Static_assert(sizeof(struct ring) + SLOTS_MAX * sizeof(union blkif_request) <=
                   PAGE_SIZE << RING_ORDER_MAX,
               "struct ring");

/* A page that the back end may use. */
struct shared_page {
    struct shared_page *next;      /* in the pool, or of the same request */
    struct shared_page *next_made; /* of the queue's */
    void *bytes;
    uint32_t grant;
};

struct slot {
    struct block_request *request; /* NULL: free */
    struct shared_page *pages;     /* of its data */
    struct shared_page *list;      /* of an indirect request: where its segments are */
    unsigned next_free;
};

struct queue {
    struct blkfront *disk;
    unsigned index;
    struct spinlock lock;
    struct ring *ring;
    uint32_t grants[1 << RING_ORDER_MAX]; /* of its pages */
    unsigned slot_count;                  /* a power of two */
    uint32_t req_prod, rsp_cons;          /* ours, whatever the page says */
    uint32_t port;
    bool running;      /* the back end uses the ring: responses are taken */
    bool open;         /* and requests put into it */
    unsigned handlers; /* runs of `completed`; atomic */
    unsigned first_free;
    struct slot slots[SLOTS_MAX];
    struct list waiting; /* requests that found no slot or no pages */
    struct shared_page *pool, *made;
    unsigned made_count;
};

struct blkfront {
    struct blockdev device; /* first */
    struct xenbus_device bus;
    uint16_t handle;
    bool gone;              /* for good, and requests fail; atomic */
    unsigned queue_count;   /* that exist */
    unsigned queues_used;   /* by the back end that there is; atomic */
    unsigned ring_order;    /* pages of each ring that it uses, as a power of two */
    struct thread *drainer; /* waits until no request is in flight; atomic */
    struct queue *queues[HAL_MAX_CPUS];
};

static struct blkfront *disk_of(struct xenbus_device *bus)
{
    return container_of(bus, struct blkfront, bus);
}

static bool is_gone(const struct blkfront *disk)
{
    return __atomic_load_n(&disk->gone, __ATOMIC_ACQUIRE);
}

/* --- pages for data --------------------------------------------------------------------------- */

static void grant_page(const struct queue *queue, const struct shared_page *page)
{
    grant_give(page->grant, queue->disk->bus.backend_domain, page->bytes, false);
}

/* Few enough that the program does not miss them, and enough for the largest request. */
static unsigned pool_limit(const struct queue *queue)
{
    uint64_t share = page_total() / 32 / queue->disk->queue_count;
    return share < PAGES_MAX + 1 ? PAGES_MAX + 1 : share < POOL_MAX ? (unsigned)share : POOL_MAX;
}

static struct shared_page *make_page(struct queue *queue)
{
    struct shared_page *page = kzalloc(sizeof(*page));
    uint64_t physical = page != NULL ? page_alloc(0, PAGE_ZERO) : 0;
    if (physical == 0 || grant_alloc(&page->grant) != 0) {
        if (physical != 0) {
            page_free(physical, 0);
        }
        kfree(page);
        return NULL;
    }
    page->bytes = direct_map(physical);
    page->next_made = queue->made;
    queue->made = page;
    queue->made_count++;
    grant_page(queue, page);
    return page;
}

static void put_pages(struct queue *queue, struct shared_page *pages)
{
    while (pages != NULL) {
        struct shared_page *page = pages;
        pages = page->next;
        page->next = queue->pool;
        queue->pool = page;
    }
}

/* Takes `count` pages: false, and none, when there are too few. */
static bool take_pages(struct queue *queue, unsigned count, struct shared_page **out)
{
    struct shared_page *taken = NULL;
    for (; count != 0; count--) {
        struct shared_page *page = queue->pool;
        if (page != NULL) {
            queue->pool = page->next;
        } else if (queue->made_count < pool_limit(queue)) {
            page = make_page(queue);
        }
        if (page == NULL) {
            put_pages(queue, taken);
            return false;
        }
        page->next = taken;
        taken = page;
    }
    *out = taken;
    return true;
}

/* Copies between the request's memory and pages that are filled one after the other. */
static void copy_data(const struct block_request *request, const struct shared_page *page,
                      bool to_pages)
{
    uint32_t within = 0;
    for (unsigned i = 0; i < request->segment_count; i++) {
        char *bytes = request->segments[i].data;
        for (uint32_t left = request->segments[i].length; left != 0;) {
            if (within == PAGE_SIZE) {
                page = page->next;
                within = 0;
            }
            uint32_t room = (uint32_t)PAGE_SIZE - within;
            uint32_t piece = left < room ? left : room;
            char *shared = (char *)page->bytes + within;
            memcpy(to_pages ? shared : bytes, to_pages ? bytes : shared, piece);
            bytes += piece;
            within += piece;
            left -= piece;
        }
    }
}

/* --- requests --------------------------------------------------------------------------------- */

static uint32_t data_size(const struct block_request *request)
{
    uint32_t size = 0;
    for (unsigned i = 0; i < request->segment_count; i++) {
        size += request->segments[i].length;
    }
    return size;
}

/* The segments of the protocol, a page each. */
static void put_segments(struct blkif_segment *out, const struct shared_page *page, uint32_t size)
{
    for (; size != 0; page = page->next) {
        uint32_t piece = size < PAGE_SIZE ? size : (uint32_t)PAGE_SIZE;
        *out++ = (struct blkif_segment){.grant = page->grant,
                                        .last_sector = (uint8_t)((piece - 1) >> SECTOR_SHIFT)};
        size -= piece;
    }
}

/* A read or a write: false when there are not enough pages for it. */
static bool put_transfer(struct queue *queue, struct slot *slot, union blkif_request *entry)
{
    const struct block_request *request = slot->request;
    uint8_t operation = request->operation == BLOCK_READ ? BLKIF_READ : BLKIF_WRITE;
    uint32_t size = data_size(request);
    unsigned count = (size + (unsigned)PAGE_SIZE - 1) >> PAGE_SHIFT;
    bool indirect = count > BLKIF_DIRECT_SEGMENTS;
    if (!take_pages(queue, count + indirect, &slot->pages)) {
        return false;
    }
    if (indirect) {
        slot->list = slot->pages;
        slot->pages = slot->list->next;
        slot->list->next = NULL;
        entry->indirect.operation = BLKIF_INDIRECT;
        entry->indirect.indirect_operation = operation;
        entry->indirect.handle = queue->disk->handle;
        entry->indirect.segment_count = (uint16_t)count;
        entry->indirect.grants[0] = slot->list->grant;
        put_segments(slot->list->bytes, slot->pages, size);
    } else {
        entry->direct.operation = operation;
        entry->direct.segment_count = (uint8_t)count;
        put_segments(entry->direct.segments, slot->pages, size);
    }
    if (operation == BLKIF_WRITE) {
        copy_data(request, slot->pages, true);
    }
    return true;
}

/* Puts a request into the ring: false when it has to wait. */
static bool start_request(struct queue *queue, struct block_request *request)
{
    unsigned index = queue->first_free;
    if (index == NO_SLOT) {
        return false;
    }
    struct slot *slot = &queue->slots[index];
    union blkif_request *entry = &queue->ring->entries[queue->req_prod & (queue->slot_count - 1)];
    memset(entry, 0, sizeof(*entry));
    entry->direct.id = index;
    entry->direct.handle = queue->disk->handle;
    entry->direct.sector = request->sector;
    slot->request = request;
    slot->pages = slot->list = NULL;
    if (request->operation == BLOCK_FLUSH) {
        entry->direct.operation = BLKIF_FLUSH;
    } else if (request->operation == BLOCK_DISCARD) {
        entry->discard.operation = BLKIF_DISCARD;
        entry->discard.sector_count = request->sector_count;
    } else if (!put_transfer(queue, slot, entry)) {
        slot->request = NULL;
        return false;
    }
    queue->first_free = slot->next_free;
    queue->req_prod++;
    return true;
}

/* Makes the new requests visible, and tells the back end if it waits for one of them. */
static void push(struct queue *queue, uint32_t before)
{
    struct ring_header *header = &queue->ring->header;
    __atomic_store_n(&header->req_prod, queue->req_prod, __ATOMIC_SEQ_CST);
    uint32_t event = __atomic_load_n(&header->req_event, __ATOMIC_SEQ_CST);
    if (queue->req_prod - event < queue->req_prod - before) {
        event_send(queue->port);
    }
}

static void start_waiting(struct queue *queue)
{
    uint32_t before = queue->req_prod;
    while (!list_empty(&queue->waiting)) {
        struct list *node = list_pop_front(&queue->waiting);
        if (!start_request(queue, list_entry(node, struct block_request, node))) {
            list_push_front(&queue->waiting, node);
            break;
        }
    }
    if (queue->req_prod != before) {
        push(queue, before);
    }
}

static void submit(struct blockdev *device, struct block_request *request)
{
    struct blkfront *disk = (struct blkfront *)device;
    for (;;) {
        unsigned used = __atomic_load_n(&disk->queues_used, __ATOMIC_ACQUIRE);
        struct queue *queue = disk->queues[hal_this_cpu()->id % used];
        bool irq = spin_lock_irqsave(&queue->lock);
        bool gone = is_gone(disk);
        /* A back end that comes may use fewer queues than the one before. */
        bool mine = queue->index < __atomic_load_n(&disk->queues_used, __ATOMIC_ACQUIRE);
        if (mine && !gone) {
            list_push_back(&queue->waiting, &request->node);
            if (queue->open) {
                start_waiting(queue);
            }
        }
        spin_unlock_irqrestore(&queue->lock, irq);
        if (gone) {
            request->done(request, -ENODEV);
        }
        if (mine || gone) {
            return;
        }
    }
}

/* --- responses -------------------------------------------------------------------------------- */

struct finished {
    struct block_request *request;
    struct shared_page *pages, *list;
    int error;
};

/* Takes one response: false when there is none; `*damage` says why the device has to be closed. The
 * lock is held. */
static bool take_response(struct queue *queue, struct finished *out, const char **damage)
{
    uint32_t ready =
        __atomic_load_n(&queue->ring->header.rsp_prod, __ATOMIC_ACQUIRE) - queue->rsp_cons;
    if (ready == 0) {
        return false;
    }
    if (ready > queue->req_prod - queue->rsp_cons) {
        *damage = "the back end's index is beyond the ring";
        return false;
    }
    struct blkif_response response =
        queue->ring->entries[queue->rsp_cons++ & (queue->slot_count - 1)].response;
    struct slot *slot = &queue->slots[response.id < queue->slot_count ? response.id : 0];
    if (response.id >= queue->slot_count || slot->request == NULL) {
        *damage = "the back end answers what was not asked";
        return false;
    }
    out->request = slot->request;
    out->pages = slot->pages;
    out->list = slot->list;
    out->error = response.status == BLKIF_OKAY          ? 0
                 : response.status == BLKIF_UNSUPPORTED ? -EOPNOTSUPP
                                                        : -EIO;
    slot->request = NULL;
    slot->next_free = queue->first_free;
    queue->first_free = (unsigned)response.id;
    return true;
}

/* The lock is held. */
static bool in_flight(const struct queue *queue)
{
    return queue->running && queue->req_prod != queue->rsp_cons;
}

/* Hands all requests that are in flight or wait to `out`. The lock is held. */
static void take_requests(struct queue *queue, struct list *out)
{
    for (unsigned i = 0; i < queue->slot_count; i++) {
        struct slot *slot = &queue->slots[i];
        if (slot->request != NULL) {
            list_push_back(out, &slot->request->node);
            put_pages(queue, slot->pages);
            put_pages(queue, slot->list);
            slot->request = NULL;
        }
    }
    while (!list_empty(&queue->waiting)) {
        list_push_back(out, list_pop_front(&queue->waiting));
    }
}

/* The device is gone for good; all its requests fail. Any context. */
static void fail_all(struct blkfront *disk)
{
    __atomic_store_n(&disk->gone, true, __ATOMIC_RELEASE);
    for (unsigned i = 0; i < disk->queue_count; i++) {
        struct queue *queue = disk->queues[i];
        struct list failed;
        list_init(&failed);
        bool irq = spin_lock_irqsave(&queue->lock);
        queue->running = queue->open = false;
        take_requests(queue, &failed);
        spin_unlock_irqrestore(&queue->lock, irq);
        while (!list_empty(&failed)) {
            struct block_request *request =
                list_entry(list_pop_front(&failed), struct block_request, node);
            request->done(request, -ENODEV);
        }
    }
    if (__atomic_exchange_n(&disk->device.sector_count, 0, __ATOMIC_ACQ_REL) != 0) {
        core_blockdev_changed(&disk->device);
    }
}

/* From the back end's event. */
static void completed(void *context)
{
    struct queue *queue = context;
    const char *damage = NULL;
    struct finished finished;
    __atomic_fetch_add(&queue->handlers, 1, __ATOMIC_SEQ_CST);
    bool irq = spin_lock_irqsave(&queue->lock);
    while (queue->running) {
        if (!take_response(queue, &finished, &damage)) {
            /* Wants an event for the next one, and looks once more. */
            __atomic_store_n(&queue->ring->header.rsp_event, queue->rsp_cons + 1, __ATOMIC_SEQ_CST);
            if (damage != NULL || !take_response(queue, &finished, &damage)) {
                break;
            }
        }
        spin_unlock_irqrestore(&queue->lock, irq);
        if (finished.error == 0 && finished.request->operation == BLOCK_READ) {
            copy_data(finished.request, finished.pages, false);
        }
        finished.request->done(finished.request, finished.error);
        irq = spin_lock_irqsave(&queue->lock);
        put_pages(queue, finished.pages);
        put_pages(queue, finished.list);
    }
    if (damage != NULL) {
        queue->running = queue->open = false;
    } else if (queue->open) {
        start_waiting(queue);
    }
    bool drained = !queue->open && !in_flight(queue);
    spin_unlock_irqrestore(&queue->lock, irq);
    struct thread *drainer = __atomic_load_n(&queue->disk->drainer, __ATOMIC_ACQUIRE);
    if (drained && drainer != NULL) {
        thread_wake(drainer);
    }
    if (damage != NULL) {
        log_error("%s: %s", queue->disk->device.name, damage);
        front_end_break(&queue->disk->bus);
        fail_all(queue->disk);
    }
    __atomic_fetch_sub(&queue->handlers, 1, __ATOMIC_RELEASE);
}

/* --- set-up ----------------------------------------------------------------------------------- */

static const struct blockdev_operations operations = {.submit = submit};

/* Xen's numbers of disks (docs/man/xen-vbd-interface.7.pandoc): xvd in both forms. */
static int name_disk(struct blkfront *disk, uint64_t number)
{
    uint64_t index = number >> 28 == 1 ? (number & 0xfffffff) >> 8 : (number & 0xff) >> 4;
    if (index >= 26 || (number >> 28 != 1 && number >> 8 != 202)) {
        return -ENODEV;
    }
    format(disk->device.name, sizeof(disk->device.name), "xvd%c", (int)('a' + index));
    disk->handle = (uint16_t)number;
    return 0;
}

static int new_queue(struct blkfront *disk, unsigned index)
{
    struct queue *queue = kzalloc(sizeof(*queue));
    uint64_t ring = queue != NULL ? page_alloc(RING_ORDER_MAX, 0) : 0;
    if (ring == 0) {
        return -ENOMEM;
    }
    disk->queues[index] = queue;
    queue->disk = disk;
    queue->index = index;
    queue->ring = direct_map(ring);
    spinlock_init(&queue->lock, LOCK_CLASS_NONE);
    list_init(&queue->waiting);
    int error = 0;
    for (unsigned i = 0; error == 0 && i < 1u << RING_ORDER_MAX; i++) {
        error = grant_alloc(&queue->grants[i]);
    }
    return error;
}

static unsigned slots_of(unsigned order)
{
    unsigned count = SLOTS_MAX;
    while (sizeof(struct ring) + count * sizeof(union blkif_request) > PAGE_SIZE << order) {
        count /= 2;
    }
    return count;
}

/* An empty ring and granted pages, enough for the largest request so that there is always progress,
 * for a back end that waits. */
static int open_queue(struct queue *queue)
{
    const struct blkfront *disk = queue->disk;
    unsigned order = disk->ring_order;
    char *pages = (char *)queue->ring;
    memset(pages, 0, PAGE_SIZE << order);
    queue->ring->header.req_event = queue->ring->header.rsp_event = 1;
    for (unsigned i = 0; i < 1u << order; i++) {
        grant_give(queue->grants[i], disk->bus.backend_domain, pages + i * PAGE_SIZE, false);
    }
    queue->req_prod = queue->rsp_cons = 0;
    queue->slot_count = slots_of(order);
    queue->first_free = NO_SLOT;
    for (unsigned i = queue->slot_count; i-- > 0;) {
        queue->slots[i].next_free = queue->first_free;
        queue->first_free = i;
    }
    for (struct shared_page *page = queue->made; page != NULL; page = page->next_made) {
        grant_page(queue, page);
    }
    while (queue->made_count < PAGES_MAX + 1) {
        struct shared_page *page = make_page(queue);
        if (page == NULL) {
            return -ENOMEM;
        }
        put_pages(queue, page);
    }
    int error = xenbus_alloc_channel(&disk->bus, &queue->port);
    return error != 0 ? error : event_bind(queue->port, queue->index, completed, queue);
}

/* Takes back what the back end has: false when it keeps a page. What was in flight waits again. */
static bool close_queue(struct queue *queue)
{
    bool all = true;
    for (unsigned i = 0; i < 1u << queue->disk->ring_order; i++) {
        all = grant_take_back(queue->grants[i]) && all;
    }
    for (struct shared_page *page = queue->made; page != NULL; page = page->next_made) {
        all = grant_take_back(page->grant) && all;
    }
    xenbus_free_channel(&queue->disk->bus, queue->port);
    struct list requests;
    list_init(&requests);
    bool irq = spin_lock_irqsave(&queue->lock);
    take_requests(queue, &requests);
    while (!list_empty(&requests)) {
        list_push_back(&queue->waiting, list_pop_front(&requests));
    }
    spin_unlock_irqrestore(&queue->lock, irq);
    return all;
}

/* What waits in a queue that the new back end does not have waits in the first. */
static void give_up_queue(struct queue *queue)
{
    struct list moved;
    list_init(&moved);
    bool irq = spin_lock_irqsave(&queue->lock);
    take_requests(queue, &moved);
    spin_unlock_irqrestore(&queue->lock, irq);
    struct queue *first = queue->disk->queues[0];
    irq = spin_lock_irqsave(&first->lock);
    while (!list_empty(&moved)) {
        list_push_back(&first->waiting, list_pop_front(&moved));
    }
    spin_unlock_irqrestore(&first->lock, irq);
}

/* A number of the back end's, from `least` (which is also what a back end has that does not know of
 * it) to `most`. */
static unsigned backend_choice(const struct blkfront *disk, const char *name, unsigned least,
                               unsigned most)
{
    uint64_t number = xenbus_backend_number(&disk->bus, name, UINT32_MAX, least);
    return number < least ? least : number < most ? (unsigned)number : most;
}

/* --- back ends come and go (xenbus.h) --------------------------------------------------------- */

/* Stale keys of an earlier back end are all written anew, so the ring's first page has two names.
 */
static void publish_queue(const struct queue *queue, const char *prefix)
{
    const struct xenbus_device *bus = &queue->disk->bus;
    char name[32];
    format(name, sizeof(name), "%sring-ref", prefix);
    xenbus_write_number(bus, name, queue->grants[0]);
    for (unsigned i = 0; i < 1u << queue->disk->ring_order; i++) {
        format(name, sizeof(name), "%sring-ref%u", prefix, i);
        xenbus_write_number(bus, name, queue->grants[i]);
    }
    format(name, sizeof(name), "%sevent-channel", prefix);
    xenbus_write_number(bus, name, queue->port);
}

static void publish(struct xenbus_device *bus)
{
    const struct blkfront *disk = disk_of(bus);
    xenbus_write(bus, "protocol", "x86_64-abi");
    xenbus_write_number(bus, "feature-persistent", 1);
    xenbus_write_number(bus, "multi-queue-num-queues", disk->queues_used);
    xenbus_write_number(bus, "ring-page-order", disk->ring_order);
    for (unsigned i = 0; i < disk->queues_used; i++) {
        char prefix[16] = "";
        if (disk->queues_used > 1) {
            format(prefix, sizeof(prefix), "queue-%u/", i);
        }
        publish_queue(disk->queues[i], prefix);
    }
}

static const char *offer(struct xenbus_device *bus)
{
    struct blkfront *disk = disk_of(bus);
    unsigned order = backend_choice(disk, "max-ring-page-order", 0, RING_ORDER_MAX);
    unsigned count = backend_choice(disk, "multi-queue-max-queues", 1, hal_cpu_count());
    int error = 0;
    if (disk->queue_count == 0) { /* the first back end decides how many there are */
        disk->queue_count = count;
        for (unsigned i = 0; error == 0 && i < count; i++) {
            error = new_queue(disk, i);
        }
    }
    __atomic_store_n(&disk->queues_used, count < disk->queue_count ? count : disk->queue_count,
                     __ATOMIC_RELEASE);
    disk->ring_order = order;
    for (unsigned i = 0; error == 0 && i < disk->queue_count; i++) {
        if (i < disk->queues_used) {
            error = open_queue(disk->queues[i]);
        } else {
            give_up_queue(disk->queues[i]);
        }
    }
    if (error == 0) {
        error = front_end_publish(bus, publish, XENBUS_INITIALISED);
    }
    return error != 0 ? "no rings for the back end" : NULL;
}

/* What the back end says of the disk: false when it cannot be. */
static bool read_properties(const struct blkfront *disk, struct blockdev *out)
{
    const struct xenbus_device *bus = &disk->bus;
    unsigned segments = backend_choice(disk, "feature-max-indirect-segments", 0, PAGES_MAX);
    out->operations = &operations;
    out->sector_count = xenbus_backend_number(bus, "sectors", UINT64_MAX >> 9, 0);
    out->block_size = (uint32_t)xenbus_backend_number(bus, "sector-size", PAGE_SIZE, SECTOR_SIZE);
    out->read_only = (xenbus_backend_number(bus, "info", UINT32_MAX, 0) & VDISK_READONLY) != 0;
    out->can_flush = xenbus_backend_number(bus, "feature-flush-cache", 1, 0) != 0;
    out->discard_max = xenbus_backend_number(bus, "feature-discard", 1, 0) != 0 ? UINT32_MAX : 0;
    segments = segments < BLKIF_DIRECT_SEGMENTS ? BLKIF_DIRECT_SEGMENTS : segments;
    out->segment_max = segments;
    out->request_max = (uint32_t)(segments * PAGE_SIZE);
    return out->sector_count != 0 && out->block_size >= SECTOR_SIZE &&
           (out->block_size & (out->block_size - 1)) == 0;
}

static void resize(struct blockdev *device, uint64_t sector_count)
{
    if (__atomic_exchange_n(&device->sector_count, sector_count, __ATOMIC_ACQ_REL) !=
        sector_count) {
        core_blockdev_changed(device);
    }
}

static const char *start(struct xenbus_device *bus)
{
    struct blkfront *disk = disk_of(bus);
    struct blockdev now = disk->device;
    if (!read_properties(disk, &now)) {
        return "this is no disk";
    }
    if (!bus->found) {
        disk->device = now;
    } else if (now.block_size != disk->device.block_size ||
               now.request_max < disk->device.request_max ||
               (now.read_only && !disk->device.read_only)) {
        return "the new back end offers less than the one before";
    }
    xenbus_write_number(bus, "state", XENBUS_CONNECTED);
    for (unsigned i = 0; i < disk->queues_used; i++) {
        struct queue *queue = disk->queues[i];
        bool irq = spin_lock_irqsave(&queue->lock);
        queue->running = queue->open = !is_gone(disk);
        spin_unlock_irqrestore(&queue->lock, irq);
        completed(queue); /* starts what waits */
    }
    if (!bus->found) {
        core_blockdev_found(&disk->device);
    } else {
        resize(&disk->device, now.sector_count);
    }
    return NULL;
}

static bool any_in_flight(struct blkfront *disk)
{
    bool any = false;
    for (unsigned i = 0; i < disk->queue_count; i++) {
        struct queue *queue = disk->queues[i];
        bool irq = spin_lock_irqsave(&queue->lock);
        any = any || in_flight(queue);
        spin_unlock_irqrestore(&queue->lock, irq);
    }
    return any;
}

/* Waits for what is in flight: Linux's back end keeps the pages of what it still works on. */
static void drain(struct blkfront *disk)
{
    uint64_t deadline = hal_clock_monotonic() + DRAIN_NS;
    __atomic_store_n(&disk->drainer, current_thread(), __ATOMIC_SEQ_CST);
    thread_prepare_sleep(THREAD_SLEEPING);
    while (any_in_flight(disk) && thread_sleep(deadline) != -ETIMEDOUT) {
        thread_prepare_sleep(THREAD_SLEEPING);
    }
    thread_cancel_sleep();
    __atomic_store_n(&disk->drainer, NULL, __ATOMIC_RELEASE);
}

static void stop(struct xenbus_device *bus, bool answered)
{
    struct blkfront *disk = disk_of(bus);
    for (unsigned i = 0; i < disk->queue_count; i++) {
        struct queue *queue = disk->queues[i];
        bool irq = spin_lock_irqsave(&queue->lock);
        queue->open = false;
        spin_unlock_irqrestore(&queue->lock, irq);
    }
    if (answered) {
        drain(disk);
    }
    for (unsigned i = 0; i < disk->queue_count; i++) {
        struct queue *queue = disk->queues[i];
        bool irq = spin_lock_irqsave(&queue->lock);
        queue->running = false;
        spin_unlock_irqrestore(&queue->lock, irq);
        while (__atomic_load_n(&queue->handlers, __ATOMIC_ACQUIRE) != 0) {
            hal_spin_hint();
        }
    }
}

static bool take_back(struct xenbus_device *bus)
{
    struct blkfront *disk = disk_of(bus);
    bool all = true;
    for (unsigned i = 0; i < disk->queues_used; i++) {
        all = close_queue(disk->queues[i]) && all;
    }
    return all;
}

static void lost(struct xenbus_device *bus)
{
    fail_all(disk_of(bus));
}

static const struct xenbus_front_end front_end = {
    .offer = offer, .start = start, .stop = stop, .take_back = take_back, .lost = lost};

int blkfront_connect(const struct xenbus_device *bus)
{
    uint64_t number;
    struct blkfront *disk = kzalloc(sizeof(*disk));
    if (disk == NULL) {
        return -ENOMEM;
    }
    disk->bus = *bus;
    char path[XENBUS_PATH_MAX + 24];
    format(path, sizeof(path), "%s/virtual-device", bus->path);
    int error = xenstore_read_number(path, UINT32_MAX, &number);
    if (error == 0) {
        error = name_disk(disk, number);
    }
    if (error != 0) {
        kfree(disk);
        return error;
    }
    /* Whatever comes of it, the structure stays: a back end may have the rings. */
    return front_end_connect(&disk->bus, &front_end);
}
