/* SPDX-License-Identifier: MIT */
/* UDP sockets, ICMP datagram sockets ("ping" sockets, icmp(7)), raw sockets, and what becomes of
 * errors that ICMP and the search for neighbours report. Datagrams wait at their socket as the
 * pbufs that they came in. Guarded by the network lock but where a field says otherwise. */
#include <linux/errno.h>
#include <linux/in.h>
#include <linux/in6.h>
#include <linux/ipv6.h>

#include "core/lib/string.h"
#include "core/mm/kmalloc.h"
#include "core/net/filter.h"
#include "core/net/inet.h"
#include "core/net/interface.h"
#include "core/net/lwip/hooks.h"
#include "core/net/tcp.h"
#include "hal.h"
#include "lwip/icmp.h"
#include "lwip/icmp6.h"
#include "lwip/inet_chksum.h"
#include "lwip/ip.h"
#include "lwip/prot/icmp6.h"
#include "lwip/prot/tcp.h"
#include "lwip/prot/udp.h"
#include "lwip/raw.h"
#include "lwip/udp.h"

#define DATAGRAM_MAX 65507    /* bytes: 65535 less the headers of IPv4 and UDP */
#define DATAGRAM_OVERHEAD 256 /* what SO_RCVBUF counts beside the bytes */
#define ICMP_HEADER 8

struct datagram {
    struct datagram *next;
    struct pbuf *data;
    ip_addr_t from, to;
    uint16_t port; /* of the sender */
    uint8_t ttl, tos, interface;
};

struct datagram_socket {
    struct inet_socket inet; /* first */
    struct udp_pcb *udp;     /* one of the two */
    struct raw_pcb *raw;     /* ICMP datagrams, and SOCK_RAW */
    uint32_t filter[8];      /* bit per type of ICMP message that a raw socket does not get */
    struct socket_filter *packet_filter; /* SO_ATTACH_FILTER, or NULL */
    struct datagram *first, **end;
    uint32_t waiting; /* bytes with overhead; read by anybody */
    bool read_shut, write_shut;
    ip_addr_t too_far;        /* where something too large was sent */
    unsigned path_mtu_untold; /* and how large it may be; 0: nothing is to be told */
    struct list all_node;     /* in `all` */
};

static struct list all = LIST_INIT(all);
struct core_net_udp core_net_udp[2];

static struct datagram_socket *datagram_of(struct socket *socket)
{
    return (struct datagram_socket *)socket;
}

/* Whether it is an ICMP datagram socket. */
static bool is_ping(const struct datagram_socket *socket)
{
    return socket->udp == NULL && socket->inet.socket.type == SOCK_DGRAM;
}

static bool is_icmp(const struct datagram_socket *socket)
{
    return socket->inet.socket.protocol ==
           (socket->inet.socket.domain == AF_INET ? IPPROTO_ICMP : IPPROTO_ICMPV6);
}

/* --- receiving
 * ------------------------------------------------------------------------------------
 */

/* Asks the filter, which sees UDP's header as well, and cuts off what it does not want. */
static bool passes(const struct datagram_socket *socket, struct pbuf *data)
{
    if (socket->packet_filter == NULL) {
        return true;
    }
    uint32_t header = socket->udp != NULL ? UDP_HLEN : 0;
    struct filter_packet packet = {ip_next_header_ptr(), header, data};
    uint32_t keep = filter_run(socket->packet_filter, &packet);
    uint32_t rest = keep > header ? keep - header : 0;
    if (keep != 0 && rest < data->tot_len) {
        pbuf_realloc(data, (uint16_t)rest);
    }
    return keep != 0;
}

/* Queues a datagram; takes the pbuf over. */
static void queue(struct datagram_socket *socket, struct pbuf *data, const ip_addr_t *from,
                  uint16_t port)
{
    if (!passes(socket, data)) {
        pbuf_free(data);
        return;
    }
    uint32_t size = data->tot_len + DATAGRAM_OVERHEAD;
    struct datagram *datagram = NULL;
    if (socket->waiting + size <= socket->inet.socket.options.receive_buffer &&
        !net_memory_is_short()) {
        datagram = kmalloc(sizeof(*datagram));
    }
    bool v6 = ip_current_is_v6();
    if (datagram == NULL) {
        core_net_udp[v6].no_room += socket->udp != NULL;
        pbuf_free(data);
        return;
    }
    core_net_udp[v6].received += socket->udp != NULL;
    *datagram = (struct datagram){
        .data = data,
        .from = *from,
        .to = *ip_current_dest_addr(),
        .port = port,
        .ttl = v6 ? IP6H_HOPLIM(ip6_current_header()) : IPH_TTL(ip4_current_header()),
        .tos = v6 ? (uint8_t)IP6H_TC(ip6_current_header()) : IPH_TOS(ip4_current_header()),
        .interface = netif_get_index(ip_current_input_netif()),
    };
    *socket->end = datagram;
    socket->end = &datagram->next;
    __atomic_store_n(&socket->waiting, socket->waiting + size, __ATOMIC_RELAXED);
    socket_notify(&socket->inet.socket, POLLIN | POLLRDNORM);
}

