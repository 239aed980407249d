/* SPDX-License-Identifier: MIT */
/* TCP sockets over lwIP's raw API. A socket and its control block (pcb) find each other until one
 * of them goes: lwIP frees the pcb after an error or the end of both directions and says so
 * (connection_failed), release takes the callbacks back and leaves the pcb to lwIP.
 *
 * The program's bytes are never copied under the network lock. Writers copy into buffers first, one
 * at a time (send_mutex); readers take the received pbufs off the socket under the lock and copy
 * them after it, one reader at a time (receive_mutex). poll reads a few words without a lock; each
 * is written under it, and a change is followed by socket_notify.
 *
 * Guarded by the network lock but where a field says otherwise. */
#include "core/net/tcp.h"

#include <linux/errno.h>
#include <linux/in.h>
#include <linux/tcp.h>

#include "core/lib/string.h"
#include "core/mm/kmalloc.h"
#include "core/mm/page.h"
#include "core/net/inet.h"
#include "core/net/interface.h"
#include "core/net/lwip/hooks.h"
#include "core/sched/sched.h"
#include "core/time/clock.h"
#include "lwip/ip.h"
#include "lwip/priv/tcp_priv.h"
#include "lwip/prot/ip6.h"

#define SMALL_WRITE 1024          /* bytes that go over the stack into lwIP's own memory */
#define WRITE_CHUNK (32 * 1024)   /* the most in one buffer */
#define WINDOW_FIRST (128 * 1024) /* receive window of a new connection */
#define WINDOW_STEP (32 * 1024)   /* it opens when so much has been read, or a quarter of it */
#define SEND_DEFAULT (512 * 1024) /* what may wait to be acknowledged unless SO_SNDBUF says so */
#define HALF_OPEN_MAX 4096        /* connections in SYN-RECEIVED, of all listeners */

enum tcp_phase {
    TCP_IDLE,
    TCP_LISTENING,
    TCP_CONNECTING,
    TCP_CONNECTED, /* from here on the outcome of connect is known */
    TCP_GONE,      /* no pcb any more */
};

struct tcp_socket {
    struct inet_socket inet;    /* first */
    struct tcp_pcb *pcb;        /* NULL before connect or listen, and when lwIP has let go of it */
    uint8_t phase;              /* enum tcp_phase; read by anybody */
    bool connect_pending;       /* connect has not reported its outcome yet */
    bool peer_closed;           /* a FIN has come; read by anybody */
    bool read_shut, write_shut; /* shutdown; read by anybody */
    bool write_blocked;         /* a writer has found no room: tell it */
    bool orphan;                /* released, and here only until `stalled` has been given */

    struct mutex receive_mutex;
    struct pbuf *reading; /* receive_mutex: taken off `arrived` */
    struct pbuf *arrived; /* linked by next; tot_len means nothing */
    struct pbuf **arrived_end;
    uint32_t received;   /* bytes in both; read by anybody */
    uint32_t window;     /* what the receive window is at most, bytes */
    uint32_t read_since; /* bytes read since it was last made larger */
    uint32_t unopened;   /* receive_mutex: bytes read by which it has not been opened yet */

    struct mutex send_mutex;
    uint32_t queued;             /* bytes taken that are not acknowledged; read by anybody */
    struct send_buffer *stalled; /* taken, but lwIP had no memory; given as soon as it has */

    struct list accept_node;  /* in the listener's queue */
    struct list accept_queue; /* of connections that nobody has accepted yet */
    struct tcp_socket *listener;
    unsigned accept_count, backlog;

    /* Options, for the pcb that there may not be yet. */
    bool no_delay, cork;
    uint32_t keep_idle, keep_interval, keep_count; /* s, s, probes */
    uint32_t user_timeout;                         /* ms; 0: none */
    uint32_t progress; /* tcp_ticks when the peer last acknowledged something, or had all */
};

static struct tcp_socket *tcp_of(struct socket *socket)
{
    return (struct tcp_socket *)socket;
}

static err_t data_arrived(void *argument, struct tcp_pcb *pcb, struct pbuf *data, err_t error);
static err_t data_acknowledged(void *argument, struct tcp_pcb *pcb, uint16_t length);
static void connection_failed(void *argument, err_t error);

/* --- state
 * ----------------------------------------------------------------------------------------
 */

static uint32_t send_limit(const struct tcp_socket *tcp)
{
    uint32_t limit = tcp->inet.socket.options.send_buffer;
    return limit < SEND_DEFAULT ? SEND_DEFAULT : LWIP_MIN(limit, TCP_SND_BUF);
}

static uint32_t send_room(const struct tcp_socket *tcp)
{
    uint32_t queued = __atomic_load_n(&tcp->queued, __ATOMIC_RELAXED);
    uint32_t limit = send_limit(tcp);
    return queued < limit && tcp->stalled == NULL ? limit - queued : 0;
}

/* As Linux: ready for writing when a third is free. */
static bool is_writable(const struct tcp_socket *tcp)
{
    return send_room(tcp) >= send_limit(tcp) / 3;
}

/* How far the receive window may grow by itself. */
static uint32_t window_limit(const struct tcp_socket *tcp)
{
    uint64_t share = page_total() * PAGE_SIZE / 64;
    uint32_t limit = share < TCP_WND ? (uint32_t)share : TCP_WND;
    uint32_t asked = tcp->inet.socket.options.receive_buffer;
    limit = asked > limit ? LWIP_MIN(asked, TCP_WND) : limit;
    return limit < WINDOW_FIRST ? WINDOW_FIRST : limit;
}

static uint32_t tcp_poll_events(struct socket *socket)
{
    struct tcp_socket *tcp = tcp_of(socket);
    enum tcp_phase phase = __atomic_load_n(&tcp->phase, __ATOMIC_ACQUIRE);
    uint32_t events = __atomic_load_n(&socket->error, __ATOMIC_RELAXED) != 0 ? POLLERR : 0;
    if (phase == TCP_LISTENING) {
        return events |
               (__atomic_load_n(&tcp->accept_count, __ATOMIC_RELAXED) != 0 ? POLLIN | POLLRDNORM
                                                                           : 0);
    }
    if (phase == TCP_IDLE) {
        return events | POLLOUT | POLLWRNORM | POLLHUP;
    }
    if (phase == TCP_CONNECTING) {
        return events;
    }
    bool gone = phase == TCP_GONE;
    bool no_more = gone || tcp->peer_closed || tcp->read_shut;
    if (no_more) {
        events |= POLLRDHUP;
    }
    if (gone || (no_more && tcp->write_shut)) {
        events |= POLLHUP;
    }
    uint32_t low = socket->options.receive_low;
    if (no_more || __atomic_load_n(&tcp->received, __ATOMIC_RELAXED) >= (low > 1 ? low : 1)) {
        events |= POLLIN | POLLRDNORM;
    }
    if (gone || tcp->write_shut || is_writable(tcp)) {
        events |= POLLOUT | POLLWRNORM;
    }
    return events;
}

