/* SPDX-License-Identifier: MIT */
/* Virtio devices whatever their transport (virtio 1.2, chapters 2 and 3): drivers, features,
 * configuration, interrupts. A device is set up by one thread; `broken` is the only thing that
 * changes afterwards, atomically. */
#include <linux/errno.h>

#include "core/lib/log.h"
#include "core/lib/string.h"
#include "core/mm/kmalloc.h"
#include "drivers/virtio/virtio_drivers.h"
#include "drivers/virtio/virtio_internal.h"
#include "hal.h"

#define RESET_PATIENCE_NS 1000000000ull
#define GENERATION_TRIES 16

/* What queues and this file make use of. */
#define COMMON_FEATURES                                                                            \
    (VIRTIO_F_ANY_LAYOUT | VIRTIO_F_INDIRECT_DESC | VIRTIO_F_EVENT_IDX | VIRTIO_F_VERSION_1 |      \
     VIRTIO_F_ACCESS_PLATFORM | VIRTIO_F_RING_PACKED)

static const struct {
    uint32_t id;
    virtio_probe_fn *probe;
} drivers[] = {
    {VIRTIO_ID_BLOCK, virtio_blk_probe},
    {VIRTIO_ID_ENTROPY, virtio_entropy_probe},
    {VIRTIO_ID_NET, virtio_net_probe},
    {VIRTIO_ID_9P, virtio_9p_probe},
};
#define DRIVER_COUNT (sizeof(drivers) / sizeof(drivers[0]))

static virtio_probe_fn *find_driver(uint32_t id)
{
    for (unsigned i = 0; i < DRIVER_COUNT; i++) {
        if (drivers[i].id == id) {
            return drivers[i].probe;
        }
    }
    return NULL;
}

bool virtio_has_driver(uint32_t id)
{
    return find_driver(id) != NULL;
}

/* --- set-up (3.1.1) --------------------------------------------------------------------------- */

static void add_status(struct virtio_device *device, uint8_t bits)
{
    device->transport->set_status(device, (uint8_t)(device->transport->status(device) | bits));
}

static int reset(struct virtio_device *device)
{
    uint64_t deadline = hal_clock_monotonic() + RESET_PATIENCE_NS;
    device->transport->set_status(device, 0);
    while (device->transport->status(device) != 0) {
        if (hal_clock_monotonic() > deadline) {
            return -EIO;
        }
        hal_spin_hint();
    }
    return 0;
}

static int start(struct virtio_device *device)
{
    int error = reset(device);
    if (error == 0) {
        add_status(device, VIRTIO_STATUS_ACKNOWLEDGE);
        add_status(device, VIRTIO_STATUS_DRIVER);
        error = device->transport->connect(device);
    }
    return error != 0 ? error : find_driver(device->id)(device);
}

void virtio_device_found(struct virtio_device *device)
{
    int error = start(device);
    if (error == 0) {
        return;
    }
    log_warn("virtio: %s (type %u) cannot be used: error %d", device->name, device->id, -error);
    __atomic_store_n(&device->broken, true, __ATOMIC_RELAXED);
    if (reset(device) != 0) {
        return; /* it may still write into its queues */
    }
    while (device->queues != NULL) {
        struct virtqueue *queue = device->queues;
        device->queues = queue->next;
        virtqueue_destroy(queue);
    }
}

uint64_t virtio_offered(struct virtio_device *device)
{
    const struct virtio_transport *transport = device->transport;
    uint64_t offered = transport->offered(device, 0);
    return transport->legacy ? offered : offered | (uint64_t)transport->offered(device, 1) << 32;
}

int virtio_negotiate(struct virtio_device *device, uint64_t wanted)
{
    const struct virtio_transport *transport = device->transport;
    uint64_t offered = virtio_offered(device);
    if (!transport->legacy && (offered & VIRTIO_F_VERSION_1) == 0) {
        return -ENODEV;
    }
    device->features = offered & (wanted | COMMON_FEATURES);
    transport->accept(device, 0, (uint32_t)device->features);
    if (!transport->legacy) {
        transport->accept(device, 1, (uint32_t)(device->features >> 32));
        add_status(device, VIRTIO_STATUS_FEATURES_OK);
        if ((transport->status(device) & VIRTIO_STATUS_FEATURES_OK) == 0) {
            return -ENODEV;
        }
    }
    log_debug("virtio: %s: type %u, features %#llx of %#llx", device->name, device->id,
              (unsigned long long)device->features, (unsigned long long)offered);
    return 0;
}

