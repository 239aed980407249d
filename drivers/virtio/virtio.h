/* SPDX-License-Identifier: MIT */
/* Virtio (version 1.2 of the specification) for drivers: a device and its features, configuration
 * space and queues, whatever the transport. A driver is a file with one probe function, listed in
 * the table in virtio.c:
 *
 *     probe:   virtio_negotiate, virtio_open_vector and virtio_open_queue, virtio_start, then use
 *     request: virtqueue_add ..., virtqueue_kick
 *     answer:  the vector's handler, virtqueue_get until it says NULL, virtqueue_enable_interrupt
 *
 * The device is not trusted: what it writes into a queue is checked here, and one that breaks the
 * rules is closed: `broken` is set, its queues give nothing and take nothing any more, and the
 * configuration handler is called. Contents (lengths and numbers in headers, configuration values)
 * are the driver's to check. Set-up is by one thread; who may call the rest is told there. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "hal_device.h"

/* 5: device types */
enum {
    VIRTIO_ID_NET = 1,
    VIRTIO_ID_BLOCK = 2,
    VIRTIO_ID_ENTROPY = 4,
    VIRTIO_ID_9P = 9,
};

/* 6: feature bits that are nobody's own; drivers need not ask for them. */
#define VIRTIO_F_ANY_LAYOUT (1ull << 27) /* legacy: headers need no descriptor of their own */
#define VIRTIO_F_INDIRECT_DESC (1ull << 28)
#define VIRTIO_F_EVENT_IDX (1ull << 29)
#define VIRTIO_F_VERSION_1 (1ull << 32)
#define VIRTIO_F_ACCESS_PLATFORM (1ull << 33)
#define VIRTIO_F_RING_PACKED (1ull << 34)

struct virtqueue;
struct virtio_vector;
struct virtio_transport;

struct virtio_device {
    uint32_t id;       /* VIRTIO_ID_ */
    char name[24];     /* where it is, for messages */
    uint64_t features; /* negotiated */
    bool broken;       /* it is closed; atomic */
    void *driver;      /* the driver's own */
    /* The configuration has changed or the device is broken. NULL: nobody cares. Any context,
     * masked, perhaps inside of a call of the driver into its queue. */
    void (*changed)(struct virtio_device *device);

    const struct virtio_transport *transport; /* the rest belongs to virtio.c and the transports */
    struct virtqueue *queues;                 /* opened */
    struct virtio_vector *vectors;            /* opened */
};

/* A driver's way in: sets the device up and keeps it. An error (-errno) gives the device up: it is
 * reset, and what was opened is closed. Thread context. */
typedef int virtio_probe_fn(struct virtio_device *device);

/* The features that the device offers. During probe. */
uint64_t virtio_offered(struct virtio_device *device);

/* 3.1.1, steps 4 to 6: agrees with the device on those of the `wanted` features that it offers, and
 * on what the queues can use. -ENODEV: it insists on something else. */
int virtio_negotiate(struct virtio_device *device, uint64_t wanted);

static inline bool virtio_has(const struct virtio_device *device, uint64_t feature)
{
    return (device->features & feature) != 0;
}

/* Reads a field of 1, 2, 4 or 8 bytes of the device's configuration, or an array of bytes of any
 * other size, as it was at one moment. What is not there reads as zero. Any context. */
void virtio_config_read(struct virtio_device *device, unsigned offset, void *to, size_t size);

/* Interrupts of queues that name `*vector` will call `handler` on `cpu`; where the device has not
 * so many messages (or none), handlers are called for each other's interrupts, and on other CPUs.
 * Interrupt context. -ENOMEM. */
int virtio_open_vector(struct virtio_device *device, unsigned cpu, hal_interrupt_fn *handler,
                       void *context, struct virtio_vector **vector);

struct virtqueue_options {
    struct virtio_vector *vector; /* NULL: the queue never interrupts */
    uint16_t size_max;            /* the most descriptors; 0: as the device has it */
    uint16_t indirect_max; /* buffers of the longest chain that is to take one descriptor only, in
                              a table of its own where the device can; 0: no tables */
    uint16_t area_size;    /* bytes of virtqueue_area; 0: none */
};

/* -ENOENT: the device has no such queue. -ENOMEM. */
int virtio_open_queue(struct virtio_device *device, unsigned index,
                      const struct virtqueue_options *options, struct virtqueue **queue);

/* 3.1.1, step 8: from now on the device works. After the queues are opened, before they are used.
 */
void virtio_start(struct virtio_device *device);

/* Closes a device that breaks the rules, with one line that says why. Any context. */
void virtio_break(struct virtio_device *device, const char *why);

/* --- queues --------------------------------------------------------------------------------------
 * One caller at a time for add, area and kick; one at a time, which may be another, for get, enable
 * and disable. Any context. */

/* In the direct map. */
struct virtio_buffer {
    void *data;
    uint32_t length;
};

/* Puts a chain of buffers into the queue: the first `out` the device reads, the `in` that follow it
 * writes. They stay in use until virtqueue_get returns `token` (not NULL). The device learns of it
 * by virtqueue_kick. -ENOBUFS: there is no room now. -EIO: the device is broken. */
int virtqueue_add(struct virtqueue *queue, const struct virtio_buffer *buffers, unsigned out,
                  unsigned in, void *token);

/* Memory in the direct map for a header, of the chain that is added next: the same until that chain
 * has come back. NULL: there is no room for a chain now. Aligned to 8 bytes. */
void *virtqueue_area(struct virtqueue *queue);

/* Tells the device of new chains if it wants to know. */
void virtqueue_kick(struct virtqueue *queue);

/* The next chain that the device has done: its token, and how many bytes were written into its
 * buffers, from the first on, which is at most what they hold. NULL: none. `length` may be NULL. */
void *virtqueue_get(struct virtqueue *queue, uint32_t *length);

/* Whether virtqueue_get has something. */
bool virtqueue_pending(struct virtqueue *queue);

/* Has the device interrupt once about `after` of the chains in flight are done (1: the next one).
 * False: the interrupt may not come, since there is something to get already. After an interrupt no
 * other is wanted until the next call. */
bool virtqueue_enable_interrupt(struct virtqueue *queue, unsigned after);

/* A hint that no interrupt is wanted. For handlers: where the device knows no event index it would
 * go on. */
void virtqueue_disable_interrupt(struct virtqueue *queue);

/* Chains that the device has not given back. */
unsigned virtqueue_in_flight(const struct virtqueue *queue);

/* The number of descriptors. */
unsigned virtqueue_size(const struct virtqueue *queue);

/* The buffers of the longest chain that fits into the empty queue. */
unsigned virtqueue_chain_max(const struct virtqueue *queue);

/* --- what the platform calls ---------------------------------------------------------------------
 * Thread context. */

void virtio_pci_found(const struct pci_device *device);
/* Something may have been taken out: closes the devices that do not answer any more. In an
 * interrupt handler of the boot CPU. */
void virtio_pci_check(void);
void virtio_mmio_found(const struct hal_mmio_device *device);