static void udp_arrived(void *argument, struct udp_pcb *pcb, struct pbuf *data,
                        const ip_addr_t *from, uint16_t port)
{
    (void)pcb;
    struct inet_socket *inet = argument;
    const ip_addr_t *to = ip_current_dest_addr();
    if (!ip_addr_ismulticast(to) && !ip_addr_isbroadcast(to, ip_current_input_netif())) {
        if (inet_may_share(inet)) {
            inet = inet_share(inet, tcp_table_hash(from, port)); /* one flow, one socket */
        }
    } else if (!inet_wants_group(inet, to, ip_current_input_netif(), from)) {
        pbuf_free(data);
        return;
    }
    queue((struct datagram_socket *)inet, data, from, port);
}

/* An echo reply goes to the socket whose "port" is the identifier. */
static uint8_t echo_arrived(void *argument, struct raw_pcb *pcb, struct pbuf *packet,
                            const ip_addr_t *from)
{
    (void)pcb;
    struct datagram_socket *socket = argument;
    bool v6 = IP_IS_V6(from);
    uint16_t header = v6 ? IP6_HLEN : (uint16_t)(IPH_HL(ip4_current_header()) * 4);
    uint8_t echo[ICMP_HEADER];
    if (pbuf_copy_partial(packet, echo, sizeof(echo), header) != sizeof(echo) ||
        echo[0] != (v6 ? ICMP6_TYPE_EREP : ICMP_ER) ||
        (echo[4] << 8 | echo[5]) != socket->inet.local_port) {
        return 0;
    }
    struct pbuf *copy = pbuf_alloc(PBUF_RAW, (uint16_t)(packet->tot_len - header), PBUF_RAM);
    if (copy != NULL) {
        pbuf_copy_partial(packet, copy->payload, copy->tot_len, header);
        queue(socket, copy, from, 0);
    }
    return 0; /* lwIP and other sockets see it too */
}

/* Any packet of the protocol, for IPv4 with its header: raw(7). */
static uint8_t packet_arrived(void *argument, struct raw_pcb *pcb, struct pbuf *packet,
                              const ip_addr_t *from)
{
    (void)pcb;
    struct datagram_socket *socket = argument;
    uint16_t header = ip_current_header_tot_len();
    if (socket->inet.remote_port != 0 && !ip_addr_eq(from, &socket->inet.remote)) {
        return 0;
    }
    if (ip_addr_ismulticast(ip_current_dest_addr()) &&
        !inet_wants_group(&socket->inet, ip_current_dest_addr(), ip_current_input_netif(), from)) {
        return 0;
    }
    uint8_t type;
    if (is_icmp(socket) && pbuf_copy_partial(packet, &type, 1, header) == 1 &&
        (socket->filter[type / 32] >> type % 32 & 1) != 0) {
        return 0;
    }
    uint16_t skip = IP_IS_V6(from) ? header : 0;
    struct pbuf *copy = pbuf_alloc(PBUF_RAW, (uint16_t)(packet->tot_len - skip), PBUF_RAM);
    if (copy != NULL) {
        pbuf_copy_partial(packet, copy->payload, copy->tot_len, skip);
        queue(socket, copy, from, 0);
    }
    return 0; /* lwIP and other sockets see it too */
}

/* IP_ORIGDSTADDR: address and port that the datagram was sent to. */
static void put_destination(struct socket_message *message, const struct inet_socket *inet,
                            const struct datagram *datagram)
{
    union socket_address name;
    bool v4 = IP_IS_V4(&datagram->to);
    if (v4 ? inet->options.receive_destination : inet->options.receive_destination6) {
        int length = inet_name(inet, &name, &datagram->to, inet->local_port);
        control_put(message, v4 ? IPPROTO_IP : IPPROTO_IPV6, v4 ? IP_ORIGDSTADDR : IPV6_ORIGDSTADDR,
                    &name, (size_t)length);
    }
}

static void put_control(struct socket_message *message, const struct inet_socket *inet,
                        const struct datagram *datagram)
{
    const struct inet_options *options = &inet->options;
    int number;
    if (IP_IS_V4(&datagram->to)) {
        if (options->receive_pktinfo) {
            struct in_pktinfo info = {.ipi_ifindex = datagram->interface,
                                      .ipi_spec_dst.s_addr = ip_2_ip4(&datagram->to)->addr,
                                      .ipi_addr.s_addr = ip_2_ip4(&datagram->to)->addr};
            control_put(message, IPPROTO_IP, IP_PKTINFO, &info, sizeof(info));
        }
        if (options->receive_ttl) {
            number = datagram->ttl;
            control_put(message, IPPROTO_IP, IP_TTL, &number, sizeof(number));
        }
        if (options->receive_tos) {
            control_put(message, IPPROTO_IP, IP_TOS, &datagram->tos, 1);
        }
    }
    if (options->receive_pktinfo6) {
        struct in6_pktinfo info = {.ipi6_ifindex = datagram->interface};
        if (IP_IS_V6(&datagram->to)) {
            memcpy(&info.ipi6_addr, ip_2_ip6(&datagram->to)->addr, 16);
        } else {
            uint32_t mapped[4] = {0, 0, PP_HTONL(0xffff), ip_2_ip4(&datagram->to)->addr};
            memcpy(&info.ipi6_addr, mapped, 16);
        }
        control_put(message, IPPROTO_IPV6, IPV6_PKTINFO, &info, sizeof(info));
    }
    if (options->receive_ttl6) {
        number = datagram->ttl;
        control_put(message, IPPROTO_IPV6, IPV6_HOPLIMIT, &number, sizeof(number));
    }
    if (options->receive_tos6) {
        number = datagram->tos;
        control_put(message, IPPROTO_IPV6, IPV6_TCLASS, &number, sizeof(number));
    }
    put_destination(message, inet, datagram);
}

