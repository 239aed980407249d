/* SPDX-License-Identifier: MIT */
/* The network device (virtio 1.2, 5.1). Each pair of a receive and a transmit queue belongs to one
 * CPU's interrupt and needs no lock: transmit and flush have one caller at a time, poll and
 * enable_interrupt another. Received frames lie in pages that are posted to the device, on loan to
 * core, or spare; core gives them back from anywhere by the lock-free stack `returned`. */
#include <linux/errno.h>

#include "core/lib/log.h"
#include "core/lib/random.h"
#include "core/lib/string.h"
#include "core/mm/kmalloc.h"
#include "core/mm/page.h"
#include "drivers/virtio/virtio.h"
#include "drivers/virtio/virtio_drivers.h"
#include "hal.h"
#include "netdev.h"

/* 5.1.3 */
#define NET_F_CSUM (1ull << 0)
#define NET_F_GUEST_CSUM (1ull << 1)
#define NET_F_MTU (1ull << 3)
#define NET_F_MAC (1ull << 5)
#define NET_F_GUEST_TSO4 (1ull << 7)
#define NET_F_GUEST_TSO6 (1ull << 8)
#define NET_F_GUEST_ECN (1ull << 9)
#define NET_F_HOST_TSO4 (1ull << 11)
#define NET_F_HOST_TSO6 (1ull << 12)
#define NET_F_MRG_RXBUF (1ull << 15)
#define NET_F_STATUS (1ull << 16)
#define NET_F_CTRL_VQ (1ull << 17)
#define NET_F_MQ (1ull << 22)

/* 5.1.4: configuration */
enum {
    CONFIG_MAC = 0,
    CONFIG_STATUS = 6,
    CONFIG_MAX_PAIRS = 8,
    CONFIG_MTU = 10,
};
#define STATUS_LINK_UP 1

/* 5.1.6 */
struct net_header {
    uint8_t flags, gso_type;
    uint16_t header_length, gso_size, checksum_start, checksum_offset;
    uint16_t buffer_count; /* not there on legacy devices without merged buffers */
};
#define LEGACY_HEADER_SIZE 10
#define HEADER_NEEDS_CSUM 1
#define HEADER_DATA_VALID 2
#define GSO_TCPV4 1
#define GSO_TCPV6 4
#define GSO_ECN 0x80

/* 5.1.6.5.6: the command that sets the number of queue pairs in use */
#define CTRL_MQ 4
#define CTRL_MQ_PAIRS_SET 0
#define CTRL_OK 0
struct control_command {
    uint8_t class, command;
    uint16_t pairs;
    uint8_t answer;
};
#define CONTROL_PATIENCE_NS 1000000000ull

#define ETHERNET_HEADER 14
#define ETHERNET_VLAN_TAG 4
#define MTU_DEFAULT 1500
#define MTU_MIN 68         /* RFC 791 */
#define FRAME_MAX 65550    /* the largest IPv4 packet, and Ethernet's header */
#define QUEUE_SIZE_MAX 256 /* more only costs memory */
#define POSTED_MIN 32      /* receive buffers, however small the machine is */
#define MEMORY_SHARE 16    /* of all memory may be posted, and twice that on loan */
#define LARGE_BUFFERS 20   /* that the largest frame may take; it waits for so many */
#define FREE_AT_ONCE 8

/* A receive buffer, at the start of its pages. */
struct rx_buffer {
    struct net_buffer buffer; /* first */
    struct net_queue *queue;
} __attribute__((aligned(64)));

/* What waits to be added to netdev's counters. */
struct counts {
    uint64_t frames, bytes, dropped, errors;
};

struct net_queue {
    struct virtio_net *net;
    unsigned index;
    struct virtqueue *rx, *tx;

    struct {
        struct counts counts;
        bool starved; /* there was no room: atomic, cleared by poll */
    } transmit __attribute__((aligned(64)));

    struct { /* poll's */
        struct counts counts;
        struct net_buffer *spare;
        unsigned buffers; /* posted, on loan and spare */
    } receive __attribute__((aligned(64)));

    struct net_buffer *returned __attribute__((aligned(64))); /* atomic */
};

