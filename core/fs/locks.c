/* SPDX-License-Identifier: MIT */
/* flock and fcntl locks. There is one process, so a lock of the process (F_SETLK) never meets
 * another; locks of open file descriptions (flock, F_OFD_SETLK) do. `lock` guards the list of all
 * of them. */
#include <linux/fs.h>

#include "core/fs/fs_internal.h"
#include "core/fs/inode.h"
#include "core/signal/restart.h"

enum { KIND_FLOCK, KIND_OFD };

struct file_lock {
    struct list node;
    struct file *owner;
    struct inode *inode;
    uint64_t first, last; /* bytes, inclusive */
    uint8_t kind;
    bool exclusive;
};

static struct mutex lock = MUTEX_INIT(lock);
static struct list held = LIST_INIT(held);
static struct wait_queue released = {SPINLOCK_INIT(LOCK_WAIT_QUEUE), LIST_INIT(released.entries)};
static uint32_t releases; /* counts, for sleepers */

static struct file_lock *conflict(const struct file_lock *wanted)
{
    list_for_each (node, &held) {
        struct file_lock *other = list_entry(node, struct file_lock, node);
        if (other->inode == wanted->inode && other->kind == wanted->kind &&
            other->owner != wanted->owner && other->first <= wanted->last &&
            wanted->first <= other->last && (other->exclusive || wanted->exclusive)) {
            return other;
        }
    }
    return NULL;
}

static void drop(struct file_lock *gone)
{
    list_remove(&gone->node);
    kfree(gone);
}

/* Takes the range out of what the owner holds. `spare` is used when a lock is split: NULL is left
 * in it then. */
static void clear(const struct file_lock *range, struct file_lock **spare)
{
    list_for_each_safe (node, &held) {
        struct file_lock *own = list_entry(node, struct file_lock, node);
        if (own->inode != range->inode || own->kind != range->kind || own->owner != range->owner ||
            own->first > range->last || range->first > own->last) {
            continue;
        }
        if (own->first < range->first && own->last > range->last) {
            struct file_lock *upper = *spare;
            *spare = NULL;
            *upper = *own;
            upper->first = range->last + 1;
            own->last = range->first - 1;
            list_push_back(&held, &upper->node);
            return;
        }
        if (own->first < range->first) {
            own->last = range->first - 1;
        } else if (own->last > range->last) {
            own->first = range->last + 1;
        } else {
            drop(own);
        }
    }
}

/* Sets (or with `unlock` removes) a lock: -EAGAIN when it would have to wait and must not. */
static int set_lock(const struct file_lock *wanted, bool unlock, bool wait)
{
    for (;;) {
        struct file_lock *fresh = kmalloc(sizeof(*fresh)), *spare = kmalloc(sizeof(*spare));
        int result = fresh == NULL || spare == NULL ? -ENOLCK : 0;
        mutex_lock(&lock);
        uint32_t seen = releases;
        if (result == 0 && !unlock && conflict(wanted) != NULL) {
            result = -EAGAIN;
        }
        if (result == 0) {
            clear(wanted, &spare);
            if (!unlock) {
                *fresh = *wanted;
                list_push_back(&held, &fresh->node);
                fresh = NULL;
            }
            __atomic_add_fetch(&releases, 1, __ATOMIC_RELAXED);
        }
        mutex_unlock(&lock);
        kfree(fresh);
        kfree(spare);
        if (result == 0) {
            wait_queue_notify(&released, 0);
        }
        if (result != -EAGAIN || !wait) {
            return result;
        }
        result =
            wait_event(&released, UINT64_MAX, __atomic_load_n(&releases, __ATOMIC_RELAXED) != seen);
        if (result != 0) {
            return result == -EINTR ? -ERESTARTSYS : result;
        }
    }
}