static void unlink_first(struct datagram_socket *socket)
{
    struct datagram *datagram = socket->first;
    socket->first = datagram->next;
    if (socket->first == NULL) {
        socket->end = &socket->first;
    }
    __atomic_store_n(&socket->waiting,
                     socket->waiting - (datagram->data->tot_len + DATAGRAM_OVERHEAD),
                     __ATOMIC_RELAXED);
}

/* IPV6_RECVPATHMTU: a message without bytes tells what size would have got through (RFC 3542,
 * 11.3). False: there is nothing to tell. */
static bool tell_path_mtu(struct datagram_socket *socket, struct socket_message *message)
{
    struct ip6_mtuinfo info = {0};
    union socket_address name;
    net_lock();
    info.ip6m_mtu = socket->path_mtu_untold;
    socket->path_mtu_untold = 0;
    int length = inet_name(&socket->inet, &name, &socket->too_far, 0);
    net_unlock();
    if (info.ip6m_mtu == 0) {
        return false;
    }
    memcpy(&info.ip6m_addr, &name, LWIP_MIN((size_t)length, sizeof(info.ip6m_addr)));
    message->name = name;
    message->name_length = (unsigned)length;
    control_put(message, IPPROTO_IPV6, IPV6_PATHMTU, &info, sizeof(info));
    return true;
}

static long datagram_receive(struct socket *base, struct socket_message *message)
{
    struct datagram_socket *socket = datagram_of(base);
    if ((message->flags & (MSG_OOB | MSG_ERRQUEUE)) != 0) {
        return (message->flags & MSG_OOB) != 0 ? -EOPNOTSUPP : -EAGAIN;
    }
    int error = socket_take_error(base);
    if (error != 0) {
        return error;
    }
    if (socket->path_mtu_untold != 0 && tell_path_mtu(socket, message)) {
        return 0;
    }
    bool peek = (message->flags & MSG_PEEK) != 0;
    net_lock();
    struct datagram *datagram = socket->first;
    struct datagram peeked;
    if (datagram != NULL && peek) {
        peeked = *datagram;
        pbuf_ref(peeked.data);
        datagram = &peeked;
    } else if (datagram != NULL) {
        unlink_first(socket);
    }
    net_unlock();
    if (datagram == NULL) {
        return socket->read_shut ? 0 : -EAGAIN;
    }
    size_t length = datagram->data->tot_len;
    size_t left = LWIP_MIN(length, message->io.remaining);
    long result = (long)((message->flags & MSG_TRUNC) != 0 ? length : left);
    if (left < length) {
        message->result_flags |= MSG_TRUNC;
    }
    for (const struct pbuf *piece = datagram->data; piece != NULL && left != 0;
         piece = piece->next) {
        size_t part = LWIP_MIN(left, piece->len);
        error = io_copy_to(&message->io, piece->payload, part);
        if (error != 0) {
            result = error;
            break;
        }
        left -= part;
    }
    if (result >= 0) {
        message->name_length =
            (unsigned)inet_name(&socket->inet, &message->name, &datagram->from, datagram->port);
        put_control(message, &socket->inet, datagram);
    }
    net_lock(); /* others may peek at the same pbuf */
    pbuf_free(datagram->data);
    net_unlock();
    if (!peek) {
        kfree(datagram);
    }
    return result;
}

/* --- sending
 * --------------------------------------------------------------------------------------
 */

/* What goes with one datagram. */
struct sending {
    ip_addr_t remote, local;
    uint16_t port;
    uint8_t ttl, tos;
    int interface; /* 0: by the route */
    bool has_local;
};

static int read_control(const struct socket_message *message, struct sending *sending)
{
    int error = 0;
    const struct control_header *at = NULL;
    while ((at = control_next(message, at, &error)) != NULL) {
        const void *data = at + 1;
        size_t size = at->length - sizeof(*at);
        int number = 0;
        if (at->level == IPPROTO_IP && at->type == IP_PKTINFO &&
            size >= sizeof(struct in_pktinfo)) {
            struct in_pktinfo info;
            memcpy(&info, data, sizeof(info));
            sending->interface = info.ipi_ifindex;
            if (info.ipi_spec_dst.s_addr != 0) {
                ip_addr_set_ip4_u32_val(sending->local, info.ipi_spec_dst.s_addr);
                sending->has_local = true;
            }
        } else if (at->level == IPPROTO_IPV6 && at->type == IPV6_PKTINFO &&
                   size >= sizeof(struct in6_pktinfo)) {
            struct in6_pktinfo info;
            memcpy(&info, data, sizeof(info));
            sending->interface = info.ipi6_ifindex;
            ip6_addr_t address = {0};
            memcpy(address.addr, &info.ipi6_addr, 16);
            if (ip6_addr_isipv4mappedipv6(&address)) {
                ip_addr_set_ip4_u32_val(sending->local, address.addr[3]);
                sending->has_local = true;
            } else if (!ip6_addr_isany(&address)) {
                ip_addr_copy_from_ip6(sending->local, address);
                sending->has_local = true;
            }
        } else if ((at->level == IPPROTO_IP && (at->type == IP_TTL || at->type == IP_TOS)) ||
                   (at->level == IPPROTO_IPV6 &&
                    (at->type == IPV6_HOPLIMIT || at->type == IPV6_TCLASS))) {
            if (inet_option_number(data, size, &number) != 0 || number < 0 || number > 255) {
                return -EINVAL;
            }
            bool ttl = (at->level == IPPROTO_IP && at->type == IP_TTL) ||
                       (at->level == IPPROTO_IPV6 && at->type == IPV6_HOPLIMIT);
            *(ttl ? &sending->ttl : &sending->tos) = (uint8_t)number;
        }
    }
    return error;
}