struct virtio_net {
    struct netdev netdev; /* first */
    struct virtio_device *device;
    uint16_t pairs_offered; /* queues that the device has */
    unsigned header_size;
    unsigned buffer_order; /* pages of a receive buffer */
    unsigned posted_min;   /* receive buffers of a queue that are never lent */
    unsigned posted_max;   /* receive buffers of a queue at the device */
    unsigned buffers_max;  /* of a queue in all */
    bool mergeable;        /* a frame may take several buffers */
    bool separate_header;  /* its descriptor is the header's alone */
    bool checksum_in;      /* GUEST_CSUM */
    struct net_queue *queues;
};

static struct net_queue *queue_of(struct netdev *netdev, unsigned queue)
{
    return &((struct virtio_net *)netdev)->queues[queue];
}

static void count(uint64_t *to, uint64_t *from)
{
    if (*from != 0) {
        __atomic_fetch_add(to, *from, __ATOMIC_RELAXED);
        *from = 0;
    }
}

/* --- transmit --------------------------------------------------------------------------------- */

static void fill_header(struct net_header *header, const struct net_offload *offload)
{
    *header = (struct net_header){0};
    if (offload->checksum == NET_CHECKSUM_PARTIAL) {
        header->flags = HEADER_NEEDS_CSUM;
        header->checksum_start = offload->checksum_start;
        header->checksum_offset = offload->checksum_offset;
    }
    if (offload->segment_version != 0) {
        header->gso_type = offload->segment_version == 4 ? GSO_TCPV4 : GSO_TCPV6;
        header->gso_size = offload->segment_size;
        header->header_length = offload->header_length;
    }
}

static int transmit(struct netdev *netdev, unsigned index, const struct net_segment *segments,
                    unsigned segment_count, const struct net_offload *offload, void *token)
{
    struct net_queue *queue = queue_of(netdev, index);
    struct virtio_buffer buffers[1 + NET_MAX_SEGMENTS];
    struct net_header *header = virtqueue_area(queue->tx);
    int error = -ENOBUFS;
    if (header != NULL) {
        uint32_t bytes = 0;
        fill_header(header, offload);
        buffers[0] = (struct virtio_buffer){header, queue->net->header_size};
        for (unsigned i = 0; i < segment_count; i++) {
            buffers[1 + i] = (struct virtio_buffer){segments[i].data, segments[i].length};
            bytes += segments[i].length;
        }
        error = virtqueue_add(queue->tx, buffers, 1 + segment_count, 0, token);
        if (error == 0) {
            queue->transmit.counts.frames++;
            queue->transmit.counts.bytes += bytes;
            return 0;
        }
    }
    if (error == -ENOBUFS) {
        /* The next enable_interrupt asks for one when there is room: somebody has to call it. */
        if (!__atomic_exchange_n(&queue->transmit.starved, true, __ATOMIC_SEQ_CST)) {
            core_net_interrupt(netdev, index);
        }
        return error;
    }
    queue->transmit.counts.dropped++;
    return -ENODEV;
}

static void flush(struct netdev *netdev, unsigned index)
{
    struct net_queue *queue = queue_of(netdev, index);
    virtqueue_kick(queue->tx);
    count(&netdev->statistics.tx_frames, &queue->transmit.counts.frames);
    count(&netdev->statistics.tx_bytes, &queue->transmit.counts.bytes);
    count(&netdev->statistics.tx_dropped, &queue->transmit.counts.dropped);
}

static void reclaim(struct net_queue *queue)
{
    void *token;
    while ((token = virtqueue_get(queue->tx, NULL)) != NULL) {
        __atomic_store_n(&queue->transmit.starved, false, __ATOMIC_RELAXED);
        core_net_transmitted(&queue->net->netdev, token);
    }
}

/* --- receive buffers -------------------------------------------------------------------------- */

static uint8_t *buffer_start(struct net_buffer *buffer)
{
    return (uint8_t *)buffer + sizeof(struct rx_buffer);
}

static void release(struct net_buffer *buffer)
{
    struct net_queue *queue = ((struct rx_buffer *)buffer)->queue;
    buffer->next = __atomic_load_n(&queue->returned, __ATOMIC_RELAXED);
    while (!__atomic_compare_exchange_n(&queue->returned, &buffer->next, buffer, true,
                                        __ATOMIC_RELEASE, __ATOMIC_RELAXED)) {
    }
}

static void put_spare(struct net_queue *queue, struct net_buffer *buffer)
{
    buffer->next = queue->receive.spare;
    queue->receive.spare = buffer;
}

