/* SPDX-License-Identifier: MIT */
/* Sockets: what all address families share. A family (unix.c, netlink.c, the inet families over
 * lwIP) embeds struct socket in its own, gives an operation table, and registers itself; socket.c
 * turns system calls and file operations into calls of that table.
 *
 * Who blocks: socket.c only. No operation waits for the network or for a peer; one that would
 * returns -EAGAIN (connect: -EINPROGRESS), and the family calls socket_notify once the same call
 * may have another outcome, whether or not O_NONBLOCK is set. Around that socket.c does
 * O_NONBLOCK, MSG_DONTWAIT, MSG_WAITALL, SO_RCVTIMEO and SO_SNDTIMEO, signals, restarts, and
 * SIGPIPE. Operations may sleep in a mutex and in copies from and to the program.
 *
 * socket.c holds no lock over an operation, and several threads may be in operations of one socket
 * at a time: the family locks for itself. release is the last call. */
#pragma once

#include <asm/socket.h>
#include <linux/poll.h>
#include <linux/types.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/fs/file.h"
#include "core/sched/wait.h"

/* Linux, include/linux/socket.h. Kernel headers for programs do not have them. */
enum { /* domain */
       AF_UNSPEC = 0,
       AF_UNIX = 1,
       AF_INET = 2,
       AF_INET6 = 10,
       AF_NETLINK = 16,
       AF_PACKET = 17,
       AF_MAX = 46,
};

enum { /* type */
       SOCK_STREAM = 1,
       SOCK_DGRAM = 2,
       SOCK_RAW = 3,
       SOCK_SEQPACKET = 5,
       SOCK_TYPE_MASK = 15,
       SOCK_NONBLOCK = 04000,
       SOCK_CLOEXEC = 02000000,
};

enum { /* flags of a message */
       MSG_OOB = 1,
       MSG_PEEK = 2,
       MSG_DONTROUTE = 4,
       MSG_CTRUNC = 8,
       MSG_TRUNC = 0x20,
       MSG_DONTWAIT = 0x40,
       MSG_EOR = 0x80,
       MSG_WAITALL = 0x100,
       MSG_CONFIRM = 0x800,
       MSG_ERRQUEUE = 0x2000,
       MSG_NOSIGNAL = 0x4000,
       MSG_MORE = 0x8000,
       MSG_WAITFORONE = 0x10000,
       MSG_CMSG_CLOEXEC = 0x40000000,
};

enum { SHUT_RD, SHUT_WR, SHUT_RDWR };

enum { SCM_RIGHTS = 1, SCM_CREDENTIALS = 2 };

#define SOMAXCONN 4096

/* Room for an address of any family (struct sockaddr_storage). */
union socket_address {
    uint16_t family;
    uint8_t bytes[128];
    uint64_t align;
};

/* A struct cmsghdr; the data follows, and the next one begins at a multiple of 8. */
struct control_header {
    uint64_t length; /* with this header */
    int32_t level, type;
};

/* One message on its way. */
struct socket_message {
    struct io_vector io;
    unsigned flags; /* MSG_ as the program gave them, without those that socket.c does itself
                       (DONTWAIT, WAITALL, NOSIGNAL); recvmsg adds MSG_TRUNC, MSG_CTRUNC, MSG_EOR,
                       MSG_ERRQUEUE to `result_flags` */
    unsigned result_flags;
    /* Send: the destination, when name_length is not 0. Receive: the family stores the source and
     * its length here if it has one (name_length is 0 before). */
    union socket_address name;
    unsigned name_length;
    /* Send: the control messages as the program gave them, checked for nothing (control_next).
     * Receive: what control_put has put so far; control_room bytes are there. */
    uint8_t *control;
    size_t control_length, control_room;
};

/* Walks the control messages of a message to be sent: the next after `at` (NULL: the first), or
 * NULL at the end; *result is -EINVAL when the rest is malformed. Its data is at header + 1, length
 * - sizeof(*header) bytes. */
const struct control_header *control_next(const struct socket_message *message,
                                          const struct control_header *at, int *result);

/* Appends a control message to one that is received. When there is no room for all of it,
 * MSG_CTRUNC is set and nothing is put: false. */
bool control_put(struct socket_message *message, int level, int type, const void *data,
                 size_t size);

/* The options of SOL_SOCKET that a family may want to look at; names as in socket(7). Written by
 * setsockopt, read by anybody: each is a word of its own. */
struct socket_options {
    uint64_t receive_timeout, send_timeout; /* ns; UINT64_MAX: none */
    uint32_t receive_buffer, send_buffer;   /* bytes; what the program sees (twice what it asked) */
    uint32_t receive_low;                   /* SO_RCVLOWAT */
    int32_t linger;                         /* s; -1: off */
    uint32_t mark, priority;
    int32_t bound_device; /* interface index by SO_BINDTODEVICE or SO_BINDTOIFINDEX; 0: any */
    bool reuse_address, reuse_port, keep_alive, broadcast, do_not_route, oob_inline;
    bool pass_credentials, timestamp, timestamp_ns, receive_overflow;
};

struct socket;