/* Fills in the addresses and checks that the datagram may go; the netif it goes by. */
static int find_way(struct datagram_socket *socket, struct sending *sending, struct netif **netif)
{
    struct inet_socket *inet = &socket->inet;
    ip_addr_t local;
    int error = inet_route(inet, &sending->remote, &local, netif);
    if (error != 0) {
        return error;
    }
    if (sending->interface != 0) {
        *netif = inet_netif_by_index(sending->interface);
        if (*netif == NULL) {
            return -ENODEV;
        }
        const ip_addr_t *source = ip_netif_get_local_ip(*netif, &sending->remote);
        if (source != NULL && ip_addr_isany(&inet->local)) {
            local = *source;
        }
    }
    if (!sending->has_local || IP_IS_V4(&sending->local) != IP_IS_V4(&sending->remote)) {
        sending->local = local;
    } else if (!inet_is_own(&sending->local)) {
        return -EINVAL;
    }
    if (ip_addr_ismulticast(&sending->local)) { /* bound to a group: it is no source */
        const ip_addr_t *source = ip_netif_get_local_ip(*netif, &sending->remote);
        if (source == NULL) {
            return -ENETUNREACH;
        }
        sending->local = *source;
    }
    if (IP_IS_V4(&sending->remote) && !inet->socket.options.broadcast &&
        ip4_addr_isbroadcast(ip_2_ip4(&sending->remote), *netif)) {
        return -EACCES;
    }
    return 0;
}

static int ensure_port(struct datagram_socket *socket)
{
    struct inet_socket *inet = &socket->inet;
    if (inet->local_port != 0) {
        return 0;
    }
    int error = inet_bind(inet, &inet->local, 0);
    if (error == 0 && socket->udp != NULL) {
        error = inet_error(udp_bind(socket->udp, &inet->local, inet->local_port));
    }
    return error;
}

/* The header of an echo request gets the socket's identifier and its checksum. */
static void complete_echo(const struct datagram_socket *socket, struct pbuf *packet)
{
    uint8_t *echo = packet->payload;
    echo[4] = (uint8_t)(socket->inet.local_port >> 8);
    echo[5] = (uint8_t)socket->inet.local_port;
    echo[2] = echo[3] = 0;
    if (socket->inet.socket.domain == AF_INET) { /* lwIP makes that of ICMPv6 */
        uint16_t sum = inet_chksum(packet->payload, packet->len);
        memcpy(echo + 2, &sum, 2);
    }
}

/* The program has made the header; what it may leave to the kernel is filled in (raw(7)). */
static int complete_header(struct pbuf *packet, const struct sending *sending)
{
    struct ip_hdr *header = packet->payload;
    if (packet->len < IP_HLEN || IPH_HL_BYTES(header) < IP_HLEN ||
        IPH_HL_BYTES(header) > packet->len) {
        return -EINVAL;
    }
    if (header->src.addr == 0) {
        header->src.addr = ip_2_ip4(&sending->local)->addr;
    }
    if (header->_id == 0) {
        IPH_ID_SET(header, (uint16_t)core_net_random());
    }
    IPH_LEN_SET(header, lwip_htons(packet->len));
    IPH_CHKSUM_SET(header, 0);
    IPH_CHKSUM_SET(header, inet_chksum(header, IPH_HL_BYTES(header)));
    return 0;
}

static int send_raw(struct datagram_socket *socket, const struct sending *sending,
                    struct pbuf *packet, struct netif *netif, bool loop)
{
    struct raw_pcb *pcb = socket->raw;
    bool group = ip_addr_ismulticast(&sending->remote);
    pcb->ttl = sending->ttl;
    pcb->mcast_ttl = socket->inet.options.multicast_ttl;
    pcb->tos = sending->tos;
    raw_clear_flags(pcb, RAW_FLAGS_MULTICAST_LOOP | RAW_FLAGS_HDRINCL);
    if (group && loop) {
        raw_set_flags(pcb, RAW_FLAGS_MULTICAST_LOOP);
    }
    if (is_ping(socket)) {
        complete_echo(socket, packet);
    } else if (socket->inet.options.header_included && IP_IS_V4(&sending->remote)) {
        int error = complete_header(packet, sending);
        if (error != 0) {
            return error;
        }
        raw_set_flags(pcb, RAW_FLAGS_HDRINCL);
    } else if (pcb->chksum_reqd && packet->len < pcb->chksum_offset + 2) {
        return -EINVAL;
    }
    return inet_error(raw_sendto_if_src(pcb, packet, &sending->remote, netif, &sending->local));
}

/* -EMSGSIZE for what would go in pieces when the socket does not want that, and for an IPv6
 * datagram that is too large for lwIP with its header: more than 65487 bytes of UDP, 65527 on
 * Linux. */
