/* SPDX-License-Identifier: MIT */
/* AF_UNIX (unix(7)): stream, datagram and sequenced-packet sockets, their connections and queues.
 * unix_lock guards all of it: the state of every socket, the queues, the table of names
 * (unix_names.c), and what is in flight (unix_rights.c). It is held for list operations only; bytes
 * are copied before a message is queued, and out of the first message under `reading`, since only
 * a reader takes messages out. */
#include <asm/ioctls.h>
#include <asm/socket.h>

#include "core/fs/fs_internal.h"
#include "core/fs/inode.h"
#include "core/net/unix_internal.h"
#include "core/syscall/process.h"

#define DATAGRAMS_MAX 10 /* net.unix.max_dgram_qlen */
#define PIECE_MAX 32768u /* bytes of a stream in one message */
#define MESSAGE_OVERHEAD 32u

#define POLL_IN (POLLIN | POLLRDNORM)
#define POLL_OUT (POLLOUT | POLLWRNORM | POLLWRBAND)

struct spinlock unix_lock = SPINLOCK_INIT(LOCK_FILE);

/* Who found a queue full, its own or anybody's; all are told when one has room again. */
static struct list blocked = LIST_INIT(blocked);

static struct list all = LIST_INIT(all);

static const struct socket_operations unix_operations;

static inline struct unix_socket *unix_of(struct socket *socket)
{
    return (struct unix_socket *)socket;
}

static inline bool is_datagram(const struct unix_socket *end)
{
    return end->socket.type == SOCK_DGRAM;
}

/* --- life
 * -----------------------------------------------------------------------------------------------------------
 */

static struct unix_socket *unix_allocate(void)
{
    struct unix_socket *end = kzalloc(sizeof(*end));
    if (end != NULL) {
        end->references = 1;
        mutex_init(&end->reading);
        list_init(&end->messages);
        list_init(&end->pending);
        list_init(&end->pending_node);
        list_init(&end->blocked_node);
        list_init(&end->flight_node);
        list_init(&end->name_node);
        list_init(&end->all_node);
    }
    return end;
}

static int unix_create(int type, int protocol, struct socket **out)
{
    if (protocol != 0 && protocol != AF_UNIX) {
        return -EPROTONOSUPPORT;
    }
    type = type == SOCK_RAW ? SOCK_DGRAM : type; /* as Linux */
    if (type != SOCK_STREAM && type != SOCK_DGRAM && type != SOCK_SEQPACKET) {
        return -ESOCKTNOSUPPORT;
    }
    struct unix_socket *end = unix_allocate();
    if (end == NULL) {
        return -ENOMEM;
    }
    socket_init(&end->socket, &unix_operations, AF_UNIX, type, protocol);
    spin_lock(&unix_lock);
    list_push_back(&all, &end->all_node);
    spin_unlock(&unix_lock);
    *out = &end->socket;
    return 0;
}

static struct unix_socket *unix_get(struct unix_socket *end)
{
    __atomic_add_fetch(&end->references, 1, __ATOMIC_RELAXED);
    return end;
}

void unix_put(struct unix_socket *end)
{
    if (__atomic_sub_fetch(&end->references, 1, __ATOMIC_ACQ_REL) == 0) {
        unix_name_put(end->name);
        kfree(end);
    }
}

void unix_message_free(struct unix_message *message)
{
    unix_rights_free(message->rights);
    unix_name_put(message->source);
    kfree(message);
}

/* Moves all of `from` behind what is in `to`. */
static void append_all(struct list *from, struct list *to)
{
    for (struct list *node; (node = list_pop_front(from)) != NULL;) {
        list_push_back(to, node);
    }
}

/* A message may hold the last reference of a socket whose queue holds the next one, and so on: one
 * thread at a time frees what all have put into a list, instead of each calling itself. */
