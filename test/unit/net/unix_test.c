/* SPDX-License-Identifier: MIT */
/* AF_UNIX and what all sockets share, through the system calls. */
#include <asm/ioctls.h>
#include <linux/eventpoll.h>
#include <linux/un.h>
#include <stdlib.h>

#include "core/net/families.h"
#include "core/net/net_calls.h"
#include "core/net/socket.h"
#include "fs_machine.h"

struct header {
    uint64_t name;
    int32_t name_length, pad;
    uint64_t segments, count;
    uint64_t control, control_length;
    uint32_t flags, pad2;
};

static void make_pair(int type, int fds[2])
{
    CHECK_CALL(0, CALL(socketpair, AF_UNIX, (uint64_t)type, 0, P(fds)));
}

static long put(int fd, const char *text)
{
    return CALL(write, (uint64_t)fd, P(text), strlen(text));
}

static long get(int fd, char *to, size_t size)
{
    memset(to, 0, size);
    return CALL(read, (uint64_t)fd, P(to), size);
}

static void close_all(void)
{
    CHECK_CALL(0, CALL(close_range, 3, UINT32_MAX, 0));
}

static unsigned ready(int fd)
{
    struct pollfd poll = {.fd = fd, .events = POLLIN | POLLOUT | POLLRDHUP};
    (void)CALL(poll, P(&poll), 1, 0);
    return (unsigned)(uint16_t)poll.revents;
}

static int make_socket(int type)
{
    long fd = CALL(socket, AF_UNIX, (uint64_t)type, 0);
    CHECK(fd >= 0, "socket: %ld", fd);
    return (int)fd;
}

static struct sockaddr_un address_of(const char *path)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    memcpy(address.sun_path, path, strlen(path));
    return address;
}

static void test_creation(void)
{
    int fds[2];
    CHECK_CALL(-EAFNOSUPPORT, CALL(socket, AF_INET, SOCK_STREAM, 0));
    CHECK_CALL(-EAFNOSUPPORT, CALL(socket, 12345, SOCK_STREAM, 0));
    CHECK_CALL(-EINVAL, CALL(socket, AF_UNIX, 0, 0));
    CHECK_CALL(-EINVAL, CALL(socket, AF_UNIX, SOCK_STREAM | 0x100, 0));
    CHECK_CALL(-EPROTONOSUPPORT, CALL(socket, AF_UNIX, SOCK_STREAM, 6));
    CHECK_CALL(-ESOCKTNOSUPPORT, CALL(socket, AF_UNIX, 4, 0));
    CHECK_CALL(-EFAULT, CALL(socketpair, AF_UNIX, SOCK_STREAM, 0, 8));
    CHECK_CALL(-1, fd_next(3));
    make_pair(SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, fds);
    CHECK_CALL(FD_CLOEXEC, CALL(fcntl, (uint64_t)fds[0], F_GETFD));
    CHECK_CALL(O_RDWR | O_NONBLOCK, CALL(fcntl, (uint64_t)fds[1], F_GETFL));
    CHECK_CALL(-ENOTSOCK, CALL(listen, 0, 1));
    CHECK_CALL(-EBADF, CALL(listen, 99, 1));
    CHECK_CALL(-ESPIPE, CALL(lseek, (uint64_t)fds[0], 0, 0));
    close_all();
}

