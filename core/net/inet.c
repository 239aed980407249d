/* SPDX-License-Identifier: MIT */
/* AF_INET and AF_INET6: addresses, ports, options of the IP levels. Owns the table of bound ports.
 * Guarded by the network lock. */
#include "core/net/inet.h"

#include <linux/errno.h>
#include <linux/in.h>
#include <linux/in6.h>
#include <linux/ipv6.h>

#include "core/lib/random.h"
#include "core/lib/string.h"
#include "core/mm/kmalloc.h"
#include "core/net/lwip/hooks.h"
#include "lwip/igmp.h"
#include "lwip/ip.h"
#include "lwip/mld6.h"
#include "lwip/nd6.h"
#include "lwip/priv/nd6_priv.h"

#define EPHEMERAL_FIRST 32768 /* ip_local_port_range of Linux */
#define EPHEMERAL_LAST 60999
#define PORT_BUCKETS 256

static struct list ports[PORT_BUCKETS];

int inet_error(err_t result)
{
    static const uint8_t errors[] = {
        [-ERR_MEM] = ENOBUFS,
        [-ERR_BUF] = ENOBUFS,
        [-ERR_TIMEOUT] = ETIMEDOUT,
        [-ERR_RTE] = ENETUNREACH,
        [-ERR_INPROGRESS] = EINPROGRESS,
        [-ERR_VAL] = EINVAL,
        [-ERR_WOULDBLOCK] = EAGAIN,
        [-ERR_USE] = EADDRINUSE,
        [-ERR_ALREADY] = EALREADY,
        [-ERR_ISCONN] = EISCONN,
        [-ERR_CONN] = ENOTCONN,
        [-ERR_IF] = ENETDOWN,
        [-ERR_ABRT] = ECONNABORTED,
        [-ERR_RST] = ECONNRESET,
        [-ERR_CLSD] = ENOTCONN,
        [-ERR_ARG] = EINVAL,
    };
    return -(int)errors[-result];
}

void inet_init(struct inet_socket *inet, const struct socket_operations *operations, int domain,
               int type, int protocol)
{
    socket_init(&inet->socket, operations, domain, type, protocol);
    list_init(&inet->port_node);
    inet->options = (struct inet_options){
        .ttl = IP_DEFAULT_TTL, .multicast_ttl = 1, .multicast_loop = true, .multicast_all = true};
    ip_addr_t any = IPADDR_ANY_TYPE_INIT;
    ip_addr_t any4 = IPADDR4_INIT(0);
    inet->local = inet->remote = domain == AF_INET ? any4 : any;
}

/* --- addresses
 * ------------------------------------------------------------------------------------
 */

int inet_address(const struct inet_socket *inet, const union socket_address *name, unsigned length,
                 ip_addr_t *ip, uint16_t *port)
{
    if (inet->socket.domain == AF_INET) {
        const struct sockaddr_in *in = (const struct sockaddr_in *)name;
        if (length < sizeof(*in)) {
            return -EINVAL;
        }
        if (in->sin_family != AF_INET &&
            (in->sin_family != AF_UNSPEC || in->sin_addr.s_addr != 0)) {
            return -EAFNOSUPPORT;
        }
        ip_addr_set_ip4_u32_val(*ip, in->sin_addr.s_addr);
        *port = lwip_htons(in->sin_port);
        return 0;
    }
    const struct sockaddr_in6 *in6 = (const struct sockaddr_in6 *)name;
    if (length < offsetof(struct sockaddr_in6, sin6_scope_id)) {
        return -EINVAL;
    }
    if (in6->sin6_family != AF_INET6) {
        return -EAFNOSUPPORT;
    }
    *port = lwip_htons(in6->sin6_port);
    ip6_addr_t address = {0};
    memcpy(address.addr, &in6->sin6_addr, 16);
    if (ip6_addr_isipv4mappedipv6(&address)) {
        if (inet->options.v6_only) {
            return -ENETUNREACH;
        }
        ip_addr_set_ip4_u32_val(*ip, address.addr[3]);
        return 0;
    }
    if (ip6_addr_has_scope(&address, IP6_UNKNOWN) && length >= sizeof(*in6)) {
        ip6_addr_set_zone(&address, (u8_t)in6->sin6_scope_id);
    }
    ip_addr_copy_from_ip6(*ip, address);
    if (ip6_addr_isany(&address) && !inet->options.v6_only) {
        IP_SET_TYPE(ip, IPADDR_TYPE_ANY);
    }
    return 0;
}

