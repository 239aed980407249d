/* SPDX-License-Identifier: MIT */
/* Network interfaces: the front end of Xen's network protocol (xen/include/public/io/netif.h), with
 * a pair of rings for each queue. Grant references are used again and again. A frame to be sent is
 * copied into pages that stay granted; a page in which a frame was received is taken back before
 * core sees it, so what core reads cannot change, and is granted anew when core has given it back.
 * Transmit and flush have one caller at a time for each queue, poll and enable_interrupt another;
 * rx_lock guards the pages that core gives back, tx_lock what poll and transmit share. What the
 * back end writes is copied and checked; what no back end may write closes the device.
 *
 * A back end that leaves takes the link with it, and one that comes brings it back (front_end.c).
 * The rings change only while `gone` is set and nobody is in the queue's operations (`users`). */
#include <linux/errno.h>

#include "core/lib/log.h"
#include "core/lib/spinlock.h"
#include "core/lib/string.h"
#include "core/mm/kmalloc.h"
#include "core/mm/page.h"
#include "grant.h"
#include "netdev.h"
#include "xen_internal.h"
#include "xenbus.h"
#include "xenstore.h"

#define SLOTS 256
#define RX_POSTED 96 /* pages that wait for frames; the largest frame needs 17 */
#define RX_PIECES_MAX 20
#define FRAME_MAX 65535 /* the protocol's sizes have 16 bits */
#define MTU_MAX 65521
#define MTU_DEFAULT 1500
#define NO_SLOT SLOTS

#define TX_CSUM_BLANK 1
#define TX_DATA_VALIDATED 2
#define TX_MORE_DATA 4
#define TX_EXTRA_INFO 8
#define RX_DATA_VALIDATED 1
#define RX_CSUM_BLANK 2
#define RX_MORE_DATA 4
#define RX_EXTRA_INFO 8
#define EXTRA_GSO 1
#define EXTRA_FLAG_MORE 1
#define GSO_TCPV4 1
#define GSO_TCPV6 2
#define RSP_NULL 1 /* answers an extra information, which is no request */

struct extra_info {
    uint8_t type, flags;
    uint16_t gso_size;
    uint8_t gso_type, gso_pad;
    uint16_t gso_features;
};

union tx_entry {
    struct {
        uint32_t grant;
        uint16_t offset, flags, id, size;
    } request;
    struct extra_info extra;
    struct tx_response {
        uint16_t id;
        int16_t status;
    } response;
};
_Static_assert(sizeof(union tx_entry) == 12, "union tx_entry");

union rx_entry {
    struct {
        uint16_t id, pad;
        uint32_t grant;
    } request;
    struct rx_response {
        uint16_t id, offset, flags;
        int16_t status; /* bytes, or an error */
    } response;
    struct extra_info extra;
};
_Static_assert(sizeof(union rx_entry) == 8, "union rx_entry");

struct tx_ring {
    struct ring_header header;
    union tx_entry entries[SLOTS];
};

struct rx_ring {
    struct ring_header header;
    union rx_entry entries[SLOTS];
};

struct netfront_queue;

struct rx_buffer {
    struct net_buffer net; /* first */
    struct netfront_queue *queue;
    struct rx_buffer *next; /* in `returned` */
    void *page;
    uint32_t grant;
};

struct tx_slot {
    bool used;
    void *token; /* told to core when the frame's first piece has been answered; NULL: none */
    void *page;  /* NULL: not needed so far */
    bool granted;
    uint32_t grant; /* of the page, as long as there is a back end */
    uint16_t next_free;
};

struct netfront_queue {
    struct netfront *net;
    unsigned index;
    bool open;      /* a back end has the rings, or is offered them; changes as these do */
    unsigned users; /* callers in the operations; atomic */
    uint32_t port;
    uint32_t tx_grant, rx_grant; /* of the rings */
    struct tx_ring *tx;
    uint32_t tx_prod, tx_pushed, tx_cons;
    bool starved; /* there was no room: atomic, cleared by poll */
    struct spinlock tx_lock;
    uint16_t tx_free; /* the first free slot; NO_SLOT: none */
    unsigned tx_free_count;
    struct tx_slot tx_slots[SLOTS];
    void *lost[SLOTS]; /* tokens of frames that a back end took with it, to be told by poll */
    unsigned lost_count;
    struct rx_ring *rx;
    uint32_t rx_prod, rx_cons;
    struct rx_buffer *rx_buffers[SLOTS]; /* in the ring's entry of the same index */
    struct spinlock rx_lock;
    struct rx_buffer *returned;
    unsigned rx_count; /* buffers that exist */
};

