/* SPDX-License-Identifier: MIT */
/* Files of the host: the file system over a 9P client. Nothing is believed for longer than a call:
 * names are looked up afresh, and attributes read afresh, so that changes made on the host are
 * seen. Inodes are kept by the server's number (`table_lock`), so that all names and open files of
 * a file share one; each has the fid of the name that was looked up last, since QEMU's fids are
 * paths. The inode's sleeping lock orders appending writes and changes of size. */
#include "core/fs/ninep.h"

#include <asm/statfs.h>
#include <linux/fs.h>

#include "core/fs/fs_internal.h"
#include "core/mm/page.h"
#include "core/mm/vm.h"
#include "core/time/clock.h"

#define TABLE 256u
#define DIRECTORY_BUFFER 16384u
#define V9FS_MAGIC 0x01021997

/* protocol.md: getattr's request_mask and setattr's valid */
enum {
    GETATTR_BASIC = 0x7ff,
    SETATTR_MODE = 0x001,
    SETATTR_UID = 0x002,
    SETATTR_GID = 0x004,
    SETATTR_SIZE = 0x008,
    SETATTR_ATIME = 0x010,
    SETATTR_MTIME = 0x020,
    SETATTR_ATIME_SET = 0x080,
    SETATTR_MTIME_SET = 0x100,
};
#define GETATTR_ROOM 153u

/* What of open's flags the server is to know. */
#define OPEN_FLAGS (uint32_t)(O_ACCMODE | O_APPEND | O_SYNC | O_DIRECTORY)

struct ninep {
    struct filesystem filesystem; /* first */
    struct ninep_client client;
    struct spinlock table_lock;
    struct ninep_node *table[TABLE]; /* table_lock */
};

static const struct inode_operations ninep_inode;
static const struct file_operations ninep_file, ninep_directory;

static struct ninep *ninep_of(struct inode *inode)
{
    return (struct ninep *)inode->filesystem;
}

static struct ninep_client *client_of(struct inode *inode)
{
    return &ninep_of(inode)->client;
}

/* With a reference. */
static struct ninep_fid *fid_of(struct inode *inode)
{
    struct ninep_node *node = ninep_node_of(inode);
    spin_lock(&node->lock);
    struct ninep_fid *fid = ninep_fid_get(node->fid);
    spin_unlock(&node->lock);
    return fid;
}

/* --- attributes ------------------------------------------------------------------------------- */

struct attributes {
    struct ninep_qid qid;
    uint32_t mode, uid, gid;
    uint64_t links, rdev, size, block_size, blocks;
    uint64_t times[6]; /* of access, modification, change: seconds, nanoseconds */
};

static int get_attributes(struct ninep_fid *fid, struct attributes *out)
{
    struct ninep_message answer;
    uint64_t valid, *times = out->times;
    int result = ninep_ask(fid->client, &answer, GETATTR_ROOM, NINEP_TGETATTR, "dq", fid->number,
                           (uint64_t)GETATTR_BASIC);
    if (result == 0) {
        bool good =
            ninep_get(&answer, "qQdddqqqqqqqqqqq", &valid, &out->qid, &out->mode, &out->uid,
                      &out->gid, &out->links, &out->rdev, &out->size, &out->block_size,
                      &out->blocks, times, times + 1, times + 2, times + 3, times + 4, times + 5);
        ninep_answer_free(&answer);
        result = good && (int64_t)out->size >= 0 ? 0 : -EIO;
    }
    return result;
}

static int64_t time_of(const uint64_t pair[2])
{
    const int64_t most = INT64_MAX / (int64_t)NS_PER_SECOND - 1;
    int64_t seconds = MAX(MIN((int64_t)pair[0], most), -most);
    return seconds * (int64_t)NS_PER_SECOND + (int64_t)MIN(pair[1], NS_PER_SECOND - 1);
}