void unix_messages_free(struct list *messages)
{
    static struct list dead = LIST_INIT(dead);
    static bool draining;
    if (list_empty(messages)) {
        return;
    }
    spin_lock(&unix_lock);
    append_all(messages, &dead);
    if (!draining) {
        draining = true;
        for (struct list *node; (node = list_pop_front(&dead)) != NULL;) {
            spin_unlock(&unix_lock);
            unix_message_free(list_entry(node, struct unix_message, node));
            spin_lock(&unix_lock);
        }
        draining = false;
    }
    spin_unlock(&unix_lock);
}

void unix_take_messages(struct unix_socket *end, struct list *into)
{
    list_for_each (node, &end->messages) {
        unix_rights_landed(list_entry(node, struct unix_message, node)->rights);
    }
    append_all(&end->messages, into);
    end->queued = end->count = 0;
}

/* unix_lock held. */
static void wake_blocked(void)
{
    for (struct list *node; (node = list_pop_front(&blocked)) != NULL;) {
        socket_notify(&list_entry(node, struct unix_socket, blocked_node)->socket, POLL_OUT);
    }
}

static void block(struct unix_socket *end)
{
    if (list_empty(&end->blocked_node)) {
        list_push_back(&blocked, &end->blocked_node);
    }
}

/* Nothing connects or sends to it from now on, its peer finds the end. unix_lock held; what is to
 * be freed outside of the lock goes into the lists. */
static void unix_close(struct unix_socket *end, struct list *messages, struct list *orphans)
{
    struct unix_socket *peer = end->peer;
    end->closed = true;
    end->receive_shut = end->send_shut = true;
    list_remove(&end->blocked_node);
    list_remove(&end->name_node);
    list_remove(&end->all_node);
    bool unread = !list_empty(&end->messages);
    unix_take_messages(end, messages);
    if (peer != NULL && peer->peer == end && !is_datagram(end)) {
        peer->receive_shut = peer->send_shut = true;
        if (unread || end->embryo) {
            socket_set_error(&peer->socket, ECONNRESET);
        }
        socket_notify(&peer->socket, POLL_IN | POLL_OUT | POLLHUP | POLLRDHUP |
                                         (unread || end->embryo ? POLLERR : 0));
    }
    for (struct list *node; (node = list_pop_front(&end->pending)) != NULL;) {
        list_push_back(orphans, node);
    }
    wake_blocked();
}

static void unix_release(struct socket *socket)
{
    struct list messages = LIST_INIT(messages), orphans = LIST_INIT(orphans);
    struct unix_socket *end = unix_of(socket);
    struct inode *inode = end->inode;
    spin_lock(&unix_lock);
    unix_close(end, &messages, &orphans);
    struct unix_socket *peer = end->peer;
    end->peer = NULL;
    end->inode = NULL;
    spin_unlock(&unix_lock);
    if (peer != NULL) {
        unix_put(peer);
    }
    if (inode != NULL) {
        inode_put(inode);
    }
    for (struct list *node; (node = list_pop_front(&orphans)) != NULL;) {
        unix_release(&list_entry(node, struct unix_socket, pending_node)->socket);
    }
    unix_messages_free(&messages);
    unix_put(end);
    unix_rights_collect();
}

unsigned unix_view_all(struct unix_view *views, unsigned room)
{
    unsigned count = 0;
    spin_lock(&unix_lock);
    list_for_each (node, &all) {
        const struct unix_socket *end = list_entry(node, struct unix_socket, all_node);
        if (count < room) {
            struct unix_view *view = &views[count];
            *view = (struct unix_view){.references = end->references,
                                       .type = end->socket.type,
                                       .listening = end->socket.listening,
                                       .connected = end->peer != NULL,
                                       .inode = socket_inode_number(&end->socket)};
            view->length = unix_name_show(end->name, &view->name);
        }
        count++;
    }
    spin_unlock(&unix_lock);
    return count;
}

/* --- names and connections
 * --------------------------------------------------------------------------------------------
 */

static int unix_bind(struct socket *socket, const union socket_address *address, unsigned length)
{
    struct unix_socket *end = unix_of(socket);
    return unix_name_bind(end, address, length);
}

