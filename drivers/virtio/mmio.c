/* SPDX-License-Identifier: MIT */
/* Virtio devices that are registers in memory (virtio 1.2, 4.2), also those of version 1, the
 * legacy interface (4.2.4). Registers that choose (features, queues) are used at set-up only, by
 * one thread. */
#include <linux/errno.h>

#include "core/lib/log.h"
#include "core/mm/kmalloc.h"
#include "drivers/virtio/virtio_internal.h"
#include "hal.h"

/* 4.2.2 and 4.2.4 */
enum {
    MAGIC_VALUE = 0x000,
    VERSION = 0x004,
    DEVICE_ID = 0x008,
    DEVICE_FEATURES = 0x010,
    DEVICE_FEATURES_SELECT = 0x014,
    DRIVER_FEATURES = 0x020,
    DRIVER_FEATURES_SELECT = 0x024,
    GUEST_PAGE_SIZE = 0x028, /* legacy */
    QUEUE_SELECT = 0x030,
    QUEUE_SIZE_MAX = 0x034,
    QUEUE_SIZE = 0x038,
    QUEUE_ALIGN = 0x03c, /* legacy */
    QUEUE_PFN = 0x040,   /* legacy */
    QUEUE_READY = 0x044,
    QUEUE_NOTIFY = 0x050,
    INTERRUPT_STATUS = 0x060,
    INTERRUPT_ACK = 0x064,
    STATUS = 0x070,
    QUEUE_DESCRIPTORS = 0x080, /* 64 bits each, in two registers */
    QUEUE_DRIVER = 0x090,
    QUEUE_DEVICE = 0x0a0,
    CONFIG_GENERATION = 0x0fc,
    CONFIG = 0x100,
};

#define MAGIC 0x74726976u
#define SIZE_MAX_MAPPED PAGE_SIZE

struct virtio_mmio {
    struct virtio_device device; /* first */
    volatile uint8_t *registers;
    uint32_t config_size;
    struct hal_line line;
};

static uint32_t read(struct virtio_device *device, unsigned offset)
{
    return *(volatile uint32_t *)(((struct virtio_mmio *)device)->registers + offset);
}

static void write(struct virtio_device *device, unsigned offset, uint32_t value)
{
    *(volatile uint32_t *)(((struct virtio_mmio *)device)->registers + offset) = value;
}

static uint8_t status(struct virtio_device *device)
{
    return (uint8_t)read(device, STATUS);
}

static void set_status(struct virtio_device *device, uint8_t value)
{
    write(device, STATUS, value);
}

static uint32_t offered(struct virtio_device *device, unsigned half)
{
    write(device, DEVICE_FEATURES_SELECT, half);
    return read(device, DEVICE_FEATURES);
}

static void accept(struct virtio_device *device, unsigned half, uint32_t features)
{
    write(device, DRIVER_FEATURES_SELECT, half);
    write(device, DRIVER_FEATURES, features);
}

static uint32_t generation(struct virtio_device *device)
{
    return device->transport->legacy ? 0 : read(device, CONFIG_GENERATION);
}

static uint32_t config(struct virtio_device *device, unsigned offset, unsigned width)
{
    struct virtio_mmio *mmio = (struct virtio_mmio *)device;
    volatile uint8_t *at = mmio->registers + CONFIG + offset;
    if (offset + width > mmio->config_size) {
        return 0;
    }
    if (width == 1) {
        return *at;
    }
    return width == 2 ? *(volatile uint16_t *)at : *(volatile uint32_t *)at;
}

static void interrupt(void *context)
{
    struct virtio_device *device = context;
    uint32_t reasons;
    /* An edge comes only once nothing is pending any more. */
    while ((reasons = read(device, INTERRUPT_STATUS) & (VIRTIO_ISR_QUEUE | VIRTIO_ISR_CONFIG)) !=
           0) {
        write(device, INTERRUPT_ACK, reasons);
        if ((reasons & VIRTIO_ISR_CONFIG) != 0) {
            virtio_config_interrupt(device);
        }
        if ((reasons & VIRTIO_ISR_QUEUE) != 0) {
            virtio_queue_interrupt(device);
        }
        if (((struct virtio_mmio *)device)->line.level) {
            break; /* it comes again by itself */
        }
    }
}

