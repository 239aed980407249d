/* SPDX-License-Identifier: MIT */
/* Names and what they stand for. A struct dentry is one name in one directory; all dentries hang in
 * one tree and one hash table, under dentry_lock (vfs.c). Of a file system in memory (tmpfs) the
 * dentries are the directory itself: each is pinned. Of others they are a cache. A struct inode is
 * the file. A dentry without inode that is pinned is a whiteout: it hides the name that the
 * read-only layer below has. Changes of names in one file system are serialised by its change_lock.
 */
#pragma once

#include <linux/stat.h>

#include "core/fs/file.h"
#include "core/fs/stat.h"
#include "core/sched/sched.h"

struct filesystem;
struct statfs;

/* Attributes to set, of which `what` names those that count. */
enum { SET_MODE = 1, SET_UID = 2, SET_GID = 4, SET_ATIME = 8, SET_MTIME = 16 };

struct inode_changes {
    unsigned what;
    uint32_t mode, uid, gid;
    int64_t atime, mtime; /* ns since 1970 */
    bool atime_now, mtime_now;
};

/* What a new inode is to be. */
struct inode_request {
    uint32_t mode; /* type and permissions */
    uint64_t rdev;
    const char *target; /* of a symbolic link */
    const char *name;   /* the last component; NULL: no name (O_TMPFILE) */
    size_t length;
};

/* Gets one name of a directory; false: stop before this one. */
typedef bool list_emit_fn(void *context, const char *name, size_t length, uint64_t number,
                          unsigned type, uint64_t next);

struct inode_operations {
    /* The inode of a name that has no dentry, with a reference: -ENOENT. Absent: every name has a
     * dentry. */
    int (*lookup)(struct inode *directory, const char *name, size_t length, struct inode **out);
    int (*create)(struct inode *directory, const struct inode_request *request, struct inode **out);
    /* Absent where the dentries are the directory: what else a change of names takes. The caller
     * holds change_lock and changes the dentries once it is done. */
    int (*link)(struct inode *directory, const char *name, size_t length, struct inode *inode);
    int (*remove)(struct inode *directory, const char *name, size_t length, bool is_directory);
    int (*rename)(struct inode *from, const char *old, size_t old_length, struct inode *to,
                  const char *name, size_t length);
    /* Brings the attributes of an inode up to date that others may change too, and sets them.
     * Absent: those in memory are the ones. */
    int (*refresh)(struct inode *inode);
    int (*change)(struct inode *inode, const struct inode_changes *changes);
    /* Names that have no dentry of their own making, from *position on; advances *position. */
    int (*list)(struct inode *directory, uint64_t *position, list_emit_fn *emit, void *context);
    /* The target, not terminated: its whole length, of which at most `size` bytes were written. */
    long (*read_link)(struct inode *inode, char *to, size_t size);
    /* For links that lead to an open file whatever their text says: a new reference. */
    int (*follow)(struct inode *inode, struct file **out);
    /* Sets file->operations, data and offset_lock. Of directories only where names are `remote`. */
    int (*open)(struct inode *inode, struct file *file);
    int (*truncate)(struct inode *inode, uint64_t size);
    /* Extended attributes, absent where there are none: all names, each with its NUL, and the value
     * of one (-ENODATA). The length; nothing is written when it is more than `size`. */
    long (*list_attributes)(struct inode *inode, char *to, size_t size);
    long (*get_attribute)(struct inode *inode, const char *name, void *to, size_t size);
    void (*release)(struct inode *inode);
};

enum {
    INODE_LOWER = 1, /* stands for one of the read-only layer */
    INODE_DIRTY = 2, /* and differs from it, so it holds a reference to itself while it has names */
    INODE_VOLATILE = 4, /* its name is looked up afresh each time */
    INODE_LINKABLE = 8, /* it has no name yet and may get one (O_TMPFILE) */
};