static int check_size(struct datagram_socket *socket, const struct sending *sending,
                      const struct pbuf *packet, struct netif *netif)
{
    const struct inet_options *options = &socket->inet.options;
    bool v6 = IP_IS_V6(&sending->remote);
    bool whole = options->mtu_discover == IP_PMTUDISC_DO ||
                 options->mtu_discover == IP_PMTUDISC_PROBE || (v6 && options->dont_fragment);
    unsigned headers =
        (socket->udp != NULL ? UDP_HLEN : 0) + (v6                         ? IP6_HLEN
                                                : options->header_included ? 0
                                                                           : IP_HLEN);
    unsigned mtu = whole ? inet_path_mtu(&sending->remote, netif) : UINT16_MAX;
    if (packet->tot_len + headers <= mtu) {
        return 0;
    }
    if (v6 && options->receive_path_mtu) {
        socket->too_far = sending->remote;
        socket->path_mtu_untold = mtu;
    }
    return -EMSGSIZE;
}

static int send_locked(struct datagram_socket *socket, struct sending *sending, struct pbuf *packet)
{
    struct inet_socket *inet = &socket->inet;
    struct netif *netif;
    if (socket->write_shut) {
        return -EPIPE;
    }
    int error = socket_take_error(&inet->socket);
    if (error == 0 && net_device_congested()) {
        error = -EAGAIN;
    }
    if (error == 0) {
        error = ensure_port(socket);
    }
    if (error == 0) {
        error = find_way(socket, sending, &netif);
    }
    if (error == 0) {
        error = check_size(socket, sending, packet, netif);
    }
    if (error != 0) {
        return error;
    }
    /* Loopback brings it back anyway. */
    bool loop = inet->options.multicast_loop && net_interface_of(netif) != NULL;
    if (socket->udp == NULL) {
        return send_raw(socket, sending, packet, netif, loop);
    }
    struct udp_pcb *pcb = socket->udp;
    pcb->ttl = sending->ttl;
    pcb->tos = sending->tos;
    pcb->mcast_ttl = inet->options.multicast_ttl;
    if (loop && ip_addr_ismulticast(&sending->remote)) {
        udp_set_flags(pcb, UDP_FLAGS_MULTICAST_LOOP);
    } else {
        udp_clear_flags(pcb, UDP_FLAGS_MULTICAST_LOOP);
    }
    err_t result =
        udp_sendto_if_src(pcb, packet, &sending->remote, sending->port, netif, &sending->local);
    core_net_udp[IP_IS_V6(&sending->remote)].sent += result == ERR_OK;
    return inet_error(result);
}

static long datagram_send(struct socket *base, struct socket_message *message)
{
    struct datagram_socket *socket = datagram_of(base);
    struct inet_socket *inet = &socket->inet;
    struct sending sending = {.ttl = inet->options.ttl, .tos = inet->options.tos};
    int error = 0;
    if ((message->flags & MSG_OOB) != 0) {
        return -EOPNOTSUPP;
    }
    if (message->name_length != 0) {
        error = inet_address(inet, &message->name, message->name_length, &sending.remote,
                             &sending.port);
        if (error == 0 && sending.port == 0 && socket->udp != NULL) {
            error = -EINVAL;
        }
    } else if (inet->remote_port == 0) {
        error = -EDESTADDRREQ;
    } else {
        sending.remote = inet->remote;
        sending.port = inet->remote_port;
    }
    size_t length = message->io.remaining;
    if (error == 0 && length > DATAGRAM_MAX) {
        error = -EMSGSIZE;
    }
    if (error == 0 && is_ping(socket) && length < ICMP_HEADER) {
        error = -EINVAL;
    }
    if (error == 0) {
        error = read_control(message, &sending);
    }
    if (error != 0) {
        return error;
    }
    struct pbuf *packet =
        pbuf_alloc(socket->udp != NULL ? PBUF_TRANSPORT : PBUF_IP, (uint16_t)length, PBUF_RAM);
    if (packet == NULL) {
        return -ENOBUFS;
    }
    error = io_copy_from(&message->io, packet->payload, length);
    if (error == 0 && is_ping(socket) &&
        *(uint8_t *)packet->payload !=
            (inet->socket.domain == AF_INET ? ICMP_ECHO : ICMP6_TYPE_EREQ)) {
        error = -EINVAL;
    }
    net_lock();
    if (error == 0) {
        error = send_locked(socket, &sending, packet);
    }
    pbuf_free(packet); /* a device may have it still */
    net_unlock();
    return error != 0 ? error : (long)length;
}

void net_backlog_gone(void)
{
    list_for_each (node, &all) {
        struct datagram_socket *socket = list_entry(node, struct datagram_socket, all_node);
        socket_notify(&socket->inet.socket, POLLOUT | POLLWRNORM);
    }
}

/* --- names
 * ----------------------------------------------------------------------------------------
 */

static int datagram_bind(struct socket *base, const union socket_address *name, unsigned length)
{
    struct datagram_socket *socket = datagram_of(base);
    ip_addr_t ip;
    uint16_t port;
    int error = inet_address(&socket->inet, name, length, &ip, &port);
    if (error != 0) {
        return error;
    }
    net_lock();
    error = inet_bind(&socket->inet, &ip, port);
    if (error == 0 && socket->udp != NULL) {
        error = inet_error(udp_bind(socket->udp, &ip, socket->inet.local_port));
        struct netif *netif = inet_netif_by_index(base->options.bound_device);
        udp_bind_netif(socket->udp, netif);
    } else if (error == 0 && base->type == SOCK_RAW) {
        socket->raw->local_ip = ip;
    }
    net_unlock();
    return error;
}

static void disconnect(struct datagram_socket *socket)
{
    socket->inet.remote_port = 0;
    if (socket->udp != NULL) {
        udp_disconnect(socket->udp);
    }
}

