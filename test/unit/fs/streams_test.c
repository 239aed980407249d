/* SPDX-License-Identifier: MIT */
/* Descriptors, pipes, eventfd, timerfd, poll, epoll and the console. */
#include <asm/ioctls.h>
#include <asm/termbits.h>
#include <linux/eventpoll.h>
#include <linux/poll.h>
#include <pthread.h>
#include <unistd.h>

#include "fs_machine.h"
#include "goruntime/hostlink.h"

static void make_pipe(int fds[2], int flags)
{
    CHECK_CALL(0, CALL(pipe2, P(fds), (uint64_t)flags));
}

static long put(int fd, const void *bytes, size_t size)
{
    return CALL(write, (uint64_t)fd, P(bytes), size);
}

static long get(int fd, void *bytes, size_t size)
{
    return CALL(read, (uint64_t)fd, P(bytes), size);
}

static long close_fd(int fd)
{
    return CALL(close, (uint64_t)fd);
}

static void test_descriptors(void)
{
    int fds[2];
    make_pipe(fds, O_CLOEXEC);
    CHECK(fds[0] == 3 && fds[1] == 4, "the lowest ones are given: %d %d", fds[0], fds[1]);
    CHECK_CALL(FD_CLOEXEC, CALL(fcntl, 3, F_GETFD));
    CHECK_CALL(5, CALL(dup, 3));
    CHECK_CALL(0, CALL(fcntl, 5, F_GETFD));
    CHECK_CALL(0, close_fd(3));
    CHECK_CALL(3, CALL(dup, 5));
    CHECK_CALL(1000, CALL(fcntl, 3, F_DUPFD_CLOEXEC, 1000));
    CHECK_CALL(1001, CALL(fcntl, 3, F_DUPFD, 1000));
    CHECK_CALL(700000, CALL(dup2, 3, 700000));
    CHECK_CALL(700000, CALL(dup2, 700000, 700000));
    CHECK_CALL(-EBADF, CALL(dup2, 3, FD_MAX));
    CHECK_CALL(-EBADF, CALL(dup2, 99, 99));
    CHECK_CALL(-EINVAL, CALL(dup3, 3, 3, 0));
    CHECK_CALL(-EINVAL, CALL(fcntl, 3, F_DUPFD, FD_MAX));
    CHECK_CALL(0, CALL(close_range, 900, UINT32_MAX, 4));
    CHECK_CALL(FD_CLOEXEC, CALL(fcntl, 1001, F_GETFD));
    CHECK_CALL(0, CALL(close_range, 3, UINT32_MAX, 0));
    CHECK_CALL(-EBADF, close_fd(700000));
    CHECK_CALL(-EBADF, close_fd(-1));
    CHECK_CALL(-EBADF, get(3, fds, 1));
    /* Many, past several chunks of the table, and the limit. */
    make_pipe(fds, 0);
    for (int fd = 5; fd < 2000; fd++) {
        CHECK_CALL(fd, CALL(dup, 3));
    }
    fd_limit = 2000;
    CHECK_CALL(-EMFILE, CALL(dup, 3));
    CHECK_CALL(0, close_fd(777));
    CHECK_CALL(777, CALL(dup, 3));
    fd_limit = FD_MAX;
    CHECK_CALL(0, CALL(close_range, 3, UINT32_MAX, 0));
}

