/* SPDX-License-Identifier: MIT */
/* The block driver against a device written from the specification: requests of every kind, cut
 * into parts, more than fit into a queue, answered out of order; limits that make no sense; errors;
 * a device that breaks with requests in flight. */
#include <errno.h>
#include <sanitizer/lsan_interface.h>
#include <stdlib.h>
#include <string.h>

#include "blockdev.h"
#include "core/lib/log.h"
#include "drivers/virtio/virtio_drivers.h"
#include "fakes/check.h"
#include "hal.h"
#include "sim_queue.h"

#define MAX_QUEUES 4
#define SECTORS 4096u
#define F(bit) (1ull << (bit))

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
    return now += 1000000;
}

unsigned hal_cpu_count(void)
{
    return cpus;
}

int virtio_entropy_probe(struct virtio_device *device)
{
    (void)device;
    return -ENODEV;
}

int virtio_net_probe(struct virtio_device *device)
{
    (void)device;
    return -ENODEV;
}

static struct blockdev *found;
static unsigned changes;

void core_blockdev_found(struct blockdev *device)
{
    found = device;
}

void core_blockdev_changed(struct blockdev *device)
{
    CHECK(device == found, "another device");
    changes++;
}

/* --- the device ------------------------------------------------------------------------------- */

static struct {
    struct virtio_device device;
    uint64_t offered, accepted, capacity;
    uint8_t status, writeback;
    uint32_t size_max, seg_max, block_size, discard_max;
    uint16_t queue_count;
    unsigned queue_size;
    struct sim_queue queues[MAX_QUEUES];
    uint8_t bytes[SECTORS * SECTOR_SIZE];
    bool answers; /* at once, when it is told of a request */
    uint8_t answer;
    unsigned flushes, discards, parts, resets, zeroes;
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
    sim.resets += value == 0;
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
}

static uint32_t generation(struct virtio_device *device)
{
    (void)device;
    return 0;
}

static uint32_t config(struct virtio_device *device, unsigned offset, unsigned width)
{
    (void)device;
    (void)width;
    switch (offset) {
    case 0:
        return (uint32_t)sim.capacity;
    case 4:
        return (uint32_t)(sim.capacity >> 32);
    case 8:
        return sim.size_max;
    case 12:
        return sim.seg_max;
    case 20:
        return sim.block_size;
    case 32:
        return sim.writeback;
    case 34:
        return sim.queue_count;
    case 36:
    case 48:
        return sim.discard_max;
    default:
        CHECK(false, "configuration at %u", offset);
    }
    return 0;
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
    CHECK(cpu < cpus, "CPU %u", cpu);
    return 0;
}

static unsigned queue_size(struct virtio_device *device, unsigned index)
{
    (void)device;
    return index < sim.queue_count ? sim.queue_size : 0;
}

static int enable_queue(struct virtio_device *device, struct virtqueue *queue)
{
    (void)device;
    sim_start(&sim.queues[queue->index], queue);
    return 0;
}

/* Does one request; how many bytes were written into its buffers. */
static uint32_t serve(struct sim_chain *chain)
{
    CHECK(chain->count >= 2 && chain->buffers[0].length == 16 && !chain->buffers[0].write,
          "header");
    CHECK(chain->buffers[chain->count - 1].length == 1 && chain->buffers[chain->count - 1].write,
          "status");
    uint32_t type, written = 0;
    uint64_t sector;
    memcpy(&type, chain->buffers[0].data, 4);
    memcpy(&sector, chain->buffers[0].data + 8, 8);
    uint64_t at = sector * SECTOR_SIZE;
    for (unsigned i = 1; i + 1 < chain->count; i++) {
        uint32_t length = chain->buffers[i].length;
        CHECK(length != 0 && ((sim.offered & F(1)) == 0 || length <= sim.size_max), "part of %u",
              length);
        sim.parts++;
        if (type == 0 || type == 1) {
            CHECK(chain->buffers[i].write == (type == 0) && at + length <= sizeof(sim.bytes),
                  "type %u", type);
            if (sim.answer == 0) {
                memcpy(type == 0 ? chain->buffers[i].data : sim.bytes + at,
                       type == 0 ? sim.bytes + at : chain->buffers[i].data, length);
            }
            written += type == 0 ? length : 0;
            at += length;
        } else if (type == 8) {
            CHECK(length == 20 && chain->buffers[i].write, "identity");
            memcpy(chain->buffers[i].data, "SERIAL\1number", 14);
            written += 20;
        } else {
            uint32_t count, flags;
            CHECK((type == 11 || type == 13) && length == 16 && !chain->buffers[i].write, "type %u",
                  type);
            memcpy(&sector, chain->buffers[i].data, 8);
            memcpy(&count, chain->buffers[i].data + 8, 4);
            memcpy(&flags, chain->buffers[i].data + 12, 4);
            CHECK(flags == 0, "flags %#x", flags);
            memset(sim.bytes + sector * SECTOR_SIZE, 0, (size_t)count * SECTOR_SIZE);
            sim.discards += type == 11;
            sim.zeroes += type == 13;
        }
    }
    sim.flushes += type == 4;
    *chain->buffers[chain->count - 1].data = sim.answer;
    return written + 1;
}

