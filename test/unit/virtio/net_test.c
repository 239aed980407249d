/* SPDX-License-Identifier: MIT */
/* The network driver against a device written from the specification: frames in (merged buffers,
 * large, with offloads) and out (headers, back-pressure), several queues, the link, core that keeps
 * what it gets; and devices that write nonsense. */
#include <errno.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "core/lib/log.h"
#include "core/lib/random.h"
#include "core/mm/page.h"
#include "drivers/virtio/virtio_drivers.h"
#include "fakes/check.h"
#include "hal.h"
#include "netdev.h"
#include "sim_queue.h"

#define MAX_PAIRS 4
#define FRAME_LIMIT 65550

static uint64_t seed = 1, now;
static unsigned cpus = 1;

/* --- what the driver needs -------------------------------------------------------------------- */

void log_write(enum log_level level, const char *text, ...)
{
    (void)level;
    (void)text;
}

uint64_t hal_clock_monotonic(void)
{
    return now += 1000;
}

unsigned hal_cpu_count(void)
{
    return cpus;
}

uint64_t page_total(void)
{
    return 32768;
}

void random_bytes(void *to, size_t size)
{
    memset(to, 0xff, size);
}

int virtio_blk_probe(struct virtio_device *device)
{
    (void)device;
    return -ENODEV;
}

int virtio_entropy_probe(struct virtio_device *device)
{
    (void)device;
    return -ENODEV;
}

static unsigned below(unsigned limit)
{
    return (unsigned)(test_random(&seed) % limit);
}

/* --- the device ------------------------------------------------------------------------------- */

static struct {
    struct virtio_device device;
    uint64_t offered, accepted;
    uint8_t status, mac[6];
    uint16_t link, pairs, mtu, pairs_set;
    unsigned queue_size;
    struct sim_queue queues[2 * MAX_PAIRS + 1];
    unsigned kicks;
} sim;

static uint8_t status(struct virtio_device *device)
{
    (void)device;
    return sim.status;
}

static void set_status(struct virtio_device *device, uint8_t value)
{
    (void)device;
    sim.status = value;
}

static uint32_t offered(struct virtio_device *device, unsigned half)
{
    (void)device;
    return (uint32_t)(sim.offered >> 32 * half);
}

static void accept(struct virtio_device *device, unsigned half, uint32_t features)
{
    (void)device;
    sim.accepted |= (uint64_t)features << 32 * half;
    CHECK((sim.accepted & ~sim.offered) == 0);
}

static uint32_t generation(struct virtio_device *device)
{
    (void)device;
    return 0;
}

static uint32_t config(struct virtio_device *device, unsigned offset, unsigned width)
{
    (void)device;
    CHECK(width == (offset < 6 ? 1 : 2));
    switch (offset) {
    case 6:
        return sim.link;
    case 8:
        return sim.pairs;
    case 10:
        return sim.mtu;
    default:
        CHECK(offset < 6);
        return sim.mac[offset];
    }
}

static int connect(struct virtio_device *device)
{
    (void)device;
    return 0;
}

static int open_vector(struct virtio_device *device, struct virtio_vector *vector, unsigned cpu)
{
    (void)device;
    (void)vector;
    CHECK(cpu < cpus);
    return 0;
}

static unsigned queue_size(struct virtio_device *device, unsigned index)
{
    (void)device;
    return index < 2u * sim.pairs + 1 ? sim.queue_size : 0;
}

static int enable_queue(struct virtio_device *device, struct virtqueue *queue)
{
    (void)device;
    sim_start(&sim.queues[queue->index], queue);
    return 0;
}

static void notify(struct virtqueue *queue)
{
    struct sim_queue *q = &sim.queues[queue->index];
    sim.kicks++;
    if (queue->index == 2 * sim.pairs) {
        sim_take(q);
        CHECK(q->held_count == 1 && q->held[0].count == 3);
        CHECK(memcmp(q->held[0].buffers[0].data, "\4\0", 2) == 0);
        memcpy(&sim.pairs_set, q->held[0].buffers[1].data, 2);
        q->held[0].buffers[2].data[0] = 0;
        sim_use_as(q, 0, q->held[0].id, 1);
    }
}

