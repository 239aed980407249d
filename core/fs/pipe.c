/* SPDX-License-Identifier: MIT */
/* Pipes, and named pipes. The bytes lie in a ring of pages that are allocated as they fill; while
 * it is empty it starts over in the first page, so that a pipe that is used for ping-pong stays in
 * one cache-warm page. `lock` guards all; the counts are read without it by poll and by sleepers.
 */
#include <asm/ioctls.h>
#include <linux/limits.h>

#include "core/fs/fs_internal.h"
#include "core/fs/inode.h"
#include "core/mm/page.h"
#include "core/signal/restart.h"
#include "core/signal/signal.h"

#define PIPE_PAGES 16u
#define PIPE_MAX_BYTES (1u << 20)
#define SIGPIPE_NUMBER 13

struct pipe {
    struct mutex lock;
    struct wait_queue readable, writable;
    uint32_t head;                       /* where the bytes begin in the ring */
    uint32_t used;                       /* bytes in it */
    uint32_t capacity;                   /* bytes, a power of two */
    uint32_t readers, writers, openings; /* openings of either kind, ever; for named pipes */
    uint32_t references; /* ends and the inode; under fifo_lock for named pipes, else lock */
    char **pages;        /* capacity / PAGE_SIZE */
};

static int pipe_create(struct pipe **out)
{
    struct pipe *pipe = kzalloc(sizeof(*pipe));
    if (pipe == NULL) {
        return -ENOMEM;
    }
    pipe->pages = kzalloc(PIPE_PAGES * sizeof(*pipe->pages));
    if (pipe->pages == NULL) {
        kfree(pipe);
        return -ENOMEM;
    }
    mutex_init(&pipe->lock);
    wait_queue_init(&pipe->readable);
    wait_queue_init(&pipe->writable);
    pipe->capacity = PIPE_PAGES * PAGE_SIZE;
    *out = pipe;
    return 0;
}

static void pipe_destroy(struct pipe *pipe)
{
    for (uint32_t i = 0; i < pipe->capacity / PAGE_SIZE; i++) {
        if (pipe->pages[i] != NULL) {
            page_free(direct_map_physical(pipe->pages[i]), 0);
        }
    }
    kfree(pipe->pages);
    kfree(pipe);
}

static inline uint32_t pipe_used(struct pipe *pipe)
{
    return __atomic_load_n(&pipe->used, __ATOMIC_RELAXED);
}

static inline uint32_t load(const uint32_t *value)
{
    return __atomic_load_n(value, __ATOMIC_RELAXED);
}

static inline void store(uint32_t *value, uint32_t to)
{
    __atomic_store_n(value, to, __ATOMIC_RELAXED);
}

static long pipe_read(struct file *file, struct io_vector *io, uint64_t *offset)
{
    struct pipe *pipe = file->data;
    long done = 0;
    (void)offset;
    if (io->remaining == 0) {
        return 0;
    }
    mutex_lock(&pipe->lock);
    while (pipe_used(pipe) == 0) {
        int result = pipe->writers == 0 ? 1 : file_nonblocking(file) ? -EAGAIN : 0;
        mutex_unlock(&pipe->lock);
        if (result == 0) {
            result = wait_event(&pipe->readable, UINT64_MAX,
                                pipe_used(pipe) != 0 || load(&pipe->writers) == 0);
        }
        if (result != 0) {
            return result == 1 ? 0 : result;
        }
        mutex_lock(&pipe->lock);
    }
    /* As on Linux, only somebody who may have been waiting for room hears of it: an edge-triggered
     * writer would otherwise be told at every read. Nobody waits while an atomic write fits. */
    bool had_no_room = pipe->capacity - pipe_used(pipe) < PIPE_BUF;
    while (io->remaining != 0 && pipe_used(pipe) != 0) {
        uint32_t at = pipe->head & (pipe->capacity - 1);
        size_t piece =
            MIN(MIN(pipe_used(pipe), (uint32_t)PAGE_SIZE - at % PAGE_SIZE), io->remaining);
        int result = io_copy_to(io, pipe->pages[at / PAGE_SIZE] + at % PAGE_SIZE, piece);
        if (result != 0) {
            done = done != 0 ? done : result;
            break;
        }
        pipe->head += (uint32_t)piece;
        store(&pipe->used, pipe->used - (uint32_t)piece);
        done += (long)piece;
    }
    if (pipe->used == 0) {
        pipe->head = 0;
    }
    mutex_unlock(&pipe->lock);
    if (done > 0 && had_no_room) {
        wait_queue_notify(&pipe->writable, POLLOUT | POLLWRNORM);
    }
    return done;
}