static void set_phase(struct tcp_socket *tcp, enum tcp_phase phase)
{
    __atomic_store_n(&tcp->phase, (uint8_t)phase, __ATOMIC_RELEASE);
}

/* TCP_USER_TIMEOUT (RFC 5482): how long what was sent may wait for its acknowledgement, and, with
 * keep-alive, how long a peer that is asked may be silent. Called for each of lwIP's slow ticks. */
static err_t check_user_timeout(void *argument, struct tcp_pcb *pcb)
{
    const struct tcp_socket *tcp = argument;
    if (tcp == NULL) {
        return ERR_OK;
    }
    bool waits = pcb->unsent != NULL || pcb->unacked != NULL;
    uint32_t silent = waits                     ? tcp_ticks - tcp->progress
                      : pcb->keep_cnt_sent != 0 ? tcp_ticks - pcb->tmr
                                                : 0;
    if ((uint64_t)silent * TCP_SLOW_INTERVAL <=
        tcp->user_timeout) { /* the first was a part of one */
        return ERR_OK;
    }
    tcp_abort(pcb); /* connection_failed says ETIMEDOUT */
    return ERR_ABRT;
}

/* The socket that the program has of a connection. NULL: none any more, or none yet; what lwIP
 * hands on from a listener to its connections may be gone. */
static struct tcp_socket *owner(const struct tcp_pcb *pcb)
{
    return pcb->errf == connection_failed ? pcb->callback_arg : NULL;
}

/* tcp(7): tcp_retries2, and what tcp_orphan_retries is by default. */
uint8_t core_net_retransmissions(const struct tcp_pcb *pcb)
{
    const struct tcp_socket *tcp = owner(pcb);
    return tcp == NULL || tcp->orphan ? 8 : 15;
}

static void apply_options(struct tcp_socket *tcp)
{
    struct tcp_pcb *pcb = tcp->pcb;
    if (pcb == NULL) {
        return;
    }
    const struct inet_options *options = &tcp->inet.options;
    pcb->tos = options->tos;
    pcb->ttl = options->ttl;
    if (tcp->inet.socket.options.keep_alive) {
        ip_set_option(pcb, SOF_KEEPALIVE);
    } else {
        ip_reset_option(pcb, SOF_KEEPALIVE);
    }
    if (pcb->state == LISTEN) {
        return; /* a listener's control block has no more */
    }
    pcb->keep_idle = tcp->keep_idle * 1000;
    pcb->keep_intvl = tcp->keep_interval * 1000;
    pcb->keep_cnt = tcp->keep_count;
    tcp_poll(pcb, tcp->user_timeout != 0 ? check_user_timeout : NULL, 1);
    if (tcp->no_delay) {
        tcp_nagle_disable(pcb);
    } else {
        tcp_nagle_enable(pcb);
    }
}

static void attach(struct tcp_socket *tcp, struct tcp_pcb *pcb)
{
    tcp->pcb = pcb;
    tcp_arg(pcb, tcp);
    tcp_recv(pcb, data_arrived);
    tcp_sent(pcb, data_acknowledged);
    tcp_err(pcb, connection_failed);
}

static void detach(struct tcp_socket *tcp)
{
    struct tcp_pcb *pcb = tcp->pcb;
    tcp->pcb = NULL;
    tcp_arg(pcb, NULL);
    tcp_recv(pcb, NULL);
    tcp_sent(pcb, NULL);
    tcp_err(pcb, NULL);
}

/* The connection is up: its window begins small and grows with use. */
static void established(struct tcp_socket *tcp)
{
    struct tcp_pcb *pcb = tcp->pcb;
    tcp->window = LWIP_MIN(TCP_WND_MAX(pcb), WINDOW_FIRST);
    if (pcb->rcv_wnd > tcp->window) {
        pcb->rcv_wnd = pcb->rcv_ann_wnd = tcp->window;
        /* lwIP takes it that the SYN has announced all of its window; no more than 64 KiB fit. */
        pcb->rcv_ann_right_edge = pcb->rcv_nxt + tcp->window;
    }
    tcp->inet.local = pcb->local_ip;
    set_phase(tcp, TCP_CONNECTED);
}

/* --- what lwIP tells
 * ------------------------------------------------------------------------------
 */

static void free_chain(struct pbuf *pbuf)
{
    while (pbuf != NULL) {
        struct pbuf *next = pbuf->next;
        pbuf->next = NULL;
        pbuf_free(pbuf);
        pbuf = next;
    }
}

static void free_socket(struct tcp_socket *tcp)
{
    free_chain(tcp->reading);
    free_chain(tcp->arrived);
    if (tcp->stalled != NULL) {
        send_buffer_put(tcp->stalled);
    }
    kfree(tcp);
}

/* Leaves the connection to lwIP, which ends it when all has been sent. */
static void close_connection(struct tcp_socket *tcp)
{
    struct tcp_pcb *pcb = tcp->pcb;
    detach(tcp);
    pcb->rcv_wnd = TCP_WND_MAX(pcb); /* else lwIP takes it that not all was read */
    tcp_close(pcb);                  /* without memory it tries again by itself */
}

static err_t data_arrived(void *argument, struct tcp_pcb *pcb, struct pbuf *data, err_t error)
{
    (void)error;
    struct tcp_socket *tcp = argument;
    if (data != NULL && tcp->orphan) { /* nobody will read it */
        pbuf_free(data);
        tcp_abort(pcb);
        return ERR_ABRT;
    }
    if (data == NULL) {
        tcp->peer_closed = true;
        socket_notify(&tcp->inet.socket,
                      POLLIN | POLLRDNORM | POLLRDHUP | (tcp->write_shut ? (uint32_t)POLLHUP : 0));
        return ERR_OK;
    }
    uint32_t length = data->tot_len;
    *tcp->arrived_end = data;
    while (data->next != NULL) {
        data = data->next;
    }
    tcp->arrived_end = &data->next;
    __atomic_fetch_add(&tcp->received, length, __ATOMIC_RELAXED);
    socket_notify(&tcp->inet.socket, POLLIN | POLLRDNORM);
    return ERR_OK;
}