struct netfront {
    struct netdev device; /* first */
    struct xenbus_device bus;
    bool gone; /* nothing can be sent or received; atomic */
    struct netfront_queue *queues[HAL_MAX_CPUS];
};

static struct netfront_queue *queue_of(struct netdev *device, unsigned index)
{
    return ((struct netfront *)device)->queues[index];
}

static struct netfront *net_of(struct xenbus_device *bus)
{
    return container_of(bus, struct netfront, bus);
}

/* False: it was so already. */
static bool set_gone(struct netfront *net)
{
    if (__atomic_exchange_n(&net->gone, true, __ATOMIC_SEQ_CST)) {
        return false;
    }
    __atomic_store_n(&net->device.link_up, false, __ATOMIC_RELEASE);
    core_net_link_changed(&net->device);
    return true;
}

/* From now on nothing is sent or received, whatever back end comes. */
static void close(struct netfront *net, const char *why)
{
    front_end_break(&net->bus);
    if (set_gone(net)) {
        log_error("%s: %s", net->device.name, why);
    }
}

static bool is_gone(const struct netfront *net)
{
    return __atomic_load_n(&net->gone, __ATOMIC_SEQ_CST);
}

/* Begins one of the queue's operations, which `leave` ends: false when there is no back end or it
 * does not use the queue, and the rings must not be looked at. */
static bool enter(struct netfront_queue *queue)
{
    __atomic_fetch_add(&queue->users, 1, __ATOMIC_SEQ_CST);
    return !is_gone(queue->net) && queue->open;
}

static void leave(struct netfront_queue *queue)
{
    __atomic_fetch_sub(&queue->users, 1, __ATOMIC_RELEASE);
}

static void count(uint64_t *counter, uint64_t amount)
{
    __atomic_fetch_add(counter, amount, __ATOMIC_RELAXED);
}

/* Makes requests up to `prod` visible: whether the back end wants to be told. */
static bool push(struct ring_header *header, uint32_t prod, uint32_t before)
{
    __atomic_store_n(&header->req_prod, prod, __ATOMIC_SEQ_CST);
    uint32_t event = __atomic_load_n(&header->req_event, __ATOMIC_SEQ_CST);
    return prod - event < prod - before;
}

/* --- transmit --------------------------------------------------------------------------------- */

/* A free slot with a page, or NO_SLOT. tx_lock is held. */
static unsigned take_tx_slot(struct netfront_queue *queue)
{
    unsigned index = queue->tx_free;
    if (index == NO_SLOT) {
        return NO_SLOT;
    }
    struct tx_slot *slot = &queue->tx_slots[index];
    if (slot->page == NULL) {
        uint64_t page = page_alloc(0, 0);
        if (page == 0 || grant_alloc(&slot->grant) != 0) {
            if (page != 0) {
                page_free(page, 0);
            }
            return NO_SLOT;
        }
        slot->page = direct_map(page);
    }
    if (!slot->granted) {
        slot->granted = true;
        grant_give(slot->grant, queue->net->bus.backend_domain, slot->page, true);
    }
    queue->tx_free = slot->next_free;
    queue->tx_free_count--;
    slot->used = true;
    slot->token = NULL;
    return index;
}

static void free_tx_slot(struct netfront_queue *queue, unsigned index)
{
    queue->tx_slots[index].used = false;
    queue->tx_slots[index].next_free = queue->tx_free;
    queue->tx_free = (uint16_t)index;
    queue->tx_free_count++;
}

/* Copies up to a page of the frame from where `*segment` and `*done` say; moves them on. */
static uint16_t copy_piece(char *to, const struct net_segment *segments, unsigned count,
                           unsigned *segment, uint32_t *done)
{
    uint32_t size = 0;
    while (size < PAGE_SIZE && *segment < count) {
        uint32_t left = segments[*segment].length - *done;
        uint32_t chunk = left < PAGE_SIZE - size ? left : (uint32_t)PAGE_SIZE - size;
        memcpy(to + size, (const char *)segments[*segment].data + *done, chunk);
        size += chunk;
        *done += chunk;
        if (*done == segments[*segment].length) {
            (*segment)++;
            *done = 0;
        }
    }
    return (uint16_t)size;
}

