/* SPDX-License-Identifier: MIT */
/* Virtqueues, split and packed, against a device written from the specification: contents, order,
 * wrap-around, indirect tables, notifications and interrupts with and without the event index. Then
 * devices that lie: nothing but their own queue may suffer. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "drivers/virtio/virtio_internal.h"
#include "fakes/check.h"
#include "hal.h"
#include "sim_queue.h"

#define MAX_CHAIN 12
#define INDIRECT_MAX 8
#define BUFFER_SIZE 24

/* --- what the queues need --------------------------------------------------------------------- */

static unsigned notifications;
static const char *broken_why;
static uint64_t seed = 1;

void virtio_break(struct virtio_device *device, const char *why)
{
    device->broken = true;
    broken_why = why;
}

static void notify(struct virtqueue *queue)
{
    (void)queue;
    notifications++;
}

static const struct virtio_transport modern = {.notify = notify};
static const struct virtio_transport legacy = {.legacy = true, .notify = notify};
static struct virtio_device device;

static unsigned below(unsigned limit)
{
    return (unsigned)(test_random(&seed) % limit);
}

/* --- the device ------------------------------------------------------------------------------- */

static struct sim_queue sim;

static void *part(unsigned index)
{
    return sim_part(&sim, index);
}

/* Answers a request: in-buffers are filled with the sum of the out-buffers. */
static void sim_use(unsigned index)
{
    struct sim_chain *chain = &sim.held[index];
    uint8_t sum = 0;
    uint32_t written = 0;
    for (unsigned i = 0; i < chain->count; i++) {
        for (uint32_t k = 0; k < chain->buffers[i].length; k++) {
            if (chain->buffers[i].write) {
                chain->buffers[i].data[k] = (uint8_t)(sum + written++);
            } else {
                sum = (uint8_t)(sum + chain->buffers[i].data[k]);
            }
        }
    }
    sim_use_as(&sim, index, chain->id, written);
}

/* --- the driver ------------------------------------------------------------------------------- */

struct request {
    bool in_flight;
    unsigned out, in;
    uint8_t sum;
    uint8_t *area;
    struct virtio_buffer buffers[MAX_CHAIN];
};

static struct virtqueue *make_queue(unsigned size, uint64_t features, unsigned indirect,
                                    const struct virtio_transport *transport)
{
    struct virtqueue *queue;
    device = (struct virtio_device){.features = features, .transport = transport};
    struct virtqueue_options options = {.indirect_max = (uint16_t)indirect, .area_size = 10};
    CHECK(virtqueue_create(&device, 0, size, &options, &queue) == 0);
    sim_start(&sim, queue);
    return queue;
}

static bool send(struct virtqueue *queue, struct request *request, unsigned out, unsigned in)
{
    *request = (struct request){.out = out, .in = in};
    uint8_t *area = virtqueue_area(queue);
    for (unsigned i = 0; i < out + in; i++) {
        uint32_t length = 1 + below(BUFFER_SIZE);
        request->buffers[i] = (struct virtio_buffer){malloc(length), length};
        for (uint32_t k = 0; k < length; k++) {
            uint8_t byte = (uint8_t)below(256);
            ((uint8_t *)request->buffers[i].data)[k] = byte;
            request->sum = (uint8_t)(request->sum + (i < out ? byte : 0));
        }
    }
    int error = virtqueue_add(queue, request->buffers, out, in, request);
    CHECK(error == 0 || error == -ENOBUFS);
    if (error == 0) {
        CHECK(area != NULL);
        memset(area, 0xa5, 10);
        request->area = area;
        request->in_flight = true;
        return true;
    }
    for (unsigned i = 0; i < out + in; i++) {
        free(request->buffers[i].data);
    }
    return false;
}

static void finish(struct request *request, uint32_t length, bool check)
{
    uint32_t at = 0;
    CHECK(request->in_flight);
    request->in_flight = false;
    for (unsigned i = 0; i < request->out + request->in; i++) {
        uint8_t *data = request->buffers[i].data;
        for (uint32_t k = 0; i >= request->out && k < request->buffers[i].length; k++) {
            CHECK(!check || data[k] == (uint8_t)(request->sum + at));
            at++;
        }
        free(data);
    }
    CHECK(!check || length == at);
    for (unsigned i = 0; check && i < 10; i++) {
        CHECK(request->area[i] == 0xa5);
    }
}

static unsigned receive(struct virtqueue *queue, bool check)
{
    uint32_t length;
    struct request *request;
    unsigned count = 0;
    while ((request = virtqueue_get(queue, &length)) != NULL) {
        finish(request, length, check);
        count++;
    }
    return count;
}

