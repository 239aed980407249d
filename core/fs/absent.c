/* SPDX-License-Identifier: MIT */
/* The kernel for programs in which `unigornel build` has found no way to open a file: there is
 * nothing that inotify could watch, /proc and /sys have what Go's runtime itself reads, nobody
 * takes averages of the load, and calls that such programs do not make are not there. */
#include "core/fs/fs_calls.h"
#include "core/fs/notify.h"
#include "core/fs/procfs.h"
#include "core/lib/errno.h"
#include "core/sched/load.h"

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

static long no_call(struct syscall_args *a)
{
    return -ENOSYS;
}

long sys_inotify_init(struct syscall_args *a) __attribute__((alias("no_call")));
long sys_inotify_init1(struct syscall_args *a) __attribute__((alias("no_call")));
long sys_inotify_add_watch(struct syscall_args *a) __attribute__((alias("no_call")));
long sys_inotify_rm_watch(struct syscall_args *a) __attribute__((alias("no_call")));
long sys_adjtimex(struct syscall_args *a) __attribute__((alias("no_call")));
long sys_clock_adjtime(struct syscall_args *a) __attribute__((alias("no_call")));
long sys_signalfd(struct syscall_args *a) __attribute__((alias("no_call")));
long sys_signalfd4(struct syscall_args *a) __attribute__((alias("no_call")));

void load_start(void)
{
}

void load_averages(uint64_t averages[3])
{
    averages[0] = averages[1] = averages[2] = 0;
}

static const struct proc_node process_files[] = {
    PROC_FILE("cgroup", proc_show_cgroup),
    PROC_LINK("exe", proc_link_exe),
};
static const struct proc_node proc_files[] = {
    PROC_LINK("self", proc_link_self),
    PROC_DIRECTORY("1", process_files),
};
const struct proc_node proc_root = PROC_DIRECTORY("", proc_files);

static const struct proc_node huge_page_files[] = {
    PROC_FILE("hpage_pmd_size", proc_show_huge_page_size)};
static const struct proc_node mm_files[] = {
    PROC_DIRECTORY("transparent_hugepage", huge_page_files)};
static const struct proc_node kernel_files[] = {PROC_DIRECTORY("mm", mm_files)};
static const struct proc_node sysfs_files[] = {PROC_DIRECTORY("kernel", kernel_files)};
const struct proc_node sysfs_root = PROC_DIRECTORY("", sysfs_files);