static void count_acknowledged(struct tcp_socket *tcp, uint16_t length)
{
    __atomic_fetch_sub(&tcp->queued, length, __ATOMIC_RELAXED);
    tcp->progress = tcp_ticks;
}

static err_t data_acknowledged(void *argument, struct tcp_pcb *pcb, uint16_t length)
{
    struct tcp_socket *tcp = argument;
    count_acknowledged(tcp, length);
    struct send_buffer *stalled = tcp->stalled;
    if (stalled != NULL &&
        tcp_write_buffer(pcb, stalled, 0, (uint16_t)stalled->length, 0) == ERR_OK) {
        tcp->stalled = NULL;
        send_buffer_put(stalled);
        if (tcp->orphan) {
            close_connection(tcp);
            free_socket(tcp);
            return ERR_OK;
        }
        if (tcp->write_shut) {
            tcp_shutdown(pcb, 0, 1);
        }
    }
    if (tcp->write_blocked && is_writable(tcp)) {
        tcp->write_blocked = false;
        socket_notify(&tcp->inet.socket, POLLOUT | POLLWRNORM);
    }
    return ERR_OK;
}

void tcp_part_acknowledged(const struct tcp_pcb *pcb, uint16_t length)
{
    struct tcp_socket *tcp = owner(pcb);
    if (tcp != NULL) {
        count_acknowledged(tcp, length);
    }
}

static void connection_failed(void *argument, err_t error)
{
    struct tcp_socket *tcp = argument;
    if (tcp == NULL) {
        return;
    }
    if (tcp->orphan) {
        if (tcp->pcb != NULL) {
            tcp_arg(tcp->pcb, NULL); /* it is about to be freed */
        }
        free_socket(tcp);
        return;
    }
    tcp->pcb = NULL;
    int number = error == ERR_CLSD ? 0 : ETIMEDOUT;
    if (error == ERR_RST) {
        number = tcp->phase == TCP_CONNECTING           ? ECONNREFUSED
                 : tcp->peer_closed && !tcp->write_shut ? EPIPE
                                                        : ECONNRESET;
    }
    if (number != 0) {
        socket_set_error(&tcp->inet.socket, number);
    }
    set_phase(tcp, TCP_GONE);
    tcp->queued = 0;
    socket_notify(&tcp->inet.socket, POLLIN | POLLRDNORM | POLLOUT | POLLWRNORM | POLLRDHUP |
                                         POLLHUP | (number != 0 ? (uint32_t)POLLERR : 0));
}

/* After TIME-WAIT lwIP says nothing else. */
void tcp_control_block_freed(struct tcp_pcb *pcb)
{
    struct tcp_socket *tcp = pcb->callback_arg;
    if (tcp == NULL || tcp->pcb != pcb) {
        return;
    }
    if (pcb->state == TIME_WAIT) {
        connection_failed(tcp, ERR_CLSD);
    } else {
        tcp->pcb = NULL;
    }
}

/* Only a connection that is being made gives up. */
void tcp_unreachable(const ip_addr_t *local, uint16_t local_port, const ip_addr_t *remote,
                     uint16_t remote_port, int number)
{
    struct tcp_pcb *pcb = tcp_table_find(local, local_port, remote, remote_port);
    if (pcb == NULL || pcb->state != SYN_SENT || pcb->callback_arg == NULL) {
        return;
    }
    struct tcp_socket *tcp = pcb->callback_arg;
    detach(tcp);
    tcp_abandon(pcb, 0); /* a reset would not arrive either */
    socket_set_error(&tcp->inet.socket, number);
    set_phase(tcp, TCP_GONE);
    socket_notify(&tcp->inet.socket, POLLIN | POLLOUT | POLLWRNORM | POLLRDHUP | POLLHUP | POLLERR);
}

void tcp_too_big(const ip_addr_t *local, uint16_t local_port, const ip_addr_t *remote,
                 uint16_t remote_port, uint32_t mtu)
{
    struct tcp_pcb *pcb = tcp_table_find(local, local_port, remote, remote_port);
    uint32_t mss = LWIP_MAX(mtu, IP6_MIN_MTU_LENGTH) - IP6_HLEN - TCP_HLEN;
    if (pcb != NULL && pcb->state != TIME_WAIT && mss < pcb->mss) {
        pcb->mss = (uint16_t)mss;
    }
}

static err_t connection_made(void *argument, struct tcp_pcb *pcb, err_t error)
{
    (void)pcb;
    (void)error;
    struct tcp_socket *tcp = argument;
    established(tcp);
    socket_notify(&tcp->inet.socket, POLLOUT | POLLWRNORM);
    return ERR_OK;
}

uint32_t core_net_window_step(const struct tcp_pcb *pcb)
{
    return LWIP_MIN(4u * pcb->mss, 32u * 1024);
}

/* --- creation
 * -------------------------------------------------------------------------------------
 */

static struct tcp_socket *allocate(void)
{
    struct tcp_socket *tcp = kzalloc(sizeof(*tcp));
    if (tcp != NULL) {
        mutex_init(&tcp->receive_mutex);
        mutex_init(&tcp->send_mutex);
        tcp->arrived_end = &tcp->arrived;
        list_init(&tcp->accept_node);
        list_init(&tcp->accept_queue);
        tcp->keep_idle = 7200;
        tcp->keep_interval = 75;
        tcp->keep_count = 9;
    }
    return tcp;
}

int tcp_socket_create(int domain, int protocol, struct socket **out)
{
    struct tcp_socket *tcp = allocate();
    if (tcp == NULL) {
        return -ENOMEM;
    }
    inet_init(&tcp->inet, &tcp_operations, domain, SOCK_STREAM, protocol);
    *out = &tcp->inet.socket;
    return 0;
}

