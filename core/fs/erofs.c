/* SPDX-License-Identifier: MIT */
/* The EROFS reader; see erofs.h. Offsets and sizes of on-disk fields are those of struct
 * erofs_super_block, erofs_inode_compact, erofs_inode_extended, erofs_dirent,
 * erofs_inode_chunk_index, erofs_xattr_ibody_header and erofs_xattr_entry in Linux's
 * fs/erofs/erofs_fs.h. */
#include "core/fs/erofs.h"

#include <linux/stat.h>

#include "core/block/block.h"
#include "core/lib/errno.h"
#include "core/lib/string.h"
#include "hal.h"

#define SUPER_OFFSET 1024u
#define SUPER_SIZE 128u
#define MAGIC 0xe0f5e1e2u
#define DIRENT_SIZE 12u
#define NO_BLOCK 0xffffffffu
#define NAME_LIMIT 255u
#define ATTRIBUTES_HEADER 12u
#define LONG_PREFIX 0x80u

enum { COMPATIBLE_CHECKSUM = 1 };
enum {
    FEATURE_CHUNKED = 4,
    FEATURE_XATTR_PREFIXES = 0x40,
    FEATURES_READ = FEATURE_CHUNKED | FEATURE_XATTR_PREFIXES,
    /* Zero padding, big pclusters, ztailpacking and fragments. */
    FEATURES_COMPRESSION = 1 | 2 | 0x10 | 0x20,
};
enum { LAYOUT_PLAIN = 0, LAYOUT_INLINE = 2, LAYOUT_CHUNKS = 4 };
enum { CHUNK_BITS = 31, CHUNK_INDEXES = 32 };

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