int virtio_open_vector(struct virtio_device *device, unsigned cpu, hal_interrupt_fn *handler,
                       void *context, struct virtio_vector **out)
{
    struct virtio_vector *vector = kzalloc(sizeof(*vector));
    if (vector == NULL) {
        return -ENOMEM;
    }
    vector->handler = handler;
    vector->context = context;
    int error = device->transport->open_vector(device, vector, cpu);
    if (error != 0) {
        kfree(vector);
        return error;
    }
    vector->next = device->vectors;
    __atomic_store_n(&device->vectors, vector, __ATOMIC_RELEASE);
    *out = vector;
    return 0;
}

int virtio_open_queue(struct virtio_device *device, unsigned index,
                      const struct virtqueue_options *options, struct virtqueue **out)
{
    const struct virtio_transport *transport = device->transport;
    unsigned size = transport->queue_size(device, index);
    if (size == 0 || size > 32768) { /* 2.6 */
        return -ENOENT;
    }
    if (options->size_max != 0 && options->size_max < size && !transport->fixed_size) {
        size = options->size_max;
    }
    while ((size & (size - 1)) != 0) {
        size &= size - 1; /* the largest power of two in it */
    }
    struct virtqueue *queue;
    int error = virtqueue_create(device, index, size, options, &queue);
    if (error == 0) {
        error = transport->enable_queue(device, queue);
        if (error == 0) {
            queue->next = device->queues;
            device->queues = queue;
            *out = queue;
        } else {
            virtqueue_destroy(queue);
        }
    }
    return error;
}

void virtio_start(struct virtio_device *device)
{
    add_status(device, VIRTIO_STATUS_DRIVER_OK);
}

/* --- configuration (2.5) ---------------------------------------------------------------------- */

void virtio_config_read(struct virtio_device *device, unsigned offset, void *to, size_t size)
{
    const struct virtio_transport *transport = device->transport;
    unsigned width = size == 2 || size == 4 ? (unsigned)size : size == 8 ? 4 : 1;
    uint32_t before, after;
    unsigned tries = 0;
    do {
        before = transport->generation(device);
        for (size_t at = 0; at < size; at += width) {
            uint32_t value = transport->config(device, offset + (unsigned)at, width);
            memcpy((char *)to + at, &value, width);
        }
        after = transport->generation(device);
    } while (before != after && ++tries < GENERATION_TRIES);
    if (before != after) {
        virtio_break(device, "its configuration never settles");
    }
}

/* --- interrupts ------------------------------------------------------------------------------- */

void virtio_break(struct virtio_device *device, const char *why)
{
    if (__atomic_exchange_n(&device->broken, true, __ATOMIC_RELAXED)) {
        return;
    }
    log_warn("virtio: %s (type %u): %s; it is closed", device->name, device->id, why);
    /* A device that is reset writes to no buffer any more (2.4): they go back to their owners. */
    device->transport->set_status(device, 0);
    device->transport->set_status(device, VIRTIO_STATUS_FAILED);
    if (device->changed != NULL) {
        device->changed(device);
    }
}

void virtio_config_interrupt(struct virtio_device *device)
{
    if ((device->transport->status(device) & VIRTIO_STATUS_NEEDS_RESET) != 0) {
        virtio_break(device, "it is gone or asks for a reset");
    } else if (device->changed != NULL) {
        device->changed(device);
    }
}

void virtio_queue_interrupt(struct virtio_device *device)
{
    for (struct virtio_vector *vector = __atomic_load_n(&device->vectors, __ATOMIC_ACQUIRE);
         vector != NULL; vector = vector->next) {
        vector->handler(vector->context);
    }
}
