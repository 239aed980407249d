/* SPDX-License-Identifier: MIT */
/* timerfd_create(2). `lock` guards the deadline, the interval and the count of expirations; the
 * timer's callback takes it in interrupt context. */
#include <linux/time.h>
#include <linux/timerfd.h>

#include "core/fs/fs_internal.h"
#include "core/time/clock.h"

struct timerfd {
    struct timer timer;
    struct spinlock lock;
    uint64_t deadline; /* monotonic ns; UINT64_MAX: not armed */
    uint64_t interval; /* ns; 0: once */
    uint64_t count;    /* since the last read; written under lock */
    int clock;
    struct wait_queue queue;
};

/* Counts what is due at `now` and moves the deadline on. lock held. */
static bool count_expirations(struct timerfd *timerfd, uint64_t now)
{
    if (timerfd->deadline == UINT64_MAX || timerfd->deadline > now) {
        return false;
    }
    uint64_t times = 1;
    if (timerfd->interval != 0) {
        times += (now - timerfd->deadline) / timerfd->interval;
        if (__builtin_add_overflow(timerfd->deadline, times * timerfd->interval,
                                   &timerfd->deadline)) {
            timerfd->deadline = UINT64_MAX;
        }
    } else {
        timerfd->deadline = UINT64_MAX;
    }
    __atomic_store_n(&timerfd->count, timerfd->count + times, __ATOMIC_RELAXED);
    return true;
}

static void timerfd_expired(struct timer *timer)
{
    struct timerfd *timerfd = container_of(timer, struct timerfd, timer);
    bool irq = spin_lock_irqsave(&timerfd->lock);
    bool notify = count_expirations(timerfd, hal_clock_monotonic());
    uint64_t deadline = timerfd->deadline;
    spin_unlock_irqrestore(&timerfd->lock, irq);
    if (deadline != UINT64_MAX) {
        timer_arm(timer, deadline);
    }
    if (notify) {
        wait_queue_notify(&timerfd->queue, POLLIN | POLLRDNORM);
    }
}

static long timerfd_read(struct file *file, struct io_vector *io, uint64_t *offset)
{
    struct timerfd *timerfd = file->data;
    (void)offset;
    if (io->remaining < sizeof(uint64_t)) {
        return -EINVAL;
    }
    for (;;) {
        bool irq = spin_lock_irqsave(&timerfd->lock);
        uint64_t count = timerfd->count;
        __atomic_store_n(&timerfd->count, 0, __ATOMIC_RELAXED);
        spin_unlock_irqrestore(&timerfd->lock, irq);
        if (count != 0) {
            int result = io_copy_to(io, &count, sizeof(count));
            return result != 0 ? result : (long)sizeof(count);
        }
        int result = file_nonblocking(file)
                         ? -EAGAIN
                         : wait_event(&timerfd->queue, UINT64_MAX,
                                      __atomic_load_n(&timerfd->count, __ATOMIC_RELAXED) != 0);
        if (result != 0) {
            return result;
        }
    }
}

static uint32_t timerfd_poll(struct file *file, struct wait_entry *entry)
{
    struct timerfd *timerfd = file->data;
    poll_enqueue(&timerfd->queue, entry);
    return __atomic_load_n(&timerfd->count, __ATOMIC_RELAXED) != 0 ? POLLIN | POLLRDNORM : 0;
}

/* The callback may arm the timer again while it is being cancelled: only after the deadline is gone
 * it cannot. */
static void timerfd_stop(struct timerfd *timerfd)
{
    bool irq = spin_lock_irqsave(&timerfd->lock);
    timerfd->deadline = UINT64_MAX;
    spin_unlock_irqrestore(&timerfd->lock, irq);
    timer_cancel(&timerfd->timer);
    timer_cancel(&timerfd->timer);
}

static void timerfd_release(struct file *file)
{
    struct timerfd *timerfd = file->data;
    timerfd_stop(timerfd);
    kfree(timerfd);
}

static const struct file_operations timerfd_operations = {
    .read = timerfd_read,
    .poll = timerfd_poll,
    .release = timerfd_release,
};