/* Absent: -EOPNOTSUPP, but for the ones that must be there: poll, release. */
struct socket_operations {
    /* `length` bytes of the address are the program's, at most sizeof(*address); the rest is zero.
     */
    int (*bind)(struct socket *socket, const union socket_address *address, unsigned length);
    /* 0 <= backlog <= SOMAXCONN. */
    int (*listen)(struct socket *socket, int backlog);
    /* The next connection, as a socket that has no file yet: socket.c makes one, or releases it.
     * -EAGAIN when there is none. A connection that was reset while it waited is not reported: the
     * call goes on to the next. */
    int (*accept)(struct socket *socket, struct socket **out);
    /* -EINPROGRESS: it has begun. Called again: -EALREADY while that goes on; its outcome once;
     * -EISCONN from then on. -EAGAIN: it cannot even begin yet. */
    int (*connect)(struct socket *socket, const union socket_address *address, unsigned length);
    /* The own name, or that of the peer: its length, which may be more than fits. -ENOTCONN. */
    int (*get_name)(struct socket *socket, union socket_address *address, bool peer);
    /* Bytes taken from message->io. A stream takes what fits, at least one byte (or none of an
     * empty message); the others all or -EMSGSIZE. -EPIPE: no more can be sent. */
    long (*send)(struct socket *socket, struct socket_message *message);
    /* Bytes put into message->io; 0 at the end of a stream. Of a datagram that does not fit the
     * rest is dropped and MSG_TRUNC set in result_flags; the number returned is then its whole
     * length if message->flags has MSG_TRUNC. */
    long (*receive)(struct socket *socket, struct socket_message *message);
    int (*shutdown)(struct socket *socket, int how);
    /* Both joined to each other (socketpair). */
    int (*pair)(struct socket *left, struct socket *right);
    /* Levels other than SOL_SOCKET, and those of SOL_SOCKET that socket.c does not know. The value
     * is in kernel memory. set: `size` bytes are the program's. get: at most *size bytes; the
     * length is stored there. -ENOPROTOOPT. */
    int (*set_option)(struct socket *socket, int level, int name, const void *value, size_t size);
    int (*get_option)(struct socket *socket, int level, int name, void *value, size_t *size);
    /* An option of SOL_SOCKET has been stored in socket->options. */
    void (*option_changed)(struct socket *socket, int name);
    /* The POLL bits that hold now (epoll: EPOLLRDHUP is POLLRDHUP). Any thread, no lock held; takes
     * spinlocks only. */
    uint32_t (*poll)(struct socket *socket);
    /* -ENOIOCTLCMD: not the family's; then the interface ioctls of netdevice(7) are tried. */
    long (*ioctl)(struct socket *socket, unsigned command, uintptr_t argument);
    /* The program has no way to it any more. The family frees it, at once or later. */
    void (*release)(struct socket *socket);
};

#define ENOIOCTLCMD 515 /* include/linux/errno.h; never leaves the kernel */

struct socket {
    const struct socket_operations *operations;
    struct wait_queue queue; /* who waits for anything of this socket */
    uint16_t domain, type;
    int32_t protocol;
    int32_t error; /* a positive errno that nobody has been told yet (SO_ERROR); atomic */
    bool listening;
    struct socket_options options;
};

/* Fills a new socket that its family has allocated. */
void socket_init(struct socket *socket, const struct socket_operations *operations, int domain,
                 int type, int protocol);

/* As socket_init, with the options of a listening socket, for what accept will give. */
void socket_init_accepted(struct socket *socket, const struct socket *listener);

/* Tells those who wait: `events` are the POLL bits that may have come. An edge-triggered watch
 * reports each call, so it is made once for each event and after the state has changed. Any
 * context; LOCK_WAIT_QUEUE and above not held. */
static inline void socket_notify(struct socket *socket, uint32_t events)
{
    wait_queue_notify(&socket->queue, events);
}

/* The pending error, as -errno, which is then no longer pending; 0: none. */
static inline int socket_take_error(struct socket *socket)
{
    if (__atomic_load_n(&socket->error, __ATOMIC_RELAXED) == 0) {
        return 0;
    }
    return -__atomic_exchange_n(&socket->error, 0, __ATOMIC_RELAXED);
}

/* Stores a pending error (a positive errno); the caller notifies POLLERR. */
static inline void socket_set_error(struct socket *socket, int error)
{
    __atomic_store_n(&socket->error, error, __ATOMIC_RELAXED);
}

/* An address family. `type` is a known one without flags. -EPROTONOSUPPORT, -ESOCKTNOSUPPORT,
 * -ENOMEM. */
struct socket_family {
    int domain;
    int (*create)(int type, int protocol, struct socket **out);
};

/* Before the program runs; the family stays the caller's and must stay. */
void socket_register(const struct socket_family *family);

/* What fstat, /proc/self/fd and /proc/net call it. */
static inline uint64_t socket_inode_number(const struct socket *socket)
{
    return ((uintptr_t)socket >> 4) & UINT32_MAX;
}

/* A socket of AF_UNIX as /proc/net shows it (unix.c). */
struct unix_view {
    uint32_t references;
    uint16_t type;
    bool listening, connected;
    uint64_t inode;
    int length; /* of the name */
    union socket_address name;
};

/* Copies up to `room` of them; how many there are. */
unsigned unix_view_all(struct unix_view *views, unsigned room);

/* How many are open, of all families; atomic. */
extern uint32_t socket_count;

/* The socket of an open file, or NULL. */
struct socket *socket_of_file(struct file *file);