/* Makes sure that there is a spare buffer if there can be one. */
static bool have_spare(struct net_queue *queue)
{
    struct virtio_net *net = queue->net;
    if (queue->receive.spare == NULL) {
        queue->receive.spare = __atomic_exchange_n(&queue->returned, NULL, __ATOMIC_ACQUIRE);
    }
    if (queue->receive.spare == NULL && queue->receive.buffers < net->buffers_max) {
        uint64_t pages = page_alloc(net->buffer_order, 0);
        if (pages != 0) {
            struct rx_buffer *fresh = direct_map(pages);
            fresh->buffer.release = release;
            fresh->queue = queue;
            queue->receive.buffers++;
            put_spare(queue, &fresh->buffer);
        }
    }
    return queue->receive.spare != NULL;
}

static struct net_buffer *take_spare(struct net_queue *queue)
{
    struct net_buffer *buffer = queue->receive.spare;
    queue->receive.spare = buffer->next;
    return buffer;
}

static int post(struct net_queue *queue, struct net_buffer *buffer)
{
    struct virtio_net *net = queue->net;
    uint32_t size = (uint32_t)((PAGE_SIZE << net->buffer_order) - sizeof(struct rx_buffer));
    uint8_t *start = buffer_start(buffer);
    struct virtio_buffer parts[2] = {{start, size}};
    if (net->separate_header) {
        parts[0].length = net->header_size;
        parts[1] = (struct virtio_buffer){start + net->header_size, size - net->header_size};
    }
    return virtqueue_add(queue->rx, parts, 0, net->separate_header ? 2 : 1, buffer);
}

/* Posts buffers once a batch of them is missing, and gives pages back that a burst has left. */
static void refill(struct net_queue *queue)
{
    struct virtio_net *net = queue->net;
    unsigned posted = virtqueue_in_flight(queue->rx);
    if (net->posted_max - posted < net->posted_max / 8 + 1) {
        return;
    }
    for (; posted < net->posted_max && have_spare(queue); posted++) {
        struct net_buffer *buffer = take_spare(queue);
        if (post(queue, buffer) != 0) {
            put_spare(queue, buffer);
            break;
        }
    }
    virtqueue_kick(queue->rx);
    for (unsigned i = 0; i < FREE_AT_ONCE && queue->receive.buffers > 2 * net->posted_max &&
                         queue->receive.spare != NULL;
         i++) {
        page_free(direct_map_physical(take_spare(queue)), net->buffer_order);
        queue->receive.buffers--;
    }
}

/* --- receive ---------------------------------------------------------------------------------- */

/* What the device says about a frame of `size` bytes; false when it cannot be so. */
static bool read_header(const struct virtio_net *net, const struct net_header *header,
                        uint32_t size, struct net_offload *offload)
{
    *offload = (struct net_offload){0};
    if (!net->checksum_in) {
        return true;
    }
    if ((header->flags & HEADER_NEEDS_CSUM) != 0) {
        if ((uint32_t)header->checksum_start + header->checksum_offset + 2 > size) {
            return false;
        }
        offload->checksum = NET_CHECKSUM_PARTIAL;
        offload->checksum_start = header->checksum_start;
        offload->checksum_offset = header->checksum_offset;
    } else if ((header->flags & HEADER_DATA_VALID) != 0) {
        offload->checksum = NET_CHECKSUM_GOOD;
    }
    switch (header->gso_type & ~GSO_ECN) {
    case 0:
        return true;
    case GSO_TCPV4:
        offload->segment_version = 4;
        break;
    case GSO_TCPV6:
        offload->segment_version = 6;
        break;
    default:
        return false;
    }
    offload->segment_size = header->gso_size;
    return header->gso_size != 0;
}

/* Takes the next frame off the queue, its pieces in a list behind `*first`: its size, or 0 when it
 * is none (then the pieces are to be dropped). False: there is nothing. */