static void test_pipe(void)
{
    static char big[1 << 21];
    int fds[2], value;
    make_pipe(fds, O_NONBLOCK);
    CHECK_CALL(-EAGAIN, get(fds[0], big, 1));
    CHECK_CALL(0, get(fds[0], big, 0));
    CHECK_CALL(-EBADF, put(fds[0], big, 1));
    CHECK_CALL(-EBADF, get(fds[1], big, 1));
    CHECK_CALL(-EFAULT, CALL(write, (uint64_t)fds[1], 8, 4));
    CHECK_CALL(-EINVAL, CALL(write, (uint64_t)fds[1], P(big), UINT64_MAX));
    CHECK_CALL(3, put(fds[1], "abc", 3));
    CHECK_CALL(0, CALL(ioctl, (uint64_t)fds[0], FIONREAD, P(&value)));
    CHECK(value == 3, "%d bytes wait", value);
    CHECK_CALL(-EFAULT, CALL(read, (uint64_t)fds[0], 8, 4));
    CHECK_CALL(3, get(fds[0], big, 10));
    CHECK(memcmp(big, "abc", 3) == 0, "other bytes");
    CHECK_CALL(-ESPIPE, CALL(lseek, (uint64_t)fds[0], 0, 0));
    CHECK_CALL(-ESPIPE, CALL(pread64, (uint64_t)fds[0], P(big), 1, 0));
    CHECK_CALL(65536, CALL(fcntl, (uint64_t)fds[0], F_GETPIPE_SZ));
    CHECK_CALL(65536, put(fds[1], big, 100000));
    CHECK_CALL(-EAGAIN, put(fds[1], big, 1));
    CHECK_CALL(-EBUSY, CALL(fcntl, (uint64_t)fds[1], F_SETPIPE_SZ, 4096));
    CHECK_CALL(-EPERM, CALL(fcntl, (uint64_t)fds[1], F_SETPIPE_SZ, 2 << 20));
    CHECK_CALL(131072, CALL(fcntl, (uint64_t)fds[1], F_SETPIPE_SZ, 65537));
    CHECK_CALL(65536, put(fds[1], big, 100000));
    CHECK_CALL(131072, get(fds[0], big, sizeof(big)));
    /* A write of at most PIPE_BUF bytes is whole or not at all. */
    CHECK_CALL(4096, CALL(fcntl, (uint64_t)fds[1], F_SETPIPE_SZ, 1));
    CHECK_CALL(4000, put(fds[1], big, 4000));
    CHECK_CALL(-EAGAIN, put(fds[1], big, 97));
    CHECK_CALL(96, put(fds[1], big, 96));
    CHECK_CALL(100, get(fds[0], big, 100));
    CHECK_CALL(100, put(fds[1], big, 5000));
    /* Growing a ring whose end has wrapped keeps the order. */
    CHECK_CALL(4096, get(fds[0], big, sizeof(big)));
    for (int i = 0; i < 4096; i++) {
        big[i] = (char)(i * 7);
    }
    CHECK_CALL(1000, put(fds[1], big, 1000));
    CHECK_CALL(3000, put(fds[1], big + 1000, 3000));
    CHECK_CALL(1000, get(fds[0], big + 8192, 1000));
    CHECK_CALL(1000, put(fds[1], big, 1000));
    CHECK_CALL(8192, CALL(fcntl, (uint64_t)fds[1], F_SETPIPE_SZ, 8192));
    CHECK_CALL(4000, get(fds[0], big + 8192, 8192));
    CHECK(memcmp(big + 8192, big + 1000, 3000) == 0 && memcmp(big + 8192 + 3000, big, 1000) == 0,
          "order");
    struct pollfd poll_fds[2] = {{fds[0], POLLIN, 0}, {fds[1], POLLOUT, 0}};
    CHECK_CALL(1, CALL(poll, P(poll_fds), 2, 0));
    CHECK(poll_fds[0].revents == 0 && poll_fds[1].revents == POLLOUT, "%x %x", poll_fds[0].revents,
          poll_fds[1].revents);
    CHECK_CALL(1, put(fds[1], big, 1));
    CHECK_CALL(0, close_fd(fds[1]));
    CHECK_CALL(1, CALL(poll, P(poll_fds), 1, 0));
    CHECK(poll_fds[0].revents == (POLLIN | POLLHUP), "%x", poll_fds[0].revents);
    CHECK_CALL(1, get(fds[0], big, 10));
    CHECK_CALL(0, get(fds[0], big, 10));
    CHECK_CALL(1, CALL(poll, P(poll_fds), 1, 0));
    CHECK(poll_fds[0].revents == POLLHUP, "%x", poll_fds[0].revents);
    CHECK_CALL(0, close_fd(fds[0]));
    make_pipe(fds, 0);
    CHECK_CALL(0, close_fd(fds[0]));
    struct pollfd broken = {fds[1], 0, 0};
    CHECK_CALL(1, CALL(poll, P(&broken), 1, 0));
    CHECK_CALL(-EPIPE, put(fds[1], "x", 1));
    CHECK(machine_signals[13] == 1, "SIGPIPE %u times", machine_signals[13]);
    CHECK_CALL(0, close_fd(fds[1]));
    CHECK_CALL(-EFAULT, CALL(pipe2, 16, 0));
    CHECK_CALL(-EINVAL, CALL(pipe2, P(fds), O_APPEND));
    make_pipe(fds, 0);
    CHECK(fds[0] == 3, "a failed pipe2 leaves descriptors: %d", fds[0]);
    CHECK_CALL(0, CALL(close_range, 3, UINT32_MAX, 0));
    CHECK(machine_pages <= 1, "%u pages left", machine_pages);
}