static int tcp_bind_socket(struct socket *socket, const union socket_address *name, unsigned length)
{
    struct tcp_socket *tcp = tcp_of(socket);
    ip_addr_t ip;
    uint16_t port;
    int error = inet_address(&tcp->inet, name, length, &ip, &port);
    if (error == 0) {
        net_lock();
        error = tcp->phase != TCP_IDLE ? -EINVAL : inet_bind(&tcp->inet, &ip, port);
        net_unlock();
    }
    return error;
}

/* --- listening
 * ------------------------------------------------------------------------------------
 */

static err_t accepted(void *argument, struct tcp_pcb *pcb, err_t error)
{
    struct tcp_socket *listener = argument;
    if (error != ERR_OK || pcb == NULL || listener == NULL) {
        return ERR_VAL;
    }
    if (inet_may_share(&listener->inet)) {
        listener = (struct tcp_socket *)inet_share(&listener->inet, core_net_random());
    }
    struct tcp_socket *tcp = net_memory_is_short() ? NULL : allocate();
    if (tcp == NULL) {
        return ERR_MEM; /* lwIP resets the connection */
    }
    tcp_table_established(pcb);
    struct inet_socket *inet = &tcp->inet;
    inet_init(inet, &tcp_operations, listener->inet.socket.domain, SOCK_STREAM, IPPROTO_TCP);
    socket_init_accepted(&inet->socket, &listener->inet.socket);
    inet->options = listener->inet.options;
    inet->local = pcb->local_ip;
    inet->local_port = pcb->local_port;
    inet->remote = pcb->remote_ip;
    inet->remote_port = pcb->remote_port;
    tcp->no_delay = listener->no_delay;
    tcp->keep_idle = listener->keep_idle;
    tcp->keep_interval = listener->keep_interval;
    tcp->keep_count = listener->keep_count;
    tcp->user_timeout = listener->user_timeout;
    tcp->listener = listener;
    attach(tcp, pcb);
    apply_options(tcp);
    established(tcp);
    list_push_back(&listener->accept_queue, &tcp->accept_node);
    listener->accept_count++;
    socket_notify(&listener->inet.socket, POLLIN | POLLRDNORM);
    return ERR_OK;
}

uint64_t tcp_listen_overflows;

/* As Linux: a full queue takes no SYN, and ignores the last step of a handshake, which the peer
 * repeats. */
int8_t core_net_segment_arrived(struct tcp_pcb *pcb, const struct tcp_hdr *header,
                                const struct pbuf *segment)
{
    const struct tcp_socket *listener = NULL;
    if (pcb->state == LISTEN) {
        listener = pcb->callback_arg;
        if (net_memory_is_short() || tcp_table_half_open() >= HALF_OPEN_MAX) {
            return ERR_MEM;
        }
    } else if (pcb->state == SYN_RCVD && (TCPH_FLAGS(header) & (TCP_ACK | TCP_RST)) == TCP_ACK) {
        listener = pcb->listener != NULL ? pcb->listener->callback_arg : NULL;
    } else if (segment->tot_len > pcb->mss || pcb->ooseq != NULL) {
        /* Several segments in one are acknowledged at once, as every second one is, and so is what
         * fills a gap (RFC 5681, 4.2). */
        tcp_set_flags(pcb, TF_ACK_DELAY);
    }
    if (listener == NULL || listener->accept_count <= listener->backlog) {
        return ERR_OK;
    }
    tcp_listen_overflows++;
    return ERR_MEM;
}

void tcp_show_socket(const struct tcp_pcb *pcb, struct interface_socket *out)
{
    const struct tcp_socket *tcp = pcb->callback_arg;
    if (tcp != NULL && pcb->state != SYN_RCVD) { /* there it is the listener */
        out->inode = socket_inode_number(&tcp->inet.socket);
        out->receive_queue = pcb->state == LISTEN ? tcp->accept_count : tcp->received;
    }
}

static int tcp_listen_socket(struct socket *socket, int backlog)
{
    struct tcp_socket *tcp = tcp_of(socket);
    int error = 0;
    net_lock();
    if (tcp->phase == TCP_LISTENING) {
        tcp->backlog = (unsigned)backlog;
    } else if (tcp->phase != TCP_IDLE) {
        error = -EINVAL;
    } else {
        if (tcp->inet.local_port == 0) {
            error = inet_bind(&tcp->inet, &tcp->inet.local, 0);
        }
        struct tcp_pcb *pcb = NULL;
        struct tcp_pcb *listening = NULL;
        if (error == 0) {
            pcb = tcp_new_ip_type(IP_GET_TYPE(&tcp->inet.local));
        }
        if (pcb != NULL) {
            pcb->local_ip = tcp->inet.local;
            pcb->local_port = tcp->inet.local_port;
            struct netif *netif = inet_netif_by_index(socket->options.bound_device);
            tcp_bind_netif(pcb, netif);
            listening = tcp_listen_with_backlog(pcb, 0);
            if (listening == NULL) {
                pcb->local_port = 0;
                tcp_abort(pcb);
            }
        }
        if (listening == NULL) {
            error = error != 0 ? error : -ENOBUFS;
        } else {
            tcp->pcb = listening;
            tcp->backlog = (unsigned)backlog;
            tcp_arg(listening, tcp);
            tcp_accept(listening, accepted);
            tcp_table_listen(listening);
            apply_options(tcp);
            set_phase(tcp, TCP_LISTENING);
            socket->listening = true; /* before somebody else binds */
        }
    }
    net_unlock();
    return error;
}

static int tcp_accept_socket(struct socket *socket, struct socket **out)
{
    struct tcp_socket *listener = tcp_of(socket);
    int error = -EAGAIN;
    net_lock();
    if (listener->phase != TCP_LISTENING) {
        error = -EINVAL;
    } else if (!list_empty(&listener->accept_queue)) {
        struct tcp_socket *tcp =
            list_entry(list_pop_front(&listener->accept_queue), struct tcp_socket, accept_node);
        list_init(&tcp->accept_node);
        tcp->listener = NULL;
        listener->accept_count--;
        *out = &tcp->inet.socket;
        error = 0;
    }
    net_unlock();
    return error;
}

/* --- connecting
 * -----------------------------------------------------------------------------------
 */

static int connect_outcome(struct tcp_socket *tcp)
{
    if (tcp->phase == TCP_CONNECTING) {
        return -EALREADY;
    }
    if (!tcp->connect_pending) {
        return tcp->phase == TCP_CONNECTED ? -EISCONN : -ECONNABORTED;
    }
    tcp->connect_pending = false;
    int error = socket_take_error(&tcp->inet.socket);
    if (error != 0) {
        return error;
    }
    return tcp->phase == TCP_CONNECTED ? 0 : -ECONNABORTED;
}

