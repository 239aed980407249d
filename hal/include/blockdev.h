/* SPDX-License-Identifier: MIT */
/* Block devices as core sees them: virtio-blk and Xen's blkfront look the same from here. The
 * platform finds the devices and calls core_blockdev_found for each; core calls the operations. All
 * memory that goes through here lies in the direct map (page_alloc, kmalloc). */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/lib/list.h"

#define SECTOR_SHIFT 9
#define SECTOR_SIZE 512u

enum block_operation { BLOCK_READ, BLOCK_WRITE, BLOCK_FLUSH, BLOCK_DISCARD, BLOCK_WRITE_ZEROES };

struct block_segment {
    void *data;      /* aligned to a sector */
    uint32_t length; /* a multiple of the device's block size */
};

struct block_request {
    enum block_operation operation;
    uint64_t sector;       /* the first; a multiple of the device's block size */
    uint64_t sector_count; /* of BLOCK_DISCARD and BLOCK_WRITE_ZEROES; for the others it is the
                              segments' */
    struct block_segment *segments; /* read and write; the caller's, in use until `done` */
    unsigned segment_count;
    /* The device is done: 0, -EIO, -ENOSPC, -EOPNOTSUPP, -ENODEV (it is gone). May be called from
     * an interrupt handler, with no lock held, and before submit has returned; the request is the
     * caller's again. */
    void (*done)(struct block_request *request, int error);
    uint64_t started; /* core's own: on the monotonic clock, ns */
    struct list node; /* the driver's while the request is in flight */
    void *driver;
};

struct blockdev;

struct blockdev_operations {
    /* Starts a request that keeps to the device's limits; one that does not fit into the ring waits
     * in the driver's own queue. `done` is called in any case, also for a device that is gone. Any
     * context. */
    void (*submit)(struct blockdev *device, struct block_request *request);
};

struct blockdev {
    const struct blockdev_operations *operations;
    char name[16];         /* "vda", "xvda", ...: the driver's choice */
    uint64_t sector_count; /* of 512 bytes, whatever the block size is; atomic */
    uint32_t block_size;   /* smallest unit of a request, bytes: a power of two from 512 to 4096 */
    uint32_t segment_max;  /* segments in a request */
    uint32_t request_max;  /* bytes in a request; a multiple of 4096 */
    uint32_t discard_max;  /* sectors in one BLOCK_DISCARD; 0: the device cannot */
    uint32_t zeroes_max;   /* and in one BLOCK_WRITE_ZEROES */
    bool read_only;
    bool can_flush; /* it has a volatile cache: BLOCK_FLUSH makes what was written before lasting */
    char serial[21]; /* NUL-terminated; "" when it has none */
    void *core;      /* core's own */
};

/* --- what a driver calls in core (core/block) ----------------------------------------------------
 */

/* A device is there and ready for its operations; the structure stays for ever. Thread context. */
void core_blockdev_found(struct blockdev *device);

/* sector_count has changed (a resize), or the device is gone (0). Any context. */
void core_blockdev_changed(struct blockdev *device);