static void set_attributes(struct inode *inode, const struct attributes *from)
{
    inode->mode = from->mode;
    inode->uid = from->uid;
    inode->gid = from->gid;
    inode->links = (uint32_t)MAX(MIN(from->links, UINT32_MAX), 1ull);
    inode->rdev = from->rdev;
    __atomic_store_n(&inode->size, from->size, __ATOMIC_RELAXED);
    inode->pages = from->blocks / (PAGE_SIZE / 512);
    inode->atime = time_of(&from->times[0]);
    inode->mtime = time_of(&from->times[2]);
    inode->ctime = time_of(&from->times[4]);
}

/* A file that has no name any more keeps the attributes that are known: QEMU asks for them by the
 * name that it had, which may be another file's now. */
static int refresh_by(struct inode *inode, struct ninep_fid *fid)
{
    struct attributes attributes;
    int result = get_attributes(fid, &attributes);
    if (result == 0 && attributes.qid.path == inode->number &&
        ((attributes.mode ^ inode->mode) & S_IFMT) == 0) {
        set_attributes(inode, &attributes);
    }
    return result == -ENOENT ? 0 : result;
}

static int ninep_refresh(struct inode *inode)
{
    if (__atomic_exchange_n(&ninep_node_of(inode)->fresh, false, __ATOMIC_ACQ_REL)) {
        return 0;
    }
    int result = ninep_pages_sync(ninep_node_of(inode));
    if (result == 0) {
        struct ninep_fid *fid = fid_of(inode);
        result = refresh_by(inode, fid);
        ninep_fid_put(fid);
    }
    return result;
}

/* Times are 0 where the server is to take its own. */
static int send_change(struct ninep_fid *fid, uint32_t valid, const struct inode_changes *changes,
                       uint64_t size)
{
    const int64_t second = (int64_t)NS_PER_SECOND;
    int64_t seconds[2], times[2] = {changes->atime, changes->mtime};
    for (int i = 0; i < 2; i++) {
        seconds[i] = times[i] / second - (times[i] % second < 0);
        times[i] -= seconds[i] * second;
    }
    return ninep_ask(fid->client, NULL, 0, NINEP_TSETATTR, "dddddqqqqq", fid->number, valid,
                     changes->mode & S_IALLUGO, changes->uid, changes->gid, size,
                     (uint64_t)seconds[0], (uint64_t)times[0], (uint64_t)seconds[1],
                     (uint64_t)times[1]);
}

static int ninep_change(struct inode *inode, const struct inode_changes *changes)
{
    unsigned what = changes->what;
    uint32_t valid = ((what & SET_MODE) != 0 ? SETATTR_MODE : 0) |
                     ((what & SET_UID) != 0 ? SETATTR_UID : 0) |
                     ((what & SET_GID) != 0 ? SETATTR_GID : 0) |
                     ((what & SET_ATIME) == 0 ? 0
                      : changes->atime_now    ? SETATTR_ATIME
                                              : SETATTR_ATIME | SETATTR_ATIME_SET) |
                     ((what & SET_MTIME) == 0 ? 0
                      : changes->mtime_now    ? SETATTR_MTIME
                                              : SETATTR_MTIME | SETATTR_MTIME_SET);
    struct ninep_fid *fid = fid_of(inode);
    /* What the mapping has changed so far is older than the times that are set. */
    int result = ninep_pages_sync(ninep_node_of(inode));
    if (result == 0 && valid != 0) {
        result = send_change(fid, valid, changes, 0);
    }
    ninep_fid_put(fid);
    return result;
}

