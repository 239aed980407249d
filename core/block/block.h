/* SPDX-License-Identifier: MIT */
/* Block devices by name, and the page cache: pages of devices, shared by reads, file systems and
 * mappings. Writes go through to the device before they return, so no page is ever dirty, and each
 * that nobody refers to can be given back. hal/include/blockdev.h is the side of the drivers. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "blockdev.h"
#include "core/sched/sched.h"

struct file;
struct inode;

struct block_device {
    struct blockdev *hardware;
    struct block_device *next;       /* in the order they were found; never shrinks */
    uint64_t number;                 /* as stat's st_rdev has it */
    bool gone;                       /* atomic; for good */
    struct mutex write_lock;         /* writes and discards, one after the other */
    struct block_counters *counters; /* one for each CPU (stats.c) */
    uint64_t busy_seen;              /* ms; atomic */
};

extern struct block_device *block_devices;

/* By name, with or without "/dev/", or by number; NULL: there is none. */
struct block_device *block_find(const char *name);
struct block_device *block_find_number(uint64_t number);

/* Bytes, whole pages or not; 0 when the device is gone. */
uint64_t block_size(const struct block_device *device);

/* Thread context, may sleep: until the device is done, and the cache has what it got. write_lock
 * held. -EIO, also when the device is gone, -ENOSPC, -EROFS, -EINVAL: not whole blocks of the
 * device. `bytes` is kernel memory in the direct map, aligned to a sector. */
int block_write(struct block_device *device, uint64_t offset, void *bytes, size_t size);
/* Makes what was written before lasting. */
int block_flush(struct block_device *device);
int block_flush_all(void);
/* The blocks may lose their contents. As block_write; -EOPNOTSUPP. */
int block_discard(struct block_device *device, uint64_t offset, uint64_t size);
/* They read as zeroes. As block_write; -ENOMEM. */
int block_zero(struct block_device *device, uint64_t offset, uint64_t size);

/* Hands a request to the driver. `done` has to call block_account before the request goes. Any
 * context. */
void block_submit(struct block_device *device, struct block_request *request);
void block_account(struct block_device *device, const struct block_request *request);

/* What the device has done since the start, failures included; for /proc/diskstats and
 * /sys/block. */
struct block_stats {
    struct {
        uint64_t requests, sectors;
        uint64_t ns; /* the times of all requests together, from the driver's getting it on */
    } of[BLOCK_WRITE_ZEROES]; /* by enum block_operation; zeroes count as written */
    uint64_t in_flight;
    uint64_t busy_ms; /* during which there was a request in flight */
};

/* Any context; while requests come and go, the numbers are of slightly different moments. */
void block_stats(const struct block_device *device, struct block_stats *out);

/* Before the device's first request. -ENOMEM. */
int block_stats_init(struct block_device *device);

/* Makes a device's open file; the operations for /dev/vda (file.c). -ENXIO, -EACCES (the device is
 * read-only). */
int block_open(struct inode *inode, struct file *file);

/* --- the page cache (cache.c) ---------------------------------------------------------------- */

/* What is known of how a file is read; the file's own, zero at first. Readers that race spoil no
 * more than the guess. */
struct read_ahead {
    uint64_t next;   /* the page that comes next in a sequence */
    uint64_t end;    /* pages before this were asked for */
    uint32_t window; /* pages asked for at once; 0: no sequence yet */
    uint32_t wanted; /* pages that the call now under way will read */
};

#define READ_AHEAD_MAX 128u /* pages */

struct cached_page {
    struct cached_page *next; /* in its bucket; the bucket's lock */
    struct block_device *device;
    uint64_t index; /* of the page on the device */
    uint64_t physical;
    uint32_t references; /* one is the table's; atomic */
    int32_t state;       /* 0: ready, CACHE_BUSY, or -errno; atomic */
    bool used;           /* since the hand last came by; atomic */
};

/* Page `index` of the device, read if need be, with a reference. `run` pages from there on belong
 * to what is read, so may be read ahead. Thread context, may sleep, no spinlock held. -EIO, also
 * when the device is gone, -ENOMEM. */
int cache_get(struct block_device *device, uint64_t index, uint64_t run, struct read_ahead *ahead,
              struct cached_page **out);
void cache_put(struct cached_page *page);

/* Gives back the reference to a page that was got before, known by its place. */
void cache_put_at(struct block_device *device, uint64_t index);

static inline uint8_t *cached_bytes(const struct cached_page *page)
{
    return direct_map(page->physical);
}

/* New contents (NULL: zeroes), which the device has already, for what is cached of [offset, offset
 * + size). */
void cache_update(struct block_device *device, uint64_t offset, const void *bytes, size_t size);

/* Forgets what is cached of a range; pages in use stay. */
void cache_drop(struct block_device *device, uint64_t offset, uint64_t size);

/* Pages in the cache, for /proc/meminfo. */
uint64_t cache_pages(void);

/* Before the first device. -ENOMEM. */
int cache_init(void);

/* --- waiting for a device -------------------------------------------------------------------- */

#define CACHE_BUSY 1

/* Sleeps until *state is no longer CACHE_BUSY, and returns it. */
int block_wait(const int32_t *state);
/* Sets *state and wakes who waits; `state` itself may be gone at once. Any context. */
void block_done(int32_t *state, int32_t value);
