/* SPDX-License-Identifier: MIT */
/* What the files of TCP share (tcp.c: sockets, tcp_table.c: connections by hash, tcp_segment.c:
 * large segments and the buffers they come from). Network lock held but where it says otherwise. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/lib/list.h"
#include "lwip/ip_addr.h"
#include "lwip/tcp.h"

struct tcp_hdr;

/* --- tcp_table.c */

/* What is kept of a connection beside lwIP's control block, from SYN on until that is freed. */
struct tcp_entry {
    struct tcp_entry *next, **link; /* in its bucket */
    struct tcp_pcb *pcb;
    bool half_open;
    struct list delayed; /* of those that may have an acknowledgement to send (timers.c) */
    uint64_t ack_due;    /* when, if so */
};

#define TCP_ENTRY 0 /* of the external arguments of lwIP's control blocks */

static inline struct tcp_entry *tcp_entry_of(const struct tcp_pcb *pcb)
{
    return pcb->ext_args[TCP_ENTRY].data;
}

void tcp_table_init(void);

/* Makes a connection findable from now on until its control block is freed. -ENOMEM. */
int tcp_table_add(struct tcp_pcb *pcb);

/* Has the listener's connections added. */
void tcp_table_listen(struct tcp_pcb *listener);

/* The handshake of a listener's connection is over; and how many are not. */
void tcp_table_established(struct tcp_pcb *pcb);
unsigned tcp_table_half_open(void);

struct tcp_pcb *tcp_table_find(const ip_addr_t *local, uint16_t local_port, const ip_addr_t *remote,
                               uint16_t remote_port);

/* Whether there is a connection, also one in TIME-WAIT, with these ends. */
bool tcp_table_has(const ip_addr_t *local, uint16_t local_port, const ip_addr_t *remote,
                   uint16_t remote_port);

/* A number for an address that nobody else can foretell, the same each time. */
uint32_t tcp_table_hash(const ip_addr_t *remote, uint16_t port);

/* The MSS of the connection that a segment to be sent belongs to: `addresses` is where the source
 * and destination addresses begin in its IP header. 0: there is none. */
uint16_t tcp_segment_size(const struct tcp_hdr *header, const uint8_t *addresses, bool v4);

/* --- tcp.c */

/* lwIP frees the control block. */
void tcp_control_block_freed(struct tcp_pcb *pcb);

/* The program has ended: closes all connections, as close(2) does. */
void tcp_close_all(void);

/* Whether the peer of any connection off this machine has not acknowledged all that it was sent,
 * the end included. */
bool tcp_has_unacknowledged(void);

/* The peer has acknowledged the first bytes of a segment that has not been freed, and they have
 * been taken off it. Who waits to write is told when the rest is acknowledged. */
void tcp_part_acknowledged(const struct tcp_pcb *pcb, uint16_t length);

/* A segment of a connection with these ends cannot be delivered (`number`: errno). */
void tcp_unreachable(const ip_addr_t *local, uint16_t local_port, const ip_addr_t *remote,
                     uint16_t remote_port, int number);

/* A router has found a segment larger than the path's MTU (RFC 8201): smaller ones from now on. */
void tcp_too_big(const ip_addr_t *local, uint16_t local_port, const ip_addr_t *remote,
                 uint16_t remote_port, uint32_t mtu);

/* The state's number in Linux's include/net/tcp_states.h; NULL: closed. */
uint8_t tcp_linux_state(const struct tcp_pcb *pcb);

/* Fills in what waits at the socket of a listener or an active connection, and its number. */
struct interface_socket;
void tcp_show_socket(const struct tcp_pcb *pcb, struct interface_socket *out);

/* Connections that were not taken, since the listener's queue was full. */
extern uint64_t tcp_listen_overflows;

/* --- tcp_segment.c */

/* Bytes on their way out, shared by the pbufs that point into it. */
struct send_buffer {
    uint32_t references;
    uint32_t length;
    uint8_t data[];
};

/* No lock needed. NULL when memory is short. */
struct send_buffer *send_buffer_create(uint32_t length);
void send_buffer_put(struct send_buffer *buffer);

/* As tcp_write of `length` bytes of the buffer from `from` on, without a copy. */
err_t tcp_write_buffer(struct tcp_pcb *pcb, struct send_buffer *buffer, uint32_t from,
                       uint16_t length, uint8_t flags);
