/* SPDX-License-Identifier: MIT */
/* The EROFS reader; see erofs.h. Offsets and sizes of on-disk fields are those of struct
 * erofs_super_block, erofs_inode_compact, erofs_inode_extended, erofs_dirent and
 * erofs_inode_chunk_index in Linux's fs/erofs/erofs_fs.h. */
#include "core/fs/erofs.h"

#include <linux/stat.h>

#include "core/lib/errno.h"
#include "core/lib/string.h"

#define SUPER_OFFSET 1024u
#define SUPER_SIZE 128u
#define MAGIC 0xe0f5e1e2u
#define DIRENT_SIZE 12u
#define NO_BLOCK 0xffffffffu
#define NAME_LIMIT 255u

enum { FEATURE_0PADDING = 1, FEATURE_CHUNKED = 4, FEATURE_XATTR_PREFIXES = 0x40 };
enum { LAYOUT_PLAIN = 0, LAYOUT_INLINE = 2, LAYOUT_CHUNKS = 4 };

static uint32_t get16(const uint8_t *from)
{
    return from[0] | (uint32_t)from[1] << 8;
}

static uint32_t get32(const uint8_t *from)
{
    return get16(from) | get16(from + 2) << 16;
}

static uint64_t get64(const uint8_t *from)
{
    return get32(from) | (uint64_t)get32(from + 4) << 32;
}

/* Whether [offset, offset + size) is inside. */
static bool inside(const struct erofs *fs, uint64_t offset, uint64_t size)
{
    return offset <= fs->size && size <= fs->size - offset;
}

int erofs_open(struct erofs *fs, const void *image, uint64_t size, const char **reason)
{
    const uint8_t *super = (const uint8_t *)image + SUPER_OFFSET;
    memset(fs, 0, sizeof(*fs));
    *reason = "not an EROFS image";
    if (size < SUPER_OFFSET + SUPER_SIZE || get32(super) != MAGIC) {
        return -EINVAL;
    }
    uint32_t incompatible = get32(super + 80);
    fs->image = image;
    fs->size = size;
    fs->block_bits = super[12];
    *reason = "EROFS image is damaged: block size";
    if (fs->block_bits < 9 || fs->block_bits > 16) {
        return -EUCLEAN;
    }
    *reason = "EROFS image is compressed or uses features that are not supported: make it with "
              "mkfs.erofs without -z, -E and --blobdev";
    if ((incompatible & ~(uint32_t)(FEATURE_0PADDING | FEATURE_CHUNKED | FEATURE_XATTR_PREFIXES)) !=
            0 ||
        get16(super + 86) != 0 || super[90] != 0) {
        return -EOPNOTSUPP;
    }
    fs->root = get16(super + 14);
    fs->inodes = get64(super + 16);
    fs->build_time = get64(super + 24);
    fs->build_nanoseconds = get32(super + 32);
    fs->blocks = get32(super + 36);
    fs->meta = (uint64_t)get32(super + 40) << fs->block_bits;
    *reason = "EROFS image is truncated";
    if (!inside(fs, 0, fs->blocks << fs->block_bits)) {
        return -EUCLEAN;
    }
    struct erofs_inode root;
    *reason = "EROFS image is damaged: root directory";
    if (erofs_read_inode(fs, fs->root, &root) != 0 || !S_ISDIR(root.mode)) {
        return -EUCLEAN;
    }
    *reason = NULL;
    return 0;
}

