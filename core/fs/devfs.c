/* SPDX-License-Identifier: MIT */
/* Character devices, and the /dev that names them: a file system in memory of its own. The devices
 * have no state. */
#include <linux/random.h>

#include "core/block/block.h"
#include "core/fs/fs_internal.h"
#include "core/fs/inode.h"
#include "core/lib/random.h"

#define DEVICE(major, minor) ((major) << 8 | (minor))

enum {
    DEVICE_NULL = DEVICE(1, 3),
    DEVICE_ZERO = DEVICE(1, 5),
    DEVICE_FULL = DEVICE(1, 7),
    DEVICE_RANDOM = DEVICE(1, 8),
    DEVICE_URANDOM = DEVICE(1, 9),
    DEVICE_TTY = DEVICE(5, 0),
    DEVICE_CONSOLE = DEVICE(5, 1),
};

static long null_read(struct file *file, struct io_vector *io, uint64_t *offset)
{
    (void)file;
    (void)io;
    (void)offset;
    return 0;
}

static long null_write(struct file *file, struct io_vector *io, uint64_t *offset)
{
    (void)file;
    (void)offset;
    return (long)io->remaining;
}

static long full_write(struct file *file, struct io_vector *io, uint64_t *offset)
{
    (void)file;
    (void)offset;
    return io->remaining == 0 ? 0 : -ENOSPC;
}

/* Fills the program's memory with zeroes or random bytes, a piece at a time. */
static long fill(struct io_vector *io, bool random)
{
    char bytes[512];
    long done = 0;
    memset(bytes, 0, sizeof(bytes));
    while (io->remaining != 0) {
        size_t piece = MIN(io->remaining, sizeof(bytes));
        if (random) {
            random_bytes(bytes, piece);
        }
        int result = io_copy_to(io, bytes, piece);
        if (result != 0) {
            done = done != 0 ? done : result;
            break;
        }
        done += (long)piece;
        if (done % (1 << 20) == 0 && thread_signal_pending()) {
            break;
        }
    }
    if (random) {
        memset(bytes, 0, sizeof(bytes));
        __asm__ volatile("" ::"r"(bytes) : "memory");
    }
    return done;
}

static long zero_read(struct file *file, struct io_vector *io, uint64_t *offset)
{
    (void)file;
    (void)offset;
    return fill(io, false);
}

static long random_read(struct file *file, struct io_vector *io, uint64_t *offset)
{
    (void)file;
    (void)offset;
    return fill(io, true);
}

static uint32_t always_ready(struct file *file, struct wait_entry *entry)
{
    (void)file;
    (void)entry;
    return POLLIN | POLLRDNORM | POLLOUT | POLLWRNORM;
}

/* random(4). The entropy count is what Linux says once it has any. */
static long random_ioctl(struct file *file, unsigned command, uintptr_t argument)
{
    const int bits = 256;
    (void)file;
    return command == RNDGETENTCNT ? copy_to_user(argument, &bits, sizeof(bits)) : -ENOTTY;
}

static const struct file_operations null_operations = {.read = null_read, .write = null_write};
static const struct file_operations zero_operations = {.read = zero_read, .write = null_write};
static const struct file_operations full_operations = {.read = zero_read, .write = full_write};
static const struct file_operations random_operations = {
    .read = random_read, .write = null_write, .poll = always_ready, .ioctl = random_ioctl};

int chr_open(struct inode *inode, struct file *file)
{
    switch (inode->rdev) {
    case DEVICE_NULL:
        file->operations = &null_operations;
        break;
    case DEVICE_ZERO:
        file->operations = &zero_operations;
        break;
    case DEVICE_FULL:
        file->operations = &full_operations;
        break;
    case DEVICE_RANDOM:
    case DEVICE_URANDOM:
        file->operations = &random_operations;
        break;
    case DEVICE_TTY:
    case DEVICE_CONSOLE:
        return console_open(file, inode->rdev == DEVICE_TTY);
    default:
        return -ENXIO;
    }
    file_set_seekable(file);
    return 0;
}

static int make_node(struct dentry *root, const char *name, uint32_t mode, uint64_t rdev,
                     const char *target)
{
    struct inode_request request = {
        .mode = mode, .rdev = rdev, .target = target, .name = name, .length = strlen(name)};
    struct dentry *dentry;
    int result = dentry_create(root, &request, &dentry);
    if (result == 0) {
        dentry_put(dentry);
    }
    return result;
}

int devfs_mount(void)
{
    static const struct {
        const char *name;
        uint32_t mode;
        uint32_t rdev;
        const char *target;
    } nodes[] = {
        {"null", S_IFCHR | 0666, DEVICE_NULL, NULL},
        {"zero", S_IFCHR | 0666, DEVICE_ZERO, NULL},
        {"full", S_IFCHR | 0666, DEVICE_FULL, NULL},
        {"random", S_IFCHR | 0666, DEVICE_RANDOM, NULL},
        {"urandom", S_IFCHR | 0666, DEVICE_URANDOM, NULL},
        {"tty", S_IFCHR | 0666, DEVICE_TTY, NULL},
        {"console", S_IFCHR | 0600, DEVICE_CONSOLE, NULL},
        {"fd", S_IFLNK | 0777, 0, "/proc/self/fd"},
        {"stdin", S_IFLNK | 0777, 0, "/proc/self/fd/0"},
        {"stdout", S_IFLNK | 0777, 0, "/proc/self/fd/1"},
        {"stderr", S_IFLNK | 0777, 0, "/proc/self/fd/2"},
        {"shm", S_IFDIR | 01777, 0, NULL},
    };
    struct filesystem *filesystem;
    int result = tmpfs_create(&filesystem, NULL, 4096);
    if (result != 0) {
        return result;
    }
    filesystem->type = filesystem->source = "devtmpfs";
    for (size_t i = 0; i < sizeof(nodes) / sizeof(nodes[0]) && result == 0; i++) {
        result = make_node(filesystem->root, nodes[i].name, nodes[i].mode, nodes[i].rdev,
                           nodes[i].target);
    }
    for (const struct block_device *disk = block_devices; disk != NULL && result == 0;
         disk = disk->next) {
        result =
            make_node(filesystem->root, disk->hardware->name, S_IFBLK | 0660, disk->number, NULL);
    }
    return result != 0 ? result : filesystem_mount(filesystem, "/dev");
}