static bool take_frame(struct net_queue *queue, struct net_buffer **first,
                       struct net_header *header, uint32_t *size)
{
    const struct virtio_net *net = queue->net;
    uint32_t length;
    struct net_buffer *buffer = virtqueue_get(queue->rx, &length);
    if (buffer == NULL) {
        return false;
    }
    *first = buffer;
    *size = 0;
    memcpy(header, buffer_start(buffer), sizeof(*header)); /* more than an old device has */
    buffer->next = NULL;
    buffer->data = buffer_start(buffer) + net->header_size;
    bool good = length >= net->header_size + ETHERNET_HEADER;
    buffer->length = good ? length - net->header_size : 0;
    uint32_t sum = buffer->length;
    unsigned pieces = net->mergeable && length >= net->header_size ? header->buffer_count : 1;
    good = good && pieces != 0;
    for (unsigned i = 1; i < pieces; i++) {
        struct net_buffer *piece = virtqueue_get(queue->rx, &length);
        if (piece == NULL) {
            /* 5.1.6.4.2: all of them come at once. Where the next frame begins nobody knows. */
            virtio_break(net->device, "it has merged more buffers into a frame than it has used");
            return true;
        }
        piece->next = NULL;
        piece->data = buffer_start(piece);
        piece->length = length;
        sum += length;
        good = good && length != 0;
        buffer->next = piece;
        buffer = piece;
    }
    *size = good && sum <= FRAME_MAX + ETHERNET_VLAN_TAG ? sum : 0;
    return true;
}

static bool receive(struct net_queue *queue)
{
    struct virtio_net *net = queue->net;
    struct net_buffer *first;
    struct net_header header;
    struct net_offload offload;
    uint32_t size;
    if (!take_frame(queue, &first, &header, &size)) {
        return false;
    }
    bool good = size != 0 && read_header(net, &header, size, &offload);
    /* When nobody gives buffers back, frames are dropped: a device without any would never again
     * call for a poll, which posts them. */
    if (virtqueue_in_flight(queue->rx) < net->posted_min) {
        refill(queue);
    }
    bool room = virtqueue_in_flight(queue->rx) >= net->posted_min;
    if (good && room) {
        queue->receive.counts.frames++;
        queue->receive.counts.bytes += size;
        core_net_receive(&net->netdev, first, &offload);
        return true;
    }
    queue->receive.counts.errors += !good;
    queue->receive.counts.dropped += good;
    for (struct net_buffer *next; first != NULL; first = next) {
        next = first->next;
        put_spare(queue, first);
    }
    return true;
}

static unsigned poll(struct netdev *netdev, unsigned index, unsigned budget)
{
    struct net_queue *queue = queue_of(netdev, index);
    unsigned received = 0;
    reclaim(queue);
    while (received < budget && receive(queue)) {
        received++;
    }
    refill(queue);
    count(&netdev->statistics.rx_frames, &queue->receive.counts.frames);
    count(&netdev->statistics.rx_bytes, &queue->receive.counts.bytes);
    count(&netdev->statistics.rx_dropped, &queue->receive.counts.dropped);
    count(&netdev->statistics.rx_errors, &queue->receive.counts.errors);
    return received;
}

static bool enable_interrupt(struct netdev *netdev, unsigned index)
{
    struct net_queue *queue = queue_of(netdev, index);
    bool idle = virtqueue_enable_interrupt(queue->rx, 1);
    /* Frames that are sent are reclaimed at the next poll, whatever calls for it; they get an
     * interrupt of their own only when there are many, or somebody waits for room or the end. */
    unsigned in_flight = virtqueue_in_flight(queue->tx);
    if (in_flight != 0 && (in_flight >= virtqueue_size(queue->tx) / 4 ||
                           __atomic_load_n(&netdev->draining, __ATOMIC_RELAXED) ||
                           __atomic_load_n(&queue->transmit.starved, __ATOMIC_SEQ_CST))) {
        idle = virtqueue_enable_interrupt(queue->tx, (in_flight + 1) / 2) && idle;
    }
    return idle;
}

static void interrupt(void *context)
{
    struct net_queue *queue = context;
    virtqueue_disable_interrupt(queue->rx);
    virtqueue_disable_interrupt(queue->tx);
    core_net_interrupt(&queue->net->netdev, queue->index);
}

static const struct netdev_operations operations = {
    .transmit = transmit,
    .flush = flush,
    .poll = poll,
    .enable_interrupt = enable_interrupt,
};

/* --- set-up ----------------------------------------------------------------------------------- */

static bool link_state(struct virtio_device *device)
{
    uint16_t status = STATUS_LINK_UP;
    if (virtio_has(device, NET_F_STATUS)) {
        virtio_config_read(device, CONFIG_STATUS, &status, sizeof(status));
    }
    return (status & STATUS_LINK_UP) != 0 && !__atomic_load_n(&device->broken, __ATOMIC_RELAXED);
}

