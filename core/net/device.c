/* SPDX-License-Identifier: MIT */
/* Network devices (netdev.h) as interfaces of lwIP, and loopback. Received buffers go up and pbufs
 * go down without a copy: each side holds a reference until the other is done. Guarded by the
 * network lock, but for what interrupts set (atomic). */
#include <linux/errno.h>

#include "core/lib/log.h"
#include "core/lib/string.h"
#include "core/mm/kmalloc.h"
#include "core/net/lwip/hooks.h"
#include "core/net/stack.h"
#include "core/net/tcp.h"
#include "hal_cpu.h"
#include "lwip/etharp.h"
#include "lwip/ethip6.h"
#include "lwip/ip.h"
#include "lwip/ip4_frag.h"
#include "lwip/ip6.h"
#include "lwip/ip6_frag.h"
#include "lwip/prot/tcp.h"
#include "lwip/snmp.h"
#include "netif/ethernet.h"

#define POLL_BUDGET 64 /* frames of one queue in a row */
#define POLL_ROUNDS 4  /* turns of all queues before the program goes on */
#define HEADERS_TOGETHER 128
#define LOOPBACK_ROUNDS 256
#define BACKLOG_MAX 1024 /* frames that wait for one full transmit queue */
#define BACKLOG_HIGH 256 /* from here on datagrams wait at their sockets */

/* A frame that waits for room. */
struct waiting_frame {
    struct waiting_frame *next;
    struct pbuf *frame;
    struct net_offload offload;
};

struct net_backlog {
    struct waiting_frame *first, **end;
    unsigned count;
};

static struct net_interface *interfaces[8];
static unsigned interface_count;
struct net_poll_count net_poll_counts[HAL_MAX_CPUS];
bool net_devices_to_flush; /* an interface has bits in `flush` */
static bool congested;     /* a backlog has been over BACKLOG_HIGH */

static err_t link_output(struct netif *netif, struct pbuf *frame);

struct net_interface *net_interface_of(const struct netif *netif)
{
    return netif->linkoutput == link_output ? (struct net_interface *)netif : NULL;
}

/* --- out
 * ------------------------------------------------------------------------------------------
 */

/* What the device is to do with a TCP segment: lwIP leaves the checksum 0 when the device makes it,
 * and makes segments larger than the MSS for one that cuts them. Returns a number by which frames
 * of one connection go into one queue. */
static unsigned prepare_tcp(struct net_interface *interface, struct pbuf *frame,
                            struct net_offload *offload)
{
    uint8_t *bytes = frame->payload;
    bool v4 = bytes[12] == 8 && bytes[13] == 0;
    unsigned start; /* of the TCP header */
    uint32_t sum;
    if (v4 && frame->len >= 54) {
        start = 14 + (bytes[14] & 15) * 4u;
        if (bytes[23] != IP_PROTO_TCP || (bytes[20] & 0x3f) != 0 || bytes[21] != 0) {
            return 0;
        }
        sum = 0; /* of the addresses: eight bytes are not worth a call */
        for (unsigned i = 0; i < 4; i++) {
            uint16_t word;
            memcpy(&word, bytes + 26 + 2 * i, sizeof(word));
            sum += word;
        }
    } else if (!v4 && bytes[12] == 0x86 && bytes[13] == 0xdd && frame->len >= 74) {
        start = 54;
        if (bytes[20] != IP_PROTO_TCP) {
            return 0;
        }
        sum = core_net_checksum(bytes + 22, 32);
    } else {
        return 0;
    }
    struct tcp_hdr *tcp = (struct tcp_hdr *)(bytes + start);
    if ((interface->netif.chksum_flags & NETIF_CHECKSUM_GEN_TCP) == 0) {
        sum += lwip_htons(IP_PROTO_TCP) + lwip_htons((uint16_t)(frame->tot_len - start));
        sum = (sum >> 16) + (sum & 0xffff);
        tcp->chksum = (uint16_t)((sum >> 16) + sum);
        offload->checksum = NET_CHECKSUM_PARTIAL;
        offload->checksum_start = (uint16_t)start;
        offload->checksum_offset = 16;
    }
    unsigned headers = start + TCPH_HDRLEN_BYTES(tcp);
    if (frame->tot_len - 14u > interface->netif.mtu) {
        offload->segment_version = v4 ? 4 : 6;
        offload->header_length = (uint16_t)headers;
        offload->segment_size = tcp_segment_size(tcp, bytes + (v4 ? 26 : 22), v4);
        if (offload->segment_size == 0) {
            offload->segment_size = (uint16_t)(interface->netif.mtu + 14u - headers);
        }
    }
    return lwip_htons(tcp->src) ^ lwip_htons(tcp->dest);
}

