/* SPDX-License-Identifier: MIT */
/* The states by which a front end and its back end agree on rings, and let go of them again
 * (xen/include/public/io/xenbus.h), the same for disks and network interfaces. A back end may leave
 * at any time, and another may come: its driver is loaded anew, the toolstack detaches the device,
 * the domain wakes up elsewhere. All on the xenbus thread. */
#include <linux/errno.h>

#include "abi.h"
#include "core/lib/log.h"
#include "core/lib/string.h"
#include "xenbus.h"
#include "xenstore.h"

static struct list devices = LIST_INIT(devices);

static void set_state(const struct xenbus_device *device, enum xenbus_state state)
{
    xenbus_write_number(device, "state", state);
}

/* There will be no other back end. */
static void lose(struct xenbus_device *device)
{
    front_end_break(device);
    if (device->found && device->front_end->lost != NULL) {
        device->front_end->lost(device);
    }
}

static void give_up(struct xenbus_device *device, const char *why)
{
    log_error("xen: %s: %s", device->path, why);
    lose(device);
}

static void take_back(struct xenbus_device *device)
{
    device->offered = device->connected = device->leaving = false;
    if (!device->front_end->take_back(device) && !front_end_is_broken(device)) {
        give_up(device, "the back end keeps pages: it is not let in again");
    }
}

static void start(struct xenbus_device *device)
{
    const char *why = device->front_end->start(device);
    if (why != NULL) {
        give_up(device, why);
    } else {
        if (device->found && !device->connected) {
            log_info("xen: %s: a back end is there again", device->path);
        }
        device->connected = device->found = true;
    }
}

static void offer(struct xenbus_device *device)
{
    const char *why = device->front_end->offer(device);
    if (why != NULL) {
        give_up(device, why);
    } else {
        device->offered = true;
    }
}

/* Whenever the back end's state changes; 0: there is no back end at all. */
static void backend_changed(void *context)
{
    struct xenbus_device *device = context;
    uint64_t state = xenbus_backend_number(device, "state", XENBUS_CLOSED, 0);
    bool online = xenbus_backend_number(device, "online", 1, 0) != 0;
    if (device->offered && !device->leaving && (state == 0 || state >= XENBUS_CLOSING)) {
        if (device->connected && !front_end_is_broken(device)) {
            log_error("xen: %s: the back end has left", device->path);
        }
        device->front_end->stop(device, state == XENBUS_CLOSING);
        device->connected = false;
        device->leaving = true;
        if (state != 0) {
            set_state(device, XENBUS_CLOSED);
        }
    }
    /* It unmaps the rings when it sees our state, and changes its own then. One whose driver is
     * loaded anew goes on with the same rings, and no state tells us of it. */
    if (device->leaving && state != XENBUS_CLOSING) {
        take_back(device);
    }
    if (device->offered) {
        if (state == XENBUS_CONNECTED && !front_end_is_broken(device)) {
            start(device);
        }
    } else if (front_end_is_broken(device)) {
        return;
    } else if (state == XENBUS_INIT_WAIT) {
        offer(device);
    } else if (state == XENBUS_CLOSED && online) {
        set_state(device, XENBUS_INITIALISING);
    } else if (device->found && device->front_end->lost != NULL &&
               (state == 0 || state == XENBUS_CLOSED)) {
        lose(device);
    }
}

static int watch_backend(struct xenbus_device *device)
{
    char path[XENBUS_PATH_MAX + 8];
    format(path, sizeof(path), "%s/state", device->backend);
    return xenstore_watch(path, backend_changed, device);
}

static bool has_settled(void *context)
{
    const struct xenbus_device *device = context;
    return device->connected || front_end_is_broken(device);
}

int front_end_connect(struct xenbus_device *device, const struct xenbus_front_end *front_end)
{
    device->front_end = front_end;
    list_push_back(&devices, &device->node);
    int error = watch_backend(device);
    if (error == 0 && !xenstore_wait(has_settled, device, XENSTORE_WARNING_NS)) {
        log_warn("xen: %s: its back end is not ready yet", device->path);
        error = xenstore_wait(has_settled, device, XENSTORE_PATIENCE_NS - XENSTORE_WARNING_NS)
                    ? 0
                    : -ETIMEDOUT;
    }
    if (error == 0 && !device->connected) {
        error = -ENODEV;
    }
    if (error != 0) {
        front_end_break(device);
    }
    return error;
}

int front_end_publish(struct xenbus_device *device, void (*write)(struct xenbus_device *device),
                      unsigned state)
{
    int error;
    do {
        error = xenstore_transaction_begin();
        if (error == 0) {
            write(device);
            set_state(device, state);
            error = xenstore_transaction_end();
        }
    } while (error == -EAGAIN);
    return error;
}

void front_ends_suspend(void)
{
    list_for_each (node, &devices) {
        struct xenbus_device *device = list_entry(node, struct xenbus_device, node);
        if (device->connected) {
            device->front_end->stop(device, false);
        }
    }
}

static void resume(struct xenbus_device *device)
{
    if (device->offered) {
        device->suspended = true;
        take_back(device);
        device->suspended = false;
    }
    if (front_end_is_broken(device)) {
        return;
    }
    xenstore_unwatch(backend_changed, device);
    if (xenbus_find_backend(device) != 0 || watch_backend(device) != 0) {
        give_up(device, "no back end after the suspend");
    }
}

void front_ends_resume(bool cancelled)
{
    list_for_each (node, &devices) {
        struct xenbus_device *device = list_entry(node, struct xenbus_device, node);
        if (!cancelled) {
            resume(device);
        } else if (device->connected && !front_end_is_broken(device)) {
            start(device);
        }
    }
}
