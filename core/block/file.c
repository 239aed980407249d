/* SPDX-License-Identifier: MIT */
/* A block device as the program opens it, /dev/vda: bytes at any offset through the page cache.
 * Each open file has its read-ahead; what else there is belongs to the device (block.h). */
#include <asm/ioctls.h>
#include <linux/fs.h>

#include "core/block/block.h"
#include "core/fs/fs_internal.h"
#include "core/fs/inode.h"
#include "core/mm/page.h"

#define STAGING_ORDER 5u /* pages that one write copies at a time, as a power of two */

struct disk_file {
    struct block_device *device;
    struct read_ahead ahead;
};

static struct block_device *device_of(const struct file *file)
{
    return ((struct disk_file *)file->data)->device;
}

static long disk_read(struct file *file, struct io_vector *io, uint64_t *offset)
{
    struct disk_file *disk = file->data;
    uint64_t size = block_size(disk->device);
    long done = 0;
    int result = size == 0 ? -EIO : 0;
    disk->ahead.wanted =
        (uint32_t)MIN((io->remaining + PAGE_SIZE - 1) >> PAGE_SHIFT, READ_AHEAD_MAX);
    while (result == 0 && io->remaining != 0 && *offset < size) {
        struct cached_page *page;
        size_t within = *offset % PAGE_SIZE;
        size_t piece = MIN(MIN(io->remaining, PAGE_SIZE - within), size - *offset);
        result = cache_get(disk->device, *offset >> PAGE_SHIFT, UINT64_MAX, &disk->ahead, &page);
        if (result == 0) {
            result = io_copy_to(io, cached_bytes(page) + within, piece);
            cache_put(page);
        }
        if (result == 0) {
            *offset += piece;
            done += (long)piece;
        }
    }
    return done != 0 ? done : result;
}

/* Fills the part of a block that the program does not write from what the device has there. */
static int fill_part(struct block_device *device, uint64_t offset, char *to, size_t size)
{
    struct cached_page *page;
    int result = cache_get(device, offset >> PAGE_SHIFT, 1, NULL, &page);
    if (result == 0) {
        memcpy(to, cached_bytes(page) + offset % PAGE_SIZE, size);
        cache_put(page);
    }
    return result;
}

/* Writes at most what the staging pages hold of what is left, in whole blocks. The program's memory
 * may be a mapping of the same device, so it is copied before anything is locked. */
static int write_piece(struct block_device *device, struct io_vector *io, uint64_t offset,
                       uint64_t end, char *staging, size_t room, size_t *written)
{
    uint64_t block = device->hardware->block_size;
    size_t lead = offset & (block - 1);
    size_t piece = MIN(MIN(io->remaining, room - lead), end - offset);
    size_t whole = (lead + piece + block - 1) & ~(block - 1), rest = whole - lead - piece;
    int result = io_copy_from(io, staging + lead, piece);
    if (result != 0) {
        return result;
    }
    mutex_lock(&device->write_lock);
    if (lead != 0) {
        result = fill_part(device, offset - lead, staging, lead);
    }
    if (result == 0 && rest != 0) {
        result = fill_part(device, offset + piece, staging + lead + piece, rest);
    }
    if (result == 0) {
        result = block_write(device, offset - lead, staging, whole);
    }
    mutex_unlock(&device->write_lock);
    *written = piece;
    return result;
}

static long disk_write(struct file *file, struct io_vector *io, uint64_t *offset)
{
    struct block_device *device = device_of(file);
    uint64_t size = block_size(device), staging;
    unsigned order = STAGING_ORDER;
    long done = 0;
    int result = size == 0 ? -EIO : 0;
    if (io->remaining == 0 || result != 0) {
        return result;
    }
    if (*offset >= size) {
        return -ENOSPC;
    }
    while (order > 0 && PAGE_SIZE << (order - 1) >= io->remaining) {
        order--;
    }
    while ((staging = page_alloc(order, 0)) == 0 && order > 0) {
        order--;
    }
    if (staging == 0) {
        return -ENOMEM;
    }
    while (result == 0 && io->remaining != 0 && *offset < size) {
        size_t written = 0;
        result = write_piece(device, io, *offset, size, direct_map(staging), PAGE_SIZE << order,
                             &written);
        if (result == 0) {
            *offset += written;
            done += (long)written;
        }
    }
    page_free(staging, order);
    if (done != 0 && (file->flags & O_DSYNC) != 0) {
        result = block_flush(device);
        done = result == 0 ? done : result;
    }
    return done != 0 ? done : result;
}