static int start_connect(struct tcp_socket *tcp, ip_addr_t *remote, uint16_t port)
{
    struct inet_socket *inet = &tcp->inet;
    ip_addr_t local;
    struct netif *netif;
    int error = inet_route(inet, remote, &local, &netif);
    if (error != 0) {
        return error;
    }
    if (ip_addr_ismulticast(remote)) {
        return -ENETUNREACH;
    }
    bool bound = inet->local_port != 0;
    if (!bound) {
        error = inet_bind(inet, &local, 0);
        /* A connection in TIME-WAIT may still have the port. */
        for (unsigned i = 0;
             error == 0 && i < 64 && tcp_table_has(&local, inet->local_port, remote, port); i++) {
            inet_unbind(inet);
            inet->local_port = 0;
            error = inet_bind(inet, &local, 0);
        }
    }
    if (error == 0 && tcp_table_has(&local, inet->local_port, remote, port)) {
        error = -EADDRNOTAVAIL;
    }
    struct tcp_pcb *pcb = NULL;
    if (error == 0) {
        pcb = tcp_new_ip_type(IP_GET_TYPE(remote));
        error = pcb == NULL ? -ENOBUFS : 0;
    }
    if (error == 0) {
        pcb->local_ip = local;
        pcb->local_port = inet->local_port;
        attach(tcp, pcb);
        apply_options(tcp);
        tcp_bind_netif(pcb, inet_netif_by_index(inet->socket.options.bound_device));
        pcb->remote_ip = *remote;
        pcb->remote_port = port;
        error = tcp_table_add(pcb);
        if (error == 0) {
            inet->local = local;
            inet->remote = *remote;
            inet->remote_port = port;
            set_phase(tcp, TCP_CONNECTING);
            tcp->connect_pending = true;
            tcp->progress = tcp_ticks;
            error = inet_error(tcp_connect(pcb, remote, port, connection_made));
        }
        if (error != 0) {
            detach(tcp);
            pcb->local_port = 0; /* it is in no list */
            tcp_abort(pcb);
            inet->remote_port = 0;
            set_phase(tcp, TCP_IDLE);
        }
    }
    if (error != 0 && !bound && inet->local_port != 0) {
        inet_unbind(inet);
        inet->local_port = 0;
    }
    return error;
}

static int tcp_connect_socket(struct socket *socket, const union socket_address *name,
                              unsigned length)
{
    struct tcp_socket *tcp = tcp_of(socket);
    ip_addr_t remote;
    uint16_t port;
    int error = inet_address(&tcp->inet, name, length, &remote, &port);
    if (error != 0) {
        return error;
    }
    net_lock();
    if (tcp->phase != TCP_IDLE) {
        error = tcp->phase == TCP_LISTENING ? -EISCONN : connect_outcome(tcp);
        net_unlock();
        return error;
    }
    error = port == 0 ? -ECONNREFUSED : start_connect(tcp, &remote, port);
    net_unlock(); /* a connection inside this machine is made here */
    if (error != 0) {
        return error;
    }
    net_lock();
    error = tcp->phase == TCP_CONNECTING ? -EINPROGRESS : connect_outcome(tcp);
    net_unlock();
    return error;
}

/* --- sending
 * --------------------------------------------------------------------------------------
 */

/* 0, or why nothing can be sent. */
static int send_check(struct tcp_socket *tcp)
{
    int error = socket_take_error(&tcp->inet.socket);
    if (error != 0) {
        return error;
    }
    if (tcp->phase == TCP_CONNECTING) {
        return -EAGAIN;
    }
    return tcp->phase != TCP_CONNECTED || tcp->write_shut ? -EPIPE : 0;
}

/* Gives lwIP bytes that have been taken from the program, from `bytes` by a copy or else from the
 * buffer. When it has no memory now the buffer waits until something is acknowledged. */
static int give(struct tcp_socket *tcp, const uint8_t *bytes, struct send_buffer *buffer,
                uint32_t length, bool more)
{
    struct tcp_pcb *pcb = tcp->pcb;
    uint8_t flags = more || tcp->cork ? TCP_WRITE_FLAG_MORE : 0;
    if (tcp->queued == 0) {
        tcp->progress = tcp_ticks;
    }
    err_t result = buffer != NULL
                       ? tcp_write_buffer(pcb, buffer, 0, (uint16_t)length, flags)
                       : tcp_write(pcb, bytes, (uint16_t)length, flags | TCP_WRITE_FLAG_COPY);
    if (result != ERR_OK) {
        if (buffer == NULL || pcb->snd_queuelen == 0) {
            return inet_error(result);
        }
        __atomic_fetch_add(&buffer->references, 1, __ATOMIC_RELAXED);
        tcp->stalled = buffer;
    }
    __atomic_fetch_add(&tcp->queued, length, __ATOMIC_RELAXED);
    if (flags == 0 || pcb->unsent == NULL || pcb->unsent->next != NULL) {
        tcp_output(pcb);
    }
    return 0;
}

static long send_some(struct tcp_socket *tcp, struct socket_message *message)
{
    uint32_t room = send_room(tcp);
    if (room == 0 || net_memory_is_short()) {
        net_lock();
        int error = send_check(tcp);
        room = send_room(tcp);
        if (error == 0 && tcp->queued != 0 && (room == 0 || net_memory_is_short())) {
            tcp->write_blocked = true;
            error = -EAGAIN;
        }
        net_unlock();
        if (error != 0) {
            return error;
        }
    }
    size_t length = LWIP_MIN(message->io.remaining, LWIP_MIN(room, WRITE_CHUNK));
    uint8_t bytes[SMALL_WRITE];
    struct send_buffer *buffer = NULL;
    if (length > SMALL_WRITE) {
        buffer = send_buffer_create((uint32_t)length);
        if (buffer == NULL) {
            length = SMALL_WRITE;
        }
    }
    int error = io_copy_from(&message->io, buffer != NULL ? buffer->data : bytes, length);
    if (error == 0) {
        bool more = (message->flags & MSG_MORE) != 0 || message->io.remaining != 0;
        net_lock();
        error = send_check(tcp);
        if (error == 0) {
            error = give(tcp, bytes, buffer, (uint32_t)length, more);
        }
        net_unlock();
    }
    if (buffer != NULL) {
        send_buffer_put(buffer);
    }
    return error != 0 ? error : (long)length;
}