static void test_stream(void)
{
    char text[64];
    int fds[2];
    make_pair(SOCK_STREAM | SOCK_NONBLOCK, fds);
    CHECK(ready(fds[0]) == POLLOUT, "%x", ready(fds[0]));
    CHECK_CALL(-EAGAIN, get(fds[0], text, 1));
    CHECK_CALL(5, put(fds[1], "hello"));
    CHECK_CALL(6, put(fds[1], " world"));
    int bytes = 0;
    CHECK_CALL(0, CALL(ioctl, (uint64_t)fds[0], FIONREAD, P(&bytes)));
    CHECK(bytes == 11, "FIONREAD %d", bytes);
    CHECK_CALL(11, CALL(recvfrom, (uint64_t)fds[0], P(text), 64, MSG_PEEK, 0, 0));
    CHECK_CALL(8, get(fds[0], text, 8));
    CHECK(memcmp(text, "hello wo", 8) == 0, "%s", text);
    CHECK_CALL(3, get(fds[0], text, 64));
    CHECK_CALL(-EFAULT, CALL(write, (uint64_t)fds[1], 8, 4));
    CHECK_CALL(-EFAULT, (put(fds[1], "x"), CALL(read, (uint64_t)fds[0], 8, 4)));
    CHECK_CALL(1, get(fds[0], text, 4));
    CHECK_CALL(-EISCONN, CALL(sendto, (uint64_t)fds[0], P(text), 1, 0, P(&(uint16_t){AF_UNIX}), 2));
    /* Half-close, then the end. */
    CHECK_CALL(0, CALL(shutdown, (uint64_t)fds[1], SHUT_WR));
    CHECK(ready(fds[0]) == (POLLIN | POLLOUT | POLLRDHUP), "%x", ready(fds[0]));
    CHECK_CALL(0, get(fds[0], text, 4));
    CHECK_CALL(-EPIPE, put(fds[1], "x"));
    CHECK(machine_signals[13] == 1, "SIGPIPE %u", machine_signals[13]);
    CHECK_CALL(-EPIPE, CALL(sendto, (uint64_t)fds[1], P("x"), 1, MSG_NOSIGNAL, 0, 0));
    CHECK(machine_signals[13] == 1, "no SIGPIPE %u", machine_signals[13]);
    CHECK_CALL(2, put(fds[0], "ok"));
    CHECK_CALL(2, get(fds[1], text, 4));
    CHECK_CALL(-EINVAL, CALL(shutdown, (uint64_t)fds[1], 3));
    CHECK_CALL(0, CALL(close, (uint64_t)fds[0]));
    CHECK((ready(fds[1]) & (POLLHUP | POLLIN | POLLRDHUP)) == (POLLHUP | POLLIN | POLLRDHUP), "%x",
          ready(fds[1]));
    CHECK_CALL(0, get(fds[1], text, 4));
    close_all();
    /* Closed with bytes unread: the peer is told. */
    make_pair(SOCK_STREAM, fds);
    CHECK_CALL(1, put(fds[0], "x"));
    CHECK_CALL(0, CALL(close, (uint64_t)fds[1]));
    CHECK((ready(fds[0]) & POLLERR) != 0, "%x", ready(fds[0]));
    CHECK_CALL(-ECONNRESET, get(fds[0], text, 1));
    CHECK_CALL(0, get(fds[0], text, 1));
    close_all();
}

/* A full queue gives EAGAIN, and an edge-triggered watch tells once there is room again. */
static void test_back_pressure(void)
{
    static char big[65536];
    int fds[2];
    long total = 0, piece;
    make_pair(SOCK_STREAM | SOCK_NONBLOCK, fds);
    int epoll = (int)CALL(epoll_create1, 0);
    struct epoll_event event = {.events = EPOLLOUT | EPOLLET}, out;
    CHECK_CALL(0, CALL(epoll_ctl, (uint64_t)epoll, EPOLL_CTL_ADD, (uint64_t)fds[0], P(&event)));
    CHECK_CALL(1, CALL(epoll_wait, (uint64_t)epoll, P(&out), 1, 0));
    while ((piece = CALL(write, (uint64_t)fds[0], P(big), sizeof(big))) > 0) {
        total += piece;
    }
    CHECK(piece == -EAGAIN && total >= 212992 && total < 400000, "%ld after %ld", piece, total);
    CHECK_CALL(0, CALL(epoll_wait, (uint64_t)epoll, P(&out), 1, 0));
    CHECK(ready(fds[0]) == 0, "%x", ready(fds[0]));
    while ((piece = CALL(read, (uint64_t)fds[1], P(big), sizeof(big))) > 0) {
        total -= piece;
    }
    CHECK(piece == -EAGAIN && total == 0, "%ld, %ld left", piece, total);
    CHECK_CALL(1, CALL(epoll_wait, (uint64_t)epoll, P(&out), 1, 0));
    close_all();
    /* Datagrams: eleven wait, as on Linux. */
    make_pair(SOCK_DGRAM | SOCK_NONBLOCK, fds);
    for (total = 0; (piece = put(fds[0], "x")) == 1; total++) {
    }
    CHECK(piece == -EAGAIN && total == 11, "%ld after %ld", piece, total);
    CHECK((ready(fds[0]) & POLLOUT) == 0, "%x", ready(fds[0]));
    CHECK_CALL(1, get(fds[1], big, 9));
    CHECK((ready(fds[0]) & POLLOUT) != 0, "%x", ready(fds[0]));
    static char huge[300000];
    CHECK_CALL(-EMSGSIZE, CALL(write, (uint64_t)fds[0], P(huge), sizeof(huge)));
    close_all();
}