static void put_gso(struct netfront_queue *queue, const struct net_offload *offload)
{
    queue->tx->entries[queue->tx_prod++ % SLOTS].extra = (struct extra_info){
        .type = EXTRA_GSO,
        .gso_size = offload->segment_size,
        .gso_type = offload->segment_version == 4 ? GSO_TCPV4 : GSO_TCPV6,
    };
}

/* The slots of a frame, chained; NO_SLOT and nothing taken when there are too few. */
static bool take_tx_slots(struct netfront_queue *queue, uint16_t *slots, unsigned pieces)
{
    unsigned taken = 0;
    while (taken < pieces) {
        unsigned slot = take_tx_slot(queue);
        if (slot == NO_SLOT) {
            while (taken != 0) {
                free_tx_slot(queue, slots[--taken]);
            }
            return false;
        }
        slots[taken++] = (uint16_t)slot;
    }
    return true;
}

static int put_frame(struct netfront_queue *queue, const struct net_segment *segments,
                     unsigned segment_count, const struct net_offload *offload, void *token)
{
    uint32_t size = 0;
    for (unsigned i = 0; i < segment_count; i++) {
        size += segments[i].length;
    }
    unsigned pieces = (size + (unsigned)PAGE_SIZE - 1) / (unsigned)PAGE_SIZE;
    bool gso = offload->segment_version != 0;
    uint16_t slots[FRAME_MAX / PAGE_SIZE + 1];
    if (size == 0 || size > FRAME_MAX) {
        return -EMSGSIZE;
    }
    bool irq = spin_lock_irqsave(&queue->tx_lock);
    /* An extra information takes an entry of the ring, but no slot. */
    bool room = queue->tx_prod - queue->tx_cons + pieces + gso <= SLOTS &&
                take_tx_slots(queue, slots, pieces);
    if (room) {
        queue->tx_slots[slots[0]].token = token;
    }
    spin_unlock_irqrestore(&queue->tx_lock, irq);
    if (!room) {
        return -ENOBUFS;
    }
    unsigned segment = 0;
    uint32_t done = 0;
    for (unsigned i = 0; i < pieces; i++) {
        const struct tx_slot *slot = &queue->tx_slots[slots[i]];
        uint16_t length = copy_piece(slot->page, segments, segment_count, &segment, &done);
        uint16_t flags = i + 1 < pieces ? TX_MORE_DATA : 0;
        if (i == 0 && offload->checksum == NET_CHECKSUM_PARTIAL) {
            flags |= TX_CSUM_BLANK | TX_DATA_VALIDATED;
        }
        if (i == 0 && gso) {
            flags |= TX_EXTRA_INFO;
        }
        union tx_entry *entry = &queue->tx->entries[queue->tx_prod++ % SLOTS];
        entry->request.grant = slot->grant;
        entry->request.offset = 0;
        entry->request.flags = flags;
        entry->request.id = slots[i];
        entry->request.size = i == 0 ? (uint16_t)size : length;
        if (i == 0 && gso) {
            put_gso(queue, offload);
        }
    }
    count(&queue->net->device.statistics.tx_frames, 1);
    count(&queue->net->device.statistics.tx_bytes, size);
    return 0;
}

static int transmit(struct netdev *device, unsigned index, const struct net_segment *segments,
                    unsigned segment_count, const struct net_offload *offload, void *token)
{
    struct netfront_queue *queue = queue_of(device, index);
    int error = -ENODEV;
    if (enter(queue)) {
        error = put_frame(queue, segments, segment_count, offload, token);
    }
    leave(queue);
    /* The next enable_interrupt asks for one when there is room: somebody has to call it. */
    if (error == -ENOBUFS && !__atomic_exchange_n(&queue->starved, true, __ATOMIC_SEQ_CST)) {
        core_net_interrupt(device, index);
    }
    return error;
}

static void flush(struct netdev *device, unsigned index)
{
    struct netfront_queue *queue = queue_of(device, index);
    if (enter(queue) && queue->tx_prod != queue->tx_pushed) {
        uint32_t before = queue->tx_pushed;
        queue->tx_pushed = queue->tx_prod;
        if (push(&queue->tx->header, queue->tx_prod, before)) {
            event_send(queue->port);
        }
    }
    leave(queue);
}

