/* SPDX-License-Identifier: MIT */
/* TCP segments larger than the MSS, which the device cuts (TSO), and the buffers that their bytes
 * lie in. Congestion control goes on counting in MSS. Guarded by the network lock. */
#include "core/lib/string.h"
#include "core/mm/kmalloc.h"
#include "core/net/lwip/hooks.h"
#include "core/net/stack.h"
#include "core/net/tcp.h"
#include "lwip/ip.h"
#include "lwip/priv/tcp_priv.h"

#define HEADERS_MAX (14 + 40 + 60) /* Ethernet, IPv6, TCP with options */

/* --- buffers
 * --------------------------------------------------------------------------------------
 */

/* A pbuf that holds a part of a buffer. */
struct reference {
    struct pbuf_custom pbuf;
    struct send_buffer *buffer;
};

static struct send_buffer *writing; /* the one that tcp_write_buffer is at */

struct send_buffer *send_buffer_create(uint32_t length)
{
    struct send_buffer *buffer = core_net_malloc(sizeof(*buffer) + length);
    if (buffer != NULL) {
        buffer->references = 1;
        buffer->length = length;
    }
    return buffer;
}

/* The writer's reference is given up with no lock held. */
void send_buffer_put(struct send_buffer *buffer)
{
    if (__atomic_sub_fetch(&buffer->references, 1, __ATOMIC_ACQ_REL) == 0) {
        kfree(buffer);
    }
}

static void reference_gone(struct pbuf *pbuf)
{
    struct reference *reference = (struct reference *)pbuf;
    send_buffer_put(reference->buffer);
    kfree(reference);
}

/* tcp_write sets the payload. */
struct pbuf *core_net_reference(uint16_t length)
{
    struct reference *reference = core_net_malloc(sizeof(*reference));
    if (reference == NULL) {
        return NULL;
    }
    __atomic_fetch_add(&writing->references, 1, __ATOMIC_RELAXED);
    reference->buffer = writing;
    reference->pbuf.custom_free_function = reference_gone;
    return pbuf_alloced_custom(PBUF_RAW, length, PBUF_ROM, &reference->pbuf, writing->data,
                               UINT16_MAX);
}

err_t tcp_write_buffer(struct tcp_pcb *pcb, struct send_buffer *buffer, uint32_t from,
                       uint16_t length, uint8_t flags)
{
    writing = buffer;
    err_t result = tcp_write(pcb, buffer->data + from, length, flags);
    writing = NULL;
    return result;
}

/* --- segments
 * -------------------------------------------------------------------------------------
 */

/* What the device behind the connection cuts, bytes of payload; 0: it does not. */
static uint32_t device_limit(const struct tcp_pcb *pcb)
{
    const struct netif *netif = ip_route(&pcb->local_ip, &pcb->remote_ip);
    const struct net_interface *interface = netif != NULL ? net_interface_of(netif) : NULL;
    if (interface == NULL) {
        return 0;
    }
    uint32_t feature = IP_IS_V6(&pcb->remote_ip) ? NETDEV_TX_TSO6 : NETDEV_TX_TSO4;
    if (!net_device_has(interface, feature) || interface->device->transmit_max <= HEADERS_MAX) {
        return 0;
    }
    uint32_t limit = interface->device->transmit_max - HEADERS_MAX;
    return limit < UINT16_MAX - HEADERS_MAX ? limit : UINT16_MAX - HEADERS_MAX;
}

/* Half of what may be under way, so that one is acknowledged while the next goes out. */
uint16_t core_net_segment_limit(const struct tcp_pcb *pcb, uint32_t length)
{
    if (length <= pcb->mss && pcb->unsent == NULL) {
        return pcb->mss; /* one is enough */
    }
    uint32_t half = LWIP_MIN(pcb->cwnd, pcb->snd_wnd) / 2;
    if (half < 2u * pcb->mss) {
        return pcb->mss;
    }
    uint32_t limit = LWIP_MIN(device_limit(pcb), half);
    return limit < pcb->mss ? pcb->mss : (uint16_t)(limit - limit % pcb->mss);
}

/* The first unsent segment, which was sent before, loses the bytes that the peer has acknowledged:
 * the network has cut it, and lost its end only. */
static void trim_acknowledged(struct tcp_pcb *pcb)
{
    struct tcp_seg *segment = pcb->unsent;
    uint32_t sequence = lwip_ntohl(segment->tcphdr->seqno);
    int32_t acknowledged = (int32_t)(pcb->lastack - sequence);
    if (acknowledged <= 0 || acknowledged > segment->len || segment->p->ref != 1) {
        return;
    }
    uint16_t length = (uint16_t)acknowledged;
    struct pbuf *first = segment->p;
    uint16_t headers = (uint16_t)(first->tot_len - segment->len);
    pcb->snd_queuelen -= pbuf_clen(first);
    first->tot_len -= length;
    uint16_t count = LWIP_MIN(length, first->len - headers);
    uint8_t *data = (uint8_t *)first->payload + headers;
    first->len -= count;
    memmove(data, data + count, first->len - headers);
    for (uint16_t left = length - count; left > 0; left -= count) {
        struct pbuf *next = first->next;
        count = LWIP_MIN(left, next->len);
        if (count == next->len) {
            first->next = next->next;
            next->next = NULL;
            pbuf_free(next);
        } else {
            pbuf_remove_header(next, count);
        }
    }
    pcb->snd_queuelen += pbuf_clen(first);
    segment->len -= length;
    segment->tcphdr->seqno = lwip_htonl(sequence + length);
    pcb->snd_buf += length;
    tcp_part_acknowledged(pcb, length);
}

/* When the window ends inside a large segment the first part goes out now if there is nothing to
 * wait for, or if it is at least half. */
void core_net_fit_unsent(struct tcp_pcb *pcb, uint32_t window)
{
    trim_acknowledged(pcb);
    const struct tcp_seg *segment = pcb->unsent;
    if (segment->len <= pcb->mss) {
        return;
    }
    uint32_t ahead = lwip_ntohl(segment->tcphdr->seqno) - pcb->lastack;
    uint32_t room = window > ahead ? window - ahead : 0;
    if (room >= segment->len || room < pcb->mss ||
        (pcb->unacked != NULL && room < segment->len / 2u)) {
        return;
    }
    tcp_split_unsent_seg(pcb, (uint16_t)(room - room % pcb->mss));
}