static const struct virtio_transport transports[] = {
    {false, false, status, set_status, offered, accept, generation, config, connect, open_vector,
     queue_size, enable_queue, notify},
    {true, true, status, set_status, offered, accept, generation, config, connect, open_vector,
     queue_size, enable_queue, notify},
};

struct header {
    uint8_t flags, gso_type;
    uint16_t length, gso_size, start, offset, buffers;
};

static unsigned header_size(void)
{
    return (sim.accepted & (1ull << 32 | 1ull << 15)) != 0 ? 12 : 10;
}

/* Writes a frame into as many receive buffers as it needs: false when there are not enough. */
static bool put_frame(unsigned pair, struct header header, const uint8_t *frame, uint32_t size)
{
    struct sim_queue *q = &sim.queues[2 * pair];
    bool mergeable = (sim.accepted & 1 << 15) != 0;
    sim_take(q);
    uint8_t *all = malloc(header_size() + size);
    uint32_t total = header_size() + size, room = 0;
    header.buffers = 0;
    while (room < total) {
        if (header.buffers == q->held_count) {
            free(all);
            return false;
        }
        struct sim_chain *chain = &q->held[header.buffers++];
        for (unsigned i = 0; i < chain->count; i++) {
            CHECK(chain->buffers[i].write);
            room += chain->buffers[i].length;
        }
    }
    CHECK(mergeable || header.buffers == 1);
    memcpy(all, &header, header_size());
    memcpy(all + header_size(), frame, size);
    uint32_t at = 0;
    for (unsigned n = header.buffers; n != 0; n--) {
        uint32_t written = 0;
        for (unsigned i = 0; i < q->held[0].count; i++) {
            uint32_t length = q->held[0].buffers[i].length;
            length = length < total - at ? length : total - at;
            memcpy(q->held[0].buffers[i].data, all + at, length);
            at += length;
            written += length;
        }
        sim_use_as(q, 0, q->held[0].id, written);
    }
    free(all);
    return true;
}

/* --- core ------------------------------------------------------------------------------------- */

static struct netdev *netdev;
static unsigned interrupts, link_changes, received, transmitted[4096];
static struct net_buffer *kept;
static bool keep;
static uint8_t expected[FRAME_LIMIT];
static uint32_t expected_size;
static struct net_offload expected_offload;
static bool hostile;

void core_netdev_found(struct netdev *device)
{
    netdev = device;
}

void core_net_interrupt(struct netdev *device, unsigned queue)
{
    (void)device;
    (void)queue;
    interrupts++;
}

void core_net_link_changed(struct netdev *device)
{
    CHECK(device == netdev);
    link_changes++;
}

void core_net_transmitted(struct netdev *device, void *token)
{
    CHECK(device == netdev);
    transmitted[(uintptr_t)token]++;
}

static void release_all(struct net_buffer *frame)
{
    for (struct net_buffer *next; frame != NULL; frame = next) {
        next = frame->next;
        memset(frame->core, 0x5a, sizeof(frame->core));
        frame->release(frame);
    }
}

void core_net_receive(struct netdev *device, struct net_buffer *frame,
                      const struct net_offload *offload)
{
    CHECK(device == netdev);
    uint32_t size = 0;
    received++;
    for (struct net_buffer *piece = frame; piece != NULL; piece = piece->next) {
        uint8_t sum = 0;
        for (uint32_t i = 0; i < piece->length; i++) { /* all of it can be read */
            sum = (uint8_t)(sum + ((uint8_t *)piece->data)[i]);
        }
        CHECK(hostile || (size + piece->length <= expected_size &&
                          memcmp(piece->data, expected + size, piece->length) == 0));
        size += piece->length + (sum & 0);
    }
    CHECK(hostile || size == expected_size);
    CHECK(hostile || memcmp(offload, &expected_offload, sizeof(*offload)) == 0);
    CHECK(offload->checksum != NET_CHECKSUM_PARTIAL ||
          offload->checksum_start + offload->checksum_offset + 2u <= size);
    if (keep) {
        struct net_buffer *last = frame;
        while (last->next != NULL) {
            last = last->next;
        }
        last->next = kept;
        kept = frame;
    } else {
        release_all(frame);
    }
}