static int connect(struct virtio_device *device)
{
    if (device->transport->legacy) {
        write(device, GUEST_PAGE_SIZE, PAGE_SIZE);
    }
    return hal_line_connect(&((struct virtio_mmio *)device)->line, interrupt, device);
}

/* There is one interrupt for all. */
static int open_vector(struct virtio_device *device, struct virtio_vector *vector, unsigned cpu)
{
    (void)device;
    (void)vector;
    (void)cpu;
    return 0;
}

static unsigned queue_size(struct virtio_device *device, unsigned index)
{
    write(device, QUEUE_SELECT, index);
    bool in_use = read(device, device->transport->legacy ? QUEUE_PFN : QUEUE_READY) != 0;
    return in_use ? 0 : read(device, QUEUE_SIZE_MAX);
}

static int enable_queue(struct virtio_device *device, struct virtqueue *queue)
{
    write(device, QUEUE_SELECT, queue->index);
    write(device, QUEUE_SIZE, queue->size);
    if (device->transport->legacy) {
        write(device, QUEUE_ALIGN, PAGE_SIZE);
        write(device, QUEUE_PFN, (uint32_t)(queue->parts[0] >> PAGE_SHIFT));
        return queue->parts[0] >> PAGE_SHIFT <= UINT32_MAX ? 0 : -ENOMEM;
    }
    static const uint16_t registers[] = {QUEUE_DESCRIPTORS, QUEUE_DRIVER, QUEUE_DEVICE};
    for (unsigned i = 0; i < 3; i++) {
        write(device, registers[i], (uint32_t)queue->parts[i]);
        write(device, registers[i] + 4u, (uint32_t)(queue->parts[i] >> 32));
    }
    write(device, QUEUE_READY, 1);
    return 0;
}

static void notify(struct virtqueue *queue)
{
    write(queue->device, QUEUE_NOTIFY, queue->index);
}

#define FUNCTIONS                                                                                  \
    .status = status, .set_status = set_status, .offered = offered, .accept = accept,              \
    .generation = generation, .config = config, .connect = connect, .open_vector = open_vector,    \
    .queue_size = queue_size, .enable_queue = enable_queue, .notify = notify

static const struct virtio_transport modern = {FUNCTIONS};
static const struct virtio_transport legacy = {.legacy = true, FUNCTIONS};

void virtio_mmio_found(const struct hal_mmio_device *found)
{
    size_t size = found->size < SIZE_MAX_MAPPED ? found->size : SIZE_MAX_MAPPED;
    volatile uint8_t *registers = size >= CONFIG ? hal_map_device(found->base, size) : NULL;
    if (registers == NULL || *(volatile uint32_t *)(registers + MAGIC_VALUE) != MAGIC) {
        log_warn("virtio: there is no device at %#llx", (unsigned long long)found->base);
        return;
    }
    uint32_t version = *(volatile uint32_t *)(registers + VERSION);
    uint32_t id = *(volatile uint32_t *)(registers + DEVICE_ID); /* 0: an empty place */
    if ((version != 1 && version != 2) || !virtio_has_driver(id)) {
        return;
    }
    struct virtio_mmio *mmio = kzalloc(sizeof(*mmio));
    if (mmio == NULL) {
        return;
    }
    mmio->registers = registers;
    mmio->config_size = (uint32_t)(size - CONFIG);
    mmio->line = found->line;
    mmio->device.id = id;
    mmio->device.transport = version == 1 ? &legacy : &modern;
    format(mmio->device.name, sizeof(mmio->device.name), "mmio %llx",
           (unsigned long long)found->base);
    virtio_device_found(&mmio->device);
}