/* Tells core of the frames that a back end took with it. */
static void return_lost(struct netfront_queue *queue)
{
    for (void *token = queue; token != NULL;) {
        bool irq = spin_lock_irqsave(&queue->tx_lock);
        token = queue->lost_count != 0 ? queue->lost[--queue->lost_count] : NULL;
        spin_unlock_irqrestore(&queue->tx_lock, irq);
        if (token != NULL) {
            core_net_transmitted(&queue->net->device, token);
        }
    }
}

/* Tells core of the frames that are sent. */
static void reclaim(struct netfront_queue *queue)
{
    struct netfront *net = queue->net;
    uint32_t ready = __atomic_load_n(&queue->tx->header.rsp_prod, __ATOMIC_ACQUIRE);
    if (ready - queue->tx_cons >
        __atomic_load_n(&queue->tx_pushed, __ATOMIC_RELAXED) - queue->tx_cons) {
        close(net, "the back end's index is beyond the transmit ring");
        return;
    }
    if (queue->tx_cons != ready) {
        __atomic_store_n(&queue->starved, false, __ATOMIC_RELAXED);
    }
    while (queue->tx_cons != ready) {
        struct tx_response response = queue->tx->entries[queue->tx_cons % SLOTS].response;
        void *token = NULL;
        bool good = response.status == RSP_NULL;
        bool irq = spin_lock_irqsave(&queue->tx_lock);
        if (!good && response.id < SLOTS && queue->tx_slots[response.id].used) {
            good = true;
            token = queue->tx_slots[response.id].token;
            free_tx_slot(queue, response.id);
        }
        queue->tx_cons++;
        spin_unlock_irqrestore(&queue->tx_lock, irq);
        if (!good) {
            close(net, "the back end answers what was not sent");
            return;
        }
        if (token != NULL) {
            core_net_transmitted(&net->device, token);
        }
    }
}

/* --- receive ---------------------------------------------------------------------------------- */

static void give_back(struct rx_buffer *buffer)
{
    struct netfront_queue *queue = buffer->queue;
    bool irq = spin_lock_irqsave(&queue->rx_lock);
    buffer->next = queue->returned;
    queue->returned = buffer;
    spin_unlock_irqrestore(&queue->rx_lock, irq);
}

static void release(struct net_buffer *buffer)
{
    give_back((struct rx_buffer *)buffer);
}

static struct rx_buffer *new_buffer(struct netfront_queue *queue)
{
    struct rx_buffer *buffer = kzalloc(sizeof(*buffer));
    uint64_t page = buffer != NULL ? page_alloc(0, 0) : 0;
    if (page == 0 || grant_alloc(&buffer->grant) != 0) {
        if (page != 0) {
            page_free(page, 0);
        }
        kfree(buffer);
        return NULL;
    }
    buffer->queue = queue;
    buffer->page = direct_map(page);
    buffer->net.release = release;
    return buffer;
}

/* Posts pages that core has given back, and new ones as long as there are few. */
static void refill(struct netfront_queue *queue)
{
    uint32_t before = queue->rx_prod;
    while (queue->rx_prod - queue->rx_cons < RX_POSTED) {
        bool irq = spin_lock_irqsave(&queue->rx_lock);
        struct rx_buffer *buffer = queue->returned;
        if (buffer != NULL) {
            queue->returned = buffer->next;
        }
        spin_unlock_irqrestore(&queue->rx_lock, irq);
        if (buffer == NULL && queue->rx_count < SLOTS * 4) {
            buffer = new_buffer(queue);
            queue->rx_count += buffer != NULL;
        }
        if (buffer == NULL) {
            break;
        }
        unsigned index = queue->rx_prod++ % SLOTS;
        grant_give(buffer->grant, queue->net->bus.backend_domain, buffer->page, false);
        queue->rx_buffers[index] = buffer;
        queue->rx->entries[index].request.id = (uint16_t)index;
        queue->rx->entries[index].request.grant = buffer->grant;
    }
    if (queue->rx_prod != before && push(&queue->rx->header, queue->rx_prod, before)) {
        event_send(queue->port);
    }
}

static void give_back_all(struct net_buffer *first)
{
    for (struct net_buffer *next; first != NULL; first = next) {
        next = first->next;
        give_back((struct rx_buffer *)first);
    }
}