static int unix_get_name(struct socket *socket, union socket_address *address, bool peer)
{
    struct unix_socket *end = unix_of(socket);
    int length = -ENOTCONN;
    spin_lock(&unix_lock);
    if (peer) {
        end = end->peer;
    }
    if (end != NULL) {
        length = unix_name_show(end->name, address);
    }
    spin_unlock(&unix_lock);
    return length;
}

static int unix_listen(struct socket *socket, int backlog)
{
    struct unix_socket *end = unix_of(socket);
    int result = 0;
    if (is_datagram(end)) {
        return -EOPNOTSUPP;
    }
    spin_lock(&unix_lock);
    if (end->name == NULL || (end->peer != NULL && !socket->listening)) {
        result = -EINVAL;
    } else {
        end->backlog = (unsigned)backlog;
        socket->listening = true;
        wake_blocked();
    }
    spin_unlock(&unix_lock);
    return result;
}

static void join(struct unix_socket *left, struct unix_socket *right)
{
    left->peer = unix_get(right);
    right->peer = unix_get(left);
    left->connected = right->connected = true;
}

static int unix_pair(struct socket *left, struct socket *right)
{
    spin_lock(&unix_lock);
    join(unix_of(left), unix_of(right));
    spin_unlock(&unix_lock);
    return 0;
}

/* Why the connection cannot be made now; 0: it can. unix_lock held. */
static int may_connect(const struct unix_socket *end, const struct unix_socket *listener)
{
    return end->connected                              ? -EISCONN
           : end->socket.listening                     ? -EINVAL
           : listener->socket.type != end->socket.type ? -EPROTOTYPE
           : !listener->socket.listening || listener->closed || listener->receive_shut
               ? -ECONNREFUSED
           : listener->pending_count > listener->backlog ? -EAGAIN
                                                         : 0;
}

/* As on Linux the connection is there before anybody accepts it. */
static int connect_stream(struct unix_socket *end, struct unix_socket *listener)
{
    struct unix_socket *accepted = unix_allocate();
    if (accepted == NULL) {
        return -ENOMEM;
    }
    socket_init_accepted(&accepted->socket, &listener->socket);
    spin_lock(&unix_lock);
    int result = may_connect(end, listener);
    if (result == 0) {
        accepted->name = unix_name_get(listener->name);
        accepted->embryo = true;
        list_push_back(&all, &accepted->all_node);
        join(end, accepted);
        list_push_back(&listener->pending, &accepted->pending_node);
        listener->pending_count++;
        socket_notify(&listener->socket, POLL_IN);
        socket_notify(&end->socket, POLL_OUT);
    } else if (result == -EAGAIN) {
        block(end);
    }
    spin_unlock(&unix_lock);
    if (result != 0) {
        unix_put(accepted);
    }
    return result;
}

/* A datagram socket that is connected takes messages from its peer only. unix_lock held. */
static bool may_send(const struct unix_socket *end, const struct unix_socket *to)
{
    return to->peer == NULL || to->peer == end;
}

static int connect_datagram(struct unix_socket *end, struct unix_socket *peer)
{
    struct unix_socket *old;
    int result = 0;
    spin_lock(&unix_lock);
    old = end->peer;
    if (peer != NULL && (peer->closed || !is_datagram(peer))) {
        result = peer->closed ? -ECONNREFUSED : -EPROTOTYPE;
    } else if (peer != NULL && !may_send(end, peer)) {
        result = -EPERM;
    }
    if (result == 0) {
        end->peer = peer == NULL ? NULL : unix_get(peer);
        end->connected = peer != NULL;
        socket_notify(&end->socket, POLL_OUT);
    }
    spin_unlock(&unix_lock);
    if (result == 0 && old != NULL) {
        unix_put(old);
    }
    return result;
}

static int unix_connect(struct socket *socket, const union socket_address *address, unsigned length)
{
    struct unix_socket *end = unix_of(socket), *other;
    if (is_datagram(end) && length >= sizeof(address->family) && address->family == AF_UNSPEC) {
        return connect_datagram(end, NULL);
    }
    int result = 0;
    if (socket->options.pass_credentials && end->name == NULL) {
        result = unix_name_bind(end, &(union socket_address){.family = AF_UNIX},
                                sizeof(address->family));
    }
    if (result == 0) {
        result = unix_name_find(address, length, &other);
    }
    if (result == 0) {
        result = is_datagram(end) ? connect_datagram(end, other) : connect_stream(end, other);
        unix_put(other);
    }
    return result;
}