/* 0, -ENOBUFS, or -EMSGSIZE for what no device takes. The device has a reference on success. */
static int transmit(struct net_interface *interface, unsigned queue, struct pbuf *frame,
                    const struct net_offload *offload)
{
    struct net_segment segments[NET_MAX_SEGMENTS];
    unsigned count = 0;
    for (struct pbuf *piece = frame; piece != NULL; piece = piece->next) {
        if (piece->len != 0) {
            segments[count++] = (struct net_segment){piece->payload, piece->len};
        }
        if (count == NET_MAX_SEGMENTS && piece->next != NULL) {
            return -EMSGSIZE;
        }
    }
    struct netdev *device = interface->device;
    pbuf_ref(frame);
    int error = device->operations->transmit(device, queue, segments, count, offload, frame);
    if (error != 0) {
        pbuf_free(frame);
        return error;
    }
    interface->flush |= 1ull << queue;
    interface->in_flight++;
    net_devices_to_flush = true;
    return 0;
}

static err_t enqueue(struct net_interface *interface, unsigned queue, struct pbuf *frame,
                     const struct net_offload *offload)
{
    struct net_backlog *backlog = &interface->backlog[queue];
    struct waiting_frame *waiting =
        backlog->count < BACKLOG_MAX ? core_net_malloc(sizeof(*waiting)) : NULL;
    if (waiting == NULL) {
        __atomic_fetch_add(&interface->device->statistics.tx_dropped, 1, __ATOMIC_RELAXED);
        return ERR_MEM;
    }
    pbuf_ref(frame);
    *waiting = (struct waiting_frame){NULL, frame, *offload};
    *backlog->end = waiting;
    backlog->end = &waiting->next;
    if (++backlog->count >= BACKLOG_HIGH) {
        congested = true;
    }
    return ERR_OK;
}

static err_t link_output(struct netif *netif, struct pbuf *frame)
{
    struct net_interface *interface = (struct net_interface *)netif;
    struct net_offload offload = {0};
    unsigned queue = prepare_tcp(interface, frame, &offload) %
                     __atomic_load_n(&interface->device->queues_used, __ATOMIC_RELAXED);
    if (interface->backlog[queue].count != 0) {
        return enqueue(interface, queue, frame, &offload);
    }
    int error = transmit(interface, queue, frame, &offload);
    if (error == -EMSGSIZE) {
        struct pbuf *whole = pbuf_clone(PBUF_RAW, PBUF_RAM, frame);
        if (whole == NULL) {
            return ERR_MEM;
        }
        error = transmit(interface, queue, whole, &offload);
        err_t result = error == -ENOBUFS ? enqueue(interface, queue, whole, &offload) : ERR_OK;
        pbuf_free(whole);
        return result;
    }
    if (error == -ENOBUFS) {
        return enqueue(interface, queue, frame, &offload);
    }
    return error == 0 ? ERR_OK : ERR_IF;
}

bool net_device_has(const struct net_interface *interface, uint32_t feature)
{
    return (__atomic_load_n(&interface->device->features, __ATOMIC_RELAXED) & feature) != 0;
}

/* Whether the device makes segments of the MSS of an IP packet, whose header has the protocol at
 * `at`. */
static bool device_cuts(const struct pbuf *packet, const struct netif *netif, unsigned at,
                        uint32_t feature)
{
    const struct net_interface *interface = net_interface_of(netif);
    return interface != NULL && net_device_has(interface, feature) &&
           packet->tot_len > netif->mtu && ((const uint8_t *)packet->payload)[at] == IP_PROTO_TCP;
}

int8_t core_net_too_large4(struct pbuf *packet, struct netif *netif, const ip4_addr_t *destination)
{
    if (device_cuts(packet, netif, 9, NETDEV_TX_TSO4)) {
        return netif->output(netif, packet, destination);
    }
    return ip4_frag(packet, netif, destination);
}

