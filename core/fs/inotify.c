/* SPDX-License-Identifier: MIT */
/* inotify(7). Each descriptor is a struct group with a queue of events; a watch hangs in the list
 * of its group and in that of its inode. It holds a reference to the name it was made by, so that
 * the inode stays while it has names; after that it goes with the inode. inotify_lock guards all
 * lists and queues. Events are told after the change, and in the order in which Linux has them. */
#include "core/fs/fs.h"
#include "core/fs/fs_internal.h"
#include "core/fs/notify.h"

#define WATCH_BITS (IN_ALL_EVENTS | IN_ONESHOT | IN_EXCL_UNLINK)
#define ADD_BITS (WATCH_BITS | IN_ONLYDIR | IN_DONT_FOLLOW | IN_MASK_ADD | IN_MASK_CREATE)

struct event {
    struct list node;
    struct inotify_event told; /* what the program reads, its name behind it */
    char name[];
};
_Static_assert(offsetof(struct event, name) ==
                   offsetof(struct event, told) + sizeof(struct inotify_event),
               "the name follows the event");

struct group {
    struct list watches, events; /* inotify_lock, as all here */
    uint32_t event_count;
    uint32_t event_bytes;
    int32_t last_wd;
    struct wait_queue queue;
    struct event overflow; /* what says that events were lost; in `events` once at most */
};

struct inotify_watch {
    struct list in_group;
    struct inotify_watch *next; /* of the inode's, or of those to be freed */
    struct group *group;
    struct inode *inode;   /* no reference of its own */
    struct dentry *dentry; /* NULL: the inode has no name left */
    int32_t wd;
    uint32_t mask;
};

static struct spinlock inotify_lock = SPINLOCK_INIT(LOCK_FILE);
static uint32_t group_count; /* atomic */

/* --- queues; inotify_lock held --------------------------------------------------------------- */

static bool is_same(const struct event *event, int32_t wd, uint32_t mask, uint32_t cookie,
                    const char *name, size_t length)
{
    return event->told.wd == wd && event->told.mask == mask && event->told.cookie == cookie &&
           (event->told.len == 0
                ? length == 0
                : strlen(event->name) == length && memcmp(event->name, name, length) == 0);
}

static void queue_event(struct group *group, int32_t wd, uint32_t mask, uint32_t cookie,
                        const char *name, size_t length)
{
    const size_t unit = sizeof(struct inotify_event);
    struct event *last =
        list_empty(&group->events) ? NULL : list_entry(group->events.prev, struct event, node);
    if (last != NULL && is_same(last, wd, mask, cookie, name, length)) {
        return;
    }
    size_t room = length == 0 ? 0 : (length + unit) / unit * unit;
    struct event *event =
        group->event_count < INOTIFY_EVENTS_MAX ? kzalloc(sizeof(*event) + room) : NULL;
    if (event != NULL) {
        event->told =
            (struct inotify_event){.wd = wd, .mask = mask, .cookie = cookie, .len = (uint32_t)room};
        memcpy(event->name, name, length);
    } else if (list_empty(&group->overflow.node)) {
        event = &group->overflow;
        room = 0;
    } else {
        return; /* the program will be told that some were lost */
    }
    list_push_back(&group->events, &event->node);
    group->event_count++;
    group->event_bytes += (uint32_t)(unit + room);
    wait_queue_notify(&group->queue, POLLIN | POLLRDNORM);
}

/* Takes the watch out of both lists, and puts it into that of those to be freed. */
static void detach(struct inotify_watch *watch, struct inotify_watch **unused)
{
    struct inotify_watch **link = &watch->inode->watches;
    while (*link != watch) {
        link = &(*link)->next;
    }
    *link = watch->next;
    list_remove(&watch->in_group);
    watch->next = *unused;
    *unused = watch;
    __atomic_sub_fetch(&inotify_watches, 1, __ATOMIC_RELAXED);
}

