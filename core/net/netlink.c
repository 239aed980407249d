/* SPDX-License-Identifier: MIT */
/* AF_NETLINK, protocol NETLINK_ROUTE (rtnetlink(7)): what programs read of links, addresses, routes
 * and neighbours. A request is answered within the call that sends it; the answers wait in the
 * socket's queue. Nothing can be changed, and there are no groups to listen to. netlink_lock guards
 * the queues, port numbers and the list of sockets. */
#include <linux/neighbour.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>

#include "core/fs/fs_internal.h"
#include "core/net/families.h"
#include "core/net/interface.h"
#include "core/net/socket.h"
#include "core/syscall/process.h"

#define DATAGRAM_MAX 4096u /* the reader's buffer in Go's syscall package: a page */
#define OBJECT_MAX 1024u   /* one link, address or route */
#define REQUEST_MAX 32768u

struct netlink_message {
    struct list node;
    unsigned size;
    uint8_t bytes[];
};

struct netlink_socket {
    struct socket socket; /* first */
    uint32_t port;        /* 0: not bound */
    struct mutex reading; /* whoever takes messages out, before netlink_lock */
    struct list messages;
    struct list node; /* in `sockets` */
};

static struct spinlock netlink_lock = SPINLOCK_INIT(LOCK_FILE);
static struct list sockets = LIST_INIT(sockets);

/* --- building answers
 * ---------------------------------------------------------------------------------------------- */

struct answer {
    struct netlink_socket *to;
    const struct nlmsghdr *request;
    struct netlink_message *datagram; /* being filled; NULL: none yet */
    unsigned filter;                  /* of the request: an address family, 0: any */
    int error;
    unsigned used; /* of `object` */
    union {
        struct nlmsghdr header;
        uint8_t bytes[OBJECT_MAX];
    } object;
};

/* Queues the datagram. */
static void flush(struct answer *answer)
{
    if (answer->datagram == NULL) {
        return;
    }
    spin_lock(&netlink_lock);
    list_push_back(&answer->to->messages, &answer->datagram->node);
    spin_unlock(&netlink_lock);
    answer->datagram = NULL;
    socket_notify(&answer->to->socket, POLLIN | POLLRDNORM);
}

/* Begins an object with its fixed part: all zeroes, to be filled. */
static void *begin(struct answer *answer, unsigned type, unsigned flags, size_t size)
{
    memset(&answer->object, 0, sizeof(answer->object));
    answer->object.header = (struct nlmsghdr){.nlmsg_type = (uint16_t)type,
                                              .nlmsg_flags = (uint16_t)flags,
                                              .nlmsg_seq = answer->request->nlmsg_seq,
                                              .nlmsg_pid = answer->to->port};
    answer->used = (unsigned)NLMSG_SPACE(size);
    return NLMSG_DATA(&answer->object.header);
}

static void attribute(struct answer *answer, unsigned type, const void *data, size_t size)
{
    struct rtattr *at = (struct rtattr *)(answer->object.bytes + answer->used);
    at->rta_type = (uint16_t)type;
    at->rta_len = (uint16_t)RTA_LENGTH(size);
    memcpy(RTA_DATA(at), data, size);
    answer->used += (unsigned)RTA_SPACE(size);
}

static void attribute_word(struct answer *answer, unsigned type, uint32_t value)
{
    attribute(answer, type, &value, sizeof(value));
}

/* The object is complete: into the datagram, or the next one. */
static void end(struct answer *answer)
{
    answer->object.header.nlmsg_len = answer->used;
    if (answer->datagram != NULL && DATAGRAM_MAX - answer->datagram->size < answer->used) {
        flush(answer);
    }
    if (answer->datagram == NULL) {
        answer->datagram = kmalloc(sizeof(*answer->datagram) + DATAGRAM_MAX);
        if (answer->datagram == NULL) {
            answer->error = -ENOBUFS;
            return;
        }
        answer->datagram->size = 0;
    }
    memcpy(answer->datagram->bytes + answer->datagram->size, &answer->object, answer->used);
    answer->datagram->size += answer->used;
}

