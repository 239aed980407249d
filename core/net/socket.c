/* SPDX-License-Identifier: MIT */
/* Sockets as open files, their system calls, and everything about them that is the same in every
 * family: waiting, time-outs, signals, the options of SOL_SOCKET, addresses and control messages on
 * their way from and to the program. Holds no lock over an operation of a family. */
#include "core/net/socket.h"

#include <asm/ioctls.h>
#include <asm/socket.h>

#include "core/fs/fs_internal.h"
#include "core/fs/stat.h"
#include "core/net/interface.h"
#include "core/net/net_calls.h"
#include "core/signal/restart.h"
#include "core/signal/signal.h"
#include "core/time/clock.h"

#include <linux/stat.h>

#define SIGPIPE_NUMBER 13
#define SOCK_TYPE_LAST 11
#define SEND_FLAGS_OWN ((unsigned)(MSG_DONTWAIT | MSG_NOSIGNAL))
#define RECEIVE_FLAGS_OWN ((unsigned)(MSG_DONTWAIT | MSG_WAITALL | MSG_WAITFORONE))

/* Limits of Linux: net.core.[rw]mem_{default,max}, and the least of SO_SNDBUF and SO_RCVBUF. */
#define BUFFER_DEFAULT 212992u
#define BUFFER_MAX 212992u
#define SEND_BUFFER_MIN 4608u
#define RECEIVE_BUFFER_MIN 2304u

#define CONTROL_MAX 20480u /* net.core.optmem_max, and what a receiver can be given */

static const struct socket_family *families[AF_MAX];

/* --- a socket's life
 * ------------------------------------------------------------------------------------------------
 */

void socket_register(const struct socket_family *family)
{
    families[family->domain] = family;
}

void socket_init(struct socket *socket, const struct socket_operations *operations, int domain,
                 int type, int protocol)
{
    memset(socket, 0, sizeof(*socket));
    socket->operations = operations;
    wait_queue_init(&socket->queue);
    socket->domain = (uint16_t)domain;
    socket->type = (uint16_t)type;
    socket->protocol = protocol;
    socket->options.receive_timeout = socket->options.send_timeout = UINT64_MAX;
    socket->options.receive_buffer = socket->options.send_buffer = BUFFER_DEFAULT;
    socket->options.receive_low = 1;
    socket->options.linger = -1;
}

void socket_init_accepted(struct socket *socket, const struct socket *listener)
{
    socket_init(socket, listener->operations, listener->domain, listener->type, listener->protocol);
    socket->options = listener->options;
}

/* --- waiting
 * --------------------------------------------------------------------------------------------------------
 */

/* Notes that something has changed; it is the first in the queue of two entries, the second wakes
 * the thread. */
struct change_flag {
    struct wait_entry entry;
    bool changed;
};

static void note_change(struct wait_entry *entry, uint32_t events)
{
    (void)events;
    __atomic_store_n(&container_of(entry, struct change_flag, entry)->changed, true,
                     __ATOMIC_RELEASE);
}

static bool would_block(long result)
{
    return result == -EAGAIN || result == -EINPROGRESS || result == -EALREADY;
}

typedef long attempt_fn(struct socket *socket, void *context);

/* After an attempt that would have blocked with `result`: makes more of them until one has an
 * outcome, or time has run out, or at once if `deadline` is 0, when the result stays. */
static long until_done(struct socket *socket, uint64_t deadline, long result, attempt_fn *attempt,
                       void *context)
{
    struct change_flag flag = {.entry = {.notify = note_change}};
    if (deadline == 0) {
        return result;
    }
    wait_queue_add(&socket->queue, &flag.entry);
    for (;;) {
        __atomic_store_n(&flag.changed, false, __ATOMIC_SEQ_CST);
        long again = attempt(socket, context);
        if (!would_block(again)) {
            result = again;
            break;
        }
        int wait =
            wait_event(&socket->queue, deadline, __atomic_load_n(&flag.changed, __ATOMIC_ACQUIRE));
        if (wait == -EINTR) {
            /* A call with a time-out is not made again after a handler: signal(7). */
            result = deadline == UINT64_MAX ? -ERESTARTSYS : -ERESTARTNOHAND;
        }
        if (wait != 0) {
            break;
        }
    }
    wait_queue_remove(&flag.entry);
    return result;
}

#define UNKNOWN_DEADLINE 1 /* that nothing has had to wait for yet */

static uint64_t deadline_of(struct file *file, unsigned flags, uint64_t timeout)
{
    if ((flags & MSG_DONTWAIT) != 0 || file_nonblocking(file)) {
        return 0;
    }
    return timeout == UINT64_MAX ? UINT64_MAX : deadline_after(timeout);
}

/* --- messages
 * -------------------------------------------------------------------------------------------------------
 */