/* Copies what fits. A piece counts only when all of it could be read. */
static long pipe_fill(struct pipe *pipe, struct io_vector *io)
{
    long done = 0;
    while (io->remaining != 0 && pipe_used(pipe) != pipe->capacity) {
        uint32_t at = (pipe->head + pipe->used) & (pipe->capacity - 1);
        char **page = &pipe->pages[at / PAGE_SIZE];
        if (*page == NULL) {
            uint64_t physical = page_alloc(0, 0);
            if (physical == 0) {
                return done != 0 ? done : -ENOMEM;
            }
            *page = direct_map(physical);
        }
        size_t piece =
            MIN(MIN(pipe->capacity - pipe_used(pipe), (uint32_t)PAGE_SIZE - at % PAGE_SIZE),
                io->remaining);
        int result = io_copy_from(io, *page + at % PAGE_SIZE, piece);
        if (result != 0) {
            return done != 0 ? done : result;
        }
        store(&pipe->used, pipe->used + (uint32_t)piece);
        done += (long)piece;
    }
    return done;
}

static long pipe_write(struct file *file, struct io_vector *io, uint64_t *offset)
{
    struct pipe *pipe = file->data;
    long done = 0;
    (void)offset;
    if (io->remaining == 0) {
        return 0;
    }
    uint32_t need = io->remaining <= PIPE_BUF ? (uint32_t)io->remaining : 1;
    mutex_lock(&pipe->lock);
    for (;;) {
        int result = 0;
        if (pipe->readers == 0) {
            result = -EPIPE;
        } else if (pipe->capacity - pipe_used(pipe) >= need) {
            long piece = pipe_fill(pipe, io);
            if (piece < 0) {
                result = (int)piece;
            } else {
                done += piece;
                need = 1;
            }
        }
        if (result == 0 && io->remaining != 0 && file_nonblocking(file)) {
            result = -EAGAIN;
        }
        if (result != 0 || io->remaining == 0) {
            mutex_unlock(&pipe->lock);
            if (done > 0) {
                wait_queue_notify(&pipe->readable, POLLIN | POLLRDNORM);
            }
            if (result == -EPIPE) {
                struct signal_info info = {.signo = SIGPIPE_NUMBER, .sender = {.pid = 1}};
                signal_send_thread(current_thread(), &info);
            }
            return done != 0 ? done : result;
        }
        mutex_unlock(&pipe->lock);
        if (done > 0) {
            wait_queue_notify(&pipe->readable, POLLIN | POLLRDNORM);
        }
        result = wait_event(&pipe->writable, UINT64_MAX,
                            load(&pipe->capacity) - pipe_used(pipe) >= need ||
                                load(&pipe->readers) == 0);
        if (result != 0) {
            return done != 0 ? done : result;
        }
        mutex_lock(&pipe->lock);
    }
}

static uint32_t pipe_poll(struct file *file, struct wait_entry *entry)
{
    struct pipe *pipe = file->data;
    uint32_t events = 0;
    poll_enqueue(file_readable(file) ? &pipe->readable : &pipe->writable, entry);
    if (file_readable(file)) {
        events |= pipe_used(pipe) != 0 ? POLLIN | POLLRDNORM : 0;
        /* A named pipe that nobody has written to yet has not been hung up. */
        events |= load(&pipe->writers) == 0 && file->offset != load(&pipe->openings) ? POLLHUP : 0;
    }
    if (file_writable(file)) {
        events |= load(&pipe->capacity) - pipe_used(pipe) >= PIPE_BUF ? POLLOUT | POLLWRNORM : 0;
        events |= load(&pipe->readers) == 0 ? POLLERR : 0;
    }
    return events;
}