static void changed(struct virtio_device *device)
{
    struct virtio_net *net = device->driver;
    bool up = link_state(device);
    if (__atomic_exchange_n(&net->netdev.link_up, up, __ATOMIC_RELAXED) != up) {
        core_net_link_changed(&net->netdev);
    }
}

static void read_config(struct virtio_net *net)
{
    struct virtio_device *device = net->device;
    struct netdev *netdev = &net->netdev;
    if (virtio_has(device, NET_F_MAC)) {
        virtio_config_read(device, CONFIG_MAC, netdev->mac, sizeof(netdev->mac));
    } else {
        random_bytes(netdev->mac, sizeof(netdev->mac));
        netdev->mac[0] = (uint8_t)((netdev->mac[0] & ~1) | 2); /* one host's, given locally */
    }
    netdev->mtu = MTU_DEFAULT;
    if (virtio_has(device, NET_F_MTU)) {
        virtio_config_read(device, CONFIG_MTU, &netdev->mtu, sizeof(netdev->mtu));
        if (netdev->mtu < MTU_MIN) {
            netdev->mtu = MTU_DEFAULT;
        }
    }
    net->pairs_offered = 1;
    if (virtio_has(device, NET_F_MQ) && virtio_has(device, NET_F_CTRL_VQ)) {
        virtio_config_read(device, CONFIG_MAX_PAIRS, &net->pairs_offered, 2);
    }
    netdev->queue_count = net->pairs_offered;
    if (netdev->queue_count > hal_cpu_count()) {
        netdev->queue_count = hal_cpu_count();
    } else if (netdev->queue_count == 0) {
        netdev->queue_count = 1;
    }
    netdev->queues_used = netdev->queue_count;
}

static void set_features(struct virtio_net *net)
{
    static const struct {
        uint64_t virtio;
        uint32_t netdev;
    } names[] = {
        {NET_F_CSUM, NETDEV_TX_CHECKSUM},    {NET_F_HOST_TSO4, NETDEV_TX_TSO4},
        {NET_F_HOST_TSO6, NETDEV_TX_TSO6},   {NET_F_GUEST_CSUM, NETDEV_RX_CHECKSUM},
        {NET_F_GUEST_TSO4, NETDEV_RX_LARGE}, {NET_F_GUEST_TSO6, NETDEV_RX_LARGE},
    };
    struct virtio_device *device = net->device;
    for (unsigned i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        if (virtio_has(device, names[i].virtio)) {
            net->netdev.features |= names[i].netdev;
        }
    }
    bool modern = virtio_has(device, VIRTIO_F_VERSION_1);
    net->mergeable = virtio_has(device, NET_F_MRG_RXBUF);
    net->checksum_in = virtio_has(device, NET_F_GUEST_CSUM);
    net->header_size = modern || net->mergeable ? sizeof(struct net_header) : LEGACY_HEADER_SIZE;
    net->separate_header = !modern && !net->mergeable && !virtio_has(device, VIRTIO_F_ANY_LAYOUT);
    net->netdev.transmit_max = FRAME_MAX;
}

static int open_queues(struct virtio_net *net)
{
    struct virtio_device *device = net->device;
    int error = 0;
    for (unsigned i = 0; i < net->netdev.queue_count && error == 0; i++) {
        struct net_queue *queue = &net->queues[i];
        struct virtqueue_options options = {.size_max = QUEUE_SIZE_MAX};
        queue->net = net;
        queue->index = i;
        error = virtio_open_vector(device, i, interrupt, queue, &options.vector);
        if (error == 0) {
            error = virtio_open_queue(device, 2 * i, &options, &queue->rx);
        }
        options.indirect_max = 1 + NET_MAX_SEGMENTS;
        options.area_size = sizeof(struct net_header);
        if (error == 0) {
            error = virtio_open_queue(device, 2 * i + 1, &options, &queue->tx);
        }
        if (error == 0 && virtqueue_chain_max(queue->tx) < 1 + NET_MAX_SEGMENTS) {
            error = -ENODEV; /* there are frames that would never get through */
        }
    }
    return error;
}