const struct control_header *control_next(const struct socket_message *message,
                                          const struct control_header *at, int *result)
{
    size_t offset = 0;
    *result = 0;
    if (at != NULL) {
        offset = (size_t)((const uint8_t *)at - message->control) + ((at->length + 7) & ~7ul);
    }
    if (offset >= message->control_length) {
        return NULL;
    }
    const struct control_header *next = (const void *)(message->control + offset);
    size_t left = message->control_length - offset;
    if (left < sizeof(*next)) {
        return NULL;
    }
    if (next->length < sizeof(*next) || next->length > left) {
        *result = -EINVAL;
        return NULL;
    }
    return next;
}

bool control_put(struct socket_message *message, int level, int type, const void *data, size_t size)
{
    struct control_header header = {sizeof(header) + size, level, type};
    size_t left = message->control_room - message->control_length;
    if (left < header.length) {
        message->result_flags |= MSG_CTRUNC;
        return false;
    }
    uint8_t *to = message->control + message->control_length;
    memcpy(to, &header, sizeof(header));
    memcpy(to + sizeof(header), data, size);
    size_t padded = MIN((header.length + 7) & ~7ul, left);
    memset(to + header.length, 0, padded - header.length);
    message->control_length += padded;
    return true;
}

static long attempt_send(struct socket *socket, void *context)
{
    return socket->operations->send(socket, context);
}

static long attempt_receive(struct socket *socket, void *context)
{
    return socket->operations->receive(socket, context);
}

static long send_message(struct file *file, struct socket_message *message, unsigned flags)
{
    struct socket *socket = file->data;
    long total = 0, done;
    if (socket->operations->send == NULL) {
        return -EOPNOTSUPP;
    }
    message->flags = flags & ~SEND_FLAGS_OWN;
    uint64_t deadline = UNKNOWN_DEADLINE;
    for (;;) {
        done = socket->operations->send(socket, message);
        if (would_block(done)) {
            if (deadline == UNKNOWN_DEADLINE) {
                deadline = deadline_of(file, flags, socket->options.send_timeout);
            }
            done = until_done(socket, deadline, done, attempt_send, message);
        }
        if (done < 0) {
            break;
        }
        total += done;
        if (socket->type != SOCK_STREAM || message->io.remaining == 0) {
            return total;
        }
        message->control_length = 0; /* goes with the first piece */
    }
    if (total == 0 && done == -EPIPE && socket->type == SOCK_STREAM &&
        (flags & MSG_NOSIGNAL) == 0) {
        struct signal_info info = {.signo = SIGPIPE_NUMBER, .sender = {.pid = 1}};
        signal_send_thread(current_thread(), &info);
    }
    return total != 0 ? total : done;
}

static long receive_message(struct file *file, struct socket_message *message, unsigned flags)
{
    struct socket *socket = file->data;
    long total = 0;
    if (socket->operations->receive == NULL) {
        return -EOPNOTSUPP;
    }
    message->flags = flags & ~RECEIVE_FLAGS_OWN;
    bool all = (flags & MSG_WAITALL) != 0 && socket->type == SOCK_STREAM && (flags & MSG_PEEK) == 0;
    uint64_t deadline = UNKNOWN_DEADLINE;
    for (;;) {
        long done = socket->operations->receive(socket, message);
        if (would_block(done)) {
            if (deadline == UNKNOWN_DEADLINE) {
                deadline = deadline_of(file, flags, socket->options.receive_timeout);
            }
            done = until_done(socket, deadline, done, attempt_receive, message);
        }
        if (done <= 0) {
            return total != 0 ? total : done;
        }
        total += done;
        if (!all || message->io.remaining == 0) {
            return total;
        }
    }
}

/* --- the open file
 * --------------------------------------------------------------------------------------------------
 */

static long socket_read(struct file *file, struct io_vector *io, uint64_t *offset)
{
    struct socket_message message = {.io = *io};
    (void)offset;
    return io->remaining == 0 ? 0 : receive_message(file, &message, 0);
}

static long socket_write(struct file *file, struct io_vector *io, uint64_t *offset)
{
    struct socket_message message = {.io = *io};
    (void)offset;
    return send_message(file, &message, 0);
}

static uint32_t socket_poll(struct file *file, struct wait_entry *entry)
{
    struct socket *socket = file->data;
    poll_enqueue(&socket->queue, entry);
    return socket->operations->poll(socket);
}

static long socket_ioctl(struct file *file, unsigned command, uintptr_t argument)
{
    struct socket *socket = file->data;
    long result = -ENOIOCTLCMD;
    if (socket->operations->ioctl != NULL) {
        result = socket->operations->ioctl(socket, command, argument);
    }
    return result != -ENOIOCTLCMD ? result : interface_ioctl(command, argument);
}

