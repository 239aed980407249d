/* SPDX-License-Identifier: MIT */
/* The counts of /proc/net in the formats of Linux's net/ipv4/proc.c, net/ipv6/proc.c and
 * net/core/net-procfs.c, with the names of RFC 1213 and RFC 4293. Those that nobody keeps here are
 * left out, or are 0 where the format wants them and it is true. lwIP keeps them under the network
 * lock; for texts they are read without it. */
#include <linux/in.h>

#include "core/lib/string.h"
#include "core/net/inet.h"
#include "core/net/interface.h"
#include "core/net/lwip/hooks.h"
#include "core/net/net_files.h"
#include "core/net/socket.h"
#include "core/net/stack.h"
#include "core/net/tcp.h"
#include "lwip/priv/tcp_priv.h"
#include "lwip/stats.h"

typedef unsigned long long ull;

#define mib lwip_stats.mib2

struct count {
    const char *name;
    ull value;
};

/* A line of names and a line of values. */
static void put_counts(struct text *text, const char *protocol, const struct count *counts,
                       unsigned number)
{
    text_put(text, "%s:", protocol);
    for (unsigned i = 0; i < number; i++) {
        text_put(text, " %s", counts[i].name);
    }
    text_put(text, "\n%s:", protocol);
    for (unsigned i = 0; i < number; i++) {
        text_put(text, " %llu", counts[i].value);
    }
    text_put(text, "\n");
}

/* --- sockets ---------------------------------------------------------------------------------- */

struct tcp_totals {
    unsigned open, established, time_wait, orphans;
    ull unacknowledged; /* bytes */
};

static bool add_tcp(void *context, const struct interface_socket *socket)
{
    /* As in /proc/net/tcp. */
    enum { ESTABLISHED_ = 1, SYN_RECEIVED_ = 3, TIME_WAIT_ = 6, CLOSE_WAIT_ = 8 };
    struct tcp_totals *totals = context;
    totals->open += socket->state != TIME_WAIT_;
    totals->established += socket->state == ESTABLISHED_ || socket->state == CLOSE_WAIT_;
    totals->time_wait += socket->state == TIME_WAIT_;
    totals->orphans +=
        socket->inode == 0 && socket->state != TIME_WAIT_ && socket->state != SYN_RECEIVED_;
    totals->unacknowledged += socket->send_queue;
    return true;
}

static struct tcp_totals tcp_totals(int family)
{
    struct tcp_totals totals = {0};
    interface_sockets(family, IPPROTO_TCP, add_tcp, &totals);
    return totals;
}

struct udp_totals {
    unsigned open;
    ull waiting; /* bytes */
};

static bool add_udp(void *context, const struct interface_socket *socket)
{
    struct udp_totals *totals = context;
    totals->open += socket->inode != 0;
    totals->waiting += socket->receive_queue;
    return true;
}

static struct udp_totals udp_totals(int family)
{
    struct udp_totals totals = {0};
    interface_sockets(family, IPPROTO_UDP, add_udp, &totals);
    return totals;
}

static ull pages(ull bytes)
{
    return (bytes + PAGE_SIZE - 1) / PAGE_SIZE;
}

void net_show_sockstat(struct text *text, long argument)
{
    struct tcp_totals tcp = tcp_totals(AF_INET), tcp6 = tcp_totals(AF_INET6);
    struct udp_totals udp = udp_totals(AF_INET), udp6 = udp_totals(AF_INET6);
    (void)argument;
    text_put(text, "sockets: used %u\n", __atomic_load_n(&socket_count, __ATOMIC_RELAXED));
    /* As on Linux the numbers of pages, orphans and TIME-WAIT are of both families. */
    text_put(text, "TCP: inuse %u orphan %u tw %u alloc %u mem %llu\n", tcp.open,
             tcp.orphans + tcp6.orphans, tcp.time_wait + tcp6.time_wait, tcp.open + tcp6.open,
             pages(tcp.unacknowledged + tcp6.unacknowledged));
    text_put(text, "UDP: inuse %u mem %llu\nUDPLITE: inuse 0\n", udp.open,
             pages(udp.waiting + udp6.waiting));
    text_put(text, "RAW: inuse %u\nFRAG: inuse 0 memory 0\n", datagram_raw_sockets(AF_INET));
}

