/* SPDX-License-Identifier: MIT */
/* Virtio devices on PCI (virtio 1.2, 4.1), by the modern interface, or by the legacy one (4.1.4.8)
 * where there is no other. Registers that choose (features, queues) are used at set-up only, by one
 * thread. */
#include <linux/errno.h>

#include "core/lib/log.h"
#include "core/mm/kmalloc.h"
#include "drivers/virtio/virtio_internal.h"
#include "hal.h"

#define NO_VENDOR 0xffff /* what is read where nothing is */
#define DEVICE_LEGACY_FIRST 0x1000
#define DEVICE_MODERN_FIRST 0x1040
#define DEVICE_LAST 0x107f

/* 4.1.4: structures that capabilities point at */
enum { CAP_COMMON = 1, CAP_NOTIFY = 2, CAP_ISR = 3, CAP_DEVICE = 4 };
#define CAP_TYPE 3
#define CAP_BAR 4
#define CAP_OFFSET 8
#define CAP_LENGTH 12
#define CAP_NOTIFY_MULTIPLIER 16

/* 4.1.4.3: common configuration */
enum {
    COMMON_OFFERED_SELECT = 0x00,
    COMMON_OFFERED = 0x04,
    COMMON_ACCEPTED_SELECT = 0x08,
    COMMON_ACCEPTED = 0x0c,
    COMMON_CONFIG_VECTOR = 0x10,
    COMMON_STATUS = 0x14,
    COMMON_GENERATION = 0x15,
    COMMON_QUEUE_SELECT = 0x16,
    COMMON_QUEUE_SIZE = 0x18,
    COMMON_QUEUE_VECTOR = 0x1a,
    COMMON_QUEUE_ENABLE = 0x1c,
    COMMON_QUEUE_NOTIFY = 0x1e,
    COMMON_QUEUE_PARTS = 0x20, /* three times 64 bits */
    COMMON_SIZE = 0x38,
};

/* 4.1.4.8: the legacy interface, all in the first BAR */
enum {
    LEGACY_OFFERED = 0x00,
    LEGACY_ACCEPTED = 0x04,
    LEGACY_QUEUE_PFN = 0x08,
    LEGACY_QUEUE_SIZE = 0x0c,
    LEGACY_QUEUE_SELECT = 0x0e,
    LEGACY_QUEUE_NOTIFY = 0x10,
    LEGACY_STATUS = 0x12,
    LEGACY_ISR = 0x13,
    LEGACY_CONFIG_VECTOR = 0x14, /* with MSI-X, which moves what follows */
    LEGACY_QUEUE_VECTOR = 0x16,
    LEGACY_CONFIG = 0x14,
    LEGACY_CONFIG_MSIX = 0x18,
};

#define NO_VECTOR 0xffff
#define CONFIG_MESSAGE 0

struct virtio_pci {
    struct virtio_device device; /* first */
    struct virtio_pci *next;
    struct pci_device pci;
    struct pci_region common; /* of the legacy interface: all of it */
    struct pci_region isr, config;
    unsigned notify_bar;
    uint32_t notify_offset, notify_length, notify_multiplier;
    struct pci_region notify_page; /* what was mapped last of the notification structure */
    uint64_t notify_page_offset;
    unsigned messages_used; /* MSI-X; 0: the line */
};

/* All that were found; grows before virtio_pci_check is ever called. */
static struct virtio_pci *devices;

static struct virtio_pci *of(struct virtio_device *device)
{
    return (struct virtio_pci *)device;
}

static uint32_t read(struct virtio_device *device, unsigned offset, unsigned width)
{
    return pci_region_read(&of(device)->common, offset, width);
}

static void write(struct virtio_device *device, unsigned offset, unsigned width, uint32_t value)
{
    pci_region_write(&of(device)->common, offset, width, value);
}

/* --- configuration and interrupts, for both interfaces ---------------------------------------- */

static uint32_t config(struct virtio_device *device, unsigned offset, unsigned width)
{
    const struct pci_region *region = &of(device)->config;
    return offset + width <= region->length ? pci_region_read(region, offset, width) : 0;
}

static void line_interrupt(void *context)
{
    struct virtio_device *device = context;
    uint32_t reasons = pci_region_read(&of(device)->isr, 0, 1); /* clears it (4.1.4.5) */
    if ((reasons & VIRTIO_ISR_CONFIG) != 0) {
        virtio_config_interrupt(device);
    }
    if ((reasons & VIRTIO_ISR_QUEUE) != 0) {
        virtio_queue_interrupt(device);
    }
}

