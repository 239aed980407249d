/* SPDX-License-Identifier: MIT */
/* What split and packed virtqueues have in common: memory, ids, and the checks on what the device
 * gives back. No lock: one adder, one getter, which may run at the same time. */
#include <linux/errno.h>

#include "core/lib/log.h"
#include "core/lib/string.h"
#include "core/mm/kmalloc.h"
#include "core/mm/page.h"
#include "drivers/virtio/virtio_internal.h"
#include "hal.h"

#define AREA_ALIGNMENT 16

/* --- memory ----------------------------------------------------------------------------------- */

static size_t layout(struct virtqueue *queue, void *base, uint64_t physical)
{
    return queue->is_packed ? packed_layout(queue, base, physical)
                            : split_layout(queue, base, physical);
}

static int allocate(struct virtqueue *queue)
{
    size_t pages = (layout(queue, NULL, 0) + PAGE_SIZE - 1) / PAGE_SIZE;
    while (1ul << queue->ring_order < pages) {
        queue->ring_order++;
    }
    uint64_t ring =
        queue->ring_order <= PAGE_MAX_ORDER ? page_alloc(queue->ring_order, PAGE_ZERO) : 0;
    queue->chains = kzalloc(queue->size * sizeof(*queue->chains));
    queue->free_ids = kmalloc(queue->size * sizeof(*queue->free_ids));
    queue->areas = queue->area_size != 0 ? kzalloc((size_t)queue->size * queue->area_size) : NULL;
    queue->tables =
        queue->indirect_max != 0 ? kzalloc((size_t)queue->size * queue->indirect_max * 16) : NULL;
    queue->parts[0] = ring; /* so that virtqueue_destroy finds it */
    if (ring == 0 || queue->chains == NULL || queue->free_ids == NULL ||
        (queue->area_size != 0 && queue->areas == NULL) ||
        (queue->indirect_max != 0 && queue->tables == NULL)) {
        return -ENOMEM;
    }
    layout(queue, direct_map(ring), ring);
    return 0;
}

static void disable_interrupt(struct virtqueue *queue)
{
    if (queue->is_packed) {
        packed_disable_interrupt(queue);
    } else {
        split_disable_interrupt(queue);
    }
}

int virtqueue_create(struct virtio_device *device, unsigned index, unsigned size,
                     const struct virtqueue_options *options, struct virtqueue **out)
{
    struct virtqueue *queue = kzalloc(sizeof(*queue));
    if (queue == NULL) {
        return -ENOMEM;
    }
    queue->device = device;
    queue->vector = options->vector;
    queue->index = (uint16_t)index;
    queue->size = (uint16_t)size;
    queue->is_packed = virtio_has(device, VIRTIO_F_RING_PACKED);
    queue->event_index = virtio_has(device, VIRTIO_F_EVENT_IDX);
    queue->area_size =
        (uint16_t)((options->area_size + AREA_ALIGNMENT - 1) & ~(AREA_ALIGNMENT - 1));
    queue->indirect_max = virtio_has(device, VIRTIO_F_INDIRECT_DESC) ? options->indirect_max : 0;
    int error = allocate(queue);
    if (error != 0) {
        virtqueue_destroy(queue);
        return error;
    }
    for (unsigned i = 0; i < size; i++) {
        queue->free_ids[i] = (uint16_t)i;
    }
    queue->get.free_head = (uint16_t)size;
    queue->add.wrap = queue->get.wrap = true;
    disable_interrupt(queue);
    *out = queue;
    return 0;
}

void virtqueue_destroy(struct virtqueue *queue)
{
    if (queue->parts[0] != 0) {
        page_free(queue->parts[0], queue->ring_order);
    }
    kfree(queue->chains);
    kfree(queue->free_ids);
    kfree(queue->areas);
    kfree(queue->tables);
    kfree(queue);
}

/* --- the adder -------------------------------------------------------------------------------- */

static unsigned free_descriptors(const struct virtqueue *queue)
{
    return (uint16_t)(__atomic_load_n(&queue->get.free_head, __ATOMIC_ACQUIRE) -
                      queue->add.free_tail);
}

/* The id that the next chain gets; there is one. */
static uint16_t next_id(const struct virtqueue *queue)
{
    return queue->free_ids[queue->add.free_tail & (queue->size - 1)];
}

void *virtqueue_area(struct virtqueue *queue)
{
    return free_descriptors(queue) != 0 ? queue->areas + next_id(queue) * queue->area_size : NULL;
}

