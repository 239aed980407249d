/* SPDX-License-Identifier: MIT */
/* Open files and the table of descriptors. A struct file is an open file description: reference
 * counted, shared by dup. What it can do is its operation table; an absent operation gives the
 * errno that Linux gives. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/sched/wait.h"

struct file;
struct inode;
struct dentry;
struct stat; /* core/fs/stat.h: Linux's struct stat for x86_64 */
struct vm_fault_page;

/* Data on its way between a file and the program (or the kernel): segments, consumed from the
 * front. */
struct io_segment {
    uintptr_t base;
    size_t length;
};

struct io_vector {
    struct io_segment *segments;
    unsigned count;
    size_t remaining; /* bytes in all segments */
    bool kernel;      /* segments are kernel memory */
};

/* Moves up to `size` bytes and advances; 0 or -EFAULT (nothing is consumed of the piece that
 * failed). */
int io_copy_to(struct io_vector *io, const void *from, size_t size);
int io_copy_from(struct io_vector *io, void *to, size_t size);

/* The segments of an array of struct iovec in the program's memory. */
#define IO_FEW 8
struct io_import {
    struct io_vector io;
    struct io_segment *all;
    struct io_segment few[IO_FEW];
};

/* 0, -EINVAL (too many, or a negative length), -EFAULT, -ENOMEM; after 0 the caller calls
 * io_import_end. */
int io_import(struct io_import *import, uintptr_t segments, size_t count);
void io_import_end(struct io_import *import);

struct file_operations {
    /* Bytes done, 0 at the end, or -errno. `offset` is NULL for streams; else the position to use
     * and advance. -EAGAIN when O_NONBLOCK is set and it would block. */
    long (*read)(struct file *file, struct io_vector *io, uint64_t *offset);
    long (*write)(struct file *file, struct io_vector *io, uint64_t *offset);
    /* The POLL bits that hold now. When `entry` is not NULL it is first put on the file's wait
     * queue. Absent: not pollable (epoll_ctl says EPERM; poll says always ready). */
    uint32_t (*poll)(struct file *file, struct wait_entry *entry);
    long (*ioctl)(struct file *file, unsigned command, uintptr_t argument);
    int (*stat)(struct file *file, struct stat *stat);
    int (*truncate)(struct file *file, uint64_t size);
    int (*allocate)(struct file *file, int mode, uint64_t offset,
                    uint64_t length); /* fallocate(2) */
    int (*sync)(struct file *file);
    /* SEEK_DATA and SEEK_HOLE from `offset` on (-ENXIO: past the end), and SEEK_END: where the file
     * ends. Absent: the inode's size, all of it data. */
    long (*seek)(struct file *file, uint64_t offset, int whence);
    /* Fills `io` with struct linux_dirent64 records. */
    long (*readdir)(struct file *file, struct io_vector *io, uint64_t *offset);
    /* The physical page that holds byte `offset` (page-aligned) of the file for a mapping; the page
     * stays until unmap_page. It is the file's own page: a private writable mapping copies it.
     * `write`: the mapping is shared and writable (say so from the first touch on: a page of the
     * read-only layer is replaced by a copy, which may then be another page than a read got). -EIO
     * past the end, -ENOSPC. Thread context; may wait for a device, but takes no sleeping lock,
     * so that a copy to or from a mapping of the same file cannot lock up. */
    int (*map_page)(struct file *file, uint64_t offset, bool write, uint64_t *physical);
    void (*unmap_page)(struct file *file, uint64_t offset, uint64_t physical);
    bool map_read_only; /* no shared mapping may be writable: mmap says ENODEV */
    /* The last reference is gone. */
    void (*release)(struct file *file);
};

struct file {
    const struct file_operations *operations;
    uint32_t references;       /* atomic */
    uint32_t flags;            /* O_ status flags and access mode; atomic store by fcntl */
    uint64_t offset;           /* offset_lock */
    struct mutex *offset_lock; /* NULL: a stream, no offset */
    struct inode *inode;       /* NULL for anonymous files */
    struct dentry *dentry; /* the name it was opened by, with a reference; holds the inode; NULL for
                              anonymous files */
    void *data;            /* the owner's */
    struct list watches;   /* epoll registrations on this file; core/fs/epoll.c */
};

/* How many open file descriptions there are. */
extern uint32_t file_count;

/* One with one reference. -ENOMEM, -ENFILE. */
int file_create(struct file **out, const struct file_operations *operations, uint32_t flags,
                void *data);
struct file *file_get(struct file *file);
void file_put(struct file *file);

/* Descriptor table of the one process. fd_install takes over the reference, also when it fails; it
 * gives the lowest free descriptor from `minimum` on, or -EMFILE. */
int fd_install(struct file *file, bool cloexec, int minimum);
int fd_lookup(int fd, struct file **out); /* with a reference; -EBADF, also for an O_PATH file */
int fd_lookup_any(int fd, struct file **out); /* O_PATH files too */
int fd_close(int fd);

/* Puts `file` at exactly `fd`, closing what was there; takes over the reference, also when it
 * fails. -EBADF. */
int fd_install_at(struct file *file, bool cloexec, int fd);

/* The lowest open descriptor not below `fd`, or -1; for /proc/self/fd. */
int fd_next(int fd);

/* RLIMIT_NOFILE's soft limit: descriptors from here on are not given out. At most FD_MAX. */
#define FD_MAX (1024 * 1024)
extern uint32_t fd_limit;

/* Reads or writes from kernel code at `offset` (NULL: the stream's position or the file's own).
 * Same results as the operations. */
long file_read(struct file *file, void *to, size_t size, uint64_t *offset);
long file_write(struct file *file, const void *from, size_t size, uint64_t *offset);