static long pipe_resize(struct pipe *pipe, uintptr_t size)
{
    if (size > PIPE_MAX_BYTES) {
        return size > INT32_MAX ? -EINVAL : -EPERM;
    }
    uint32_t capacity = PAGE_SIZE;
    while (capacity < size) {
        capacity *= 2;
    }
    char **pages = kzalloc(capacity / PAGE_SIZE * sizeof(*pages));
    uint64_t spare = page_alloc(0, 0);
    long result = -ENOMEM;
    mutex_lock(&pipe->lock);
    uint32_t used = pipe->used, old_pages = pipe->capacity / (uint32_t)PAGE_SIZE;
    uint32_t first = (pipe->head & (pipe->capacity - 1)) / (uint32_t)PAGE_SIZE,
             lead = pipe->head % (uint32_t)PAGE_SIZE;
    if (pages == NULL || spare == 0) {
        goto out;
    }
    result = capacity;
    if (capacity == pipe->capacity) {
        goto out;
    }
    if (lead + used > capacity) {
        result = -EBUSY;
        goto out;
    }
    for (uint32_t i = 0; i < old_pages; i++) {
        char *page = pipe->pages[(first + i) % old_pages];
        if (i < capacity / PAGE_SIZE) {
            pages[i] = page;
        } else if (page != NULL) {
            page_free(direct_map_physical(page), 0);
        }
    }
    if (lead + used > pipe->capacity) {
        /* The end had wrapped into the first page, in front of the beginning. */
        pages[old_pages] = direct_map(spare);
        memcpy(pages[old_pages], pages[0], lead + used - pipe->capacity);
        spare = 0;
    }
    char **old = pipe->pages;
    pipe->pages = pages;
    pages = old;
    pipe->head = lead;
    store(&pipe->capacity, capacity);
out:
    mutex_unlock(&pipe->lock);
    kfree(pages);
    if (spare != 0) {
        page_free(spare, 0);
    }
    wait_queue_notify(&pipe->writable, POLLOUT | POLLWRNORM);
    return result;
}

static long pipe_ioctl(struct file *file, unsigned command, uintptr_t argument)
{
    struct pipe *pipe = file->data;
    uint32_t used;
    switch (command) {
    case FIONREAD:
        used = pipe_used(pipe);
        return copy_to_user(argument, &used, sizeof(used));
    case F_GETPIPE_SZ:
        return load(&pipe->capacity);
    case F_SETPIPE_SZ:
        return pipe_resize(pipe, argument);
    default:
        return -ENOTTY;
    }
}

static int pipe_stat(struct file *file, struct stat *stat)
{
    if (file->inode != NULL) {
        inode_stat(file->inode, stat);
        return 0;
    }
    memset(stat, 0, sizeof(*stat));
    stat->st_dev = 13;
    stat->st_ino = ((uintptr_t)file->data >> 4) & UINT32_MAX;
    stat->st_nlink = 1;
    stat->st_mode = S_IFIFO | 0600;
    stat->st_blksize = PAGE_SIZE;
    return 0;
}

static struct mutex fifo_lock = MUTEX_INIT(fifo_lock);

static void pipe_unreference(struct pipe *pipe)
{
    if (__atomic_sub_fetch(&pipe->references, 1, __ATOMIC_ACQ_REL) == 0) {
        pipe_destroy(pipe);
    }
}

static void pipe_release(struct file *file)
{
    struct pipe *pipe = file->data;
    mutex_lock(&pipe->lock);
    if (file_readable(file)) {
        store(&pipe->readers, pipe->readers - 1);
    }
    if (file_writable(file)) {
        store(&pipe->writers, pipe->writers - 1);
    }
    mutex_unlock(&pipe->lock);
    wait_queue_notify(&pipe->writable, POLLOUT | POLLERR | POLLHUP);
    wait_queue_notify(&pipe->readable, POLLIN | POLLHUP | POLLERR);
    pipe_unreference(pipe);
}

static const struct file_operations pipe_operations = {
    .read = pipe_read,
    .write = pipe_write,
    .poll = pipe_poll,
    .ioctl = pipe_ioctl,
    .stat = pipe_stat,
    .release = pipe_release,
};

