/* SPDX-License-Identifier: MIT */
/* The front end of disks against a back end that completes requests in any order, or writes what it
 * likes into the ring. Whatever it does, each request is done exactly once. */
#include "hal/xen/blkfront.c"

#include <stdlib.h>

#include "fake_xenbus.h"
#include "fakes/check.h"

#define REQUESTS 100
#define GRANTS 4096

#define PAGES 64
static bool granted[GRANTS];
static bool keep_pages; /* the back end does not let go */
static unsigned changed_count;

void *kzalloc(size_t size)
{
    return calloc(1, size);
}

int grant_alloc(uint32_t *reference)
{
    static uint32_t next = 8;
    *reference = next++ % GRANTS;
    return 0;
}

void grant_give(uint32_t reference, uint16_t domain, const void *page, bool read_only)
{
    (void)domain;
    (void)read_only;
    CHECK((uintptr_t)page % PAGE_SIZE == 0 && !granted[reference]);
    granted[reference] = true;
}

bool grant_take_back(uint32_t reference)
{
    CHECK(granted[reference]);
    granted[reference] = false;
    return !keep_pages;
}

void core_blockdev_found(struct blockdev *device)
{
    (void)device;
}

void core_blockdev_changed(struct blockdev *device)
{
    CHECK(device->sector_count == 0);
    changed_count++;
}

uint64_t xenbus_backend_number(const struct xenbus_device *device, const char *name, uint64_t max,
                               uint64_t otherwise)
{
    (void)device;
    (void)name;
    (void)max;
    return otherwise;
}

int xenbus_write_number(const struct xenbus_device *device, const char *name, uint64_t value)
{
    (void)device;
    (void)name;
    (void)value;
    return 0;
}

int xenstore_read_number(const char *path, uint64_t max, uint64_t *value)
{
    (void)path;
    (void)max;
    *value = 51712;
    return 0;
}

/* --- the test --------------------------------------------------------------------------------- */

static struct blkfront *disk;
static struct block_request requests[REQUESTS];
static struct block_segment segments[REQUESTS][PIECES_MAX / 2];
static unsigned done_count[REQUESTS];
static int errors[REQUESTS];
static char data[64 * 4096] __attribute__((aligned(4096)));

static uint32_t dice(void)
{
    static uint64_t seed;
    return (uint32_t)test_random(&seed);
}

static void done(struct block_request *request, int error)
{
    done_count[request - requests]++;
    errors[request - requests] = error;
}

static void new_disk(void)
{
    fake_pages_reset(PAGES);
    memset(granted, 0, sizeof(granted));
    memset(done_count, 0, sizeof(done_count));
    disk = kzalloc(sizeof(*disk));
    spinlock_init(&disk->lock, LOCK_CLASS_NONE);
    list_init(&disk->waiting);
    disk->pieces_max = PIECES_MAX;
    CHECK(name_disk(disk, 51712) == 0 && strcmp(disk->device.name, "xvda") == 0);
    CHECK(alloc_slots(disk) == 0 && offer_ring(disk) == 0);
    disk->device.operations = &operations;
    disk->device.sector_count = 1000;
}

static void submit_all(void)
{
    for (unsigned i = 0; i < REQUESTS; i++) {
        unsigned count = 1 + dice() % (PIECES_MAX / 2);
        requests[i] =
            (struct block_request){.operation = dice() % 4, .segments = segments[i], .done = done};
        for (unsigned s = 0; s < count; s++) {
            segments[i][s].data = data + (dice() % 32 * 8 + dice() % 8) * SECTOR_SIZE;
            segments[i][s].length = (1 + dice() % 8) * SECTOR_SIZE;
        }
        requests[i].segment_count = requests[i].operation < BLOCK_FLUSH ? count : 0;
        disk->device.operations->submit(&disk->device, &requests[i]);
    }
}

static unsigned done_in_all(void)
{
    unsigned count = 0;
    for (unsigned i = 0; i < REQUESTS; i++) {
        CHECK(done_count[i] <= 1);
        count += done_count[i];
    }
    return count;
}

static void check_proper(void)
{
    new_disk();
    submit_all();
    uint32_t taken = 0;
    uint64_t ids[SLOTS];
    unsigned id_count = 0;
    while (done_in_all() < REQUESTS) {
        while (taken != disk->ring->header.req_prod) {
            ids[id_count++] = disk->ring->entries[taken++ % SLOTS].direct.id;
        }
        CHECK(id_count != 0);
        unsigned pick = dice() % id_count;
        disk->ring->entries[disk->ring->header.rsp_prod % SLOTS].response =
            (struct blkif_response){.id = ids[pick], .status = pick == 0 ? -1 : 0};
        ids[pick] = ids[--id_count];
        disk->ring->header.rsp_prod++;
        completed(disk);
    }
    CHECK(!disk->gone);
    free(disk);
}

static void check_damage(void)
{
    for (unsigned round = 0; round < 2000; round++) {
        new_disk();
        keep_pages = round % 10 == 0;
        submit_all();
        for (unsigned i = 0; i < 50; i++) {
            disk->ring->header.rsp_prod += dice() % 3;
            if (dice() % 16 == 0) {
                disk->ring->header.rsp_prod = dice();
            }
            disk->ring->header.req_event = dice();
            for (unsigned e = 0; e < SLOTS; e++) {
                disk->ring->entries[e].response.id = dice() % (SLOTS + 1);
                disk->ring->entries[e].response.status = (int16_t)(dice() % 4 - 2);
            }
            completed(disk);
            done_in_all();
        }
        close(disk, "the end of the test");
        CHECK(done_in_all() == REQUESTS);
        free(disk);
    }
}

int main(void)
{
    check_proper();
    check_damage();
    CHECK(changed_count != 0);
    return 0;
}