int inet_name(const struct inet_socket *inet, union socket_address *name, const ip_addr_t *ip,
              uint16_t port)
{
    if (inet->socket.domain == AF_INET) {
        struct sockaddr_in *in = (struct sockaddr_in *)name;
        memset(in, 0, sizeof(*in));
        in->sin_family = AF_INET;
        in->sin_port = lwip_htons(port);
        in->sin_addr.s_addr = ip_2_ip4(ip)->addr;
        return sizeof(*in);
    }
    struct sockaddr_in6 *in6 = (struct sockaddr_in6 *)name;
    memset(in6, 0, sizeof(*in6));
    in6->sin6_family = AF_INET6;
    in6->sin6_port = lwip_htons(port);
    if (IP_IS_V4(ip)) {
        uint32_t mapped[4] = {0, 0, PP_HTONL(0xffff), ip_2_ip4(ip)->addr};
        memcpy(&in6->sin6_addr, mapped, 16);
    } else {
        memcpy(&in6->sin6_addr, ip_2_ip6(ip)->addr, 16);
        if (ip6_addr_has_scope(ip_2_ip6(ip), IP6_UNKNOWN)) {
            in6->sin6_scope_id = ip6_addr_zone(ip_2_ip6(ip));
        }
    }
    return sizeof(*in6);
}

int inet_get_name(struct socket *socket, union socket_address *name, bool peer)
{
    struct inet_socket *inet = (struct inet_socket *)socket;
    net_lock();
    int result = peer && inet->remote_port == 0 ? -ENOTCONN
                 : peer ? inet_name(inet, name, &inet->remote, inet->remote_port)
                        : inet_name(inet, name, &inet->local, inet->local_port);
    net_unlock();
    return result;
}

struct netif *inet_netif_by_index(int index)
{
    return index > 0 && index < 255 ? netif_get_by_index((u8_t)index) : NULL;
}

bool inet_is_own(const ip_addr_t *ip)
{
    if (IP_IS_V4(ip) && ip4_addr_isloopback(ip_2_ip4(ip))) {
        return true;
    }
    for (struct netif *netif = netif_list; netif != NULL; netif = netif->next) {
        if (IP_IS_V4(ip) ? ip4_addr_eq(ip_2_ip4(ip), netif_ip4_addr(netif))
                         : netif_get_ip6_addr_match(netif, ip_2_ip6(ip)) >= 0) {
            return true;
        }
    }
    return false;
}

/* Whether an IPv6 address is on the link or behind a router: lwIP takes the default interface for
 * all others, and drops what it is given. */
static bool has_way6(const ip6_addr_t *remote, struct netif *netif)
{
    if (net_interface_of(netif) == NULL || ip6_addr_ismulticast(remote) ||
        ip6_addr_islinklocal(remote) || core_net_gateway6(netif) != NULL) {
        return true;
    }
    for (int i = 0; i < LWIP_IPV6_NUM_ADDRESSES; i++) {
        if (ip6_addr_isvalid(netif_ip6_addr_state(netif, i)) &&
            ip6_addr_net_zoneless_eq(remote, netif_ip6_addr(netif, i))) {
            return true;
        }
    }
    for (unsigned i = 0; i < LWIP_ND6_NUM_PREFIXES; i++) {
        if (prefix_list[i].netif == netif &&
            ip6_addr_net_zoneless_eq(remote, &prefix_list[i].prefix)) {
            return true;
        }
    }
    for (unsigned i = 0; i < LWIP_ND6_NUM_ROUTERS; i++) {
        if (default_router_list[i].neighbor_entry != NULL) {
            return true;
        }
    }
    return false;
}

