/* SPDX-License-Identifier: MIT */
/* Disks: the front end of Xen's block protocol (xen/include/public/io/blkif.h). A ring of one page;
 * each of its slots has its own grant references, used again for each request, and with
 * feature-max-indirect-segments a page for the list of segments. What the back end writes is copied
 * and checked: a response to a request that is not in flight, or an index beyond the ring, closes
 * the device. `lock` guards the ring, the slots and the queue. */
#include <linux/errno.h>

#include "blockdev.h"
#include "core/lib/log.h"
#include "core/lib/spinlock.h"
#include "core/lib/string.h"
#include "core/mm/kmalloc.h"
#include "core/mm/page.h"
#include "grant.h"
#include "xen_internal.h"
#include "xenbus.h"
#include "xenstore.h"

#define SLOTS 32
#define PIECES_MAX 32 /* pages or parts of pages in a request, with an indirect list */
#define NO_SLOT SLOTS

struct ring {
    struct ring_header header;
    union blkif_request entries[SLOTS];
};
_Static_assert(sizeof(struct ring) <= PAGE_SIZE, "one page");

struct slot {
    struct block_request *request; /* NULL: free */
    unsigned piece_count;
    uint32_t grants[PIECES_MAX];
    uint32_t list_grant;
    struct blkif_segment *list; /* NULL: no indirect requests */
};

struct blkfront {
    struct blockdev device; /* first */
    struct xenbus_device bus;
    struct spinlock lock;
    struct ring *ring;
    uint32_t req_prod, rsp_cons; /* ours, whatever the page says */
    uint32_t port;
    uint16_t handle;
    bool connected, gone;
    unsigned pieces_max;
    struct list waiting; /* requests that found no slot */
    struct slot slots[SLOTS];
};

static unsigned free_slot(const struct blkfront *disk)
{
    unsigned i = 0;
    while (i < SLOTS && disk->slots[i].request != NULL) {
        i++;
    }
    return i;
}

/* Grants the pages of a request: the segments of the protocol, a page or a part of one each. */
static void fill_pieces(struct blkfront *disk, struct slot *slot, struct blkif_segment *out)
{
    const struct block_request *request = slot->request;
    slot->piece_count = 0;
    for (unsigned i = 0; i < request->segment_count; i++) {
        uintptr_t at = (uintptr_t)request->segments[i].data;
        uintptr_t end = at + request->segments[i].length;
        while (at < end) {
            uintptr_t page = at & ~(PAGE_SIZE - 1);
            uintptr_t stop = end < page + PAGE_SIZE ? end : page + PAGE_SIZE;
            uint32_t grant = slot->grants[slot->piece_count];
            grant_give(grant, disk->bus.backend_domain, (const void *)page,
                       request->operation == BLOCK_WRITE);
            out[slot->piece_count++] = (struct blkif_segment){
                .grant = grant,
                .first_sector = (uint8_t)((at - page) >> SECTOR_SHIFT),
                .last_sector = (uint8_t)((stop - page - 1) >> SECTOR_SHIFT),
            };
            at = stop;
        }
    }
}

static unsigned count_pieces(const struct block_request *request)
{
    unsigned count = 0;
    for (unsigned i = 0; i < request->segment_count; i++) {
        uintptr_t at = (uintptr_t)request->segments[i].data;
        count +=
            (unsigned)(((at & (PAGE_SIZE - 1)) + request->segments[i].length + PAGE_SIZE - 1) >>
                       PAGE_SHIFT);
    }
    return count;
}