static int resize(struct inode *inode, struct ninep_fid *fid, uint64_t size)
{
    struct ninep_node *node = ninep_node_of(inode);
    const struct inode_changes none = {0};
    int result = ninep_pages_sync(node);
    rwlock_write_lock(&inode->lock);
    if (result == 0) {
        result = send_change(fid, SETATTR_SIZE, &none, size);
    }
    if (result == 0) {
        /* What a mapping has behind the end never becomes part of the file. */
        uint64_t old = __atomic_exchange_n(&inode->size, size, __ATOMIC_RELAXED);
        uint64_t end = MIN(size, old);
        uint64_t whole = (end + PAGE_SIZE - 1) & ~(PAGE_SIZE - 1);
        ninep_pages_update(node, end, NULL, whole - end);
        vm_unmap_file(inode, (size + PAGE_SIZE - 1) & ~(PAGE_SIZE - 1), UINT64_MAX, true);
    }
    rwlock_write_unlock(&inode->lock);
    return result;
}

static int ninep_resize(struct inode *inode, uint64_t size)
{
    struct ninep_fid *fid = fid_of(inode);
    int result = resize(inode, fid, size);
    ninep_fid_put(fid);
    return result;
}

/* --- inodes ----------------------------------------------------------------------------------- */

/* One that is on its way out is passed over: a new one takes its place. */
static struct ninep_node *find_node(struct ninep *fs, const struct ninep_qid *qid)
{
    struct ninep_node *node = fs->table[qid->path % TABLE];
    for (; node != NULL; node = node->next) {
        uint32_t references = __atomic_load_n(&node->inode.references, __ATOMIC_RELAXED);
        while (node->inode.number == qid->path && node->qid_type == qid->type && references != 0) {
            if (__atomic_compare_exchange_n(&node->inode.references, &references, references + 1,
                                            true, __ATOMIC_ACQUIRE, __ATOMIC_RELAXED)) {
                return node;
            }
        }
    }
    return NULL;
}

/* The inode of what a fid stands for; takes the fid over, also when it fails. change_lock is held,
 * so nobody else makes one for the same file. */
static int inode_for(struct ninep *fs, struct ninep_fid *fid, const struct ninep_qid *qid,
                     struct inode **out)
{
    struct attributes attributes;
    spin_lock(&fs->table_lock);
    struct ninep_node *node = find_node(fs, qid);
    spin_unlock(&fs->table_lock);
    if (node != NULL) {
        spin_lock(&node->lock);
        struct ninep_fid *old = node->fid;
        node->fid = fid;
        spin_unlock(&node->lock);
        __atomic_store_n(&node->fresh, false, __ATOMIC_RELEASE);
        ninep_fid_put(old);
        *out = &node->inode;
        return 0;
    }
    int result = get_attributes(fid, &attributes);
    if (result == 0 && (attributes.qid.path != qid->path ||
                        S_ISDIR(attributes.mode) != ((qid->type & NINEP_QID_DIRECTORY) != 0))) {
        result = -EIO;
    }
    node = result == 0 ? kzalloc(sizeof(*node)) : NULL;
    if (node == NULL) {
        ninep_fid_put(fid);
        return result != 0 ? result : -ENOMEM;
    }
    inode_init(&node->inode, &ninep_inode, &fs->filesystem, attributes.mode);
    spinlock_init(&node->lock, LOCK_FILE);
    mutex_init(&node->write_back_lock);
    node->inode.number = qid->path;
    node->qid_type = qid->type;
    node->fid = fid;
    node->fresh = true;
    set_attributes(&node->inode, &attributes);
    spin_lock(&fs->table_lock);
    node->next = fs->table[qid->path % TABLE];
    fs->table[qid->path % TABLE] = node;
    spin_unlock(&fs->table_lock);
    *out = &node->inode;
    return 0;
}

static void ninep_release(struct inode *inode)
{
    struct ninep *fs = ninep_of(inode);
    struct ninep_node *node = ninep_node_of(inode);
    spin_lock(&fs->table_lock);
    struct ninep_node **link = &fs->table[inode->number % TABLE];
    while (*link != node) {
        link = &(*link)->next;
    }
    *link = node->next;
    spin_unlock(&fs->table_lock);
    ninep_fid_put(node->fid);
    if (node->created != NULL) {
        ninep_fid_put(node->created);
    }
    if (S_ISFIFO(inode->mode)) {
        fifo_release(inode);
    }
    kfree(node->pages);
    kfree(node);
}