static int socket_stat(struct file *file, struct stat *stat)
{
    memset(stat, 0, sizeof(*stat));
    stat->st_dev = 8;
    stat->st_ino = socket_inode_number(file->data);
    stat->st_nlink = 1;
    stat->st_mode = S_IFSOCK | 0777;
    stat->st_blksize = 4096;
    return 0;
}

uint32_t socket_count;

static void socket_release(struct file *file)
{
    struct socket *socket = file->data;
    __atomic_sub_fetch(&socket_count, 1, __ATOMIC_RELAXED);
    socket->operations->release(socket);
}

static const struct file_operations socket_file_operations = {
    .read = socket_read,
    .write = socket_write,
    .poll = socket_poll,
    .ioctl = socket_ioctl,
    .stat = socket_stat,
    .release = socket_release,
};

struct socket *socket_of_file(struct file *file)
{
    return file->operations == &socket_file_operations ? file->data : NULL;
}

/* The open file of a descriptor that is a socket, with a reference. */
static int socket_lookup(uint64_t fd, struct file **out)
{
    int result = fd_lookup((int)fd, out);
    if (result == 0 && socket_of_file(*out) == NULL) {
        file_put(*out);
        result = -ENOTSOCK;
    }
    return result;
}

/* --- making sockets
 * -------------------------------------------------------------------------------------------------
 */

static int socket_create(int domain, unsigned type, int protocol, struct socket **out)
{
    if ((type & ~(unsigned)(SOCK_TYPE_MASK | SOCK_CLOEXEC | SOCK_NONBLOCK)) != 0) {
        return -EINVAL;
    }
    type &= SOCK_TYPE_MASK;
    if ((unsigned)domain >= AF_MAX) {
        return -EAFNOSUPPORT;
    }
    if (type == 0 || type >= SOCK_TYPE_LAST || protocol < 0) {
        return -EINVAL;
    }
    return families[domain] == NULL ? -EAFNOSUPPORT
                                    : families[domain]->create((int)type, protocol, out);
}

/* A descriptor for a new socket, whose owner is then the file; on failure the socket is released.
 */
static long socket_install(struct socket *socket, unsigned type)
{
    __atomic_add_fetch(&socket_count, 1, __ATOMIC_RELAXED);
    return file_create_fd(&socket_file_operations,
                          O_RDWR | (type & (unsigned)(SOCK_CLOEXEC | SOCK_NONBLOCK)), socket);
}

long sys_socket(struct syscall_args *a)
{
    struct socket *socket;
    unsigned type = (unsigned)a->arg[1];
    int result = socket_create((int)a->arg[0], type, (int)a->arg[2], &socket);
    return result != 0 ? result : socket_install(socket, type);
}

long sys_socketpair(struct syscall_args *a)
{
    struct socket *ends[2];
    int32_t fds[2];
    unsigned type = (unsigned)a->arg[1];
    int result = socket_create((int)a->arg[0], type, (int)a->arg[2], &ends[0]);
    if (result != 0) {
        return result;
    }
    result = ends[0]->operations->pair == NULL
                 ? -EOPNOTSUPP
                 : socket_create((int)a->arg[0], type, (int)a->arg[2], &ends[1]);
    if (result != 0) {
        ends[0]->operations->release(ends[0]);
        return result;
    }
    result = ends[0]->operations->pair(ends[0], ends[1]);
    if (result != 0) {
        ends[0]->operations->release(ends[0]);
        ends[1]->operations->release(ends[1]);
        return result;
    }
    fds[0] = (int32_t)socket_install(ends[0], type);
    if (fds[0] < 0) {
        ends[1]->operations->release(ends[1]);
        return fds[0];
    }
    fds[1] = (int32_t)socket_install(ends[1], type);
    if (fds[1] < 0) {
        fd_close(fds[0]);
        return fds[1];
    }
    result = copy_to_user(a->arg[3], fds, sizeof(fds));
    if (result != 0) {
        fd_close(fds[0]);
        fd_close(fds[1]);
    }
    return result;
}

/* --- addresses
 * ------------------------------------------------------------------------------------------------------
 */

static int address_from_user(union socket_address *address, uintptr_t from, int length)
{
    memset(address, 0, sizeof(*address));
    if (length < 0 || (size_t)length > sizeof(*address)) {
        return -EINVAL;
    }
    return copy_from_user(address, from, (size_t)length);
}

/* The address as far as there is room, and its whole length to where the room was given. */
static int address_to_user(const union socket_address *address, unsigned length, uintptr_t to,
                           uintptr_t length_at)
{
    int32_t room;
    if (copy_from_user(&room, length_at, sizeof(room)) != 0) {
        return -EFAULT;
    }
    if (room < 0) {
        return -EINVAL;
    }
    size_t size = MIN(MIN((size_t)room, length), sizeof(*address));
    if (copy_to_user(to, address, size) != 0) {
        return -EFAULT;
    }
    return copy_to_user(length_at, &length, sizeof(length));
}