/* Answers what is there, in a random order, and interrupts, until nothing is left. */
static void run(unsigned index)
{
    struct sim_queue *q = &sim.queues[index];
    sim_take(q);
    do {
        while (q->held_count != 0) {
            unsigned chosen = (unsigned)(test_random(&seed) % q->held_count);
            uint32_t written = serve(&q->held[chosen]);
            sim_use_as(q, chosen, q->held[chosen].id, written);
        }
        q->queue->vector->handler(q->queue->vector->context);
        sim_take(q);
    } while (q->held_count != 0);
}

static void notify(struct virtqueue *queue)
{
    if (sim.answers) {
        struct sim_queue *q = &sim.queues[queue->index];
        sim_take(q);
        while (q->held_count != 0) {
            uint32_t written = serve(&q->held[0]);
            sim_use_as(q, 0, q->held[0].id, written);
        }
    }
}

static const struct virtio_transport transports[] = {
    {false, false, status, set_status, offered, accept, generation, config, connect, open_vector,
     queue_size, enable_queue, notify},
    {true, true, status, set_status, offered, accept, generation, config, connect, open_vector,
     queue_size, enable_queue, notify},
};

/* --- tests ------------------------------------------------------------------------------------ */

#define ALL (F(1) | F(2) | F(6) | F(9) | F(11) | F(12) | F(13) | F(14))

#define MODERN (ALL | VIRTIO_F_VERSION_1)

static void set_up(uint64_t features, bool legacy, unsigned cpu_count)
{
    memset(&sim, 0, sizeof(sim));
    cpus = cpu_count;
    sim.offered = features;
    sim.capacity = SECTORS;
    sim.size_max = 1 << 20;
    sim.seg_max = 126;
    sim.block_size = 512;
    sim.discard_max = 1000;
    sim.writeback = 1;
    sim.queue_count = (features & F(12)) != 0 ? MAX_QUEUES : 1;
    sim.queue_size = 256;
    sim.answers = true;
    sim.device.id = VIRTIO_ID_BLOCK;
    sim.device.transport = &transports[legacy];
    found = NULL;
    changes = 0;
    for (size_t i = 0; i < sizeof(sim.bytes); i++) {
        sim.bytes[i] = (uint8_t)test_random(&seed);
    }
}

static void start(uint64_t features, bool legacy, unsigned cpu_count)
{
    set_up(features, legacy, cpu_count);
    virtio_device_found(&sim.device);
    CHECK(found != NULL && (sim.status & VIRTIO_STATUS_DRIVER_OK) != 0, "it works");
    sim.answers = false;
}

static void end(void)
{
    struct virtqueue *next;
    for (struct virtqueue *queue = sim.device.queues; queue != NULL; queue = next) {
        next = queue->next;
        free(queue->vector);
        virtqueue_destroy(queue);
    }
    if (found != NULL) {
        free(found);
    }
}

struct test_request {
    struct block_request request;
    struct block_segment segments[32];
    uint8_t *bytes;
    unsigned done;
    int error;
};

static unsigned outstanding;

static void request_done(struct block_request *request, int error)
{
    struct test_request *test = (struct test_request *)request;
    test->done++;
    test->error = error;
    outstanding--;
}

/* A request of random segments; its bytes follow each other in test->bytes. */
static void submit(struct test_request *test, enum block_operation operation, uint64_t sector,
                   uint32_t size)
{
    memset(test, 0, sizeof(*test));
    test->request = (struct block_request){
        .operation = operation, .sector = sector, .segments = test->segments, .done = request_done};
    if (operation == BLOCK_DISCARD || operation == BLOCK_WRITE_ZEROES) {
        test->request.sector_count = size / SECTOR_SIZE;
    } else if (operation != BLOCK_FLUSH) {
        test->bytes = aligned_alloc(512, size);
        for (uint32_t at = 0, piece; at < size; at += piece) {
            uint32_t left = found->segment_max - test->request.segment_count;
            piece = left == 1 ? size - at
                              : ((uint32_t)(test_random(&seed) % (size - at)) & ~511u) + 512;
            piece = piece < size - at ? piece : size - at;
            test->segments[test->request.segment_count++] =
                (struct block_segment){test->bytes + at, piece};
        }
        for (uint32_t i = 0; operation == BLOCK_WRITE && i < size; i++) {
            test->bytes[i] = (uint8_t)test_random(&seed);
        }
    }
    outstanding++;
    found->operations->submit(found, &test->request);
}

