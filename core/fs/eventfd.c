/* SPDX-License-Identifier: MIT */
/* eventfd(2): a counter in one atomic word; no lock. */
#include "core/fs/fs_internal.h"

#define EFD_SEMAPHORE 1 /* eventfd(2) */
#define EFD_CLOEXEC O_CLOEXEC
#define EFD_NONBLOCK O_NONBLOCK

#define COUNT_MAX (UINT64_MAX - 1)

struct eventfd {
    uint64_t count; /* atomic */
    bool semaphore;
    struct wait_queue queue;
};

static uint64_t count_of(struct eventfd *event)
{
    return __atomic_load_n(&event->count, __ATOMIC_RELAXED);
}

static long eventfd_read(struct file *file, struct io_vector *io, uint64_t *offset)
{
    struct eventfd *event = file->data;
    (void)offset;
    if (io->remaining < sizeof(uint64_t)) {
        return -EINVAL;
    }
    for (;;) {
        uint64_t count = count_of(event);
        while (count != 0) {
            uint64_t value = event->semaphore ? 1 : count;
            if (__atomic_compare_exchange_n(&event->count, &count, count - value, true,
                                            __ATOMIC_ACQ_REL, __ATOMIC_RELAXED)) {
                wait_queue_notify(&event->queue, POLLOUT | POLLWRNORM);
                int result = io_copy_to(io, &value, sizeof(value));
                return result != 0 ? result : (long)sizeof(value);
            }
        }
        int result = file_nonblocking(file)
                         ? -EAGAIN
                         : wait_event(&event->queue, UINT64_MAX, count_of(event) != 0);
        if (result != 0) {
            return result;
        }
    }
}

static long eventfd_write(struct file *file, struct io_vector *io, uint64_t *offset)
{
    struct eventfd *event = file->data;
    uint64_t value;
    (void)offset;
    if (io->remaining < sizeof(value)) {
        return -EINVAL;
    }
    int result = io_copy_from(io, &value, sizeof(value));
    if (result != 0) {
        return result;
    }
    if (value == UINT64_MAX) {
        return -EINVAL;
    }
    for (;;) {
        uint64_t count = count_of(event);
        while (COUNT_MAX - count >= value) {
            if (__atomic_compare_exchange_n(&event->count, &count, count + value, true,
                                            __ATOMIC_ACQ_REL, __ATOMIC_RELAXED)) {
                wait_queue_notify(&event->queue, POLLIN | POLLRDNORM);
                return sizeof(value);
            }
        }
        result = file_nonblocking(file)
                     ? -EAGAIN
                     : wait_event(&event->queue, UINT64_MAX, COUNT_MAX - count_of(event) >= value);
        if (result != 0) {
            return result;
        }
    }
}

static uint32_t eventfd_poll(struct file *file, struct wait_entry *entry)
{
    struct eventfd *event = file->data;
    poll_enqueue(&event->queue, entry);
    uint64_t count = count_of(event);
    return (count != 0 ? POLLIN | POLLRDNORM : 0) | (count < COUNT_MAX ? POLLOUT | POLLWRNORM : 0);
}

static void eventfd_release(struct file *file)
{
    kfree(file->data);
}

static const struct file_operations eventfd_operations = {
    .read = eventfd_read,
    .write = eventfd_write,
    .poll = eventfd_poll,
    .release = eventfd_release,
};

static long eventfd_open(uint64_t initial, uint32_t flags)
{
    if ((flags & ~(uint32_t)(EFD_CLOEXEC | EFD_NONBLOCK | EFD_SEMAPHORE)) != 0) {
        return -EINVAL;
    }
    struct eventfd *event = kzalloc(sizeof(*event));
    if (event == NULL) {
        return -ENOMEM;
    }
    event->count = initial;
    event->semaphore = (flags & EFD_SEMAPHORE) != 0;
    wait_queue_init(&event->queue);
    return file_create_fd(&eventfd_operations, O_RDWR | (flags & (O_CLOEXEC | O_NONBLOCK)), event);
}

long sys_eventfd(struct syscall_args *a)
{
    return eventfd_open((uint32_t)a->arg[0], 0);
}

long sys_eventfd2(struct syscall_args *a)
{
    return eventfd_open((uint32_t)a->arg[0], (uint32_t)a->arg[1]);
}