struct connect_attempt {
    union socket_address address;
    unsigned length;
};

static long attempt_connect(struct socket *socket, void *context)
{
    struct connect_attempt *attempt = context;
    return socket->operations->connect(socket, &attempt->address, attempt->length);
}

static long attempt_accept(struct socket *socket, void *context)
{
    return socket->operations->accept(socket, context);
}

static long with_address(struct syscall_args *a, bool connect)
{
    struct connect_attempt attempt;
    struct file *file;
    long result = socket_lookup(a->arg[0], &file);
    if (result != 0) {
        return result;
    }
    struct socket *socket = file->data;
    result = address_from_user(&attempt.address, a->arg[1], (int)a->arg[2]);
    attempt.length = (unsigned)a->arg[2];
    if (result == 0 && (connect ? (void *)socket->operations->connect
                                : (void *)socket->operations->bind) == NULL) {
        result = -EOPNOTSUPP;
    }
    if (result == 0 && connect) {
        result = attempt_connect(socket, &attempt);
        if (would_block(result)) {
            uint64_t deadline = deadline_of(file, 0, socket->options.send_timeout);
            result = until_done(socket, deadline, result, attempt_connect, &attempt);
        }
    } else if (result == 0) {
        result = socket->operations->bind(socket, &attempt.address, attempt.length);
    }
    file_put(file);
    return result;
}

long sys_bind(struct syscall_args *a)
{
    return with_address(a, false);
}

long sys_connect(struct syscall_args *a)
{
    return with_address(a, true);
}

long sys_listen(struct syscall_args *a)
{
    struct file *file;
    int result = socket_lookup(a->arg[0], &file);
    if (result == 0) {
        struct socket *socket = file->data;
        unsigned backlog = (unsigned)a->arg[1];
        result = socket->operations->listen == NULL
                     ? -EOPNOTSUPP
                     : socket->operations->listen(socket, (int)MIN(backlog, (unsigned)SOMAXCONN));
        file_put(file);
    }
    return result;
}

static int name_to_user(struct socket *socket, bool peer, uintptr_t to, uintptr_t length_at)
{
    union socket_address address = {.family = socket->domain};
    int length = socket->operations->get_name == NULL
                     ? -EOPNOTSUPP
                     : socket->operations->get_name(socket, &address, peer);
    return length < 0 ? length : address_to_user(&address, (unsigned)length, to, length_at);
}

static long accept_from(uint64_t fd, uintptr_t to, uintptr_t length_at, unsigned flags)
{
    struct file *file;
    struct socket *accepted;
    if ((flags & ~(unsigned)(SOCK_CLOEXEC | SOCK_NONBLOCK)) != 0) {
        return -EINVAL;
    }
    long result = socket_lookup(fd, &file);
    if (result != 0) {
        return result;
    }
    struct socket *socket = file->data;
    result = socket->operations->accept == NULL ? -EOPNOTSUPP : attempt_accept(socket, &accepted);
    if (would_block(result)) {
        uint64_t deadline = deadline_of(file, 0, socket->options.receive_timeout);
        result = until_done(socket, deadline, result, attempt_accept, &accepted);
    }
    if (result == 0 && to != 0) {
        result = name_to_user(accepted, true, to, length_at);
        if (result == -ENOTCONN) {
            result = 0; /* the peer has gone already; the program finds that out when it reads */
        }
        if (result != 0) {
            accepted->operations->release(accepted);
        }
    }
    if (result == 0) {
        result = socket_install(accepted, flags);
    }
    file_put(file);
    return result;
}

long sys_accept(struct syscall_args *a)
{
    return accept_from(a->arg[0], a->arg[1], a->arg[2], 0);
}

long sys_accept4(struct syscall_args *a)
{
    return accept_from(a->arg[0], a->arg[1], a->arg[2], (unsigned)a->arg[3]);
}

static long get_name(struct syscall_args *a, bool peer)
{
    struct file *file;
    int result = socket_lookup(a->arg[0], &file);
    if (result == 0) {
        result = name_to_user(file->data, peer, a->arg[1], a->arg[2]);
        file_put(file);
    }
    return result;
}

long sys_getsockname(struct syscall_args *a)
{
    return get_name(a, false);
}

long sys_getpeername(struct syscall_args *a)
{
    return get_name(a, true);
}