static void test_requests(uint64_t features, bool legacy, uint32_t size_max)
{
    static struct test_request tests[300];
    static uint8_t model[sizeof(sim.bytes)];
    set_up(features, legacy, 1);
    sim.size_max = size_max;
    virtio_device_found(&sim.device);
    CHECK(found != NULL, "it works");
    sim.answers = false;
    CHECK(strcmp(found->serial, "SERIAL?number") == 0, "serial %s", found->serial);
    CHECK(found->sector_count == SECTORS && found->block_size == 512 && found->can_flush &&
              !found->read_only && found->request_max % 4096 == 0 && found->request_max != 0,
          "%u bytes in a request", found->request_max);
    memcpy(model, sim.bytes, sizeof(model));
    for (unsigned round = 0; round < 40; round++) {
        /* More than fit, of which none overlaps another. */
        unsigned count = 1 + (unsigned)(test_random(&seed) % 300);
        uint32_t slot = SECTORS / 300;
        for (unsigned i = 0; i < count; i++) {
            uint64_t choice = test_random(&seed) % 9;
            enum block_operation operation = choice < 4   ? BLOCK_READ
                                             : choice < 6 ? BLOCK_WRITE
                                             : choice < 7 ? BLOCK_FLUSH
                                             : choice < 8 ? BLOCK_DISCARD
                                                          : BLOCK_WRITE_ZEROES;
            uint32_t sectors = 1 + (uint32_t)(test_random(&seed) % slot);
            uint32_t size = sectors * SECTOR_SIZE;
            size = size < found->request_max ? size : found->request_max;
            if ((operation == BLOCK_DISCARD && found->discard_max == 0) ||
                (operation == BLOCK_WRITE_ZEROES && found->zeroes_max == 0)) {
                operation = BLOCK_READ;
            }
            submit(&tests[i], operation, (uint64_t)i * slot, size);
            uint8_t *at = model + (size_t)i * slot * SECTOR_SIZE;
            if (operation == BLOCK_WRITE) {
                memcpy(at, tests[i].bytes, size);
            } else if (operation == BLOCK_DISCARD || operation == BLOCK_WRITE_ZEROES) {
                memset(at, 0, size);
            }
        }
        CHECK(outstanding == count, "%u answered early", count - outstanding);
        run(0);
        CHECK(outstanding == 0, "%u not answered", outstanding);
        for (unsigned i = 0; i < count; i++) {
            CHECK(tests[i].done == 1 && tests[i].error == 0, "answered %u times, %d", tests[i].done,
                  tests[i].error);
            if (tests[i].request.operation == BLOCK_READ) {
                CHECK(memcmp(tests[i].bytes, model + (size_t)i * slot * SECTOR_SIZE,
                             tests[i].segments[0].length) == 0,
                      "read %u", i);
            }
            free(tests[i].bytes);
        }
        CHECK(memcmp(sim.bytes, model, sizeof(model)) == 0, "written");
    }
    CHECK(sim.flushes != 0 && sim.parts != 0 && (sim.discards != 0) == (found->discard_max != 0) &&
              (sim.zeroes != 0) == (found->zeroes_max != 0),
          "%u flushes", sim.flushes);
    end();
}

static void test_errors(void)
{
    static struct test_request test;
    start(MODERN, false, 1);
    static const struct {
        uint8_t status;
        int error;
    } table[] = {{0, 0}, {1, -EIO}, {2, -EOPNOTSUPP}, {3, -EIO}, {0xff, -EIO}};
    for (unsigned i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
        sim.answer = table[i].status;
        submit(&test, BLOCK_READ, 8, 4096);
        run(0);
        CHECK(test.done == 1 && test.error == table[i].error, "status %u: %d", table[i].status,
              test.error);
        free(test.bytes);
    }
    sim.capacity = SECTORS / 2;
    sim.device.changed(&sim.device);
    CHECK(changes == 1 && found->sector_count == SECTORS / 2, "smaller");
    sim.device.changed(&sim.device);
    CHECK(changes == 1, "no change");
    end();
}

/* It goes away, or says that it needs a reset, while it has requests and others wait; new ones fail
 * at once. What is left of it writes to no buffer any more. */