static void message_interrupt(void *context)
{
    for (struct virtio_vector *vector = context; vector != NULL;
         vector = __atomic_load_n(&vector->shared, __ATOMIC_ACQUIRE)) {
        vector->handler(vector->context);
    }
}

/* The message for changes of the configuration, and for all queues where there is only one. */
static void config_interrupt(void *context)
{
    struct virtio_device *device = context;
    virtio_config_interrupt(device);
    if (of(device)->pci.msix_count == 1) {
        virtio_queue_interrupt(device);
    }
}

/* Writes a vector register and sees whether the device takes it (4.1.5.1.2). */
static int set_vector(struct virtio_device *device, unsigned offset, unsigned message)
{
    write(device, offset, 2, message);
    return read(device, offset, 2) == message ? 0 : -ENODEV;
}

static int connect(struct virtio_device *device)
{
    struct virtio_pci *pci = of(device);
    if (pci->pci.msix == NULL) {
        return pci_line_connect(&pci->pci, line_interrupt, device);
    }
    int error = pci_msix_connect(&pci->pci, CONFIG_MESSAGE, 0, config_interrupt, device);
    if (error == 0) {
        pci->messages_used = 1;
        error = set_vector(device,
                           device->transport->legacy ? LEGACY_CONFIG_VECTOR : COMMON_CONFIG_VECTOR,
                           CONFIG_MESSAGE);
    }
    return error;
}

static int open_vector(struct virtio_device *device, struct virtio_vector *vector, unsigned cpu)
{
    struct virtio_pci *pci = of(device);
    if (pci->messages_used < pci->pci.msix_count && pci->messages_used != 0) {
        vector->message = pci->messages_used;
        if (pci_msix_connect(&pci->pci, vector->message, cpu, message_interrupt, vector) == 0) {
            pci->messages_used++;
            return 0;
        }
    }
    /* None left: it shares the last one that was opened. */
    struct virtio_vector *last = device->vectors;
    vector->message = CONFIG_MESSAGE;
    if (pci->messages_used > 1 && last != NULL) {
        vector->message = last->message;
        vector->shared = last->shared;
        __atomic_store_n(&last->shared, vector, __ATOMIC_RELEASE);
    }
    return 0;
}

/* The queue is the one selected. */
static int set_queue_vector(struct virtqueue *queue, unsigned offset)
{
    if (of(queue->device)->messages_used == 0) {
        return 0;
    }
    unsigned message = queue->vector != NULL ? queue->vector->message : NO_VECTOR;
    return set_vector(queue->device, offset, message);
}

/* --- the modern interface --------------------------------------------------------------------- */

static uint8_t status(struct virtio_device *device)
{
    return (uint8_t)read(device, COMMON_STATUS, 1);
}

static void set_status(struct virtio_device *device, uint8_t value)
{
    write(device, COMMON_STATUS, 1, value);
}

static uint32_t offered(struct virtio_device *device, unsigned half)
{
    write(device, COMMON_OFFERED_SELECT, 4, half);
    return read(device, COMMON_OFFERED, 4);
}

static void accept(struct virtio_device *device, unsigned half, uint32_t features)
{
    write(device, COMMON_ACCEPTED_SELECT, 4, half);
    write(device, COMMON_ACCEPTED, 4, features);
}

static uint32_t generation(struct virtio_device *device)
{
    return read(device, COMMON_GENERATION, 1);
}

static unsigned queue_size(struct virtio_device *device, unsigned index)
{
    write(device, COMMON_QUEUE_SELECT, 2, index);
    return read(device, COMMON_QUEUE_ENABLE, 2) != 0 ? 0 : read(device, COMMON_QUEUE_SIZE, 2);
}