struct inode {
    const struct inode_operations *operations;
    struct filesystem *filesystem;
    uint32_t references; /* atomic */
    uint32_t mode;
    uint32_t uid, gid;
    uint32_t links; /* change_lock; 0 for a directory that was removed */
    uint32_t flags; /* INODE_ bits; change_lock or dentry_lock */
    uint64_t rdev;
    uint64_t number;
    uint64_t size;                      /* lock */
    uint64_t pages;                     /* of memory that hold its contents; the owner's lock */
    int64_t atime, mtime, ctime, birth; /* ns since 1970 */
    struct rwlock lock;                 /* the contents */
    struct inotify_watch *watches;      /* core/fs/inotify.c */
    void *data;                         /* a named pipe's struct pipe; the owner's */
};

enum {
    DENTRY_HASHED = 1, /* can be found */
    DENTRY_PINNED = 2, /* holds a reference to itself */
    DENTRY_UPPER = 4,  /* made here, so not among what `list` gives */
};

struct dentry {
    struct dentry *parent; /* with a reference; the root's is itself; changed under dentry_lock and
                              change_lock */
    struct inode *inode;   /* NULL: a whiteout */
    struct dentry *hash_next;
    struct list siblings, children, idle;
    struct dentry *mounted; /* the root mounted on it */
    uint64_t cookie;        /* place among its siblings, ascending */
    uint32_t references;    /* atomic; from 0 only under dentry_lock */
    uint32_t hash;
    uint8_t flags;
    uint8_t length;
    char *name; /* not terminated */
    char short_name[30];
};

struct filesystem {
    const char *type;
    uint64_t device;
    uint32_t magic;
    bool read_only;
    bool in_memory; /* dentries are the directory */
    bool remote;    /* others change names and files too: nothing that is cached is believed */
    struct mutex change_lock;
    struct dentry *root;
    struct dentry *covered; /* where it is mounted; NULL: the root */
    struct filesystem *next;
    const char *source, *options;
    void (*statfs)(struct filesystem *filesystem, struct statfs *out);
    /* Writes back what only memory has. NULL: nothing. */
    void (*sync)(struct filesystem *filesystem);
    void *data;
};

extern struct filesystem *filesystems; /* in the order of mounting; never shrinks */

#define NAME_MAX 255
#define PATH_MAX 4096
#define S_IALLUGO 07777

static inline bool inode_is_directory(const struct inode *inode)
{
    return S_ISDIR(inode->mode);
}

/* --- vfs.c
 * ----------------------------------------------------------------------------------------------------------
 */

void inode_init(struct inode *inode, const struct inode_operations *operations,
                struct filesystem *filesystem, uint32_t mode);
struct inode *inode_get(struct inode *inode);
void inode_put(struct inode *inode);
void inode_stat(struct inode *inode, struct stat *stat);
/* To be called, with change_lock or `lock` held, before something of the inode differs from the
 * layer below. */
void inode_dirty(struct inode *inode);
/* Now, in ns since 1970. */
int64_t inode_now(void);

struct dentry *dentry_get(struct dentry *dentry);
void dentry_put(struct dentry *dentry);

/* The root of a file system, for an inode whose reference it takes over: -ENOMEM. */
int filesystem_init(struct filesystem *filesystem, struct inode *root);
/* Mounts it on a directory ("/" for the first). */
int filesystem_mount(struct filesystem *filesystem, const char *path);

enum {
    WALK_FOLLOW = 1,    /* a symbolic link at the end is followed */
    WALK_PARENT = 2,    /* `parent` and `name` are wanted; the last component need not exist, and a
                           slash after it follows no link */
    WALK_DIRECTORY = 4, /* must be a directory */
    WALK_EMPTY = 8,     /* AT_EMPTY_PATH */
    WALK_NO_LINKS =
        16, /* openat2's RESOLVE_NO_SYMLINKS, _NO_MAGICLINKS, _BENEATH, _IN_ROOT, _NO_XDEV */
    WALK_NO_MAGIC = 32,
    WALK_BENEATH = 64,
    WALK_IN_ROOT = 128,
    WALK_NO_XDEV = 256,
    WALK_FILE = 512, /* the caller looks at walk->file */
    WALK_NEW = 1024, /* with WALK_PARENT: it is an error that the last component exists, whatever
                        it is */
};

