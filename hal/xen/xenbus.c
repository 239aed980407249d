/* SPDX-License-Identifier: MIT */
/* See xenbus.h. What another domain has written is taken as a number within bounds, or as a path
 * that is only ever handed back to xenstore. */
#include "xenbus.h"

#include <linux/errno.h>

#include "core/lib/log.h"
#include "core/lib/string.h"
#include "xen_internal.h"
#include "xenstore.h"

#define NAMES_MAX 1024

static int join(char path[XENBUS_PATH_MAX], const char *folder, const char *name)
{
    int length = format(path, XENBUS_PATH_MAX, "%s/%s", folder, name);
    return length < XENBUS_PATH_MAX ? 0 : -ENAMETOOLONG;
}

uint64_t xenbus_backend_number(const struct xenbus_device *device, const char *name, uint64_t max,
                               uint64_t otherwise)
{
    char path[XENBUS_PATH_MAX];
    uint64_t value;
    if (join(path, device->backend, name) != 0 || xenstore_read_number(path, max, &value) != 0) {
        return otherwise;
    }
    return value;
}

int xenbus_write(const struct xenbus_device *device, const char *name, const char *value)
{
    char path[XENBUS_PATH_MAX];
    int error = join(path, device->path, name);
    return error != 0 ? error : xenstore_write(path, value);
}

int xenbus_write_number(const struct xenbus_device *device, const char *name, uint64_t value)
{
    char text[24];
    format(text, sizeof(text), "%lu", (unsigned long)value);
    return xenbus_write(device, name, text);
}

int xenbus_alloc_channel(const struct xenbus_device *device, uint32_t *port)
{
    struct evtchn_alloc_unbound alloc = {.dom = DOMID_SELF, .remote_dom = device->backend_domain};
    long error = event_channel_op(EVTCHNOP_ALLOC_UNBOUND, &alloc);
    *port = alloc.port;
    return (int)error;
}

void xenbus_free_channel(const struct xenbus_device *device, uint32_t port)
{
    if (!device->suspended) { /* else the port may be another's by now */
        event_channel_op(EVTCHNOP_CLOSE, &port);
    }
}

int xenbus_find_backend(struct xenbus_device *device)
{
    char path[XENBUS_PATH_MAX];
    uint64_t domain;
    int error = join(path, device->path, "backend");
    if (error == 0) {
        long length = xenstore_read(path, device->backend, sizeof(device->backend));
        error = length < 0 ? (int)length : 0;
    }
    if (error == 0) {
        error = join(path, device->path, "backend-id");
    }
    if (error == 0) {
        error = xenstore_read_number(path, DOMID_SELF - 1, &domain);
    }
    if (error == 0) {
        device->backend_domain = (uint16_t)domain;
    }
    return error;
}

static int probe_device(const char *folder, const char *name, xenbus_connect_fn *connect)
{
    struct xenbus_device device = {0};
    int error = join(device.path, folder, name);
    if (error == 0) {
        error = xenbus_find_backend(&device);
    }
    return error != 0 ? error : connect(&device);
}

static void probe_kind(const char *folder, xenbus_connect_fn *connect)
{
    char names[NAMES_MAX];
    long length = xenstore_directory(folder, names, sizeof(names));
    for (long at = 0; at < length; at += (long)strlen(&names[at]) + 1) {
        int error = probe_device(folder, &names[at], connect);
        if (error != 0) {
            log_error("xen: %s/%s cannot be used: error %d", folder, &names[at], -error);
        }
    }
}

void xenbus_probe(void)
{
    if (blkfront_connect != NULL) {
        probe_kind("device/vbd", blkfront_connect);
    }
    if (netfront_connect != NULL) {
        probe_kind("device/vif", netfront_connect);
    }
}

void xenbus_suspend(void)
{
    if (front_ends_suspend != NULL) {
        front_ends_suspend();
    }
}

void xenbus_resume(bool cancelled)
{
    if (front_ends_resume != NULL) {
        front_ends_resume(cancelled);
    }
}