static void drop(struct inotify_watch *watch, struct inotify_watch **unused)
{
    queue_event(watch->group, watch->wd, IN_IGNORED, 0, "", 0);
    detach(watch, unused);
}

/* --- events ----------------------------------------------------------------------------------- */

/* No lock held. */
static void free_watches(struct inotify_watch *unused)
{
    while (unused != NULL) {
        struct inotify_watch *watch = unused;
        unused = watch->next;
        if (watch->dentry != NULL) {
            dentry_put(watch->dentry);
        }
        kfree(watch);
    }
}

static void deliver(struct inode *inode, uint32_t mask, uint32_t cookie, const char *name,
                    size_t length, bool unlinked)
{
    struct inotify_watch *unused = NULL, *next;
    if (__atomic_load_n(&inode->watches, __ATOMIC_RELAXED) == NULL) {
        return;
    }
    spin_lock(&inotify_lock);
    for (struct inotify_watch *watch = inode->watches; watch != NULL; watch = next) {
        next = watch->next;
        if ((watch->mask & mask & IN_ALL_EVENTS) == 0 ||
            (unlinked && (watch->mask & IN_EXCL_UNLINK) != 0)) {
            continue;
        }
        queue_event(watch->group, watch->wd, mask, cookie, name, length);
        if ((watch->mask & IN_ONESHOT) != 0) {
            drop(watch, &unused);
        }
    }
    spin_unlock(&inotify_lock);
    free_watches(unused);
}

static uint32_t with_type(const struct inode *inode, uint32_t mask)
{
    return mask | (inode_is_directory(inode) ? IN_ISDIR : 0);
}

void inotify_event(struct dentry *dentry, uint32_t mask)
{
    char name[NAME_MAX];
    size_t length;
    bool unlinked;
    struct inode *directory = dentry_name(dentry, name, &length, &unlinked);
    mask = with_type(dentry->inode, mask);
    if (directory != NULL) {
        deliver(directory, mask, 0, name, length, unlinked);
        inode_put(directory);
    }
    deliver(dentry->inode, mask, 0, "", 0, false);
}

void inotify_self(struct inode *inode, uint32_t mask)
{
    /* As on Linux this one event does not say that it is of a directory. */
    deliver(inode, mask == IN_MOVE_SELF ? mask : with_type(inode, mask), 0, "", 0, false);
}

void inotify_name(struct inode *directory, const char *name, size_t length,
                  const struct inode *inode, uint32_t mask, uint32_t cookie)
{
    deliver(directory, with_type(inode, mask), cookie, name, length, false);
}

uint32_t inotify_cookie(void)
{
    static uint32_t last;
    return __atomic_add_fetch(&last, 1, __ATOMIC_RELAXED);
}

void inotify_unlinked(struct inode *inode)
{
    struct dentry *dentry;
    do {
        dentry = NULL;
        spin_lock(&inotify_lock);
        for (struct inotify_watch *watch = inode->watches; watch != NULL && dentry == NULL;
             watch = watch->next) {
            dentry = watch->dentry;
            watch->dentry = NULL;
        }
        spin_unlock(&inotify_lock);
        if (dentry != NULL) {
            dentry_put(dentry);
        }
    } while (dentry != NULL);
}

void inotify_gone(struct inode *inode)
{
    struct inotify_watch *unused = NULL;
    spin_lock(&inotify_lock);
    while (inode->watches != NULL) {
        struct inotify_watch *watch = inode->watches;
        if ((watch->mask & IN_DELETE_SELF) != 0) {
            queue_event(watch->group, watch->wd, IN_DELETE_SELF, 0, "", 0);
        }
        drop(watch, &unused);
    }
    spin_unlock(&inotify_lock);
    free_watches(unused);
}

/* --- the descriptor --------------------------------------------------------------------------- */

static void free_event(struct group *group, struct event *event)
{
    if (event != &group->overflow) {
        kfree(event);
    }
}