long sys_shutdown(struct syscall_args *a)
{
    struct file *file;
    int result = socket_lookup(a->arg[0], &file);
    if (result == 0) {
        struct socket *socket = file->data;
        result = (unsigned)a->arg[1] > SHUT_RDWR ? -EINVAL
                 : socket->operations->shutdown == NULL
                     ? -EOPNOTSUPP
                     : socket->operations->shutdown(socket, (int)a->arg[1]);
        file_put(file);
    }
    return result;
}

/* --- sending and receiving
 * --------------------------------------------------------------------------------------------
 */

long sys_sendto(struct syscall_args *a)
{
    struct file *file;
    struct io_segment segment = {a->arg[1], MIN(a->arg[2], MAX_IO_BYTES)};
    long result = socket_lookup(a->arg[0], &file);
    if (result != 0) {
        return result;
    }
    struct socket_message message;
    message.io = (struct io_vector){&segment, 1, segment.length, false};
    message.control_length = message.name_length = 0;
    if (a->arg[4] != 0) {
        message.name_length = (unsigned)a->arg[5];
        result = address_from_user(&message.name, a->arg[4], (int)a->arg[5]);
    }
    if (result == 0) {
        result = send_message(file, &message, (unsigned)a->arg[3]);
    }
    file_put(file);
    return result;
}

/* As a struct sockaddr or nothing comes out. */
static int source_to_user(const struct socket_message *message, uintptr_t to, uintptr_t length_at)
{
    return to == 0 ? 0 : address_to_user(&message->name, message->name_length, to, length_at);
}

static void message_init_receive(struct socket_message *message)
{
    message->result_flags = 0;
    message->name_length = 0;
    message->control = NULL;
    message->control_length = message->control_room = 0;
}

long sys_recvfrom(struct syscall_args *a)
{
    struct file *file;
    struct io_segment segment = {a->arg[1], MIN(a->arg[2], MAX_IO_BYTES)};
    long result = socket_lookup(a->arg[0], &file);
    if (result != 0) {
        return result;
    }
    struct socket_message message;
    message_init_receive(&message);
    message.io = (struct io_vector){&segment, 1, segment.length, false};
    result = receive_message(file, &message, (unsigned)a->arg[3]);
    if (result >= 0) {
        int error = source_to_user(&message, a->arg[4], a->arg[5]);
        result = error != 0 ? error : result;
    }
    file_put(file);
    return result;
}

/* struct msghdr of x86_64. */
struct message_header {
    uint64_t name;
    int32_t name_length, pad;
    uint64_t segments, segment_count;
    uint64_t control, control_length;
    uint32_t flags, pad2;
};

/* struct mmsghdr. */
struct message_vector {
    struct message_header header;
    uint32_t length, pad;
};

#define CONTROL_FEW 128 /* as much as nearly all need */

static long send_one(struct file *file, uintptr_t header_at, unsigned flags)
{
    struct message_header header;
    struct socket_message message;
    struct io_import import;
    uint64_t few[CONTROL_FEW / 8];
    if (copy_from_user(&header, header_at, sizeof(header)) != 0) {
        return -EFAULT;
    }
    message.control = (uint8_t *)few;
    message.control_length = header.control_length;
    message.name_length = 0;
    if (header.name != 0 && header.name_length != 0) {
        message.name_length = (unsigned)header.name_length;
        int result = address_from_user(&message.name, header.name, header.name_length);
        if (result != 0) {
            return result;
        }
    }
    if (header.control_length > CONTROL_MAX) {
        return -ENOBUFS;
    }
    long result = io_import(&import, header.segments, header.segment_count);
    if (result != 0) {
        return result == -EINVAL && header.segment_count > 1024 ? -EMSGSIZE : result;
    }
    message.io = import.io;
    if (header.control_length > sizeof(few)) {
        message.control = kmalloc(header.control_length);
    }
    result = message.control == NULL
                 ? -ENOMEM
                 : copy_from_user(message.control, header.control, header.control_length);
    if (result == 0) {
        result = send_message(file, &message, flags);
    }
    if (message.control != (uint8_t *)few) {
        kfree(message.control);
    }
    io_import_end(&import);
    return result;
}

/* What recvmsg writes back, in the order of Linux. */
static int received_to_user(const struct socket_message *message,
                            const struct message_header *header, uintptr_t header_at)
{
    uint32_t name_length = message->name_length,
             flags = message->result_flags | (message->flags & (unsigned)MSG_CMSG_CLOEXEC);
    uint64_t control_length = message->control_length;
    if (header->name != 0) {
        size_t size =
            MIN(MIN((size_t)MAX(header->name_length, 0), name_length), sizeof(message->name));
        if (copy_to_user(header->name, &message->name, size) != 0 ||
            copy_to_user(header_at + offsetof(struct message_header, name_length), &name_length,
                         sizeof(name_length)) != 0) {
            return -EFAULT;
        }
    }
    if (copy_to_user(header->control, message->control, control_length) != 0 ||
        copy_to_user(header_at + offsetof(struct message_header, flags), &flags, sizeof(flags)) !=
            0) {
        return -EFAULT;
    }
    return copy_to_user(header_at + offsetof(struct message_header, control_length),
                        &control_length, sizeof(control_length));
}