static void test_leaving(uint8_t last_status)
{
    static struct test_request tests[200], late;
    start(MODERN, false, 1);
    for (unsigned i = 0; i < 200; i++) {
        submit(&tests[i], BLOCK_READ, i, 512);
    }
    sim.status |= last_status;
    sim.resets = 0;
    virtio_config_interrupt(&sim.device);
    CHECK(sim.resets == 1 && sim.status == VIRTIO_STATUS_FAILED, "status %#x", sim.status);
    virtio_config_interrupt(&sim.device);
    CHECK(sim.resets == 1, "closed once");
    CHECK(outstanding == 0 && changes == 1 && found->sector_count == 0, "%u left", outstanding);
    for (unsigned i = 0; i < 200; i++) {
        CHECK(tests[i].done == 1 && tests[i].error == -ENODEV, "%d", tests[i].error);
        free(tests[i].bytes);
    }
    submit(&late, BLOCK_READ, 0, 512);
    CHECK(late.done == 1 && late.error == -ENODEV, "%d", late.error);
    free(late.bytes);
    end();
}

/* An answer to something that was never asked breaks it, inside of the driver. */
static void test_broken(void)
{
    static struct test_request late;
    start(MODERN, false, 1);
    submit(&late, BLOCK_READ, 0, 512);
    sim_take(&sim.queues[0]);
    sim_use_as(&sim.queues[0], 0, 77, 513);
    run(0);
    CHECK(late.done == 1 && late.error == -ENODEV && sim.device.broken, "%d", late.error);
    free(late.bytes);
    end();
}

static void test_limits(void)
{
    static const struct {
        uint64_t features;
        uint32_t size_max, seg_max, block_size;
        bool good;
    } table[] = {
        {MODERN, 4096, 1, 512, true},      {MODERN, 512, 1, 512, false},
        {MODERN, 512, 126, 512, true},     {MODERN, 0, 126, 512, false},
        {MODERN, 65536, 0, 512, false},    {MODERN, 65536, 126, 0, false},
        {MODERN, 65536, 126, 1000, false}, {MODERN, 65536, 126, 4096, true},
        {MODERN, 65536, 126, 8192, false}, {VIRTIO_F_VERSION_1, 0, 0, 0, true},
    };
    for (unsigned i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
        set_up(table[i].features, false, 1);
        sim.size_max = table[i].size_max;
        sim.seg_max = table[i].seg_max;
        sim.block_size = table[i].block_size;
        __lsan_disable(); /* a driver that gives up leaves what interrupts may refer to */
        virtio_device_found(&sim.device);
        __lsan_enable();
        CHECK((found != NULL) == table[i].good, "limits %u", i);
        if (found != NULL) {
            CHECK(found->segment_max != 0 && found->request_max >= 4096, "limits %u", i);
            end();
        }
    }
    /* Enormous and read-only. */
    set_up(MODERN | F(5), false, 1);
    sim.capacity = UINT64_MAX;
    virtio_device_found(&sim.device);
    CHECK(found->read_only && found->sector_count > 1ull << 53 &&
              found->sector_count <= UINT64_MAX >> 10,
          "%lu sectors", found->sector_count);
    end();
    /* Write-through: nothing to flush. */
    set_up(MODERN, false, 1);
    sim.writeback = 0;
    virtio_device_found(&sim.device);
    CHECK(!found->can_flush, "flush");
    end();
    /* A device that does not answer the question for its identity works all the same. */
    set_up(MODERN, false, 4);
    sim.answers = false;
    virtio_device_found(&sim.device);
    CHECK(found != NULL && found->serial[0] == '\0' && sim.device.queues != NULL, "no serial");
    run(0);
    static struct test_request test;
    submit(&test, BLOCK_READ, 0, 512);
    run(0);
    CHECK(test.done == 1 && test.error == 0, "%d", test.error);
    free(test.bytes);
    end();
}

int main(void)
{
    const uint64_t modern = VIRTIO_F_VERSION_1, indirect = VIRTIO_F_INDIRECT_DESC;
    test_requests(ALL | modern | indirect | VIRTIO_F_EVENT_IDX, false, 1 << 20);
    test_requests(ALL | modern | indirect | VIRTIO_F_RING_PACKED, false, 1 << 20);
    test_requests(ALL | modern, false, 4096);
    test_requests((ALL & ~(F(13) | F(14))) | indirect, true, 1536);
    test_errors();
    test_leaving(VIRTIO_STATUS_NEEDS_RESET);
    test_leaving(0xff);
    test_broken();
    test_limits();
    return 0;
}
