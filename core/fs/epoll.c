/* SPDX-License-Identifier: MIT */
/* epoll(7). A watch is one (file, descriptor) in one set; its wait entry hangs on the file's queue
 * and puts it on the ready list at every event, which is what makes edge-triggered watches report
 * each new event. set->lock (a mutex) guards the watches of a set; watches_lock all lists
 * file->watches; ready_lock the ready list and the events asked for, also in notify callbacks.
 * forget_lock comes before every set->lock and keeps sets and files from going away under each
 * other. ready_lock and the lock of a set's own queue nest under the queue of what is watched,
 * which may be another set, so they have no class. */
#include <linux/eventpoll.h>

#include "core/fs/fs_internal.h"
#include "core/signal/signal.h"
#include "core/time/clock.h"

#define MAX_NESTING 4
#define PRIVATE_BITS (EPOLLWAKEUP | EPOLLONESHOT | EPOLLET | EPOLLEXCLUSIVE)

struct epoll {
    struct mutex lock;
    struct list watches;
    struct spinlock ready_lock;
    struct list ready;
    struct wait_queue queue; /* who waits for the set */
    struct file *file;       /* whose set it is; known from the first epoll_ctl on */
};

struct watch {
    struct wait_entry entry;
    struct epoll *set;
    struct file *file; /* no reference: its end removes the watch */
    int fd;
    uint32_t events; /* ready_lock; only PRIVATE_BITS: a one-shot that has fired */
    uint64_t data;
    struct list set_node, file_node, ready_node;
};

static struct mutex forget_lock = MUTEX_INIT(forget_lock);
static struct spinlock watches_lock = SPINLOCK_INIT(LOCK_EPOLL);

static const struct file_operations epoll_operations;

static void make_ready(struct watch *watch)
{
    struct epoll *set = watch->set;
    bool irq = spin_lock_irqsave(&set->ready_lock);
    bool wake = (watch->events & ~PRIVATE_BITS) != 0;
    if (wake && list_empty(&watch->ready_node)) {
        list_push_back(&set->ready, &watch->ready_node);
    }
    spin_unlock_irqrestore(&set->ready_lock, irq);
    if (wake) {
        wait_queue_notify(&set->queue, POLLIN | POLLRDNORM);
    }
}

static void watch_notify(struct wait_entry *entry, uint32_t events)
{
    struct watch *watch = container_of(entry, struct watch, entry);
    if (events == 0 || (events & __atomic_load_n(&watch->events, __ATOMIC_RELAXED)) != 0) {
        make_ready(watch);
    }
}

/* set->lock held. */
static void watch_remove(struct watch *watch)
{
    struct epoll *set = watch->set;
    wait_queue_remove(&watch->entry);
    bool irq = spin_lock_irqsave(&set->ready_lock);
    list_remove(&watch->ready_node);
    spin_unlock_irqrestore(&set->ready_lock, irq);
    list_remove(&watch->set_node);
    spin_lock(&watches_lock);
    list_remove(&watch->file_node);
    spin_unlock(&watches_lock);
    kfree(watch);
}

void epoll_forget(struct file *file)
{
    mutex_lock(&forget_lock);
    while (!list_empty(&file->watches)) {
        struct watch *watch = list_entry(file->watches.next, struct watch, file_node);
        struct epoll *set = watch->set;
        mutex_lock(&set->lock);
        watch_remove(watch);
        mutex_unlock(&set->lock);
    }
    mutex_unlock(&forget_lock);
}

static void epoll_release(struct file *file)
{
    struct epoll *set = file->data;
    mutex_lock(&forget_lock);
    mutex_lock(&set->lock);
    while (!list_empty(&set->watches)) {
        watch_remove(list_entry(set->watches.next, struct watch, set_node));
    }
    mutex_unlock(&set->lock);
    mutex_unlock(&forget_lock);
    kfree(set);
}

/* Moves all of `from` to the front of `to`. */
static void splice_front(struct list *from, struct list *to)
{
    if (!list_empty(from)) {
        from->prev->next = to->next;
        to->next->prev = from->prev;
        from->next->prev = to;
        to->next = from->next;
        list_init(from);
    }
}