static int ninep_lookup(struct inode *directory, const char *name, size_t length,
                        struct inode **out)
{
    struct ninep_fid *from = fid_of(directory), *fid;
    struct ninep_qid qid;
    int result = ninep_walk(from, name, length, &fid, &qid);
    ninep_fid_put(from);
    return result != 0 ? result : inode_for(ninep_of(directory), fid, &qid, out);
}

/* Creates a regular file; the fid that is open for it then. */
static int create_open(struct ninep_fid *directory, const struct inode_request *request,
                       struct ninep_fid **out)
{
    int result = ninep_walk(directory, NULL, 0, out, NULL);
    if (result == 0) {
        result = ninep_ask(directory->client, NULL, 13 + 4, NINEP_TLCREATE, "dsddd", (*out)->number,
                           request->name, request->length, O_RDWR | O_CREAT | O_EXCL,
                           request->mode & S_IALLUGO, 0);
        if (result != 0) {
            ninep_fid_put(*out);
        }
    }
    return result;
}

static int ninep_create_inode(struct inode *directory, const struct inode_request *request,
                              struct inode **out)
{
    struct ninep_client *client = client_of(directory);
    struct ninep_fid *created = NULL;
    const char *name = request->name;
    size_t length = request->length;
    uint32_t mode = request->mode;
    if (name == NULL) {
        return -EOPNOTSUPP;
    }
    struct ninep_fid *fid = fid_of(directory);
    int result;
    switch (mode & S_IFMT) {
    case S_IFREG:
        result = create_open(fid, request, &created);
        break;
    case S_IFDIR:
        result = ninep_ask(client, NULL, 13, NINEP_TMKDIR, "dsdd", fid->number, name, length,
                           mode & S_IALLUGO, 0);
        break;
    case S_IFLNK:
        result = ninep_ask(client, NULL, 13, NINEP_TSYMLINK, "dssd", fid->number, name, length,
                           request->target, strlen(request->target), 0);
        break;
    default:
        result =
            ninep_ask(client, NULL, 13, NINEP_TMKNOD, "dsddddd", fid->number, name, length, mode,
                      (uint32_t)(request->rdev >> 8) & 0xfff,
                      (uint32_t)((request->rdev & 0xff) | ((request->rdev >> 12) & 0xfff00)), 0);
    }
    ninep_fid_put(fid);
    if (result == 0) {
        result = ninep_lookup(directory, name, length, out);
    }
    if (created != NULL && result == 0) {
        struct ninep_node *node = ninep_node_of(*out);
        spin_lock(&node->lock);
        struct ninep_fid *old = node->created;
        node->created = created;
        spin_unlock(&node->lock);
        created = old;
    }
    if (created != NULL) {
        ninep_fid_put(created);
    }
    return result;
}

static int ninep_link(struct inode *directory, const char *name, size_t length, struct inode *inode)
{
    struct ninep_fid *to = fid_of(directory), *fid = fid_of(inode);
    int result =
        ninep_ask(to->client, NULL, 0, NINEP_TLINK, "dds", to->number, fid->number, name, length);
    ninep_fid_put(to);
    ninep_fid_put(fid);
    return result;
}

static int ninep_remove(struct inode *directory, const char *name, size_t length, bool is_directory)
{
    struct ninep_fid *fid = fid_of(directory);
    int result = ninep_ask(fid->client, NULL, 0, NINEP_TUNLINKAT, "dsd", fid->number, name, length,
                           is_directory ? AT_REMOVEDIR : 0);
    ninep_fid_put(fid);
    return result;
}