static long pipe_open(uintptr_t address, uint32_t flags)
{
    struct pipe *pipe;
    struct file *ends[2];
    int32_t fds[2];
    if ((flags & ~(uint32_t)(O_CLOEXEC | O_NONBLOCK | O_DIRECT)) != 0) {
        return -EINVAL;
    }
    uint32_t status = flags & O_NONBLOCK;
    int result = pipe_create(&pipe);
    if (result != 0) {
        return result;
    }
    pipe->readers = pipe->writers = 1;
    pipe->references = 2;
    pipe->openings = 1; /* files have offset 0: always hung up when no writer is left */
    result = file_create(&ends[0], &pipe_operations, status | O_RDONLY, pipe);
    if (result != 0) {
        pipe_destroy(pipe);
        return result;
    }
    result = file_create(&ends[1], &pipe_operations, status | O_WRONLY, pipe);
    if (result != 0) {
        pipe->references = 1;
        file_put(ends[0]);
        return result;
    }
    bool cloexec = (flags & O_CLOEXEC) != 0;
    fds[0] = fd_install(ends[0], cloexec, 0);
    if (fds[0] < 0) {
        file_put(ends[1]);
        return fds[0];
    }
    fds[1] = fd_install(ends[1], cloexec, 0);
    if (fds[1] < 0) {
        fd_close(fds[0]);
        return fds[1];
    }
    result = copy_to_user(address, fds, sizeof(fds));
    if (result != 0) {
        fd_close(fds[0]);
        fd_close(fds[1]);
    }
    return result;
}

long sys_pipe(struct syscall_args *a)
{
    return pipe_open(a->arg[0], 0);
}

long sys_pipe2(struct syscall_args *a)
{
    return pipe_open(a->arg[0], (uint32_t)a->arg[1]);
}

/* --- named pipes
 * ----------------------------------------------------------------------------------------------------
 */

/* fifo(7): an end that opens waits for the other one, unless it is O_NONBLOCK or both at once. */
int fifo_open(struct inode *inode, struct file *file)
{
    struct pipe *pipe = NULL;
    int result = 0;
    mutex_lock(&fifo_lock);
    pipe = inode->data;
    if (pipe == NULL) {
        result = pipe_create(&pipe);
        if (result == 0) {
            pipe->references = 1;
            inode->data = pipe;
        }
    }
    if (result == 0) {
        __atomic_add_fetch(&pipe->references, 1, __ATOMIC_RELAXED);
    }
    mutex_unlock(&fifo_lock);
    if (result != 0) {
        return result;
    }
    bool reads = file_readable(file), writes = file_writable(file);
    mutex_lock(&pipe->lock);
    if (writes && !reads && file_nonblocking(file) && pipe->readers == 0) {
        mutex_unlock(&pipe->lock);
        pipe_unreference(pipe);
        return -ENXIO;
    }
    store(&pipe->readers, pipe->readers + reads);
    store(&pipe->writers, pipe->writers + writes);
    uint32_t seen = pipe->openings;
    store(&pipe->openings, pipe->openings + 1);
    bool wait = !file_nonblocking(file) && !(reads && writes) &&
                (reads ? pipe->writers : pipe->readers) == 0;
    mutex_unlock(&pipe->lock);
    file->operations = &pipe_operations;
    file->data = pipe;
    file->offset = reads && !writes && !wait && pipe->writers == 0 ? seen + 1 : UINT64_MAX;
    wait_queue_notify(&pipe->readable, 0);
    wait_queue_notify(&pipe->writable, 0);
    if (wait) {
        result = wait_event(reads ? &pipe->readable : &pipe->writable, UINT64_MAX,
                            load(&pipe->openings) != seen + 1 ||
                                load(reads ? &pipe->writers : &pipe->readers) != 0);
        if (result != 0) {
            pipe_release(file);
            result = result == -EINTR ? -ERESTARTSYS : result;
        }
    }
    return result;
}

void fifo_release(struct inode *inode)
{
    if (inode->data != NULL) {
        pipe_unreference(inode->data);
    }
}
