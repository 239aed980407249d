/* SPDX-License-Identifier: MIT */
/* The kernel without disks, for programs in which `unigornel build` has found no way to open a
 * file: there is no device, and so no page of one. */
#include "core/block/block.h"

#include <linux/errno.h>

struct block_device *block_devices;

struct block_device *block_find(const char *name)
{
    return NULL;
}

uint64_t block_size(const struct block_device *device)
{
    return 0;
}

int block_flush_all(void)
{
    return 0;
}

void block_stats(const struct block_device *device, struct block_stats *out)
{
    *out = (struct block_stats){0};
}

int block_open(struct inode *inode, struct file *file)
{
    return -ENXIO;
}

int cache_get(struct block_device *device, uint64_t index, uint64_t run, struct read_ahead *ahead,
              struct cached_page **out)
{
    return -EIO;
}

void cache_put(struct cached_page *page)
{
}

void cache_put_at(struct block_device *device, uint64_t index)
{
}

uint64_t cache_pages(void)
{
    return 0;
}

int cache_init(void)
{
    return 0;
}