static void test_messages(void)
{
    char text[64];
    int fds[2];
    make_pair(SOCK_DGRAM | SOCK_NONBLOCK, fds);
    CHECK_CALL(5, put(fds[0], "first"));
    CHECK_CALL(0, put(fds[0], ""));
    CHECK_CALL(6, put(fds[0], "second"));
    CHECK_CALL(2, CALL(recvfrom, (uint64_t)fds[1], P(text), 2, MSG_PEEK, 0, 0));
    CHECK_CALL(5, CALL(recvfrom, (uint64_t)fds[1], P(text), 2, MSG_TRUNC, 0, 0));
    CHECK_CALL(0, get(fds[1], text, 8));
    struct io_segment segments[2] = {{P(text), 3}, {P(text + 3), 10}};
    struct header header = {.segments = P(segments), .count = 2};
    CHECK_CALL(6, CALL(recvmsg, (uint64_t)fds[1], P(&header), 0));
    CHECK(memcmp(text, "second", 6) == 0 && header.flags == 0, "%.6s %x", text, header.flags);
    CHECK_CALL(-EFAULT, CALL(recvmsg, (uint64_t)fds[1], 8, 0));
    header.count = 2000;
    CHECK_CALL(-EMSGSIZE, CALL(sendmsg, (uint64_t)fds[1], P(&header), 0));
    CHECK_CALL(-EOPNOTSUPP, CALL(listen, (uint64_t)fds[1], 1));
    CHECK_CALL(0, CALL(close, (uint64_t)fds[1]));
    CHECK_CALL(-ECONNREFUSED, put(fds[0], "x"));
    close_all();
    make_pair(SOCK_SEQPACKET | SOCK_NONBLOCK, fds);
    CHECK_CALL(3, put(fds[0], "one"));
    CHECK_CALL(3, put(fds[0], "two"));
    CHECK_CALL(3, get(fds[1], text, 64));
    CHECK_CALL(0, CALL(close, (uint64_t)fds[0]));
    CHECK_CALL(3, get(fds[1], text, 64));
    CHECK_CALL(0, get(fds[1], text, 64));
    close_all();
}

