/* SPDX-License-Identifier: MIT */
/* What the rest of the kernel may ask of the file layer. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct file;

/* Mounts the root, /dev, /proc and /sys. `root_word` is the value of the kernel word `root=` or
 * NULL: "initrd" is the first boot module, "none" no image, "vda" a disk; without the word the
 * image's own file system is taken if it has one. -EINVAL, -ENOENT; -EOPNOTSUPP and -EUCLEAN for an
 * image that cannot be read (the reason is logged). Thread context, after page, kmalloc and random.
 */
int fs_init(const char *root_word);

/* Mounts what the kernel word `mount=` says: DISK:DIR, read-only, or with :rw behind it writable in
 * memory. The directory is made when it is missing. As fs_init, which comes first. */
int fs_mount(const char *word);

/* Opens descriptors 0, 1 and 2. `hostlink`: goruntime/hostlink.h is spoken on the other side;
 * `merged`: standard output goes where standard error goes. After fs_init. */
void console_init(bool hostlink, bool merged);

/* Writes back what only memory has, of files that are elsewhere. Thread context. */
void fs_sync(void);

/* Changes the working directory of the process; for the kernel word `cwd=`. */
int fs_set_cwd(const char *path);

/* What /proc/self shows: NUL-separated strings and the auxiliary vector. The memory stays the
 * caller's and must stay. */
struct process_view {
    const char *program; /* path of its file */
    const char *arguments, *environment;
    size_t arguments_size, environment_size;
    const void *auxv;
    size_t auxv_size;
};
void fs_set_process(const struct process_view *view);

/* The host's name, for uname and /proc; fs_set_host_name cuts it to 64 bytes. */
const char *fs_host_name(void);
void fs_set_host_name(const char *name, size_t length);

/* The path a file was opened by as it is now, at the end of `buffer`: its start, or NULL. For
 * /proc/self/maps. */
char *file_path(struct file *file, char *buffer, size_t size);

/* A file in memory without a name (memfd_create). Takes no reference. */
int memfd_open(struct file **out, uint32_t flags);

/* What uname(2) and /proc say of the system. */
#define SYSTEM_NAME "Linux"
#define SYSTEM_RELEASE "6.6.0-unigornel"
#define SYSTEM_VERSION "#1 SMP"

/* RLIMIT_NOFILE's soft limit is fd_limit in file.h. */
