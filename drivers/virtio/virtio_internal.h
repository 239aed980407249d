/* SPDX-License-Identifier: MIT */
/* What virtio.c, the transports (pci.c, mmio.c) and the queues (virtqueue.c, split.c, packed.c)
 * share. */
#pragma once

#include "drivers/virtio/virtio.h"

/* 2.1: device status */
enum {
    VIRTIO_STATUS_ACKNOWLEDGE = 1,
    VIRTIO_STATUS_DRIVER = 2,
    VIRTIO_STATUS_DRIVER_OK = 4,
    VIRTIO_STATUS_FEATURES_OK = 8,
    VIRTIO_STATUS_NEEDS_RESET = 64,
    VIRTIO_STATUS_FAILED = 128,
};

/* 4.1.4.5, 4.2.2: bits of the interrupt status */
#define VIRTIO_ISR_QUEUE 1u
#define VIRTIO_ISR_CONFIG 2u

/* How a device is talked to. Every function takes any device of this transport. */
struct virtio_transport {
    bool legacy;     /* 0.9.5's registers and rings */
    bool fixed_size; /* queues cannot be made shorter */
    uint8_t (*status)(struct virtio_device *device);
    void (*set_status)(struct virtio_device *device, uint8_t status);
    /* 32 bits of the features: half 0 or 1. */
    uint32_t (*offered)(struct virtio_device *device, unsigned half);
    void (*accept)(struct virtio_device *device, unsigned half, uint32_t features);
    /* Changes with the configuration. */
    uint32_t (*generation)(struct virtio_device *device);
    /* 1, 2 or 4 bytes of the configuration, 0 outside. */
    uint32_t (*config)(struct virtio_device *device, unsigned offset, unsigned width);
    /* Connects the device's interrupts. After a reset. */
    int (*connect)(struct virtio_device *device);
    /* Chooses the message of a vector, or has the vector share one. */
    int (*open_vector)(struct virtio_device *device, struct virtio_vector *vector, unsigned cpu);
    /* 0: there is no such queue. */
    unsigned (*queue_size)(struct virtio_device *device, unsigned index);
    int (*enable_queue)(struct virtio_device *device, struct virtqueue *queue);
    void (*notify)(struct virtqueue *queue);
};

struct virtio_vector {
    struct virtio_vector *next;   /* all of the device */
    struct virtio_vector *shared; /* others that have the same message */
    hal_interrupt_fn *handler;
    void *context;
    unsigned message;
};

/* An id of a chain, or a descriptor in the middle of one. */
struct virtqueue_chain {
    void *token;       /* NULL: not in flight. The adder sets it last, the getter clears it */
    uint32_t capacity; /* bytes that the device may write */
    uint16_t count;    /* descriptors that it occupies */
    uint16_t next;     /* the id of the next of them */
};

struct split_ring {
    struct split_descriptor *descriptors;
    struct split_available *available;
    struct split_used *used;
};

struct packed_ring {
    struct packed_descriptor *descriptors;
    struct packed_event *driver, *device;
};

/* Adding and getting may happen at the same time: ids go from the adder to the getter through the
 * ring, and back through `free_ids`, a ring with one producer and one consumer. */
struct virtqueue {
    struct virtio_device *device;
    struct virtqueue *next; /* all of the device */
    struct virtio_vector *vector;
    union {
        struct split_ring split;
        struct packed_ring packed;
    };
    struct virtqueue_chain *chains; /* by id */
    uint16_t *free_ids;
    char *areas;
    struct indirect_descriptor *tables;
    uint16_t index, size; /* a power of two */
    uint16_t area_size, indirect_max;
    bool is_packed, event_index;
    unsigned ring_order;        /* of its pages */
    uint64_t parts[3];          /* physical: descriptors, driver area, device area */
    struct pci_region doorbell; /* of PCI */

    struct { /* the adder's */
        uint16_t free_tail;
        uint16_t next;   /* position of the next descriptor or available entry */
        uint16_t kicked; /* split: `next` at the last kick; packed: descriptors since then */
        bool wrap;       /* packed */
        uint32_t chains; /* added; atomic */
    } add __attribute__((aligned(64)));

    struct {                /* the getter's */
        uint16_t free_head; /* atomic */
        uint16_t next;
        uint16_t seen; /* split: the device's index when it was last read */
        bool wrap;
        uint32_t chains; /* got; atomic */
    } get __attribute__((aligned(64)));
};

/* The descriptor of split rings and of all indirect tables of those (2.7.5); packed rings have one
 * that is as long (2.8.13). */
struct indirect_descriptor {
    uint8_t bytes[16];
};

enum {
    DESCRIPTOR_NEXT = 1,
    DESCRIPTOR_WRITE = 2,
    DESCRIPTOR_INDIRECT = 4,
};

/* --- virtio.c --------------------------------------------------------------------------------- */

bool virtio_has_driver(uint32_t id);

/* Resets the device and gives it to its driver. The transport has set id, name and transport; the
 * structure stays for ever. */
void virtio_device_found(struct virtio_device *device);

/* The device says that its configuration or its status has changed. */
void virtio_config_interrupt(struct virtio_device *device);
/* One interrupt for all queues. */
void virtio_queue_interrupt(struct virtio_device *device);

/* --- virtqueue.c ------------------------------------------------------------------------------ */

int virtqueue_create(struct virtio_device *device, unsigned index, unsigned size,
                     const struct virtqueue_options *options, struct virtqueue **queue);
void virtqueue_destroy(struct virtqueue *queue);

/* Whether an event index has been passed on the way from `old` to `now` (2.7.7.2). */
static inline bool event_passed(uint16_t event, uint16_t now, uint16_t old)
{
    return (uint16_t)(now - event - 1) < (uint16_t)(now - old);
}

/* Takes the id at the getter's end, which the device has written: its token, or NULL when the
 * device is broken. `written` is what it says it wrote. */
void *virtqueue_take(struct virtqueue *queue, uint32_t id, uint32_t written, uint32_t *length);

/* --- split.c (2.7) and packed.c (2.8): bytes of a ring, and where its parts are; the rest as the
 * functions without prefix in virtio.h -------------------------------------------------------- */

size_t split_layout(struct virtqueue *queue, void *base, uint64_t physical);
void split_add(struct virtqueue *queue, uint16_t head, const struct virtio_buffer *buffers,
               unsigned out, unsigned in, bool indirect);
bool split_kick(struct virtqueue *queue);
void *split_get(struct virtqueue *queue, uint32_t *length);
bool split_pending(struct virtqueue *queue);
bool split_enable_interrupt(struct virtqueue *queue, unsigned after);
void split_disable_interrupt(struct virtqueue *queue);

size_t packed_layout(struct virtqueue *queue, void *base, uint64_t physical);
void packed_add(struct virtqueue *queue, uint16_t head, const struct virtio_buffer *buffers,
                unsigned out, unsigned in, bool indirect);
bool packed_kick(struct virtqueue *queue);
void *packed_get(struct virtqueue *queue, uint32_t *length);
bool packed_pending(struct virtqueue *queue);
bool packed_enable_interrupt(struct virtqueue *queue, unsigned after);
void packed_disable_interrupt(struct virtqueue *queue);