void net_show_sockstat6(struct text *text, long argument)
{
    (void)argument;
    text_put(text, "TCP6: inuse %u\nUDP6: inuse %u\nUDPLITE6: inuse 0\n", tcp_totals(AF_INET6).open,
             udp_totals(AF_INET6).open);
    text_put(text, "RAW6: inuse %u\nFRAG6: inuse 0 memory 0\n", datagram_raw_sockets(AF_INET6));
}

/* --- counts ----------------------------------------------------------------------------------- */

void net_show_snmp(struct text *text, long argument)
{
    const struct core_net_udp *udp = &core_net_udp[0];
    (void)argument;
    const struct count ip[] = {
        {"Forwarding", 2}, /* it does not */
        {"DefaultTTL", IP_DEFAULT_TTL},
        {"InReceives", mib.ipinreceives},
        {"InHdrErrors", mib.ipinhdrerrors},
        {"InAddrErrors", mib.ipinaddrerrors},
        {"ForwDatagrams", mib.ipforwdatagrams},
        {"InUnknownProtos", mib.ipinunknownprotos},
        {"InDiscards", mib.ipindiscards},
        {"InDelivers", mib.ipindelivers},
        {"OutRequests", mib.ipoutrequests},
        {"OutDiscards", mib.ipoutdiscards},
        {"OutNoRoutes", mib.ipoutnoroutes},
        {"ReasmTimeout", 0},
        {"ReasmReqds", mib.ipreasmreqds},
        {"ReasmOKs", mib.ipreasmoks},
        {"ReasmFails", mib.ipreasmfails},
        {"FragOKs", mib.ipfragoks},
        {"FragFails", mib.ipfragfails},
        {"FragCreates", mib.ipfragcreates},
    };
    put_counts(text, "Ip", ip, sizeof(ip) / sizeof(ip[0]));
    const struct count icmp[] = {
        {"InMsgs", mib.icmpinmsgs},
        {"InErrors", mib.icmpinerrors},
        {"InDestUnreachs", mib.icmpindestunreachs},
        {"InTimeExcds", mib.icmpintimeexcds},
        {"InParmProbs", mib.icmpinparmprobs},
        {"InSrcQuenchs", mib.icmpinsrcquenchs},
        {"InRedirects", mib.icmpinredirects},
        {"InEchos", mib.icmpinechos},
        {"InEchoReps", mib.icmpinechoreps},
        {"InTimestamps", mib.icmpintimestamps},
        {"InTimestampReps", mib.icmpintimestampreps},
        {"InAddrMasks", mib.icmpinaddrmasks},
        {"InAddrMaskReps", mib.icmpinaddrmaskreps},
        {"OutMsgs", mib.icmpoutmsgs},
        {"OutErrors", mib.icmpouterrors},
        {"OutDestUnreachs", mib.icmpoutdestunreachs},
        {"OutTimeExcds", mib.icmpouttimeexcds},
        {"OutEchos", mib.icmpoutechos},
        {"OutEchoReps", mib.icmpoutechoreps},
    };
    put_counts(text, "Icmp", icmp, sizeof(icmp) / sizeof(icmp[0]));
    struct tcp_totals v4 = tcp_totals(AF_INET), v6 = tcp_totals(AF_INET6);
    const struct count tcp[] = {
        {"RtoAlgorithm", 4}, /* RFC 4022: vanj, Van Jacobson's */
        {"RtoMin", TCP_SLOW_INTERVAL},
        {"RtoMax", 120000},
        {"ActiveOpens", mib.tcpactiveopens},
        {"PassiveOpens", mib.tcppassiveopens},
        {"AttemptFails", mib.tcpattemptfails},
        {"EstabResets", mib.tcpestabresets},
        {"CurrEstab", v4.established + v6.established},
        {"InSegs", mib.tcpinsegs},
        {"OutSegs", mib.tcpoutsegs},
        {"RetransSegs", mib.tcpretranssegs},
        {"InErrs", mib.tcpinerrs},
        {"OutRsts", mib.tcpoutrsts},
    };
    put_counts(text, "Tcp", tcp, sizeof(tcp) / sizeof(tcp[0]));
    const struct count datagrams[] = {
        {"InDatagrams", udp->received},
        {"NoPorts", udp->no_port},
        {"InErrors", udp->errors + udp->checksum_errors + udp->no_room},
        {"OutDatagrams", udp->sent},
        {"RcvbufErrors", udp->no_room},
        {"SndbufErrors", 0},
        {"InCsumErrors", udp->checksum_errors},
    };
    put_counts(text, "Udp", datagrams, sizeof(datagrams) / sizeof(datagrams[0]));
}

