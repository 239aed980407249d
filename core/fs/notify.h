/* SPDX-License-Identifier: MIT */
/* What the file layer tells inotify(7). While nobody watches anything a call costs one load. The
 * kernel for programs that open no files has none of it (absent.c). Thread context, no spinlock
 * held. */
#pragma once

#include <linux/inotify.h>

#include "core/fs/inode.h"

/* Linux's defaults for events in a queue, descriptors and watches. */
#define INOTIFY_EVENTS_MAX 16384u
#define INOTIFY_GROUPS_MAX 128u
#define INOTIFY_WATCHES_MAX 65536u

extern uint32_t inotify_watches; /* how many there are; atomic */

static inline bool inotify_active(void)
{
    return __builtin_expect(__atomic_load_n(&inotify_watches, __ATOMIC_RELAXED) != 0, 0);
}

/* An event (IN_) of what the dentry stands for: for who watches it, and by name for who watches its
 * directory. */
void inotify_event(struct dentry *dentry, uint32_t mask);

/* One of the inode alone. */
void inotify_self(struct inode *inode, uint32_t mask);

/* One of a name, for who watches the directory. change_lock is held. `cookie` ties the two of a
 * rename together. */
void inotify_name(struct inode *directory, const char *name, size_t length,
                  const struct inode *inode, uint32_t mask, uint32_t cookie);

/* One for each rename. */
uint32_t inotify_cookie(void);

/* The inode has lost its last name: watches keep it no longer. */
void inotify_unlinked(struct inode *inode);

/* The last reference has gone: the watches are dropped, and told so. */
void inotify_gone(struct inode *inode);

/* For a file that was opened by a name; others have nobody who could watch. */
static inline void notify_file(struct file *file, uint32_t mask)
{
    if (inotify_active() && file->dentry != NULL) {
        inotify_event(file->dentry, mask);
    }
}

static inline void notify_dentry(struct dentry *dentry, uint32_t mask)
{
    if (inotify_active()) {
        inotify_event(dentry, mask);
    }
}

static inline void notify_self(struct inode *inode, uint32_t mask)
{
    if (inotify_active()) {
        inotify_self(inode, mask);
    }
}

/* IN_CREATE or IN_DELETE of the dentry's name. */
static inline void notify_name(struct dentry *dentry, uint32_t mask)
{
    if (inotify_active()) {
        inotify_name(dentry->parent->inode, dentry->name, dentry->length, dentry->inode, mask, 0);
    }
}
