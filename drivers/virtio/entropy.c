/* SPDX-License-Identifier: MIT */
/* The entropy device (virtio 1.2, 5.4): bytes for the kernel's random generator, at boot and each
 * time that it seeds itself anew. `busy` says whose the buffer is: the device's or nobody's. */
#include <linux/errno.h>

#include "core/lib/log.h"
#include "core/lib/random.h"
#include "core/lib/string.h"
#include "core/mm/kmalloc.h"
#include "drivers/virtio/virtio.h"
#include "drivers/virtio/virtio_drivers.h"
#include "hal.h"

#define SEED_SIZE 64
#define FIRST_PATIENCE_NS 5000000ull

static struct virtqueue *queue;
static uint8_t *seed;
static bool busy;

static void request(void)
{
    if (__atomic_exchange_n(&busy, true, __ATOMIC_ACQUIRE)) {
        return;
    }
    struct virtio_buffer buffer = {seed, SEED_SIZE};
    if (virtqueue_add(queue, &buffer, 0, 1, seed) == 0) {
        virtqueue_kick(queue);
    }
}

/* From the interrupt, and at boot; not at the same time. Whether the device has answered. */
static bool receive(void)
{
    uint32_t length;
    if (virtqueue_get(queue, &length) == NULL) {
        return false;
    }
    random_mix(seed, length);
    log_debug("entropy: %u bytes", length);
    memset(seed, 0, SEED_SIZE);
    __atomic_store_n(&busy, false, __ATOMIC_RELEASE);
    return true;
}

static void interrupt(void *context)
{
    (void)context;
    do {
        receive();
    } while (!virtqueue_enable_interrupt(queue, 1));
}

int virtio_entropy_probe(struct virtio_device *device)
{
    if (queue != NULL) {
        return -EBUSY;
    }
    struct virtqueue_options options = {.size_max = 1};
    int error = virtio_negotiate(device, 0);
    seed = kmalloc(SEED_SIZE);
    if (error != 0 || seed == NULL) {
        return error != 0 ? error : -ENOMEM;
    }
    error = virtio_open_vector(device, 0, interrupt, NULL, &options.vector);
    if (error == 0) {
        error = virtio_open_queue(device, 0, &options, &queue);
    }
    if (error != 0) {
        kfree(seed);
        return error;
    }
    virtio_start(device);
    request();
    /* The program's first random numbers should have it already. */
    uint64_t deadline = hal_clock_monotonic() + FIRST_PATIENCE_NS;
    bool irq = hal_irq_save();
    while (!receive() && hal_clock_monotonic() < deadline) {
        hal_spin_hint();
    }
    while (!virtqueue_enable_interrupt(queue, 1)) {
        receive();
    }
    hal_irq_restore(irq);
    random_set_source(request);
    return 0;
}