/* Puts a request into a free slot and the ring. */
static void start(struct blkfront *disk, unsigned index, struct block_request *request)
{
    struct slot *slot = &disk->slots[index];
    union blkif_request *entry = &disk->ring->entries[disk->req_prod % SLOTS];
    slot->request = request;
    slot->piece_count = 0;
    memset(entry, 0, sizeof(*entry));
    entry->direct.id = index;
    entry->direct.handle = disk->handle;
    entry->direct.sector = request->sector;
    switch (request->operation) {
    case BLOCK_FLUSH:
        entry->direct.operation = BLKIF_FLUSH;
        break;
    case BLOCK_DISCARD:
        entry->discard.operation = BLKIF_DISCARD;
        entry->discard.sector_count = request->sector_count;
        break;
    default: {
        uint8_t operation = request->operation == BLOCK_READ ? BLKIF_READ : BLKIF_WRITE;
        if (count_pieces(request) <= BLKIF_DIRECT_SEGMENTS) {
            entry->direct.operation = operation;
            fill_pieces(disk, slot, entry->direct.segments);
            entry->direct.segment_count = (uint8_t)slot->piece_count;
        } else {
            entry->indirect.operation = BLKIF_INDIRECT;
            entry->indirect.indirect_operation = operation;
            entry->indirect.handle = disk->handle;
            fill_pieces(disk, slot, slot->list);
            entry->indirect.segment_count = (uint16_t)slot->piece_count;
            entry->indirect.grants[0] = slot->list_grant;
        }
    }
    }
    disk->req_prod++;
}

/* Makes the new requests visible, and tells the back end if it waits for one of them. */
static void push(struct blkfront *disk, uint32_t before)
{
    struct ring_header *header = &disk->ring->header;
    __atomic_store_n(&header->req_prod, disk->req_prod, __ATOMIC_SEQ_CST);
    uint32_t event = __atomic_load_n(&header->req_event, __ATOMIC_SEQ_CST);
    if (disk->req_prod - event < disk->req_prod - before) {
        event_send(disk->port);
    }
}

static void submit(struct blockdev *device, struct block_request *request)
{
    struct blkfront *disk = (struct blkfront *)device;
    bool irq = spin_lock_irqsave(&disk->lock);
    bool gone = disk->gone;
    if (!gone) {
        unsigned slot = free_slot(disk);
        uint32_t before = disk->req_prod;
        if (slot == NO_SLOT) {
            list_push_back(&disk->waiting, &request->node);
        } else {
            start(disk, slot, request);
            push(disk, before);
        }
    }
    spin_unlock_irqrestore(&disk->lock, irq);
    if (gone) {
        request->done(request, -ENODEV);
    }
}

/* Takes the pages of a request back: false when the back end holds on to one. */
static bool end_slot(struct slot *slot)
{
    bool all = true;
    for (unsigned i = 0; i < slot->piece_count; i++) {
        all = grant_take_back(slot->grants[i]) && all;
    }
    slot->request = NULL;
    return all;
}

/* The device is gone for good; all its requests fail. */
static void close(struct blkfront *disk, const char *why)
{
    struct list failed;
    list_init(&failed);
    bool irq = spin_lock_irqsave(&disk->lock);
    bool already = disk->gone;
    disk->gone = true;
    for (unsigned i = 0; i < SLOTS; i++) {
        struct block_request *request = disk->slots[i].request;
        if (request != NULL) {
            end_slot(&disk->slots[i]);
            list_push_back(&failed, &request->node);
        }
    }
    while (!list_empty(&disk->waiting)) {
        list_push_back(&failed, list_pop_front(&disk->waiting));
    }
    spin_unlock_irqrestore(&disk->lock, irq);
    while (!list_empty(&failed)) {
        struct block_request *request =
            list_entry(list_pop_front(&failed), struct block_request, node);
        request->done(request, -ENODEV);
    }
    if (!already) {
        log_error("%s: %s", disk->device.name, why);
        __atomic_store_n(&disk->device.sector_count, 0, __ATOMIC_RELEASE);
        core_blockdev_changed(&disk->device);
    }
}

/* Takes one response: the request it is for, or NULL when there is none; `*damage` says why the
 * device has to be closed. The lock is held. */
