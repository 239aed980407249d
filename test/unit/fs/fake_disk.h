/* SPDX-License-Identifier: MIT */
/* A block device in memory, for tests. It answers from inside submit, or, with a thread of its own,
 * later and out of order. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "hal/include/blockdev.h"

struct fake_disk {
    struct blockdev device; /* first */
    uint8_t *bytes;
    uint64_t bad_first, bad_last; /* sectors that cannot be read or written */
    uint64_t late_ns;             /* for this long each request takes, on the machine's clock */
    bool gone;
    bool threaded;
    unsigned requests, flushes, discards, zeroes;
    uint64_t largest; /* bytes in one request */
};

/* Fills the disk in (the limits may be changed before it is used) and tells core of it. */
void fake_disk_add(struct fake_disk *disk, const char *name, void *bytes, uint64_t size,
                   uint32_t block_size);

/* Lets the disk's thread answer. It ends with the program. */
void fake_disk_start_thread(struct fake_disk *disk);
