/* SPDX-License-Identifier: MIT */
/* /proc/net, and the files of /etc that the network needs where the root has none of its own. Owns
 * nothing: everything is read from interface.h and config.h when a file is. */
#include "core/fs/fs.h"
#include "core/fs/fs_internal.h"
#include "core/fs/inode.h"
#include "core/fs/procfs.h"
#include "core/net/config.h"
#include "core/net/interface.h"
#include "core/net/net.h"
#include "core/net/net_files.h"
#include "core/net/socket.h"

#define IPPROTO_TCP 6
#define IPPROTO_UDP 17
#define ROUTE_UP 1 /* RTF_ of linux/route.h */
#define ROUTE_GATEWAY 2
#define ATF_COM 2 /* linux/if_arp.h: the address is known */

typedef unsigned long long ull;

static uint32_t word_at(const uint8_t *bytes)
{
    uint32_t word;
    memcpy(&word, bytes, sizeof(word));
    return word;
}

static void show_devices(struct text *text, long argument)
{
    struct interface interface;
    (void)argument;
    text_put(text, "Inter-|   Receive                                                |  Transmit\n"
                   " face |bytes    packets errs drop fifo frame compressed multicast|"
                   "bytes    packets errs drop fifo colls carrier compressed\n");
    for (int index = 1; interface_next(index, &interface); index = interface.index + 1) {
        text_put(text, "%6s: %7llu %7llu %4llu %4llu    0     0          0         0 ",
                 interface.name, (ull)interface.statistics.rx_bytes,
                 (ull)interface.statistics.rx_frames, (ull)interface.statistics.rx_errors,
                 (ull)interface.statistics.rx_dropped);
        text_put(text, "%8llu %7llu %4llu %4llu    0     0       0          0\n",
                 (ull)interface.statistics.tx_bytes, (ull)interface.statistics.tx_frames,
                 (ull)interface.statistics.tx_errors, (ull)interface.statistics.tx_dropped);
    }
}

static void put_hex(struct text *text, const uint8_t *bytes, unsigned count)
{
    for (unsigned i = 0; i < count; i++) {
        text_put(text, "%02x", bytes[i]);
    }
}

static void show_addresses6(struct text *text, long argument)
{
    struct interface interface;
    (void)argument;
    for (int index = 1; interface_next(index, &interface); index = interface.index + 1) {
        for (unsigned i = 0; i < interface.address_count; i++) {
            const struct interface_address *address = &interface.addresses[i];
            if (address->family != AF_INET6) {
                continue;
            }
            /* IPv6 scopes of this file: include/net/ipv6.h */
            unsigned scope = address->scope == 253 ? 0x20 : address->scope == 254 ? 0x10 : 0;
            put_hex(text, address->bytes, 16);
            text_put(text, " %02x %02x %02x %02x %8s\n", (unsigned)interface.index,
                     address->prefix_length, scope,
                     (address->permanent ? 0x80u : 0) | (address->tentative ? 0x40u : 0),
                     interface.name);
        }
    }
}

static void show_routes(struct text *text, long argument)
{
    struct interface_route route;
    (void)argument;
    text_put(text, "Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\t"
                   "IRTT\n");
    for (unsigned i = 0; interface_route(i, &route); i++) {
        struct interface interface;
        if (route.family != AF_INET || !interface_next(route.interface, &interface)) {
            continue;
        }
        uint32_t mask = route.prefix_length == 0 ? 0 : UINT32_MAX << (32 - route.prefix_length);
        text_put(text, "%s\t%08X\t%08X\t%04X\t0\t0\t%u\t%08X\t0\t0\t0\n", interface.name,
                 word_at(route.destination), route.has_gateway ? word_at(route.gateway) : 0,
                 ROUTE_UP | (route.has_gateway ? ROUTE_GATEWAY : 0u), route.metric,
                 __builtin_bswap32(mask));
    }
}

/* The format of Linux's net/ipv4/arp.c. */
static void show_arp(struct text *text, long argument)
{
    struct interface_neighbour neighbour;
    (void)argument;
    text_put(text,
             "IP address       HW type     Flags       HW address            Mask     Device\n");
    for (unsigned i = 0; interface_neighbour(i, &neighbour); i++) {
        struct interface interface;
        char ip[16];
        const uint8_t *at = neighbour.bytes, *mac = neighbour.mac;
        if (neighbour.family != AF_INET || !interface_next(neighbour.interface, &interface)) {
            continue;
        }
        format(ip, sizeof(ip), "%u.%u.%u.%u", at[0], at[1], at[2], at[3]);
        text_put(text, "%-16s 0x%-10x0x%-10x%02x:%02x:%02x:%02x:%02x:%02x     *        %s\n", ip,
                 interface.hardware, neighbour.has_mac ? ATF_COM : 0, mac[0], mac[1], mac[2],
                 mac[3], mac[4], mac[5], interface.name);
    }
}

