/* SPDX-License-Identifier: MIT */
/* The list of block devices, and requests that a thread waits for. Devices are added before the
 * program runs and stay in the list for ever, so reading it takes no lock. */
#include "core/block/block.h"
#include "core/lib/errno.h"
#include "core/lib/log.h"
#include "core/lib/string.h"
#include "core/mm/kmalloc.h"
#include "core/mm/page.h"
#include "hal.h"

#define MAJOR_VIRTIO 254u /* the first of those that Linux gives out on demand */
#define MAJOR_XEN 202u
#define MINORS 16u      /* of a disk; the others are for its partitions */
#define ZEROES_ORDER 5u /* pages that are written at a time, as a power of two */

struct block_device *block_devices;

/* As Linux encodes it for user space (include/linux/kdev_t.h). */
static uint64_t device_number(const char *name)
{
    bool xen = strncmp(name, "xvd", 3) == 0;
    uint32_t disk = 0, minor;
    for (const char *letter = name + (xen ? 3 : 2); *letter >= 'a' && *letter <= 'z'; letter++) {
        disk = disk * 26 + (uint32_t)(*letter - 'a') + 1;
    }
    minor = (disk - (disk != 0)) * MINORS;
    return (minor & 0xff) | (xen ? MAJOR_XEN : MAJOR_VIRTIO) << 8 |
           (uint64_t)(minor & ~0xffu) << 12;
}

void core_blockdev_found(struct blockdev *hardware)
{
    struct block_device *device = kzalloc(sizeof(*device)), **link = &block_devices;
    if (device == NULL || block_stats_init(device) != 0 ||
        (block_devices == NULL && cache_init() != 0)) {
        log_error("%s: no memory for a disk", hardware->name);
        if (device != NULL) {
            kfree(device->counters);
        }
        kfree(device);
        return;
    }
    device->hardware = hardware;
    device->number = device_number(hardware->name);
    mutex_init(&device->write_lock);
    hardware->core = device;
    while (*link != NULL) {
        link = &(*link)->next;
    }
    *link = device;
    log_info("%s: %llu KiB in blocks of %u bytes%s%s%s", hardware->name,
             (unsigned long long)(block_size(device) >> 10), hardware->block_size,
             hardware->read_only ? ", read-only" : "",
             hardware->serial[0] != '\0' ? ", serial " : "", hardware->serial);
}

void core_blockdev_changed(struct blockdev *hardware)
{
    struct block_device *device = hardware->core;
    uint64_t sectors = __atomic_load_n(&hardware->sector_count, __ATOMIC_ACQUIRE);
    if (sectors == 0) {
        __atomic_store_n(&device->gone, true, __ATOMIC_RELEASE);
    } else {
        log_info("%s: now %llu KiB", hardware->name, (unsigned long long)(sectors >> 1));
    }
}

struct block_device *block_find(const char *name)
{
    if (strncmp(name, "/dev/", 5) == 0) {
        name += 5;
    }
    struct block_device *device = block_devices;
    while (device != NULL && strcmp(device->hardware->name, name) != 0) {
        device = device->next;
    }
    return device;
}

struct block_device *block_find_number(uint64_t number)
{
    struct block_device *device = block_devices;
    while (device != NULL && device->number != number) {
        device = device->next;
    }
    return device;
}

uint64_t block_size(const struct block_device *device)
{
    const struct blockdev *hardware = device->hardware;
    uint64_t sectors = __atomic_load_n(&hardware->sector_count, __ATOMIC_ACQUIRE);
    return __atomic_load_n(&device->gone, __ATOMIC_ACQUIRE)
               ? 0
               : (sectors << SECTOR_SHIFT) & ~(uint64_t)(hardware->block_size - 1);
}

/* --- requests that are waited for ------------------------------------------------------------ */

struct waited {
    struct block_request request;
    struct block_device *device;
    int32_t state;
};

static void waited_done(struct block_request *request, int error)
{
    struct waited *waited = container_of(request, struct waited, request);
    block_account(waited->device, request);
    block_done(&waited->state, error);
}