static int ping[2], pong[2];
enum { ROUNDS = 2000 };

static void *echo_thread(void *unused)
{
    char byte;
    (void)unused;
    while (get(ping[0], &byte, 1) == 1) {
        CHECK_CALL(1, put(pong[1], &byte, 1));
    }
    return NULL;
}

static void *drain_thread(void *unused)
{
    static char bytes[5000];
    uint64_t state = 7, sum = 0;
    (void)unused;
    for (long size; (size = get(ping[0], bytes, test_random(&state) % sizeof(bytes) + 1)) > 0;) {
        for (long i = 0; i < size; i++) {
            sum = sum * 31 + (uint8_t)bytes[i];
        }
    }
    return (void *)sum;
}

static void test_pipe_threads(void)
{
    static char bytes[9000];
    make_pipe(ping, 0);
    make_pipe(pong, 0);
    machine_thread_start(echo_thread);
    for (int i = 0; i < ROUNDS; i++) {
        char byte = (char)i;
        CHECK_CALL(1, put(ping[1], &byte, 1));
        CHECK_CALL(1, get(pong[0], &byte, 1));
        CHECK(byte == (char)i, "round %d", i);
    }
    CHECK_CALL(0, close_fd(ping[1]));
    machine_thread_join();
    CHECK_CALL(0, CALL(close_range, 3, UINT32_MAX, 0));
    /* A full pipe makes the writer wait; nothing is lost or reordered. */
    make_pipe(ping, 0);
    machine_thread_start(drain_thread);
    uint64_t state = 3, sum = 0;
    for (int i = 0; i < 300; i++) {
        size_t size = test_random(&state) % sizeof(bytes);
        for (size_t k = 0; k < size; k++) {
            bytes[k] = (char)test_random(&state);
            sum = sum * 31 + (uint8_t)bytes[k];
        }
        CHECK_CALL((long)size, put(ping[1], bytes, size));
    }
    CHECK_CALL(0, close_fd(ping[1]));
    CHECK((uint64_t)machine_thread_join() == sum, "the bytes differ");
    CHECK_CALL(0, CALL(close_range, 3, UINT32_MAX, 0));
}

static void test_eventfd(void)
{
    uint64_t value = 5, read_value;
    int fd = (int)CALL(eventfd2, 0, O_NONBLOCK);
    struct pollfd poll_fd = {fd, POLLIN | POLLOUT, 0};
    CHECK_CALL(-EAGAIN, get(fd, &read_value, 8));
    CHECK_CALL(-EINVAL, get(fd, &read_value, 7));
    CHECK_CALL(8, put(fd, &value, 8));
    CHECK_CALL(8, put(fd, &value, 8));
    CHECK_CALL(1, CALL(poll, P(&poll_fd), 1, 0));
    CHECK(poll_fd.revents == (POLLIN | POLLOUT), "%x", poll_fd.revents);
    CHECK_CALL(8, get(fd, &read_value, 8));
    CHECK(read_value == 10, "%lu", read_value);
    value = UINT64_MAX;
    CHECK_CALL(-EINVAL, put(fd, &value, 8));
    value = UINT64_MAX - 1;
    CHECK_CALL(8, put(fd, &value, 8));
    value = 1;
    CHECK_CALL(-EAGAIN, put(fd, &value, 8));
    CHECK_CALL(1, CALL(poll, P(&poll_fd), 1, 0));
    CHECK(poll_fd.revents == POLLIN, "%x", poll_fd.revents);
    CHECK_CALL(0, close_fd(fd));
    fd = (int)CALL(eventfd2, 2, 1 | O_NONBLOCK);
    CHECK_CALL(8, get(fd, &read_value, 8));
    CHECK(read_value == 1, "a semaphore gives 1");
    CHECK_CALL(8, get(fd, &read_value, 8));
    CHECK_CALL(-EAGAIN, get(fd, &read_value, 8));
    CHECK_CALL(0, close_fd(fd));
    CHECK_CALL(-EINVAL, CALL(eventfd2, 0, O_APPEND));
}

