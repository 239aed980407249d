/* SPDX-License-Identifier: MIT */
/* signalfd(2): a descriptor that gives the signals of a set which wait for the thread that reads,
 * or for the process. Blocking them is up to the program. The sets are guarded by signals.lock;
 * whoever waits is told of every signal that is sent. */
#include <linux/fcntl.h>
#include <linux/signalfd.h>

#include "core/fs/fs_internal.h"
#include "core/signal/signal_internal.h"
#include "core/syscall/syscall.h"
#include "core/time/posix_timer.h"

struct signalfd {
    uint64_t set;
};

static struct wait_queue readers; /* of all of them */

static void tell_readers(void)
{
    wait_queue_notify(&readers, POLLIN | POLLRDNORM);
}

/* The fields that Linux fills for the kind of signal that it is. */
static void fill(struct signalfd_siginfo *to, const struct signal_info *info)
{
    *to = (struct signalfd_siginfo){
        .ssi_signo = (uint32_t)info->signo, .ssi_errno = info->error, .ssi_code = info->code};
    if (info->code == SI_TIMER) {
        to->ssi_tid = (uint32_t)info->timer.timer_id;
        to->ssi_overrun = (uint32_t)info->timer.overrun;
        to->ssi_ptr = info->timer.value;
        to->ssi_int = (int32_t)info->timer.value;
    } else if (info->code <= 0) {
        to->ssi_pid = (uint32_t)info->sender.pid;
        to->ssi_uid = (uint32_t)info->sender.uid;
        to->ssi_ptr = info->code == SI_QUEUE ? info->sender.value : 0;
        to->ssi_int = (int32_t)to->ssi_ptr;
    } else if ((SIGNAL_BIT(info->signo) & SIGNALS_SYNCHRONOUS) != 0) {
        to->ssi_addr = info->fault.address;
    }
}

static int take(struct signalfd *signalfd, struct signal_info *info)
{
    bool irq = spin_lock_irqsave(&signals.lock);
    int number = signal_dequeue(signal_current(), signalfd->set, info);
    signal_recalculate(signal_current());
    spin_unlock_irqrestore(&signals.lock, irq);
    return number;
}

static bool has_some(const struct signalfd *signalfd)
{
    const struct signal_thread *thread = signal_current();
    bool irq = spin_lock_irqsave(&signals.lock);
    bool some = ((thread->pending.set | signals.pending.set) & signalfd->set) != 0;
    spin_unlock_irqrestore(&signals.lock, irq);
    return some;
}

static long signalfd_read(struct file *file, struct io_vector *io, uint64_t *offset)
{
    struct signalfd *signalfd = file->data;
    struct signalfd_siginfo out;
    struct signal_info info;
    long done = 0;
    int result = 0;
    (void)offset;
    if (io->remaining < sizeof(out)) {
        return -EINVAL;
    }
    while (result == 0 && io->remaining >= sizeof(out)) {
        if (take(signalfd, &info) != 0) {
            if (info.code == SI_TIMER) {
                posix_timer_delivered(info.timer.timer_id, info.timer.overrun);
            }
            fill(&out, &info);
            result = io_copy_to(io, &out, sizeof(out));
            done += result == 0 ? (long)sizeof(out) : 0;
        } else if (done != 0) {
            break;
        } else {
            result = file_nonblocking(file) ? -EAGAIN
                                            : wait_event(&readers, UINT64_MAX, has_some(signalfd));
        }
    }
    return done != 0 ? done : result;
}

static uint32_t signalfd_poll(struct file *file, struct wait_entry *entry)
{
    poll_enqueue(&readers, entry);
    return has_some(file->data) ? POLLIN | POLLRDNORM : 0;
}

static void signalfd_release(struct file *file)
{
    kfree(file->data);
}

static const struct file_operations signalfd_operations = {
    .read = signalfd_read, .poll = signalfd_poll, .release = signalfd_release};

static void set_signals(struct signalfd *signalfd, uint64_t set)
{
    bool irq = spin_lock_irqsave(&signals.lock);
    signalfd->set = set & ~SIGNALS_UNBLOCKABLE;
    if (signals.sent == NULL) {
        wait_queue_init(&readers);
        signals.sent = tell_readers;
    }
    spin_unlock_irqrestore(&signals.lock, irq);
}

static long change(int fd, uint64_t set)
{
    struct file *file;
    int result = fd_lookup(fd, &file);
    if (result != 0) {
        return result;
    }
    if (file->operations == &signalfd_operations) {
        set_signals(file->data, set);
        tell_readers(); /* what waits may be wanted now */
        result = fd;
    } else {
        result = -EINVAL;
    }
    file_put(file);
    return result;
}

static long signalfd_open(int fd, uintptr_t address, uint64_t size, uint32_t flags)
{
    uint64_t set;
    if (size != sizeof(set) || (flags & ~(uint32_t)(SFD_CLOEXEC | SFD_NONBLOCK)) != 0) {
        return -EINVAL;
    }
    if (copy_from_user(&set, address, sizeof(set)) != 0) {
        return -EFAULT;
    }
    if (fd != -1) {
        return change(fd, set);
    }
    struct signalfd *signalfd = kzalloc(sizeof(*signalfd));
    if (signalfd == NULL) {
        return -ENOMEM;
    }
    set_signals(signalfd, set);
    return file_create_fd(&signalfd_operations, O_RDWR | flags, signalfd);
}

long sys_signalfd(struct syscall_args *a)
{
    return signalfd_open((int)a->arg[0], a->arg[1], a->arg[2], 0);
}

long sys_signalfd4(struct syscall_args *a)
{
    return signalfd_open((int)a->arg[0], a->arg[1], a->arg[2], (uint32_t)a->arg[3]);
}