int inet_route(const struct inet_socket *inet, ip_addr_t *remote, ip_addr_t *local,
               struct netif **netif)
{
    if (ip_addr_isany(remote)) {
        if (IP_IS_V4(remote)) {
            ip_addr_set_loopback(false, remote);
        } else {
            ip_addr_set_loopback(true, remote);
        }
    }
    bool bound = !ip_addr_isany(&inet->local);
    if (bound && IP_IS_V4(&inet->local) != IP_IS_V4(remote)) {
        return IP_IS_V4(remote) ? -ENETUNREACH : -EINVAL;
    }
    struct netif *through = inet_netif_by_index(inet->socket.options.bound_device);
    bool group = ip_addr_ismulticast(remote);
    if (through == NULL && group && inet->options.multicast_interface != 0) {
        through = inet_netif_by_index(inet->options.multicast_interface);
    }
    if (through == NULL && IP_IS_V6(remote) && ip6_addr_has_zone(ip_2_ip6(remote))) {
        through = inet_netif_by_index(ip6_addr_zone(ip_2_ip6(remote)));
    }
    if (through == NULL && group && !ip4_addr_isany_val(inet->options.multicast_address)) {
        for (struct netif *each = netif_list; each != NULL; each = each->next) {
            if (ip4_addr_eq(netif_ip4_addr(each), &inet->options.multicast_address)) {
                through = each;
            }
        }
    }
    if (through == NULL) {
        through = ip_route(&inet->local, remote);
    }
    if (through == NULL ||
        (IP_IS_V6(remote) && !inet_is_own(remote) && !has_way6(ip_2_ip6(remote), through))) {
        return -ENETUNREACH;
    }
    if (IP_IS_V6(remote)) {
        ip6_addr_assign_zone(ip_2_ip6(remote), IP6_UNKNOWN, through);
    }
    if (bound) {
        *local = inet->local;
    } else if (!group && inet_is_own(remote)) {
        *local = *remote; /* as Linux has it: the machine talks to itself from the same address */
    } else {
        const ip_addr_t *source = ip_netif_get_local_ip(through, remote);
        if (source == NULL || ip_addr_isany(source)) {
            return -ENETUNREACH;
        }
        *local = *source;
    }
    *netif = through;
    return 0;
}

/* --- ports
 * ----------------------------------------------------------------------------------------
 */

static struct list *bucket(uint16_t port)
{
    return &ports[port % PORT_BUCKETS];
}

static bool same_space(const struct inet_socket *left, const struct inet_socket *right)
{
    return left->socket.type == right->socket.type &&
           left->socket.protocol == right->socket.protocol;
}

/* Whether both would get packets for the same address. */
static bool overlap(const ip_addr_t *left, const ip_addr_t *right)
{
    if (IP_IS_ANY_TYPE_VAL(*left) || IP_IS_ANY_TYPE_VAL(*right)) {
        return true;
    }
    return IP_GET_TYPE(left) == IP_GET_TYPE(right) &&
           (ip_addr_isany(left) || ip_addr_isany(right) || ip_addr_eq(left, right));
}

static bool is_taken(const struct inet_socket *inet, const ip_addr_t *ip, uint16_t port)
{
    const struct socket_options *mine = &inet->socket.options;
    list_for_each (node, bucket(port)) {
        const struct inet_socket *other = list_entry(node, struct inet_socket, port_node);
        const struct socket_options *theirs = &other->socket.options;
        if (other == inet || other->local_port != port || !same_space(inet, other) ||
            !overlap(ip, &other->local) ||
            (mine->bound_device != 0 && theirs->bound_device != 0 &&
             mine->bound_device != theirs->bound_device)) {
            continue;
        }
        bool shared = (mine->reuse_port && theirs->reuse_port) ||
                      (mine->reuse_address && theirs->reuse_address && !other->socket.listening);
        if (!shared) {
            return true;
        }
    }
    return false;
}

static bool is_broadcast(const ip_addr_t *ip)
{
    for (struct netif *netif = netif_list; netif != NULL; netif = netif->next) {
        if (IP_IS_V4(ip) && ip4_addr_isbroadcast(ip_2_ip4(ip), netif)) {
            return true;
        }
    }
    return false;
}

int inet_bind(struct inet_socket *inet, const ip_addr_t *ip, uint16_t port)
{
    if (inet->local_port != 0) {
        return -EINVAL;
    }
    bool group = inet->socket.type == SOCK_DGRAM && (ip_addr_ismulticast(ip) || is_broadcast(ip));
    if (!ip_addr_isany(ip) && !group && !inet->options.freebind && !inet_is_own(ip)) {
        return -EADDRNOTAVAIL;
    }
    if (port == 0) {
        unsigned count = EPHEMERAL_LAST - EPHEMERAL_FIRST + 1;
        unsigned start = core_net_random() % count;
        for (unsigned i = 0; i < count && port == 0; i++) {
            uint16_t candidate = (uint16_t)(EPHEMERAL_FIRST + (start + i) % count);
            bool taken = false;
            list_for_each (node, bucket(candidate)) {
                const struct inet_socket *other = list_entry(node, struct inet_socket, port_node);
                taken |= other->local_port == candidate && same_space(inet, other);
            }
            port = taken ? 0 : candidate;
        }
        if (port == 0) {
            return -EADDRINUSE;
        }
    } else if (is_taken(inet, ip, port)) {
        return -EADDRINUSE;
    }
    inet->local = *ip;
    inet->local_port = port;
    list_push_back(bucket(port), &inet->port_node);
    return 0;
}

