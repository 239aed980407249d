/* SPDX-License-Identifier: MIT */
/* The kernel for programs in which `unigornel build` has found no way to open a file: there is
 * nothing that inotify could watch. */
#include "core/fs/fs_calls.h"
#include "core/fs/notify.h"
#include "core/lib/errno.h"

void inotify_event(struct dentry *dentry, uint32_t mask)
{
}

void inotify_self(struct inode *inode, uint32_t mask)
{
}

void inotify_name(struct inode *directory, const char *name, size_t length,
                  const struct inode *inode, uint32_t mask, uint32_t cookie)
{
}

uint32_t inotify_cookie(void)
{
    return 0;
}

void inotify_unlinked(struct inode *inode)
{
}

void inotify_gone(struct inode *inode)
{
}

static long no_inotify(struct syscall_args *a)
{
    return -ENOSYS;
}

long sys_inotify_init(struct syscall_args *a) __attribute__((alias("no_inotify")));
long sys_inotify_init1(struct syscall_args *a) __attribute__((alias("no_inotify")));
long sys_inotify_add_watch(struct syscall_args *a) __attribute__((alias("no_inotify")));
long sys_inotify_rm_watch(struct syscall_args *a) __attribute__((alias("no_inotify")));