/* --- tests ------------------------------------------------------------------------------------ */

#define ALL_NET                                                                                    \
    (1ull << 22 | 1 << 17 | 1 << 16 | 1 << 15 | 1 << 12 | 1 << 11 | 1 << 9 | 1 << 8 | 1 << 7 |     \
     1 << 5 | 1 << 3 | 3)

static void start(uint64_t features, bool legacy, unsigned cpu_count)
{
    memset(&sim, 0, sizeof(sim));
    cpus = cpu_count;
    sim.offered = features;
    memcpy(sim.mac, "\x52\x54\0\1\2\3", 6);
    sim.link = 1;
    sim.pairs = (features & 1 << 22) != 0 ? MAX_PAIRS : 1;
    sim.mtu = 1400;
    sim.queue_size = 256;
    sim.device.id = VIRTIO_ID_NET;
    sim.device.transport = &transports[legacy];
    netdev = NULL;
    memset(transmitted, 0, sizeof(transmitted));
    virtio_device_found(&sim.device);
    CHECK(netdev != NULL && (sim.status & VIRTIO_STATUS_DRIVER_OK) != 0);
}

static void end(void)
{
    struct virtqueue *next;
    keep = false;
    release_all(kept);
    kept = NULL;
    for (unsigned i = 0; i < netdev->queue_count; i++) {
        /* The posted buffers, as the device has them. */
        struct sim_queue *q = &sim.queues[2 * i];
        struct virtqueue *rx = q->queue;
        for (unsigned id = 0; id < rx->size; id++) {
            if (rx->chains[id].token != NULL) {
                page_free(direct_map_physical(rx->chains[id].token), 0);
            }
        }
    }
    for (struct virtqueue *queue = sim.device.queues; queue != NULL; queue = next) {
        next = queue->next;
        virtqueue_destroy(queue);
    }
}

static void test_receive(uint64_t features, bool legacy)
{
    start(features, legacy, 1);
    bool mergeable = (features & 1 << 15) != 0;
    netdev->operations->enable_interrupt(netdev, 0);
    for (unsigned round = 0; round < 3000; round++) {
        expected_size = 14 + below(mergeable && round % 8 == 0 ? 65500 : 1500);
        for (unsigned i = 0; i < expected_size; i += 97) {
            expected[i] = (uint8_t)below(256);
        }
        struct header header = {0};
        expected_offload = (struct net_offload){0};
        if ((features & 2) != 0 && below(2) != 0) {
            header.flags = 2;
            expected_offload.checksum = NET_CHECKSUM_GOOD;
        } else if ((features & 2) != 0) {
            header.flags = 1;
            header.start = 5;
            header.offset = 7;
            header.gso_type = 0x81;
            header.gso_size = 1448;
            expected_offload = (struct net_offload){.checksum = NET_CHECKSUM_PARTIAL,
                                                    .segment_version = 4,
                                                    .segment_size = 1448,
                                                    .checksum_start = 5,
                                                    .checksum_offset = 7};
        }
        unsigned before = sim.queues[0].interrupts;
        CHECK(put_frame(0, header, expected, expected_size));
        CHECK(sim.queues[0].interrupts > before);
        received = 0;
        CHECK(netdev->operations->poll(netdev, 0, 64) == 1 && received == 1);
        CHECK(netdev->operations->enable_interrupt(netdev, 0));
    }
    CHECK(netdev->statistics.rx_frames == 3000 && netdev->statistics.rx_errors == 0);
    end();
}