/* Reads one entry: false when there is none before `ready`, as there would have to be. */
static bool next_response(struct netfront_queue *queue, uint32_t ready, union rx_entry *entry,
                          struct rx_buffer **buffer)
{
    if (queue->rx_cons == ready) {
        return false;
    }
    unsigned index = queue->rx_cons++ % SLOTS;
    *entry = queue->rx->entries[index];
    *buffer = queue->rx_buffers[index];
    queue->rx_buffers[index] = NULL;
    return *buffer != NULL;
}

/* The extra information that follows the first piece of a frame; its entry's page is posted anew.
 */
static bool read_extras(struct netfront_queue *queue, uint32_t ready, struct net_offload *offload)
{
    union rx_entry entry;
    struct rx_buffer *buffer;
    do {
        if (!next_response(queue, ready, &entry, &buffer)) {
            return false;
        }
        if (!grant_take_back(buffer->grant)) {
            return false;
        }
        give_back(buffer);
        if (entry.extra.type == EXTRA_GSO) {
            offload->segment_size = entry.extra.gso_size;
            offload->segment_version = entry.extra.gso_type == GSO_TCPV4 ? 4 : 6;
        }
    } while ((entry.extra.flags & EXTRA_FLAG_MORE) != 0);
    return true;
}

/* Takes one frame from the ring: 1, 0 when it was not good and has been dropped, or -EIO: the back
 * end broke the protocol. */
static int take_frame(struct netfront_queue *queue, uint32_t ready, struct net_buffer **first,
                      struct net_offload *offload)
{
    struct net_buffer **tail = first;
    bool good = true, more = true;
    *first = NULL;
    memset(offload, 0, sizeof(*offload));
    for (unsigned pieces = 0; more; pieces++) {
        union rx_entry entry;
        struct rx_buffer *buffer;
        if (pieces == RX_PIECES_MAX || !next_response(queue, ready, &entry, &buffer)) {
            give_back_all(*first);
            return -EIO;
        }
        struct rx_response response = entry.response;
        if (!grant_take_back(buffer->grant)) {
            give_back_all(*first);
            return -EIO; /* the page is lost: the back end still has it */
        }
        uint32_t size = response.status > 0 ? (uint32_t)response.status : 0;
        good = good && size != 0 && response.offset + size <= PAGE_SIZE;
        buffer->net.next = NULL;
        buffer->net.data = (char *)buffer->page + (good ? response.offset : 0);
        buffer->net.length = good ? size : 0;
        *tail = &buffer->net;
        tail = &buffer->net.next;
        if (pieces == 0) {
            if ((response.flags & RX_CSUM_BLANK) != 0) {
                offload->checksum = NET_CHECKSUM_PARTIAL;
            } else if ((response.flags & RX_DATA_VALIDATED) != 0) {
                offload->checksum = NET_CHECKSUM_GOOD;
            }
            if ((response.flags & RX_EXTRA_INFO) != 0 && !read_extras(queue, ready, offload)) {
                give_back_all(*first);
                return -EIO;
            }
        }
        more = (response.flags & RX_MORE_DATA) != 0;
    }
    if (!good) {
        give_back_all(*first);
    }
    return good;
}

/* Takes up to `budget` frames: their number. */
static unsigned receive(struct netfront_queue *queue, unsigned budget)
{
    struct netfront *net = queue->net;
    unsigned received = 0;
    uint32_t ready = __atomic_load_n(&queue->rx->header.rsp_prod, __ATOMIC_ACQUIRE);
    if (ready - queue->rx_cons > queue->rx_prod - queue->rx_cons) {
        close(net, "the back end's index is beyond the receive ring");
        return 0;
    }
    while (received < budget && queue->rx_cons != ready) {
        struct net_buffer *frame;
        struct net_offload offload;
        int result = take_frame(queue, ready, &frame, &offload);
        if (result < 0) {
            close(net, "the back end breaks the protocol of received frames");
            return received;
        }
        if (result == 0) {
            count(&net->device.statistics.rx_errors, 1);
            continue;
        }
        uint64_t size = 0;
        for (const struct net_buffer *piece = frame; piece != NULL; piece = piece->next) {
            size += piece->length;
        }
        count(&net->device.statistics.rx_frames, 1);
        count(&net->device.statistics.rx_bytes, size);
        core_net_receive(&net->device, frame, &offload);
        received++;
    }
    refill(queue);
    return received;
}