static void test_names(void)
{
    struct sockaddr_un address = address_of("/tmp/socket"), other;
    struct stat stat;
    int32_t length = sizeof(other);
    int listener = make_socket(SOCK_STREAM | SOCK_NONBLOCK);
    int client = make_socket(SOCK_STREAM | SOCK_NONBLOCK);
    CHECK(ready(client) == (POLLOUT | POLLHUP), "%x", ready(client));
    CHECK_CALL(-ENOENT, CALL(connect, (uint64_t)client, P(&address), sizeof(address)));
    CHECK_CALL(-EINVAL, CALL(listen, (uint64_t)listener, 1));
    CHECK_CALL(0, CALL(bind, (uint64_t)listener, P(&address), 2 + 11));
    CHECK_CALL(-EINVAL, CALL(bind, (uint64_t)listener, P(&address), 2 + 11));
    CHECK_CALL(-EADDRINUSE, CALL(bind, (uint64_t)client, P(&address), 2 + 11));
    CHECK_CALL(-ECONNREFUSED, CALL(connect, (uint64_t)client, P(&address), 2 + 11));
    CHECK_CALL(0, CALL(getsockname, (uint64_t)listener, P(&other), P(&length)));
    CHECK(length == 14 && strcmp(other.sun_path, "/tmp/socket") == 0, "%d", length);
    CHECK_CALL(0, CALL(stat, P("/tmp/socket"), P(&stat)));
    CHECK((stat.st_mode & 0170000) == 0140000, "%o", stat.st_mode);
    CHECK_CALL(-ENXIO, CALL(open, P("/tmp/socket"), O_RDWR, 0));
    CHECK_CALL(0, CALL(listen, (uint64_t)listener, 1));
    CHECK_CALL(-EAGAIN, CALL(accept4, (uint64_t)listener, 0, 0, 0));
    CHECK_CALL(0, CALL(connect, (uint64_t)client, P(&address), 2 + 11));
    CHECK_CALL(-EISCONN, CALL(connect, (uint64_t)client, P(&address), 2 + 11));
    CHECK_CALL(-EISCONN, CALL(sendto, (uint64_t)client, P("x"), 1, 0, P(&address), 13));
    CHECK((ready(listener) & POLLIN) != 0, "%x", ready(listener));
    CHECK_CALL(5, put(client, "early"));
    length = sizeof(other);
    int server = (int)CALL(accept4, (uint64_t)listener, P(&other), P(&length), SOCK_NONBLOCK);
    CHECK(server >= 0 && length == 2, "%d, name of %d", server, length);
    char text[16];
    CHECK_CALL(5, get(server, text, 16));
    length = sizeof(other);
    CHECK_CALL(0, CALL(getpeername, (uint64_t)client, P(&other), P(&length)));
    CHECK(length == 14, "%d", length);
    int32_t credentials[3];
    length = sizeof(credentials);
    CHECK_CALL(
        0, CALL(getsockopt, (uint64_t)server, 1, 17 /* SO_PEERCRED */, P(credentials), P(&length)));
    CHECK(credentials[0] == 1 && credentials[1] == 0, "%d %d", credentials[0], credentials[1]);
    /* The backlog, and connections that nobody accepts. */
    int waiting[3];
    for (int i = 0; i < 3; i++) {
        waiting[i] = make_socket(SOCK_STREAM | SOCK_NONBLOCK);
        CHECK_CALL(i < 2 ? 0 : -EAGAIN, CALL(connect, (uint64_t)waiting[i], P(&address), 13));
    }
    CHECK_CALL(0, CALL(close, (uint64_t)listener));
    CHECK_CALL(-ECONNRESET, get(waiting[0], text, 1));
    CHECK_CALL(-ECONNREFUSED, CALL(connect, (uint64_t)waiting[2], P(&address), 13));
    CHECK_CALL(0, CALL(unlink, P("/tmp/socket")));
    close_all();
    /* Abstract, chosen by the kernel, and wrong ones. */
    int left = make_socket(SOCK_DGRAM | SOCK_NONBLOCK), right = make_socket(SOCK_DGRAM);
    CHECK_CALL(0, CALL(bind, (uint64_t)left, P(&address), 2));
    length = sizeof(other);
    CHECK_CALL(0, CALL(getsockname, (uint64_t)left, P(&other), P(&length)));
    CHECK(length == 8 && other.sun_path[0] == 0, "%d", length);
    CHECK_CALL(2, CALL(sendto, (uint64_t)right, P("hi"), 2, 0, P(&other), 8));
    length = sizeof(address);
    CHECK_CALL(2, CALL(recvfrom, (uint64_t)left, P(text), 8, 0, P(&address), P(&length)));
    CHECK(length == 0, "the sender has no name: %d", length);
    CHECK_CALL(-EADDRINUSE, CALL(bind, (uint64_t)right, P(&other), 8));
    CHECK_CALL(-EINVAL, CALL(bind, (uint64_t)right, P(&other), 1));
    CHECK_CALL(-EINVAL, CALL(bind, (uint64_t)right, P(&other), 200));
    other.sun_family = AF_INET;
    CHECK_CALL(-EINVAL, CALL(bind, (uint64_t)right, P(&other), 8));
    CHECK_CALL(-ENOTCONN, put(right, "x"));
    CHECK_CALL(-ENOTCONN, CALL(getpeername, (uint64_t)right, P(&other), P(&length)));
    close_all();
}

