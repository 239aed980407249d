/* SPDX-License-Identifier: MIT */
/* The devices of a domain: front ends of ours that find their back ends through xenstore
 * (docs/misc/xenstore-paths.pandoc). All on the xenbus thread (xenstore.h). */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#define XENBUS_PATH_MAX 128

struct xenbus_device {
    char path[XENBUS_PATH_MAX];    /* of the front end */
    char backend[XENBUS_PATH_MAX]; /* of the back end */
    uint16_t backend_domain;
};

/* Finds the devices and starts their drivers. */
void xenbus_probe(void);

/* A number of the back end's, or `otherwise` when there is none that is at most `max`. */
uint64_t xenbus_backend_number(const struct xenbus_device *device, const char *name, uint64_t max,
                               uint64_t otherwise);
int xenbus_write(const struct xenbus_device *device, const char *name, const char *value);
int xenbus_write_number(const struct xenbus_device *device, const char *name, uint64_t value);

/* `changed` runs each time that the back end's state changes, from now on. -errno. */
int xenbus_watch_backend(const struct xenbus_device *device, void (*changed)(void *context),
                         void *context);

/* Waits until the back end's state is `state`, or past it: false when that does not come. The state
 * must be watched. */
bool xenbus_wait_backend(const struct xenbus_device *device, unsigned state);

/* A channel of events with the back end, for the front end's handler on CPU 0. -errno. */
int xenbus_alloc_channel(const struct xenbus_device *device, uint32_t *port);

/* The back end has left: the channel is no more. */
void xenbus_free_channel(uint32_t port);

/* blkfront.c, netfront.c: -errno. */
typedef int xenbus_connect_fn(const struct xenbus_device *device);
xenbus_connect_fn blkfront_connect __attribute__((weak)); /* not in the kernel without files */
xenbus_connect_fn netfront_connect __attribute__((weak)); /* not in the kernels without network */