static void put_error(struct answer *answer, int error)
{
    struct nlmsgerr *body = begin(answer, NLMSG_ERROR, 0, sizeof(*body));
    body->error = error;
    body->msg = *answer->request;
    end(answer);
}

/* --- links, addresses, routes
 * ---------------------------------------------------------------------------------------- */

static void put_link(struct answer *answer, const struct interface *interface, unsigned flags)
{
    struct ifinfomsg *body = begin(answer, RTM_NEWLINK, flags, sizeof(*body));
    body->ifi_type = interface->hardware;
    body->ifi_index = interface->index;
    body->ifi_flags = interface->flags;
    attribute(answer, IFLA_IFNAME, interface->name, strlen(interface->name) + 1);
    attribute(answer, IFLA_ADDRESS, interface->mac, sizeof(interface->mac));
    attribute_word(answer, IFLA_MTU, interface->mtu);
    attribute_word(answer, IFLA_TXQLEN, interface->queue_length);
    const uint32_t running = 0x40;                                   /* IFF_RUNNING */
    const uint8_t state = (interface->flags & running) != 0 ? 6 : 2; /* IF_OPER_UP, _DOWN */
    attribute(answer, IFLA_OPERSTATE, &state, sizeof(state));
    const struct rtnl_link_stats64 statistics = {
        .rx_packets = interface->statistics.rx_frames,
        .tx_packets = interface->statistics.tx_frames,
        .rx_bytes = interface->statistics.rx_bytes,
        .tx_bytes = interface->statistics.tx_bytes,
        .rx_errors = interface->statistics.rx_errors,
        .tx_errors = interface->statistics.tx_errors,
        .rx_dropped = interface->statistics.rx_dropped,
        .tx_dropped = interface->statistics.tx_dropped,
    };
    attribute(answer, IFLA_STATS64, &statistics, sizeof(statistics));
    end(answer);
}

static void put_address(struct answer *answer, const struct interface *interface,
                        const struct interface_address *address)
{
    size_t size = address->family == AF_INET ? 4 : 16;
    struct ifaddrmsg *body = begin(answer, RTM_NEWADDR, NLM_F_MULTI, sizeof(*body));
    body->ifa_family = address->family;
    body->ifa_prefixlen = address->prefix_length;
    body->ifa_flags = (uint8_t)((address->permanent ? IFA_F_PERMANENT : 0) |
                                (address->tentative ? IFA_F_TENTATIVE : 0));
    body->ifa_scope = address->scope;
    body->ifa_index = (uint32_t)interface->index;
    attribute(answer, IFA_ADDRESS, address->bytes, size);
    if (address->family == AF_INET) {
        attribute(answer, IFA_LOCAL, address->bytes, size);
        attribute(answer, IFA_LABEL, interface->name, strlen(interface->name) + 1);
    }
    const struct ifa_cacheinfo lifetime = {.ifa_prefered = address->preferred_seconds,
                                           .ifa_valid = address->valid_seconds};
    attribute(answer, IFA_CACHEINFO, &lifetime, sizeof(lifetime));
    end(answer);
}

static void put_route(struct answer *answer, const struct interface_route *route)
{
    size_t size = route->family == AF_INET ? 4 : 16;
    struct rtmsg *body = begin(answer, RTM_NEWROUTE, NLM_F_MULTI, sizeof(*body));
    body->rtm_family = route->family;
    body->rtm_dst_len = route->prefix_length;
    body->rtm_table = RT_TABLE_MAIN;
    body->rtm_protocol = route->protocol;
    body->rtm_scope = route->scope;
    body->rtm_type = RTN_UNICAST;
    attribute_word(answer, RTA_TABLE, RT_TABLE_MAIN);
    if (route->prefix_length != 0) {
        attribute(answer, RTA_DST, route->destination, size);
    }
    if (route->has_gateway) {
        attribute(answer, RTA_GATEWAY, route->gateway, size);
    }
    if (route->has_source) {
        attribute(answer, RTA_PREFSRC, route->source, size);
    }
    if (route->metric != 0) {
        attribute_word(answer, RTA_PRIORITY, route->metric);
    }
    attribute_word(answer, RTA_OIF, (uint32_t)route->interface);
    end(answer);
}