/* Takes up to `count` events out of the ready list. set->lock held. With `events` NULL it only
 * tells whether there are any. An event that comes while its watch is being looked at puts the
 * watch on the ready list again, for the next call. */
static int collect(struct epoll *set, struct epoll_event *events, int count)
{
    struct list todo = LIST_INIT(todo), again = LIST_INIT(again);
    int found = 0;
    bool irq = spin_lock_irqsave(&set->ready_lock);
    splice_front(&set->ready, &todo);
    while (found < count && !list_empty(&todo)) {
        struct watch *watch = list_entry(list_pop_front(&todo), struct watch, ready_node);
        uint32_t wanted = watch->events;
        spin_unlock_irqrestore(&set->ready_lock, irq);
        uint32_t now = watch->file->operations->poll(watch->file, NULL) & wanted;
        irq = spin_lock_irqsave(&set->ready_lock);
        if (now == 0 || (wanted & ~PRIVATE_BITS) == 0) {
            continue;
        }
        if (events != NULL) {
            events[found].events = now;
            events[found].data = watch->data;
            if ((wanted & EPOLLONESHOT) != 0) {
                __atomic_store_n(&watch->events, wanted & PRIVATE_BITS, __ATOMIC_RELAXED);
                list_remove(&watch->ready_node);
            }
        }
        found++;
        if (events == NULL || (wanted & (EPOLLET | EPOLLONESHOT)) == 0) {
            list_remove(&watch->ready_node);
            list_push_back(&again, &watch->ready_node);
        }
    }
    /* Level-triggered watches stay ready, behind those that have not had their turn. */
    bool others = events != NULL && (!list_empty(&todo) || !list_empty(&again));
    splice_front(&todo, &set->ready);
    for (struct list *node; (node = list_pop_front(&again)) != NULL;) {
        list_push_back(&set->ready, node);
    }
    spin_unlock_irqrestore(&set->ready_lock, irq);
    if (others) {
        wait_queue_notify(&set->queue, POLLIN | POLLRDNORM);
    }
    return found;
}

static uint32_t epoll_poll(struct file *file, struct wait_entry *entry)
{
    struct epoll *set = file->data;
    poll_enqueue(&set->queue, entry);
    mutex_lock(&set->lock);
    int found = collect(set, NULL, 1);
    mutex_unlock(&set->lock);
    return found != 0 ? POLLIN | POLLRDNORM : 0;
}

static const struct file_operations epoll_operations = {
    .poll = epoll_poll,
    .release = epoll_release,
};

static long epoll_open(uint32_t flags)
{
    if ((flags & ~(uint32_t)EPOLL_CLOEXEC) != 0) {
        return -EINVAL;
    }
    struct epoll *set = kzalloc(sizeof(*set));
    if (set == NULL) {
        return -ENOMEM;
    }
    mutex_init(&set->lock);
    list_init(&set->watches);
    list_init(&set->ready);
    spinlock_init(&set->ready_lock, LOCK_CLASS_NONE);
    wait_queue_init(&set->queue);
    spinlock_init(&set->queue.lock, LOCK_CLASS_NONE);
    return file_create_fd(&epoll_operations, O_RDWR | flags, set);
}

long sys_epoll_create1(struct syscall_args *a)
{
    return epoll_open((uint32_t)a->arg[0]);
}

long sys_epoll_create(struct syscall_args *a)
{
    return (int)a->arg[0] <= 0 ? -EINVAL : epoll_open(0);
}

/* How deep sets hang in `set`, or more than MAX_NESTING; `goal` inside means a loop. forget_lock
 * held. */
static int nesting(struct epoll *set, struct epoll *goal, int depth)
{
    if (set == goal || depth > MAX_NESTING) {
        return MAX_NESTING + 1;
    }
    int deepest = depth;
    mutex_lock(&set->lock);
    list_for_each (node, &set->watches) {
        struct file *file = list_entry(node, struct watch, set_node)->file;
        if (file->operations == &epoll_operations) {
            int below = nesting(file->data, goal, depth + 1);
            deepest = MAX(deepest, below);
        }
    }
    mutex_unlock(&set->lock);
    return deepest;
}