int virtqueue_add(struct virtqueue *queue, const struct virtio_buffer *buffers, unsigned out,
                  unsigned in, void *token)
{
    if (__atomic_load_n(&queue->device->broken, __ATOMIC_RELAXED)) {
        return -EIO;
    }
    /* A table costs the device one more look-up; two descriptors cost less. */
    unsigned count = out + in;
    bool indirect = count > 2 && count <= queue->indirect_max;
    unsigned occupied = indirect ? 1 : count;
    if (occupied == 0 || free_descriptors(queue) < occupied) {
        return -ENOBUFS;
    }
    uint16_t head = next_id(queue), id = head;
    struct virtqueue_chain *chain = &queue->chains[head];
    for (unsigned i = 1; i < occupied; i++) {
        queue->add.free_tail++;
        queue->chains[id].next = next_id(queue);
        id = queue->chains[id].next;
    }
    queue->add.free_tail++;
    chain->count = (uint16_t)occupied;
    chain->capacity = 0;
    for (unsigned i = out; i < count; i++) {
        chain->capacity += buffers[i].length;
    }
    /* A lying device may give the id back at once: the chain must be whole before. */
    __atomic_store_n(&chain->token, token, __ATOMIC_RELEASE);
    __atomic_store_n(&queue->add.chains, queue->add.chains + 1, __ATOMIC_RELAXED);
    if (queue->is_packed) {
        packed_add(queue, head, buffers, out, in, indirect);
    } else {
        split_add(queue, head, buffers, out, in, indirect);
    }
    return 0;
}

void virtqueue_kick(struct virtqueue *queue)
{
    if (queue->is_packed ? packed_kick(queue) : split_kick(queue)) {
        queue->device->transport->notify(queue);
    }
}

/* --- the getter ------------------------------------------------------------------------------- */

void *virtqueue_take(struct virtqueue *queue, uint32_t id, uint32_t written, uint32_t *length)
{
    struct virtqueue_chain *chain = id < queue->size ? &queue->chains[id] : NULL;
    void *token = chain != NULL ? __atomic_load_n(&chain->token, __ATOMIC_ACQUIRE) : NULL;
    if (token == NULL) {
        virtio_break(queue->device, "it gave back a chain that it does not have");
        return NULL;
    }
    if (written > chain->capacity) {
        if (!queue->device->transport->legacy) {
            virtio_break(queue->device, "it says that it wrote past the end of a buffer");
            return NULL;
        }
        written = chain->capacity; /* old devices count what they read as well (2.7.8.3) */
    }
    if (length != NULL) {
        *length = written;
    }
    chain->token = NULL;
    uint16_t head = queue->get.free_head;
    for (unsigned i = 0, count = chain->count; i < count; i++) {
        queue->free_ids[head++ & (queue->size - 1)] = (uint16_t)id;
        id = queue->chains[id].next;
    }
    __atomic_store_n(&queue->get.free_head, head, __ATOMIC_RELEASE);
    __atomic_store_n(&queue->get.chains, queue->get.chains + 1, __ATOMIC_RELAXED);
    return token;
}

void *virtqueue_get(struct virtqueue *queue, uint32_t *length)
{
    if (__atomic_load_n(&queue->device->broken, __ATOMIC_RELAXED)) {
        return NULL;
    }
    return queue->is_packed ? packed_get(queue, length) : split_get(queue, length);
}

bool virtqueue_pending(struct virtqueue *queue)
{
    return !__atomic_load_n(&queue->device->broken, __ATOMIC_RELAXED) &&
           (queue->is_packed ? packed_pending(queue) : split_pending(queue));
}

bool virtqueue_enable_interrupt(struct virtqueue *queue, unsigned after)
{
    if (__atomic_load_n(&queue->device->broken, __ATOMIC_RELAXED)) {
        return true;
    }
    return queue->is_packed ? packed_enable_interrupt(queue, after)
                            : split_enable_interrupt(queue, after);
}

void virtqueue_disable_interrupt(struct virtqueue *queue)
{
    if (!queue->event_index) { /* an index that has been passed is not passed again soon */
        disable_interrupt(queue);
    }
}

unsigned virtqueue_in_flight(const struct virtqueue *queue)
{
    return __atomic_load_n(&queue->add.chains, __ATOMIC_RELAXED) -
           __atomic_load_n(&queue->get.chains, __ATOMIC_RELAXED);
}

unsigned virtqueue_size(const struct virtqueue *queue)
{
    return queue->size;
}

unsigned virtqueue_chain_max(const struct virtqueue *queue)
{
    return queue->indirect_max > queue->size ? queue->indirect_max : queue->size;
}