void inet_unbind(struct inet_socket *inet)
{
    list_remove(&inet->port_node);
    list_init(&inet->port_node);
}

struct inet_socket *inet_next_bound(int protocol, uint16_t port, const struct inet_socket *after)
{
    struct list *end = bucket(port);
    for (struct list *node = after != NULL ? after->port_node.next : end->next; node != end;
         node = node->next) {
        struct inet_socket *inet = list_entry(node, struct inet_socket, port_node);
        if (inet->local_port == port && inet->socket.protocol == protocol) {
            return inet;
        }
    }
    return NULL;
}

/* Whether `other` takes turns with `inet`. */
static bool shares(const struct inet_socket *other, const struct inet_socket *inet)
{
    return inet_may_share(other) && other->socket.listening == inet->socket.listening &&
           ip_addr_eq(&other->local, &inet->local) &&
           IP_GET_TYPE(&other->local) == IP_GET_TYPE(&inet->local);
}

struct inet_socket *inet_share(struct inet_socket *inet, uint32_t number)
{
    struct inet_socket *each = NULL;
    uint32_t count = 0;
    while ((each = inet_next_bound(inet->socket.protocol, inet->local_port, each)) != NULL) {
        count += shares(each, inet);
    }
    uint32_t chosen = count != 0 ? number % count : 0;
    while ((each = inet_next_bound(inet->socket.protocol, inet->local_port, each)) != NULL) {
        if (shares(each, inet) && chosen-- == 0) {
            return each;
        }
    }
    return inet;
}

/* --- multicast
 * ------------------------------------------------------------------------------------
 */

static struct netif *group_netif(int index, const ip4_addr_t *address, const ip_addr_t *group)
{
    if (index != 0) {
        return inet_netif_by_index(index);
    }
    if (address != NULL && !ip4_addr_isany(address)) {
        for (struct netif *netif = netif_list; netif != NULL; netif = netif->next) {
            if (ip4_addr_eq(netif_ip4_addr(netif), address)) {
                return netif;
            }
        }
        return NULL;
    }
    ip_addr_t any = {0};
    IP_SET_TYPE_VAL(any, IP_GET_TYPE(group));
    struct netif *netif = ip_route(&any, group);
    return netif != NULL ? netif : netif_default;
}

/* Where the socket's membership of the group on that interface hangs, or would. */
static struct inet_membership **membership_link(struct inet_socket *inet, const ip_addr_t *group,
                                                const struct netif *netif)
{
    struct inet_membership **link = &inet->memberships;
    while (*link != NULL && ((*link)->netif != netif || !ip_addr_eq(&(*link)->group, group))) {
        link = &(*link)->next;
    }
    return link;
}

static int change_membership(struct inet_socket *inet, bool join, ip_addr_t *group, int index,
                             const ip4_addr_t *address)
{
    if (!ip_addr_ismulticast(group)) {
        return -EINVAL;
    }
    struct netif *netif = group_netif(index, address, group);
    if (netif == NULL) {
        return -ENODEV;
    }
    if (IP_IS_V6(group)) {
        ip6_addr_assign_zone(ip_2_ip6(group), IP6_MULTICAST, netif);
    }
    struct inet_membership **link = membership_link(inet, group, netif);
    struct inet_membership *membership = *link;
    net_timers_recheck();
    if (!join) {
        if (membership == NULL) {
            return -EADDRNOTAVAIL;
        }
        *link = membership->next;
        while (membership->sources != NULL) {
            struct inet_source *source = membership->sources;
            membership->sources = source->next;
            kfree(source);
        }
        kfree(membership);
        if (IP_IS_V6(group)) {
            mld6_leavegroup_netif(netif, ip_2_ip6(group));
        } else {
            igmp_leavegroup_netif(netif, ip_2_ip4(group));
        }
        return 0;
    }
    if (membership != NULL) {
        return -EADDRINUSE;
    }
    membership = kzalloc(sizeof(*membership));
    if (membership == NULL) {
        return -ENOBUFS;
    }
    membership->group = *group;
    membership->netif = netif;
    err_t result = IP_IS_V6(group) ? mld6_joingroup_netif(netif, ip_2_ip6(group))
                                   : igmp_joingroup_netif(netif, ip_2_ip4(group));
    if (result != ERR_OK) {
        kfree(membership);
        return inet_error(result);
    }
    *link = membership;
    return 0;
}

