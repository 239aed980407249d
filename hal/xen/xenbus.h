/* SPDX-License-Identifier: MIT */
/* The devices of a domain: front ends of ours that find their back ends through xenstore
 * (docs/misc/xenstore-paths.pandoc). All on the xenbus thread (xenstore.h). */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "core/lib/list.h"

#define XENBUS_PATH_MAX 128

struct xenbus_device;

/* What a front end does as back ends come and go. A text says why something cannot be, and then no
 * back end is let in any more; NULL: all is well. */
struct xenbus_front_end {
    /* A back end waits: it is given rings and channels, and told of them with our next state. */
    const char *(*offer)(struct xenbus_device *device);
    /* It has connected, or goes on after a suspend that did not come about: requests may flow. The
     * first time core learns of the device. Also when a connected one says something new. */
    const char *(*start)(struct xenbus_device *device);
    /* When this returns nobody uses the rings, until `start`. `answered`: the back end is still
     * there and answers what is in flight, which may be waited for. */
    void (*stop)(struct xenbus_device *device, bool answered);
    /* The back end has let go: what it was granted is taken back, and the channels are freed. Also
     * for what was offered and never started. False: it keeps a page. */
    bool (*take_back)(struct xenbus_device *device);
    /* No other back end will come to a device that core knows. May be NULL. */
    void (*lost)(struct xenbus_device *device);
};

struct xenbus_device {
    char path[XENBUS_PATH_MAX];    /* of the front end */
    char backend[XENBUS_PATH_MAX]; /* of the back end */
    uint16_t backend_domain;
    /* front_end.c's, but for `broken`. */
    const struct xenbus_front_end *front_end;
    struct list node;
    bool found;     /* core knows it */
    bool offered;   /* a back end has been told of the rings */
    bool connected; /* it has said that it uses them */
    bool leaving;   /* it has been told that it may let go of them */
    bool broken;    /* no back end is let in any more; atomic, also set by who uses the rings */
    bool suspended; /* Xen has closed the channels itself */
};

/* Finds the devices and starts their drivers. */
void xenbus_probe(void);

/* Around a suspend of the domain, on the xenbus thread, which then is not in a watch of a device.
 * Before it, while all still works: front ends stop using their rings. Requests to disks wait,
 * network interfaces have no link. */
void xenbus_suspend(void);

/* After it. `cancelled`: the domain goes on with the back ends that it had. Otherwise Xen has
 * closed all event channels, the grant table is empty (its frames are mapped again), and back ends
 * of other names may wait: event channels, grants and xenstore work again by now. Returns at once;
 * what was in flight at a disk is sent again when its back end has connected. */
void xenbus_resume(bool cancelled);

/* A number of the back end's, or `otherwise` when there is none that is at most `max`. */
uint64_t xenbus_backend_number(const struct xenbus_device *device, const char *name, uint64_t max,
                               uint64_t otherwise);
int xenbus_write(const struct xenbus_device *device, const char *name, const char *value);
int xenbus_write_number(const struct xenbus_device *device, const char *name, uint64_t value);

/* Reads from the front end's folder where its back end is. -errno. */
int xenbus_find_backend(struct xenbus_device *device);

/* A channel of events with the back end. -errno. */
int xenbus_alloc_channel(const struct xenbus_device *device, uint32_t *port);
void xenbus_free_channel(const struct xenbus_device *device, uint32_t port);

/* --- front_end.c: not in the kernel without files --------------------------------------------- */

/* From now on `front_end` is called for the device, whose memory stays. Returns when the device has
 * connected: 0; -ETIMEDOUT, -ENODEV: not within five minutes, or never. */
int front_end_connect(struct xenbus_device *device, const struct xenbus_front_end *front_end);

/* Runs `write`, whose writes to xenstore become visible together, and with them our state. -errno.
 */
int front_end_publish(struct xenbus_device *device, void (*write)(struct xenbus_device *device),
                      unsigned state);

/* xenbus_suspend and xenbus_resume of these devices. */
void front_ends_suspend(void) __attribute__((weak));
void front_ends_resume(bool cancelled) __attribute__((weak));

/* No back end is let in any more, and the one that is there is not listened to. Any context. */
static inline void front_end_break(struct xenbus_device *device)
{
    __atomic_store_n(&device->broken, true, __ATOMIC_RELEASE);
}

static inline bool front_end_is_broken(const struct xenbus_device *device)
{
    return __atomic_load_n(&device->broken, __ATOMIC_ACQUIRE);
}

/* blkfront.c, netfront.c: -errno. */
typedef int xenbus_connect_fn(const struct xenbus_device *device);
xenbus_connect_fn blkfront_connect __attribute__((weak)); /* not in the kernel without files */
xenbus_connect_fn netfront_connect __attribute__((weak)); /* not in the kernels without network */