static long receive_one(struct file *file, uintptr_t header_at, unsigned flags)
{
    struct message_header header;
    struct socket_message message;
    struct io_import import;
    uint64_t few[CONTROL_FEW / 8];
    if (copy_from_user(&header, header_at, sizeof(header)) != 0) {
        return -EFAULT;
    }
    if (header.name != 0 && header.name_length < 0) {
        return -EINVAL;
    }
    long result = io_import(&import, header.segments, header.segment_count);
    if (result != 0) {
        return result == -EINVAL && header.segment_count > 1024 ? -EMSGSIZE : result;
    }
    message_init_receive(&message);
    message.io = import.io;
    message.control = (uint8_t *)few;
    message.control_room = header.control == 0 ? 0 : MIN(header.control_length, CONTROL_MAX);
    if (message.control_room > sizeof(few)) {
        message.control = kmalloc(message.control_room);
    }
    result = message.control == NULL ? -ENOMEM : receive_message(file, &message, flags);
    if (result >= 0) {
        int error = received_to_user(&message, &header, header_at);
        result = error != 0 ? error : result;
    }
    if (message.control != (uint8_t *)few) {
        kfree(message.control);
    }
    io_import_end(&import);
    return result;
}

long sys_sendmsg(struct syscall_args *a)
{
    struct file *file;
    long result = socket_lookup(a->arg[0], &file);
    if (result == 0) {
        result = send_one(file, a->arg[1], (unsigned)a->arg[2]);
        file_put(file);
    }
    return result;
}

long sys_recvmsg(struct syscall_args *a)
{
    struct file *file;
    long result = socket_lookup(a->arg[0], &file);
    if (result == 0) {
        result = receive_one(file, a->arg[1], (unsigned)a->arg[2]);
        file_put(file);
    }
    return result;
}

/* sendmmsg and recvmmsg: how many messages went; the error of the first when none did. `until`: no
 * further message is begun from then on. */
static long many(struct syscall_args *a, bool receive, uint64_t until)
{
    struct file *file;
    unsigned count = MIN((unsigned)a->arg[2], 1024u), flags = (unsigned)a->arg[3], done = 0;
    long result = socket_lookup(a->arg[0], &file);
    if (result != 0) {
        return result;
    }
    while (done < count) {
        uintptr_t at = a->arg[1] + done * sizeof(struct message_vector);
        result = receive ? receive_one(file, at, flags) : send_one(file, at, flags);
        if (result < 0) {
            break;
        }
        uint32_t length = (uint32_t)result;
        result =
            copy_to_user(at + offsetof(struct message_vector, length), &length, sizeof(length));
        if (result != 0) {
            break;
        }
        done++;
        if (receive && (flags & MSG_WAITFORONE) != 0) {
            flags |= MSG_DONTWAIT;
        }
        if (until != UINT64_MAX && hal_clock_monotonic() >= until) {
            break;
        }
    }
    file_put(file);
    return done != 0 ? (long)done : result;
}

long sys_sendmmsg(struct syscall_args *a)
{
    return many(a, false, UINT64_MAX);
}

long sys_recvmmsg(struct syscall_args *a)
{
    uint64_t until = UINT64_MAX;
    if (a->arg[4] != 0) {
        uint64_t ns;
        int result = timespec_from_user(a->arg[4], &ns);
        if (result != 0) {
            return result;
        }
        until = deadline_after(ns);
    }
    return many(a, true, until);
}

/* --- options
 * --------------------------------------------------------------------------------------------------------
 */

/* Options that are one field; the program sees an int. */
static const struct plain_option {
    uint8_t name, offset;
    bool boolean; /* else a 32-bit word */
} plain_options[] = {
#define WORD(name, field)                                                                          \
    {                                                                                              \
        name, offsetof(struct socket_options, field), false                                        \
    }
#define BOOLEAN(name, field)                                                                       \
    {                                                                                              \
        name, offsetof(struct socket_options, field), true                                         \
    }
    BOOLEAN(SO_REUSEADDR, reuse_address),
    BOOLEAN(SO_REUSEPORT, reuse_port),
    BOOLEAN(SO_KEEPALIVE, keep_alive),
    BOOLEAN(SO_BROADCAST, broadcast),
    BOOLEAN(SO_DONTROUTE, do_not_route),
    BOOLEAN(SO_OOBINLINE, oob_inline),
    BOOLEAN(SO_PASSCRED, pass_credentials),
    BOOLEAN(SO_TIMESTAMP_OLD, timestamp),
    BOOLEAN(SO_TIMESTAMPNS_OLD, timestamp_ns),
    BOOLEAN(SO_RXQ_OVFL, receive_overflow),
    WORD(SO_PRIORITY, priority),
    WORD(SO_MARK, mark),
    WORD(SO_RCVLOWAT, receive_low),
    WORD(SO_BINDTOIFINDEX, bound_device),
    WORD(SO_SNDBUF, send_buffer),
    WORD(SO_RCVBUF, receive_buffer),
#undef WORD
#undef BOOLEAN
};