static void test_timerfd(void)
{
    int64_t set[4] = {0, 10000000, 1, 0}, old[4]; /* every 10 ms from 1 s on */
    uint64_t count;
    CHECK_CALL(-EINVAL, CALL(timerfd_create, 99, 0));
    int fd = (int)CALL(timerfd_create, 1 /* CLOCK_MONOTONIC */, O_NONBLOCK);
    CHECK_CALL(-EAGAIN, get(fd, &count, 8));
    CHECK_CALL(0, CALL(timerfd_settime, (uint64_t)fd, 0, P(set), 0));
    machine_run_timers();
    CHECK_CALL(-EAGAIN, get(fd, &count, 8));
    machine_skew += 1025000000;
    machine_run_timers();
    CHECK_CALL(8, get(fd, &count, 8));
    CHECK(count >= 3, "%lu", count);
    CHECK_CALL(0, CALL(timerfd_gettime, (uint64_t)fd, P(old)));
    CHECK(old[1] == 10000000 && old[2] == 0 && old[3] > 0, "%ld %ld %ld", old[1], old[2], old[3]);
    int64_t off[4] = {0};
    CHECK_CALL(0, CALL(timerfd_settime, (uint64_t)fd, 0, P(off), P(old)));
    machine_skew += 1000000000;
    machine_run_timers();
    CHECK_CALL(-EAGAIN, get(fd, &count, 8));
    off[3] = 1000000000;
    CHECK_CALL(-EINVAL, CALL(timerfd_settime, (uint64_t)fd, 0, P(off), 0));
    int64_t past[4] = {0, 0, 1, 0};
    CHECK_CALL(0, CALL(timerfd_settime, (uint64_t)fd, 1, P(past), 0));
    machine_run_timers();
    CHECK_CALL(8, get(fd, &count, 8));
    CHECK(count == 1, "%lu", count);
    CHECK_CALL(0, close_fd(fd));
}

static long control(int set, int operation, int fd, uint32_t events)
{
    struct epoll_event event = {events, (uint64_t)fd};
    return CALL(epoll_ctl, (uint64_t)set, (uint64_t)operation, (uint64_t)fd, P(&event));
}

/* The events of one call that does not wait. */
static long ready(int set, struct epoll_event *events, int count)
{
    return CALL(epoll_wait, (uint64_t)set, P(events), (uint64_t)count, 0);
}