static int unix_accept(struct socket *socket, struct socket **out)
{
    struct unix_socket *end = unix_of(socket);
    int result = -EAGAIN;
    if (is_datagram(end)) {
        return -EOPNOTSUPP;
    }
    spin_lock(&unix_lock);
    struct list *node = list_pop_front(&end->pending);
    if (!socket->listening || (node == NULL && end->receive_shut)) {
        result = -EINVAL;
    } else if (node != NULL) {
        struct unix_socket *accepted = list_entry(node, struct unix_socket, pending_node);
        accepted->embryo = false;
        if (end->pending_count-- > end->backlog) {
            wake_blocked();
        }
        *out = &accepted->socket;
        result = 0;
    }
    spin_unlock(&unix_lock);
    return result;
}

static int unix_shutdown(struct socket *socket, int how)
{
    struct unix_socket *end = unix_of(socket);
    bool receive = how != SHUT_WR, send = how != SHUT_RD;
    spin_lock(&unix_lock);
    end->receive_shut |= receive;
    end->send_shut |= send;
    struct unix_socket *peer = end->peer;
    if (peer != NULL && !is_datagram(end)) {
        peer->receive_shut |= send;
        peer->send_shut |= receive;
        socket_notify(&peer->socket, POLL_IN | POLL_OUT | POLLRDHUP |
                                         (peer->receive_shut && peer->send_shut ? POLLHUP : 0));
    }
    socket_notify(socket, POLL_IN | POLL_OUT | POLLRDHUP |
                              (end->receive_shut && end->send_shut ? POLLHUP : 0));
    wake_blocked();
    spin_unlock(&unix_lock);
    return 0;
}

/* --- sending
 * --------------------------------------------------------------------------------------------------------
 */

/* Of a stream: bytes that wait for the reader. Of the others: messages. */
static bool is_full(const struct unix_socket *to, const struct unix_socket *from)
{
    return to->socket.type == SOCK_STREAM ? to->queued >= from->socket.options.send_buffer
           : is_datagram(to)              ? to->count > DATAGRAMS_MAX
                                          : to->queued >= from->socket.options.send_buffer;
}

/* Linux's unix_writable: a writer is told only once much of the queue has been read. */
static bool has_room(const struct unix_socket *to, const struct unix_socket *from)
{
    return is_datagram(to) ? to->count <= DATAGRAMS_MAX
                           : (uint64_t)to->queued * 4 <= from->socket.options.send_buffer;
}

/* Why nothing can be sent from the one to the other; 0: it can. unix_lock held. */
static int send_state(struct unix_socket *end, struct unix_socket *to)
{
    if (end->send_shut) {
        return -EPIPE;
    }
    if (to == NULL) {
        return -ENOTCONN;
    }
    if (is_datagram(end)) {
        if (to->closed) {
            return -ECONNREFUSED;
        }
        if (!is_datagram(to)) {
            return -EPROTOTYPE;
        }
        if (!may_send(end, to)) {
            return -EPERM;
        }
    }
    if (to->closed || to->receive_shut) {
        return -EPIPE;
    }
    if (to != end && is_full(to, end)) {
        block(end);
        return -EAGAIN;
    }
    return 0;
}

/* Where a message is to go, with a reference; *to is NULL when there is no peer. */
static int find_destination(struct unix_socket *end, const struct socket_message *message,
                            struct unix_socket **to)
{
    if (message->name_length != 0) {
        return !is_datagram(end) ? end->connected ? -EISCONN : -EOPNOTSUPP
                                 : unix_name_find(&message->name, message->name_length, to);
    }
    spin_lock(&unix_lock);
    *to = end->peer == NULL ? NULL : unix_get(end->peer);
    spin_unlock(&unix_lock);
    return 0;
}