int erofs_read_inode(const struct erofs *fs, uint64_t number, struct erofs_inode *inode)
{
    uint64_t offset;
    if (number > (fs->size >> 5) || !inside(fs, offset = fs->meta + (number << 5), 32)) {
        return -EUCLEAN;
    }
    const uint8_t *raw = fs->image + offset;
    uint32_t format = get16(raw), xattrs = get16(raw + 2), data = get32(raw + 16);
    bool extended = (format & 1) != 0;
    uint64_t end = offset + (extended ? 64 : 32);
    if (extended && !inside(fs, offset, 64)) {
        return -EUCLEAN;
    }
    memset(inode, 0, sizeof(*inode));
    inode->number = number;
    inode->mode = get16(raw + 4);
    inode->layout = (format >> 1) & 7;
    inode->links = get16(raw + 6);
    inode->size = get32(raw + 8);
    inode->uid = get16(raw + 24);
    inode->gid = get16(raw + 26);
    inode->modified = (int64_t)fs->build_time;
    inode->nanoseconds = (uint32_t)fs->build_nanoseconds;
    if (extended) {
        inode->size = get64(raw + 8);
        inode->uid = get32(raw + 24);
        inode->gid = get32(raw + 28);
        inode->modified = (int64_t)get64(raw + 32);
        inode->nanoseconds = get32(raw + 40);
        inode->links = get32(raw + 44);
    }
    if (inode->links == 0) {
        inode->links = 1;
    }
    if (inode->nanoseconds > 999999999) {
        inode->nanoseconds = 0;
    }
    end += xattrs == 0 ? 0 : 12 + (uint64_t)(xattrs - 1) * 4;
    switch (inode->mode & S_IFMT) {
    case S_IFREG:
    case S_IFDIR:
    case S_IFLNK:
        break;
    case S_IFCHR:
    case S_IFBLK:
    case S_IFIFO:
    case S_IFSOCK:
        inode->rdev = data;
        inode->size = 0;
        return 0;
    default:
        return -EUCLEAN;
    }
    if ((int64_t)inode->size < 0) {
        return -EUCLEAN;
    }
    uint64_t block = 1ull << fs->block_bits;
    switch (inode->layout) {
    case LAYOUT_PLAIN:
        inode->data = (uint64_t)data << fs->block_bits;
        return inode->size == 0 || inside(fs, inode->data, inode->size) ? 0 : -EUCLEAN;
    case LAYOUT_INLINE: {
        /* All of the last block, which may be a whole one, is behind the inode. */
        uint64_t whole = inode->size == 0 ? 0 : (inode->size - 1) & ~(block - 1);
        inode->data = (uint64_t)data << fs->block_bits;
        inode->tail = end;
        return (whole == 0 || inside(fs, inode->data, whole)) &&
                       inside(fs, end, inode->size - whole)
                   ? 0
                   : -EUCLEAN;
    }
    case LAYOUT_CHUNKS: {
        inode->chunk_bits = (uint8_t)(fs->block_bits + (data & 31));
        inode->chunk_indexes = (data & 32) != 0;
        uint64_t unit = inode->chunk_indexes ? 8 : 4;
        inode->data = (end + unit - 1) & ~(unit - 1);
        uint64_t chunks = (inode->size >> inode->chunk_bits) + 1;
        chunks -= (inode->size & ((1ull << inode->chunk_bits) - 1)) == 0;
        return chunks <= fs->size && inside(fs, inode->data, chunks * unit) ? 0 : -EUCLEAN;
    }
    default:
        return -EOPNOTSUPP;
    }
}

int erofs_map(const struct erofs *fs, const struct erofs_inode *inode, uint64_t offset,
              const uint8_t **at, uint64_t *length)
{
    if (offset >= inode->size) {
        return -EINVAL;
    }
    uint64_t block = 1ull << fs->block_bits;
    uint64_t whole =
        inode->layout == LAYOUT_INLINE ? (inode->size - 1) & ~(block - 1) : inode->size;
    if (inode->layout == LAYOUT_CHUNKS) {
        uint64_t size = 1ull << inode->chunk_bits, chunk = offset >> inode->chunk_bits;
        uint64_t within = offset & (size - 1);
        const uint8_t *entry = fs->image + inode->data + chunk * (inode->chunk_indexes ? 8 : 4);
        uint32_t first = get32(inode->chunk_indexes ? entry + 4 : entry);
        *length = size - within < inode->size - offset ? size - within : inode->size - offset;
        *at = NULL;
        if (first == NO_BLOCK) {
            return 0;
        }
        uint64_t from = ((uint64_t)first << fs->block_bits) + within;
        if ((inode->chunk_indexes && get16(entry + 2) != 0) || !inside(fs, from, *length)) {
            return -EUCLEAN;
        }
        *at = fs->image + from;
        return 0;
    }
    if (offset < whole) {
        *at = fs->image + inode->data + offset;
        *length = whole - offset;
    } else {
        *at = fs->image + inode->tail + (offset - whole);
        *length = inode->size - offset;
    }
    return 0;
}

int erofs_read(const struct erofs *fs, const struct erofs_inode *inode, uint64_t offset, void *to,
               size_t size)
{
    char *out = to;
    while (size != 0) {
        const uint8_t *at = NULL;
        uint64_t length = size;
        if (offset < inode->size) {
            int result = erofs_map(fs, inode, offset, &at, &length);
            if (result != 0) {
                return result;
            }
            length = length < size ? length : size;
        }
        if (at != NULL) {
            memcpy(out, at, length);
        } else {
            memset(out, 0, length);
        }
        out += length;
        offset += length;
        size -= length;
    }
    return 0;
}