/* How many sets are above `file`. forget_lock held, which all changes of watches on sets take. */
static int height(struct file *file, int depth)
{
    int highest = depth;
    if (depth <= MAX_NESTING) {
        list_for_each (node, &file->watches) {
            int above = height(list_entry(node, struct watch, file_node)->set->file, depth + 1);
            highest = MAX(highest, above);
        }
    }
    return highest;
}

static struct watch *watch_find(struct epoll *set, struct file *file, int fd)
{
    struct watch *found = NULL;
    spin_lock(&watches_lock);
    list_for_each (node, &file->watches) {
        struct watch *watch = list_entry(node, struct watch, file_node);
        if (watch->set == set && watch->fd == fd) {
            found = watch;
            break;
        }
    }
    spin_unlock(&watches_lock);
    return found;
}

static int watch_add(struct epoll *set, struct file *file, int fd, const struct epoll_event *event)
{
    struct watch *watch = kzalloc(sizeof(*watch));
    if (watch == NULL) {
        return -ENOMEM;
    }
    watch->entry.notify = watch_notify;
    watch->set = set;
    watch->file = file;
    watch->fd = fd;
    watch->events = event->events | EPOLLERR | EPOLLHUP;
    watch->data = event->data;
    list_init(&watch->entry.node);
    list_init(&watch->ready_node);
    list_push_back(&set->watches, &watch->set_node);
    spin_lock(&watches_lock);
    list_push_back(&file->watches, &watch->file_node);
    spin_unlock(&watches_lock);
    if ((file->operations->poll(file, &watch->entry) & watch->events) != 0) {
        make_ready(watch);
    }
    return 0;
}

static int watch_modify(struct watch *watch, const struct epoll_event *event)
{
    struct epoll *set = watch->set;
    if (((event->events | watch->events) & EPOLLEXCLUSIVE) != 0) {
        return -EINVAL;
    }
    bool irq = spin_lock_irqsave(&set->ready_lock);
    __atomic_store_n(&watch->events, event->events | EPOLLERR | EPOLLHUP, __ATOMIC_SEQ_CST);
    watch->data = event->data;
    spin_unlock_irqrestore(&set->ready_lock, irq);
    if ((watch->file->operations->poll(watch->file, NULL) & watch->events) != 0) {
        make_ready(watch);
    }
    return 0;
}

static long control(struct file *epoll_file, int operation, int fd, struct file *file,
                    struct epoll_event *event)
{
    if (epoll_file->operations != &epoll_operations || file == epoll_file) {
        return -EINVAL;
    }
    if (file->operations->poll == NULL) {
        return -EPERM;
    }
    struct epoll *set = epoll_file->data;
    bool nested = file->operations == &epoll_operations;
    if (operation != EPOLL_CTL_DEL && (event->events & EPOLLEXCLUSIVE) != 0) {
        const uint32_t allowed =
            EPOLLIN | EPOLLOUT | EPOLLERR | EPOLLHUP | EPOLLWAKEUP | EPOLLET | EPOLLEXCLUSIVE;
        if (operation == EPOLL_CTL_MOD || nested || (event->events & ~allowed) != 0) {
            return -EINVAL;
        }
    }
    long result = 0;
    if (nested) {
        mutex_lock(&forget_lock);
        if (operation == EPOLL_CTL_ADD &&
            nesting(file->data, set, 1) + height(epoll_file, 0) > MAX_NESTING) {
            mutex_unlock(&forget_lock);
            return -ELOOP;
        }
    }
    mutex_lock(&set->lock);
    set->file = epoll_file;
    struct watch *watch = watch_find(set, file, fd);
    switch (operation) {
    case EPOLL_CTL_ADD:
        result = watch != NULL ? -EEXIST : watch_add(set, file, fd, event);
        break;
    case EPOLL_CTL_MOD:
        result = watch == NULL ? -ENOENT : watch_modify(watch, event);
        break;
    case EPOLL_CTL_DEL:
        if (watch == NULL) {
            result = -ENOENT;
        } else {
            watch_remove(watch);
        }
        break;
    default:
        result = -EINVAL;
    }
    mutex_unlock(&set->lock);
    if (nested) {
        mutex_unlock(&forget_lock);
    }
    return result;
}