void locks_release(struct file *file)
{
    /* Nobody else has the file any more, so no lock of it can be added. */
    if (list_empty(&held)) {
        return;
    }
    mutex_lock(&lock);
    list_for_each_safe (node, &held) {
        struct file_lock *own = list_entry(node, struct file_lock, node);
        if (own->owner == file) {
            drop(own);
            __atomic_add_fetch(&releases, 1, __ATOMIC_RELAXED);
        }
    }
    mutex_unlock(&lock);
    wait_queue_notify(&released, 0);
}

long sys_flock(struct syscall_args *a)
{
    enum { SHARED = 1, EXCLUSIVE = 2, NO_WAIT = 4, UNLOCK = 8 };
    struct file *file;
    unsigned operation = (unsigned)a->arg[1] & ~(unsigned)NO_WAIT;
    int result = fd_lookup((int)a->arg[0], &file);
    if (result != 0) {
        return result;
    }
    result = -EINVAL;
    if (operation == SHARED || operation == EXCLUSIVE || operation == UNLOCK) {
        struct file_lock wanted = {.owner = file,
                                   .inode = file->inode,
                                   .last = UINT64_MAX,
                                   .kind = KIND_FLOCK,
                                   .exclusive = operation == EXCLUSIVE};
        result = file->inode == NULL
                     ? -EBADF
                     : set_lock(&wanted, operation == UNLOCK, (a->arg[1] & NO_WAIT) == 0);
    }
    file_put(file);
    return result;
}

long locks_fcntl(struct file *file, unsigned command, uintptr_t argument)
{
    struct flock range;
    if (copy_from_user(&range, argument, sizeof(range)) != 0) {
        return -EFAULT;
    }
    if (file->inode == NULL) {
        return -EBADF;
    }
    int64_t start = range.l_start;
    int64_t base = range.l_whence == SEEK_CUR   ? (int64_t)file->offset
                   : range.l_whence == SEEK_END ? (int64_t)file->inode->size
                                                : 0;
    if (range.l_whence < SEEK_SET || range.l_whence > SEEK_END ||
        __builtin_add_overflow(start, base, &start)) {
        return -EINVAL;
    }
    int64_t length = range.l_len;
    if (length < 0) {
        start += length;
        length = -length;
    }
    if (start < 0 || length < 0 ||
        (range.l_type != F_RDLCK && range.l_type != F_WRLCK && range.l_type != F_UNLCK)) {
        return -EINVAL;
    }
    struct file_lock wanted = {.owner = file,
                               .inode = file->inode,
                               .first = (uint64_t)start,
                               .last =
                                   length == 0 ? INT64_MAX : (uint64_t)start + (uint64_t)length - 1,
                               .kind = KIND_OFD,
                               .exclusive = range.l_type == F_WRLCK};
    bool description = command == F_OFD_GETLK || command == F_OFD_SETLK || command == F_OFD_SETLKW;
    bool get = command == F_GETLK || command == F_OFD_GETLK;
    if (description && range.l_pid != 0) {
        return -EINVAL;
    }
    if (get) {
        mutex_lock(&lock);
        struct file_lock *other =
            range.l_type == F_UNLCK || !description ? NULL : conflict(&wanted);
        range.l_type = F_UNLCK;
        if (other != NULL) {
            range.l_type = other->exclusive ? F_WRLCK : F_RDLCK;
            range.l_whence = SEEK_SET;
            range.l_start = (int64_t)other->first;
            range.l_len = other->last >= INT64_MAX ? 0 : (int64_t)(other->last - other->first + 1);
            range.l_pid = -1;
        }
        mutex_unlock(&lock);
        return copy_to_user(argument, &range, sizeof(range));
    }
    if ((range.l_type == F_RDLCK && !file_readable(file)) ||
        (range.l_type == F_WRLCK && !file_writable(file))) {
        return -EBADF;
    }
    return description ? set_lock(&wanted, range.l_type == F_UNLCK, command == F_OFD_SETLKW) : 0;
}