/* Random traffic. The device is told whenever it waits, the driver whenever it waits. */
static void test_traffic(unsigned size, uint64_t features, unsigned indirect)
{
    static struct request requests[1024];
    struct virtqueue *queue = make_queue(size, features | VIRTIO_F_VERSION_1, indirect, &modern);
    unsigned in_flight = 0, unseen = 0, full = 0;
    unsigned longest = indirect > size ? indirect : size < MAX_CHAIN ? size : MAX_CHAIN;
    bool waiting = false; /* the driver has been promised an interrupt */
    sim_take(&sim);
    for (unsigned round = 0; round < 30000; round++) {
        switch (below(4)) {
        case 0: {
            unsigned before = notifications, added = 0;
            for (unsigned burst = 1 + below(4); burst != 0; burst--) {
                unsigned total = 1 + below(longest), out = below(total + 1);
                struct request *request = requests;
                while (request->in_flight) {
                    request++;
                }
                bool sent = send(queue, request, out, total - out);
                added += sent;
                full += !sent;
            }
            virtqueue_kick(queue);
            in_flight += added;
            unseen += added;
            CHECK(queue->event_index || notifications == before + (added != 0));
            /* It went to sleep at some time before these. */
            CHECK(unseen != added || added == 0 || notifications == before + 1);
            virtqueue_kick(queue);
            CHECK(notifications <= before + 1);
            break;
        }
        case 1:
            sim_take(&sim);
            unseen = 0;
            CHECK(sim.held_count <= in_flight);
            break;
        case 2: {
            unsigned before = sim.interrupts, done = 0;
            for (unsigned burst = below(5); burst != 0 && sim.held_count != 0; burst--) {
                sim_use(below(sim.held_count));
                done++;
            }
            if (waiting && done != 0) {
                CHECK(sim.interrupts > before);
                waiting = false;
                virtqueue_disable_interrupt(queue);
            }
            break;
        }
        default:
            if (!waiting) {
                in_flight -= receive(queue, true);
                CHECK(!virtqueue_pending(queue));
                waiting = virtqueue_enable_interrupt(queue, 1);
                CHECK(waiting);
            }
        }
        CHECK(virtqueue_in_flight(queue) == in_flight);
        CHECK(!device.broken, "%s", broken_why);
    }
    CHECK(full > 100);
    sim_take(&sim);
    while (sim.held_count != 0) {
        sim_use(0);
    }
    receive(queue, true);
    CHECK(virtqueue_in_flight(queue) == 0);
    virtqueue_destroy(queue);
}

/* With the event index one interrupt for many, and none that nobody asked for. */
static void test_delayed_interrupt(uint64_t features)
{
    static struct request requests[64];
    struct virtqueue *queue =
        make_queue(64, features | VIRTIO_F_EVENT_IDX | VIRTIO_F_VERSION_1, 0, &modern);
    for (unsigned lap = 0; lap < 10; lap++) {
        for (unsigned i = 0; i < 64; i++) {
            CHECK(send(queue, &requests[i], 1, 0));
        }
        virtqueue_kick(queue);
        sim_take(&sim);
        unsigned before = sim.interrupts;
        CHECK(virtqueue_enable_interrupt(queue, 48));
        for (unsigned i = 0; i < 47; i++) {
            sim_use(0);
        }
        CHECK(sim.interrupts == before);
        sim_use(0);
        CHECK(sim.interrupts == before + 1);
        while (sim.held_count != 0) {
            sim_use(0);
        }
        CHECK(sim.interrupts == before + 1 && !virtqueue_enable_interrupt(queue, 1));
        CHECK(receive(queue, true) == 64);
    }
    virtqueue_destroy(queue);
}

/* Gives up a queue with chains in it. */
static void abandon(struct virtqueue *queue, struct request *requests, unsigned count)
{
    for (unsigned i = 0; i < count; i++) {
        if (requests[i].in_flight) {
            finish(&requests[i], 0, false);
        }
    }
    virtqueue_destroy(queue);
}

