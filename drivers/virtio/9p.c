/* SPDX-License-Identifier: MIT */
/* The 9P transport (virtio-v1.2 leaves device 9 to the Linux driver's header, linux/virtio_9p.h):
 * one queue of requests, each chain a message for the server to read and room for its answer. A
 * server is found by the tag in the configuration space. `lock` guards the queue. */
#include <linux/errno.h>

#include "core/lib/spinlock.h"
#include "core/lib/string.h"
#include "core/mm/kmalloc.h"
#include "drivers/virtio/virtio.h"
#include "drivers/virtio/virtio_drivers.h"
#include "ninepdev.h"

#define MOUNT_TAG 1ull /* VIRTIO_9P_MOUNT_TAG: the configuration holds the tag */
#define CAPACITY 32u   /* requests at a time, if the queue has room for them */

struct ninep_device {
    struct ninep_channel channel; /* first */
    struct virtio_device *device;
    struct virtqueue *queue;
    struct spinlock lock;
};

static int send(struct ninep_channel *channel, const struct ninep_buffer *buffers, unsigned out,
                unsigned in, void *token)
{
    struct ninep_device *self = (struct ninep_device *)channel;
    struct virtio_buffer chain[NINEP_BUFFERS_MAX];
    for (unsigned i = 0; i < out + in; i++) {
        chain[i] = (struct virtio_buffer){buffers[i].data, buffers[i].length};
    }
    bool irq = spin_lock_irqsave(&self->lock);
    int error = virtqueue_add(self->queue, chain, out, in, token);
    if (error == 0) {
        virtqueue_kick(self->queue);
    }
    spin_unlock_irqrestore(&self->lock, irq);
    return error != 0 ? -EIO : 0;
}

static void *get(struct ninep_device *self, uint32_t *length)
{
    bool irq = spin_lock_irqsave(&self->lock);
    void *token = virtqueue_get(self->queue, length);
    spin_unlock_irqrestore(&self->lock, irq);
    return token;
}

static bool enable(struct ninep_device *self)
{
    bool irq = spin_lock_irqsave(&self->lock);
    bool enabled = virtqueue_enable_interrupt(self->queue, 1);
    spin_unlock_irqrestore(&self->lock, irq);
    return enabled;
}

static void interrupt(void *context)
{
    struct ninep_device *self = context;
    uint32_t length;
    void *token;
    do {
        while ((token = get(self, &length)) != NULL) {
            core_ninep_answered(&self->channel, token, length);
        }
    } while (!enable(self));
}

static void changed(struct virtio_device *device)
{
    struct ninep_device *self = device->driver;
    if (__atomic_load_n(&device->broken, __ATOMIC_RELAXED)) {
        core_ninep_gone(&self->channel);
    }
}

int virtio_9p_probe(struct virtio_device *device)
{
    struct ninep_device *self = kzalloc(sizeof(*self));
    struct virtqueue_options options = {.size_max = CAPACITY * NINEP_BUFFERS_MAX,
                                        .indirect_max = NINEP_BUFFERS_MAX};
    uint16_t length;
    int error = self == NULL ? -ENOMEM : virtio_negotiate(device, MOUNT_TAG);
    if (error == 0 && !virtio_has(device, MOUNT_TAG)) {
        error = -ENODEV;
    }
    if (error == 0) {
        error = virtio_open_vector(device, 0, interrupt, self, &options.vector);
    }
    if (error == 0) {
        error = virtio_open_queue(device, 0, &options, &self->queue);
    }
    if (error != 0) {
        kfree(self);
        return error;
    }
    spinlock_init(&self->lock, LOCK_CHANNEL);
    self->device = device;
    virtio_config_read(device, 0, &length, sizeof(length));
    if (length > NINEP_TAG_SIZE - 1) {
        length = NINEP_TAG_SIZE - 1;
    }
    for (unsigned i = 0; i < length; i++) {
        virtio_config_read(device, sizeof(length) + i, &self->channel.tag[i], 1);
    }
    self->channel.send = send;
    self->channel.capacity = virtqueue_size(self->queue) / NINEP_BUFFERS_MAX;
    device->driver = self;
    device->changed = changed;
    virtio_start(device);
    (void)virtqueue_enable_interrupt(self->queue, 1);
    core_ninep_found(&self->channel);
    return 0;
}