/* Nobody gives anything back: frames are dropped and the device never runs dry; then all is well
 * again. */
static void test_kept(uint64_t features)
{
    start(features, false, 1);
    expected_size = 1000;
    expected_offload = (struct net_offload){0};
    keep = true;
    unsigned sent = 0;
    while (netdev->statistics.rx_dropped < 1000) {
        CHECK(put_frame(0, (struct header){0}, expected, expected_size));
        CHECK(netdev->operations->poll(netdev, 0, 64) == 1);
        CHECK(++sent < 100000);
    }
    CHECK(netdev->statistics.rx_frames + netdev->statistics.rx_dropped == sent);
    keep = false;
    release_all(kept);
    kept = NULL;
    uint64_t dropped = netdev->statistics.rx_dropped;
    for (unsigned i = 0; i < 5000; i++) {
        CHECK(put_frame(0, (struct header){0}, expected, expected_size));
        CHECK(netdev->operations->poll(netdev, 0, 64) == 1);
    }
    CHECK(netdev->statistics.rx_dropped == dropped);
    end();
}

static void test_transmit(uint64_t features, bool legacy)
{
    start(features, legacy, 1);
    static uint8_t bytes[NET_MAX_SEGMENTS][200];
    struct sim_queue *q = &sim.queues[1];
    uintptr_t token = 1, done = 1;
    unsigned full = 0;
    for (unsigned round = 0; round < 3000; round++) {
        struct net_segment segments[NET_MAX_SEGMENTS];
        unsigned count = 1 + below(round % 4 == 0 ? NET_MAX_SEGMENTS : 2);
        for (unsigned i = 0; i < count; i++) {
            segments[i] = (struct net_segment){bytes[i], 1 + below(200)};
        }
        struct net_offload offload = {.checksum = NET_CHECKSUM_PARTIAL,
                                      .segment_version = 6,
                                      .segment_size = 1428,
                                      .header_length = 74,
                                      .checksum_start = 54,
                                      .checksum_offset = 16};
        interrupts = 0;
        int error = netdev->operations->transmit(netdev, 0, segments, count, &offload,
                                                 (void *)(token % 4096 + (token % 4096 == 0)));
        if (error == -ENOBUFS) {
            full++;
            CHECK(interrupts == 1);
            netdev->operations->flush(netdev, 0);
            sim_take(q);
            CHECK(netdev->operations->enable_interrupt(netdev, 0));
            unsigned before = q->interrupts;
            while (q->held_count != 0) {
                struct sim_chain *chain = &q->held[0];
                struct header header;
                memcpy(&header, chain->buffers[0].data, 10);
                CHECK(chain->buffers[0].length == header_size());
                CHECK(header.flags == 1 && header.gso_type == 4 && header.gso_size == 1428 &&
                      header.length == 74 && header.start == 54 && header.offset == 16);
                CHECK(chain->buffers[1].data == bytes[0]);
                sim_use_as(q, 0, chain->id, 0);
            }
            CHECK(q->interrupts > before); /* there is room */
            netdev->operations->poll(netdev, 0, 64);
            for (; done < token; done++) {
                CHECK(transmitted[done % 4096 + (done % 4096 == 0)] > 0);
            }
            continue;
        }
        CHECK(error == 0);
        token++;
    }
    CHECK(full > 10);
    netdev->operations->flush(netdev, 0);
    CHECK(netdev->statistics.tx_frames == token - 1 && netdev->statistics.tx_bytes > token);
    end();
}

