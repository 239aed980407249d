/* SPDX-License-Identifier: MIT */
/* TCP connections by their addresses and ports: lwIP walks a list for each segment, which is too
 * slow with thousands of connections. Holds every control block from SYN on until it is freed,
 * those in TIME-WAIT too. Guarded by the network lock. */
#include <linux/errno.h>

#include "core/lib/random.h"
#include "core/lib/string.h"
#include "core/mm/kmalloc.h"
#include "core/net/lwip/hooks.h"
#include "core/net/stack.h"
#include "core/net/tcp.h"
#include "hal.h"
#include "lwip/ip.h"
#include "lwip/priv/tcp_priv.h"

#define BUCKET_BITS 12

static unsigned half_open_count;

static struct tcp_entry *buckets[1 << BUCKET_BITS];
static uint64_t keys[7]; /* of the buckets */
static uint64_t flow_secret[2], sequence_secret[2];

/* --- SipHash-1-3 (Aumasson and Bernstein, 2012; rounds as in Linux's hsiphash) over 64-bit words
 * --
 */

static inline uint64_t rotate(uint64_t word, unsigned bits)
{
    return word << bits | word >> (64 - bits);
}

static inline void round(uint64_t v[4])
{
    v[0] += v[1];
    v[1] = rotate(v[1], 13) ^ v[0];
    v[0] = rotate(v[0], 32);
    v[2] += v[3];
    v[3] = rotate(v[3], 16) ^ v[2];
    v[0] += v[3];
    v[3] = rotate(v[3], 21) ^ v[0];
    v[2] += v[1];
    v[1] = rotate(v[1], 17) ^ v[2];
    v[2] = rotate(v[2], 32);
}

static uint64_t siphash(const uint64_t key[2], const uint64_t *words, unsigned count)
{
    uint64_t v[4] = {key[0] ^ 0x736f6d6570736575, key[1] ^ 0x646f72616e646f6d,
                     key[0] ^ 0x6c7967656e657261, key[1] ^ 0x7465646279746573};
    for (unsigned i = 0; i <= count; i++) {
        uint64_t word = i < count ? words[i] : (uint64_t)count * 8 << 56;
        v[3] ^= word;
        round(v);
        v[0] ^= word;
    }
    v[2] ^= 0xff;
    round(v);
    round(v);
    round(v);
    return v[0] ^ v[1] ^ v[2] ^ v[3];
}

static uint64_t hash(const uint64_t key[2], const ip_addr_t *local, uint16_t local_port,
                     const ip_addr_t *remote, uint16_t remote_port)
{
    uint64_t words[5] = {(uint64_t)local_port << 16 | remote_port};
    if (IP_IS_V4(remote)) {
        words[1] = (uint64_t)ip_2_ip4(local)->addr << 32 | ip_2_ip4(remote)->addr;
        return siphash(key, words, 2);
    }
    memcpy(words + 1, ip_2_ip6(local)->addr, 16);
    memcpy(words + 3, ip_2_ip6(remote)->addr, 16);
    return siphash(key, words, 5);
}

uint32_t tcp_table_hash(const ip_addr_t *remote, uint16_t port)
{
    return (uint32_t)hash(flow_secret, remote, port, remote, port);
}

/* --- buckets
 * ------------------------------------------------------------------------------------------
 */

/* NH (Black et al., UMAC, 1999), reduced by a multiplication: without the keys nobody finds
 * connections that meet in a bucket but by chance. Once a packet, so it is not SipHash. */
static struct tcp_entry **bucket(const ip_addr_t *local, uint16_t local_port,
                                 const ip_addr_t *remote, uint16_t remote_port)
{
    uint64_t ports = (uint64_t)local_port << 16 | remote_port;
    unsigned __int128 sum;
    if (IP_IS_V4(remote)) {
        uint64_t addresses = (uint64_t)ip_2_ip4(local)->addr << 32 | ip_2_ip4(remote)->addr;
        sum = (unsigned __int128)(addresses + keys[0]) * (ports + keys[1]);
    } else {
        uint64_t words[4];
        memcpy(words, ip_2_ip6(local)->addr, 16);
        memcpy(words + 2, ip_2_ip6(remote)->addr, 16);
        sum = (unsigned __int128)(words[0] + keys[0]) * (words[1] + keys[1]) +
              (unsigned __int128)(words[2] + keys[2]) * (words[3] + keys[3]) +
              (unsigned __int128)(ports + keys[4]) * keys[5];
    }
    uint64_t folded = (uint64_t)sum + (uint64_t)(sum >> 64);
    return &buckets[folded * (keys[6] | 1) >> (64 - BUCKET_BITS)];
}

/* --- the table
 * ------------------------------------------------------------------------------------
 */

struct tcp_pcb *tcp_table_find(const ip_addr_t *local, uint16_t local_port, const ip_addr_t *remote,
                               uint16_t remote_port)
{
    for (struct tcp_entry *entry = *bucket(local, local_port, remote, remote_port); entry != NULL;
         entry = entry->next) {
        struct tcp_pcb *pcb = entry->pcb;
        if (pcb->remote_port == remote_port && pcb->local_port == local_port &&
            ip_addr_eq(&pcb->remote_ip, remote) && ip_addr_eq(&pcb->local_ip, local)) {
            return pcb;
        }
    }
    return NULL;
}