static int submit_and_wait(struct block_device *device, struct waited *waited)
{
    waited->device = device;
    waited->state = CACHE_BUSY;
    waited->request.done = waited_done;
    block_submit(device, &waited->request);
    int result = block_wait(&waited->state);
    return result == -ENODEV ? -EIO : result;
}

/* Whether a change of the range may be tried. */
static int check_change(const struct block_device *device, uint64_t offset, uint64_t size)
{
    uint64_t end = block_size(device), mask = device->hardware->block_size - 1;
    return end == 0                              ? -EIO
           : device->hardware->read_only         ? -EROFS
           : ((offset | size) & mask) != 0       ? -EINVAL
           : offset > end || size > end - offset ? -EINVAL
                                                 : 0;
}

int block_write(struct block_device *device, uint64_t offset, void *bytes, size_t size)
{
    int result = check_change(device, offset, size);
    while (size != 0 && result == 0) {
        uint32_t piece =
            size < device->hardware->request_max ? (uint32_t)size : device->hardware->request_max;
        struct block_segment segment = {bytes, piece};
        struct waited waited = {.request = {.operation = BLOCK_WRITE,
                                            .sector = offset >> SECTOR_SHIFT,
                                            .segments = &segment,
                                            .segment_count = 1}};
        result = submit_and_wait(device, &waited);
        if (result == 0) {
            cache_update(device, offset, bytes, piece);
        }
        bytes = (char *)bytes + piece;
        offset += piece;
        size -= piece;
    }
    return result;
}

int block_flush(struct block_device *device)
{
    struct waited waited = {.request = {.operation = BLOCK_FLUSH}};
    if (block_size(device) == 0) {
        return -EIO;
    }
    return device->hardware->can_flush ? submit_and_wait(device, &waited) : 0;
}

int block_flush_all(void)
{
    int result = 0;
    for (struct block_device *device = block_devices; device != NULL; device = device->next) {
        int error = device->hardware->read_only ? 0 : block_flush(device);
        result = result != 0 ? result : error;
    }
    return result;
}

/* A request without data for all of a range, in pieces of at most `most` sectors; 0: the device
 * cannot. */
static int change_range(struct block_device *device, enum block_operation operation, uint32_t most,
                        uint64_t offset, uint64_t size)
{
    uint64_t limit =
        ((uint64_t)most << SECTOR_SHIFT) & ~(uint64_t)(device->hardware->block_size - 1);
    int result = limit == 0 ? -EOPNOTSUPP : check_change(device, offset, size);
    while (size != 0 && result == 0) {
        uint64_t piece = size < limit ? size : limit;
        struct waited waited = {.request = {.operation = operation,
                                            .sector = offset >> SECTOR_SHIFT,
                                            .sector_count = piece >> SECTOR_SHIFT}};
        result = submit_and_wait(device, &waited);
        if (result == 0 && operation == BLOCK_DISCARD) {
            cache_drop(device, offset, piece);
        } else if (result == 0) {
            cache_update(device, offset, NULL, piece);
        }
        offset += piece;
        size -= piece;
    }
    return result;
}

int block_discard(struct block_device *device, uint64_t offset, uint64_t size)
{
    return change_range(device, BLOCK_DISCARD, device->hardware->discard_max, offset, size);
}

int block_zero(struct block_device *device, uint64_t offset, uint64_t size)
{
    unsigned order = ZEROES_ORDER;
    uint64_t zeroes = 0;
    int result = check_change(device, offset, size);
    if (result == 0) {
        result =
            change_range(device, BLOCK_WRITE_ZEROES, device->hardware->zeroes_max, offset, size);
    }
    if (result != -EOPNOTSUPP) {
        return result;
    }
    while ((zeroes = page_alloc(order, PAGE_ZERO)) == 0 && order > 0) {
        order--;
    }
    result = zeroes == 0 ? -ENOMEM : 0;
    while (size != 0 && result == 0) {
        size_t piece = size < PAGE_SIZE << order ? size : PAGE_SIZE << order;
        result = block_write(device, offset, direct_map(zeroes), piece);
        offset += piece;
        size -= piece;
    }
    if (zeroes != 0) {
        page_free(zeroes, order);
    }
    return result;
}