static const struct plain_option *find_plain(int name)
{
    for (size_t i = 0; i < sizeof(plain_options) / sizeof(plain_options[0]); i++) {
        if (plain_options[i].name == name) {
            return &plain_options[i];
        }
    }
    return NULL;
}

/* SO_SNDBUF and its like: doubled, as on Linux, for what the kernel needs beside the bytes. */
static uint32_t buffer_size(int value, uint32_t least, bool force)
{
    uint32_t size = value < 0 ? BUFFER_MAX : (uint32_t)value;
    size = MIN(size, force ? INT32_MAX / 2u : BUFFER_MAX);
    return MAX(size * 2, least);
}

static int set_timeout(uint64_t *timeout, const void *value, size_t size)
{
    struct {
        int64_t seconds, microseconds;
    } time;
    if (size < sizeof(time)) {
        return -EINVAL;
    }
    memcpy(&time, value, sizeof(time));
    if (time.microseconds < 0 || time.microseconds >= 1000000) {
        return -EDOM;
    }
    uint64_t ns = UINT64_MAX;
    if (time.seconds < 0) {
        ns = 1; /* Linux: over at once */
    } else if (time.seconds != 0 || time.microseconds != 0) {
        if (time.seconds < INT64_MAX / (int64_t)NS_PER_SECOND - 1) {
            ns = (uint64_t)time.seconds * NS_PER_SECOND + (uint64_t)time.microseconds * 1000;
        }
    }
    __atomic_store_n(timeout, ns, __ATOMIC_RELAXED);
    return 0;
}

static int bind_to_device(struct socket *socket, const char *name, size_t size)
{
    struct interface interface;
    size_t length = strnlen(name, MIN(size, sizeof(interface.name) - 1));
    if (length == 0) {
        socket->options.bound_device = 0;
        return 0;
    }
    for (int index = 1; interface_next(index, &interface); index = interface.index + 1) {
        if (strlen(interface.name) == length && memcmp(interface.name, name, length) == 0) {
            socket->options.bound_device = interface.index;
            return 0;
        }
    }
    return -ENODEV;
}

/* -ENOPROTOOPT: not one of these. */
static int set_common(struct socket *socket, int name, const void *value, size_t size)
{
    struct socket_options *options = &socket->options;
    int number = 0;
    if (name == SO_BINDTODEVICE) {
        return bind_to_device(socket, value, size);
    }
    if (size < sizeof(number)) {
        return -EINVAL;
    }
    memcpy(&number, value, sizeof(number));
    switch (name) {
    case SO_SNDBUF:
    case SO_SNDBUFFORCE:
        options->send_buffer = buffer_size(number, SEND_BUFFER_MIN, name == SO_SNDBUFFORCE);
        return 0;
    case SO_RCVBUF:
    case SO_RCVBUFFORCE:
        options->receive_buffer = buffer_size(number, RECEIVE_BUFFER_MIN, name == SO_RCVBUFFORCE);
        return 0;
    case SO_RCVTIMEO_OLD:
    case SO_RCVTIMEO_NEW:
        return set_timeout(&options->receive_timeout, value, size);
    case SO_SNDTIMEO_OLD:
    case SO_SNDTIMEO_NEW:
        return set_timeout(&options->send_timeout, value, size);
    case SO_LINGER: {
        int32_t linger[2]; /* on, seconds */
        if (size < sizeof(linger)) {
            return -EINVAL;
        }
        memcpy(linger, value, sizeof(linger));
        options->linger = linger[0] == 0 ? -1 : (int32_t)MIN((uint32_t)linger[1], INT32_MAX);
        return 0;
    }
    default:
        break;
    }
    const struct plain_option *plain = find_plain(name);
    if (plain == NULL) {
        return -ENOPROTOOPT;
    }
    if (plain->boolean) {
        *((bool *)options + plain->offset) = number != 0;
    } else {
        memcpy((char *)options + plain->offset, &number, sizeof(number));
    }
    if (name == SO_RCVLOWAT && number <= 0) {
        options->receive_low = number < 0 ? INT32_MAX : 1;
    }
    return 0;
}