static struct block_request *take_response(struct blkfront *disk, int *error, const char **damage)
{
    struct ring_header *header = &disk->ring->header;
    uint32_t ready = __atomic_load_n(&header->rsp_prod, __ATOMIC_ACQUIRE) - disk->rsp_cons;
    if (ready == 0) {
        return NULL;
    }
    if (ready > disk->req_prod - disk->rsp_cons) {
        *damage = "the back end's index is beyond the ring";
        return NULL;
    }
    struct blkif_response response = disk->ring->entries[disk->rsp_cons++ % SLOTS].response;
    struct block_request *request = response.id < SLOTS ? disk->slots[response.id].request : NULL;
    if (request == NULL) {
        *damage = "the back end answers what was not asked";
        return NULL;
    }
    *error = response.status == BLKIF_OKAY          ? 0
             : response.status == BLKIF_UNSUPPORTED ? -EOPNOTSUPP
                                                    : -EIO;
    if (!end_slot(&disk->slots[response.id])) {
        *damage = "the back end keeps a page";
        *error = -EIO;
    }
    return request;
}

static void start_waiting(struct blkfront *disk)
{
    uint32_t before = disk->req_prod;
    unsigned slot;
    while (!list_empty(&disk->waiting) && (slot = free_slot(disk)) != NO_SLOT) {
        start(disk, slot, list_entry(list_pop_front(&disk->waiting), struct block_request, node));
    }
    if (disk->req_prod != before) {
        push(disk, before);
    }
}

/* From the back end's event. */
static void completed(void *context)
{
    struct blkfront *disk = context;
    const char *damage = NULL;
    bool more = !disk->gone;
    while (more && damage == NULL) {
        int error = 0;
        bool irq = spin_lock_irqsave(&disk->lock);
        struct block_request *request = take_response(disk, &error, &damage);
        if (request == NULL && damage == NULL) {
            /* Wants an event for the next one, and looks once more. */
            __atomic_store_n(&disk->ring->header.rsp_event, disk->rsp_cons + 1, __ATOMIC_SEQ_CST);
            request = take_response(disk, &error, &damage);
        }
        more = request != NULL;
        if (damage == NULL) {
            start_waiting(disk);
        }
        spin_unlock_irqrestore(&disk->lock, irq);
        if (request != NULL) {
            request->done(request, error);
        }
    }
    if (damage != NULL) {
        close(disk, damage);
    }
}

