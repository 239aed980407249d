/* SPDX-License-Identifier: MIT */
#include "fake_disk.h"

#include <errno.h>
#include <pthread.h>
#include <string.h>

#include "fakes/check.h"
#include "fs_machine.h"

static struct list waiting = LIST_INIT(waiting);
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t arrived = PTHREAD_COND_INITIALIZER;

/* What a driver may rely on is checked here. */
static int transfer(struct fake_disk *disk, const struct block_request *request)
{
    uint64_t at = request->sector * SECTOR_SIZE, size = disk->device.sector_count * SECTOR_SIZE;
    uint64_t total = 0, first = request->sector;
    CHECK(request->segment_count >= 1 && request->segment_count <= disk->device.segment_max,
          "%u segments", request->segment_count);
    for (unsigned i = 0; i < request->segment_count; i++) {
        total += request->segments[i].length;
        CHECK(request->segments[i].length % disk->device.block_size == 0 &&
                  (uintptr_t)request->segments[i].data % SECTOR_SIZE == 0,
              "segment of %u bytes", request->segments[i].length);
    }
    CHECK(at % disk->device.block_size == 0 && total != 0 && total <= disk->device.request_max,
          "%lu bytes at %lu", total, at);
    CHECK(at <= size && total <= size - at, "past the end: %lu bytes at %lu", total, at);
    disk->largest = total > disk->largest ? total : disk->largest;
    if (first <= disk->bad_last && first + total / SECTOR_SIZE > disk->bad_first) {
        return -EIO;
    }
    for (unsigned i = 0; i < request->segment_count; i++) {
        const struct block_segment *segment = &request->segments[i];
        if (request->operation == BLOCK_READ) {
            memcpy(segment->data, disk->bytes + at, segment->length);
        } else {
            memcpy(disk->bytes + at, segment->data, segment->length);
        }
        at += segment->length;
    }
    return 0;
}

static void answer(struct fake_disk *disk, struct block_request *request)
{
    int error = 0;
    disk->requests++;
    machine_skew += disk->late_ns;
    if (disk->gone) {
        error = -ENODEV;
    } else if (request->operation == BLOCK_FLUSH) {
        disk->flushes++;
    } else if (request->operation == BLOCK_DISCARD) {
        CHECK(request->sector_count != 0 && request->sector_count <= disk->device.discard_max,
              "discard of %lu", request->sector_count);
        memset(disk->bytes + request->sector * SECTOR_SIZE, 0, request->sector_count * SECTOR_SIZE);
        disk->discards++;
    } else if (request->operation == BLOCK_WRITE_ZEROES) {
        CHECK(request->sector_count != 0 && request->sector_count <= disk->device.zeroes_max,
              "zeroes in %lu", request->sector_count);
        memset(disk->bytes + request->sector * SECTOR_SIZE, 0, request->sector_count * SECTOR_SIZE);
        disk->zeroes++;
    } else {
        error = transfer(disk, request);
    }
    request->done(request, error);
}

static void submit(struct blockdev *device, struct block_request *request)
{
    struct fake_disk *disk = (struct fake_disk *)device;
    if (!disk->threaded) {
        answer(disk, request);
        return;
    }
    pthread_mutex_lock(&lock);
    request->driver = disk;
    list_push_front(&waiting, &request->node);
    pthread_cond_signal(&arrived);
    pthread_mutex_unlock(&lock);
}

static void *run(void *unused)
{
    (void)unused;
    pthread_mutex_lock(&lock);
    for (;;) {
        while (list_empty(&waiting)) {
            pthread_cond_wait(&arrived, &lock);
        }
        struct block_request *request = list_entry(waiting.next, struct block_request, node);
        list_remove(&request->node);
        pthread_mutex_unlock(&lock);
        answer(request->driver, request);
        pthread_mutex_lock(&lock);
    }
    return NULL;
}

void fake_disk_start_thread(struct fake_disk *disk)
{
    pthread_t thread;
    disk->threaded = true;
    pthread_create(&thread, NULL, run, NULL);
    pthread_detach(thread);
}

void fake_disk_add(struct fake_disk *disk, const char *name, void *bytes, uint64_t size,
                   uint32_t block_size)
{
    static const struct blockdev_operations operations = {submit};
    memset(disk, 0, sizeof(*disk));
    disk->device.operations = &operations;
    strcpy(disk->device.name, name);
    disk->device.sector_count = size / SECTOR_SIZE;
    disk->device.block_size = block_size;
    disk->device.segment_max = 128;
    disk->device.request_max = 1 << 20;
    disk->device.discard_max = 1 << 16;
    disk->device.can_flush = true;
    disk->bytes = bytes;
    disk->bad_first = UINT64_MAX;
    core_blockdev_found(&disk->device);
}