static int ninep_rename(struct inode *from, const char *old, size_t old_length, struct inode *to,
                        const char *name, size_t length)
{
    struct ninep_fid *from_fid = fid_of(from), *to_fid = fid_of(to);
    int result = ninep_ask(to_fid->client, NULL, 0, NINEP_TRENAMEAT, "dsds", from_fid->number, old,
                           old_length, to_fid->number, name, length);
    ninep_fid_put(from_fid);
    ninep_fid_put(to_fid);
    return result;
}

static long ninep_read_link(struct inode *inode, char *to, size_t size)
{
    struct ninep_fid *fid = fid_of(inode);
    struct ninep_message answer;
    const char *target;
    size_t length;
    long result = ninep_ask(fid->client, &answer, 2 + PATH_MAX, NINEP_TREADLINK, "d", fid->number);
    ninep_fid_put(fid);
    if (result == 0) {
        bool good =
            ninep_get(&answer, "s", &target, &length) && memchr(target, '\0', length) == NULL;
        if (good) {
            memcpy(to, target, MIN(length, size));
        }
        result = good ? (long)length : -EIO;
        ninep_answer_free(&answer);
    }
    return result;
}

/* --- extended attributes ---------------------------------------------------------------------- */

/* One attribute, or with "" the names of all. */
static long ninep_get_attribute(struct inode *inode, const char *name, void *to, size_t size)
{
    struct ninep_fid *fid = fid_of(inode), *value;
    struct ninep_message answer;
    uint64_t length = 0;
    long result = ninep_fid_new(fid->client, &value);
    if (result != 0) {
        ninep_fid_put(fid);
        return result;
    }
    result = ninep_ask(fid->client, &answer, 8, NINEP_TXATTRWALK, "dds", fid->number, value->number,
                       name, strlen(name));
    ninep_fid_put(fid);
    if (result != 0) {
        ninep_fid_discard(value);
        return result;
    }
    result = ninep_get(&answer, "q", &length) && length <= 65536 ? 0 : -EIO;
    ninep_answer_free(&answer);
    for (uint64_t at = 0; result == 0 && length <= size && at < length;) {
        long done =
            ninep_transfer(value, NINEP_TREAD, at, (char *)to + at, length - at, &value->scratch);
        result = done > 0 ? 0 : done == 0 ? -EIO : done;
        at += (uint64_t)MAX(done, 0);
    }
    ninep_fid_put(value);
    return result != 0 ? result : (long)length;
}

static long ninep_list_attributes(struct inode *inode, char *to, size_t size)
{
    return ninep_get_attribute(inode, "", to, size);
}

/* --- open files ------------------------------------------------------------------------------- */

static int ninep_open(struct inode *inode, struct file *file)
{
    struct ninep_node *node = ninep_node_of(inode);
    bool directory = inode_is_directory(inode);
    struct ninep_fid *fid = NULL, *from;
    int result = 0;
    if ((file->flags & O_SYNC) == 0) {
        spin_lock(&node->lock);
        fid = node->created;
        node->created = NULL;
        spin_unlock(&node->lock);
    }
    if (fid == NULL) {
        from = fid_of(inode);
        result = ninep_walk(from, NULL, 0, &fid, NULL);
        ninep_fid_put(from);
        if (result == 0) {
            result = ninep_ask(fid->client, NULL, 13 + 4, NINEP_TLOPEN, "dd", fid->number,
                               file->flags & OPEN_FLAGS);
            if (result != 0) {
                ninep_fid_put(fid);
            }
        }
    }
    if (result == 0) {
        file->operations = directory ? &ninep_directory : &ninep_file;
        file->data = fid;
        file_set_seekable(file);
    }
    return result;
}

static void ninep_close(struct file *file)
{
    ninep_fid_put(file->data);
}

/* Memory for the data of requests, as much as there is in one piece, and for what goes with it:
 * the order of its pages, or -ENOMEM. */