/* Where the source hangs in the list, or would; and how many come before it. */
static struct inet_source **source_link(struct inet_membership *membership, const ip_addr_t *source,
                                        unsigned *before)
{
    struct inet_source **link = &membership->sources;
    for (*before = 0; *link != NULL && !ip_addr_eq(&(*link)->address, source); (*before)++) {
        link = &(*link)->next;
    }
    return link;
}

bool inet_wants_group(struct inet_socket *inet, const ip_addr_t *group, const struct netif *netif,
                      const ip_addr_t *source)
{
    struct inet_membership *membership = *membership_link(inet, group, netif);
    unsigned before;
    return membership == NULL
               ? inet->options.multicast_all
               : (*source_link(membership, source, &before) != NULL) == membership->only;
}

#define SOURCES_MAX 64

/* The senders of a group from which the socket wants to hear, or not to (RFC 3678, 4.1 and 5.1). A
 * list of one kind becomes one of the other when it is empty. */
static int change_source(struct inet_socket *inet, int name, ip_addr_t *group, int index,
                         const ip4_addr_t *address, ip_addr_t *source)
{
    bool only = name == MCAST_JOIN_SOURCE_GROUP || name == MCAST_LEAVE_SOURCE_GROUP;
    bool add = name == MCAST_JOIN_SOURCE_GROUP || name == MCAST_BLOCK_SOURCE;
    if (!ip_addr_ismulticast(group) || IP_IS_V4(group) != IP_IS_V4(source)) {
        return -EINVAL;
    }
    struct netif *netif = group_netif(index, address, group);
    if (netif == NULL) {
        return -ENODEV;
    }
    index = netif_get_index(netif);
    if (IP_IS_V6(source)) {
        ip6_addr_assign_zone(ip_2_ip6(source), IP6_UNICAST, netif);
    }
    bool joined = false;
    if (name == MCAST_JOIN_SOURCE_GROUP) {
        int error = change_membership(inet, true, group, index, NULL);
        if (error != 0 && error != -EADDRINUSE) {
            return error;
        }
        joined = error == 0;
    } else if (IP_IS_V6(group)) {
        ip6_addr_assign_zone(ip_2_ip6(group), IP6_MULTICAST, netif);
    }
    struct inet_membership *membership = *membership_link(inet, group, netif);
    if (membership == NULL || (membership->sources != NULL && membership->only != only)) {
        return -EINVAL;
    }
    membership->only = only;
    unsigned before;
    struct inet_source **link = source_link(membership, source, &before);
    struct inet_source *found = *link;
    if (!add) {
        if (found == NULL) {
            return -EADDRNOTAVAIL;
        }
        *link = found->next;
        kfree(found);
        return only && membership->sources == NULL
                   ? change_membership(inet, false, group, index, NULL)
                   : 0;
    }
    struct inet_source *fresh =
        found == NULL && before < SOURCES_MAX ? kmalloc(sizeof(*fresh)) : NULL;
    if (fresh == NULL) {
        if (joined) {
            change_membership(inet, false, group, index, NULL);
        }
        return found != NULL ? -EADDRNOTAVAIL : -ENOBUFS;
    }
    *fresh = (struct inet_source){NULL, *source};
    *link = fresh;
    return 0;
}

void inet_leave_all(struct inet_socket *inet)
{
    while (inet->memberships != NULL) {
        struct inet_membership first = *inet->memberships;
        change_membership(inet, false, &first.group, netif_get_index(first.netif), NULL);
    }
}

/* --- options
 * --------------------------------------------------------------------------------------
 */

int inet_option_number(const void *value, size_t size, int *number)
{
    if (size >= sizeof(int)) {
        memcpy(number, value, sizeof(int));
    } else if (size >= 1) {
        *number = *(const uint8_t *)value;
    } else {
        return -EINVAL;
    }
    return 0;
}

int inet_option_store(void *value, size_t *size, int number)
{
    if (*size < sizeof(int) && *size > 0 && number >= 0 && number <= 255) {
        *(uint8_t *)value = (uint8_t)number;
        *size = 1;
        return 0;
    }
    *size = *size < sizeof(int) ? *size : sizeof(int);
    memcpy(value, &number, *size);
    return 0;
}

/* Options that are a bool or a byte: where each is kept, and its greatest value. */
struct plain_option {
    uint8_t level, name, offset, max;
};

#define PLAIN(level, name, field, max)                                                             \
    {                                                                                              \
        level, name, offsetof(struct inet_options, field), max                                     \
    }

enum { LEVEL_IP = 0, LEVEL_IPV6 = 41 };