static int datagram_connect(struct socket *base, const union socket_address *name, unsigned length)
{
    struct datagram_socket *socket = datagram_of(base);
    struct inet_socket *inet = &socket->inet;
    if (length >= sizeof(name->family) && name->family == AF_UNSPEC) {
        net_lock();
        disconnect(socket);
        net_unlock();
        return 0;
    }
    struct sending sending = {0};
    int error = inet_address(inet, name, length, &sending.remote, &sending.port);
    if (error != 0) {
        return error;
    }
    net_lock();
    struct netif *netif;
    error = find_way(socket, &sending, &netif);
    if (error == 0) {
        error = ensure_port(socket);
    }
    if (error == 0) {
        if (ip_addr_isany(&inet->local)) {
            inet->local = sending.local;
        }
        inet->remote = sending.remote;
        inet->remote_port = sending.port != 0 ? sending.port : 1; /* an echo has no port */
        if (socket->udp != NULL) {
            socket->udp->local_ip = inet->local;
            error = inet_error(udp_connect(socket->udp, &inet->remote, sending.port));
        }
    }
    net_unlock();
    return error;
}

/* --- the rest
 * -------------------------------------------------------------------------------------
 */

static uint32_t datagram_poll(struct socket *base)
{
    const struct datagram_socket *socket = datagram_of(base);
    uint32_t events = __atomic_load_n(&base->error, __ATOMIC_RELAXED) != 0 ? POLLERR : 0;
    if (socket->read_shut) {
        events |= POLLIN | POLLRDNORM | POLLRDHUP | (socket->write_shut ? POLLHUP : 0);
    }
    if (__atomic_load_n(&socket->waiting, __ATOMIC_RELAXED) != 0) {
        events |= POLLIN | POLLRDNORM;
    }
    if (!net_device_congested()) {
        events |= POLLOUT | POLLWRNORM;
    }
    return events;
}

static int datagram_shutdown(struct socket *base, int how)
{
    struct datagram_socket *socket = datagram_of(base);
    if (socket->inet.remote_port == 0) {
        return -ENOTCONN;
    }
    net_lock();
    socket->read_shut |= how != SHUT_WR;
    socket->write_shut |= how != SHUT_RD;
    net_unlock();
    socket_notify(base, POLLIN | POLLRDNORM | POLLRDHUP | POLLOUT | POLLWRNORM |
                            (socket->read_shut && socket->write_shut ? (uint32_t)POLLHUP : 0));
    return 0;
}

/* Options of raw sockets: icmp(7), RFC 3542, 3.1 and 3.2. */
enum {
    LEVEL_RAW = 255,
    ICMP_FILTER = 1,
    ICMPV6_FILTER = 1,
};

static bool is_filter(const struct datagram_socket *socket, int level, int name)
{
    bool v4 = socket->inet.socket.domain == AF_INET;
    return socket->inet.socket.type == SOCK_RAW && is_icmp(socket) &&
           (v4 ? level == LEVEL_RAW && name == ICMP_FILTER
               : level == IPPROTO_ICMPV6 && name == ICMPV6_FILTER);
}

static bool is_checksum(const struct datagram_socket *socket, int level, int name)
{
    return socket->inet.socket.type == SOCK_RAW && socket->inet.socket.domain == AF_INET6 &&
           (level == IPPROTO_IPV6 || level == LEVEL_RAW) && name == IPV6_CHECKSUM;
}

static int set_checksum(struct datagram_socket *socket, const void *value, size_t size)
{
    int offset;
    int error = inet_option_number(value, size, &offset);
    if (error != 0 || is_icmp(socket) || offset > UINT8_MAX || (offset > 0 && offset % 2 != 0)) {
        return -EINVAL; /* of ICMPv6 it is always made */
    }
    net_lock();
    socket->raw->chksum_reqd = offset >= 0;
    socket->raw->chksum_offset = offset >= 0 ? (uint8_t)offset : 0;
    net_unlock();
    return 0;
}

static int set_packet_filter(struct datagram_socket *socket, int name, const void *value,
                             size_t size)
{
    struct socket_filter *filter = NULL;
    int error = name == SO_ATTACH_FILTER ? filter_create(value, size, &filter) : 0;
    if (error != 0) {
        return error;
    }
    net_lock();
    struct socket_filter *old = socket->packet_filter;
    socket->packet_filter = filter;
    net_unlock();
    kfree(old);
    return name == SO_DETACH_FILTER && old == NULL ? -ENOENT : 0;
}

static int datagram_set_option(struct socket *base, int level, int name, const void *value,
                               size_t size)
{
    struct datagram_socket *socket = datagram_of(base);
    if (level == SOL_SOCKET && (name == SO_ATTACH_FILTER || name == SO_DETACH_FILTER)) {
        return set_packet_filter(socket, name, value, size);
    }
    if (is_filter(socket, level, name)) {
        memcpy(socket->filter, value, LWIP_MIN(size, sizeof(socket->filter)));
        return 0;
    }
    if (is_checksum(socket, level, name)) {
        return set_checksum(socket, value, size);
    }
    return inet_set_option(&socket->inet, level, name, value, size);
}

