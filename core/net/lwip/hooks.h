/* SPDX-License-Identifier: MIT */
/* Where lwIP calls core/net: its own hooks, and those that lwip.patch adds. Network lock held. */
#pragma once

#include <stdint.h>

struct ip_addr;
struct netif;
struct pbuf;
struct tcp_hdr;
struct tcp_pcb;

/* Connections by hash instead of by a walk of the list (tcp_table.c): the connection that the
 * segment belongs to, or NULL. */
struct tcp_pcb *core_net_lookup_active(const struct tcp_hdr *header);
struct tcp_pcb *core_net_lookup_time_wait(const struct tcp_hdr *header);
#define LWIP_TCP_LOOKUP_ACTIVE(header) core_net_lookup_active(header)
#define LWIP_TCP_LOOKUP_TIME_WAIT(header) core_net_lookup_time_wait(header)

/* Segments larger than the MSS, for a device that cuts them (tcp_segment.c): the most bytes that
 * one may have when `length` more are written, not less than the MSS; cutting the first unsent one
 * when only a part of it may go out yet; and a pbuf for `length` bytes of the buffer that is being
 * written. */
uint16_t core_net_segment_limit(const struct tcp_pcb *pcb, uint32_t length);
void core_net_fit_unsent(struct tcp_pcb *pcb, uint32_t window);
struct pbuf *core_net_reference(uint16_t length);
#define LWIP_TCP_SEGMENT_LIMIT(pcb, length) core_net_segment_limit(pcb, length)
#define LWIP_TCP_FIT_UNSENT(pcb, window) core_net_fit_unsent(pcb, window)
#define LWIP_TCP_REFERENCE(layer, length) core_net_reference(length)

/* A packet larger than the MTU: a TCP segment that the device cuts goes out as it is (device.c). */
struct ip4_addr;
struct ip6_addr;
int8_t core_net_too_large4(struct pbuf *packet, struct netif *netif,
                           const struct ip4_addr *destination);
int8_t core_net_too_large6(struct pbuf *packet, struct netif *netif,
                           const struct ip6_addr *destination);
#define LWIP_IP4_TOO_LARGE(packet, netif, destination)                                             \
    core_net_too_large4(packet, netif, destination)
#define LWIP_IP6_TOO_LARGE(packet, netif, destination)                                             \
    core_net_too_large6(packet, netif, destination)

/* How far the receive window must have opened before the peer is told: bytes (tcp.c). */
uint32_t core_net_window_step(const struct tcp_pcb *pcb);

/* How often a segment is sent again, or an empty window asked about, before the connection is given
 * up (tcp.c). */
uint8_t core_net_retransmissions(const struct tcp_pcb *pcb);
#define LWIP_TCP_RETRANSMISSIONS(pcb) core_net_retransmissions(pcb)

/* An acknowledgement waits for data to go with, and goes alone after a while (timers.c). */
void core_net_ack_delayed(struct tcp_pcb *pcb);
#define LWIP_TCP_ACK_DELAYED(pcb) core_net_ack_delayed(pcb)

/* Before a segment goes to its connection or listener: ERR_OK, or it is dropped (tcp.c). */
int8_t core_net_segment_arrived(struct tcp_pcb *pcb, const struct tcp_hdr *header,
                                const struct pbuf *segment);
#define LWIP_HOOK_TCP_INPACKET_PCB(pcb, header, option_length, length1, option2, segment)          \
    core_net_segment_arrived(pcb, header, segment)

/* An IP packet that waited for the link-layer address of its next hop, which nobody has told
 * (datagram.c). */
void core_net_no_neighbour(const struct pbuf *packet);
#define LWIP_NO_NEIGHBOUR(packet) core_net_no_neighbour(packet)

/* Datagrams, those of IPv4 and those of IPv6; datagram.c counts the ones that go well. */
extern struct core_net_udp {
    uint64_t received, sent, no_port, no_room, errors, checksum_errors;
} core_net_udp[2];
#define LWIP_UDP_COUNT(what) (core_net_udp[ip_current_is_v6()].what++)

/* Initial sequence numbers (RFC 6528). */
uint32_t core_net_initial_sequence(const void *local, uint16_t local_port, const void *remote,
                                   uint16_t remote_port);
#define LWIP_HOOK_TCP_ISN(local, local_port, remote, remote_port)                                  \
    core_net_initial_sequence(local, local_port, remote, remote_port)

/* All of 127.0.0.0/8 is this machine (device.c). */
int core_net_ip4_input(struct pbuf *packet, struct netif *netif);
#define LWIP_HOOK_IP4_INPUT(packet, netif) core_net_ip4_input(packet, netif)
int core_net_ip6_input(struct pbuf *packet, struct netif *netif);
#define LWIP_HOOK_IP6_INPUT(packet, netif) core_net_ip6_input(packet, netif)

/* Name servers that DHCP, DHCPv6 and router advertisements bring (configure.c), with the names that
 * lwIP has for them in its resolver, which is left out. */
void dns_setserver(uint8_t index, const struct ip_addr *address);
const struct ip_addr *dns_getserver(uint8_t index);

/* The gateway that the command line names for IPv6, or NULL. */
const struct ip6_addr *core_net_gateway6(struct netif *netif);
#define LWIP_HOOK_ND6_GET_GW(netif, destination) core_net_gateway6(netif)
