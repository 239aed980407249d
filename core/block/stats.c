/* SPDX-License-Identifier: MIT */
/* Counts of requests, by CPU so that no two write to the same cache line, and added up when
 * somebody asks. A request is counted on the CPU that hands it over and on the one that its end
 * arrives at. */
#include "core/block/block.h"
#include "core/lib/errno.h"
#include "core/lib/string.h"
#include "core/mm/kmalloc.h"
#include "hal.h"

#define NS_PER_MS 1000000u
#define OPERATIONS BLOCK_WRITE_ZEROES

/* An interrupt may count while a thread does: all additions are atomic. */
struct block_counters {
    uint64_t submitted;
    uint64_t requests[OPERATIONS], sectors[OPERATIONS], ns[OPERATIONS];
    uint64_t busy_ms;
} __attribute__((aligned(64)));

int block_stats_init(struct block_device *device)
{
    /* Objects of a cache line and more are aligned to one. */
    device->counters = kzalloc(hal_cpu_count() * sizeof(*device->counters));
    return device->counters != NULL ? 0 : -ENOMEM;
}

static struct block_counters *mine(struct block_device *device)
{
    return &device->counters[hal_this_cpu()->id];
}

static void add(uint64_t *to, uint64_t number)
{
    __atomic_add_fetch(to, number, __ATOMIC_RELAXED);
}

static uint64_t in_flight(const struct block_device *device)
{
    uint64_t ended = 0, submitted = 0;
    for (unsigned cpu = 0; cpu < hal_cpu_count(); cpu++) {
        for (int operation = 0; operation < OPERATIONS; operation++) {
            ended += __atomic_load_n(&device->counters[cpu].requests[operation], __ATOMIC_ACQUIRE);
        }
    }
    for (unsigned cpu = 0; cpu < hal_cpu_count(); cpu++) {
        submitted += __atomic_load_n(&device->counters[cpu].submitted, __ATOMIC_ACQUIRE);
    }
    return submitted - ended;
}

/* The device was busy since the last time that somebody looked, if it is now. The shared word is
 * written once in a millisecond, by whoever comes first. */
static void count_busy(struct block_device *device, uint64_t now, bool ended)
{
    uint64_t ms = now / NS_PER_MS, seen = __atomic_load_n(&device->busy_seen, __ATOMIC_RELAXED);
    if (ms > seen &&
        __atomic_compare_exchange_n(&device->busy_seen, &seen, ms, false, __ATOMIC_RELAXED,
                                    __ATOMIC_RELAXED) &&
        (ended || in_flight(device) != 0)) {
        add(&mine(device)->busy_ms, ms - seen);
    }
}

void block_submit(struct block_device *device, struct block_request *request)
{
    request->started = hal_clock_monotonic();
    count_busy(device, request->started, false);
    add(&mine(device)->submitted, 1);
    device->hardware->operations->submit(device->hardware, request);
}

void block_account(struct block_device *device, const struct block_request *request)
{
    struct block_counters *counters = mine(device);
    uint64_t now = hal_clock_monotonic(), bytes = 0;
    for (unsigned i = 0; i < request->segment_count; i++) {
        bytes += request->segments[i].length;
    }
    int operation = request->operation == BLOCK_WRITE_ZEROES ? BLOCK_WRITE : request->operation;
    count_busy(device, now, true);
    add(&counters->sectors[operation], request->sector_count + (bytes >> SECTOR_SHIFT));
    add(&counters->ns[operation], now - request->started);
    add(&counters->requests[operation], 1);
}

void block_stats(const struct block_device *device, struct block_stats *out)
{
    memset(out, 0, sizeof(*out));
    out->in_flight = in_flight(device);
    for (unsigned cpu = 0; cpu < hal_cpu_count(); cpu++) {
        const struct block_counters *counters = &device->counters[cpu];
        for (int operation = 0; operation < OPERATIONS; operation++) {
            out->of[operation].requests +=
                __atomic_load_n(&counters->requests[operation], __ATOMIC_RELAXED);
            out->of[operation].sectors +=
                __atomic_load_n(&counters->sectors[operation], __ATOMIC_RELAXED);
            out->of[operation].ns += __atomic_load_n(&counters->ns[operation], __ATOMIC_RELAXED);
        }
        out->busy_ms += __atomic_load_n(&counters->busy_ms, __ATOMIC_RELAXED);
    }
}