static void test_configuration(void)
{
    start(ALL_NET | 1ull << 32, false, 3);
    CHECK(netdev->queue_count == 3 && sim.pairs_set == 3);
    CHECK(netdev->mtu == 1400 && memcmp(netdev->mac, sim.mac, 6) == 0 && netdev->link_up);
    CHECK(netdev->features == (NETDEV_TX_CHECKSUM | NETDEV_TX_TSO4 | NETDEV_TX_TSO6 |
                               NETDEV_RX_CHECKSUM | NETDEV_RX_LARGE));
    expected_size = 60;
    expected_offload = (struct net_offload){0};
    for (unsigned pair = 0; pair < 3; pair++) {
        CHECK(put_frame(pair, (struct header){0}, expected, expected_size));
        CHECK(netdev->operations->poll(netdev, pair, 64) == 1);
    }
    link_changes = 0;
    sim.link = 0;
    virtio_config_interrupt(&sim.device);
    virtio_config_interrupt(&sim.device);
    CHECK(!netdev->link_up && link_changes == 1);
    sim.link = 1;
    virtio_config_interrupt(&sim.device);
    CHECK(netdev->link_up && link_changes == 2);
    sim.status |= VIRTIO_STATUS_NEEDS_RESET;
    virtio_config_interrupt(&sim.device);
    CHECK(!netdev->link_up && link_changes == 3);
    struct net_segment segment = {expected, 60};
    CHECK(netdev->operations->transmit(netdev, 0, &segment, 1, &expected_offload, expected) ==
          -ENODEV);
    end();
    start(1ull << 32, false, 4); /* nothing at all */
    CHECK(netdev->queue_count == 1 && netdev->mtu == 1500 && netdev->mac[0] == 0xfe &&
          netdev->features == 0);
    end();
}

/* Headers and lengths of every kind. */
static void test_hostile(uint64_t features)
{
    hostile = true;
    for (unsigned round = 0; round < 80; round++) {
        start(features, false, 1);
        struct sim_queue *q = &sim.queues[0];
        unsigned frames = 0, polled = 0;
        while (!sim.device.broken && frames < 400) {
            sim_take(q);
            for (unsigned burst = 1 + below(4); burst != 0 && q->held_count != 0; burst--) {
                struct sim_chain *chain = &q->held[0];
                struct header header = {(uint8_t)below(4),
                                        (uint8_t)below(6),
                                        (uint16_t)below(65536),
                                        (uint16_t)below(3000),
                                        (uint16_t)below(200),
                                        (uint16_t)below(200),
                                        (uint16_t)below(round % 2 != 0 ? 2 : 3)};
                memcpy(chain->buffers[0].data, &header, header_size());
                uint32_t most = chain->buffers[0].length + (below(2000) == 0);
                sim_use_as(q, 0, chain->id, below(4) == 0 ? below(40) : below(most) + 1);
                frames++;
            }
            polled += netdev->operations->poll(netdev, 0, 64);
            netdev->operations->enable_interrupt(netdev, 0);
            CHECK(polled <= frames);
        }
        CHECK(sim.device.broken ? !netdev->link_up : netdev->statistics.rx_errors > 0);
        end();
    }
    hostile = false;
}

/* What a driver sets up it keeps for ever. */
const char *__asan_default_options(void)
{
    return "detect_leaks=0";
}

int main(void)
{
    static const uint64_t formats[] = {1ull << 32, 1ull << 32 | VIRTIO_F_EVENT_IDX,
                                       1ull << 32 | VIRTIO_F_EVENT_IDX | VIRTIO_F_INDIRECT_DESC,
                                       1ull << 32 | VIRTIO_F_EVENT_IDX | VIRTIO_F_INDIRECT_DESC |
                                           VIRTIO_F_RING_PACKED};
    uint64_t single = ALL_NET & ~(1ull << 22);
    for (unsigned i = 0; i < 4; i++) {
        test_receive(single | formats[i], false);
        test_receive((single & ~(1ull << 15)) | formats[i], false);
        test_transmit(single | formats[i], false);
        test_kept(single | formats[i]);
        test_hostile(single | formats[i]);
    }
    test_receive(single, true);
    test_receive(1 << 5, true);
    test_transmit(single, true);
    test_configuration();
    return 0;
}