int8_t core_net_too_large6(struct pbuf *packet, struct netif *netif, const ip6_addr_t *destination)
{
    if (device_cuts(packet, netif, 6, NETDEV_TX_TSO6)) {
        return netif->output_ip6(netif, packet, destination);
    }
    if (((const uint8_t *)packet->payload)[6] != IP_PROTO_TCP) {
        return ip6_frag(packet, netif, destination);
    }
    /* A segment from before the path's MTU became smaller. ip6_frag changes what it cuts, and TCP
     * may send it again. */
    struct pbuf *copy = pbuf_clone(PBUF_LINK, PBUF_RAM, packet);
    if (copy == NULL) {
        return ERR_MEM;
    }
    err_t result = ip6_frag(copy, netif, destination);
    pbuf_free(copy);
    return result;
}

/* The device may have room again. */
static void send_backlog(struct net_interface *interface)
{
    for (unsigned queue = 0; queue < interface->device->queue_count; queue++) {
        struct net_backlog *backlog = &interface->backlog[queue];
        while (backlog->count != 0) {
            struct waiting_frame *waiting = backlog->first;
            if (transmit(interface, queue, waiting->frame, &waiting->offload) == -ENOBUFS) {
                break;
            }
            backlog->first = waiting->next;
            if (--backlog->count == 0) {
                backlog->end = &backlog->first;
            }
            pbuf_free(waiting->frame);
            core_net_free(waiting);
        }
    }
}

bool net_device_congested(void)
{
    return congested;
}

void net_devices_flush(void)
{
    net_devices_to_flush = false;
    for (unsigned i = 0; i < interface_count; i++) {
        struct net_interface *interface = interfaces[i];
        while (interface->flush != 0) {
            unsigned queue = (unsigned)__builtin_ctzll(interface->flush);
            interface->flush &= interface->flush - 1;
            interface->device->operations->flush(interface->device, queue);
        }
    }
}

void core_net_transmitted(struct netdev *device, void *token)
{
    struct net_interface *interface = device->core;
    interface->in_flight--;
    pbuf_free(token);
}

/* --- in
 * -------------------------------------------------------------------------------------------
 */

static void released(struct pbuf *pbuf)
{
    struct net_buffer *buffer =
        (struct net_buffer *)((char *)pbuf - offsetof(struct net_buffer, core));
    buffer->release(buffer);
}

_Static_assert(sizeof(struct pbuf_custom) <= sizeof(((struct net_buffer *)0)->core),
               "a pbuf fits into core's part of a buffer");

/* The frame as a chain of pbufs, without its Ethernet header; NULL (and nothing released) when it
 * is too short or too long. */
static struct pbuf *wrap(struct net_buffer *frame)
{
    size_t total = 0;
    for (struct net_buffer *buffer = frame; buffer != NULL; buffer = buffer->next) {
        if (buffer->length > 0xffff) {
            return NULL;
        }
        total += buffer->length;
    }
    if (frame->length <= SIZEOF_ETH_HDR || total > SIZEOF_ETH_HDR + 0xffff) {
        return NULL;
    }
    size_t left = total - SIZEOF_ETH_HDR;
    size_t skip = SIZEOF_ETH_HDR;
    struct pbuf *first = NULL;
    struct pbuf **end = &first;
    for (struct net_buffer *buffer = frame; buffer != NULL; buffer = buffer->next) {
        struct pbuf_custom *custom = (struct pbuf_custom *)buffer->core;
        uint16_t length = (uint16_t)(buffer->length - skip);
        uint8_t *data = (uint8_t *)buffer->data + skip;
        custom->custom_free_function = released;
        struct pbuf *pbuf = pbuf_alloced_custom(PBUF_RAW, length, PBUF_REF, custom, data, length);
        pbuf->tot_len = (uint16_t)left;
        left -= length;
        skip = 0;
        *end = pbuf;
        end = &pbuf->next;
    }
    return first;
}

static void drop(struct netdev *device, struct net_buffer *frame)
{
    __atomic_fetch_add(&device->statistics.rx_dropped, 1, __ATOMIC_RELAXED);
    while (frame != NULL) {
        struct net_buffer *next = frame->next;
        frame->release(frame);
        frame = next;
    }
}