/* No more follows what was given with the promise of more. */
static void push_out(struct tcp_socket *tcp)
{
    net_lock();
    if (tcp->pcb != NULL && tcp->phase == TCP_CONNECTED && !tcp->cork) {
        tcp_output(tcp->pcb);
    }
    net_unlock();
}

static long tcp_send(struct socket *socket, struct socket_message *message)
{
    struct tcp_socket *tcp = tcp_of(socket);
    if ((message->flags & MSG_OOB) != 0) {
        return -EOPNOTSUPP;
    }
    mutex_lock(&tcp->send_mutex);
    long done = 0;
    long result = 0;
    if (message->io.remaining == 0) {
        net_lock();
        result = send_check(tcp);
        net_unlock();
    }
    while (message->io.remaining != 0) {
        result = send_some(tcp, message);
        if (result < 0) {
            push_out(tcp);
            break;
        }
        done += result;
    }
    mutex_unlock(&tcp->send_mutex);
    return done > 0 ? done : result;
}

/* --- receiving
 * ------------------------------------------------------------------------------------
 */

/* Takes what has arrived, and has the window opened by what will be read of it. */
static void take_arrived(struct tcp_socket *tcp)
{
    struct pbuf **end = &tcp->reading;
    while (*end != NULL) {
        end = &(*end)->next;
    }
    *end = tcp->arrived;
    tcp->arrived = NULL;
    tcp->arrived_end = &tcp->arrived;
}

/* The program has read `length` bytes: the window opens by as many, and by more while the program
 * reads whole windows. */
static void open_window(struct tcp_socket *tcp, uint32_t length)
{
    struct tcp_pcb *pcb = tcp->pcb;
    if (pcb == NULL || tcp->phase != TCP_CONNECTED) {
        return;
    }
    tcp->read_since += length;
    if (tcp->read_since >= tcp->window && (pcb->flags & TF_WND_SCALE) != 0) {
        uint32_t limit = window_limit(tcp);
        uint32_t grow = tcp->window < limit ? LWIP_MIN(tcp->window, limit - tcp->window) : 0;
        tcp->window += grow;
        tcp->read_since = 0;
        length += grow;
    }
    pcb->rcv_wnd = LWIP_MIN(pcb->rcv_wnd + length, TCP_WND_MAX(pcb));
    tcp_recved(pcb, 0);
}

/* Copies what is in `reading`, at most `size` bytes; consumed unless `peek`. */
static long copy_out(struct tcp_socket *tcp, struct socket_message *message, size_t size, bool peek)
{
    size_t done = 0;
    bool discard = (message->flags & MSG_TRUNC) != 0 && !peek;
    struct pbuf *pbuf = tcp->reading;
    while (done < size && pbuf != NULL) {
        size_t part = LWIP_MIN(size - done, pbuf->len);
        if (!discard && part != 0 && io_copy_to(&message->io, pbuf->payload, part) != 0) {
            return done > 0 ? (long)done : -EFAULT;
        }
        done += part;
        if (peek || part < pbuf->len) {
            if (!peek) {
                pbuf->payload = (uint8_t *)pbuf->payload + part;
                pbuf->len = (uint16_t)(pbuf->len - part);
            }
            pbuf = pbuf->next;
            continue;
        }
        struct pbuf *next = pbuf->next;
        pbuf->next = NULL;
        pbuf_free(pbuf);
        tcp->reading = pbuf = next;
    }
    return (long)done;
}

/* Nothing to read, for now. No lock needed: what makes it otherwise is followed by a notification.
 */
static bool must_wait(const struct tcp_socket *tcp)
{
    return __atomic_load_n(&tcp->received, __ATOMIC_RELAXED) == 0 &&
           __atomic_load_n(&tcp->phase, __ATOMIC_RELAXED) == TCP_CONNECTED && !tcp->peer_closed &&
           !tcp->read_shut && __atomic_load_n(&tcp->inet.socket.error, __ATOMIC_RELAXED) == 0;
}

static long tcp_receive(struct socket *socket, struct socket_message *message)
{
    struct tcp_socket *tcp = tcp_of(socket);
    if ((message->flags & MSG_OOB) != 0) {
        return -EINVAL;
    }
    if ((message->flags & MSG_ERRQUEUE) != 0) {
        return -EAGAIN;
    }
    size_t size = message->io.remaining;
    bool peek = (message->flags & MSG_PEEK) != 0;
    if (must_wait(tcp)) {
        return -EAGAIN;
    }
    mutex_lock(&tcp->receive_mutex);
    uint32_t there = __atomic_load_n(&tcp->received, __ATOMIC_RELAXED);
    long result = 0;
    if (there == 0) {
        net_lock();
        if (tcp->received == 0) {
            result = socket_take_error(socket);
            if (result == 0) {
                result = tcp->phase == TCP_IDLE || tcp->phase == TCP_LISTENING          ? -ENOTCONN
                         : tcp->phase == TCP_GONE || tcp->peer_closed || tcp->read_shut ? 0
                                                                                        : -EAGAIN;
            }
            net_unlock();
            mutex_unlock(&tcp->receive_mutex);
            return result;
        }
        there = tcp->received;
        net_unlock();
    }
    size_t wanted = LWIP_MIN(size, there);
    net_lock();
    take_arrived(tcp);
    if (!peek) {
        tcp->unopened += (uint32_t)wanted;
        if (tcp->unopened >= LWIP_MIN(WINDOW_STEP, tcp->window / 4)) {
            open_window(tcp, tcp->unopened);
            tcp->unopened = 0;
        }
    }
    net_unlock();
    result = copy_out(tcp, message, wanted, peek);
    if (result > 0 && !peek) {
        __atomic_fetch_sub(&tcp->received, (uint32_t)result, __ATOMIC_RELAXED);
    }
    mutex_unlock(&tcp->receive_mutex);
    return result;
}

/* --- the end
 * --------------------------------------------------------------------------------------
 */

