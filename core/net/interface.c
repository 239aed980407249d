/* SPDX-License-Identifier: MIT */
/* Interfaces for programs: the source of the live ones, and the interface ioctls. Owns nothing but
 * the pointer to the source, set before the program runs. */
#include "core/net/interface.h"

#include <linux/sockios.h>

#include "core/fs/fs_internal.h"
#include "core/net/socket.h"

static const struct interface_source *source;

void interface_register(const struct interface_source *new_source)
{
    source = new_source;
}

bool interface_next(int index, struct interface *out)
{
    return source != NULL && source->next(index, out);
}

bool interface_route(unsigned position, struct interface_route *out)
{
    return source != NULL && source->route(position, out);
}

bool interface_group(unsigned position, struct interface_group *out)
{
    return source != NULL && source->group(position, out);
}

bool interface_neighbour(unsigned position, struct interface_neighbour *out)
{
    return source != NULL && source->neighbour(position, out);
}

void interface_sockets(int family, int protocol, interface_visit_fn *visit, void *context)
{
    if (source != NULL) {
        source->sockets(family, protocol, visit, context);
    }
}

/* --- ioctls
 * ---------------------------------------------------------------------------------------------------------
 */

/* struct ifreq and struct ifconf of netdevice(7); linux/if.h cannot be had without a C library. */
#define IFNAMSIZ 16
struct interface_request {
    char name[IFNAMSIZ];
    union {
        struct {
            uint16_t family;
            uint8_t bytes[14]; /* AF_INET: port, address */
        } address;
        int32_t number;
        int16_t flags;
        uint8_t size[24];
    };
};

struct interface_list {
    int32_t length, pad;
    uint64_t requests;
};

static bool find_by_name(const char *name, struct interface *out)
{
    for (int index = 1; interface_next(index, out); index = out->index + 1) {
        if (strncmp(out->name, name, IFNAMSIZ) == 0) {
            return true;
        }
    }
    return false;
}

static const struct interface_address *first_ipv4(const struct interface *interface)
{
    for (unsigned i = 0; i < interface->address_count; i++) {
        if (interface->addresses[i].family == AF_INET) {
            return &interface->addresses[i];
        }
    }
    return NULL;
}

static void put_ipv4(struct interface_request *out, uint32_t network_order)
{
    memset(&out->address, 0, sizeof(out->address));
    out->address.family = AF_INET;
    memcpy(out->address.bytes + 2, &network_order, sizeof(network_order));
}

/* SIOCGIFCONF: the IPv4 addresses of all interfaces, one request each. */
static long list_ipv4(uintptr_t argument)
{
    struct interface_list conf;
    struct interface interface;
    if (copy_from_user(&conf, argument, sizeof(conf)) != 0) {
        return -EFAULT;
    }
    uintptr_t to = conf.requests;
    size_t room = to == 0 ? SIZE_MAX : (size_t)MAX(conf.length, 0), used = 0;
    for (int index = 1; interface_next(index, &interface); index = interface.index + 1) {
        const struct interface_address *address = first_ipv4(&interface);
        struct interface_request request;
        uint32_t bytes;
        if (address == NULL || room - used < sizeof(request)) {
            continue;
        }
        memset(&request, 0, sizeof(request));
        memcpy(request.name, interface.name, IFNAMSIZ);
        memcpy(&bytes, address->bytes, sizeof(bytes));
        put_ipv4(&request, bytes);
        if (to != 0 && copy_to_user(to + used, &request, sizeof(request)) != 0) {
            return -EFAULT;
        }
        used += sizeof(request);
    }
    conf.length = (int)used;
    return copy_to_user(argument, &conf, sizeof(conf));
}

/* What is asked about the interface's first IPv4 address. */
static int answer_ipv4(const struct interface *interface, unsigned command,
                       struct interface_request *out)
{
    const struct interface_address *address = first_ipv4(interface);
    uint32_t bytes;
    if (address == NULL) {
        return -EADDRNOTAVAIL;
    }
    memcpy(&bytes, address->bytes, sizeof(bytes));
    uint32_t mask = address->prefix_length == 0 ? 0 : UINT32_MAX << (32 - address->prefix_length);
    mask = __builtin_bswap32(mask);
    put_ipv4(out, command == SIOCGIFADDR      ? bytes
                  : command == SIOCGIFNETMASK ? mask
                                              : bytes | ~mask);
    return 0;
}

long interface_ioctl(unsigned command, uintptr_t argument)
{
    struct interface_request request;
    struct interface interface;
    int result = 0;
    switch (command) {
    case SIOCGIFCONF:
        return list_ipv4(argument);
    case SIOCGIFNAME:
    case SIOCGIFINDEX:
    case SIOCGIFFLAGS:
    case SIOCGIFADDR:
    case SIOCGIFNETMASK:
    case SIOCGIFBRDADDR:
    case SIOCGIFMTU:
    case SIOCGIFHWADDR:
    case SIOCGIFTXQLEN:
    case SIOCGIFMETRIC:
    case SIOCETHTOOL:
        break;
    default:
        return -ENOTTY;
    }
    if (copy_from_user(&request, argument, sizeof(request)) != 0) {
        return -EFAULT;
    }
    if (command == SIOCGIFNAME) {
        if (!interface_next(request.number, &interface) || interface.index != request.number) {
            return -ENODEV;
        }
        memcpy(request.name, interface.name, IFNAMSIZ);
        return copy_to_user(argument, &request, sizeof(request));
    }
    if (!find_by_name(request.name, &interface)) {
        return -ENODEV;
    }
    switch (command) {
    case SIOCGIFINDEX:
        request.number = interface.index;
        break;
    case SIOCGIFFLAGS:
        request.flags = (int16_t)interface.flags;
        break;
    case SIOCGIFMTU:
        request.number = (int)interface.mtu;
        break;
    case SIOCGIFTXQLEN:
        request.number = (int)interface.queue_length;
        break;
    case SIOCGIFMETRIC:
        request.number = 0;
        break;
    case SIOCETHTOOL: /* as of a device whose driver answers nothing */
        return -EOPNOTSUPP;
    case SIOCGIFHWADDR:
        memset(&request.address, 0, sizeof(request.address));
        request.address.family = interface.hardware;
        memcpy(request.address.bytes, interface.mac, sizeof(interface.mac));
        break;
    default:
        result = answer_ipv4(&interface, command, &request);
    }
    return result != 0 ? result : copy_to_user(argument, &request, sizeof(request));
}