static unsigned poll(struct netdev *device, unsigned index, unsigned budget)
{
    struct netfront_queue *queue = queue_of(device, index);
    unsigned received = 0;
    return_lost(queue);
    if (enter(queue)) {
        reclaim(queue);
        received = is_gone(queue->net) ? 0 : receive(queue, budget);
    }
    leave(queue);
    return received;
}

static bool enable_interrupt(struct netdev *device, unsigned index)
{
    struct netfront_queue *queue = queue_of(device, index);
    bool nothing = true;
    if (enter(queue)) {
        struct ring_header *rx = &queue->rx->header, *tx = &queue->tx->header;
        uint32_t in_flight = __atomic_load_n(&queue->tx_pushed, __ATOMIC_RELAXED) - queue->tx_cons;
        /* Frames that are sent are reclaimed at the next poll, whatever calls for it, unless there
         * are many or somebody waits for room or the end. */
        uint32_t enough = __atomic_load_n(&queue->starved, __ATOMIC_SEQ_CST) ||
                                  __atomic_load_n(&device->draining, __ATOMIC_RELAXED)
                              ? in_flight / 2 + 1
                              : SLOTS / 2;
        __atomic_store_n(&rx->rsp_event, queue->rx_cons + 1, __ATOMIC_SEQ_CST);
        __atomic_store_n(&tx->rsp_event, queue->tx_cons + enough, __ATOMIC_SEQ_CST);
        uint32_t sent = __atomic_load_n(&tx->rsp_prod, __ATOMIC_SEQ_CST) - queue->tx_cons;
        nothing =
            __atomic_load_n(&rx->rsp_prod, __ATOMIC_SEQ_CST) == queue->rx_cons && sent < enough;
    }
    leave(queue);
    return nothing;
}

static void interrupt(void *context)
{
    struct netfront_queue *queue = context;
    core_net_interrupt(&queue->net->device, queue->index);
}

/* --- set-up ----------------------------------------------------------------------------------- */

static const struct netdev_operations operations = {
    .transmit = transmit,
    .flush = flush,
    .poll = poll,
    .enable_interrupt = enable_interrupt,
};

/* A page for a ring, and a reference that grants nothing yet. */
static void *new_ring(uint32_t *reference)
{
    uint64_t page = page_alloc(0, 0);
    if (page == 0 || grant_alloc(reference) != 0) {
        return NULL;
    }
    return direct_map(page);
}

static int new_queue(struct netfront *net, unsigned index)
{
    struct netfront_queue *queue = kzalloc(sizeof(*queue));
    if (queue == NULL) {
        return -ENOMEM;
    }
    net->queues[index] = queue;
    queue->net = net;
    queue->index = index;
    spinlock_init(&queue->tx_lock, LOCK_CLASS_NONE);
    spinlock_init(&queue->rx_lock, LOCK_CLASS_NONE);
    queue->tx = new_ring(&queue->tx_grant);
    queue->rx = new_ring(&queue->rx_grant);
    return queue->tx == NULL || queue->rx == NULL ? -ENOMEM : 0;
}

static void give_ring(const struct netfront *net, struct ring_header *header, uint32_t grant)
{
    memset(header, 0, PAGE_SIZE);
    header->req_event = header->rsp_event = 1;
    grant_give(grant, net->bus.backend_domain, header, false);
}

/* Empty rings with pages for what comes in, for a new back end. Nobody is in the operations. */
static int open_queue(struct netfront_queue *queue)
{
    struct netfront *net = queue->net;
    queue->open = true;
    give_ring(net, &queue->tx->header, queue->tx_grant);
    give_ring(net, &queue->rx->header, queue->rx_grant);
    queue->tx_prod = queue->tx_pushed = queue->tx_cons = 0;
    queue->starved = false;
    queue->rx_prod = queue->rx_cons = 0;
    queue->tx_free = NO_SLOT;
    queue->tx_free_count = 0;
    for (unsigned slot = SLOTS; slot-- > 0;) {
        free_tx_slot(queue, slot);
    }
    int error = xenbus_alloc_channel(&net->bus, &queue->port);
    if (error == 0) {
        error = event_bind(queue->port, queue->index, interrupt, queue);
    }
    if (error == 0) {
        refill(queue);
    }
    return error;
}