/* Takes the next event: NULL when there is none, or (with *full) none that fits. */
static struct event *take_event(struct group *group, size_t room, bool *full)
{
    struct event *event = NULL;
    *full = false;
    spin_lock(&inotify_lock);
    if (!list_empty(&group->events)) {
        event = list_entry(group->events.next, struct event, node);
        uint32_t size = (uint32_t)sizeof(event->told) + event->told.len;
        if (size > room) {
            *full = true;
            event = NULL;
        } else {
            list_remove(&event->node);
            group->event_count--;
            group->event_bytes -= size;
        }
    }
    spin_unlock(&inotify_lock);
    return event;
}

static uint32_t event_bytes(const struct group *group)
{
    return __atomic_load_n(&group->event_bytes, __ATOMIC_RELAXED);
}

static long inotify_read(struct file *file, struct io_vector *io, uint64_t *offset)
{
    struct group *group = file->data;
    long done = 0;
    int result = 0;
    bool full;
    (void)offset;
    while (result == 0) {
        struct event *event = take_event(group, io->remaining, &full);
        if (event != NULL) {
            size_t size = sizeof(event->told) + event->told.len;
            result = io_copy_to(io, &event->told, size);
            done += result == 0 ? (long)size : 0;
            free_event(group, event);
        } else if (done != 0) {
            break;
        } else if (full) {
            result = -EINVAL;
        } else {
            result = file_nonblocking(file)
                         ? -EAGAIN
                         : wait_event(&group->queue, UINT64_MAX, event_bytes(group) != 0);
        }
    }
    return result != 0 ? result : done;
}

static uint32_t inotify_poll(struct file *file, struct wait_entry *entry)
{
    struct group *group = file->data;
    poll_enqueue(&group->queue, entry);
    return event_bytes(group) != 0 ? POLLIN | POLLRDNORM : 0;
}

static long inotify_ioctl(struct file *file, unsigned command, uintptr_t argument)
{
    enum { FIONREAD = 0x541b };
    uint32_t bytes = event_bytes(file->data);
    return command != FIONREAD ? -ENOTTY : copy_to_user(argument, &bytes, sizeof(bytes));
}

static void inotify_release(struct file *file)
{
    struct group *group = file->data;
    struct inotify_watch *unused = NULL;
    spin_lock(&inotify_lock);
    while (!list_empty(&group->watches)) {
        detach(list_entry(group->watches.next, struct inotify_watch, in_group), &unused);
    }
    spin_unlock(&inotify_lock);
    free_watches(unused);
    while (!list_empty(&group->events)) {
        struct event *event = list_entry(group->events.next, struct event, node);
        list_remove(&event->node);
        free_event(group, event);
    }
    kfree(group);
    __atomic_sub_fetch(&group_count, 1, __ATOMIC_RELAXED);
}

static const struct file_operations inotify_operations = {
    .read = inotify_read,
    .poll = inotify_poll,
    .ioctl = inotify_ioctl,
    .release = inotify_release,
};

static long inotify_create(uint32_t flags)
{
    if ((flags & ~(uint32_t)(IN_CLOEXEC | IN_NONBLOCK)) != 0) {
        return -EINVAL;
    }
    struct group *group = kzalloc(sizeof(*group));
    if (group == NULL) {
        return -ENOMEM;
    }
    if (__atomic_add_fetch(&group_count, 1, __ATOMIC_RELAXED) > INOTIFY_GROUPS_MAX) {
        __atomic_sub_fetch(&group_count, 1, __ATOMIC_RELAXED);
        kfree(group);
        return -EMFILE;
    }
    list_init(&group->watches);
    list_init(&group->events);
    list_init(&group->overflow.node);
    group->overflow.told = (struct inotify_event){.wd = -1, .mask = IN_Q_OVERFLOW};
    wait_queue_init(&group->queue);
    return file_create_fd(&inotify_operations, O_RDONLY | flags, group);
}

/* --- watches ---------------------------------------------------------------------------------- */

static struct inotify_watch *find_watch(struct group *group, struct inode *inode)
{
    struct inotify_watch *watch = inode->watches;
    while (watch != NULL && watch->group != group) {
        watch = watch->next;
    }
    return watch;
}