void core_net_receive(struct netdev *device, struct net_buffer *frame,
                      const struct net_offload *offload)
{
    struct net_interface *interface = device->core;
    const uint8_t *ethernet = frame->data;
    bool whole_header = frame->length > SIZEOF_ETH_HDR;
    bool group = whole_header && (ethernet[0] & 1) != 0;
    bool broadcast = group && memcmp(ethernet, ethbroadcast.addr, 6) == 0;
    uint16_t type = whole_header ? (uint16_t)(ethernet[12] << 8 | ethernet[13]) : 0;
    struct pbuf *packet = NULL;
    if (whole_header && (group || memcmp(ethernet, device->mac, 6) == 0)) {
        packet = wrap(frame);
    }
    if (packet == NULL) {
        drop(device, frame);
        return;
    }
    /* lwIP looks for headers in the first piece only. */
    if (packet->next != NULL && packet->len < HEADERS_TOGETHER) {
        struct pbuf *whole = pbuf_clone(PBUF_RAW, PBUF_RAM, packet);
        pbuf_free(packet);
        if (whole == NULL) {
            __atomic_fetch_add(&device->statistics.rx_dropped, 1, __ATOMIC_RELAXED);
            return;
        }
        packet = whole;
    }
    struct netif *netif = &interface->netif;
    packet->if_idx = netif_get_index(netif);
    if (group) {
        packet->flags |= broadcast ? PBUF_FLAG_LLBCAST : PBUF_FLAG_LLMCAST;
    }
    NETIF_SET_CHECKSUM_CTRL(
        netif, offload->checksum == NET_CHECKSUM_NONE
                   ? netif->chksum_flags | NETIF_CHECKSUM_CHECK_TCP | NETIF_CHECKSUM_CHECK_UDP
                   : netif->chksum_flags & ~(NETIF_CHECKSUM_CHECK_TCP | NETIF_CHECKSUM_CHECK_UDP));
    const uint8_t *ip = packet->payload;
    if (type == ETHTYPE_IP && packet->len >= IP_HLEN) {
        if (ip[9] != IP_PROTO_TCP && ip[9] != IP_PROTO_UDP) {
            net_timers_recheck();
        }
        ip4_input(packet, netif);
    } else if (type == ETHTYPE_IPV6 && packet->len >= IP6_HLEN) {
        if (ip[6] != IP_PROTO_TCP && ip[6] != IP_PROTO_UDP) {
            net_timers_recheck();
        }
        ip6_input(packet, netif);
    } else if (type == ETHTYPE_ARP && packet->len >= SIZEOF_ETHARP_HDR) {
        etharp_input(packet, netif);
    } else {
        pbuf_free(packet);
    }
}

/* --- polling
 * --------------------------------------------------------------------------------------
 */

void core_net_interrupt(struct netdev *device, unsigned queue)
{
    struct net_interface *interface = device->core;
    if (interface == NULL) {
        return; /* a device that is left out */
    }
    __atomic_fetch_or(&interface->polled, 1ull << queue, __ATOMIC_RELAXED);
    net_request(NET_WORK_DEVICES);
}

void core_net_link_changed(struct netdev *device)
{
    struct net_interface *interface = device->core;
    if (interface == NULL) {
        return;
    }
    __atomic_store_n(&interface->link_changed, true, __ATOMIC_RELAXED);
    net_request(NET_WORK_DEVICES);
}

/* Takes over what a device may come back with. */
static void follow_device(struct net_interface *interface)
{
    struct netif *netif = &interface->netif;
    const struct netdev *device = interface->device;
    memcpy(netif->hwaddr, device->mac, sizeof(device->mac));
    NETIF_SET_CHECKSUM_CTRL(netif, net_device_has(interface, NETDEV_TX_CHECKSUM)
                                       ? NETIF_CHECKSUM_ENABLE_ALL & ~NETIF_CHECKSUM_GEN_TCP
                                       : NETIF_CHECKSUM_ENABLE_ALL);
}

/* The link has changed, perhaps more than once. */
static void follow_link(struct net_interface *interface)
{
    const char *name = interface->device->name;
    if (netif_is_link_up(&interface->netif)) {
        log_info("%s: link is down", name);
        interface->carrier_down++;
        netif_set_link_down(&interface->netif);
    }
    if (__atomic_load_n(&interface->device->link_up, __ATOMIC_ACQUIRE)) {
        log_info("%s: link is up", name);
        interface->carrier_up++;
        follow_device(interface);
        netif_set_link_up(&interface->netif);
        net_configure(interface);
    }
    net_timers_recheck();
}