static void drop_accept_queue(struct tcp_socket *listener)
{
    while (!list_empty(&listener->accept_queue)) {
        struct tcp_socket *tcp =
            list_entry(list_pop_front(&listener->accept_queue), struct tcp_socket, accept_node);
        struct tcp_pcb *pcb = tcp->pcb;
        if (pcb != NULL) {
            detach(tcp);
            tcp_abort(pcb);
        }
        free_chain(tcp->arrived);
        kfree(tcp);
    }
    listener->accept_count = 0;
}

static void stop_listening(struct tcp_socket *tcp)
{
    struct tcp_pcb *pcb = tcp->pcb;
    tcp->pcb = NULL;
    tcp_arg(pcb, NULL);
    tcp_close(pcb);
    drop_accept_queue(tcp);
}

static int tcp_shutdown_socket(struct socket *socket, int how)
{
    struct tcp_socket *tcp = tcp_of(socket);
    int error = 0;
    net_lock();
    if (tcp->phase == TCP_LISTENING && how != SHUT_WR) {
        stop_listening(tcp);
        socket->listening = false;
        inet_unbind(&tcp->inet);
        tcp->inet.local_port = 0;
        set_phase(tcp, TCP_IDLE);
    } else if (tcp->phase == TCP_CONNECTED ||
               (tcp->phase == TCP_GONE && tcp->inet.remote_port != 0)) {
        if (how != SHUT_WR) {
            tcp->read_shut = true;
        }
        if (how != SHUT_RD && !tcp->write_shut) {
            tcp->write_shut = true;
            if (tcp->pcb != NULL && tcp->stalled == NULL) {
                error = inet_error(tcp_shutdown(tcp->pcb, 0, 1));
            }
        }
    } else {
        error = -ENOTCONN;
    }
    bool both = tcp->write_shut && (tcp->read_shut || tcp->peer_closed);
    socket_notify(socket, POLLOUT | POLLWRNORM |
                              (tcp->read_shut ? (uint32_t)(POLLIN | POLLRDNORM | POLLRDHUP) : 0) |
                              (both ? (uint32_t)POLLHUP : 0));
    net_unlock();
    return error;
}

/* Whether the peer has acknowledged the end. */
static bool has_closed(void *argument)
{
    const struct tcp_socket *tcp = argument;
    const struct tcp_pcb *pcb = tcp->pcb;
    return pcb == NULL || (pcb->state != FIN_WAIT_1 && pcb->state != CLOSING &&
                           pcb->state != LAST_ACK && tcp->stalled == NULL);
}

/* SO_LINGER: close waits for so long until the peer has everything (socket(7)). */
static void linger(struct tcp_socket *tcp)
{
    int32_t seconds = tcp->inet.socket.options.linger;
    net_lock();
    bool waits = seconds > 0 && tcp->phase == TCP_CONNECTED && tcp->received == 0;
    if (waits && !tcp->write_shut) {
        tcp->write_shut = true;
        if (tcp->stalled == NULL) {
            tcp_shutdown(tcp->pcb, 0, 1);
        }
    }
    net_unlock();
    if (waits) {
        net_wait(THREAD_SLEEPING_SIGNAL, deadline_after((uint64_t)seconds * 1000000000), has_closed,
                 tcp);
    }
}

/* As Linux: what nobody has read, or SO_LINGER with 0 seconds, ends the connection with a reset. */
static void release_connection(struct tcp_socket *tcp)
{
    if (tcp->received != 0 || tcp->inet.socket.options.linger == 0) {
        struct tcp_pcb *pcb = tcp->pcb;
        detach(tcp);
        tcp_abort(pcb);
    } else if (tcp->stalled != NULL) {
        tcp->orphan = tcp->write_shut = true; /* data_acknowledged does the rest */
    } else {
        close_connection(tcp);
    }
}

static void tcp_release(struct socket *socket)
{
    struct tcp_socket *tcp = tcp_of(socket);
    linger(tcp);
    net_lock();
    if (tcp->phase == TCP_LISTENING) {
        stop_listening(tcp);
    } else if (tcp->pcb != NULL) {
        release_connection(tcp);
    }
    inet_unbind(&tcp->inet);
    if (!tcp->orphan) {
        free_socket(tcp);
    }
    net_unlock();
}

void tcp_close_all(void)
{
    for (struct tcp_pcb *pcb = tcp_active_pcbs, *next; pcb != NULL; pcb = next) {
        struct tcp_socket *tcp = pcb->callback_arg; /* the listener's while it is half open */
        next = pcb->next;
        if (tcp == NULL || tcp->pcb != pcb) {
            continue;
        }
        bool orphan = tcp->orphan;
        release_connection(tcp);
        tcp->orphan = orphan; /* whoever is in a call of it still needs it */
        if (tcp->pcb == NULL) {
            set_phase(tcp, TCP_GONE);
        }
    }
}

bool tcp_has_unacknowledged(void)
{
    for (const struct tcp_pcb *pcb = tcp_active_pcbs; pcb != NULL; pcb = pcb->next) {
        bool unsent =
            pcb->unsent != NULL || pcb->unacked != NULL || (pcb->flags & TF_CLOSEPEND) != 0;
        if (unsent && pcb->state >= ESTABLISHED && !inet_is_own(&pcb->remote_ip)) {
            return true;
        }
    }
    return false;
}

/* --- options
 * --------------------------------------------------------------------------------------
 */

/* The state's number in Linux's include/net/tcp_states.h. */
uint8_t tcp_linux_state(const struct tcp_pcb *pcb)
{
    static const uint8_t states[] = {
        [CLOSED] = 7,      [LISTEN] = 10,    [SYN_SENT] = 2,   [SYN_RCVD] = 3,
        [ESTABLISHED] = 1, [FIN_WAIT_1] = 4, [FIN_WAIT_2] = 5, [CLOSE_WAIT] = 8,
        [CLOSING] = 11,    [LAST_ACK] = 9,   [TIME_WAIT] = 6,
    };
    return pcb == NULL ? states[CLOSED] : states[pcb->state];
}