/* The watch descriptor or -errno. */
static long add_watch(struct group *group, struct dentry *dentry, uint32_t mask)
{
    struct inode *inode = dentry->inode;
    struct inotify_watch *added = kzalloc(sizeof(*added));
    if (added == NULL) {
        return -ENOMEM;
    }
    /* So that the last name does not go meanwhile. */
    mutex_lock(&inode->filesystem->change_lock);
    spin_lock(&inotify_lock);
    struct inotify_watch *watch = find_watch(group, inode);
    long result = watch != NULL && (mask & IN_MASK_CREATE) != 0 ? -EEXIST : 0;
    if (watch == NULL && inotify_watches >= INOTIFY_WATCHES_MAX) {
        result = -ENOSPC;
    }
    if (result == 0 && watch == NULL) {
        watch = added;
        added = NULL;
        watch->group = group;
        watch->inode = inode;
        watch->dentry = inode->links != 0 ? dentry_get(dentry) : NULL;
        watch->wd = ++group->last_wd;
        watch->next = inode->watches;
        inode->watches = watch;
        list_push_back(&group->watches, &watch->in_group);
        __atomic_add_fetch(&inotify_watches, 1, __ATOMIC_RELAXED);
    }
    if (result == 0) {
        watch->mask = (mask & WATCH_BITS) | ((mask & IN_MASK_ADD) != 0 ? watch->mask : 0);
        result = watch->wd;
    }
    spin_unlock(&inotify_lock);
    mutex_unlock(&inode->filesystem->change_lock);
    kfree(added);
    return result;
}

/* The file with a reference when the descriptor is one of inotify: -EBADF, -EINVAL. */
static int lookup_group(uint64_t fd, struct file **out)
{
    int result = fd_lookup((int)fd, out);
    if (result == 0 && (*out)->operations != &inotify_operations) {
        file_put(*out);
        result = -EINVAL;
    }
    return result;
}

long sys_inotify_init(struct syscall_args *a)
{
    (void)a;
    return inotify_create(0);
}

long sys_inotify_init1(struct syscall_args *a)
{
    return inotify_create((uint32_t)a->arg[0]);
}

long sys_inotify_add_watch(struct syscall_args *a)
{
    uint32_t mask = (uint32_t)a->arg[2];
    struct dentry *dentry;
    struct file *file;
    if ((mask & ~(uint32_t)ADD_BITS) != 0 || (mask & ADD_BITS) == 0) {
        return -EINVAL;
    }
    long result = fd_lookup((int)a->arg[0], &file);
    if (result != 0) {
        return result;
    }
    if (file->operations != &inotify_operations ||
        (mask & (IN_MASK_ADD | IN_MASK_CREATE)) == (IN_MASK_ADD | IN_MASK_CREATE)) {
        result = -EINVAL;
    } else {
        result = path_dentry(a->arg[1],
                             ((mask & IN_DONT_FOLLOW) != 0 ? 0 : WALK_FOLLOW) |
                                 ((mask & IN_ONLYDIR) != 0 ? WALK_DIRECTORY : 0),
                             &dentry);
    }
    if (result == 0) {
        result = add_watch(file->data, dentry, mask);
        dentry_put(dentry);
    }
    file_put(file);
    return result;
}

long sys_inotify_rm_watch(struct syscall_args *a)
{
    struct inotify_watch *unused = NULL;
    struct file *file;
    long result = lookup_group(a->arg[0], &file);
    if (result != 0) {
        return result;
    }
    struct group *group = file->data;
    spin_lock(&inotify_lock);
    list_for_each_safe (node, &group->watches) {
        struct inotify_watch *watch = list_entry(node, struct inotify_watch, in_group);
        if (watch->wd == (int32_t)a->arg[1]) {
            drop(watch, &unused);
        }
    }
    spin_unlock(&inotify_lock);
    result = unused != NULL ? 0 : -EINVAL;
    free_watches(unused);
    file_put(file);
    return result;
}