static void destroyed(uint8_t id, void *data)
{
    (void)id;
    struct tcp_entry *entry = data;
    if (entry != NULL) {
        if (!entry->half_open) { /* until then it is the listener's */
            tcp_control_block_freed(entry->pcb);
        }
        *entry->link = entry->next;
        if (entry->next != NULL) {
            entry->next->link = entry->link;
        }
        list_remove(&entry->delayed);
        half_open_count -= entry->half_open;
        kfree(entry);
    }
}

static err_t opened(uint8_t id, struct tcp_pcb_listen *listener, struct tcp_pcb *pcb)
{
    (void)id;
    (void)listener;
    if (tcp_table_add(pcb) != 0) {
        return ERR_MEM;
    }
    tcp_entry_of(pcb)->half_open = true;
    half_open_count++;
    return ERR_OK;
}

void tcp_table_established(struct tcp_pcb *pcb)
{
    struct tcp_entry *entry = tcp_entry_of(pcb);
    half_open_count -= entry->half_open;
    entry->half_open = false;
}

unsigned tcp_table_half_open(void)
{
    return half_open_count;
}

static const struct tcp_ext_arg_callbacks callbacks = {destroyed, opened};

int tcp_table_add(struct tcp_pcb *pcb)
{
    struct tcp_entry *entry = core_net_malloc(sizeof(*entry));
    if (entry == NULL) {
        return -ENOMEM;
    }
    struct tcp_entry **first =
        bucket(&pcb->local_ip, pcb->local_port, &pcb->remote_ip, pcb->remote_port);
    entry->pcb = pcb;
    entry->half_open = false;
    list_init(&entry->delayed);
    entry->next = *first;
    entry->link = first;
    if (entry->next != NULL) {
        entry->next->link = &entry->next;
    }
    *first = entry;
    tcp_ext_arg_set(pcb, TCP_ENTRY, entry);
    tcp_ext_arg_set_callbacks(pcb, TCP_ENTRY, &callbacks);
    return 0;
}

void tcp_table_listen(struct tcp_pcb *listener)
{
    tcp_ext_arg_set(listener, TCP_ENTRY, NULL);
    tcp_ext_arg_set_callbacks(listener, TCP_ENTRY, &callbacks);
}

bool tcp_table_has(const ip_addr_t *local, uint16_t local_port, const ip_addr_t *remote,
                   uint16_t remote_port)
{
    return tcp_table_find(local, local_port, remote, remote_port) != NULL;
}

uint16_t tcp_segment_size(const struct tcp_hdr *header, const uint8_t *addresses, bool v4)
{
    ip_addr_t local = {0};
    ip_addr_t remote = {0};
    if (v4) {
        memcpy(&ip_2_ip4(&local)->addr, addresses, 4);
        memcpy(&ip_2_ip4(&remote)->addr, addresses + 4, 4);
    } else {
        memcpy(ip_2_ip6(&local)->addr, addresses, 16);
        memcpy(ip_2_ip6(&remote)->addr, addresses + 16, 16);
        IP_SET_TYPE_VAL(local, IPADDR_TYPE_V6);
        IP_SET_TYPE_VAL(remote, IPADDR_TYPE_V6);
    }
    uint16_t local_port = lwip_htons(header->src);
    uint16_t remote_port = lwip_htons(header->dest);
    for (struct tcp_entry *entry = *bucket(&local, local_port, &remote, remote_port); entry != NULL;
         entry = entry->next) {
        struct tcp_pcb *pcb = entry->pcb;
        if (pcb->remote_port == remote_port && pcb->local_port == local_port &&
            IP_GET_TYPE(&pcb->remote_ip) == IP_GET_TYPE(&remote)) {
            return pcb->mss;
        }
    }
    return 0;
}

/* --- lwIP's questions
 * -----------------------------------------------------------------------------
 */

static struct tcp_pcb *time_wait; /* what the last lookup found in TIME-WAIT */

struct tcp_pcb *core_net_lookup_active(const struct tcp_hdr *header)
{
    struct tcp_pcb *pcb =
        tcp_table_find(ip_current_dest_addr(), header->dest, ip_current_src_addr(), header->src);
    time_wait = NULL;
    if (pcb == NULL || pcb->state != TIME_WAIT) {
        return pcb;
    }
    /* A new connection may take over the ports of one that is in TIME-WAIT when its sequence
     * numbers are higher (RFC 9293, 3.10.7.4). */
    if ((TCPH_FLAGS(header) & (TCP_SYN | TCP_ACK | TCP_RST)) == TCP_SYN &&
        TCP_SEQ_GT(header->seqno, pcb->rcv_nxt)) {
        tcp_pcb_remove(&tcp_tw_pcbs, pcb);
        tcp_free(pcb);
        return NULL;
    }
    time_wait = pcb;
    return NULL;
}

struct tcp_pcb *core_net_lookup_time_wait(const struct tcp_hdr *header)
{
    (void)header;
    return time_wait;
}

uint32_t core_net_initial_sequence(const void *local, uint16_t local_port, const void *remote,
                                   uint16_t remote_port)
{
    /* 4 us a step, as in RFC 6528, 3. */
    return (uint32_t)(hal_clock_monotonic() / 4000) +
           (uint32_t)hash(sequence_secret, local, local_port, remote, remote_port);
}

void tcp_table_init(void)
{
    random_bytes(keys, sizeof(keys));
    random_bytes(flow_secret, sizeof(flow_secret));
    random_bytes(sequence_secret, sizeof(sequence_secret));
}