/* Puts the message into the queue of `to`, and its rights in flight. unix_lock held. */
static void enqueue(struct unix_socket *to, struct unix_message *message)
{
    unix_rights_sent(message->rights);
    list_push_back(&to->messages, &message->node);
    to->queued += message->size;
    to->count++;
    socket_notify(&to->socket, POLL_IN);
}

/* One message of `size` bytes. Bytes or -errno. */
static long send_message(struct unix_socket *end, struct unix_socket *to,
                         struct socket_message *from, size_t size, struct unix_rights **rights)
{
    struct unix_message *message = kmalloc(sizeof(*message) + size);
    if (message == NULL) {
        return -ENOMEM;
    }
    message->size = (unsigned)size;
    message->at = 0;
    message->rights = *rights;
    message->source = NULL;
    long result = io_copy_from(&from->io, message->bytes, size);
    if (result == 0) {
        spin_lock(&unix_lock);
        message->source = unix_name_get(end->name);
        result = send_state(end, to);
        if (result == -EAGAIN) {
            result = 0; /* others were faster with the last room; the bytes are taken */
        }
        if (result == 0) {
            enqueue(to, message);
            *rights = NULL;
            result = (long)size;
        }
        spin_unlock(&unix_lock);
    }
    if (result < 0) {
        message->rights = NULL; /* stay the caller's */
        unix_message_free(message);
    }
    return result;
}

static long unix_send(struct socket *socket, struct socket_message *message)
{
    struct unix_socket *end = unix_of(socket), *to = NULL;
    struct unix_rights *rights = NULL;
    size_t size = message->io.remaining;
    if ((message->flags & MSG_OOB) != 0) {
        return -EOPNOTSUPP;
    }
    long result = socket_take_error(socket);
    if (result == 0) {
        result = find_destination(end, message, &to);
    }
    if (result == 0) {
        spin_lock(&unix_lock);
        result = send_state(end, to);
        spin_unlock(&unix_lock);
    }
    if (result == 0 && socket->type != SOCK_STREAM &&
        size > socket->options.send_buffer - MESSAGE_OVERHEAD) {
        result = -EMSGSIZE;
    }
    if (result == 0) {
        result = unix_rights_parse(message, &rights);
    }
    if (result == 0 && is_datagram(end) && socket->options.pass_credentials && end->name == NULL) {
        result = unix_name_bind(end, &(union socket_address){.family = AF_UNIX},
                                sizeof(message->name.family));
    }
    if (result == 0 && socket->type == SOCK_STREAM) {
        long total = 0;
        while (message->io.remaining != 0) {
            result = send_message(end, to, message, MIN(message->io.remaining, PIECE_MAX), &rights);
            if (result < 0) {
                break;
            }
            total += result;
            spin_lock(&unix_lock);
            bool full = is_full(to, end);
            spin_unlock(&unix_lock);
            if (full) {
                break;
            }
        }
        result = total != 0 ? total : result;
    } else if (result == 0) {
        result = send_message(end, to, message, size, &rights);
    }
    unix_rights_free(rights);
    if (to != NULL) {
        unix_put(to);
    }
    return result;
}

/* --- receiving
 * ------------------------------------------------------------------------------------------------------
 */

/* Takes `bytes` off what is queued, and tells the writers when that made it writable. unix_lock
 * held. */
static void make_room(struct unix_socket *end, unsigned bytes, unsigned messages)
{
    const struct unix_socket *writer = end->peer == NULL ? end : end->peer;
    bool had_room = has_room(end, writer);
    end->queued -= bytes;
    end->count -= messages;
    if (!had_room && has_room(end, writer)) {
        wake_blocked();
    }
}

/* Takes the first message out of the queue. unix_lock held. */
static void take_first(struct unix_socket *end, struct unix_message *message)
{
    list_remove(&message->node);
    unix_rights_landed(message->rights);
    make_room(end, message->size - message->at, 1);
}

static void tell_source(struct socket_message *to, const struct unix_name *source)
{
    if (source != NULL) {
        to->name_length = (unsigned)unix_name_show(source, &to->name);
    }
}