long sys_epoll_ctl(struct syscall_args *a)
{
    struct file *epoll_file, *file;
    struct epoll_event event = {0};
    int operation = (int)a->arg[1], fd = (int)a->arg[2];
    if (operation != EPOLL_CTL_DEL && copy_from_user(&event, a->arg[3], sizeof(event)) != 0) {
        return -EFAULT;
    }
    int found = fd_lookup((int)a->arg[0], &epoll_file);
    if (found != 0) {
        return found;
    }
    found = fd_lookup(fd, &file);
    if (found != 0) {
        file_put(epoll_file);
        return found;
    }
    long result = control(epoll_file, operation, fd, file, &event);
    file_put(file);
    file_put(epoll_file);
    return result;
}

static long epoll_wait_until(int fd, uintptr_t to, int count, uint64_t deadline)
{
    enum { BATCH = 64 };
    struct epoll_event events[BATCH];
    struct file *file;
    if (count <= 0 || count > INT32_MAX / (int)sizeof(events[0])) {
        return -EINVAL;
    }
    int result = fd_lookup(fd, &file);
    if (result != 0) {
        return result;
    }
    if (file->operations != &epoll_operations) {
        file_put(file);
        return -EINVAL;
    }
    struct epoll *set = file->data;
    int total = 0;
    for (;;) {
        if (!list_empty(&set->ready)) {
            mutex_lock(&set->lock);
            int room = count - total, batch = MIN(room, BATCH);
            int found = collect(set, events, batch);
            mutex_unlock(&set->lock);
            if (found != 0 && copy_to_user(to + (size_t)total * sizeof(events[0]), events,
                                           (size_t)found * sizeof(events[0])) != 0) {
                result = -EFAULT;
                break;
            }
            total += found;
            /* A full batch may have left more, but level-triggered ones come round again: one call
             * reports none twice. */
            if (total != 0) {
                break;
            }
        }
        if (deadline == 0 || result != 0) {
            break;
        }
        result = wait_event(&set->queue, deadline, !list_empty(&set->ready));
        if (result == -EINTR) {
            break;
        }
        if (result == -ETIMEDOUT && list_empty(&set->ready)) {
            break;
        }
    }
    file_put(file);
    return total != 0 ? total : result == -ETIMEDOUT ? 0 : result;
}

static uint64_t deadline_of_milliseconds(int timeout)
{
    return timeout < 0    ? UINT64_MAX
           : timeout == 0 ? 0
                          : deadline_after((uint64_t)timeout * 1000000);
}

long sys_epoll_wait(struct syscall_args *a)
{
    return epoll_wait_until((int)a->arg[0], a->arg[1], (int)a->arg[2],
                            deadline_of_milliseconds((int)a->arg[3]));
}

long sys_epoll_pwait(struct syscall_args *a)
{
    int result = signal_mask_during(a->arg[4], a->arg[5]);
    if (result != 0) {
        return result;
    }
    long done = epoll_wait_until((int)a->arg[0], a->arg[1], (int)a->arg[2],
                                 deadline_of_milliseconds((int)a->arg[3]));
    signal_mask_restore(done == -EINTR);
    return done;
}

long sys_epoll_pwait2(struct syscall_args *a)
{
    uint64_t deadline = UINT64_MAX;
    if (a->arg[3] != 0) {
        uint64_t ns;
        int result = timespec_from_user(a->arg[3], &ns);
        if (result != 0) {
            return result;
        }
        deadline = ns == 0 ? 0 : deadline_after(ns);
    }
    int result = signal_mask_during(a->arg[4], a->arg[5]);
    if (result != 0) {
        return result;
    }
    long done = epoll_wait_until((int)a->arg[0], a->arg[1], (int)a->arg[2], deadline);
    signal_mask_restore(done == -EINTR);
    return done;
}
