/* SPDX-License-Identifier: MIT */
/* Reading an EROFS image that lies in memory (Linux, fs/erofs/erofs_fs.h and
 * Documentation/filesystems/erofs.rst), uncompressed. The image is never trusted: each function
 * checks every field it uses, and gives -EUCLEAN for what cannot be. It does not change, so there
 * are no locks. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct erofs {
    const uint8_t *image;
    uint64_t size;
    uint64_t meta; /* byte offset of the inodes' area */
    uint32_t block_bits;
    uint64_t root; /* number of the root directory's inode */
    uint64_t inodes, blocks;
    uint64_t build_time, build_nanoseconds;
};

struct erofs_inode {
    uint64_t number;
    uint64_t size;
    uint64_t data; /* flat: byte offset of the first block; chunks: of the table */
    uint64_t tail; /* inline: byte offset of the last, partial block */
    uint32_t mode, uid, gid, links, rdev;
    int64_t modified; /* seconds since 1970 */
    uint32_t nanoseconds;
    uint8_t layout;
    uint8_t chunk_bits;
    bool chunk_indexes; /* the table has entries of 8 bytes, else of 4 */
};

/* Checks the superblock. -EINVAL: no EROFS image; -EUCLEAN: a damaged one; -EOPNOTSUPP: one with
 * compression, or with other devices. *reason gets a line for the user. */
int erofs_open(struct erofs *fs, const void *image, uint64_t size, const char **reason);

/* Reads an inode: -EUCLEAN, -EOPNOTSUPP (compressed). */
int erofs_read_inode(const struct erofs *fs, uint64_t number, struct erofs_inode *inode);

/* Where byte `offset` (below the size) is, and how many bytes from there are contiguous; NULL in
 * *at: a hole of that length. */
int erofs_map(const struct erofs *fs, const struct erofs_inode *inode, uint64_t offset,
              const uint8_t **at, uint64_t *length);

/* Copies `size` bytes from `offset`; what lies past the end reads as zero. */
int erofs_read(const struct erofs *fs, const struct erofs_inode *inode, uint64_t offset, void *to,
               size_t size);

/* Finds a name in a directory: -ENOENT. */
int erofs_lookup(const struct erofs *fs, const struct erofs_inode *directory, const char *name,
                 size_t length, uint64_t *number);

/* The entry at *position, which moves on: 1, or 0 at the end. "." and ".." are among them. `type`
 * is that of getdents64. */
int erofs_next(const struct erofs *fs, const struct erofs_inode *directory, uint64_t *position,
               const char **name, size_t *length, uint64_t *number, unsigned *type);