static int buffer_alloc(size_t wanted, char **buffer, struct ninep_scratch **scratch)
{
    int order = 0;
    while (PAGE_SIZE << order < MIN(wanted, NINEP_DATA_MAX)) {
        order++;
    }
    *scratch = kmalloc(sizeof(**scratch));
    for (; *scratch != NULL && order >= 0; order--) {
        uint64_t physical = page_alloc((unsigned)order, 0);
        if (physical != 0) {
            *buffer = direct_map(physical);
            return order;
        }
    }
    kfree(*scratch);
    return -ENOMEM;
}

static void buffer_free(char *buffer, int order, struct ninep_scratch *scratch)
{
    page_free(direct_map_physical(buffer), (unsigned)order);
    kfree(scratch);
}

static long ninep_read(struct file *file, struct io_vector *io, uint64_t *offset)
{
    struct ninep_scratch *scratch;
    char *buffer;
    long total = 0, done = ninep_pages_sync(ninep_node_of(file->inode));
    if (done != 0 || io->remaining == 0) {
        return done;
    }
    int order = buffer_alloc(io->remaining, &buffer, &scratch);
    if (order < 0) {
        return order;
    }
    while (io->remaining != 0) {
        size_t piece = MIN(io->remaining, PAGE_SIZE << order);
        done = ninep_transfer(file->data, NINEP_TREAD, *offset, buffer, piece, scratch);
        if (done <= 0) {
            break;
        }
        int error = io_copy_to(io, buffer, (size_t)done);
        if (error != 0) {
            done = error;
            break;
        }
        *offset += (uint64_t)done;
        total += done;
        if ((size_t)done < MIN(piece, ((struct ninep_fid *)file->data)->client->data_max)) {
            break;
        }
    }
    buffer_free(buffer, order, scratch);
    return total != 0 ? total : done;
}

/* The inode's lock is held, for writing when the file is appended to. */
static long write_pieces(struct file *file, struct io_vector *io, uint64_t *offset, char *buffer,
                         size_t size, struct ninep_scratch *scratch)
{
    struct inode *inode = file->inode;
    long total = 0, done = 0;
    while (io->remaining != 0) {
        size_t before = io->remaining;
        int error = io_copy_from(io, buffer, MIN(MIN(before, size), client_of(inode)->data_max));
        size_t piece = before - io->remaining;
        if (piece == 0) {
            done = error;
            break;
        }
        done = ninep_transfer(file->data, NINEP_TWRITE, *offset, buffer, piece, scratch);
        if (done <= 0) {
            break;
        }
        ninep_pages_update(ninep_node_of(inode), *offset, buffer, (size_t)done);
        *offset += (uint64_t)done;
        total += done;
        uint64_t known = __atomic_load_n(&inode->size, __ATOMIC_RELAXED);
        while (known < *offset &&
               !__atomic_compare_exchange_n(&inode->size, &known, *offset, true, __ATOMIC_RELAXED,
                                            __ATOMIC_RELAXED)) {
        }
        if ((size_t)done < piece || error != 0) {
            break;
        }
    }
    return total != 0 ? total : done;
}

static long ninep_write(struct file *file, struct io_vector *io, uint64_t *offset)
{
    struct inode *inode = file->inode;
    bool append = (file->flags & O_APPEND) != 0;
    struct ninep_scratch *scratch;
    char *buffer;
    if (io->remaining == 0) {
        return 0;
    }
    int order = buffer_alloc(io->remaining, &buffer, &scratch);
    if (order < 0) {
        return order;
    }
    long done = 0;
    if (append) {
        rwlock_write_lock(&inode->lock);
        done = refresh_by(inode, file->data);
        *offset = inode->size;
    } else {
        rwlock_read_lock(&inode->lock);
    }
    if (done == 0) {
        done = write_pieces(file, io, offset, buffer, PAGE_SIZE << order, scratch);
    }
    if (append) {
        rwlock_write_unlock(&inode->lock);
    } else {
        rwlock_read_unlock(&inode->lock);
    }
    buffer_free(buffer, order, scratch);
    return done;
}

