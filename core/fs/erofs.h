/* SPDX-License-Identifier: MIT */
/* Reading an EROFS image (Linux, fs/erofs/erofs_fs.h and Documentation/filesystems/erofs.rst),
 * uncompressed, that lies in memory or on a block device. The image is never trusted: each function
 * checks every field it uses, and gives -EUCLEAN for what cannot be, -EIO for what the device
 * cannot read. An image does not change, so there are no locks. With an image on a device each
 * function may sleep. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct block_device;
struct cached_page;
struct read_ahead;

struct erofs {
    const uint8_t *image;        /* NULL: on `device` */
    struct block_device *device; /* core/block/block.h */
    uint64_t size;               /* bytes of the image, or of the device */
    uint64_t meta;               /* byte offset of the inodes' area */
    uint64_t shared_attributes;  /* byte offset */
    uint64_t attribute_prefixes; /* byte offset of the table of long prefixes */
    uint32_t attribute_prefix_count;
    uint32_t block_bits;
    uint64_t root; /* number of the root directory's inode */
    uint64_t inodes, blocks;
    uint64_t build_time, build_nanoseconds;
};

struct erofs_inode {
    uint64_t number;
    uint64_t size;
    uint64_t data;       /* flat: byte offset of the first block; chunks: of the table */
    uint64_t tail;       /* inline: byte offset of the last, partial block */
    uint64_t attributes; /* byte offset of the extended attributes */
    uint32_t attributes_size;
    uint32_t mode, uid, gid, links, rdev;
    int64_t modified; /* seconds since 1970 */
    uint32_t nanoseconds;
    uint8_t layout;
    uint8_t chunk_bits;
    bool chunk_indexes; /* the table has entries of 8 bytes, else of 4 */
};

/* Checks the superblock of fs->image or fs->device (and fs->size), and fills in the rest. -EINVAL:
 * no EROFS image; -EUCLEAN: a damaged one; -EOPNOTSUPP: one with compression, or with other
 * devices; -EIO. *reason gets a line for the user. */
int erofs_open(struct erofs *fs, const char **reason);

/* Reads an inode: -EUCLEAN, -EOPNOTSUPP (compressed), -EIO. */
int erofs_read_inode(const struct erofs *fs, uint64_t number, struct erofs_inode *inode);

#define EROFS_HOLE UINT64_MAX

/* Where byte `offset` (below the size) of a file is in the image, and how many bytes from there are
 * contiguous; EROFS_HOLE in *at: zeroes of that length. */
int erofs_map(const struct erofs *fs, const struct erofs_inode *inode, uint64_t offset,
              uint64_t *at, uint64_t *length);

/* Bytes of the image, in memory until erofs_put. */
struct erofs_view {
    const uint8_t *bytes;
    uint64_t length;
    struct cached_page *page; /* NULL: the image is in memory */
};

/* The bytes from `at` on, at most `length`: at least one, and on a device no further than the end
 * of the page. `ahead` (may be NULL): that of the file that is read, whose contiguous bytes these
 * `length` are. */
int erofs_get(const struct erofs *fs, uint64_t at, uint64_t length, struct read_ahead *ahead,
              struct erofs_view *view);
void erofs_put(struct erofs_view *view);

/* Copies `size` bytes of a file from `offset`; what lies past the end reads as zero. */
int erofs_read(const struct erofs *fs, const struct erofs_inode *inode, uint64_t offset, void *to,
               size_t size);

/* Finds a name in a directory: -ENOENT. */
int erofs_lookup(const struct erofs *fs, const struct erofs_inode *directory, const char *name,
                 size_t length, uint64_t *number);

/* Calls `emit` for the names from *position on, but "." and "..", until it returns false; *position
 * becomes that of the first name it has not taken, which `next` has told it. `type` is that of
 * getdents64. `emit` must not sleep. */
typedef bool erofs_emit_fn(void *context, const char *name, size_t length, uint64_t number,
                           unsigned type, uint64_t next);
int erofs_list(const struct erofs *fs, const struct erofs_inode *directory, uint64_t *position,
               erofs_emit_fn *emit, void *context);

/* Extended attributes: the names, each with its NUL, one after the other; and the value of one
 * (-ENODATA). Return the length, of which nothing is written when it is more than `size`. */
long erofs_list_attributes(const struct erofs *fs, const struct erofs_inode *inode, char *to,
                           size_t size);
long erofs_get_attribute(const struct erofs *fs, const struct erofs_inode *inode, const char *name,
                         void *to, size_t size);