/* Polls the queues that have asked for it until nothing is left (and the device will interrupt), or
 * for so long that others should run: then they stay marked, and true. */
static bool poll_interface(struct net_interface *interface)
{
    struct netdev *device = interface->device;
    for (unsigned round = 0; round < POLL_ROUNDS; round++) {
        uint64_t queues = __atomic_exchange_n(&interface->polled, 0, __ATOMIC_RELAXED);
        if (queues == 0) {
            return false;
        }
        for (uint64_t left = queues; left != 0; left &= left - 1) {
            unsigned queue = (unsigned)__builtin_ctzll(left);
            unsigned done = device->operations->poll(device, queue, POLL_BUDGET);
            net_poll_counts[hal_this_cpu()->id].frames += done;
            if (done == POLL_BUDGET || !device->operations->enable_interrupt(device, queue)) {
                __atomic_fetch_or(&interface->polled, 1ull << queue, __ATOMIC_RELAXED);
            }
        }
        send_backlog(interface);
    }
    bool left = __atomic_load_n(&interface->polled, __ATOMIC_RELAXED) != 0;
    net_poll_counts[hal_this_cpu()->id].squeezed += left;
    return left;
}

static void poll_all_queues(struct net_interface *interface)
{
    uint64_t queues = ~0ull >> (64 - interface->device->queue_count);
    __atomic_fetch_or(&interface->polled, queues, __ATOMIC_RELAXED);
}

void net_devices_reclaim(void)
{
    for (unsigned i = 0; i < interface_count; i++) {
        if (interfaces[i]->in_flight != 0) {
            poll_all_queues(interfaces[i]);
        }
    }
}

/* Whether frames have not gone out yet. */
static bool is_sending(const struct net_interface *interface)
{
    bool busy = interface->in_flight != 0;
    for (unsigned queue = 0; queue < interface->device->queue_count; queue++) {
        busy |= interface->backlog[queue].count != 0;
    }
    return busy;
}

bool net_devices_drain(void)
{
    bool busy = false;
    for (unsigned i = 0; i < interface_count; i++) {
        struct net_interface *interface = interfaces[i];
        struct netdev *device = interface->device;
        if (!is_sending(interface)) {
            continue;
        }
        busy = true;
        __atomic_store_n(&device->draining, true, __ATOMIC_RELAXED);
        for (unsigned queue = 0; queue < device->queue_count; queue++) {
            if (!device->operations->enable_interrupt(device, queue)) {
                core_net_interrupt(device, queue);
            }
        }
    }
    return !busy;
}

bool net_devices_poll(void)
{
    bool left = false;
    for (unsigned i = 0; i < interface_count; i++) {
        struct net_interface *interface = interfaces[i];
        if (interface->netif.linkoutput == NULL) {
            continue; /* not up yet */
        }
        if (__atomic_exchange_n(&interface->link_changed, false, __ATOMIC_RELAXED)) {
            follow_link(interface);
        }
        left |= poll_interface(interface);
    }
    if (congested) {
        congested = false;
        for (unsigned i = 0; i < interface_count; i++) {
            for (unsigned queue = 0; queue < interfaces[i]->device->queue_count; queue++) {
                congested |= interfaces[i]->backlog[queue].count >= BACKLOG_HIGH / 2;
            }
        }
        if (!congested) {
            net_backlog_gone();
        }
    }
    return left;
}

/* --- interfaces
 * -----------------------------------------------------------------------------------
 */

static err_t interface_init(struct netif *netif)
{
    struct net_interface *interface = (struct net_interface *)netif;
    struct netdev *device = interface->device;
    netif->name[0] = 'e';
    netif->name[1] = 't';
    netif->output = etharp_output;
    netif->output_ip6 = ethip6_output;
    netif->linkoutput = link_output;
    netif->mtu = device->mtu;
    netif->mtu6 = device->mtu;
    netif->hwaddr_len = sizeof(device->mac);
    follow_device(interface);
    netif->flags = NETIF_FLAG_BROADCAST | NETIF_FLAG_ETHARP | NETIF_FLAG_ETHERNET |
                   NETIF_FLAG_IGMP | NETIF_FLAG_MLD6;
    return ERR_OK;
}