/* Known lies, one by one: each closes the device, and it stays closed. */
static void test_lies(uint64_t features)
{
    for (unsigned lie = 0; lie < 5; lie++) {
        static struct request requests[8];
        struct virtqueue *queue = make_queue(8, features | VIRTIO_F_VERSION_1, 0, &modern);
        memset(requests, 0, sizeof(requests));
        for (unsigned i = 0; i < 3; i++) {
            CHECK(send(queue, &requests[i], 1, 1));
        }
        virtqueue_kick(queue);
        sim_take(&sim);
        uint32_t id = sim.held[0].id, capacity = sim.held[0].buffers[1].length;
        if (lie == 0) {
            sim_use_as(&sim, 0, 0xffff, 0); /* no such id */
        } else if (lie == 1) {
            sim_use_as(&sim, 0, id + 7, 0); /* not in flight */
        } else if (lie == 2) {
            sim_use_as(&sim, 0, id, capacity + 1); /* too long */
        } else if (lie == 3) {
            sim_use_as(&sim, 0, id, 0); /* twice */
            sim_use_as(&sim, 0, id, 0);
        } else if (!queue->is_packed) {
            ((uint16_t *)part(2))[1] = 9; /* more than there are */
        } else {
            sim_use_as(&sim, 0, 3, 0); /* the middle of a chain, as it were */
        }
        receive(queue, false);
        CHECK(device.broken, "lie %u", lie);
        CHECK(virtqueue_get(queue, NULL) == NULL && !virtqueue_pending(queue));
        struct virtio_buffer buffer = {requests, 1};
        CHECK(virtqueue_add(queue, &buffer, 1, 0, requests) == -EIO);
        abandon(queue, requests, 8);
    }
}

/* A legacy device may count too much (2.7.8.3). */
static void test_legacy_length(void)
{
    static struct request request;
    struct virtqueue *queue = make_queue(8, 0, 0, &legacy);
    CHECK(queue->parts[2] % PAGE_SIZE == queue->parts[0] % PAGE_SIZE);
    CHECK(send(queue, &request, 1, 1));
    virtqueue_kick(queue);
    sim_take(&sim);
    sim_use_as(&sim, 0, sim.held[0].id, 4000);
    uint32_t length;
    CHECK(virtqueue_get(queue, &length) == &request && length == request.buffers[1].length);
    finish(&request, length, false);
    virtqueue_destroy(queue);
}

/* The device writes anything anywhere in its rings. */
static void test_scribbling(unsigned size, uint64_t features, unsigned indirect)
{
    static struct request requests[1024];
    for (unsigned round = 0; round < 400; round++) {
        struct virtqueue *queue =
            make_queue(size, features | VIRTIO_F_VERSION_1, indirect, &modern);
        memset(requests, 0, sizeof(requests));
        size_t bytes = PAGE_SIZE << queue->ring_order;
        for (unsigned step = 0; step < 200; step++) {
            uint8_t *ring = part(0);
            struct request *request = requests;
            while (request->in_flight) {
                request++;
            }
            if (!device.broken) {
                send(queue, request, 1 + below(2), below(2));
            }
            virtqueue_kick(queue);
            for (unsigned i = below(8); i != 0; i--) {
                ring[below((unsigned)bytes)] = (uint8_t)below(256);
            }
            /* Something that looks right. */
            if (queue->is_packed) {
                struct sim_descriptor *d = (struct sim_descriptor *)ring + below(size);
                d->id_or_flags = (uint16_t)below(size + 1);
                d->next_or_flags = below(2) != 0 ? 0x8080 : 0;
            } else {
                uint16_t *used = part(2);
                ((uint32_t *)(used + 2))[below(size) * 2] = below(size + 1);
                used[1] = (uint16_t)(used[1] + below(3));
            }
            receive(queue, false);
            virtqueue_enable_interrupt(queue, 1 + below(size));
        }
        abandon(queue, requests, 1024);
    }
}

int main(void)
{
    static const uint64_t formats[] = {0, VIRTIO_F_RING_PACKED};
    static const uint64_t extras[] = {0, VIRTIO_F_EVENT_IDX, VIRTIO_F_INDIRECT_DESC,
                                      VIRTIO_F_INDIRECT_DESC | VIRTIO_F_EVENT_IDX};
    static const unsigned sizes[] = {1, 2, 8, 64, 256};
    for (unsigned format = 0; format < 2; format++) {
        for (unsigned extra = 0; extra < 4; extra++) {
            for (unsigned i = 0; i < 5; i++) {
                uint64_t features = formats[format] | extras[extra];
                unsigned indirect = (features & VIRTIO_F_INDIRECT_DESC) != 0 ? INDIRECT_MAX : 0;
                test_traffic(sizes[i], features, indirect);
                test_scribbling(sizes[i], features, indirect);
            }
            test_lies(formats[format] | extras[extra]);
        }
        test_delayed_interrupt(formats[format]);
    }
    test_legacy_length();
    return 0;
}