static void put_neighbour(struct answer *answer, const struct interface_neighbour *neighbour)
{
    struct ndmsg *body = begin(answer, RTM_NEWNEIGH, NLM_F_MULTI, sizeof(*body));
    body->ndm_family = neighbour->family;
    body->ndm_ifindex = neighbour->interface;
    body->ndm_state = neighbour->state;
    body->ndm_flags = neighbour->router ? NTF_ROUTER : 0;
    body->ndm_type = RTN_UNICAST;
    attribute(answer, NDA_DST, neighbour->bytes, neighbour->family == AF_INET ? 4 : 16);
    if (neighbour->has_mac) {
        attribute(answer, NDA_LLADDR, neighbour->mac, sizeof(neighbour->mac));
    }
    end(answer);
}

static void dump(struct answer *answer, unsigned type)
{
    struct interface interface;
    struct interface_route route;
    struct interface_neighbour neighbour;
    if (type == RTM_GETNEIGH) {
        for (unsigned i = 0; interface_neighbour(i, &neighbour); i++) {
            if (answer->filter == AF_UNSPEC || answer->filter == neighbour.family) {
                put_neighbour(answer, &neighbour);
            }
        }
    } else if (type == RTM_GETROUTE) {
        for (unsigned i = 0; interface_route(i, &route); i++) {
            if (answer->filter == AF_UNSPEC || answer->filter == route.family) {
                put_route(answer, &route);
            }
        }
    } else {
        for (int index = 1; interface_next(index, &interface); index = interface.index + 1) {
            if (type == RTM_GETLINK) {
                put_link(answer, &interface, NLM_F_MULTI);
                continue;
            }
            for (unsigned i = 0; i < interface.address_count; i++) {
                const struct interface_address *address = &interface.addresses[i];
                if (answer->filter == AF_UNSPEC || answer->filter == address->family) {
                    put_address(answer, &interface, address);
                }
            }
        }
    }
    int32_t *status = begin(answer, NLMSG_DONE, NLM_F_MULTI, sizeof(*status));
    *status = answer->error;
    end(answer);
}

/* The name that the request gives as IFLA_IFNAME, or NULL. */
static const char *name_in(const struct nlmsghdr *request)
{
    const struct rtattr *at = (const struct rtattr *)((const char *)NLMSG_DATA(request) +
                                                      NLMSG_ALIGN(sizeof(struct ifinfomsg)));
    unsigned left = request->nlmsg_len - (unsigned)NLMSG_SPACE(sizeof(struct ifinfomsg));
    while (left >= sizeof(*at) && at->rta_len >= sizeof(*at) && at->rta_len <= left) {
        const char *text = RTA_DATA(at);
        if (at->rta_type == IFLA_IFNAME && memchr(text, '\0', RTA_PAYLOAD(at)) != NULL) {
            return text;
        }
        unsigned step = MIN((unsigned)RTA_ALIGN(at->rta_len), left);
        left -= step;
        at = (const struct rtattr *)((const char *)at + step);
    }
    return NULL;
}

static int get_link(struct answer *answer)
{
    const struct nlmsghdr *request = answer->request;
    struct interface interface;
    if (request->nlmsg_len < NLMSG_SPACE(sizeof(struct ifinfomsg))) {
        return -EINVAL;
    }
    const struct ifinfomsg *body = NLMSG_DATA(request);
    const char *name = name_in(request);
    for (int index = 1; interface_next(index, &interface); index = interface.index + 1) {
        if (body->ifi_index != 0 ? interface.index == body->ifi_index
                                 : name != NULL && strcmp(interface.name, name) == 0) {
            put_link(answer, &interface, 0);
            return 0;
        }
    }
    return body->ifi_index == 0 && name == NULL ? -EINVAL : -ENODEV;
}