static void test_epoll(void)
{
    struct epoll_event events[80];
    int fds[2];
    char byte;
    int set = (int)CALL(epoll_create1, O_CLOEXEC);
    make_pipe(fds, O_NONBLOCK);
    CHECK_CALL(-EINVAL, CALL(epoll_create, 0));
    CHECK_CALL(-EINVAL, control(fds[0], EPOLL_CTL_ADD, fds[1], EPOLLIN));
    CHECK_CALL(-EINVAL, control(set, EPOLL_CTL_ADD, set, EPOLLIN));
    CHECK_CALL(-EBADF, control(set, EPOLL_CTL_ADD, 99, EPOLLIN));
    CHECK_CALL(-ENOENT, control(set, EPOLL_CTL_MOD, fds[0], EPOLLIN));
    CHECK_CALL(-ENOENT, control(set, EPOLL_CTL_DEL, fds[0], 0));
    CHECK_CALL(-EFAULT, CALL(epoll_ctl, (uint64_t)set, EPOLL_CTL_ADD, (uint64_t)fds[0], 8));
    CHECK_CALL(-EINVAL, ready(set, events, 0));
    CHECK_CALL(-EINVAL, ready(fds[0], events, 1));
    int regular = open_file("/tmp/regular", O_CREAT | O_RDWR, 0600);
    CHECK_CALL(-EPERM, control(set, EPOLL_CTL_ADD, regular, EPOLLIN));
    CHECK_CALL(0, close_fd(regular));
    /* Level-triggered. */
    CHECK_CALL(0, control(set, EPOLL_CTL_ADD, fds[0], EPOLLIN));
    CHECK_CALL(-EEXIST, control(set, EPOLL_CTL_ADD, fds[0], EPOLLIN));
    CHECK_CALL(0, ready(set, events, 8));
    CHECK_CALL(1, put(fds[1], "a", 1));
    CHECK_CALL(1, ready(set, events, 8));
    CHECK_CALL(1, ready(set, events, 8));
    CHECK(events[0].events == EPOLLIN && events[0].data == (uint64_t)fds[0], "%x",
          events[0].events);
    CHECK_CALL(-EFAULT, CALL(epoll_wait, (uint64_t)set, 8, 8, 0));
    CHECK_CALL(1, get(fds[0], &byte, 1));
    CHECK_CALL(0, ready(set, events, 8));
    /* Edge-triggered: each new event is one report, also while the first has not been read. */
    CHECK_CALL(0, control(set, EPOLL_CTL_MOD, fds[0], EPOLLIN | EPOLLET));
    for (int i = 0; i < 3; i++) {
        CHECK_CALL(1, put(fds[1], "a", 1));
        CHECK_CALL(1, ready(set, events, 8));
        CHECK_CALL(0, ready(set, events, 8));
    }
    CHECK_CALL(0, control(set, EPOLL_CTL_MOD, fds[0], EPOLLIN | EPOLLET));
    CHECK_CALL(1, ready(set, events, 8));
    CHECK_CALL(0, ready(set, events, 8));
    /* One-shot, and armed again. */
    CHECK_CALL(0, control(set, EPOLL_CTL_MOD, fds[0], EPOLLIN | EPOLLONESHOT));
    CHECK_CALL(1, ready(set, events, 8));
    CHECK_CALL(1, put(fds[1], "a", 1));
    CHECK_CALL(0, ready(set, events, 8));
    CHECK_CALL(0, control(set, EPOLL_CTL_MOD, fds[0], EPOLLIN | EPOLLONESHOT));
    CHECK_CALL(1, ready(set, events, 8));
    /* The other end goes: EPOLLHUP without being asked for; EPOLLERR for a writer. */
    CHECK_CALL(0, control(set, EPOLL_CTL_MOD, fds[0], EPOLLET));
    CHECK_CALL(0, ready(set, events, 8));
    CHECK_CALL(0, close_fd(fds[1]));
    CHECK_CALL(1, ready(set, events, 8));
    CHECK(events[0].events == EPOLLHUP, "%x", events[0].events);
    /* The watch goes with the last descriptor, not with the first. */
    int copy = (int)CALL(dup, (uint64_t)fds[0]);
    CHECK_CALL(0, control(set, EPOLL_CTL_MOD, fds[0], 0));
    CHECK_CALL(0, close_fd(fds[0]));
    CHECK_CALL(1, ready(set, events, 8));
    CHECK_CALL(0, close_fd(copy));
    CHECK_CALL(0, ready(set, events, 8));
    make_pipe(fds, O_NONBLOCK);
    CHECK_CALL(-EINVAL,
               control(set, EPOLL_CTL_ADD, fds[0], EPOLLIN | EPOLLEXCLUSIVE | EPOLLONESHOT));
    CHECK_CALL(0, control(set, EPOLL_CTL_ADD, fds[0], EPOLLIN | EPOLLEXCLUSIVE));
    CHECK_CALL(-EINVAL, control(set, EPOLL_CTL_MOD, fds[0], EPOLLIN));
    CHECK_CALL(0, control(set, EPOLL_CTL_DEL, fds[0], 0));
    /* Level-triggered ones take turns when there is no room for all. */
    int many[70];
    for (int i = 0; i < 70; i++) {
        many[i] = (int)CALL(eventfd2, 1, 0);
        CHECK_CALL(0, control(set, EPOLL_CTL_ADD, many[i], EPOLLIN));
    }
    uint8_t seen[2000] = {0};
    for (int i = 0; i < 7; i++) {
        CHECK_CALL(10, ready(set, events, 10));
        for (int k = 0; k < 10; k++) {
            CHECK(seen[events[k].data]++ == 0, "reported before its turn");
        }
    }
    for (int i = 0; i < 70; i++) {
        CHECK_CALL(0, close_fd(many[i]));
    }
    CHECK_CALL(0, ready(set, events, 80));
    /* Sets in sets. */
    int outer = (int)CALL(epoll_create1, 0);
    CHECK_CALL(0, control(outer, EPOLL_CTL_ADD, set, EPOLLIN));
    CHECK_CALL(-ELOOP, control(set, EPOLL_CTL_ADD, outer, EPOLLIN));
    CHECK_CALL(0, control(set, EPOLL_CTL_ADD, fds[0], EPOLLIN));
    CHECK_CALL(0, ready(outer, events, 8));
    CHECK_CALL(1, put(fds[1], "a", 1));
    CHECK_CALL(1, ready(outer, events, 8));
    CHECK_CALL(1, ready(set, events, 8));
    CHECK_CALL(1, get(fds[0], &byte, 1));
    CHECK_CALL(0, ready(outer, events, 8));
    int chain[8] = {outer};
    long result = 0;
    for (int i = 1; i < 8 && result == 0; i++) {
        chain[i] = (int)CALL(epoll_create1, 0);
        result = control(chain[i], EPOLL_CTL_ADD, chain[i - 1], EPOLLIN);
    }
    CHECK(result == -ELOOP, "too deep a chain gave %ld", result);
    CHECK_CALL(1, put(fds[1], "a", 1));
    CHECK_CALL(1, ready(chain[2], events, 8));
    CHECK_CALL(0, close_fd(set));
    CHECK_CALL(0, ready(outer, events, 8));
    CHECK_CALL(0, CALL(close_range, 3, UINT32_MAX, 0));
}