/* Finds the queue's doorbell (4.1.4.4); queues may share a page or have one each. */
static int map_doorbell(struct virtio_pci *pci, struct virtqueue *queue)
{
    uint64_t offset = (uint64_t)read(&pci->device, COMMON_QUEUE_NOTIFY, 2) * pci->notify_multiplier;
    if (offset + 2 > pci->notify_length) {
        return -EINVAL;
    }
    offset += pci->notify_offset;
    uint64_t page = offset & ~(PAGE_SIZE - 1);
    if (pci->notify_page.length == 0 || pci->notify_page_offset != page ||
        offset - page + 2 > pci->notify_page.length) {
        uint64_t left = pci->notify_offset + (uint64_t)pci->notify_length - page;
        uint32_t length = left < PAGE_SIZE ? (uint32_t)left : (uint32_t)PAGE_SIZE;
        int error = pci_map(&pci->pci, pci->notify_bar, page, length, &pci->notify_page);
        if (error != 0) {
            pci->notify_page.length = 0;
            return error;
        }
        pci->notify_page_offset = page;
    }
    queue->doorbell = pci->notify_page;
    queue->doorbell.port = (uint16_t)(queue->doorbell.port + (offset - page));
    if (queue->doorbell.memory != NULL) {
        queue->doorbell.memory += offset - page;
    }
    return 0;
}

static int enable_queue(struct virtio_device *device, struct virtqueue *queue)
{
    write(device, COMMON_QUEUE_SELECT, 2, queue->index);
    write(device, COMMON_QUEUE_SIZE, 2, queue->size);
    int error = set_queue_vector(queue, COMMON_QUEUE_VECTOR);
    if (error == 0) {
        error = map_doorbell(of(device), queue);
    }
    if (error != 0) {
        return error;
    }
    for (unsigned i = 0; i < 3; i++) {
        write(device, COMMON_QUEUE_PARTS + i * 8, 4, (uint32_t)queue->parts[i]);
        write(device, COMMON_QUEUE_PARTS + i * 8 + 4, 4, (uint32_t)(queue->parts[i] >> 32));
    }
    write(device, COMMON_QUEUE_ENABLE, 2, 1);
    return 0;
}

static void notify(struct virtqueue *queue)
{
    pci_region_write(&queue->doorbell, 0, 2, queue->index);
}

static const struct virtio_transport modern = {
    .status = status,
    .set_status = set_status,
    .offered = offered,
    .accept = accept,
    .generation = generation,
    .config = config,
    .connect = connect,
    .open_vector = open_vector,
    .queue_size = queue_size,
    .enable_queue = enable_queue,
    .notify = notify,
};

/* Maps the structures that the capabilities point at; of several of a kind the first that can be
 * used (4.1.4.1). */
static int map_modern(struct virtio_pci *pci)
{
    struct pci_device *function = &pci->pci;
    for (unsigned at = 0; (at = pci_find_capability(function, PCI_CAP_ID_VENDOR, at)) != 0;) {
        if (at + CAP_NOTIFY_MULTIPLIER + 4 > 256) {
            break;
        }
        unsigned bar = pci_read(function, at + CAP_BAR, 1);
        uint32_t offset = pci_read(function, at + CAP_OFFSET, 4);
        uint32_t length = pci_read(function, at + CAP_LENGTH, 4);
        struct pci_region *region = NULL;
        uint32_t least = 1, most = PAGE_SIZE;
        switch (pci_read(function, at + CAP_TYPE, 1)) {
        case CAP_COMMON:
            region = &pci->common;
            least = most = COMMON_SIZE;
            break;
        case CAP_ISR:
            region = &pci->isr;
            most = 1;
            break;
        case CAP_DEVICE:
            region = &pci->config;
            break;
        case CAP_NOTIFY:
            if (pci->notify_length == 0 && length >= 2) {
                pci->notify_bar = bar;
                pci->notify_offset = offset;
                pci->notify_length = length;
                pci->notify_multiplier = pci_read(function, at + CAP_NOTIFY_MULTIPLIER, 4);
            }
            continue;
        default:
            continue;
        }
        if (region->length == 0 && length >= least) {
            int error = pci_map(function, bar, offset, length < most ? length : most, region);
            if (error != 0) {
                *region = (struct pci_region){0};
            }
        }
    }
    return pci->common.length != 0 && pci->isr.length != 0 && pci->notify_length != 0 ? 0 : -ENODEV;
}

/* --- the legacy interface --------------------------------------------------------------------- */

static uint8_t legacy_status(struct virtio_device *device)
{
    return (uint8_t)read(device, LEGACY_STATUS, 1);
}

static void legacy_set_status(struct virtio_device *device, uint8_t value)
{
    write(device, LEGACY_STATUS, 1, value);
}

static uint32_t legacy_offered(struct virtio_device *device, unsigned half)
{
    return half == 0 ? read(device, LEGACY_OFFERED, 4) : 0;
}

static void legacy_accept(struct virtio_device *device, unsigned half, uint32_t features)
{
    if (half == 0) {
        write(device, LEGACY_ACCEPTED, 4, features);
    }
}