/* The formats of Linux's net/ipv4/igmp.c and net/ipv6/mcast.c. */
static void show_groups(struct text *text, long argument)
{
    struct interface_group group;
    int shown = 0;
    (void)argument;
    text_put(text, "Idx\tDevice    : Count Querier\tGroup    Users Timer\tReporter\n");
    for (unsigned i = 0; interface_group(i, &group); i++) {
        struct interface interface;
        if (group.family != AF_INET || !interface_next(group.interface, &interface)) {
            continue;
        }
        if (group.interface != shown) {
            unsigned count = 0;
            struct interface_group other;
            for (unsigned j = 0; interface_group(j, &other); j++) {
                count += other.family == AF_INET && other.interface == group.interface;
            }
            text_put(text, "%d\t%-10s: %5u %7s\n", group.interface, interface.name, count, "V2");
            shown = group.interface;
        }
        text_put(text, "\t\t\t\t%08X %5u 0:00000000\t\t0\n", word_at(group.bytes), group.users);
    }
}

static void show_groups6(struct text *text, long argument)
{
    struct interface_group group;
    (void)argument;
    for (unsigned i = 0; interface_group(i, &group); i++) {
        struct interface interface;
        if (group.family != AF_INET6 || !interface_next(group.interface, &interface)) {
            continue;
        }
        /* Of all-nodes nothing is reported (MAF_NOREPORT 8); all are in use (MAF_LOADED 4). */
        bool nodes = group.bytes[15] == 1 && group.bytes[11] == 0;
        text_put(text, "%-4d %-15s ", group.interface, interface.name);
        put_hex(text, group.bytes, 16);
        text_put(text, " %5u %08X 0\n", group.users, nodes ? 12u : 4u);
    }
}

/* --- sockets
 * --------------------------------------------------------------------------------------------------------
 */

/* Visits may not sleep, and text may: they are collected first. */
struct socket_list {
    struct interface_socket *sockets;
    unsigned count, room;
};

static bool collect_socket(void *context, const struct interface_socket *socket)
{
    struct socket_list *list = context;
    if (list->count < list->room) {
        list->sockets[list->count] = *socket;
    }
    list->count++;
    return true;
}

static void put_address(struct text *text, int family, const uint8_t *bytes, uint16_t port)
{
    for (unsigned i = 0; i < (family == AF_INET ? 4u : 16u); i += 4) {
        text_put(text, "%08X", word_at(bytes + i));
    }
    text_put(text, ":%04X ", port);
}

static void show_sockets(struct text *text, int family, int protocol)
{
    struct socket_list list = {0};
    /* The formats of Linux's net/ipv4/tcp_ipv4.c and udp.c, and of their like for IPv6. */
    text_put(text, "  sl  %s st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode%s\n",
             family == AF_INET ? "local_address rem_address  "
                               : "local_address                         remote_address         "
                                 "              ",
             protocol == IPPROTO_UDP ? " ref pointer drops" : "");
    /* More may come between the two visits; those are left out. */
    interface_sockets(family, protocol, collect_socket, &list);
    list.room = list.count;
    list.count = 0;
    list.sockets = kmalloc(MAX(list.room, 1u) * sizeof(*list.sockets));
    if (list.sockets == NULL) {
        return;
    }
    interface_sockets(family, protocol, collect_socket, &list);
    for (unsigned i = 0; i < MIN(list.count, list.room); i++) {
        const struct interface_socket *socket = &list.sockets[i];
        text_put(text, "%4u: ", i);
        put_address(text, family, socket->local, socket->local_port);
        put_address(text, family, socket->remote, socket->remote_port);
        text_put(text, "%02X %08X:%08X 00:00000000 00000000     0        0 %llu %s\n",
                 socket->state, socket->send_queue, socket->receive_queue, (ull)socket->inode,
                 protocol == IPPROTO_UDP ? "2 0000000000000000 0" : "1");
    }
    kfree(list.sockets);
}

