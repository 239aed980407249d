/* SPDX-License-Identifier: MIT */
/* What the files of this folder share. */
#pragma once

#include <linux/fcntl.h>
#include <linux/poll.h>

#include "core/fs/file.h"
#include "core/fs/fs_calls.h"
#include "core/lib/errno.h"
#include "core/lib/log.h"
#include "core/lib/string.h"
#include "core/mm/kmalloc.h"
#include "core/sched/sched.h"
#include "hal.h"

#define MIN(a, b) ((a) < (b) ? (a) : (b))
#define MAX(a, b) ((a) > (b) ? (a) : (b))

#define MAX_IO_BYTES 0x7ffff000ul /* what one call moves at most, as on Linux */

/* The process's umask (name_calls.c). */
uint32_t fs_umask(void);

/* Gives the file a position of its own (file.c). */
void file_set_seekable(struct file *file);

static inline bool file_readable(const struct file *file)
{
    return (file->flags & O_ACCMODE) != O_WRONLY;
}

static inline bool file_writable(const struct file *file)
{
    return (file->flags & O_ACCMODE) != O_RDONLY;
}

static inline bool file_nonblocking(const struct file *file)
{
    return (__atomic_load_n(&file->flags, __ATOMIC_RELAXED) & O_NONBLOCK) != 0;
}

/* The first half of a poll operation. */
static inline void poll_enqueue(struct wait_queue *queue, struct wait_entry *entry)
{
    if (entry != NULL) {
        wait_queue_add(queue, entry);
    }
}

/* Creates an anonymous file and a descriptor for it: the descriptor or -errno; on failure
 * operations->release has been called. `flags`: O_CLOEXEC is used. */
int file_create_fd(const struct file_operations *operations, uint32_t flags, void *data);

/* Takes the file out of every epoll set (epoll.c). */
void epoll_forget(struct file *file);
/* Lets all flock and OFD locks of the file go (locks.c). */
void locks_release(struct file *file);
long locks_fcntl(struct file *file, unsigned command, uintptr_t argument);