static int wait_set, wake_fd;

static void *writer_thread(void *unused)
{
    uint64_t one = 1;
    (void)unused;
    for (int i = 0; i < 2000; i++) {
        CHECK_CALL(8, put(wake_fd, &one, 8));
        if (i % 50 == 0) {
            usleep(100);
        }
    }
    return NULL;
}

static void *closer_thread(void *unused)
{
    (void)unused;
    for (int i = 0; i < 1000; i++) {
        int fds[2];
        make_pipe(fds, 0);
        uint32_t edge = (i & 1) != 0 ? EPOLLET : 0;
        CHECK_CALL(0, control(wait_set, EPOLL_CTL_ADD, fds[0], EPOLLIN | edge));
        CHECK_CALL(1, put(fds[1], "x", 1));
        CHECK_CALL(0, close_fd(fds[0]));
        CHECK_CALL(0, close_fd(fds[1]));
    }
    uint64_t one = 1;
    CHECK_CALL(8, put(wake_fd, &one, 8));
    return NULL;
}

static void test_epoll_threads(void)
{
    struct epoll_event events[8];
    uint64_t total = 0, value;
    wait_set = (int)CALL(epoll_create1, 0);
    wake_fd = (int)CALL(eventfd2, 0, O_NONBLOCK);
    CHECK_CALL(0, control(wait_set, EPOLL_CTL_ADD, wake_fd, EPOLLIN | EPOLLET));
    machine_thread_start(writer_thread);
    while (total < 2000) {
        CHECK_CALL(1, CALL(epoll_wait, (uint64_t)wait_set, P(events), 8, 10000));
        if (get(wake_fd, &value, 8) == 8) {
            total += value;
        }
    }
    machine_thread_join();
    /* Files that go away while they are reported. */
    machine_thread_start(closer_thread);
    for (bool done = false; !done;) {
        long found = CALL(epoll_wait, (uint64_t)wait_set, P(events), 8, 10000);
        CHECK(found > 0, "gave %ld", found);
        for (long i = 0; i < found; i++) {
            done |= events[i].data == (uint64_t)wake_fd;
        }
    }
    machine_thread_join();
    /* Time-outs. */
    get(wake_fd, &value, 8);
    CHECK_CALL(0, CALL(epoll_wait, (uint64_t)wait_set, P(events), 8, 5));
    int64_t time[2] = {0, 3000000};
    CHECK_CALL(0, CALL(epoll_pwait2, (uint64_t)wait_set, P(events), 8, P(time), 0, 8));
    CHECK_CALL(0, CALL(close_range, 3, UINT32_MAX, 0));
}