static int disk_sync(struct file *file)
{
    return block_flush(device_of(file));
}

static long disk_seek(struct file *file, uint64_t offset, int whence)
{
    uint64_t size = block_size(device_of(file));
    if (whence == SEEK_END) {
        return (long)size;
    }
    return offset >= size ? -ENXIO : (long)(whence == SEEK_HOLE ? size : offset);
}

static int disk_map_page(struct file *file, uint64_t offset, bool write, uint64_t *physical)
{
    struct disk_file *disk = file->data;
    struct cached_page *page;
    (void)write; /* map_read_only */
    disk->ahead.wanted = 1;
    int result = cache_get(disk->device, offset >> PAGE_SHIFT, UINT64_MAX, &disk->ahead, &page);
    if (result == 0) {
        *physical = page->physical;
    }
    return result;
}

static void disk_unmap_page(struct file *file, uint64_t offset, uint64_t physical)
{
    (void)physical;
    cache_put_at(device_of(file), offset >> PAGE_SHIFT);
}

/* BLKDISCARD and BLKZEROOUT: a range of two numbers. */
static long change_range(struct file *file, unsigned command, uintptr_t argument)
{
    struct block_device *device = device_of(file);
    uint64_t range[2];
    if (!file_writable(file)) {
        return -EBADF;
    }
    if (copy_from_user(range, argument, sizeof(range)) != 0) {
        return -EFAULT;
    }
    mutex_lock(&device->write_lock);
    int result = command == BLKDISCARD ? block_discard(device, range[0], range[1])
                                       : block_zero(device, range[0], range[1]);
    mutex_unlock(&device->write_lock);
    return result;
}

static long disk_ioctl(struct file *file, unsigned command, uintptr_t argument)
{
    struct block_device *device = device_of(file);
    const struct blockdev *hardware = device->hardware;
    uint64_t value;
    size_t size = sizeof(uint32_t);
    switch (command) {
    case BLKGETSIZE:
        value = block_size(device) >> SECTOR_SHIFT;
        size = sizeof(uint64_t);
        break;
    case BLKGETSIZE64:
        value = block_size(device);
        size = sizeof(uint64_t);
        break;
    case BLKSSZGET:
    case BLKPBSZGET:
    case BLKIOMIN:
        value = hardware->block_size;
        break;
    case BLKBSZGET:
        value = PAGE_SIZE;
        break;
    case BLKROGET:
        value = hardware->read_only;
        break;
    case BLKIOOPT:
    case BLKALIGNOFF:
    case BLKDISCARDZEROES:
        value = 0;
        break;
    case BLKROTATIONAL:
        value = 0;
        size = sizeof(uint16_t);
        break;
    case BLKFLSBUF:
        cache_drop(device, 0, block_size(device));
        return disk_sync(file);
    case BLKDISCARD:
    case BLKZEROOUT:
        return change_range(file, command, argument);
    default:
        return -ENOTTY;
    }
    return copy_to_user(argument, &value, size);
}

static void disk_release(struct file *file)
{
    kfree(file->data);
}

static const struct file_operations disk_operations = {
    .read = disk_read,
    .write = disk_write,
    .ioctl = disk_ioctl,
    .sync = disk_sync,
    .seek = disk_seek,
    .map_page = disk_map_page,
    .unmap_page = disk_unmap_page,
    .map_read_only = true,
    .release = disk_release,
};

int block_open(struct inode *inode, struct file *file)
{
    struct block_device *device = block_find_number(inode->rdev);
    if (device == NULL || block_size(device) == 0) {
        return -ENXIO;
    }
    if (file_writable(file) && device->hardware->read_only) {
        return -EACCES;
    }
    struct disk_file *disk = kzalloc(sizeof(*disk));
    if (disk == NULL) {
        return -ENOMEM;
    }
    disk->device = device;
    file->data = disk;
    file->operations = &disk_operations;
    file_set_seekable(file);
    return 0;
}