/* Answers one message of a request. */
static int serve(struct netlink_socket *to, const struct nlmsghdr *request)
{
    unsigned type = request->nlmsg_type;
    struct answer *answer = kzalloc(sizeof(*answer));
    if (answer == NULL) {
        return -ENOBUFS;
    }
    answer->to = to;
    answer->request = request;
    if (request->nlmsg_len > NLMSG_HDRLEN) {
        answer->filter = *(const uint8_t *)NLMSG_DATA(request);
    }
    int error = 0;
    bool dumps = (request->nlmsg_flags & NLM_F_DUMP) == NLM_F_DUMP;
    if (dumps && (type == RTM_GETLINK || type == RTM_GETADDR || type == RTM_GETROUTE ||
                  type == RTM_GETNEIGH)) {
        dump(answer, type);
    } else {
        error = type == RTM_GETLINK ? get_link(answer) : -EOPNOTSUPP;
        if (error != 0 || (request->nlmsg_flags & NLM_F_ACK) != 0) {
            put_error(answer, error);
        }
    }
    flush(answer);
    error = answer->error;
    kfree(answer);
    return error;
}

/* --- the socket
 * -----------------------------------------------------------------------------------------------------
 */

static inline struct netlink_socket *netlink_of(struct socket *socket)
{
    return (struct netlink_socket *)socket;
}

static bool port_is_taken(uint32_t port)
{
    list_for_each (node, &sockets) {
        if (list_entry(node, struct netlink_socket, node)->port == port) {
            return true;
        }
    }
    return false;
}

/* `port` 0: the process's id for the first, then any that is free. */
static int bind_port(struct netlink_socket *netlink, uint32_t port)
{
    static uint32_t next = UINT32_MAX - 4096; /* netlink_lock; Linux counts down from there */
    int result = 0;
    spin_lock(&netlink_lock);
    if (netlink->port != 0) {
        result = port == 0 || port == netlink->port ? 0 : -EINVAL;
    } else if (port != 0) {
        result = port_is_taken(port) ? -EADDRINUSE : 0;
        netlink->port = result == 0 ? port : 0;
    } else {
        for (port = PROCESS_ID; port_is_taken(port); port = next--) {
        }
        netlink->port = port;
    }
    spin_unlock(&netlink_lock);
    return result;
}

static int check_address(const union socket_address *address, unsigned length)
{
    return length < sizeof(struct sockaddr_nl) || address->family != AF_NETLINK ? -EINVAL : 0;
}

static int netlink_bind(struct socket *socket, const union socket_address *address, unsigned length)
{
    const struct sockaddr_nl *name = (const struct sockaddr_nl *)address;
    int result = check_address(address, length);
    if (result == 0 && name->nl_groups != 0) {
        result = -EOPNOTSUPP;
    }
    return result != 0 ? result : bind_port(netlink_of(socket), name->nl_pid);
}

/* The only peer there is, is the kernel. */
static int netlink_connect(struct socket *socket, const union socket_address *address,
                           unsigned length)
{
    int result = check_address(address, length);
    if (result == 0 && ((const struct sockaddr_nl *)address)->nl_pid != 0) {
        result = -ECONNREFUSED;
    }
    return result != 0 ? result : bind_port(netlink_of(socket), 0);
}

static int netlink_get_name(struct socket *socket, union socket_address *address, bool peer)
{
    struct sockaddr_nl *name = (struct sockaddr_nl *)address;
    *name = (struct sockaddr_nl){.nl_family = AF_NETLINK,
                                 .nl_pid = peer ? 0 : netlink_of(socket)->port};
    return sizeof(*name);
}