static void show_tcp(struct text *text, long argument)
{
    (void)argument;
    show_sockets(text, AF_INET, IPPROTO_TCP);
}

static void show_tcp6(struct text *text, long argument)
{
    (void)argument;
    show_sockets(text, AF_INET6, IPPROTO_TCP);
}

static void show_udp(struct text *text, long argument)
{
    (void)argument;
    show_sockets(text, AF_INET, IPPROTO_UDP);
}

static void show_udp6(struct text *text, long argument)
{
    (void)argument;
    show_sockets(text, AF_INET6, IPPROTO_UDP);
}

/* The format of Linux's net/unix/af_unix.c. */
static void show_unix(struct text *text, long argument)
{
    unsigned room = unix_view_all(NULL, 0);
    struct unix_view *views = kmalloc(MAX(room, 1u) * sizeof(*views));
    (void)argument;
    text_put(text, "Num       RefCount Protocol Flags    Type St Inode Path\n");
    if (views == NULL) {
        return;
    }
    room = MIN(room, unix_view_all(views, room)); /* more may have come */
    for (unsigned i = 0; i < room; i++) {
        const struct unix_view *view = &views[i];
        text_put(text, "%016x: %08X 00000000 %08X %04X %02X %5llu", 0, view->references,
                 view->listening ? 1u << 16 : 0u, view->type, view->connected ? 3u : 1u,
                 (ull)view->inode);
        int length = view->length - (int)sizeof(view->name.family);
        const char *name = (const char *)view->name.bytes + sizeof(view->name.family);
        if (length > 0) {
            text_put(text, " ");
        }
        for (int at = 0; at < length && (at == 0 || name[0] == '\0' || name[at] != '\0'); at++) {
            text_put_bytes(text, name[at] == '\0' ? "@" : &name[at], 1); /* abstract */
        }
        text_put(text, "\n");
    }
    kfree(views);
}

/* --- name servers and /etc
 * -------------------------------------------------------------------------------------------- */

/* As Linux's own file of this name, the result of automatic configuration, in the form of
 * resolv.conf(5). */
static void show_name_servers(struct text *text, long argument)
{
    struct net_address address;
    char name[NET_ADDRESS_TEXT];
    (void)argument;
    for (unsigned i = 0; resolver_server(i, &address); i++) {
        text_put(text, "nameserver %s\n", net_address_format(&address, name));
    }
}

void net_make_files(void)
{
    char hosts[192];
    format(hosts, sizeof(hosts),
           "127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\n127.0.1.1\t%s\n",
           fs_host_name());
    /* What the root has stays; there is nothing to be done about one that cannot be changed. */
    (void)default_link("/etc/resolv.conf", "/proc/net/pnp");
    (void)default_file("/etc/hosts", hosts);
    (void)default_file("/etc/nsswitch.conf", "hosts:\tfiles dns\n");
    format(hosts, sizeof(hosts), "%s\n", fs_host_name());
    (void)default_file("/etc/hostname", hosts);
    /* Who the program runs as: servers ask os/user, which looks here. */
    (void)default_file("/etc/passwd", "root:x:0:0:root:/root:/bin/sh\n");
    (void)default_file("/etc/group", "root:x:0:\n");
}

static const struct proc_node net_files[] = {
    PROC_FILE("arp", show_arp),
    PROC_FILE("dev", show_devices),
    PROC_FILE("if_inet6", show_addresses6),
    PROC_FILE("igmp", show_groups),
    PROC_FILE("igmp6", show_groups6),
    PROC_FILE("netstat", net_show_netstat),
    {.name = "pnp",
     .mode = S_IFREG | 0444,
     .show = show_name_servers,
     .modified = resolver_changed},
    PROC_FILE("route", show_routes),
    PROC_FILE("snmp", net_show_snmp),
    PROC_FILE("snmp6", net_show_snmp6),
    PROC_FILE("sockstat", net_show_sockstat),
    PROC_FILE("sockstat6", net_show_sockstat6),
    PROC_FILE("softnet_stat", net_show_softnet),
    PROC_FILE("tcp", show_tcp),
    PROC_FILE("tcp6", show_tcp6),
    PROC_FILE("udp", show_udp),
    PROC_FILE("udp6", show_udp6),
    PROC_FILE("unix", show_unix),
};

const struct proc_node net_proc_directory = PROC_DIRECTORY("net", net_files);