/* How many receive buffers of which size there are to be. */
static void size_buffers(struct virtio_net *net)
{
    size_t bytes = sizeof(struct rx_buffer) + net->header_size + ETHERNET_HEADER +
                   ETHERNET_VLAN_TAG + net->netdev.mtu;
    while (!net->mergeable && PAGE_SIZE << net->buffer_order < bytes) {
        net->buffer_order++;
    }
    uint64_t share = (page_total() >> net->buffer_order) / MEMORY_SHARE / net->netdev.queue_count;
    unsigned most = virtqueue_size(net->queues[0].rx) >> net->separate_header;
    net->posted_max = share < most ? (unsigned)share : most;
    if (net->posted_max < POSTED_MIN) {
        net->posted_max = POSTED_MIN < most ? POSTED_MIN : most;
    }
    net->posted_min = net->posted_max / 2;
    if (net->posted_min < LARGE_BUFFERS && net->posted_max > LARGE_BUFFERS) {
        net->posted_min = LARGE_BUFFERS;
    }
    net->buffers_max = net->posted_max + (unsigned)(2 * share);
}

/* 5.1.5: the number of queue pairs, through the control queue, which follows the last pair that the
 * device has. */
static int set_queue_pairs(struct virtio_net *net, struct virtqueue *control)
{
    struct control_command *command = virtqueue_area(control);
    *command = (struct control_command){
        .class = CTRL_MQ,
        .command = CTRL_MQ_PAIRS_SET,
        .pairs = (uint16_t)net->netdev.queue_count,
        .answer = !CTRL_OK,
    };
    struct virtio_buffer buffers[] = {
        {command, 2}, {&command->pairs, sizeof(command->pairs)}, {&command->answer, 1}};
    int error = virtqueue_add(control, buffers, 2, 1, command);
    virtqueue_kick(control);
    uint64_t deadline = hal_clock_monotonic() + CONTROL_PATIENCE_NS;
    while (error == 0 && virtqueue_get(control, NULL) == NULL) {
        if (hal_clock_monotonic() > deadline) {
            error = -ETIMEDOUT;
        }
        hal_spin_hint();
    }
    return error != 0 || command->answer == CTRL_OK ? error : -EIO;
}

static int set_up(struct virtio_net *net)
{
    struct virtio_device *device = net->device;
    uint64_t wanted = NET_F_CSUM | NET_F_GUEST_CSUM | NET_F_MTU | NET_F_MAC | NET_F_HOST_TSO4 |
                      NET_F_HOST_TSO6 | NET_F_MRG_RXBUF | NET_F_STATUS;
    /* Large frames only where they need not all fit into one buffer; queues as there are CPUs. */
    if ((virtio_offered(device) & NET_F_MRG_RXBUF) != 0) {
        wanted |= NET_F_GUEST_TSO4 | NET_F_GUEST_TSO6 | NET_F_GUEST_ECN;
    }
    if (hal_cpu_count() > 1) {
        wanted |= NET_F_CTRL_VQ | NET_F_MQ;
    }
    int error = virtio_negotiate(device, wanted);
    if (error != 0) {
        return error;
    }
    read_config(net);
    set_features(net);
    net->queues = kzalloc(net->netdev.queue_count * sizeof(*net->queues));
    if (net->queues == NULL) {
        return -ENOMEM;
    }
    error = open_queues(net);
    struct virtqueue *control = NULL;
    if (error == 0 && net->netdev.queue_count > 1) {
        struct virtqueue_options options = {.size_max = 4,
                                            .area_size = sizeof(struct control_command)};
        error = virtio_open_queue(device, 2u * net->pairs_offered, &options, &control);
    }
    if (error != 0) {
        return error;
    }
    size_buffers(net);
    virtio_start(device);
    for (unsigned i = 0; i < net->netdev.queue_count; i++) {
        refill(&net->queues[i]);
        if (virtqueue_in_flight(net->queues[i].rx) == 0) {
            return -ENOMEM;
        }
    }
    return control != NULL ? set_queue_pairs(net, control) : 0;
}

int virtio_net_probe(struct virtio_device *device)
{
    struct virtio_net *net = kzalloc(sizeof(*net));
    if (net == NULL) {
        return -ENOMEM;
    }
    net->device = device;
    net->netdev.operations = &operations;
    int error = set_up(net);
    if (error != 0) {
        return error;
    }
    net->netdev.link_up = link_state(device);
    device->driver = net;
    device->changed = changed;
    core_netdev_found(&net->netdev);
    return 0;
}