void net_show_snmp6(struct text *text, long argument)
{
    const struct core_net_udp *udp = &core_net_udp[1];
    const struct stats_proto *ip = &lwip_stats.ip6, *icmp = &lwip_stats.icmp6;
    (void)argument;
    const struct count counts[] = {
        {"Ip6InReceives", ip->recv},
        {"Ip6InHdrErrors", (ull)ip->lenerr + ip->opterr},
        {"Ip6InUnknownProtos", ip->proterr},
        {"Ip6InDiscards", ip->drop},
        {"Ip6OutRequests", ip->xmit},
        {"Ip6OutNoRoutes", ip->rterr},
        {"Ip6ReasmReqds", lwip_stats.ip6_frag.recv},
        {"Ip6ReasmOKs", mib.ip6reasmoks},
        {"Ip6FragCreates", lwip_stats.ip6_frag.xmit},
        {"Icmp6InMsgs", icmp->recv},
        {"Icmp6InErrors", (ull)icmp->chkerr + icmp->lenerr},
        {"Icmp6OutMsgs", (ull)icmp->xmit + lwip_stats.nd6.xmit + lwip_stats.mld6.xmit},
        {"Udp6InDatagrams", udp->received},
        {"Udp6NoPorts", udp->no_port},
        {"Udp6InErrors", udp->errors + udp->checksum_errors + udp->no_room},
        {"Udp6OutDatagrams", udp->sent},
        {"Udp6RcvbufErrors", udp->no_room},
        {"Udp6SndbufErrors", 0},
        {"Udp6InCsumErrors", udp->checksum_errors},
    };
    for (unsigned i = 0; i < sizeof(counts) / sizeof(counts[0]); i++) {
        text_put(text, "%-32s\t%llu\n", counts[i].name, counts[i].value);
    }
}

void net_show_netstat(struct text *text, long argument)
{
    struct interface interface;
    ull received = 0, sent = 0;
    (void)argument;
    for (int index = 1; interface_next(index, &interface); index = interface.index + 1) {
        received += interface.statistics.rx_bytes;
        sent += interface.statistics.tx_bytes;
    }
    const struct count tcp[] = {
        {"SyncookiesSent", 0}, /* there are none */
        {"SyncookiesRecv", 0},
        {"SyncookiesFailed", 0},
        {"ListenOverflows", tcp_listen_overflows},
        {"ListenDrops", tcp_listen_overflows},
    };
    put_counts(text, "TcpExt", tcp, sizeof(tcp) / sizeof(tcp[0]));
    const struct count ip[] = {{"InOctets", received}, {"OutOctets", sent}};
    put_counts(text, "IpExt", ip, sizeof(ip) / sizeof(ip[0]));
}

/* Frames, dropped, and how often a CPU left off with more to do; the other columns are of what
 * there is not here, but for the last, the CPU. */
void net_show_softnet(struct text *text, long argument)
{
    (void)argument;
    for (unsigned cpu = 0; cpu < hal_cpu_count(); cpu++) {
        text_put(text,
                 "%08x 00000000 %08x 00000000 00000000 00000000 00000000 00000000 00000000 "
                 "00000000 00000000 00000000 %08x\n",
                 (uint32_t)net_poll_counts[cpu].frames, (uint32_t)net_poll_counts[cpu].squeezed,
                 cpu);
    }
}