static void backend_changed(void *context)
{
    struct blkfront *disk = context;
    uint64_t state = xenbus_backend_number(&disk->bus, "state", XENBUS_CLOSED, XENBUS_CLOSED);
    if (disk->connected && state >= XENBUS_CLOSING && !disk->gone) {
        close(disk, "the back end has left");
        xenbus_write_number(&disk->bus, "state", XENBUS_CLOSED);
    }
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

static int alloc_slots(struct blkfront *disk)
{
    for (unsigned i = 0; i < SLOTS; i++) {
        struct slot *slot = &disk->slots[i];
        for (unsigned piece = 0; piece < disk->pieces_max; piece++) {
            int error = grant_alloc(&slot->grants[piece]);
            if (error != 0) {
                return error;
            }
        }
        if (disk->pieces_max > BLKIF_DIRECT_SEGMENTS) {
            uint64_t page = page_alloc(0, PAGE_ZERO);
            if (page == 0 || grant_alloc(&slot->list_grant) != 0) {
                return -ENOMEM;
            }
            slot->list = direct_map(page);
            grant_give(slot->list_grant, disk->bus.backend_domain, slot->list, true);
        }
    }
    return 0;
}

static int offer_ring(struct blkfront *disk)
{
    uint32_t reference;
    uint64_t page = page_alloc(0, PAGE_ZERO);
    int error = page == 0 ? -ENOMEM : grant_alloc(&reference);
    if (error == 0) {
        disk->ring = direct_map(page);
        disk->ring->header.req_event = disk->ring->header.rsp_event = 1;
        grant_give(reference, disk->bus.backend_domain, disk->ring, false);
        error = xenbus_alloc_channel(&disk->bus, &disk->port);
    }
    if (error == 0) {
        error = event_bind(disk->port, 0, completed, disk);
    }
    do {
        if (error == 0 || error == -EAGAIN) {
            error = xenstore_transaction_begin();
        }
        if (error == 0) {
            xenbus_write_number(&disk->bus, "ring-ref", reference);
            xenbus_write_number(&disk->bus, "event-channel", disk->port);
            xenbus_write(&disk->bus, "protocol", "x86_64-abi");
            xenbus_write_number(&disk->bus, "state", XENBUS_INITIALISED);
            error = xenstore_transaction_end();
        }
    } while (error == -EAGAIN);
    return error;
}

/* What the back end says of the disk. */
static int read_properties(struct blkfront *disk)
{
    struct blockdev *device = &disk->device;
    device->operations = &operations;
    device->sector_count = xenbus_backend_number(&disk->bus, "sectors", UINT64_MAX >> 9, 0);
    device->block_size =
        (uint32_t)xenbus_backend_number(&disk->bus, "sector-size", PAGE_SIZE, SECTOR_SIZE);
    if (device->sector_count == 0 || device->block_size < SECTOR_SIZE ||
        (device->block_size & (device->block_size - 1)) != 0) {
        return -EINVAL;
    }
    device->read_only =
        (xenbus_backend_number(&disk->bus, "info", UINT32_MAX, 0) & VDISK_READONLY) != 0;
    device->can_flush = xenbus_backend_number(&disk->bus, "feature-flush-cache", 1, 0) != 0;
    device->discard_max =
        xenbus_backend_number(&disk->bus, "feature-discard", 1, 0) != 0 ? UINT32_MAX : 0;
    /* A segment has a piece more than its pages where it does not begin with one. */
    device->segment_max = disk->pieces_max / 2;
    device->request_max = (uint32_t)(disk->pieces_max / 2 * PAGE_SIZE);
    return 0;
}

int blkfront_connect(const struct xenbus_device *bus)
{
    uint64_t number = 0;
    struct blkfront *disk = kzalloc(sizeof(*disk));
    if (disk == NULL) {
        return -ENOMEM;
    }
    disk->bus = *bus;
    spinlock_init(&disk->lock, LOCK_CLASS_NONE);
    list_init(&disk->waiting);
    char path[XENBUS_PATH_MAX + 24];
    format(path, sizeof(path), "%s/virtual-device", bus->path);
    int error = xenstore_read_number(path, UINT32_MAX, &number);
    if (error == 0) {
        error = name_disk(disk, number);
    }
    if (error == 0) {
        error = xenbus_watch_backend(bus, backend_changed, disk);
    }
    if (error == 0 && !xenbus_wait_backend(bus, XENBUS_INIT_WAIT)) {
        error = -ETIMEDOUT;
    }
    bool indirect = error == 0 && xenbus_backend_number(bus, "feature-max-indirect-segments",
                                                        UINT16_MAX, 0) >= PIECES_MAX;
    disk->pieces_max = indirect ? PIECES_MAX : BLKIF_DIRECT_SEGMENTS;
    if (error == 0) {
        error = alloc_slots(disk);
    }
    if (error == 0) {
        error = offer_ring(disk);
    }
    if (error == 0 && !xenbus_wait_backend(bus, XENBUS_CONNECTED)) {
        error = -ETIMEDOUT;
    }
    if (error == 0) {
        error = read_properties(disk);
    }
    if (error != 0) {
        return error; /* the structure stays: the back end may have the ring */
    }
    xenbus_write_number(bus, "state", XENBUS_CONNECTED);
    disk->connected = true;
    core_blockdev_found(&disk->device);
    return 0;
}