static const struct plain_option plain_options[] = {
    PLAIN(LEVEL_IP, IP_TOS, tos, 255),
    PLAIN(LEVEL_IP, IP_TTL, ttl, 255),
    PLAIN(LEVEL_IP, IP_MULTICAST_TTL, multicast_ttl, 255),
    PLAIN(LEVEL_IP, IP_MULTICAST_LOOP, multicast_loop, 1),
    PLAIN(LEVEL_IP, IP_MULTICAST_ALL, multicast_all, 1),
    PLAIN(LEVEL_IP, IP_MTU_DISCOVER, mtu_discover, 5),
    PLAIN(LEVEL_IP, IP_FREEBIND, freebind, 1),
    PLAIN(LEVEL_IP, IP_HDRINCL, header_included, 1),
    PLAIN(LEVEL_IP, IP_RECVERR, receive_error, 1),
    PLAIN(LEVEL_IP, IP_PKTINFO, receive_pktinfo, 1),
    PLAIN(LEVEL_IP, IP_RECVTTL, receive_ttl, 1),
    PLAIN(LEVEL_IP, IP_RECVTOS, receive_tos, 1),
    PLAIN(LEVEL_IP, IP_RECVORIGDSTADDR, receive_destination, 1),
    PLAIN(LEVEL_IPV6, IPV6_TCLASS, tos, 255),
    PLAIN(LEVEL_IPV6, IPV6_UNICAST_HOPS, ttl, 255),
    PLAIN(LEVEL_IPV6, IPV6_MULTICAST_HOPS, multicast_ttl, 255),
    PLAIN(LEVEL_IPV6, IPV6_MULTICAST_LOOP, multicast_loop, 1),
    PLAIN(LEVEL_IPV6, IPV6_MTU_DISCOVER, mtu_discover, 5),
    PLAIN(LEVEL_IPV6, IPV6_V6ONLY, v6_only, 1),
    PLAIN(LEVEL_IPV6, IPV6_RECVERR, receive_error, 1),
    PLAIN(LEVEL_IPV6, IPV6_RECVPKTINFO, receive_pktinfo6, 1),
    PLAIN(LEVEL_IPV6, IPV6_RECVHOPLIMIT, receive_ttl6, 1),
    PLAIN(LEVEL_IPV6, IPV6_RECVTCLASS, receive_tos6, 1),
    PLAIN(LEVEL_IPV6, IPV6_RECVORIGDSTADDR, receive_destination6, 1),
    PLAIN(LEVEL_IPV6, IPV6_DONTFRAG, dont_fragment, 1),
    PLAIN(LEVEL_IPV6, IPV6_RECVPATHMTU, receive_path_mtu, 1),
};

static uint8_t *plain_option(struct inet_socket *inet, int level, int name, unsigned *max)
{
    for (unsigned i = 0; i < sizeof(plain_options) / sizeof(plain_options[0]); i++) {
        const struct plain_option *option = &plain_options[i];
        if (option->level == level && option->name == name) {
            *max = option->max;
            return (uint8_t *)&inet->options + option->offset;
        }
    }
    return NULL;
}

/* An address in one of the options for both families. */
static ip_addr_t address_of(const struct __kernel_sockaddr_storage *storage)
{
    ip_addr_t address = {0};
    if (storage->ss_family == AF_INET) {
        const struct sockaddr_in *in = (const struct sockaddr_in *)storage;
        ip_addr_set_ip4_u32_val(address, in->sin_addr.s_addr);
    } else {
        const struct sockaddr_in6 *in6 = (const struct sockaddr_in6 *)storage;
        memcpy(ip_2_ip6(&address)->addr, &in6->sin6_addr, 16);
        IP_SET_TYPE_VAL(address, IPADDR_TYPE_V6);
    }
    return address;
}

static int set_source_option(struct inet_socket *inet, int level, int name, const void *value,
                             size_t size)
{
    ip_addr_t group = {0};
    ip_addr_t source = {0};
    if (level == LEVEL_IP && name >= IP_UNBLOCK_SOURCE && name <= IP_DROP_SOURCE_MEMBERSHIP) {
        static const uint8_t names[] = {MCAST_UNBLOCK_SOURCE, MCAST_BLOCK_SOURCE,
                                        MCAST_JOIN_SOURCE_GROUP, MCAST_LEAVE_SOURCE_GROUP};
        struct ip_mreq_source request;
        if (size < sizeof(request)) {
            return -EINVAL;
        }
        memcpy(&request, value, sizeof(request));
        ip_addr_set_ip4_u32_val(group, request.imr_multiaddr);
        ip_addr_set_ip4_u32_val(source, request.imr_sourceaddr);
        ip4_addr_t address = {request.imr_interface};
        return change_source(inet, names[name - IP_UNBLOCK_SOURCE], &group, 0, &address, &source);
    }
    if (name != MCAST_JOIN_SOURCE_GROUP && name != MCAST_LEAVE_SOURCE_GROUP &&
        name != MCAST_BLOCK_SOURCE && name != MCAST_UNBLOCK_SOURCE) {
        return -ENOPROTOOPT;
    }
    struct group_source_req request; /* both levels */
    if (size < sizeof(request)) {
        return -EINVAL;
    }
    memcpy(&request, value, sizeof(request));
    group = address_of(&request.gsr_group);
    source = address_of(&request.gsr_source);
    return change_source(inet, name, &group, (int)request.gsr_interface, NULL, &source);
}