static uint64_t min(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

/* --- bytes of the image ---------------------------------------------------------------------- */

/* Whether [offset, offset + size) is inside. */
static bool inside(const struct erofs *fs, uint64_t offset, uint64_t size)
{
    return offset <= fs->size && size <= fs->size - offset;
}

int erofs_get(const struct erofs *fs, uint64_t at, uint64_t length, struct read_ahead *ahead,
              struct erofs_view *view)
{
    view->page = NULL;
    view->length = length;
    if (fs->image != NULL) {
        view->bytes = fs->image + at;
        return 0;
    }
    uint64_t within = at % PAGE_SIZE;
    int result = cache_get(fs->device, at >> PAGE_SHIFT,
                           (within + length + PAGE_SIZE - 1) >> PAGE_SHIFT, ahead, &view->page);
    if (result == 0) {
        view->bytes = cached_bytes(view->page) + within;
        view->length = min(length, PAGE_SIZE - within);
    }
    return result;
}

void erofs_put(struct erofs_view *view)
{
    if (view->page != NULL) {
        cache_put(view->page);
    }
}

/* Copies bytes of the image: -EUCLEAN when they are not all inside. */
static int load(const struct erofs *fs, uint64_t at, void *to, size_t size)
{
    struct erofs_view view;
    char *out = to;
    if (!inside(fs, at, size)) {
        return -EUCLEAN;
    }
    while (size != 0) {
        int result = erofs_get(fs, at, size, NULL, &view);
        if (result != 0) {
            return result;
        }
        memcpy(out, view.bytes, view.length);
        erofs_put(&view);
        out += view.length;
        at += view.length;
        size -= view.length;
    }
    return 0;
}

/* --- the superblock -------------------------------------------------------------------------- */

/* CRC-32C as the checksum wants it: no inversion at the end. */
static uint32_t checksum(uint32_t crc, const uint8_t *bytes, size_t size)
{
    while (size-- != 0) {
        crc ^= *bytes++;
        for (int bit = 0; bit < 8; bit++) {
            crc = crc >> 1 ^ (0x82f63b78u & -(crc & 1));
        }
    }
    return crc;
}

/* From the superblock to the end of its block, with zero in the field itself. */
static int verify(const struct erofs *fs, uint8_t *super)
{
    uint64_t block = 1ull << fs->block_bits;
    uint64_t rest = (block > SUPER_OFFSET ? block - SUPER_OFFSET : block) - SUPER_SIZE;
    uint32_t expected = get32(super + 4);
    memset(super + 4, 0, 4);
    uint32_t crc = checksum(UINT32_MAX, super, SUPER_SIZE);
    for (uint64_t at = SUPER_OFFSET + SUPER_SIZE; rest != 0;) {
        uint8_t bytes[128];
        size_t piece = min(rest, sizeof(bytes));
        int result = load(fs, at, bytes, piece);
        if (result != 0) {
            return result;
        }
        crc = checksum(crc, bytes, piece);
        at += piece;
        rest -= piece;
    }
    return crc == expected ? 0 : -EUCLEAN;
}

int erofs_open(struct erofs *fs, const char **reason)
{
    uint8_t super[SUPER_SIZE];
    int result = load(fs, SUPER_OFFSET, super, sizeof(super));
    *reason = result == 0 || result == -EUCLEAN ? "not an EROFS image" : "cannot be read";
    if (result != 0 || get32(super) != MAGIC) {
        return result == 0 || result == -EUCLEAN ? -EINVAL : result;
    }
    uint32_t incompatible = get32(super + 80);
    fs->block_bits = super[12];
    *reason = "EROFS image has blocks of another size than 512 to 4096 bytes";
    if (fs->block_bits < 9 || fs->block_bits > PAGE_SHIFT) {
        return -EOPNOTSUPP;
    }
    *reason = "EROFS image is damaged: checksum of the superblock";
    if ((get32(super + 8) & COMPATIBLE_CHECKSUM) != 0) {
        result = verify(fs, super);
        if (result != 0) {
            return result;
        }
    }
    *reason =
        (incompatible & FEATURES_COMPRESSION) != 0
            ? "EROFS image is compressed: make it with unigornel mkfs, or mkfs.erofs without -z"
            : "EROFS image is spread over several devices, or uses features that are not "
              "supported: make it with unigornel mkfs";
    if ((incompatible & ~(uint32_t)FEATURES_READ) != 0 || get16(super + 86) != 0 ||
        super[90] != 0) {
        return -EOPNOTSUPP;
    }
    fs->root = get16(super + 14);
    fs->inodes = get64(super + 16);
    fs->build_time = get64(super + 24);
    fs->build_nanoseconds = get32(super + 32);
    fs->blocks = get32(super + 36);
    fs->meta = (uint64_t)get32(super + 40) << fs->block_bits;
    fs->shared_attributes = (uint64_t)get32(super + 44) << fs->block_bits;
    if ((incompatible & FEATURE_XATTR_PREFIXES) != 0) {
        fs->attribute_prefix_count = super[91];
        fs->attribute_prefixes = (uint64_t)get32(super + 92) << 2;
    }
    *reason = "EROFS image is truncated";
    if (!inside(fs, 0, fs->blocks << fs->block_bits)) {
        return -EUCLEAN;
    }
    struct erofs_inode root;
    *reason = "EROFS image is damaged: root directory";
    result = erofs_read_inode(fs, fs->root, &root);
    if (result != 0 || !S_ISDIR(root.mode)) {
        return result != 0 ? result : -EUCLEAN;
    }
    *reason = NULL;
    return 0;
}

/* --- inodes ---------------------------------------------------------------------------------- */

/* Where the contents are; `data` is the inode's field, `end` the offset behind the inode and its
 * attributes. */
static int set_layout(const struct erofs *fs, struct erofs_inode *inode, uint32_t data,
                      uint64_t end)
{
    uint64_t block = 1ull << fs->block_bits;
    inode->data = (uint64_t)data << fs->block_bits;
    switch (inode->layout) {
    case LAYOUT_PLAIN:
        return inode->size == 0 || inside(fs, inode->data, inode->size) ? 0 : -EUCLEAN;
    case LAYOUT_INLINE: {
        /* All of the last block, which may be a whole one, is behind the inode, in the same block.
         */
        uint64_t whole = inode->size == 0 ? 0 : (inode->size - 1) & ~(block - 1);
        uint64_t rest = inode->size - whole;
        inode->tail = end;
        return (whole == 0 || inside(fs, inode->data, whole)) && inside(fs, end, rest) &&
                       (end & (block - 1)) + rest <= block
                   ? 0
                   : -EUCLEAN;
    }
    case LAYOUT_CHUNKS: {
        if ((data & ~(uint32_t)(CHUNK_BITS | CHUNK_INDEXES)) != 0) {
            return -EOPNOTSUPP;
        }
        inode->chunk_bits = (uint8_t)(fs->block_bits + (data & CHUNK_BITS));
        inode->chunk_indexes = (data & CHUNK_INDEXES) != 0;
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

int erofs_read_inode(const struct erofs *fs, uint64_t number, struct erofs_inode *inode)
{
    uint8_t raw[64];
    if (number > fs->size >> 5) {
        return -EUCLEAN;
    }
    uint64_t offset = fs->meta + (number << 5);
    int result = load(fs, offset, raw, 32);
    if (result != 0) {
        return result;
    }
    uint32_t format = get16(raw), attributes = get16(raw + 2), data = get32(raw + 16);
    bool extended = (format & 1) != 0;
    uint64_t end = offset + (extended ? 64 : 32);
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
        result = load(fs, offset + 32, raw + 32, 32);
        if (result != 0) {
            return result;
        }
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
    if (attributes != 0) {
        inode->attributes = end;
        inode->attributes_size = ATTRIBUTES_HEADER + (attributes - 1) * 4;
        end += inode->attributes_size;
    }
    switch (inode->mode & S_IFMT) {
    case S_IFREG:
    case S_IFDIR:
    case S_IFLNK:
        return (int64_t)inode->size < 0 ? -EUCLEAN : set_layout(fs, inode, data, end);
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
}

/* --- contents -------------------------------------------------------------------------------- */

int erofs_map(const struct erofs *fs, const struct erofs_inode *inode, uint64_t offset,
              uint64_t *at, uint64_t *length)
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
        uint32_t unit = inode->chunk_indexes ? 8 : 4;
        uint8_t entry[8];
        int result = load(fs, inode->data + chunk * unit, entry, unit);
        if (result != 0) {
            return result;
        }
        uint32_t first = get32(entry + unit - 4);
        *length = min(size - within, inode->size - offset);
        *at = EROFS_HOLE;
        if (first == NO_BLOCK) {
            return 0;
        }
        *at = ((uint64_t)first << fs->block_bits) + within;
        return (inode->chunk_indexes && get16(entry + 2) != 0) || !inside(fs, *at, *length)
                   ? -EUCLEAN
                   : 0;
    }
    if (offset < whole) {
        *at = inode->data + offset;
        *length = whole - offset;
    } else {
        *at = inode->tail + (offset - whole);
        *length = inode->size - offset;
    }
    return 0;
}

int erofs_read(const struct erofs *fs, const struct erofs_inode *inode, uint64_t offset, void *to,
               size_t size)
{
    char *out = to;
    while (size != 0) {
        uint64_t at = EROFS_HOLE, length = size;
        if (offset < inode->size) {
            int result = erofs_map(fs, inode, offset, &at, &length);
            if (result != 0) {
                return result;
            }
            length = min(length, size);
        }
        if (at == EROFS_HOLE) {
            memset(out, 0, length);
        } else {
            int result = load(fs, at, out, length);
            if (result != 0) {
                return result;
            }
        }
        out += length;
        offset += length;
        size -= length;
    }
    return 0;
}

/* --- directories ----------------------------------------------------------------------------- */

/* One block of a directory: its bytes (to be put), its length, and how many entries it has. */
struct block {
    struct erofs_view view;
    uint32_t length, count;
};

static int get_block(const struct erofs *fs, const struct erofs_inode *directory, uint64_t index,
                     struct block *block)
{
    uint64_t offset = index << fs->block_bits, at, contiguous;
    uint64_t length = min(directory->size - offset, 1ull << fs->block_bits);
    int result = erofs_map(fs, directory, offset, &at, &contiguous);
    if (result != 0) {
        return result;
    }
    if (at == EROFS_HOLE || contiguous < length || length < DIRENT_SIZE) {
        return -EUCLEAN;
    }
    result = erofs_get(fs, at, length, NULL, &block->view);
    if (result != 0) {
        return result;
    }
    uint32_t names = get16(block->view.bytes + 8);
    block->length = (uint32_t)length;
    block->count = names / DIRENT_SIZE;
    if (block->view.length < length || names < DIRENT_SIZE || names > length) {
        erofs_put(&block->view);
        return -EUCLEAN;
    }
    return 0;
}

static int read_entry(const struct block *block, uint32_t index, const char **name, size_t *length,
                      uint64_t *number, unsigned *type)
{
    const uint8_t *entry = block->view.bytes + index * DIRENT_SIZE;
    uint32_t begin = get16(entry + 8), end = block->length;
    if (index + 1 < block->count) {
        end = get16(entry + DIRENT_SIZE + 8);
    }
    if (begin < block->count * DIRENT_SIZE || begin >= end || end > block->length) {
        return -EUCLEAN;
    }
    *name = (const char *)block->view.bytes + begin;
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

/* Compares `name` with an entry's: the order is left in *order. */
static int compare_entry(const struct block *block, uint32_t index, const char *name, size_t length,
                         uint64_t *number, int *order)
{
    const char *entry;
    size_t entry_length;
    unsigned type;
    int result = read_entry(block, index, &entry, &entry_length, number, &type);
    *order = result == 0 ? compare(name, length, entry, entry_length) : 0;
    return result;
}

static uint64_t block_count(const struct erofs *fs, const struct erofs_inode *directory)
{
    return (directory->size + (1ull << fs->block_bits) - 1) >> fs->block_bits;
}

/* Entries are sorted by name over the whole directory: first the block is searched for (the last
 * whose first name is not behind the wanted one), then the entry in it. */
int erofs_lookup(const struct erofs *fs, const struct erofs_inode *directory, const char *name,
                 size_t length, uint64_t *number)
{
    struct block block;
    uint64_t low = 0, high = block_count(fs, directory), found;
    int order, result = 0;
    while (low < high) {
        uint64_t middle = low + (high - low) / 2;
        result = get_block(fs, directory, middle, &block);
        if (result != 0) {
            return result;
        }
        result = compare_entry(&block, 0, name, length, &found, &order);
        erofs_put(&block.view);
        if (result != 0) {
            return result;
        }
        if (order < 0) {
            high = middle;
        } else {
            low = middle + 1;
        }
    }
    if (low == 0) {
        return -ENOENT;
    }
    result = get_block(fs, directory, low - 1, &block);
    if (result != 0) {
        return result;
    }
    uint32_t first = 0, end = block.count;
    result = -ENOENT;
    while (first < end && result == -ENOENT) {
        uint32_t middle = first + (end - first) / 2;
        result = compare_entry(&block, middle, name, length, &found, &order);
        if (result == 0 && order == 0) {
            *number = found;
        } else if (result == 0) {
            result = -ENOENT;
            first = order < 0 ? first : middle + 1;
            end = order < 0 ? middle : end;
        }
    }
    erofs_put(&block.view);
    return result;
}

static bool is_dots(const char *name, size_t length)
{
    return name[0] == '.' && (length == 1 || (length == 2 && name[1] == '.'));
}

/* A position is the block's index and the entry's in it. */
int erofs_list(const struct erofs *fs, const struct erofs_inode *directory, uint64_t *position,
               erofs_emit_fn *emit, void *context)
{
    uint64_t index = *position >> 16, blocks = block_count(fs, directory);
    uint32_t entry = *position & 0xffff;
    bool more = true;
    int result = 0;
    for (; index < blocks && more && result == 0; index++, entry = 0) {
        struct block block;
        result = get_block(fs, directory, index, &block);
        if (result != 0) {
            break;
        }
        while (entry < block.count && more) {
            const char *name;
            size_t length;
            uint64_t number, next = index << 16 | (entry + 1);
            unsigned type;
            result = read_entry(&block, entry, &name, &length, &number, &type);
            if (result != 0) {
                break;
            }
            more = is_dots(name, length) || emit(context, name, length, number, type, next);
            if (more) {
                *position = next;
                entry++;
            }
        }
        erofs_put(&block.view);
    }
    return result;
}

/* --- extended attributes --------------------------------------------------------------------- */

struct attribute {
    char name[32 + NAME_LIMIT + NAME_LIMIT + 1]; /* prefix, infix, rest */
    uint32_t name_length;
    bool known; /* names with another prefix are not shown, as on Linux */
    uint32_t value_size;
    uint64_t value; /* byte offset */
};

static bool append(struct attribute *attribute, const char *text, size_t length)
{
    if (length >= sizeof(attribute->name) - attribute->name_length) {
        return false;
    }
    memcpy(attribute->name + attribute->name_length, text, length);
    attribute->name_length += (uint32_t)length;
    attribute->name[attribute->name_length] = '\0';
    return true;
}

static int append_prefix(struct attribute *attribute, uint32_t index)
{
    static const char *const prefixes[] = {
        NULL, "user.",    "system.posix_acl_access", "system.posix_acl_default", "trusted.",
        NULL, "security."};
    const char *prefix = index < sizeof(prefixes) / sizeof(prefixes[0]) ? prefixes[index] : NULL;
    attribute->known = prefix != NULL;
    return prefix == NULL || append(attribute, prefix, strlen(prefix)) ? 0 : -EUCLEAN;
}

/* The table's items follow each other 4-byte aligned: a length of 2 bytes, the index of a prefix,
 * and what follows that. */
static int append_long_prefix(const struct erofs *fs, struct attribute *attribute, uint32_t index)
{
    uint8_t item[3 + NAME_LIMIT];
    uint64_t at = fs->attribute_prefixes;
    if (index >= fs->attribute_prefix_count) {
        return -EUCLEAN;
    }
    for (;; index--) {
        int result = load(fs, at, item, 3);
        if (result != 0) {
            return result;
        }
        uint32_t length = get16(item);
        if (index != 0) {
            at = (at + 2 + (length == 0 ? 65536 : length) + 3) & ~3ull;
            continue;
        }
        if (length == 0 || length > 1 + NAME_LIMIT) {
            return -EUCLEAN;
        }
        result = load(fs, at + 3, item + 3, length - 1);
        if (result == 0) {
            result = append_prefix(attribute, item[2]);
        }
        return result == 0 && !append(attribute, (const char *)item + 3, length - 1) ? -EUCLEAN
                                                                                     : result;
    }
}

/* The attribute whose entry is at *at, which moves on to the next. */
static int read_attribute(const struct erofs *fs, uint64_t *at, struct attribute *attribute)
{
    uint8_t entry[4];
    char rest[NAME_LIMIT];
    int result = load(fs, *at, entry, sizeof(entry));
    if (result == 0) {
        result = load(fs, *at + sizeof(entry), rest, entry[0]);
    }
    if (result != 0) {
        return result;
    }
    attribute->name_length = 0;
    attribute->value_size = get16(entry + 2);
    attribute->value = *at + sizeof(entry) + entry[0];
    *at = (attribute->value + attribute->value_size + 3) & ~3ull;
    result = (entry[1] & LONG_PREFIX) != 0
                 ? append_long_prefix(fs, attribute, entry[1] & (LONG_PREFIX - 1))
                 : append_prefix(attribute, entry[1]);
    return result == 0 && (!append(attribute, rest, entry[0]) ||
                           !inside(fs, attribute->value, attribute->value_size))
               ? -EUCLEAN
               : result;
}

/* Calls `visit` for each attribute, first the shared ones, until it does not return 0. */
static long each_attribute(const struct erofs *fs, const struct erofs_inode *inode,
                           long (*visit)(const struct erofs *, const struct attribute *, void *),
                           void *context)
{
    struct attribute attribute;
    uint8_t header[ATTRIBUTES_HEADER], id[4];
    uint64_t end = inode->attributes + inode->attributes_size;
    if (inode->attributes_size == 0) {
        return 0;
    }
    long result = load(fs, inode->attributes, header, sizeof(header));
    if (result != 0) {
        return result;
    }
    uint64_t at = inode->attributes + ATTRIBUTES_HEADER;
    for (unsigned shared = header[4]; at < end && result == 0;) {
        if (shared != 0) {
            result = load(fs, at, id, sizeof(id));
            uint64_t entry = fs->shared_attributes + (result == 0 ? (uint64_t)get32(id) * 4 : 0);
            result = result == 0 ? read_attribute(fs, &entry, &attribute) : result;
            at += sizeof(id);
            shared--;
        } else {
            result = read_attribute(fs, &at, &attribute);
        }
        if (result == 0 && attribute.known) {
            result = at <= end ? visit(fs, &attribute, context) : -EUCLEAN;
        }
    }
    return result;
}

struct attribute_request {
    const char *name;
    char *to;
    size_t size;
    long done;
};

static long put_name(const struct erofs *fs, const struct attribute *attribute, void *context)
{
    struct attribute_request *request = context;
    size_t length = attribute->name_length + 1ul, at = (size_t)request->done;
    (void)fs;
    if (at + length <= request->size) {
        memcpy(request->to + at, attribute->name, length);
    }
    request->done += (long)length;
    return 0;
}

long erofs_list_attributes(const struct erofs *fs, const struct erofs_inode *inode, char *to,
                           size_t size)
{
    struct attribute_request request = {.to = to, .size = size};
    long result = each_attribute(fs, inode, put_name, &request);
    return result != 0 ? result : request.done;
}

static long put_value(const struct erofs *fs, const struct attribute *attribute, void *context)
{
    struct attribute_request *request = context;
    if (strcmp(attribute->name, request->name) != 0) {
        return 0;
    }
    request->done = attribute->value_size;
    long result = attribute->value_size > request->size
                      ? 0
                      : load(fs, attribute->value, request->to, attribute->value_size);
    return result != 0 ? result : 1;
}

long erofs_get_attribute(const struct erofs *fs, const struct erofs_inode *inode, const char *name,
                         void *to, size_t size)
{
    struct attribute_request request = {.name = name, .to = to, .size = size};
    long result = each_attribute(fs, inode, put_value, &request);
    return result == 1 ? request.done : result == 0 ? -ENODATA : result;
}