static int get_timeout(uint64_t ns, void *value, size_t *size)
{
    int64_t time[2] = {0, 0};
    if (ns != UINT64_MAX) {
        time[0] = (int64_t)(ns / NS_PER_SECOND);
        time[1] = (int64_t)(ns % NS_PER_SECOND / 1000);
    }
    *size = MIN(*size, sizeof(time));
    memcpy(value, time, *size);
    return 0;
}

static int get_common(struct socket *socket, int name, void *value, size_t *size)
{
    const struct socket_options *options = &socket->options;
    int32_t number[2] = {0, 0};
    size_t length = sizeof(number[0]);
    const struct plain_option *plain = find_plain(name);
    switch (name) {
    case SO_TYPE:
        number[0] = socket->type;
        break;
    case SO_DOMAIN:
        number[0] = socket->domain;
        break;
    case SO_PROTOCOL:
        number[0] = socket->protocol;
        break;
    case SO_ERROR:
        number[0] = -socket_take_error(socket);
        break;
    case SO_ACCEPTCONN:
        number[0] = socket->listening;
        break;
    case SO_LINGER:
        number[0] = options->linger >= 0;
        number[1] = MAX(options->linger, 0);
        length = sizeof(number);
        break;
    case SO_COOKIE: {
        uint64_t cookie = (uintptr_t)socket;
        memcpy(number, &cookie, sizeof(cookie));
        length = sizeof(number);
        break;
    }
    case SO_RCVTIMEO_OLD:
    case SO_RCVTIMEO_NEW:
        return get_timeout(options->receive_timeout, value, size);
    case SO_SNDTIMEO_OLD:
    case SO_SNDTIMEO_NEW:
        return get_timeout(options->send_timeout, value, size);
    default:
        if (plain == NULL) {
            return -ENOPROTOOPT;
        }
        if (plain->boolean) {
            number[0] = *((const bool *)options + plain->offset);
        } else {
            memcpy(number, (const char *)options + plain->offset, sizeof(number[0]));
        }
    }
    *size = MIN(*size, length);
    memcpy(value, number, *size);
    return 0;
}

#define OPTION_FEW 64
#define OPTION_MAX 16384u /* longer than any option */

long sys_setsockopt(struct syscall_args *a)
{
    struct file *file;
    int level = (int)a->arg[1], name = (int)a->arg[2], size = (int)a->arg[4];
    uint64_t few[OPTION_FEW / 8] = {0};
    void *value = few;
    long result = socket_lookup(a->arg[0], &file);
    if (result != 0) {
        return result;
    }
    struct socket *socket = file->data;
    result = size < 0 || (unsigned)size > OPTION_MAX ? -EINVAL : 0;
    if (result == 0 && (unsigned)size > sizeof(few)) {
        value = kzalloc((size_t)size);
        result = value == NULL ? -ENOMEM : 0;
    }
    if (result == 0) {
        result = copy_from_user(value, a->arg[3], (size_t)size);
    }
    if (result == 0) {
        result = level != SOL_SOCKET ? -ENOPROTOOPT : set_common(socket, name, value, (size_t)size);
        if (result == 0 && socket->operations->option_changed != NULL) {
            socket->operations->option_changed(socket, name);
        }
        if (result == -ENOPROTOOPT && socket->operations->set_option != NULL) {
            result = socket->operations->set_option(socket, level, name, value, (size_t)size);
        }
    }
    if (value != few) {
        kfree(value);
    }
    file_put(file);
    return result;
}

long sys_getsockopt(struct syscall_args *a)
{
    struct file *file;
    int level = (int)a->arg[1], name = (int)a->arg[2];
    int32_t room;
    uint64_t few[OPTION_FEW / 8];
    void *value = few;
    long result = socket_lookup(a->arg[0], &file);
    if (result != 0) {
        return result;
    }
    struct socket *socket = file->data;
    result = copy_from_user(&room, a->arg[4], sizeof(room));
    if (result == 0 && room < 0) {
        result = -EINVAL;
    }
    size_t size = result == 0 ? MIN((size_t)room, OPTION_MAX) : 0;
    if (size > sizeof(few)) {
        value = kzalloc(size);
        result = value == NULL ? -ENOMEM : 0;
    }
    if (result == 0) {
        result = level != SOL_SOCKET ? -ENOPROTOOPT : get_common(socket, name, value, &size);
        if (result == -ENOPROTOOPT && socket->operations->get_option != NULL) {
            result = socket->operations->get_option(socket, level, name, value, &size);
        }
    }
    if (result == 0) {
        room = (int32_t)size;
        result = copy_to_user(a->arg[3], value, size);
    }
    if (result == 0) {
        result = copy_to_user(a->arg[4], &room, sizeof(room));
    }
    if (value != few) {
        kfree(value);
    }
    file_put(file);
    return result;
}