static int ninep_stat(struct file *file, struct stat *stat)
{
    int result = ninep_pages_sync(ninep_node_of(file->inode));
    if (result == 0) {
        result = refresh_by(file->inode, file->data);
    }
    if (result == 0) {
        inode_stat(file->inode, stat);
    }
    return result;
}

static int ninep_truncate(struct file *file, uint64_t size)
{
    return resize(file->inode, file->data, size);
}

static int ninep_sync(struct file *file)
{
    const struct ninep_fid *fid = file->data;
    int result = ninep_pages_sync(ninep_node_of(file->inode));
    return result != 0 ? result
                       : ninep_ask(fid->client, NULL, 0, NINEP_TFSYNC, "dd", fid->number, 0);
}

static long ninep_seek(struct file *file, uint64_t offset, int whence)
{
    int result = refresh_by(file->inode, file->data);
    uint64_t size = file->inode->size;
    return result != 0           ? result
           : whence == SEEK_END  ? (long)size
           : offset >= size      ? -ENXIO
           : whence == SEEK_HOLE ? (long)size
                                 : (long)offset;
}

/* --- directories ------------------------------------------------------------------------------ */

/* Turns the server's entries into the program's, as many as fit: bytes written to `to`, or
 * -EINVAL when not even the first fits. */
static long translate(struct ninep_message *entries, char *to, size_t room, uint64_t *offset)
{
    size_t used = 0;
    struct ninep_qid qid;
    uint64_t next;
    uint8_t type;
    const char *name;
    size_t length;
    while (entries->at < entries->size) {
        if (!ninep_get(entries, "Qqbs", &qid, &next, &type, &name, &length)) {
            return used != 0 ? (long)used : -EIO;
        }
        bool bad = length == 0 || length > NAME_MAX || memchr(name, '/', length) != NULL ||
                   memchr(name, '\0', length) != NULL;
        size_t size =
            bad ? 0 : put_dirent(to + used, room - used, name, length, qid.path, type, next);
        if (!bad && size == 0) {
            return used != 0 ? (long)used : -EINVAL;
        }
        used += size;
        *offset = next;
    }
    return (long)used;
}

static long ninep_list(struct file *file, struct io_vector *io, uint64_t *offset)
{
    struct ninep_scratch *scratch = kmalloc(sizeof(*scratch));
    size_t room = MIN(io->remaining, DIRECTORY_BUFFER / 2);
    char *buffer = kmalloc(DIRECTORY_BUFFER);
    uint64_t next = *offset;
    long done = scratch == NULL || buffer == NULL ? -ENOMEM : 1, length = 0;
    /* Again where all names were bad. */
    while (done > 0 && length == 0) {
        done =
            ninep_transfer(file->data, NINEP_TREADDIR, next, buffer, DIRECTORY_BUFFER / 2, scratch);
        if (done > 0) {
            struct ninep_message entries = {.bytes = (uint8_t *)buffer, .size = (size_t)done};
            length = translate(&entries, buffer + DIRECTORY_BUFFER / 2, room, &next);
        }
    }
    if (done > 0 && length > 0) {
        done = io_copy_to(io, buffer + DIRECTORY_BUFFER / 2, (size_t)length);
        done = done == 0 ? length : done;
    } else if (done > 0) {
        done = length;
    }
    if (done > 0) {
        *offset = next;
    }
    kfree(buffer);
    kfree(scratch);
    return done;
}

/* --- tables ----------------------------------------------------------------------------------- */

static const struct inode_operations ninep_inode = {
    .lookup = ninep_lookup,
    .create = ninep_create_inode,
    .link = ninep_link,
    .remove = ninep_remove,
    .rename = ninep_rename,
    .refresh = ninep_refresh,
    .change = ninep_change,
    .read_link = ninep_read_link,
    .open = ninep_open,
    .truncate = ninep_resize,
    .list_attributes = ninep_list_attributes,
    .get_attribute = ninep_get_attribute,
    .release = ninep_release,
};