/* One block of a directory: where it is, its length, and how many entries it has. */
struct block {
    const uint8_t *at;
    uint32_t length, count;
};

static int read_block(const struct erofs *fs, const struct erofs_inode *directory, uint64_t index,
                      struct block *block)
{
    uint64_t offset = index << fs->block_bits, contiguous;
    uint64_t length = directory->size - offset;
    int result = erofs_map(fs, directory, offset, &block->at, &contiguous);
    if (result != 0) {
        return result;
    }
    length = length < 1ull << fs->block_bits ? length : 1ull << fs->block_bits;
    if (block->at == NULL || contiguous < length || length < DIRENT_SIZE) {
        return -EUCLEAN;
    }
    uint32_t names = get16(block->at + 8);
    block->length = (uint32_t)length;
    block->count = names / DIRENT_SIZE;
    return names < DIRENT_SIZE || names > length ? -EUCLEAN : 0;
}

static int read_entry(const struct block *block, uint32_t index, const char **name, size_t *length,
                      uint64_t *number, unsigned *type)
{
    const uint8_t *entry = block->at + index * DIRENT_SIZE;
    uint32_t begin = get16(entry + 8), end = block->length;
    if (index + 1 < block->count) {
        end = get16(entry + DIRENT_SIZE + 8);
    }
    if (begin < block->count * DIRENT_SIZE || begin >= end || end > block->length) {
        return -EUCLEAN;
    }
    *name = (const char *)block->at + begin;
    *length = strnlen(*name, end - begin);
    *number = get64(entry);
    /* The file types are those of getdents64 in another numbering. */
    static const uint8_t types[8] = {0, 8, 4, 2, 6, 1, 12, 10};
    *type = entry[10] < 8 ? types[entry[10]] : 0;
    return *length == 0 || *length > NAME_LIMIT || memchr(*name, '/', *length) != NULL ? -EUCLEAN
                                                                                       : 0;
}

static int compare(const char *left, size_t left_length, const char *right, size_t right_length)
{
    int order = memcmp(left, right, left_length < right_length ? left_length : right_length);
    return order != 0 ? order : left_length < right_length ? -1 : left_length > right_length;
}

/* Entries are sorted by name over the whole directory: first the block is searched for, then the
 * entry in it. */
int erofs_lookup(const struct erofs *fs, const struct erofs_inode *directory, const char *name,
                 size_t length, uint64_t *number)
{
    const char *entry;
    size_t entry_length;
    uint64_t found;
    unsigned type;
    struct block block, candidate = {0};
    uint64_t low = 0, high = (directory->size + (1ull << fs->block_bits) - 1) >> fs->block_bits;
    while (low < high) {
        uint64_t middle = low + (high - low) / 2;
        int result = read_block(fs, directory, middle, &block);
        if (result == 0) {
            result = read_entry(&block, 0, &entry, &entry_length, &found, &type);
        }
        if (result != 0) {
            return result;
        }
        if (compare(name, length, entry, entry_length) < 0) {
            high = middle;
        } else {
            candidate = block;
            low = middle + 1;
        }
    }
    uint32_t first = 0, end = candidate.count;
    while (first < end) {
        uint32_t middle = first + (end - first) / 2;
        int result = read_entry(&candidate, middle, &entry, &entry_length, &found, &type);
        if (result != 0) {
            return result;
        }
        int order = compare(name, length, entry, entry_length);
        if (order == 0) {
            *number = found;
            return 0;
        }
        if (order < 0) {
            end = middle;
        } else {
            first = middle + 1;
        }
    }
    return -ENOENT;
}

/* A position is the block's index and the entry's in it. */
int erofs_next(const struct erofs *fs, const struct erofs_inode *directory, uint64_t *position,
               const char **name, size_t *length, uint64_t *number, unsigned *type)
{
    uint64_t index = *position >> 16;
    uint32_t entry = *position & 0xffff;
    uint64_t blocks = (directory->size + (1ull << fs->block_bits) - 1) >> fs->block_bits;
    while (index < blocks) {
        struct block block;
        int result = read_block(fs, directory, index, &block);
        if (result != 0) {
            return result;
        }
        if (entry < block.count) {
            result = read_entry(&block, entry, name, length, number, type);
            *position = index << 16 | (entry + 1);
            return result != 0 ? result : 1;
        }
        index++;
        entry = 0;
    }
    return 0;
}
