/* SPDX-License-Identifier: MIT */
/* Split virtqueues (virtio 1.2, 2.7): a table of descriptors, a ring of chains made available and
 * one of chains used. virtqueue.c does the ids. */
#include "drivers/virtio/virtio_internal.h"
#include "hal.h"

struct split_descriptor { /* 2.7.5 */
    uint64_t address;
    uint32_t length;
    uint16_t flags, next;
};

struct split_available { /* 2.7.6; the event index follows the ring */
    uint16_t flags, index;
    uint16_t ring[];
};

struct split_used_element {
    uint32_t id, length;
};

struct split_used { /* 2.7.8; the event index follows the ring */
    uint16_t flags, index;
    struct split_used_element ring[];
};

#define AVAILABLE_NO_INTERRUPT 1
#define USED_NO_NOTIFY 1

/* 2.7.2: the legacy layout is one piece with the used ring on a page of its own. */
#define LEGACY_ALIGNMENT PAGE_SIZE
#define ALIGNMENT 64ul

size_t split_layout(struct virtqueue *queue, void *base, uint64_t physical)
{
    size_t alignment = queue->device->transport->legacy ? LEGACY_ALIGNMENT : ALIGNMENT;
    size_t available = sizeof(struct split_descriptor) * queue->size;
    size_t used = available + sizeof(struct split_available) + 2ul * queue->size + 2;
    used = (used + alignment - 1) & ~(alignment - 1);
    queue->parts[0] = physical;
    queue->parts[1] = physical + available;
    queue->parts[2] = physical + used;
    if (base != NULL) {
        queue->split.descriptors = base;
        queue->split.available = (void *)((char *)base + available);
        queue->split.used = (void *)((char *)base + used);
    }
    return used + sizeof(struct split_used) + sizeof(struct split_used_element) * queue->size + 2;
}

static uint16_t *used_event(struct virtqueue *queue)
{
    return &queue->split.available->ring[queue->size];
}

static uint16_t *available_event(struct virtqueue *queue)
{
    return (uint16_t *)&queue->split.used->ring[queue->size];
}

void split_add(struct virtqueue *queue, uint16_t head, const struct virtio_buffer *buffers,
               unsigned out, unsigned in, bool indirect)
{
    struct split_descriptor *table = queue->split.descriptors;
    uint16_t id = head;
    if (indirect) {
        struct split_descriptor *descriptor = &table[head];
        table = (void *)(queue->tables + (size_t)head * queue->indirect_max);
        *descriptor = (struct split_descriptor){
            .address = direct_map_physical(table),
            .length = (uint32_t)(sizeof(*table) * (out + in)),
            .flags = DESCRIPTOR_INDIRECT,
        };
        id = 0;
    }
    for (unsigned i = 0; i < out + in; i++) {
        bool last = i + 1 == out + in;
        uint16_t next = indirect ? (uint16_t)(id + 1) : queue->chains[id].next;
        table[id] = (struct split_descriptor){
            .address = direct_map_physical(buffers[i].data),
            .length = buffers[i].length,
            .flags = (uint16_t)((last ? 0 : DESCRIPTOR_NEXT) | (i < out ? 0 : DESCRIPTOR_WRITE)),
            .next = last ? 0 : next,
        };
        id = next;
    }
    queue->split.available->ring[queue->add.next++ & (queue->size - 1)] = head;
}

bool split_kick(struct virtqueue *queue)
{
    uint16_t now = queue->add.next, old = queue->add.kicked;
    if (now == old) {
        return false;
    }
    __atomic_store_n(&queue->split.available->index, now, __ATOMIC_RELEASE);
    queue->add.kicked = now;
    __atomic_thread_fence(__ATOMIC_SEQ_CST); /* the index before the device's wish (2.7.13.4.1) */
    if (queue->event_index) {
        return event_passed(__atomic_load_n(available_event(queue), __ATOMIC_RELAXED), now, old);
    }
    return (__atomic_load_n(&queue->split.used->flags, __ATOMIC_RELAXED) & USED_NO_NOTIFY) == 0;
}

static uint16_t done(struct virtqueue *queue)
{
    queue->get.seen = __atomic_load_n(&queue->split.used->index, __ATOMIC_ACQUIRE);
    return (uint16_t)(queue->get.seen - queue->get.next);
}

bool split_pending(struct virtqueue *queue)
{
    return queue->get.next != queue->get.seen || done(queue) != 0;
}

void *split_get(struct virtqueue *queue, uint32_t *length)
{
    if (queue->get.next == queue->get.seen) {
        uint16_t count = done(queue);
        if (count == 0) {
            return NULL;
        }
        if (count > queue->size) {
            virtio_break(queue->device, "its used index runs ahead");
            return NULL;
        }
    }
    struct split_used_element *element =
        &queue->split.used->ring[queue->get.next++ & (queue->size - 1)];
    return virtqueue_take(queue, __atomic_load_n(&element->id, __ATOMIC_RELAXED),
                          __atomic_load_n(&element->length, __ATOMIC_RELAXED), length);
}

bool split_enable_interrupt(struct virtqueue *queue, unsigned after)
{
    if (queue->event_index) {
        __atomic_store_n(used_event(queue), (uint16_t)(queue->get.next + after - 1),
                         __ATOMIC_RELAXED);
    } else {
        __atomic_store_n(&queue->split.available->flags, 0, __ATOMIC_RELAXED);
    }
    __atomic_thread_fence(__ATOMIC_SEQ_CST); /* the wish before the index (2.7.7.1) */
    return done(queue) < after;
}

void split_disable_interrupt(struct virtqueue *queue)
{
    if (queue->event_index) {
        *used_event(queue) = (uint16_t)(queue->get.next - 1); /* the last to be passed again */
    } else {
        __atomic_store_n(&queue->split.available->flags, AVAILABLE_NO_INTERRUPT, __ATOMIC_RELAXED);
    }
}