static int set_group_option(struct inet_socket *inet, int level, int name, const void *value,
                            size_t size)
{
    ip_addr_t group = {0};
    if (level == LEVEL_IP && (name == IP_ADD_MEMBERSHIP || name == IP_DROP_MEMBERSHIP)) {
        struct ip_mreqn request = {0};
        if (size < sizeof(struct ip_mreq)) {
            return -EINVAL;
        }
        memcpy(&request, value, size < sizeof(request) ? size : sizeof(request));
        ip_addr_set_ip4_u32_val(group, request.imr_multiaddr.s_addr);
        ip4_addr_t address = {request.imr_address.s_addr};
        return change_membership(inet, name == IP_ADD_MEMBERSHIP, &group, request.imr_ifindex,
                                 &address);
    }
    if (level == LEVEL_IPV6 && (name == IPV6_ADD_MEMBERSHIP || name == IPV6_DROP_MEMBERSHIP)) {
        struct ipv6_mreq request;
        if (size < sizeof(request)) {
            return -EINVAL;
        }
        memcpy(&request, value, sizeof(request));
        memcpy(ip_2_ip6(&group)->addr, &request.ipv6mr_multiaddr, 16);
        IP_SET_TYPE_VAL(group, IPADDR_TYPE_V6);
        return change_membership(inet, name == IPV6_ADD_MEMBERSHIP, &group, request.ipv6mr_ifindex,
                                 NULL);
    }
    if (name == MCAST_JOIN_GROUP || name == MCAST_LEAVE_GROUP) { /* both levels */
        struct group_req request;
        if (size < sizeof(request)) {
            return -EINVAL;
        }
        memcpy(&request, value, sizeof(request));
        group = address_of(&request.gr_group);
        return change_membership(inet, name == MCAST_JOIN_GROUP, &group, (int)request.gr_interface,
                                 NULL);
    }
    if (level == LEVEL_IP && name == IP_MULTICAST_IF) {
        struct ip_mreqn request = {0};
        if (size >= sizeof(struct ip_mreq)) {
            memcpy(&request, value, size < sizeof(request) ? size : sizeof(request));
        } else if (size >= sizeof(request.imr_address)) {
            memcpy(&request.imr_address, value, sizeof(request.imr_address));
        } else {
            return -EINVAL;
        }
        inet->options.multicast_interface = (uint8_t)request.imr_ifindex;
        inet->options.multicast_address.addr = request.imr_address.s_addr;
        return 0;
    }
    if (level == LEVEL_IPV6 && name == IPV6_MULTICAST_IF) {
        int index;
        int error = inet_option_number(value, size, &index);
        if (error == 0 && index != 0 && inet_netif_by_index(index) == NULL) {
            error = -ENODEV;
        }
        if (error == 0) {
            inet->options.multicast_interface = (uint8_t)index;
        }
        return error;
    }
    return set_source_option(inet, level, name, value, size);
}

int inet_set_option(struct inet_socket *inet, int level, int name, const void *value, size_t size)
{
    if (level != LEVEL_IP && (level != LEVEL_IPV6 || inet->socket.domain != AF_INET6)) {
        return -ENOPROTOOPT;
    }
    unsigned max;
    uint8_t *place = plain_option(inet, level, name, &max);
    if (place == NULL) {
        net_lock();
        int error = set_group_option(inet, level, name, value, size);
        net_unlock();
        return error;
    }
    int number;
    int error = inet_option_number(value, size, &number);
    if (error != 0) {
        return error;
    }
    if (max == 1) {
        number = number != 0;
    } else if (number == -1) { /* back to the default */
        number = name == IP_TTL || name == IPV6_UNICAST_HOPS ? IP_DEFAULT_TTL
                 : name == IP_TOS || name == IPV6_TCLASS     ? 0
                                                             : 1;
    }
    if (number < 0 || (unsigned)number > max || (place == &inet->options.ttl && number == 0)) {
        return -EINVAL;
    }
    if (place == (uint8_t *)&inet->options.v6_only && inet->local_port != 0) {
        return -EINVAL;
    }
    *place = (uint8_t)number;
    return 0;
}