struct walk {
    struct dentry *dentry; /* with a reference; NULL: does not exist (WALK_PARENT only) */
    struct dentry *parent; /* with a reference, WALK_PARENT only */
    const char *name;      /* the last component, in `buffer` or the caller's path */
    size_t length; /* 0: the path ended in "/", "." or ".." and has no last component to change */
    bool slash;    /* something follows the last component: only a directory will do */
    struct file
        *file; /* a link that leads to an open file without a name ended here; with a reference */
    char *buffer;
};

/* Resolves `path` from `start`. 0 or -errno; after 0 the caller calls walk_end. */
int walk_path(struct dentry *start, const char *path, unsigned flags, struct walk *walk);
void walk_end(struct walk *walk);

/* Under change_lock: the dentry of a name, from the cache or the file system, with a reference.
 * -ENOENT. */
int dentry_lookup(struct dentry *parent, const char *name, size_t length, struct dentry **out);
/* Under change_lock: changes of names. The caller has checked types, existence and that nothing is
 * a mount point. */
int dentry_create(struct dentry *parent, struct inode_request *request, struct dentry **out);
/* -ENOENT: the inode has lost its last name for good. */
int dentry_link(struct dentry *parent, const char *name, size_t length, struct inode *inode);
int dentry_remove(struct dentry *dentry);
/* `target`: the dentry that has the name now, or NULL. Whoever looks sees the one or the other,
 * never neither. */
int dentry_rename(struct dentry *dentry, struct dentry *parent, const char *name, size_t length,
                  struct dentry *target);
int dentry_exchange(struct dentry *left, struct dentry *right);
bool dentry_is_empty(struct dentry *directory);
/* Whether `ancestor` is `dentry` or above it. */
bool dentry_is_below(struct dentry *dentry, struct dentry *ancestor);
/* A name outside of any directory, for an inode whose reference it takes over. */
int dentry_anonymous(struct filesystem *filesystem, struct inode *inode, struct dentry **out);

/* The absolute path, at the end of `buffer`: its start, or NULL when it does not fit. `deleted`
 * (may be NULL) tells that it has no name any more. */
char *dentry_path(struct dentry *dentry, char *buffer, size_t size, bool *deleted);

/* The directory that has the name, with a reference, and the name as it is now, of at most NAME_MAX
 * bytes, or was before it was removed (*unlinked). NULL: there is none. */
struct inode *dentry_name(struct dentry *dentry, char *name, size_t *length, bool *unlinked);

/* Puts a struct linux_dirent64 into `room` bytes at `to`: its size, or 0 when it does not fit. */
size_t put_dirent(char *to, size_t room, const char *name, size_t length, uint64_t number,
                  unsigned type, uint64_t next);

/* Opens what the dentry stands for; takes a reference of its own. */
int dentry_open(struct dentry *dentry, uint32_t flags, struct file **out);

/* What a path of the program stands for, with a reference. `flags`: WALK_FOLLOW, WALK_DIRECTORY. */
int path_dentry(uintptr_t path, unsigned flags, struct dentry **out);

/* For files that a fresh system has where the root has none of that name: a regular file with this
 * text, a symbolic link to `target`. -EEXIST. */
int default_file(const char *path, const char *text);
int default_link(const char *path, const char *target);

/* For the names of sockets: makes one with `mode` less the umask (-EEXIST), and finds what a path
 * stands for, links followed. The inode comes with a reference. */
int socket_node_make(const char *path, uint32_t mode, struct inode **out);
int socket_node_find(const char *path, struct inode **out);

/* The directory that relative paths start from, with a reference. */
struct dentry *cwd_get(void);
/* Takes over the reference. */
void cwd_set(struct dentry *dentry);

extern struct dentry *root_dentry;
extern const struct file_operations directory_operations;

/* --- the file systems
 * -----------------------------------------------------------------------------------------------
 */

struct erofs;
/* A file system in memory, over a read-only image when `lower` is not NULL. `limit`: pages of data.
 */
int tmpfs_create(struct filesystem **out, struct erofs *lower, uint64_t limit);
/* Device nodes; chr_open sets a new file up for a device number, -ENXIO. */
int devfs_mount(void);
int chr_open(struct inode *inode, struct file *file);
int procfs_mount(void);
int console_open(struct file *file, bool tty);
int fifo_open(struct inode *inode, struct file *file);
void fifo_release(struct inode *inode);