static const struct file_operations ninep_file = {
    .read = ninep_read,
    .write = ninep_write,
    .stat = ninep_stat,
    .truncate = ninep_truncate,
    .sync = ninep_sync,
    .seek = ninep_seek,
    .map_page = ninep_map_page,
    .unmap_page = ninep_unmap_page,
    .release = ninep_close,
};

static const struct file_operations ninep_directory = {
    .readdir = ninep_list,
    .stat = ninep_stat,
    .sync = ninep_sync,
    .release = ninep_close,
};

/* --- the file system -------------------------------------------------------------------------- */

static void ninep_statfs(struct filesystem *filesystem, struct statfs *out)
{
    struct ninep_fid *fid = fid_of(filesystem->root->inode);
    struct ninep_message answer;
    uint32_t type, block_size, name_max;
    uint64_t blocks, free, available, files, free_files, id;
    if (ninep_ask(fid->client, &answer, 60, NINEP_TSTATFS, "d", fid->number) == 0) {
        if (ninep_get(&answer, "ddqqqqqqd", &type, &block_size, &blocks, &free, &available, &files,
                      &free_files, &id, &name_max)) {
            out->f_bsize = out->f_frsize = block_size;
            out->f_blocks = (long)blocks;
            out->f_bfree = (long)free;
            out->f_bavail = (long)available;
            out->f_files = (long)files;
            out->f_ffree = (long)free_files;
        }
        ninep_answer_free(&answer);
    }
    ninep_fid_put(fid);
}

static void ninep_sync_all(struct filesystem *filesystem)
{
    struct ninep *fs = (struct ninep *)filesystem;
    for (unsigned i = 0; i < TABLE; i++) {
        struct inode *held = NULL;
        spin_lock(&fs->table_lock);
        for (struct ninep_node *node = fs->table[i]; node != NULL; node = node->next) {
            uint32_t references = __atomic_load_n(&node->inode.references, __ATOMIC_RELAXED);
            while (node->writable != 0 && references != 0 &&
                   !__atomic_compare_exchange_n(&node->inode.references, &references,
                                                references + 1, true, __ATOMIC_ACQUIRE,
                                                __ATOMIC_RELAXED)) {
            }
            if (node->writable == 0 || references == 0) {
                continue;
            }
            spin_unlock(&fs->table_lock);
            if (held != NULL) {
                inode_put(held);
            }
            /* Its reference keeps it in the list. */
            held = &node->inode;
            (void)ninep_pages_sync(node);
            spin_lock(&fs->table_lock);
        }
        spin_unlock(&fs->table_lock);
        if (held != NULL) {
            inode_put(held);
        }
    }
}

int ninep_create(struct filesystem **out, struct ninep_channel *channel, bool writable)
{
    struct ninep *fs = kzalloc(sizeof(*fs));
    struct ninep_qid qid;
    struct ninep_fid *fid;
    struct inode *root;
    if (fs == NULL) {
        return -ENOMEM;
    }
    fs->filesystem.type = "9p";
    fs->filesystem.source = channel->tag;
    fs->filesystem.options = writable ? "rw" : "ro";
    fs->filesystem.magic = V9FS_MAGIC;
    fs->filesystem.read_only = !writable;
    fs->filesystem.remote = true;
    fs->filesystem.statfs = ninep_statfs;
    fs->filesystem.sync = ninep_sync_all;
    spinlock_init(&fs->table_lock, LOCK_FILE);
    /* What has failed stays: the server may have its client's memory yet. */
    int result = ninep_connect(&fs->client, channel, &fid, &qid);
    if (result == 0) {
        result = inode_for(fs, fid, &qid, &root);
    }
    if (result == 0 && !inode_is_directory(root)) {
        result = -ENOTDIR;
    }
    if (result == 0) {
        result = filesystem_init(&fs->filesystem, root);
    }
    if (result == 0) {
        *out = &fs->filesystem;
    }
    return result;
}