long sys_timerfd_create(struct syscall_args *a)
{
    int clock = (int)a->arg[0];
    uint32_t flags = (uint32_t)a->arg[1];
    if ((flags & ~(uint32_t)(TFD_CLOEXEC | TFD_NONBLOCK)) != 0 ||
        (clock != CLOCK_REALTIME && clock != CLOCK_MONOTONIC && clock != CLOCK_BOOTTIME &&
         clock != CLOCK_REALTIME_ALARM && clock != CLOCK_BOOTTIME_ALARM)) {
        return -EINVAL;
    }
    struct timerfd *timerfd = kzalloc(sizeof(*timerfd));
    if (timerfd == NULL) {
        return -ENOMEM;
    }
    timer_init(&timerfd->timer, timerfd_expired);
    spinlock_init(&timerfd->lock, LOCK_FILE);
    wait_queue_init(&timerfd->queue);
    timerfd->deadline = UINT64_MAX;
    timerfd->clock = clock;
    return file_create_fd(&timerfd_operations, O_RDWR | flags, timerfd);
}

static int timerfd_lookup(int fd, struct file **out)
{
    int result = fd_lookup(fd, out);
    if (result == 0 && (*out)->operations != &timerfd_operations) {
        file_put(*out);
        result = -EINVAL;
    }
    return result;
}

/* Writes struct itimerspec: interval, then time left. */
static int timerfd_report(uintptr_t to, uint64_t deadline, uint64_t interval)
{
    uint64_t now = hal_clock_monotonic();
    uint64_t left = deadline == UINT64_MAX ? 0 : deadline > now ? deadline - now : 1;
    int result = timespec_to_user(to, interval);
    return result != 0 ? result : timespec_to_user(to + sizeof(struct timespec64), left);
}

long sys_timerfd_settime(struct syscall_args *a)
{
    struct file *file;
    uint64_t interval, value;
    int flags = (int)a->arg[1];
    if ((flags & ~(TFD_TIMER_ABSTIME | TFD_TIMER_CANCEL_ON_SET)) != 0) {
        return -EINVAL;
    }
    int result = timespec_from_user(a->arg[2], &interval);
    if (result == 0) {
        result = timespec_from_user(a->arg[2] + sizeof(struct timespec64), &value);
    }
    if (result == 0) {
        result = timerfd_lookup((int)a->arg[0], &file);
    }
    if (result != 0) {
        return result;
    }
    struct timerfd *timerfd = file->data;
    uint64_t deadline = UINT64_MAX;
    if (value != 0 && (flags & TFD_TIMER_ABSTIME) == 0) {
        deadline = deadline_after(value);
    } else if (value != 0) {
        uint64_t zero = clock_offset(timerfd->clock);
        deadline = value > zero ? value - zero : 0;
    }
    bool irq = spin_lock_irqsave(&timerfd->lock);
    count_expirations(timerfd, hal_clock_monotonic());
    uint64_t old_deadline = timerfd->deadline, old_interval = timerfd->interval;
    spin_unlock_irqrestore(&timerfd->lock, irq);
    timerfd_stop(timerfd);
    irq = spin_lock_irqsave(&timerfd->lock);
    timerfd->deadline = deadline;
    timerfd->interval = interval;
    __atomic_store_n(&timerfd->count, 0, __ATOMIC_RELAXED);
    spin_unlock_irqrestore(&timerfd->lock, irq);
    if (deadline != UINT64_MAX) {
        timer_arm(&timerfd->timer, deadline);
    }
    if (a->arg[3] != 0) {
        result = timerfd_report(a->arg[3], old_deadline, old_interval);
    }
    file_put(file);
    return result;
}

long sys_timerfd_gettime(struct syscall_args *a)
{
    struct file *file;
    int result = timerfd_lookup((int)a->arg[0], &file);
    if (result != 0) {
        return result;
    }
    struct timerfd *timerfd = file->data;
    bool irq = spin_lock_irqsave(&timerfd->lock);
    uint64_t deadline = timerfd->deadline, interval = timerfd->interval;
    spin_unlock_irqrestore(&timerfd->lock, irq);
    result = timerfd_report(a->arg[1], deadline, interval);
    file_put(file);
    return result;
}