static int datagram_get_option(struct socket *base, int level, int name, void *value, size_t *size)
{
    struct datagram_socket *socket = datagram_of(base);
    if (is_filter(socket, level, name)) {
        *size = LWIP_MIN(*size, base->domain == AF_INET ? sizeof(socket->filter[0])
                                                        : sizeof(socket->filter));
        memcpy(value, socket->filter, *size);
        return 0;
    }
    if (is_checksum(socket, level, name)) {
        return inet_option_store(value, size,
                                 socket->raw->chksum_reqd ? socket->raw->chksum_offset : -1);
    }
    return inet_get_option(&socket->inet, level, name, value, size);
}

static void datagram_release(struct socket *base)
{
    struct datagram_socket *socket = datagram_of(base);
    net_lock();
    if (socket->udp != NULL) {
        udp_remove(socket->udp);
    } else {
        raw_remove(socket->raw);
    }
    inet_leave_all(&socket->inet);
    inet_unbind(&socket->inet);
    list_remove(&socket->all_node);
    while (socket->first != NULL) {
        struct datagram *datagram = socket->first;
        unlink_first(socket);
        pbuf_free(datagram->data);
        kfree(datagram);
    }
    net_unlock();
    kfree(socket->packet_filter);
    kfree(socket);
}

const struct socket_operations datagram_operations = {
    .bind = datagram_bind,
    .connect = datagram_connect,
    .get_name = inet_get_name,
    .send = datagram_send,
    .receive = datagram_receive,
    .shutdown = datagram_shutdown,
    .set_option = datagram_set_option,
    .get_option = datagram_get_option,
    .poll = datagram_poll,
    .release = datagram_release,
};

static int create(int domain, int type, int protocol, struct socket **out)
{
    bool udp = protocol == IPPROTO_UDP && type == SOCK_DGRAM;
    struct datagram_socket *socket = kzalloc(sizeof(*socket));
    if (socket == NULL) {
        return -ENOMEM;
    }
    inet_init(&socket->inet, &datagram_operations, domain, type, protocol);
    socket->inet.options.header_included = type == SOCK_RAW && protocol == IPPROTO_RAW;
    socket->end = &socket->first;
    net_lock();
    bool made;
    if (udp) {
        socket->udp = udp_new_ip_type(domain == AF_INET ? IPADDR_TYPE_V4 : IPADDR_TYPE_ANY);
        made = socket->udp != NULL;
    } else {
        socket->raw =
            raw_new_ip_type(domain == AF_INET ? IPADDR_TYPE_V4 : IPADDR_TYPE_V6, (uint8_t)protocol);
        made = socket->raw != NULL;
    }
    if (made) {
        list_push_back(&all, &socket->all_node);
    }
    if (made && udp) {
        /* Who may share a port is decided in inet_bind, and who may broadcast in find_way. */
        ip_set_option(socket->udp, SOF_REUSEADDR | SOF_BROADCAST);
        udp_recv(socket->udp, udp_arrived, socket);
    } else if (made) {
        ip_set_option(socket->raw, SOF_BROADCAST);
        raw_recv(socket->raw, type == SOCK_RAW ? packet_arrived : echo_arrived, socket);
        if (protocol == IPPROTO_ICMPV6) {
            socket->raw->chksum_reqd = 1; /* RFC 3542, 3.1 */
            socket->raw->chksum_offset = 2;
        }
    }
    net_unlock();
    if (!made) {
        kfree(socket);
        return -ENOBUFS;
    }
    *out = &socket->inet.socket;
    return 0;
}

void datagram_show_socket(const struct udp_pcb *pcb, struct interface_socket *out)
{
    if (pcb->recv == udp_arrived) { /* else it is lwIP's own */
        const struct datagram_socket *socket = pcb->recv_arg;
        out->inode = socket_inode_number(&socket->inet.socket);
        out->receive_queue = socket->waiting;
    }
}

unsigned datagram_raw_sockets(int domain)
{
    unsigned count = 0;
    net_lock();
    list_for_each (node, &all) {
        const struct datagram_socket *socket = list_entry(node, struct datagram_socket, all_node);
        count += socket->inet.socket.type == SOCK_RAW && socket->inet.socket.domain == domain;
    }
    net_unlock();
    return count;
}

int udp_socket_create(int domain, int protocol, struct socket **out)
{
    return create(domain, SOCK_DGRAM, protocol, out);
}

int icmp_socket_create(int domain, int protocol, struct socket **out)
{
    return create(domain, SOCK_DGRAM, protocol, out);
}

int raw_socket_create(int domain, int protocol, struct socket **out)
{
    return create(domain, SOCK_RAW, protocol, out);
}

/* --- packets that did not arrive
 * ---------------------------------------------------------------------
 */

/* What destination unreachable means (RFC 792; RFC 4443, 3.1). `fatal`: a datagram socket is told
 * even if it has not asked for errors by IP_RECVERR, as for Linux. */
struct unreachable {
    uint8_t number; /* errno; 0: nobody is told */
    bool fatal;
};

static struct unreachable unreachable_error(bool v6, uint8_t code)
{
    static const struct unreachable v4_errors[] = {
        {ENETUNREACH, false}, {EHOSTUNREACH, false}, {ENOPROTOOPT, true}, {ECONNREFUSED, true}};
    static const struct unreachable v6_errors[] = {{ENETUNREACH, false},
                                                   {EACCES, true},
                                                   {EHOSTUNREACH, false},
                                                   {EHOSTUNREACH, false},
                                                   {ECONNREFUSED, true}};
    static const struct unreachable prohibited = {EHOSTUNREACH, true}, none = {0, false};
    if (v6) {
        return code < sizeof(v6_errors) / sizeof(v6_errors[0]) ? v6_errors[code] : none;
    }
    return code < sizeof(v4_errors) / sizeof(v4_errors[0]) ? v4_errors[code]
           : code >= 9 && code <= 13                       ? prohibited
                                                           : none;
}

