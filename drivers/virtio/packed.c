/* SPDX-License-Identifier: MIT */
/* Packed virtqueues (virtio 1.2, 2.8): one ring of descriptors, which the device overwrites with
 * those it has used; two bits in each tell whose it is. virtqueue.c does the ids. */
#include "drivers/virtio/virtio_internal.h"
#include "hal.h"

struct packed_descriptor { /* 2.8.13 */
    uint64_t address;
    uint32_t length;
    uint16_t id, flags;
};

struct packed_event { /* 2.8.14: one word, read and written as a whole */
    uint32_t word;
};

#define DESCRIPTOR_AVAILABLE 0x80u
#define DESCRIPTOR_USED 0x8000u

/* The event: a position with its wrap counter in bit 15, flags from bit 16 on. */
#define EVENT_WRAP 0x8000u
#define EVENT_FLAGS_SHIFT 16
enum { EVENT_ENABLE, EVENT_DISABLE, EVENT_AT_DESCRIPTOR };

#define EVENT_ALIGNMENT 64ul /* each event in a cache line of its own */

size_t packed_layout(struct virtqueue *queue, void *base, uint64_t physical)
{
    size_t driver = sizeof(struct packed_descriptor) * queue->size;
    driver = (driver + EVENT_ALIGNMENT - 1) & ~(EVENT_ALIGNMENT - 1);
    size_t device = driver + EVENT_ALIGNMENT;
    queue->parts[0] = physical;
    queue->parts[1] = physical + driver;
    queue->parts[2] = physical + device;
    if (base != NULL) {
        queue->packed.descriptors = base;
        queue->packed.driver = (void *)((char *)base + driver);
        queue->packed.device = (void *)((char *)base + device);
    }
    return device + EVENT_ALIGNMENT;
}

/* Moves a position that many descriptors on. */
static void advance(const struct virtqueue *queue, uint16_t *position, bool *wrap, unsigned count)
{
    unsigned next = *position + count;
    if (next >= queue->size) {
        next -= queue->size;
        *wrap = !*wrap;
    }
    *position = (uint16_t)next;
}

/* The flags by which the device knows that a descriptor is available to it. */
static uint16_t available_flags(bool wrap)
{
    return (uint16_t)(wrap ? DESCRIPTOR_AVAILABLE : DESCRIPTOR_USED);
}

void packed_add(struct virtqueue *queue, uint16_t head, const struct virtio_buffer *buffers,
                unsigned out, unsigned in, bool indirect)
{
    struct packed_descriptor *first = &queue->packed.descriptors[queue->add.next];
    uint16_t first_flags = available_flags(queue->add.wrap);
    unsigned count = out + in, occupied = indirect ? 1 : count;
    if (indirect) {
        /* 2.8.7: in a table the order is that of the descriptors, and only WRITE counts. */
        struct packed_descriptor *table =
            (void *)(queue->tables + (size_t)head * queue->indirect_max);
        for (unsigned i = 0; i < count; i++) {
            table[i] = (struct packed_descriptor){
                .address = direct_map_physical(buffers[i].data),
                .length = buffers[i].length,
                .flags = i < out ? 0 : DESCRIPTOR_WRITE,
            };
        }
        first->address = direct_map_physical(table);
        first->length = (uint32_t)(sizeof(*table) * count);
        first->id = head;
        first_flags |= DESCRIPTOR_INDIRECT;
        advance(queue, &queue->add.next, &queue->add.wrap, 1);
    }
    for (unsigned i = 0; i < count && !indirect; i++) {
        struct packed_descriptor *descriptor = &queue->packed.descriptors[queue->add.next];
        uint16_t flags =
            (uint16_t)(available_flags(queue->add.wrap) | (i + 1 == count ? 0 : DESCRIPTOR_NEXT) |
                       (i < out ? 0 : DESCRIPTOR_WRITE));
        descriptor->address = direct_map_physical(buffers[i].data);
        descriptor->length = buffers[i].length;
        descriptor->id = head;
        if (i == 0) {
            first_flags = flags;
        } else {
            descriptor->flags = flags;
        }
        advance(queue, &queue->add.next, &queue->add.wrap, 1);
    }
    queue->add.kicked = (uint16_t)(queue->add.kicked + occupied);
    __atomic_store_n(&first->flags, first_flags, __ATOMIC_RELEASE); /* last: 2.8.21.1 */
}

bool packed_kick(struct virtqueue *queue)
{
    uint16_t now = queue->add.next, added = queue->add.kicked;
    if (added == 0) {
        return false;
    }
    queue->add.kicked = 0;
    __atomic_thread_fence(__ATOMIC_SEQ_CST); /* descriptors before the device's wish (2.8.21.3.1) */
    uint32_t event = __atomic_load_n(&queue->packed.device->word, __ATOMIC_RELAXED);
    unsigned flags = event >> EVENT_FLAGS_SHIFT & 3;
    if (flags != EVENT_AT_DESCRIPTOR || !queue->event_index) {
        return flags != EVENT_DISABLE;
    }
    uint16_t position = event & (EVENT_WRAP - 1);
    if (((event & EVENT_WRAP) != 0) != queue->add.wrap) {
        position = (uint16_t)(position - queue->size);
    }
    return event_passed(position, now, (uint16_t)(now - added));
}

/* Whether the device has used the descriptor at this position. */
static bool is_used(const struct virtqueue *queue, unsigned position, bool wrap)
{
    uint16_t flags = __atomic_load_n(&queue->packed.descriptors[position].flags, __ATOMIC_ACQUIRE);
    uint16_t both = DESCRIPTOR_AVAILABLE | DESCRIPTOR_USED;
    return (flags & both) == (wrap ? both : 0);
}

bool packed_pending(struct virtqueue *queue)
{
    return is_used(queue, queue->get.next, queue->get.wrap);
}

void *packed_get(struct virtqueue *queue, uint32_t *length)
{
    if (!packed_pending(queue)) {
        return NULL;
    }
    const struct packed_descriptor *descriptor = &queue->packed.descriptors[queue->get.next];
    uint16_t id = __atomic_load_n(&descriptor->id, __ATOMIC_RELAXED);
    unsigned occupied = id < queue->size ? queue->chains[id].count : 0;
    void *token =
        virtqueue_take(queue, id, __atomic_load_n(&descriptor->length, __ATOMIC_RELAXED), length);
    if (token != NULL) {
        advance(queue, &queue->get.next, &queue->get.wrap, occupied);
    }
    return token;
}

bool packed_enable_interrupt(struct virtqueue *queue, unsigned after)
{
    /* Counted in descriptors: with longer chains the interrupt comes a little early. */
    uint16_t position = queue->get.next;
    bool wrap = queue->get.wrap;
    advance(queue, &position, &wrap, after - 1);
    uint32_t event = EVENT_ENABLE << EVENT_FLAGS_SHIFT;
    if (queue->event_index) {
        event = EVENT_AT_DESCRIPTOR << EVENT_FLAGS_SHIFT | (wrap ? EVENT_WRAP : 0) | position;
    }
    __atomic_store_n(&queue->packed.driver->word, event, __ATOMIC_RELAXED);
    __atomic_thread_fence(__ATOMIC_SEQ_CST); /* the wish before the descriptors (2.8.21.3.1) */
    return !packed_pending(queue);
}

void packed_disable_interrupt(struct virtqueue *queue)
{
    __atomic_store_n(&queue->packed.driver->word, EVENT_DISABLE << EVENT_FLAGS_SHIFT,
                     __ATOMIC_RELAXED);
}