unsigned inet_path_mtu(const ip_addr_t *remote, struct netif *netif)
{
    return IP_IS_V6(remote) ? nd6_get_destination_mtu(ip_2_ip6(remote), netif) : netif->mtu;
}

/* Of a connected socket: as a number, or for IPV6_PATHMTU with an address (RFC 3542, 11.4). */
static int get_path_mtu(const struct inet_socket *inet, bool with_address, void *value,
                        size_t *size)
{
    struct ip6_mtuinfo info = {0};
    if (with_address && *size < sizeof(info)) {
        return -EINVAL;
    }
    if (inet->remote_port == 0) {
        return -ENOTCONN;
    }
    ip_addr_t remote = inet->remote;
    ip_addr_t local;
    struct netif *netif;
    net_lock();
    int error = inet_route(inet, &remote, &local, &netif);
    if (error == 0) {
        info.ip6m_mtu = inet_path_mtu(&remote, netif);
    }
    net_unlock();
    if (error != 0) {
        return -ENOTCONN;
    }
    if (!with_address) {
        return inet_option_store(value, size, (int)info.ip6m_mtu);
    }
    union socket_address name;
    int length = inet_name(inet, &name, &remote, 0);
    memcpy(&info.ip6m_addr, &name,
           (size_t)length < sizeof(info.ip6m_addr) ? (size_t)length : sizeof(info.ip6m_addr));
    *size = sizeof(info);
    memcpy(value, &info, sizeof(info));
    return 0;
}

int inet_get_option(struct inet_socket *inet, int level, int name, void *value, size_t *size)
{
    if (level != LEVEL_IP && (level != LEVEL_IPV6 || inet->socket.domain != AF_INET6)) {
        return -ENOPROTOOPT;
    }
    unsigned max;
    const uint8_t *place = plain_option(inet, level, name, &max);
    if (place != NULL) {
        return inet_option_store(value, size, *place);
    }
    if (level == LEVEL_IP && name == IP_MULTICAST_IF) {
        *size = *size < 4 ? *size : 4;
        memcpy(value, &inet->options.multicast_address, *size);
        return 0;
    }
    if (level == LEVEL_IPV6 && name == IPV6_MULTICAST_IF) {
        return inet_option_store(value, size, inet->options.multicast_interface);
    }
    if (level == LEVEL_IP ? name == IP_MTU : name == IPV6_MTU || name == IPV6_PATHMTU) {
        return get_path_mtu(inet, name == IPV6_PATHMTU && level == LEVEL_IPV6, value, size);
    }
    return -ENOPROTOOPT;
}

/* --- the families
 * ---------------------------------------------------------------------------------
 */

static int create(int domain, int type, int protocol, struct socket **out)
{
    switch (type) {
    case SOCK_STREAM:
        return protocol == 0 || protocol == IPPROTO_TCP
                   ? tcp_socket_create(domain, IPPROTO_TCP, out)
                   : -EPROTONOSUPPORT;
    case SOCK_DGRAM:
        if (protocol == 0 || protocol == IPPROTO_UDP) {
            return udp_socket_create(domain, IPPROTO_UDP, out);
        }
        if (protocol == (domain == AF_INET ? IPPROTO_ICMP : IPPROTO_ICMPV6)) {
            return icmp_socket_create(domain, protocol, out);
        }
        return -EPROTONOSUPPORT;
    case SOCK_RAW:
        return protocol > 0 && protocol <= IPPROTO_RAW ? raw_socket_create(domain, protocol, out)
                                                       : -EPROTONOSUPPORT;
    default:
        return -ESOCKTNOSUPPORT;
    }
}

static int create4(int type, int protocol, struct socket **out)
{
    return create(AF_INET, type, protocol, out);
}

static int create6(int type, int protocol, struct socket **out)
{
    return create(AF_INET6, type, protocol, out);
}

void inet_register(void)
{
    static const struct socket_family families[] = {{AF_INET, create4}, {AF_INET6, create6}};
    for (unsigned i = 0; i < PORT_BUCKETS; i++) {
        list_init(&ports[i]);
    }
    socket_register(&families[0]);
    socket_register(&families[1]);
}