struct rights_message {
    struct control_header header;
    int32_t fds[4];
};

static long send_fd(int over, int fd)
{
    struct rights_message control = {{sizeof(struct control_header) + 4, 1, SCM_RIGHTS}, {fd}};
    struct io_segment segment = {P("f"), 1};
    struct header header = {
        .segments = P(&segment), .count = 1, .control = P(&control), .control_length = 24};
    return CALL(sendmsg, (uint64_t)over, P(&header), 0);
}

static int receive_fd(int from, uint32_t *flags)
{
    char byte;
    struct rights_message control = {.fds = {-1}};
    struct io_segment segment = {P(&byte), 1};
    struct header header = {.segments = P(&segment),
                            .count = 1,
                            .control = P(&control),
                            .control_length = sizeof(control)};
    CHECK_CALL(1, CALL(recvmsg, (uint64_t)from, P(&header), MSG_CMSG_CLOEXEC));
    *flags = header.flags;
    return control.fds[0];
}

static void test_rights(void)
{
    char text[16];
    uint32_t flags;
    int fds[2], pipe[2];
    make_pair(SOCK_STREAM | SOCK_NONBLOCK, fds);
    CHECK_CALL(0, CALL(pipe2, P(pipe), 0));
    CHECK_CALL(1, send_fd(fds[0], pipe[1]));
    CHECK_CALL(1, put(fds[0], "g"));
    CHECK_CALL(-EBADF, send_fd(fds[0], 77));
    CHECK_CALL(0, CALL(close, (uint64_t)pipe[1]));
    int fd = receive_fd(fds[1], &flags);
    CHECK(fd >= 0 && (flags & MSG_CTRUNC) == 0, "%d %x", fd, flags);
    CHECK_CALL(FD_CLOEXEC, CALL(fcntl, (uint64_t)fd, F_GETFD));
    CHECK_CALL(1, put(fd, "p"));
    CHECK_CALL(1, get(pipe[0], text, 4));
    CHECK_CALL(1, get(fds[1], text, 4));
    CHECK(text[0] == 'g', "%c", text[0]);
    /* No room for it: it is gone, and nothing leaks. */
    CHECK_CALL(1, send_fd(fds[0], fd));
    CHECK_CALL(1, get(fds[1], text, 4));
    CHECK_CALL(0, CALL(close, (uint64_t)fd));
    CHECK_CALL(0, get(pipe[0], text, 4));
    close_all();
    /* Cycles: a socket in its own queue, two in each other's. */
    for (int i = 0; i < 50; i++) {
        int other[2];
        make_pair(i % 2 == 0 ? SOCK_STREAM : SOCK_DGRAM, fds);
        CHECK_CALL(1, send_fd(fds[0], fds[1]));
        CHECK_CALL(1, send_fd(fds[0], fds[0]));
        make_pair(SOCK_STREAM, other);
        CHECK_CALL(1, send_fd(other[0], fds[0]));
        CHECK_CALL(1, send_fd(fds[0], other[1]));
        close_all();
    }
    /* A long chain of sockets in each other's queues ends without the stack's. */
    make_pair(SOCK_STREAM, fds);
    for (int i = 0; i < 4000; i++) {
        int next[2];
        make_pair(SOCK_STREAM, next);
        CHECK_CALL(1, send_fd(next[0], fds[1]));
        CHECK_CALL(0, CALL(close, (uint64_t)fds[0]));
        CHECK_CALL(0, CALL(close, (uint64_t)fds[1]));
        memcpy(fds, next, sizeof(fds));
    }
    close_all();
}