static long netlink_send(struct socket *socket, struct socket_message *message)
{
    struct netlink_socket *netlink = netlink_of(socket);
    size_t size = message->io.remaining;
    int result = 0;
    if (message->name_length != 0) {
        result = check_address(&message->name, message->name_length);
        if (result == 0 && ((const struct sockaddr_nl *)&message->name)->nl_pid != 0) {
            result = -ECONNREFUSED;
        }
    }
    if (result == 0 && size > REQUEST_MAX) {
        result = -EMSGSIZE;
    }
    if (result == 0) {
        result = bind_port(netlink, 0);
    }
    if (result != 0) {
        return result;
    }
    /* Zeroes behind it, so that a fixed part that was cut short reads as such. */
    uint8_t *bytes = kzalloc(size + sizeof(struct ifinfomsg) + NLMSG_HDRLEN);
    if (bytes == NULL) {
        return -ENOBUFS;
    }
    result = io_copy_from(&message->io, bytes, size);
    for (size_t at = 0; result == 0 && size - at >= NLMSG_HDRLEN;) {
        const struct nlmsghdr *request = (const struct nlmsghdr *)(bytes + at);
        if (request->nlmsg_len < NLMSG_HDRLEN || request->nlmsg_len > size - at) {
            break;
        }
        if ((request->nlmsg_flags & NLM_F_REQUEST) != 0 && request->nlmsg_type >= NLMSG_MIN_TYPE) {
            result = serve(netlink, request);
        }
        at += MIN(NLMSG_ALIGN(request->nlmsg_len), size - at);
    }
    kfree(bytes);
    return result != 0 ? result : (long)size;
}

static long receive_first(struct netlink_socket *netlink, struct socket_message *message)
{
    struct netlink_message *first = NULL;
    spin_lock(&netlink_lock);
    if (!list_empty(&netlink->messages)) {
        first = list_entry(netlink->messages.next, struct netlink_message, node);
    }
    spin_unlock(&netlink_lock);
    if (first == NULL) {
        return -EAGAIN;
    }
    size_t size = first->size, piece = MIN(size, message->io.remaining);
    long result = io_copy_to(&message->io, first->bytes, piece);
    if (piece < size) {
        message->result_flags |= MSG_TRUNC;
    }
    message->name_length = (unsigned)netlink_get_name(&netlink->socket, &message->name, true);
    if ((message->flags & MSG_PEEK) == 0) {
        spin_lock(&netlink_lock);
        list_remove(&first->node);
        spin_unlock(&netlink_lock);
        kfree(first);
    }
    return result != 0 ? result : (long)((message->flags & MSG_TRUNC) != 0 ? size : piece);
}

static long netlink_receive(struct socket *socket, struct socket_message *message)
{
    struct netlink_socket *netlink = netlink_of(socket);
    mutex_lock(&netlink->reading);
    long done = receive_first(netlink, message);
    mutex_unlock(&netlink->reading);
    return done;
}

static uint32_t netlink_poll(struct socket *socket)
{
    struct netlink_socket *netlink = netlink_of(socket);
    spin_lock(&netlink_lock);
    bool empty = list_empty(&netlink->messages);
    spin_unlock(&netlink_lock);
    return POLLOUT | POLLWRNORM | (empty ? 0 : POLLIN | POLLRDNORM);
}

static void netlink_release(struct socket *socket)
{
    struct netlink_socket *netlink = netlink_of(socket);
    spin_lock(&netlink_lock);
    list_remove(&netlink->node);
    spin_unlock(&netlink_lock);
    for (struct list *node; (node = list_pop_front(&netlink->messages)) != NULL;) {
        kfree(list_entry(node, struct netlink_message, node));
    }
    kfree(netlink);
}

static const struct socket_operations netlink_operations = {
    .bind = netlink_bind,
    .connect = netlink_connect,
    .get_name = netlink_get_name,
    .send = netlink_send,
    .receive = netlink_receive,
    .poll = netlink_poll,
    .release = netlink_release,
};

static int netlink_create(int type, int protocol, struct socket **out)
{
    if (type != SOCK_RAW && type != SOCK_DGRAM) {
        return -ESOCKTNOSUPPORT;
    }
    if (protocol != NETLINK_ROUTE) {
        return -EPROTONOSUPPORT;
    }
    struct netlink_socket *netlink = kzalloc(sizeof(*netlink));
    if (netlink == NULL) {
        return -ENOMEM;
    }
    socket_init(&netlink->socket, &netlink_operations, AF_NETLINK, type, protocol);
    mutex_init(&netlink->reading);
    list_init(&netlink->messages);
    spin_lock(&netlink_lock);
    list_push_back(&sockets, &netlink->node);
    spin_unlock(&netlink_lock);
    *out = &netlink->socket;
    return 0;
}

void netlink_init(void)
{
    static const struct socket_family family = {AF_NETLINK, netlink_create};
    socket_register(&family);
}