static uint32_t legacy_generation(struct virtio_device *device)
{
    (void)device;
    return 0;
}

static unsigned legacy_queue_size(struct virtio_device *device, unsigned index)
{
    write(device, LEGACY_QUEUE_SELECT, 2, index);
    return read(device, LEGACY_QUEUE_PFN, 4) != 0 ? 0 : read(device, LEGACY_QUEUE_SIZE, 2);
}

static int legacy_enable_queue(struct virtio_device *device, struct virtqueue *queue)
{
    if (queue->parts[0] >> PAGE_SHIFT > UINT32_MAX) {
        return -ENOMEM;
    }
    write(device, LEGACY_QUEUE_SELECT, 2, queue->index);
    write(device, LEGACY_QUEUE_PFN, 4, (uint32_t)(queue->parts[0] >> PAGE_SHIFT));
    return set_queue_vector(queue, LEGACY_QUEUE_VECTOR);
}

static void legacy_notify(struct virtqueue *queue)
{
    write(queue->device, LEGACY_QUEUE_NOTIFY, 2, queue->index);
}

static const struct virtio_transport legacy = {
    .legacy = true,
    .fixed_size = true,
    .status = legacy_status,
    .set_status = legacy_set_status,
    .offered = legacy_offered,
    .accept = legacy_accept,
    .generation = legacy_generation,
    .config = config,
    .connect = connect,
    .open_vector = open_vector,
    .queue_size = legacy_queue_size,
    .enable_queue = legacy_enable_queue,
    .notify = legacy_notify,
};

static int map_legacy(struct virtio_pci *pci)
{
    int error = pci_map(&pci->pci, 0, 0, 0, &pci->common);
    if (error != 0 || pci->common.length < LEGACY_CONFIG_MSIX) {
        return error != 0 ? error : -ENODEV;
    }
    unsigned isr = LEGACY_ISR;
    unsigned config = pci->pci.msix != NULL ? LEGACY_CONFIG_MSIX : LEGACY_CONFIG;
    pci->isr = pci->config = pci->common;
    pci->isr.port = (uint16_t)(pci->isr.port + isr);
    pci->config.port = (uint16_t)(pci->config.port + config);
    if (pci->common.memory != NULL) {
        pci->isr.memory += isr;
        pci->config.memory += config;
    }
    pci->config.length -= config;
    return 0;
}

/* --- a device --------------------------------------------------------------------------------- */

/* 4.1.2.1; transitional devices have their type in the subsystem id. */
static uint32_t device_type(const struct pci_device *function)
{
    uint32_t number = pci_read(function, PCI_DEVICE_ID, 2);
    if (number < DEVICE_LEGACY_FIRST || number > DEVICE_LAST) {
        return 0;
    }
    return number >= DEVICE_MODERN_FIRST ? number - DEVICE_MODERN_FIRST
                                         : pci_read(function, PCI_SUBSYSTEM_ID, 2);
}

void virtio_pci_found(const struct pci_device *function)
{
    uint32_t id = device_type(function);
    if (!virtio_has_driver(id)) {
        return;
    }
    struct virtio_pci *pci = kzalloc(sizeof(*pci));
    if (pci == NULL) {
        return;
    }
    pci->pci = *function;
    pci->device.id = id;
    format(pci->device.name, sizeof(pci->device.name), "pci %02x:%02x.%x", function->address >> 8,
           function->address >> 3 & 31, function->address & 7);
    pci_enable(&pci->pci);
    if (pci_msix_enable(&pci->pci) != 0) {
        log_debug("virtio: %s has no MSI-X", pci->device.name);
    }
    pci->device.transport = &modern;
    if (map_modern(pci) != 0) {
        pci->device.transport = &legacy;
        if (pci_read(&pci->pci, PCI_DEVICE_ID, 2) >= DEVICE_MODERN_FIRST || map_legacy(pci) != 0) {
            log_warn("virtio: %s has no usable interface", pci->device.name);
            return;
        }
    }
    pci->next = devices;
    devices = pci;
    virtio_device_found(&pci->device);
}

void virtio_pci_check(void)
{
    for (struct virtio_pci *pci = devices; pci != NULL; pci = pci->next) {
        if (pci_read(&pci->pci, PCI_VENDOR_ID, 2) == NO_VENDOR) {
            virtio_break(&pci->device, "it was taken out");
        }
    }
}