static void put_credentials(struct unix_socket *end, struct socket_message *to)
{
    if (end->socket.options.pass_credentials) {
        const struct unix_credentials credentials = {.pid = PROCESS_ID};
        (void)control_put(to, SOL_SOCKET, SCM_CREDENTIALS, &credentials, sizeof(credentials));
    }
}

/* Why there is nothing to receive. unix_lock held. */
static long nothing(struct unix_socket *end)
{
    int error = socket_take_error(&end->socket);
    if (error != 0) {
        return error;
    }
    if (end->receive_shut) {
        return 0;
    }
    return is_datagram(end) || end->connected ? -EAGAIN
           : end->socket.type == SOCK_STREAM  ? -EINVAL
                                              : -ENOTCONN;
}

static long receive_message(struct unix_socket *end, struct socket_message *to)
{
    struct unix_message *message = NULL;
    bool peek = (to->flags & MSG_PEEK) != 0;
    long result = 0;
    spin_lock(&unix_lock);
    if (list_empty(&end->messages)) {
        result = nothing(end);
    } else {
        message = list_entry(end->messages.next, struct unix_message, node);
        if (!peek) {
            take_first(end, message);
        }
    }
    spin_unlock(&unix_lock);
    if (message == NULL) {
        return result;
    }
    size_t size = MIN(message->size, to->io.remaining);
    tell_source(to, message->source);
    result = io_copy_to(&to->io, message->bytes, size);
    if (result == 0) {
        result = (long)size;
        if (size < message->size) {
            to->result_flags |= MSG_TRUNC;
            result = (to->flags & MSG_TRUNC) != 0 ? message->size : result;
        }
        if (end->socket.type == SOCK_SEQPACKET) {
            to->result_flags |= MSG_EOR;
        }
        put_credentials(end, to);
        unix_rights_receive(message->rights, to);
    }
    if (!peek) {
        unix_message_free(message);
    }
    return result;
}

/* `used` more bytes of the first message have been read. True: that was all, it is out of the
 * queue. */
static bool consume(struct unix_socket *end, struct unix_message *message, size_t used)
{
    spin_lock(&unix_lock);
    message->at += (unsigned)used;
    make_room(end, (unsigned)used, 0);
    bool done = message->at == message->size;
    if (done) {
        take_first(end, message);
    }
    spin_unlock(&unix_lock);
    return done;
}

/* The message behind `after`, or the first. */
static struct unix_message *next_message(struct unix_socket *end, struct unix_message *after)
{
    spin_lock(&unix_lock);
    struct list *node = after == NULL ? end->messages.next : after->node.next;
    struct unix_message *message =
        node == &end->messages ? NULL : list_entry(node, struct unix_message, node);
    spin_unlock(&unix_lock);
    return message;
}

/* Bytes of one message after the other, up to one with rights: those go with its first byte, and
 * nothing behind it is read in the same call. */
static long receive_stream(struct unix_socket *end, struct socket_message *to)
{
    bool peek = (to->flags & MSG_PEEK) != 0;
    struct unix_message *message = NULL;
    long total = 0;
    int result = 0;
    while (to->io.remaining != 0) {
        message = next_message(end, peek ? message : NULL);
        if (message == NULL || (message->rights != NULL && total != 0)) {
            break;
        }
        size_t piece = MIN(message->size - message->at, to->io.remaining);
        result = io_copy_to(&to->io, message->bytes + message->at, piece);
        if (result != 0) {
            break;
        }
        if (total == 0) {
            tell_source(to, message->source);
            put_credentials(end, to);
        }
        total += (long)piece;
        struct unix_rights *rights = message->rights;
        if (rights != NULL) {
            unix_rights_receive(rights, to);
        }
        if (!peek) {
            if (rights != NULL) {
                spin_lock(&unix_lock);
                unix_rights_landed(rights);
                message->rights = NULL;
                spin_unlock(&unix_lock);
                unix_rights_free(rights);
            }
            if (consume(end, message, piece)) {
                unix_message_free(message);
            }
        }
        if (rights != NULL) {
            break;
        }
    }
    if (total == 0 && result == 0 && message == NULL && to->io.remaining != 0) {
        spin_lock(&unix_lock);
        total = list_empty(&end->messages) ? nothing(end) : -EAGAIN;
        spin_unlock(&unix_lock);
    }
    return total != 0 ? total : result;
}