static void test_select(void)
{
    int fds[2];
    make_pipe(fds, 0);
    uint64_t in = 1ull << fds[0], out = 1ull << fds[1];
    int64_t time[2] = {0, 1000};
    CHECK_CALL(1, CALL(select, (uint64_t)fds[1] + 1, P(&in), P(&out), 0, P(time)));
    CHECK(in == 0 && out == 1ull << fds[1], "%lx %lx", in, out);
    CHECK_CALL(1, put(fds[1], "a", 1));
    in = 1ull << fds[0];
    CHECK_CALL(2, CALL(select, (uint64_t)fds[1] + 1, P(&in), P(&out), 0, 0));
    in = 1ull << 60;
    CHECK_CALL(-EBADF, CALL(select, 64, P(&in), 0, 0, P(time)));
    CHECK_CALL(-EFAULT, CALL(select, 64, 8, 0, 0, P(time)));
    int64_t wait[2] = {0, 2000000};
    CHECK_CALL(0, CALL(pselect6, 0, 0, 0, 0, P(wait), 0));
    struct pollfd bad = {77, POLLIN, 0};
    CHECK_CALL(1, CALL(ppoll, P(&bad), 1, P(wait), 0, 8));
    CHECK(bad.revents == POLLNVAL, "%x", bad.revents);
    CHECK_CALL(-EFAULT, CALL(poll, 8, 1, 0));
    CHECK_CALL(0, CALL(close_range, 3, UINT32_MAX, 0));
}

static void type(const char *text)
{
    core_console_input(text, strlen(text));
}

static void expect_output(const char *text)
{
    CHECK(machine_console_used == strlen(text) &&
              memcmp(machine_console, text, machine_console_used) == 0,
          "output \"%.*s\"", (int)machine_console_used, machine_console);
    machine_console_used = 0;
}

static void test_terminal(void)
{
    char bytes[5000];
    struct termios settings;
    struct pollfd poll_fd = {0, POLLIN, 0};
    machine_console_used = 0;
    CHECK_CALL(3, put(1, "a\nb", 3));
    expect_output("a\r\nb");
    CHECK_CALL(0, CALL(ioctl, 0, TCGETS, P(&settings)));
    CHECK_CALL(0, CALL(poll, P(&poll_fd), 1, 0));
    type("hellx\177o\ncut \025next");
    CHECK_CALL(1, CALL(poll, P(&poll_fd), 1, 0));
    expect_output("hellx\b \bo\r\ncut \b \b\b \b\b \b\b \bnext");
    CHECK_CALL(3, get(0, bytes, 3));
    CHECK_CALL(3, get(0, bytes, 100));
    CHECK(memcmp(bytes, "lo\n", 3) == 0, "%.3s", bytes);
    CHECK_CALL(0, CALL(poll, P(&poll_fd), 1, 0));
    type("\004");
    CHECK_CALL(4, get(0, bytes, 100));
    type("\004");
    CHECK_CALL(0, get(0, bytes, 100));
    type("lost\003");
    CHECK(machine_signals[2] == 1, "SIGINT %u times", machine_signals[2]);
    CHECK_CALL(0, CALL(poll, P(&poll_fd), 1, 0));
    for (int i = 0; i < 6000; i++) {
        type("z");
    }
    type("\n");
    CHECK_CALL(4096, get(0, bytes, sizeof(bytes)));
    machine_console_used = 0;
    settings.c_lflag &= ~(uint32_t)(ICANON | ECHO | ISIG);
    CHECK_CALL(0, CALL(ioctl, 0, TCSETS, P(&settings)));
    type("q\003");
    CHECK_CALL(2, get(0, bytes, 100));
    expect_output("");
    settings.c_cc[VMIN] = 0;
    CHECK_CALL(0, CALL(ioctl, 0, TCSETS, P(&settings)));
    CHECK_CALL(0, get(0, bytes, 100));
    CHECK_CALL(0, CALL(ioctl, 0, TIOCGWINSZ, P(bytes)));
    CHECK_CALL(-ENOTTY, CALL(ioctl, 0, 0x1234, 0));
    int tty = open_file("/dev/tty", O_RDWR, 0);
    CHECK_CALL(1, put(tty, "t", 1));
    expect_output("t");
    CHECK_CALL(0, close_fd(tty));
}