static void test_options(void)
{
    int fds[2];
    int32_t value[2] = {4096, 0}, length = sizeof(value);
    make_pair(SOCK_STREAM, fds);
    uint64_t fd = (uint64_t)fds[0];
    CHECK_CALL(0, CALL(setsockopt, fd, SOL_SOCKET, SO_SNDBUF, P(value), 4));
    CHECK_CALL(0, CALL(getsockopt, fd, SOL_SOCKET, SO_SNDBUF, P(value), P(&length)));
    CHECK(value[0] == 8192 && length == 4, "%d, %d bytes", value[0], length);
    CHECK_CALL(-EINVAL, CALL(setsockopt, fd, SOL_SOCKET, SO_KEEPALIVE, P(value), 2));
    CHECK_CALL(-EFAULT, CALL(setsockopt, fd, SOL_SOCKET, SO_KEEPALIVE, 8, 4));
    CHECK_CALL(0, CALL(setsockopt, fd, SOL_SOCKET, SO_KEEPALIVE, P(value), 4));
    CHECK_CALL(0, CALL(getsockopt, fd, SOL_SOCKET, SO_KEEPALIVE, P(value), P(&length)));
    CHECK(value[0] == 1, "%d", value[0]);
    CHECK_CALL(0, CALL(getsockopt, fd, SOL_SOCKET, SO_TYPE, P(value), P(&length)));
    CHECK(value[0] == SOCK_STREAM, "%d", value[0]);
    CHECK_CALL(-ENOPROTOOPT, CALL(getsockopt, fd, SOL_SOCKET, 9999, P(value), P(&length)));
    CHECK_CALL(-EOPNOTSUPP, CALL(getsockopt, fd, 6, 1, P(value), P(&length)));
    CHECK_CALL(-ENODEV, CALL(setsockopt, fd, SOL_SOCKET, SO_BINDTODEVICE, P("eth9"), 5));
    CHECK_CALL(-ENOTTY, CALL(ioctl, fd, 0x1234, P(value)));
    /* A time-out ends a call that blocks. */
    int64_t time[2] = {0, 20000};
    char byte;
    CHECK_CALL(0, CALL(setsockopt, fd, SOL_SOCKET, SO_RCVTIMEO_OLD, P(time), sizeof(time)));
    CHECK_CALL(-EAGAIN, get(fds[0], &byte, 1));
    close_all();
}

static int blocking[2];

static void *send_later(void *unused)
{
    (void)unused;
    static char big[600000];
    struct pollfd none;
    (void)CALL(poll, P(&none), 0, 20);
    CHECK_CALL((long)sizeof(big), CALL(write, (uint64_t)blocking[0], P(big), sizeof(big)));
    CHECK_CALL(0, CALL(shutdown, (uint64_t)blocking[0], SHUT_WR));
    return NULL;
}

/* A reader and a writer that wait for each other, more than fits into the queue. */
static void test_blocking(void)
{
    static char all[600000];
    make_pair(SOCK_STREAM, blocking);
    machine_thread_start(send_later);
    CHECK_CALL((long)sizeof(all),
               CALL(recvfrom, (uint64_t)blocking[1], P(all), sizeof(all), MSG_WAITALL, 0, 0));
    CHECK_CALL(0, CALL(recvfrom, (uint64_t)blocking[1], P(all), 1, MSG_WAITALL, 0, 0));
    machine_thread_join();
    close_all();
}

int main(void)
{
    machine_init();
    unix_init();
    CHECK_CALL(0, fs_init("none"));
    console_init(false, false);
    test_creation();
    test_stream();
    test_back_pressure();
    test_messages();
    test_names();
    test_rights();
    test_options();
    test_blocking();
    return 0;
}