/* Devices are found before there is a stack: net_devices_start brings them up. */
void core_netdev_found(struct netdev *device)
{
    if (interface_count == sizeof(interfaces) / sizeof(interfaces[0]) || device->queue_count == 0 ||
        device->queue_count > 64) {
        log_warn("a network device is left out");
        return;
    }
    struct net_interface *interface = kzalloc(sizeof(*interface));
    struct net_backlog *backlog = kzalloc(device->queue_count * sizeof(*backlog));
    if (interface == NULL || backlog == NULL) {
        log_warn("no memory for a network device");
        kfree(interface);
        kfree(backlog);
        return;
    }
    for (unsigned queue = 0; queue < device->queue_count; queue++) {
        backlog[queue].end = &backlog[queue].first;
    }
    format(device->name, sizeof(device->name), "eth%u", interface_count);
    interface->device = device;
    interface->backlog = backlog;
    device->core = interface;
    log_info("%s: %02x:%02x:%02x:%02x:%02x:%02x, MTU %u, %u queues, features %x", device->name,
             device->mac[0], device->mac[1], device->mac[2], device->mac[3], device->mac[4],
             device->mac[5], device->mtu, device->queue_count, device->features);
    interfaces[interface_count++] = interface;
}

void net_devices_start(void)
{
    for (unsigned i = 0; i < interface_count; i++) {
        struct net_interface *interface = interfaces[i];
        netif_add(&interface->netif, NULL, NULL, NULL, NULL, interface_init, ip_input);
        netif_set_status_callback(&interface->netif, net_address_changed);
        netif_create_ip6_linklocal_address(&interface->netif, 1);
        netif_set_up(&interface->netif);
        if (i == 0) {
            netif_set_default(&interface->netif);
        }
        follow_link(interface);
        /* From here on the device is polled, and interrupts. */
        poll_all_queues(interface);
    }
    net_devices_poll();
}

/* --- loopback
 * -------------------------------------------------------------------------------------
 */

bool core_net_loopback; /* packets may wait */

static bool loopback_waits(void)
{
    if (core_net_loopback) {
        core_net_loopback = false;
        for (struct netif *netif = netif_list; netif != NULL; netif = netif->next) {
            core_net_loopback |= netif->loop_first != NULL;
        }
    }
    return core_net_loopback;
}

/* What this machine sends to one of its own addresses carries no checksums. */
bool net_loopback_poll(void)
{
    for (unsigned round = 0; loopback_waits(); round++) {
        if (round == LOOPBACK_ROUNDS) {
            return true;
        }
        for (struct netif *netif = netif_list; netif != NULL; netif = netif->next) {
            if (netif->loop_first == NULL) {
                continue;
            }
            uint16_t flags = netif->chksum_flags;
            NETIF_SET_CHECKSUM_CTRL(netif, NETIF_CHECKSUM_DISABLE_ALL & flags);
            netif_poll(netif);
            NETIF_SET_CHECKSUM_CTRL(netif, flags);
        }
    }
    return false;
}

struct net_loopback_count net_loopback_count;

/* Counts what loopback brings; false: the packet comes from elsewhere. */
static bool count_loopback(const struct pbuf *packet, const struct netif *netif)
{
    if (net_interface_of(netif) != NULL) {
        return false;
    }
    net_loopback_count.packets++;
    net_loopback_count.bytes += packet->tot_len;
    return true;
}

int core_net_ip6_input(struct pbuf *packet, struct netif *netif)
{
    count_loopback(packet, netif);
    return 0;
}

/* The loopback interface takes the address that a packet to 127.0.0.0/8 is for while the packet is
 * looked at. */
int core_net_ip4_input(struct pbuf *packet, struct netif *netif)
{
    if (count_loopback(packet, netif) && packet->len >= IP_HLEN) {
        const struct ip_hdr *header = packet->payload;
        bool local = (lwip_ntohl(header->dest.addr) >> 24) == IP_LOOPBACKNET;
        ip_2_ip4(&netif->ip_addr)->addr = local ? header->dest.addr : PP_HTONL(IPADDR_LOOPBACK);
    }
    return 0;
}