static void test_hostlink(void)
{
    static char bytes[300000], sent[100000];
    struct stat stat;
    struct pollfd poll_fd = {0, POLLIN, 0};
    CHECK_CALL(0, CALL(close_range, 0, 2, 0));
    console_init(true, false);
    CHECK_CALL(-ENOTTY, CALL(ioctl, 0, TCGETS, P(bytes)));
    CHECK_CALL(0, CALL(fstat, 0, P(&stat)));
    CHECK((stat.st_mode & 0170000) == 0010000, "%o", stat.st_mode);
    CHECK_CALL(-ENXIO, open_file("/dev/tty", O_RDWR, 0));
    CHECK_CALL(-EBADF, put(0, "x", 1));
    CHECK_CALL(0, CALL(poll, P(&poll_fd), 1, 0));
    core_console_input("a\x10\x10z\x10", 5);
    core_console_input("\x03", 1);
    CHECK(machine_signals[2] == 2, "SIGINT");
    core_console_input("\x10\x0f", 2);
    CHECK(machine_signals[15] == 1, "SIGTERM");
    CHECK_CALL(3, get(0, bytes, 100));
    CHECK(memcmp(bytes, "a\x10z", 3) == 0, "escapes");
    /* More than one page, taken in pieces. */
    for (size_t i = 0; i < sizeof(sent); i++) {
        sent[i] = (char)(32 + i % 90);
    }
    core_console_input(sent, sizeof(sent));
    long total = 0;
    while (total < (long)sizeof(sent)) {
        long piece = get(0, bytes + total, 777);
        CHECK(piece > 0, "%ld", piece);
        total += piece;
    }
    CHECK(memcmp(bytes, sent, sizeof(sent)) == 0, "bytes differ");
    core_console_input("e\x10\x04", 3);
    CHECK_CALL(1, CALL(poll, P(&poll_fd), 1, 0));
    CHECK(poll_fd.revents == (POLLIN | POLLHUP), "%x", poll_fd.revents);
    CHECK_CALL(1, get(0, bytes, 100));
    CHECK_CALL(0, get(0, bytes, 100));
    CHECK_CALL(0, get(0, bytes, 100));
    CHECK_CALL(3, put(2, "er\n", 3));
    expect_output("er\n");
    int again = open_file("/dev/stdin", O_RDONLY, 0);
    CHECK_CALL(0, get(again, bytes, 1));
    CHECK_CALL(-EACCES, open_file("/dev/stdin", O_WRONLY, 0));
    CHECK_CALL(0, close_fd(again));
    int set = (int)CALL(epoll_create1, 0);
    CHECK_CALL(0, control(set, EPOLL_CTL_ADD, 0, EPOLLIN | EPOLLET));
    CHECK_CALL(0, close_fd(set));
}

int main(void)
{
    machine_init();
    CHECK_CALL(0, fs_init("none"));
    console_init(false, false);
    test_descriptors();
    test_pipe();
    test_pipe_threads();
    test_eventfd();
    test_timerfd();
    test_epoll();
    test_epoll_threads();
    test_select();
    test_terminal();
    test_hostlink();
    return 0;
}