static long unix_receive(struct socket *socket, struct socket_message *message)
{
    struct unix_socket *end = unix_of(socket);
    if ((message->flags & (MSG_OOB | MSG_ERRQUEUE)) != 0) {
        return (message->flags & MSG_OOB) != 0 ? -EOPNOTSUPP : -EAGAIN;
    }
    mutex_lock(&end->reading);
    long done =
        socket->type == SOCK_STREAM ? receive_stream(end, message) : receive_message(end, message);
    mutex_unlock(&end->reading);
    return done;
}

/* --- readiness, options
 * -----------------------------------------------------------------------------------------------
 */

static uint32_t unix_poll(struct socket *socket)
{
    struct unix_socket *end = unix_of(socket);
    uint32_t events = __atomic_load_n(&socket->error, __ATOMIC_RELAXED) != 0 ? POLLERR : 0;
    spin_lock(&unix_lock);
    events |= end->receive_shut && end->send_shut ? POLLHUP : 0;
    events |= end->receive_shut ? POLLRDHUP | POLL_IN : 0;
    events |= list_empty(&end->messages) && list_empty(&end->pending) ? 0 : POLL_IN;
    if (!is_datagram(end) && !end->connected && !socket->listening) {
        events |= POLLHUP;
    }
    const struct unix_socket *to = end->peer;
    if (!socket->listening) {
        if (to == NULL || to == end || has_room(to, end)) {
            events |= POLL_OUT;
        } else {
            block(end);
        }
    }
    spin_unlock(&unix_lock);
    return events;
}

static int unix_get_option(struct socket *socket, int level, int name, void *value, size_t *size)
{
    struct unix_credentials credentials = {.uid = UINT32_MAX, .gid = UINT32_MAX};
    if (level != SOL_SOCKET || name != SO_PEERCRED) {
        return level == SOL_SOCKET ? -ENOPROTOOPT : -EOPNOTSUPP;
    }
    struct unix_socket *end = unix_of(socket);
    if (end->connected || socket->listening) {
        credentials = (struct unix_credentials){.pid = PROCESS_ID};
    }
    *size = MIN(*size, sizeof(credentials));
    memcpy(value, &credentials, *size);
    return 0;
}

static long unix_ioctl(struct socket *socket, unsigned command, uintptr_t argument)
{
    struct unix_socket *end = unix_of(socket);
    int32_t bytes = 0;
    if (command != FIONREAD && command != TIOCOUTQ) {
        return -ENOIOCTLCMD;
    }
    if (socket->listening) {
        return -EINVAL;
    }
    spin_lock(&unix_lock);
    if (command == TIOCOUTQ) {
        bytes = end->peer == NULL ? 0 : (int32_t)end->peer->queued;
    } else if (!is_datagram(end)) {
        bytes = (int32_t)end->queued;
    } else if (!list_empty(&end->messages)) {
        bytes = (int32_t)list_entry(end->messages.next, struct unix_message, node)->size;
    }
    spin_unlock(&unix_lock);
    return copy_to_user(argument, &bytes, sizeof(bytes));
}

static const struct socket_operations unix_operations = {
    .bind = unix_bind,
    .listen = unix_listen,
    .accept = unix_accept,
    .connect = unix_connect,
    .get_name = unix_get_name,
    .send = unix_send,
    .receive = unix_receive,
    .shutdown = unix_shutdown,
    .pair = unix_pair,
    .get_option = unix_get_option,
    .poll = unix_poll,
    .ioctl = unix_ioctl,
    .release = unix_release,
};

void unix_init(void)
{
    static const struct socket_family family = {AF_UNIX, unix_create};
    socket_register(&family);
}