/* Takes back what the back end has: false when it keeps a page. Nobody is in the operations. */
static bool close_queue(struct netfront_queue *queue)
{
    bool all = grant_take_back(queue->tx_grant);
    all = grant_take_back(queue->rx_grant) && all;
    bool irq = spin_lock_irqsave(&queue->tx_lock);
    for (unsigned i = 0; i < SLOTS; i++) {
        struct tx_slot *slot = &queue->tx_slots[i];
        if (slot->used && slot->token != NULL) {
            queue->lost[queue->lost_count++] = slot->token;
        }
        if (slot->granted) {
            all = grant_take_back(slot->grant) && all;
        }
        slot->used = slot->granted = false;
    }
    spin_unlock_irqrestore(&queue->tx_lock, irq);
    for (unsigned i = 0; i < SLOTS; i++) {
        struct rx_buffer *buffer = queue->rx_buffers[i];
        queue->rx_buffers[i] = NULL;
        if (buffer != NULL && grant_take_back(buffer->grant)) {
            give_back(buffer);
        } else if (buffer != NULL) {
            all = false;
        }
    }
    xenbus_free_channel(&queue->net->bus, queue->port);
    queue->open = false;
    if (queue->lost_count != 0) {
        core_net_interrupt(&queue->net->device, queue->index);
    }
    return all;
}

/* What the back end has to know. With one queue its keys are the device's. */
static void publish(struct xenbus_device *bus)
{
    static const char *const features[] = {"request-rx-copy",   "feature-rx-notify",
                                           "feature-sg",        "feature-gso-tcpv4",
                                           "feature-gso-tcpv6", "feature-ipv6-csum-offload"};
    const struct netfront *net = net_of(bus);
    unsigned queues = net->device.queues_used;
    if (net->device.queue_count > 1) { /* or a back end before may have been told another */
        xenbus_write_number(bus, "multi-queue-num-queues", queues);
    }
    for (unsigned i = 0; i < queues; i++) {
        char prefix[16] = "", name[48];
        if (queues > 1) {
            format(prefix, sizeof(prefix), "queue-%u/", i);
        }
        format(name, sizeof(name), "%stx-ring-ref", prefix);
        xenbus_write_number(bus, name, net->queues[i]->tx_grant);
        format(name, sizeof(name), "%srx-ring-ref", prefix);
        xenbus_write_number(bus, name, net->queues[i]->rx_grant);
        format(name, sizeof(name), "%sevent-channel", prefix);
        xenbus_write_number(bus, name, net->queues[i]->port);
    }
    for (unsigned i = 0; i < sizeof(features) / sizeof(features[0]); i++) {
        xenbus_write_number(bus, features[i], 1);
    }
}