static void fill_info(const struct tcp_socket *tcp, struct tcp_info *info)
{
    const struct tcp_pcb *pcb = tcp->pcb;
    memset(info, 0, sizeof(*info));
    info->tcpi_state = tcp_linux_state(pcb);
    if (pcb == NULL || pcb->state == LISTEN) {
        return;
    }
    info->tcpi_retransmits = pcb->nrtx;
    info->tcpi_options = ((pcb->flags & TF_SACK) != 0 ? TCPI_OPT_SACK : 0) |
                         ((pcb->flags & TF_WND_SCALE) != 0 ? TCPI_OPT_WSCALE : 0);
    info->tcpi_snd_wscale = pcb->snd_scale & 15;
    info->tcpi_rcv_wscale = pcb->rcv_scale & 15;
    info->tcpi_rto = (uint32_t)pcb->rto * TCP_SLOW_INTERVAL * 1000;
    info->tcpi_snd_mss = info->tcpi_rcv_mss = info->tcpi_advmss = pcb->mss;
    info->tcpi_rtt = (uint32_t)(pcb->sa >> 3) * TCP_SLOW_INTERVAL * 1000;
    info->tcpi_rttvar = (uint32_t)(pcb->sv >> 2) * TCP_SLOW_INTERVAL * 1000;
    info->tcpi_snd_cwnd = pcb->mss != 0 ? pcb->cwnd / pcb->mss : 0;
    info->tcpi_snd_ssthresh = pcb->mss != 0 ? pcb->ssthresh / pcb->mss : 0;
    info->tcpi_unacked = pcb->mss != 0 ? (pcb->snd_nxt - pcb->lastack) / pcb->mss : 0;
    info->tcpi_rcv_space = pcb->rcv_wnd;
}

static int set_tcp_option(struct tcp_socket *tcp, int name, int number)
{
    switch (name) {
    case TCP_NODELAY:
        tcp->no_delay = number != 0;
        break;
    case TCP_CORK:
        tcp->cork = number != 0;
        break;
    case TCP_KEEPIDLE:
    case TCP_KEEPINTVL:
        if (number < 1 || number > 32767) {
            return -EINVAL;
        }
        *(name == TCP_KEEPIDLE ? &tcp->keep_idle : &tcp->keep_interval) = (uint32_t)number;
        break;
    case TCP_KEEPCNT:
        if (number < 1 || number > 127) {
            return -EINVAL;
        }
        tcp->keep_count = (uint32_t)number;
        break;
    case TCP_USER_TIMEOUT:
        if (number < 0) {
            return -EINVAL;
        }
        tcp->user_timeout = (uint32_t)number;
        break;
    case TCP_QUICKACK:
        if (number != 0 && tcp->pcb != NULL && tcp->phase == TCP_CONNECTED) {
            tcp_ack_now(tcp->pcb);
        }
        break;
    default:
        return -ENOPROTOOPT;
    }
    apply_options(tcp);
    if (tcp->pcb != NULL && tcp->phase == TCP_CONNECTED) {
        tcp_output(tcp->pcb);
    }
    return 0;
}

static int tcp_set_option(struct socket *socket, int level, int name, const void *value,
                          size_t size)
{
    struct tcp_socket *tcp = tcp_of(socket);
    int error;
    if (level != IPPROTO_TCP) {
        error = inet_set_option(&tcp->inet, level, name, value, size);
        if (error == 0) {
            net_lock();
            apply_options(tcp);
            net_unlock();
        }
        return error;
    }
    if (name == TCP_CONGESTION) {
        return size == 4 && memcmp(value, "reno", 4) == 0 ? 0 : -ENOENT;
    }
    int number;
    if (size < sizeof(number)) {
        return -EINVAL;
    }
    memcpy(&number, value, sizeof(number));
    net_lock();
    error = set_tcp_option(tcp, name, number);
    net_unlock();
    return error;
}

static int tcp_get_option(struct socket *socket, int level, int name, void *value, size_t *size)
{
    struct tcp_socket *tcp = tcp_of(socket);
    if (level != IPPROTO_TCP) {
        return inet_get_option(&tcp->inet, level, name, value, size);
    }
    switch (name) {
    case TCP_NODELAY:
        return inet_option_store(value, size, tcp->no_delay);
    case TCP_CORK:
        return inet_option_store(value, size, tcp->cork);
    case TCP_KEEPIDLE:
        return inet_option_store(value, size, (int)tcp->keep_idle);
    case TCP_KEEPINTVL:
        return inet_option_store(value, size, (int)tcp->keep_interval);
    case TCP_KEEPCNT:
        return inet_option_store(value, size, (int)tcp->keep_count);
    case TCP_USER_TIMEOUT:
        return inet_option_store(value, size, (int)tcp->user_timeout);
    case TCP_QUICKACK:
        return inet_option_store(value, size, 1);
    case TCP_MAXSEG: {
        net_lock();
        int mss = tcp->pcb != NULL && tcp->phase == TCP_CONNECTED ? tcp->pcb->mss : 536;
        net_unlock();
        return inet_option_store(value, size, mss);
    }
    case TCP_CONGESTION:
        *size = LWIP_MIN(*size, 5);
        memcpy(value, "reno", *size);
        return 0;
    case TCP_INFO: {
        struct tcp_info info;
        net_lock();
        fill_info(tcp, &info);
        net_unlock();
        *size = LWIP_MIN(*size, sizeof(info));
        memcpy(value, &info, *size);
        return 0;
    }
    default:
        return -ENOPROTOOPT;
    }
}

static void tcp_option_changed(struct socket *socket, int name)
{
    (void)name;
    net_lock();
    apply_options(tcp_of(socket));
    net_unlock();
}

/* FIONREAD and SIOCOUTQ, tcp(7). */
static long tcp_ioctl(struct socket *socket, unsigned command, uintptr_t argument)
{
    const struct tcp_socket *tcp = tcp_of(socket);
    int number;
    if (command == 0x541b) { /* FIONREAD */
        number = (int)tcp->received;
    } else if (command == 0x5411) { /* SIOCOUTQ */
        number = (int)tcp->queued;
    } else {
        return -ENOIOCTLCMD;
    }
    return copy_to_user(argument, &number, sizeof(number));
}

const struct socket_operations tcp_operations = {
    .bind = tcp_bind_socket,
    .listen = tcp_listen_socket,
    .accept = tcp_accept_socket,
    .connect = tcp_connect_socket,
    .get_name = inet_get_name,
    .send = tcp_send,
    .receive = tcp_receive,
    .shutdown = tcp_shutdown_socket,
    .set_option = tcp_set_option,
    .get_option = tcp_get_option,
    .option_changed = tcp_option_changed,
    .poll = tcp_poll_events,
    .ioctl = tcp_ioctl,
    .release = tcp_release,
};
