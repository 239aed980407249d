/* SPDX-License-Identifier: MIT */
/* lwIP's configuration: raw API only, called under the network lock (core/net/stack.h), memory from
 * kmalloc without fixed pools. What is not here is lwIP's default (src/include/lwip/opt.h). */
#pragma once

#define NO_SYS 1
#define SYS_LIGHTWEIGHT_PROT 0
#define LWIP_NETCONN 0
#define LWIP_SOCKET 0
#define LWIP_TIMERS 1
#define LWIP_TIMERS_CUSTOM 1 /* core/net/timers.c */
#define LWIP_HOOK_FILENAME "core/net/lwip/hooks.h"

/* Counts for /proc/net (core/net/snmp.c). UDP's are in hooks.h. */
#define LWIP_STATS 1
#define LWIP_STATS_LARGE 1
#define MIB2_STATS 1
#define IP6_STATS 1
#define ICMP6_STATS 1
#define MLD6_STATS 1
#define ND6_STATS 1
#define LINK_STATS 0
#define ETHARP_STATS 0
#define IP_STATS 0
#define IPFRAG_STATS 0
#define IP6_FRAG_STATS 1
#define ICMP_STATS 0
#define IGMP_STATS 0
#define UDP_STATS 0
#define TCP_STATS 0
#define MEM_STATS 0
#define MEMP_STATS 0
#define SYS_STATS 0

/* Memory: every object on its own, as long as core_net_malloc gives any. */
#define MEM_ALIGNMENT 8
#define MEM_CUSTOM_ALLOCATOR 1
#define MEM_CUSTOM_MALLOC core_net_malloc
#define MEM_CUSTOM_CALLOC core_net_calloc
#define MEM_CUSTOM_FREE core_net_free
#define MEMP_MEM_MALLOC 1
#define LWIP_SUPPORT_CUSTOM_PBUF 1
#define PBUF_POOL_BUFSIZE 1536
#define PBUF_LINK_ENCAPSULATION_HLEN 0

/* Interfaces. */
#define LWIP_HAVE_LOOPIF 1
#define LWIP_NETIF_LOOPBACK 1
#define LWIP_LOOPIF_MULTICAST 1
#define LWIP_LOOPBACK_MAX_PBUFS 0
#define LWIP_NETIF_HOSTNAME 1
#define LWIP_NETIF_STATUS_CALLBACK 1
#define LWIP_NETIF_HWADDRHINT 1
#define LWIP_CHECKSUM_CTRL_PER_NETIF 1
#define LWIP_NETIF_TX_SINGLE_PBUF 0
#define LWIP_NUM_NETIF_CLIENT_DATA 0

/* IPv4. */
#define LWIP_ARP 1
#define ARP_QUEUEING 1
#define ARP_QUEUE_LEN 64
#define ARP_TABLE_SIZE 256
#define ETHARP_SUPPORT_VLAN 0
#define IP_REASSEMBLY 1
#define IP_REASS_MAX_PBUFS 1024
#define IP_FRAG 1
#define LWIP_INLINE_IP_CHKSUM 1
#define IP_DEFAULT_TTL 64
#define LWIP_ICMP 1
#define LWIP_IGMP 1
#define LWIP_MULTICAST_TX_OPTIONS 1
#define LWIP_DHCP 1
#define DHCP_COARSE_TIMER_SECS 1 /* leases may be short */
#define DHCP_TIMEOUT_SIZE_T u32_t
#define LWIP_DHCP_DOES_ACD_CHECK 0
#define LWIP_ACD 0
#define LWIP_DHCP_MAX_DNS_SERVERS DNS_MAX_SERVERS
#define LWIP_DNS 0
#define DNS_MAX_SERVERS 3 /* of DHCP, of router advertisements, of DHCPv6: in this order */
#define LWIP_ND6_DNS_FIRST DNS_MAX_SERVERS
#define LWIP_DHCP6_DNS_FIRST (2 * DNS_MAX_SERVERS)

/* IPv6. */
#define LWIP_IPV6 1
#define LWIP_IPV6_NUM_ADDRESSES 8
#define LWIP_IPV6_AUTOCONFIG 1
#define LWIP_IPV6_FRAG 1
#define LWIP_IPV6_REASS 1
#define IPV6_FRAG_COPYHEADER 1 /* pointers of 8 bytes */
#define LWIP_IPV6_MLD 1
#define LWIP_IPV6_DHCP6 1
#define LWIP_IPV6_DHCP6_STATELESS 1
#define LWIP_DHCP6_MAX_DNS_SERVERS DNS_MAX_SERVERS
#define LWIP_ND6_RDNSS_MAX_DNS_SERVERS DNS_MAX_SERVERS
#define LWIP_ND6_QUEUEING 1
#define LWIP_ND6_NUM_NEIGHBORS 100
#define LWIP_ND6_NUM_DESTINATIONS 100
#define MEMP_NUM_ND6_QUEUE 64
#define LWIP_ND6_MAX_MULTICAST_SOLICIT 3

/* RAW: ICMP sockets, and errors that ICMP reports. */
#define LWIP_RAW 1

/* UDP. Checksums of datagrams that are sent are made here: they may be cut into fragments. */
#define LWIP_UDP 1
#define SO_REUSE 1
#define SO_REUSE_RXTOALL 1
#define IP_SOF_BROADCAST 1
#define IP_SOF_BROADCAST_RECV 0

/* TCP. Its clock ticks each 100 ms, twice the interval (timers.c), so that the smallest
 * retransmission time is as long as Linux's. */
#define LWIP_TCP 1
#define LWIP_DISABLE_TCP_SANITY_CHECKS 1 /* for small machines; an MSS of 64 KiB fails them */
#define TCP_TMR_INTERVAL 50
#define LWIP_TCP_RTO_TIME 1000  /* RFC 6298, 2 */
#define LWIP_TCP_RTO_MAX 120000 /* ms, as Linux's TCP_RTO_MAX */
#define TCP_MSL 30000
#define TCP_SYNMAXRTX 6
#define TCP_MSS 65475 /* the most that a netif may ask for; what is used comes from its MTU */
#define LWIP_WND_SCALE 1
#define TCP_RCV_SCALE 7
#define TCP_WND (4 * 1024 * 1024)
#define TCP_WND_UPDATE_THRESHOLD ((tcpwnd_size_t)core_net_window_step(pcb))
#define TCP_SND_BUF (4 * 1024 * 1024)
#define TCP_SND_QUEUELEN 0xfff0
#define TCP_SNDLOWAT 1
#define TCP_SNDQUEUELOWAT 1
#define TCP_OVERSIZE 1460
#define TCP_QUEUE_OOSEQ 1
#define LWIP_TCP_SACK_OUT 1
#define TCP_LISTEN_BACKLOG 0 /* core/net/tcp.c keeps the queues */
#define LWIP_TCP_KEEPALIVE 1
#define LWIP_TCP_PCB_NUM_EXT_ARGS 1 /* core/net/tcp_table.c */