static int hex_digit(char c)
{
    if (c >= '0' && c <= '9') {
        return c - '0';
    }
    c |= 0x20;
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* "00:16:3e:00:00:02" */
static int read_mac(struct netfront *net)
{
    char path[XENBUS_PATH_MAX + 8], text[24];
    format(path, sizeof(path), "%s/mac", net->bus.path);
    if (xenstore_read(path, text, sizeof(text)) != 17) {
        return -EINVAL;
    }
    for (unsigned i = 0; i < 6; i++) {
        int high = hex_digit(text[i * 3]), low = hex_digit(text[i * 3 + 1]);
        if (high < 0 || low < 0 || (i < 5 && text[i * 3 + 2] != ':')) {
            return -EINVAL;
        }
        net->device.mac[i] = (uint8_t)(high << 4 | low);
    }
    return 0;
}

static void read_properties(const struct netfront *net, struct netdev *device)
{
    char path[XENBUS_PATH_MAX + 8];
    uint64_t mtu = MTU_DEFAULT;
    format(path, sizeof(path), "%s/mtu", net->bus.path);
    if (xenstore_read_number(path, MTU_MAX, &mtu) != 0 || mtu < 576) {
        mtu = MTU_DEFAULT;
    }
    device->operations = &operations;
    device->mtu = (uint16_t)mtu;
    device->transmit_max = FRAME_MAX;
    device->features = NETDEV_RX_CHECKSUM | NETDEV_RX_LARGE;
    bool pieces = xenbus_backend_number(&net->bus, "feature-sg", 1, 0) != 0;
    if (xenbus_backend_number(&net->bus, "feature-ipv6-csum-offload", 1, 0) != 0) {
        device->features |= NETDEV_TX_CHECKSUM;
        if (pieces && xenbus_backend_number(&net->bus, "feature-gso-tcpv4", 1, 0) != 0) {
            device->features |= NETDEV_TX_TSO4;
        }
        if (pieces && xenbus_backend_number(&net->bus, "feature-gso-tcpv6", 1, 0) != 0) {
            device->features |= NETDEV_TX_TSO6;
        }
    }
    uint64_t queues = xenbus_backend_number(&net->bus, "multi-queue-max-queues", UINT32_MAX, 1);
    device->queue_count = queues == 0                ? 1
                          : queues < hal_cpu_count() ? (unsigned)queues
                                                     : hal_cpu_count();
}

/* --- back ends come and go (xenbus.h) --------------------------------------------------------- */

/* The first back end decides how many queues there are; those after it may use fewer. */
static const char *meet(struct netfront *net)
{
    struct netdev now = {0};
    read_properties(net, &now);
    if (net->device.operations == NULL) {
        net->device = now;
        for (unsigned i = 0; i < now.queue_count; i++) {
            if (new_queue(net, i) != 0) {
                return "no memory for its rings";
            }
        }
    }
    __atomic_store_n(&net->device.features, now.features, __ATOMIC_RELAXED);
    __atomic_store_n(&net->device.queues_used,
                     now.queue_count < net->device.queue_count ? now.queue_count
                                                               : net->device.queue_count,
                     __ATOMIC_RELAXED);
    for (unsigned i = 0; i < net->device.queue_count; i++) {
        /* core has been asked to poll, and does so as soon as its lock is free. */
        while (__atomic_load_n(&net->queues[i]->lost_count, __ATOMIC_ACQUIRE) != 0) {
            hal_spin_hint();
        }
    }
    return read_mac(net) != 0 ? "the back end has no address for it" : NULL;
}

static const char *offer(struct xenbus_device *bus)
{
    struct netfront *net = net_of(bus);
    const char *why = meet(net);
    int error = 0;
    for (unsigned i = 0; why == NULL && error == 0 && i < net->device.queues_used; i++) {
        error = open_queue(net->queues[i]);
    }
    if (why == NULL && error == 0) {
        error = front_end_publish(bus, publish, XENBUS_CONNECTED);
    }
    return error != 0 ? "no rings for the back end" : why;
}

static const char *start(struct xenbus_device *bus)
{
    struct netfront *net = net_of(bus);
    if (!is_gone(net)) {
        return NULL;
    }
    __atomic_store_n(&net->gone, false, __ATOMIC_SEQ_CST);
    __atomic_store_n(&net->device.link_up, true, __ATOMIC_RELEASE);
    if (!bus->found) {
        core_netdev_found(&net->device);
        return NULL;
    }
    core_net_link_changed(&net->device);
    for (unsigned i = 0; i < net->device.queue_count; i++) {
        core_net_interrupt(&net->device, i);
    }
    return NULL;
}

static void stop(struct xenbus_device *bus, bool answered)
{
    (void)answered; /* frames may be lost */
    struct netfront *net = net_of(bus);
    set_gone(net);
    for (unsigned i = 0; i < net->device.queue_count; i++) {
        while (__atomic_load_n(&net->queues[i]->users, __ATOMIC_SEQ_CST) != 0) {
            hal_spin_hint();
        }
    }
}

static bool take_back(struct xenbus_device *bus)
{
    struct netfront *net = net_of(bus);
    bool all = true;
    for (unsigned i = 0; i < net->device.queue_count; i++) {
        all = (!net->queues[i]->open || close_queue(net->queues[i])) && all;
    }
    return all;
}

/* Also after a detach: the toolstack may attach another in its place. */
static const struct xenbus_front_end front_end = {
    .offer = offer, .start = start, .stop = stop, .take_back = take_back};

int netfront_connect(const struct xenbus_device *bus)
{
    struct netfront *net = kzalloc(sizeof(*net));
    if (net == NULL) {
        return -ENOMEM;
    }
    net->bus = *bus;
    net->gone = true;
    /* Whatever comes of it, the structure stays: a back end may have the rings. */
    return front_end_connect(&net->bus, &front_end);
}