/* A packet of ours that did not arrive, by its first bytes: whose it was. */
struct undelivered {
    uint8_t protocol;
    ip_addr_t local, remote;
    uint16_t local_port, remote_port;
};

/* False: there is not enough of it. */
static bool read_undelivered(const uint8_t *bytes, unsigned size, bool v6, struct netif *netif,
                             struct undelivered *packet)
{
    *packet = (struct undelivered){0};
    if (size < (v6 ? IP6_HLEN : IP_HLEN)) {
        return false;
    }
    unsigned ports = v6 ? IP6_HLEN : (bytes[0] & 15) * 4u;
    if (ports + 4 > size) {
        return false;
    }
    if (v6) {
        memcpy(ip_2_ip6(&packet->local)->addr, bytes + 8, 16);
        memcpy(ip_2_ip6(&packet->remote)->addr, bytes + 24, 16);
        IP_SET_TYPE_VAL(packet->local, IPADDR_TYPE_V6);
        IP_SET_TYPE_VAL(packet->remote, IPADDR_TYPE_V6);
        ip6_addr_assign_zone(ip_2_ip6(&packet->local), IP6_UNKNOWN, netif);
        ip6_addr_assign_zone(ip_2_ip6(&packet->remote), IP6_UNKNOWN, netif);
    } else {
        memcpy(&ip_2_ip4(&packet->local)->addr, bytes + 12, 4);
        memcpy(&ip_2_ip4(&packet->remote)->addr, bytes + 16, 4);
    }
    packet->protocol = bytes[v6 ? 6 : 9];
    packet->local_port = (uint16_t)(bytes[ports] << 8 | bytes[ports + 1]);
    packet->remote_port = (uint16_t)(bytes[ports + 2] << 8 | bytes[ports + 3]);
    return true;
}

static void report_undelivered(const struct undelivered *packet, struct unreachable error)
{
    if (packet->protocol == IP_PROTO_TCP) {
        tcp_unreachable(&packet->local, packet->local_port, &packet->remote, packet->remote_port,
                        error.number);
    } else if (packet->protocol == IP_PROTO_UDP) {
        struct inet_socket *inet = NULL;
        while ((inet = inet_next_bound(IPPROTO_UDP, packet->local_port, inet)) != NULL) {
            if (inet->remote_port == packet->remote_port &&
                ip_addr_eq(&inet->remote, &packet->remote) &&
                (error.fatal || inet->options.receive_error)) {
                socket_set_error(&inet->socket, error.number);
                socket_notify(&inet->socket, POLLERR | POLLIN | POLLOUT);
            }
        }
    }
}

void core_net_no_neighbour(const struct pbuf *packet)
{
    uint8_t bytes[60 + 8];
    uint16_t size = pbuf_copy_partial(packet, bytes, sizeof(bytes), 0);
    struct undelivered undelivered;
    bool v6 = size != 0 && bytes[0] >> 4 == 6;
    if (read_undelivered(bytes, size, v6, netif_default, &undelivered)) {
        report_undelivered(&undelivered, (struct unreachable){EHOSTUNREACH, false});
    }
}

/* The packet that could not be delivered follows the ICMP header: our own, if nobody lies. */
static uint8_t error_arrived(void *argument, struct raw_pcb *pcb, struct pbuf *packet,
                             const ip_addr_t *from)
{
    (void)argument;
    (void)pcb;
    uint8_t bytes[60 + ICMP_HEADER + 60 + 8];
    uint16_t size = pbuf_copy_partial(packet, bytes, sizeof(bytes), 0);
    bool v6 = IP_IS_V6(from);
    const uint8_t *icmp = bytes + (v6 ? IP6_HLEN : IPH_HL(ip4_current_header()) * 4u);
    const uint8_t *inner = icmp + ICMP_HEADER;
    struct undelivered undelivered;
    if (inner > bytes + size || !read_undelivered(inner, (unsigned)(bytes + size - inner), v6,
                                                  ip_current_input_netif(), &undelivered)) {
        return 0;
    }
    if (v6 && icmp[0] == ICMP6_TYPE_PTB && undelivered.protocol == IP_PROTO_TCP) {
        tcp_too_big(&undelivered.local, undelivered.local_port, &undelivered.remote,
                    undelivered.remote_port,
                    (uint32_t)icmp[4] << 24 | (uint32_t)icmp[5] << 16 | (uint32_t)icmp[6] << 8 |
                        icmp[7]);
    } else if (icmp[0] == (v6 ? ICMP6_TYPE_DUR : ICMP_DUR)) {
        struct unreachable error = unreachable_error(v6, icmp[1]);
        if (error.number != 0) {
            report_undelivered(&undelivered, error);
        }
    }
    return 0;
}

void datagram_init(void)
{
    struct raw_pcb *v4 = raw_new_ip_type(IPADDR_TYPE_V4, IP_PROTO_ICMP);
    struct raw_pcb *v6 = raw_new_ip_type(IPADDR_TYPE_V6, IP6_NEXTH_ICMP6);
    if (v4 != NULL) {
        raw_recv(v4, error_arrived, NULL);
    }
    if (v6 != NULL) {
        raw_recv(v6, error_arrived, NULL);
    }
}
