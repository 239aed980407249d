/* SPDX-License-Identifier: MIT */
/* What the files of AF_UNIX share: the socket, its messages, names, and rights in flight. */
#pragma once

#include "core/net/socket.h"
#include "core/sched/sched.h"

extern struct spinlock unix_lock; /* unix.c says what it guards */

/* struct ucred. */
struct unix_credentials {
    int32_t pid;
    uint32_t uid, gid;
};

/* What a socket is bound to; shared by those who show it, never changed. */
struct unix_name {
    uint32_t references; /* atomic */
    unsigned length;     /* of the whole address, as getsockname gives it */
    union socket_address address;
};

/* Files on their way (SCM_RIGHTS). */
#define RIGHTS_MAX 253u
struct unix_rights {
    unsigned count;
    bool in_flight;       /* counted in the sockets that are among the files; unix_lock */
    struct file *files[]; /* with a reference each */
};

struct unix_message {
    struct list node;
    unsigned size, at;          /* bytes; where the next reader of a stream begins */
    struct unix_rights *rights; /* NULL: none */
    struct unix_name *source;   /* NULL: the sender had no name */
    char bytes[];
};

struct unix_socket {
    struct socket socket; /* first */
    uint32_t references;  /* atomic: the file's (or the accept queue's), and each peer pointer's */
    struct mutex reading; /* whoever takes messages out */
    struct unix_socket *peer; /* with a reference; this and all below: unix_lock */
    bool connected;           /* has been, once */
    bool closed;
    bool embryo; /* nobody has accepted it yet */
    bool receive_shut, send_shut;
    struct list messages;
    unsigned queued, count; /* bytes and messages in it */
    struct list pending;    /* listening: connections that wait, by pending_node */
    struct list pending_node;
    unsigned pending_count, backlog;
    struct list blocked_node;
    struct unix_name *name; /* NULL: not bound; set once */
    struct list name_node;  /* in the table of names */
    struct inode *inode;    /* bound to a path: the file there, with a reference */
    struct file *file;      /* known while it is in flight */
    unsigned in_flight;     /* how often its file is in a queue */
    unsigned unexplained;   /* of those, by queues that may be reachable (unix_rights_collect) */
    bool candidate, scanned;
    struct list flight_node;
    struct list all_node; /* in the list of all that are not closed */
};

void unix_put(struct unix_socket *end);
void unix_message_free(struct unix_message *message);
void unix_messages_free(struct list *messages);
/* Moves the whole queue to the end of `into`, out of flight. unix_lock held. */
void unix_take_messages(struct unix_socket *end, struct list *into);

/* --- unix_names.c
 * -------------------------------------------------------------------------------------------------
 */

/* Gives the socket a name: of the file system, abstract, or (an address of two bytes) one that the
 * kernel chooses. -EADDRINUSE, -EINVAL (it has one). */
int unix_name_bind(struct unix_socket *end, const union socket_address *address, unsigned length);

/* The socket that has the name, with a reference. -ECONNREFUSED, -ENOENT and others of path walk.
 */
int unix_name_find(const union socket_address *address, unsigned length, struct unix_socket **out);

struct unix_name *unix_name_get(struct unix_name *name); /* NULL is fine */
void unix_name_put(struct unix_name *name);
/* Writes it down for the program; its length. NULL: that of a socket without a name. */
int unix_name_show(const struct unix_name *name, union socket_address *address);

/* --- unix_rights.c
 * ------------------------------------------------------------------------------------------------
 */

/* Takes the control messages apart: *rights is NULL when there are none. -EINVAL, -EBADF, -EPERM,
 * -ENOMEM. */
int unix_rights_parse(const struct socket_message *message, struct unix_rights **rights);
void unix_rights_free(struct unix_rights *rights); /* NULL is fine; no lock held */

/* They went into a queue, and out of it. unix_lock held; NULL is fine. */
void unix_rights_sent(struct unix_rights *rights);
void unix_rights_landed(struct unix_rights *rights);

/* Gives the receiver descriptors for as many as there is room; NULL is fine. */
void unix_rights_receive(struct unix_rights *rights, struct socket_message *to);

/* Frees sockets that only lie in each other's queues. No lock held. */
void unix_rights_collect(void);
