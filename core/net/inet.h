/* SPDX-License-Identifier: MIT */
/* Sockets of AF_INET and AF_INET6: what TCP (tcp.c) and datagrams (datagram.c) share. An address of
 * a socket is lwIP's ip_addr_t: IPv4 also for an AF_INET6 socket that uses a mapped address, and of
 * type IPADDR_TYPE_ANY for the wildcard of both. Guarded by the network lock but where it says
 * otherwise. */
#pragma once

#include "core/lib/list.h"
#include "core/net/socket.h"
#include "core/net/stack.h"
#include "lwip/err.h"

/* Options of the IP levels; each is a word of its own, read by anybody. */
struct inet_options {
    uint8_t tos, ttl; /* of IPv4, and the traffic class and hop limit of IPv6 */
    uint8_t multicast_ttl;
    bool multicast_loop, multicast_all;
    uint8_t multicast_interface;  /* index; 0: by the route */
    ip4_addr_t multicast_address; /* IP_MULTICAST_IF by address */
    uint8_t mtu_discover;
    bool v6_only, freebind, receive_error, header_included;
    bool dont_fragment, receive_path_mtu;              /* IPv6 */
    bool receive_pktinfo, receive_ttl, receive_tos;    /* control data with each datagram, IPv4 */
    bool receive_pktinfo6, receive_ttl6, receive_tos6; /* and IPv6 */
    bool receive_destination, receive_destination6;
};

/* A sender of a group's datagrams. */
struct inet_source {
    struct inet_source *next;
    ip_addr_t address;
};

struct inet_membership {
    struct inet_membership *next;
    ip_addr_t group;
    struct netif *netif;
    bool only;                   /* wanted is what `sources` send; else all that they do not */
    struct inet_source *sources; /* 64 at most */
};

struct inet_socket {
    struct socket socket;  /* first */
    struct list port_node; /* in the table of ports while local_port is the socket's own */
    ip_addr_t local, remote;
    uint16_t local_port, remote_port; /* host order; 0: not bound, not connected */
    struct inet_options options;
    struct inet_membership *memberships;
};

extern const struct socket_operations tcp_operations, datagram_operations;

int tcp_socket_create(int domain, int protocol, struct socket **out);
int udp_socket_create(int domain, int protocol, struct socket **out);
int icmp_socket_create(int domain, int protocol, struct socket **out);
int raw_socket_create(int domain, int protocol, struct socket **out);

/* Listens for ICMP's errors. */
void datagram_init(void);

/* Fills in what waits at a UDP socket, and its number. */
struct interface_socket;
struct udp_pcb;
void datagram_show_socket(const struct udp_pcb *pcb, struct interface_socket *out);

/* How many raw sockets the family has. Takes the lock. */
unsigned datagram_raw_sockets(int domain);

void inet_init(struct inet_socket *inet, const struct socket_operations *operations, int domain,
               int type, int protocol);

/* Registers both families. Before the program runs. */
void inet_register(void);

/* -errno for a result of lwIP's. */
int inet_error(err_t result);

/* An address as the program gave it. -EINVAL: too short. -EAFNOSUPPORT. No lock needed. */
int inet_address(const struct inet_socket *inet, const union socket_address *name, unsigned length,
                 ip_addr_t *ip, uint16_t *port);

/* And the other way: the length. */
int inet_name(const struct inet_socket *inet, union socket_address *name, const ip_addr_t *ip,
              uint16_t port);

/* The operation get_name; takes the lock. */
int inet_get_name(struct socket *socket, union socket_address *name, bool peer);

/* Binds to the address and port (0: one that is free). -EADDRINUSE, -EADDRNOTAVAIL, -EINVAL. */
int inet_bind(struct inet_socket *inet, const ip_addr_t *ip, uint16_t port);

/* Gives the port back. */
void inet_unbind(struct inet_socket *inet);

/* Prepares for a connection to (or a datagram for) `remote`: the netif by which it goes, and in
 * *local the address of this machine for it, unless the socket is bound to one. -ENETUNREACH,
 * -EINVAL. An unspecified remote address becomes this machine's. */
int inet_route(const struct inet_socket *inet, ip_addr_t *remote, ip_addr_t *local,
               struct netif **netif);

/* The largest packet that gets to `remote` in one piece by that netif, as far as is known: bytes.
 */
unsigned inet_path_mtu(const ip_addr_t *remote, struct netif *netif);

/* Whether this machine has the address, the loopback ones included. */
bool inet_is_own(const ip_addr_t *ip);

struct netif *inet_netif_by_index(int index);

/* A bound socket that `next` comes after (NULL: the first) with that port, for TCP or UDP. */
struct inet_socket *inet_next_bound(int protocol, uint16_t port, const struct inet_socket *after);

/* Whether others may get what comes for `inet`: lwIP knows one of those that share a port by
 * SO_REUSEPORT. */
static inline bool inet_may_share(const struct inet_socket *inet)
{
    return inet->socket.options.reuse_port && inet->remote_port == 0;
}

/* The socket that gets a connection, or a datagram, where inet_may_share. Which one depends on
 * `number`, equally distributed. */
struct inet_socket *inet_share(struct inet_socket *inet, uint32_t number);

/* Options of SOL_IP and SOL_IPV6; take the lock. -ENOPROTOOPT for another level. */
int inet_set_option(struct inet_socket *inet, int level, int name, const void *value, size_t size);
int inet_get_option(struct inet_socket *inet, int level, int name, void *value, size_t *size);

/* Whether the socket gets datagrams for a group that this machine is a member of: without
 * IP_MULTICAST_ALL only if the socket itself has joined it, and then not from senders that it does
 * not want. */
bool inet_wants_group(struct inet_socket *inet, const ip_addr_t *group, const struct netif *netif,
                      const ip_addr_t *source);

/* Leaves all groups. */
void inet_leave_all(struct inet_socket *inet);

/* The value of an option of at least 1 byte that is a number (a char is enough, as for Linux). */
int inet_option_number(const void *value, size_t size, int *number);

/* Stores a number as the value of an option. */
int inet_option_store(void *value, size_t *size, int number);
