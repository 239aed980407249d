/* SPDX-License-Identifier: MIT */
/* System calls on names and attributes: the *at family and what is built like it. Owns the
 * process's umask. */
#include <asm/statfs.h>
#include <linux/falloc.h>
#include <linux/fs.h>
#include <linux/openat2.h>
#include <linux/stat.h>
#include <linux/xattr.h>

#include "core/block/block.h"
#include "core/fs/fs.h"
#include "core/fs/fs_internal.h"
#include "core/fs/inode.h"
#include "core/fs/notify.h"
#include "core/mm/page.h"
#include "core/time/clock.h"

#define LARGE_FILE 0100000 /* O_LARGEFILE as F_GETFL shows it on x86_64 */

static uint32_t process_umask = 022;

uint32_t fs_umask(void)
{
    return __atomic_load_n(&process_umask, __ATOMIC_RELAXED);
}

/* --- paths from the program
 * ----------------------------------------------------------------------------------------- */

struct user_path {
    char *text;
    char few[192];
};

static int path_copy(struct user_path *path, uintptr_t address)
{
    path->text = path->few;
    long length = copy_string_from_user(path->few, address, sizeof(path->few));
    if (length == -ENAMETOOLONG) {
        path->text = kmalloc(PATH_MAX);
        length =
            path->text == NULL ? -ENOMEM : copy_string_from_user(path->text, address, PATH_MAX);
    }
    if (length < 0 && path->text != path->few) {
        kfree(path->text);
    }
    return length < 0 ? (int)length : 0;
}

static void path_free(struct user_path *path)
{
    if (path->text != path->few) {
        kfree(path->text);
    }
}

/* Where a relative path starts, with a reference. With an empty path any file will do, else only a
 * directory. */
static int start_of(int directory, const char *text, unsigned flags, struct dentry **out)
{
    struct file *file;
    if (text[0] == '/' && (flags & (WALK_IN_ROOT | WALK_BENEATH)) == 0) {
        *out = dentry_get(root_dentry);
        return 0;
    }
    if (directory == AT_FDCWD) {
        *out = cwd_get();
        return 0;
    }
    int result = fd_lookup_any(directory, &file);
    if (result != 0) {
        return result;
    }
    bool empty = text[0] == '\0' && (flags & WALK_EMPTY) != 0;
    result = file->dentry == NULL                       ? (empty ? -EINVAL : -ENOTDIR)
             : empty || inode_is_directory(file->inode) ? 0
                                                        : -ENOTDIR;
    if (result == 0) {
        *out = dentry_get(file->dentry);
    }
    file_put(file);
    return result;
}

static int walk_text(int directory, const char *text, unsigned flags, struct walk *walk)
{
    struct dentry *start;
    int result = start_of(directory, text, flags, &start);
    if (result == 0) {
        result = walk_path(start, text, flags, walk);
        dentry_put(start);
    }
    return result;
}

/* Copies the path and resolves it. After 0 the caller calls walk_end and path_free. */
static int walk_user(int directory, uintptr_t address, unsigned flags, struct user_path *path,
                     struct walk *walk)
{
    int result = path_copy(path, address);
    if (result == 0) {
        result = walk_text(directory, path->text, flags, walk);
        if (result != 0) {
            path_free(path);
        }
    }
    return result;
}

static void finish(struct user_path *path, struct walk *walk)
{
    walk_end(walk);
    path_free(path);
}

int path_dentry(uintptr_t address, unsigned flags, struct dentry **out)
{
    struct user_path path;
    struct walk walk;
    int result = walk_user(AT_FDCWD, address, flags, &path, &walk);
    if (result == 0) {
        *out = dentry_get(walk.dentry);
        finish(&path, &walk);
    }
    return result;
}

static unsigned walk_flags(unsigned at_flags)
{
    return ((at_flags & AT_SYMLINK_NOFOLLOW) != 0 ? 0 : WALK_FOLLOW) |
           ((at_flags & AT_EMPTY_PATH) != 0 ? WALK_EMPTY : 0);
}

/* --- open
 * -----------------------------------------------------------------------------------------------------------
 */

/* Checks what may be opened how, and opens it. */
static int open_dentry(struct dentry *dentry, uint32_t flags, bool created, struct file **out)
{
    struct inode *inode = dentry->inode;
    bool writes = (flags & O_ACCMODE) != O_RDONLY;
    if ((flags & O_DIRECTORY) != 0 && !inode_is_directory(inode)) {
        return S_ISLNK(inode->mode) ? -ELOOP : -ENOTDIR;
    }
    if ((flags & O_PATH) != 0) {
        return dentry_open(dentry, O_PATH, out);
    }
    if (S_ISLNK(inode->mode)) {
        return -ELOOP;
    }
    if (inode_is_directory(inode) && (writes || (flags & (O_CREAT | O_TRUNC)) != 0)) {
        return -EISDIR;
    }
    bool truncate = (flags & O_TRUNC) != 0 && S_ISREG(inode->mode) && !created;
    if (S_ISREG(inode->mode) && (writes || truncate) && inode->filesystem->read_only) {
        return -EROFS;
    }
    uint32_t status = flags & ~(uint32_t)(O_CREAT | O_EXCL | O_NOCTTY | O_TRUNC | O_CLOEXEC);
    int result = dentry_open(dentry, status | LARGE_FILE, out);
    if (result == 0 && truncate && (inode->size != 0 || inode->filesystem->remote)) {
        result = inode->operations->truncate == NULL ? 0 : inode->operations->truncate(inode, 0);
        if (result != 0) {
            file_put(*out);
        }
    }
    if (result == 0 && truncate) {
        notify_dentry(dentry, IN_MODIFY);
    }
    return result;
}

/* Creates the file a walk has not found: -EEXIST when somebody was faster. */
static int create_at(struct walk *walk, struct inode_request *request, struct dentry **out)
{
    struct filesystem *filesystem = walk->parent->inode->filesystem;
    struct dentry *other;
    if (filesystem->read_only) {
        return -EROFS;
    }
    request->name = walk->name;
    request->length = walk->length;
    mutex_lock(&filesystem->change_lock);
    int result = dentry_lookup(walk->parent, walk->name, walk->length, &other);
    if (result == 0) {
        dentry_put(other);
        result = -EEXIST;
    } else if (result == -ENOENT) {
        result = dentry_create(walk->parent, request, out);
    }
    mutex_unlock(&filesystem->change_lock);
    return result;
}

static int open_unnamed(struct dentry *directory, uint32_t flags, uint32_t mode, struct file **out)
{
    struct inode_request request = {.mode = S_IFREG | (mode & S_IALLUGO & ~process_umask)};
    struct inode *inode, *parent = directory->inode;
    struct dentry *dentry;
    if (!inode_is_directory(parent)) {
        return -ENOTDIR;
    }
    if ((flags & O_ACCMODE) == O_RDONLY) {
        return -EINVAL;
    }
    if (parent->operations->create == NULL) {
        return -EOPNOTSUPP;
    }
    if (parent->filesystem->read_only) {
        return -EROFS;
    }
    int result = parent->operations->create(parent, &request, &inode);
    if (result != 0) {
        return result;
    }
    inode->links = 0;
    inode->flags |= (flags & O_EXCL) == 0 ? INODE_LINKABLE : 0;
    result = dentry_anonymous(parent->filesystem, inode, &dentry);
    if (result == 0) {
        result = open_dentry(dentry, flags & ~(uint32_t)O_TMPFILE, true, out);
        dentry_put(dentry);
    }
    return result;
}

/* A magic link to a pipe or such: the same description again, if it was opened for this. */
static int reopen(struct file *file, uint32_t flags, struct file **out)
{
    uint32_t have = file->flags & O_ACCMODE, want = flags & O_ACCMODE;
    if (have != O_RDWR && have != want) {
        return -EACCES;
    }
    *out = file_get(file);
    return 0;
}

static int open_text(int directory, const char *text, uint32_t flags, uint32_t mode,
                     unsigned resolve, struct file **out)
{
    struct walk walk;
    struct dentry *dentry = NULL;
    bool create = (flags & O_CREAT) != 0 && (flags & O_PATH) == 0,
         unnamed = (flags & __O_TMPFILE) != 0;
    unsigned how = resolve | WALK_FILE;
    if ((flags & O_NOFOLLOW) == 0 && (!create || (flags & O_EXCL) == 0)) {
        how |= WALK_FOLLOW;
    }
    how |= create ? WALK_PARENT : 0;
    for (;;) {
        int result = walk_text(directory, text, how, &walk);
        if (result != 0) {
            return result;
        }
        bool created = false;
        if (unnamed) {
            result = walk.dentry == NULL ? -ENOTDIR : open_unnamed(walk.dentry, flags, mode, out);
        } else if (walk.file != NULL) {
            result = reopen(walk.file, flags, out);
        } else if (walk.dentry != NULL) {
            result = create && (flags & O_EXCL) != 0 ? -EEXIST : 0;
            dentry = walk.dentry;
        } else if (walk.slash) {
            result = -EISDIR;
        } else {
            struct inode_request request = {.mode = S_IFREG | (mode & S_IALLUGO & ~process_umask)};
            result = create_at(&walk, &request, &dentry);
            created = result == 0;
            if (result == -EEXIST && (flags & O_EXCL) == 0) {
                walk_end(&walk);
                continue;
            }
        }
        if (result == 0 && dentry != NULL) {
            result = open_dentry(dentry, flags, created, out);
        }
        if (created) {
            dentry_put(dentry);
        }
        walk_end(&walk);
        return result;
    }
}

static long open_user(int directory, uintptr_t address, uint32_t flags, uint32_t mode,
                      unsigned resolve)
{
    struct user_path path;
    struct file *file;
    if ((flags & O_PATH) != 0) {
        flags &= O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC;
    }
    if ((flags & __O_TMPFILE) != 0 && (flags & O_DIRECTORY) == 0) {
        return -EINVAL;
    }
    if ((flags & (O_CREAT | O_DIRECTORY)) == (O_CREAT | O_DIRECTORY)) {
        return -EINVAL;
    }
    int result = path_copy(&path, address);
    if (result != 0) {
        return result;
    }
    result = open_text(directory, path.text, flags, mode, resolve, &file);
    path_free(&path);
    if (result == 0 && (flags & O_PATH) == 0) {
        notify_file(file, IN_OPEN);
    }
    return result != 0 ? result : fd_install(file, (flags & O_CLOEXEC) != 0, 0);
}

long sys_open(struct syscall_args *a)
{
    return open_user(AT_FDCWD, a->arg[0], (uint32_t)a->arg[1], (uint32_t)a->arg[2], 0);
}

long sys_openat(struct syscall_args *a)
{
    return open_user((int)a->arg[0], a->arg[1], (uint32_t)a->arg[2], (uint32_t)a->arg[3], 0);
}

long sys_creat(struct syscall_args *a)
{
    return open_user(AT_FDCWD, a->arg[0], O_CREAT | O_WRONLY | O_TRUNC, (uint32_t)a->arg[1], 0);
}

long sys_openat2(struct syscall_args *a)
{
    static const struct {
        uint64_t resolve;
        unsigned walk;
    } table[] = {
        {RESOLVE_NO_XDEV, WALK_NO_XDEV},
        {RESOLVE_NO_MAGICLINKS, WALK_NO_MAGIC},
        {RESOLVE_NO_SYMLINKS, WALK_NO_LINKS},
        {RESOLVE_BENEATH, WALK_BENEATH | WALK_NO_MAGIC},
        {RESOLVE_IN_ROOT, WALK_IN_ROOT | WALK_NO_MAGIC},
    };
    struct open_how how;
    unsigned resolve = 0;
    if (a->arg[3] < sizeof(how)) {
        return -EINVAL;
    }
    if (a->arg[3] > sizeof(how)) {
        return -E2BIG;
    }
    if (copy_from_user(&how, a->arg[2], sizeof(how)) != 0) {
        return -EFAULT;
    }
    for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
        if ((how.resolve & table[i].resolve) != 0) {
            resolve |= table[i].walk;
            how.resolve &= ~table[i].resolve;
        }
    }
    bool creates = (how.flags & (O_CREAT | __O_TMPFILE)) != 0;
    if (how.resolve != 0 || how.flags > UINT32_MAX || (how.mode & ~(uint64_t)S_IALLUGO) != 0 ||
        (!creates && how.mode != 0) ||
        (resolve & (WALK_BENEATH | WALK_IN_ROOT)) == (WALK_BENEATH | WALK_IN_ROOT)) {
        return -EINVAL;
    }
    return open_user((int)a->arg[0], a->arg[1], (uint32_t)how.flags, (uint32_t)how.mode, resolve);
}

int memfd_open(struct file **out, uint32_t flags)
{
    return open_unnamed(root_dentry, O_RDWR | O_EXCL | flags, 0777, out);
}

long sys_memfd_create(struct syscall_args *a)
{
    enum { CLOEXEC = 1 };
    char name[250];
    struct file *file;
    long length = copy_string_from_user(name, a->arg[0], sizeof(name));
    if (length < 0) {
        return length == -ENAMETOOLONG ? -EINVAL : length;
    }
    if ((a->arg[1] & ~(uint64_t)CLOEXEC) != 0) {
        return -EINVAL;
    }
    int result = memfd_open(&file, 0);
    return result != 0 ? result : fd_install(file, a->arg[1] != 0, 0);
}

/* --- making and removing names
 * -------------------------------------------------------------------------------------- */

/* `out`: what was made, with a reference. */
static int make_at(int directory, const char *text, struct inode_request *request,
                   struct dentry **out)
{
    struct walk walk;
    int result = walk_text(directory, text, WALK_PARENT | WALK_NEW, &walk);
    if (result != 0) {
        return result;
    }
    if (walk.dentry != NULL) {
        result = -EEXIST;
    } else if (walk.slash && !S_ISDIR(request->mode)) {
        result = -ENOENT;
    } else {
        result = create_at(&walk, request, out);
    }
    walk_end(&walk);
    return result;
}

/* `target`: text of a symbolic link. */
static long make(int directory, uintptr_t address, uint32_t mode, uint64_t rdev, const char *target)
{
    struct inode_request request = {.mode = mode, .rdev = rdev, .target = target};
    struct user_path path;
    struct dentry *dentry;
    int result = path_copy(&path, address);
    if (result == 0) {
        result = make_at(directory, path.text, &request, &dentry);
        path_free(&path);
    }
    if (result == 0) {
        dentry_put(dentry);
    }
    return result;
}

int socket_node_make(const char *path, uint32_t mode, struct inode **out)
{
    struct inode_request request = {.mode = S_IFSOCK | (mode & ~process_umask)};
    struct dentry *dentry;
    int result = make_at(AT_FDCWD, path, &request, &dentry);
    if (result == 0) {
        *out = inode_get(dentry->inode);
        dentry_put(dentry);
    }
    return result;
}

int default_file(const char *path, const char *text)
{
    struct file *file;
    int result = open_text(AT_FDCWD, path, O_CREAT | O_EXCL | O_WRONLY, 0644, 0, &file);
    if (result == 0) {
        long done = file_write(file, text, strlen(text), NULL);
        result = done < 0 ? (int)done : 0;
        file_put(file);
    }
    return result;
}

int default_link(const char *path, const char *target)
{
    struct inode_request request = {.mode = S_IFLNK | 0777, .target = target};
    struct dentry *dentry;
    int result = make_at(AT_FDCWD, path, &request, &dentry);
    if (result == 0) {
        dentry_put(dentry);
    }
    return result;
}

int socket_node_find(const char *path, struct inode **out)
{
    struct walk walk;
    int result = walk_text(AT_FDCWD, path, WALK_FOLLOW, &walk);
    if (result == 0) {
        *out = inode_get(walk.dentry->inode);
        walk_end(&walk);
    }
    return result;
}

static uint32_t masked(uint64_t mode)
{
    return (uint32_t)mode & 01777 & ~process_umask;
}

long sys_mkdir(struct syscall_args *a)
{
    return make(AT_FDCWD, a->arg[0], S_IFDIR | masked(a->arg[1]), 0, NULL);
}

long sys_mkdirat(struct syscall_args *a)
{
    return make((int)a->arg[0], a->arg[1], S_IFDIR | masked(a->arg[2]), 0, NULL);
}

static long make_node(int directory, uintptr_t address, uint32_t mode, uint64_t rdev)
{
    uint32_t type = mode & S_IFMT;
    type = type == 0 ? S_IFREG : type;
    if (type == S_IFDIR) {
        return -EPERM;
    }
    if (type != S_IFREG && type != S_IFCHR && type != S_IFBLK && type != S_IFIFO &&
        type != S_IFSOCK) {
        return -EINVAL;
    }
    return make(directory, address, type | (mode & S_IALLUGO & ~process_umask), (uint32_t)rdev,
                NULL);
}

long sys_mknod(struct syscall_args *a)
{
    return make_node(AT_FDCWD, a->arg[0], (uint32_t)a->arg[1], a->arg[2]);
}

long sys_mknodat(struct syscall_args *a)
{
    return make_node((int)a->arg[0], a->arg[1], (uint32_t)a->arg[2], a->arg[3]);
}

static long make_symlink(uintptr_t target, int directory, uintptr_t address)
{
    struct user_path text;
    long result = path_copy(&text, target);
    if (result == 0) {
        result =
            text.text[0] == '\0' ? -ENOENT : make(directory, address, S_IFLNK | 0777, 0, text.text);
        path_free(&text);
    }
    return result;
}

long sys_symlink(struct syscall_args *a)
{
    return make_symlink(a->arg[0], AT_FDCWD, a->arg[1]);
}

long sys_symlinkat(struct syscall_args *a)
{
    return make_symlink(a->arg[0], (int)a->arg[1], a->arg[2]);
}

static long make_link(int old_directory, uintptr_t old, int new_directory, uintptr_t new,
                      unsigned flags)
{
    struct user_path old_path, new_path;
    struct walk from, to;
    if ((flags & ~(unsigned)(AT_SYMLINK_FOLLOW | AT_EMPTY_PATH)) != 0) {
        return -EINVAL;
    }
    unsigned how = ((flags & AT_SYMLINK_FOLLOW) != 0 ? WALK_FOLLOW : 0) |
                   ((flags & AT_EMPTY_PATH) != 0 ? WALK_EMPTY : 0);
    int result = walk_user(old_directory, old, how, &old_path, &from);
    if (result != 0) {
        return result;
    }
    result = walk_user(new_directory, new, WALK_PARENT | WALK_NEW, &new_path, &to);
    if (result == 0) {
        struct inode *inode = from.dentry->inode;
        struct filesystem *filesystem = inode->filesystem;
        struct dentry *other;
        if (to.dentry != NULL) {
            result = -EEXIST;
        } else if (to.parent->inode->filesystem != filesystem) {
            result = -EXDEV;
        } else if (filesystem->read_only) {
            result = -EROFS;
        } else if (inode_is_directory(inode)) {
            result = -EPERM;
        } else if (to.slash) {
            result = -ENOENT;
        } else {
            mutex_lock(&filesystem->change_lock);
            result = dentry_lookup(to.parent, to.name, to.length, &other);
            if (result == 0) {
                dentry_put(other);
                result = -EEXIST;
            } else if (result == -ENOENT) {
                result = dentry_link(to.parent, to.name, to.length, inode);
            }
            mutex_unlock(&filesystem->change_lock);
        }
        finish(&new_path, &to);
    }
    finish(&old_path, &from);
    return result;
}

long sys_link(struct syscall_args *a)
{
    return make_link(AT_FDCWD, a->arg[0], AT_FDCWD, a->arg[1], 0);
}

long sys_linkat(struct syscall_args *a)
{
    return make_link((int)a->arg[0], a->arg[1], (int)a->arg[2], a->arg[3], (unsigned)a->arg[4]);
}

static int remove_locked(struct walk *walk, bool directory)
{
    struct dentry *dentry;
    int result = dentry_lookup(walk->parent, walk->name, walk->length, &dentry);
    if (result != 0) {
        return result;
    }
    bool is_directory = inode_is_directory(dentry->inode);
    if (dentry->mounted != NULL) {
        result = -EBUSY;
    } else if (directory) {
        result = !is_directory ? -ENOTDIR : !dentry_is_empty(dentry) ? -ENOTEMPTY : 0;
    } else {
        result = is_directory ? -EISDIR : walk->slash ? -ENOTDIR : 0;
    }
    if (result == 0) {
        /* One reference is enough, by which dentry_remove knows that nobody else has it. */
        dentry_put(walk->dentry);
        walk->dentry = NULL;
        result = dentry_remove(dentry);
    }
    dentry_put(dentry);
    return result;
}

static long remove_name(int at, uintptr_t address, bool directory)
{
    struct user_path path;
    struct walk walk;
    int result = walk_user(at, address, WALK_PARENT, &path, &walk);
    if (result != 0) {
        return result;
    }
    if (walk.dentry == NULL) {
        result = -ENOENT;
    } else if (walk.length == 0) {
        /* "/", "." or "..": the name that was read last tells which. */
        bool dot = walk.name[0] == '.', dots = dot && walk.name[1] == '.';
        result = !directory ? -EISDIR : dots ? -ENOTEMPTY : dot ? -EINVAL : -EBUSY;
    } else if (walk.dentry->inode->filesystem != walk.parent->inode->filesystem) {
        result = directory ? -EBUSY : -EISDIR;
    } else if (walk.parent->inode->filesystem->read_only) {
        result = -EROFS;
    } else {
        struct mutex *change_lock = &walk.parent->inode->filesystem->change_lock;
        mutex_lock(change_lock);
        result = remove_locked(&walk, directory);
        mutex_unlock(change_lock);
    }
    finish(&path, &walk);
    return result;
}

long sys_unlink(struct syscall_args *a)
{
    return remove_name(AT_FDCWD, a->arg[0], false);
}

long sys_rmdir(struct syscall_args *a)
{
    return remove_name(AT_FDCWD, a->arg[0], true);
}

long sys_unlinkat(struct syscall_args *a)
{
    if ((a->arg[2] & ~(uint64_t)AT_REMOVEDIR) != 0) {
        return -EINVAL;
    }
    return remove_name((int)a->arg[0], a->arg[1], a->arg[2] != 0);
}

/* rename(2)'s rules for what may replace what. `new` may be NULL. */
static int rename_locked(struct walk *from, struct walk *to, unsigned flags, struct dentry *old,
                         struct dentry *new)
{
    bool directory = inode_is_directory(old->inode);
    if (old->mounted != NULL || (new != NULL &&new->mounted != NULL)) {
        return -EBUSY;
    }
    if ((from->slash || (to->slash && (flags & RENAME_EXCHANGE) == 0)) && !directory) {
        return -ENOTDIR;
    }
    if (directory && dentry_is_below(to->parent, old)) {
        return -EINVAL;
    }
    if ((flags & RENAME_EXCHANGE) != 0) {
        if (new == NULL) {
            return -ENOENT;
        }
        if (inode_is_directory(new->inode) && dentry_is_below(from->parent, new)) {
            return -EINVAL;
        }
        return old == new ? 0 : dentry_exchange(old, new);
    }
    if (new != NULL) {
        if ((flags & RENAME_NOREPLACE) != 0) {
            return -EEXIST;
        }
        if (old->inode == new->inode) {
            return 0;
        }
        if (inode_is_directory(new->inode)) {
            if (dentry_is_below(from->parent, new)) {
                return -ENOTEMPTY;
            }
            if (!directory) {
                return -EISDIR;
            }
            if (!dentry_is_empty(new)) {
                return -ENOTEMPTY;
            }
        } else if (directory) {
            return -ENOTDIR;
        }
    }
    return dentry_rename(old, to->parent, to->name, to->length, new);
}

static long rename_user(int old_directory, uintptr_t old, int new_directory, uintptr_t new,
                        unsigned flags)
{
    struct user_path old_path, new_path;
    struct walk from, to;
    if ((flags & ~(unsigned)(RENAME_NOREPLACE | RENAME_EXCHANGE)) != 0 ||
        flags == (RENAME_NOREPLACE | RENAME_EXCHANGE)) {
        return -EINVAL;
    }
    int result = walk_user(old_directory, old, WALK_PARENT, &old_path, &from);
    if (result != 0) {
        return result;
    }
    result = walk_user(new_directory, new, WALK_PARENT, &new_path, &to);
    if (result != 0) {
        finish(&old_path, &from);
        return result;
    }
    struct filesystem *filesystem = from.parent->inode->filesystem;
    if (from.dentry == NULL) {
        result = -ENOENT;
    } else if (filesystem != to.parent->inode->filesystem) {
        result = -EXDEV;
    } else if (from.length == 0 || to.length == 0) {
        result = -EBUSY;
    } else if (flags != 0 && filesystem->remote) {
        result = -EINVAL; /* there is no way to say it to whose directory it is */
    } else if (filesystem->read_only) {
        result = -EROFS;
    } else {
        struct dentry *old_dentry, *new_dentry = NULL;
        mutex_lock(&filesystem->change_lock);
        result = dentry_lookup(from.parent, from.name, from.length, &old_dentry);
        if (result == 0) {
            result = dentry_lookup(to.parent, to.name, to.length, &new_dentry);
            result = result == -ENOENT ? 0 : result;
            if (result == 0) {
                result = rename_locked(&from, &to, flags, old_dentry, new_dentry);
            }
            dentry_put(old_dentry);
            if (new_dentry != NULL) {
                dentry_put(new_dentry);
            }
        }
        mutex_unlock(&filesystem->change_lock);
    }
    finish(&new_path, &to);
    finish(&old_path, &from);
    return result;
}

long sys_rename(struct syscall_args *a)
{
    return rename_user(AT_FDCWD, a->arg[0], AT_FDCWD, a->arg[1], 0);
}

long sys_renameat(struct syscall_args *a)
{
    return rename_user((int)a->arg[0], a->arg[1], (int)a->arg[2], a->arg[3], 0);
}

long sys_renameat2(struct syscall_args *a)
{
    return rename_user((int)a->arg[0], a->arg[1], (int)a->arg[2], a->arg[3], (unsigned)a->arg[4]);
}

static long read_link_user(int directory, uintptr_t address, uintptr_t to, size_t size)
{
    struct user_path path;
    struct walk walk;
    if ((int)size <= 0) {
        return -EINVAL;
    }
    long result = walk_user(directory, address, WALK_EMPTY, &path, &walk);
    if (result != 0) {
        return result;
    }
    struct inode *inode = walk.dentry->inode;
    char *text = kmalloc(PATH_MAX);
    if (!S_ISLNK(inode->mode)) {
        result = path.text[0] == '\0' ? -ENOENT : -EINVAL;
    } else {
        result = text == NULL ? -ENOMEM : inode->operations->read_link(inode, text, PATH_MAX);
    }
    if (result > 0) {
        result = MIN(MIN(result, PATH_MAX), (long)(int)size);
        result = copy_to_user(to, text, (size_t)result) != 0 ? -EFAULT : result;
    }
    kfree(text);
    finish(&path, &walk);
    return result;
}

long sys_readlink(struct syscall_args *a)
{
    return read_link_user(AT_FDCWD, a->arg[0], a->arg[1], a->arg[2]);
}

long sys_readlinkat(struct syscall_args *a)
{
    return read_link_user((int)a->arg[0], a->arg[1], a->arg[2], a->arg[3]);
}

/* --- attributes: reading
 * -------------------------------------------------------------------------------------------- */

static int stat_inode(struct inode *inode, struct stat *stat)
{
    int result = inode->operations->refresh != NULL ? inode->operations->refresh(inode) : 0;
    if (result == 0) {
        inode_stat(inode, stat);
    }
    return result;
}

static int stat_file(struct file *file, struct stat *stat)
{
    if (file->operations->stat != NULL) {
        return file->operations->stat(file, stat);
    }
    if (file->inode != NULL) {
        return stat_inode(file->inode, stat);
    }
    memset(stat, 0, sizeof(*stat));
    stat->st_dev = 14; /* anonymous inodes share one */
    stat->st_ino = 1;
    stat->st_nlink = 1;
    stat->st_mode = 0600;
    stat->st_blksize = PAGE_SIZE;
    return 0;
}

/* The stat of a path, or with an empty one of the descriptor. */
static int stat_path(int directory, uintptr_t address, unsigned at_flags, struct stat *stat)
{
    struct user_path path;
    struct walk walk;
    struct file *file;
    int result;
    if ((at_flags & AT_EMPTY_PATH) != 0) {
        char first = '\0';
        /* A NULL path counts as an empty one from Linux 6.11 on. */
        if (address != 0 && copy_from_user(&first, address, 1) != 0) {
            return -EFAULT;
        }
        if (first == '\0' && directory >= 0) {
            result = fd_lookup_any(directory, &file);
            if (result == 0) {
                result = stat_file(file, stat);
                file_put(file);
            }
            return result;
        }
    }
    result = walk_user(directory, address, walk_flags(at_flags) | WALK_FILE, &path, &walk);
    if (result == 0) {
        result =
            walk.file != NULL ? stat_file(walk.file, stat) : stat_inode(walk.dentry->inode, stat);
        finish(&path, &walk);
    }
    return result;
}

static long stat_user(int directory, uintptr_t address, unsigned at_flags, uintptr_t to)
{
    struct stat stat;
    int result = stat_path(directory, address, at_flags, &stat);
    return result != 0 ? result : copy_to_user(to, &stat, sizeof(stat));
}

long sys_stat(struct syscall_args *a)
{
    return stat_user(AT_FDCWD, a->arg[0], 0, a->arg[1]);
}

long sys_lstat(struct syscall_args *a)
{
    return stat_user(AT_FDCWD, a->arg[0], AT_SYMLINK_NOFOLLOW, a->arg[1]);
}

long sys_newfstatat(struct syscall_args *a)
{
    if ((a->arg[3] & ~(uint64_t)(AT_SYMLINK_NOFOLLOW | AT_EMPTY_PATH | AT_NO_AUTOMOUNT)) != 0) {
        return -EINVAL;
    }
    return stat_user((int)a->arg[0], a->arg[1], (unsigned)a->arg[3], a->arg[2]);
}

long sys_fstat(struct syscall_args *a)
{
    struct stat stat;
    struct file *file;
    int result = fd_lookup_any((int)a->arg[0], &file);
    if (result == 0) {
        result = stat_file(file, &stat);
        file_put(file);
    }
    return result != 0 ? result : copy_to_user(a->arg[1], &stat, sizeof(stat));
}

long sys_statx(struct syscall_args *a)
{
    const unsigned allowed =
        AT_SYMLINK_NOFOLLOW | AT_EMPTY_PATH | AT_NO_AUTOMOUNT | AT_STATX_SYNC_TYPE;
    struct stat stat;
    if ((a->arg[2] & ~(uint64_t)allowed) != 0 ||
        (a->arg[2] & AT_STATX_SYNC_TYPE) == AT_STATX_SYNC_TYPE ||
        (a->arg[3] & STATX__RESERVED) != 0) {
        return -EINVAL;
    }
    int result = stat_path((int)a->arg[0], a->arg[1], (unsigned)a->arg[2], &stat);
    if (result != 0) {
        return result;
    }
    struct statx out;
    memset(&out, 0, sizeof(out));
    out.stx_mask = STATX_BASIC_STATS;
    out.stx_blksize = (uint32_t)stat.st_blksize;
    out.stx_nlink = (uint32_t)stat.st_nlink;
    out.stx_uid = stat.st_uid;
    out.stx_gid = stat.st_gid;
    out.stx_mode = (uint16_t)stat.st_mode;
    out.stx_ino = stat.st_ino;
    out.stx_size = (uint64_t)stat.st_size;
    out.stx_blocks = (uint64_t)stat.st_blocks;
    out.stx_atime.tv_sec = stat.st_atime;
    out.stx_atime.tv_nsec = (uint32_t)stat.st_atime_nsec;
    out.stx_mtime.tv_sec = stat.st_mtime;
    out.stx_mtime.tv_nsec = (uint32_t)stat.st_mtime_nsec;
    out.stx_ctime.tv_sec = stat.st_ctime;
    out.stx_ctime.tv_nsec = (uint32_t)stat.st_ctime_nsec;
    out.stx_rdev_major = (stat.st_rdev >> 8) & 0xfff;
    out.stx_rdev_minor = (stat.st_rdev & 0xff) | ((stat.st_rdev >> 12) & 0xfff00);
    out.stx_dev_minor = (uint32_t)stat.st_dev;
    return copy_to_user(a->arg[4], &out, sizeof(out));
}

static long access_user(int directory, uintptr_t address, unsigned mode, unsigned at_flags)
{
    struct stat stat;
    if ((mode & ~7u) != 0 ||
        (at_flags & ~(unsigned)(AT_EACCESS | AT_SYMLINK_NOFOLLOW | AT_EMPTY_PATH)) != 0) {
        return -EINVAL;
    }
    int result = stat_path(directory, address, at_flags & ~(unsigned)AT_EACCESS, &stat);
    /* Root may do everything but execute what nobody may. */
    if (result == 0 && (mode & 1) != 0 && !S_ISDIR(stat.st_mode) && (stat.st_mode & 0111) == 0) {
        result = -EACCES;
    }
    return result;
}

long sys_access(struct syscall_args *a)
{
    return access_user(AT_FDCWD, a->arg[0], (unsigned)a->arg[1], 0);
}

long sys_faccessat(struct syscall_args *a)
{
    return access_user((int)a->arg[0], a->arg[1], (unsigned)a->arg[2], 0);
}

long sys_faccessat2(struct syscall_args *a)
{
    return access_user((int)a->arg[0], a->arg[1], (unsigned)a->arg[2], (unsigned)a->arg[3]);
}

static long statfs_write(struct filesystem *filesystem, uintptr_t to)
{
    struct statfs out;
    memset(&out, 0, sizeof(out));
    out.f_type = filesystem == NULL ? 0x09041934 /* ANON_INODE_FS_MAGIC */ : filesystem->magic;
    out.f_bsize = out.f_frsize = PAGE_SIZE;
    out.f_namelen = NAME_MAX;
    if (filesystem != NULL) {
        out.f_fsid.val[0] = (int)filesystem->device;
        out.f_flags = 0x20 | filesystem->read_only; /* ST_VALID */
        if (filesystem->statfs != NULL) {
            filesystem->statfs(filesystem, &out);
        }
    }
    return copy_to_user(to, &out, sizeof(out));
}

long sys_statfs(struct syscall_args *a)
{
    struct user_path path;
    struct walk walk;
    long result = walk_user(AT_FDCWD, a->arg[0], WALK_FOLLOW, &path, &walk);
    if (result == 0) {
        result = statfs_write(walk.dentry->inode->filesystem, a->arg[1]);
        finish(&path, &walk);
    }
    return result;
}

long sys_fstatfs(struct syscall_args *a)
{
    struct file *file;
    long result = fd_lookup_any((int)a->arg[0], &file);
    if (result == 0) {
        result = statfs_write(file->inode == NULL ? NULL : file->inode->filesystem, a->arg[1]);
        file_put(file);
    }
    return result;
}

/* --- attributes: changing
 * ------------------------------------------------------------------------------------------- */

static long change_attributes(struct inode *inode, const struct inode_changes *changes)
{
    struct filesystem *filesystem = inode->filesystem;
    if (filesystem->read_only) {
        return -EROFS;
    }
    if (inode->operations->change != NULL) {
        return inode->operations->change(inode, changes);
    }
    if (inode->operations->create == NULL && !filesystem->in_memory) {
        return -EPERM;
    }
    mutex_lock(&filesystem->change_lock);
    inode_dirty(inode);
    if ((changes->what & SET_MODE) != 0) {
        inode->mode = (inode->mode & S_IFMT) | (changes->mode & S_IALLUGO);
    }
    if ((changes->what & (SET_UID | SET_GID)) != 0 && S_ISREG(inode->mode)) {
        inode->mode &= ~(uint32_t)(S_ISUID | ((inode->mode & 010) != 0 ? S_ISGID : 0));
    }
    inode->uid = (changes->what & SET_UID) != 0 ? changes->uid : inode->uid;
    inode->gid = (changes->what & SET_GID) != 0 ? changes->gid : inode->gid;
    inode->atime = (changes->what & SET_ATIME) != 0 ? changes->atime : inode->atime;
    inode->mtime = (changes->what & SET_MTIME) != 0 ? changes->mtime : inode->mtime;
    inode->ctime = inode_now();
    mutex_unlock(&filesystem->change_lock);
    return 0;
}

static long change_dentry(struct dentry *dentry, const struct inode_changes *changes)
{
    unsigned times = changes->what & (SET_ATIME | SET_MTIME);
    long result = change_attributes(dentry->inode, changes);
    if (result == 0 && changes->what != 0) {
        notify_dentry(dentry, changes->what != times ? IN_ATTRIB
                              : times == SET_ATIME   ? IN_ACCESS
                              : times == SET_MTIME   ? IN_MODIFY
                                                     : IN_ATTRIB);
    }
    return result;
}

static long change_path(int directory, uintptr_t address, unsigned at_flags,
                        const struct inode_changes *changes)
{
    struct user_path path;
    struct walk walk;
    long result = walk_user(directory, address, walk_flags(at_flags), &path, &walk);
    if (result == 0) {
        bool link_mode = S_ISLNK(walk.dentry->inode->mode) && (changes->what & SET_MODE) != 0;
        result = link_mode ? -EOPNOTSUPP : change_dentry(walk.dentry, changes);
        finish(&path, &walk);
    }
    return result;
}

static long change_fd(int fd, const struct inode_changes *changes)
{
    struct file *file;
    long result = fd_lookup(fd, &file);
    if (result == 0) {
        result = file->dentry == NULL ? -EINVAL : change_dentry(file->dentry, changes);
        file_put(file);
    }
    return result;
}

static struct inode_changes mode_change(uint64_t mode)
{
    return (struct inode_changes){.what = SET_MODE, .mode = (uint32_t)mode};
}

static struct inode_changes owner_change(uint64_t uid, uint64_t gid)
{
    return (struct inode_changes){.what = ((uint32_t)uid != UINT32_MAX ? SET_UID : 0) |
                                          ((uint32_t)gid != UINT32_MAX ? SET_GID : 0),
                                  .uid = (uint32_t)uid,
                                  .gid = (uint32_t)gid};
}

long sys_chmod(struct syscall_args *a)
{
    struct inode_changes changes = mode_change(a->arg[1]);
    return change_path(AT_FDCWD, a->arg[0], 0, &changes);
}

long sys_fchmod(struct syscall_args *a)
{
    struct inode_changes changes = mode_change(a->arg[1]);
    return change_fd((int)a->arg[0], &changes);
}

long sys_fchmodat(struct syscall_args *a)
{
    struct inode_changes changes = mode_change(a->arg[2]);
    return change_path((int)a->arg[0], a->arg[1], 0, &changes);
}

long sys_fchmodat2(struct syscall_args *a)
{
    struct inode_changes changes = mode_change(a->arg[2]);
    if ((a->arg[3] & ~(uint64_t)(AT_SYMLINK_NOFOLLOW | AT_EMPTY_PATH)) != 0) {
        return -EINVAL;
    }
    return change_path((int)a->arg[0], a->arg[1], (unsigned)a->arg[3], &changes);
}

long sys_chown(struct syscall_args *a)
{
    struct inode_changes changes = owner_change(a->arg[1], a->arg[2]);
    return change_path(AT_FDCWD, a->arg[0], 0, &changes);
}

long sys_lchown(struct syscall_args *a)
{
    struct inode_changes changes = owner_change(a->arg[1], a->arg[2]);
    return change_path(AT_FDCWD, a->arg[0], AT_SYMLINK_NOFOLLOW, &changes);
}

long sys_fchown(struct syscall_args *a)
{
    struct inode_changes changes = owner_change(a->arg[1], a->arg[2]);
    return change_fd((int)a->arg[0], &changes);
}

long sys_fchownat(struct syscall_args *a)
{
    struct inode_changes changes = owner_change(a->arg[2], a->arg[3]);
    if ((a->arg[4] & ~(uint64_t)(AT_SYMLINK_NOFOLLOW | AT_EMPTY_PATH)) != 0) {
        return -EINVAL;
    }
    return change_path((int)a->arg[0], a->arg[1], (unsigned)a->arg[4], &changes);
}

enum { TIME_NOW = 0x3fffffff, TIME_OMIT = 0x3ffffffe }; /* UTIME_ of utimensat(2) */

/* Access and modification time. `path` 0: the file that `dirfd` is. */
static long change_times(int dirfd, uintptr_t path, unsigned flags,
                         const struct timespec64 times[2])
{
    int64_t values[2];
    struct inode_changes changes = {0};
    for (int i = 0; i < 2; i++) {
        int64_t nanoseconds = times[i].nanoseconds;
        if (nanoseconds != TIME_NOW && nanoseconds != TIME_OMIT &&
            (nanoseconds < 0 || nanoseconds > 999999999)) {
            return -EINVAL;
        }
        changes.what |= nanoseconds == TIME_OMIT ? 0 : i == 0 ? SET_ATIME : SET_MTIME;
        /* Times further away than 64 bits of nanoseconds reach are cut, as on Linux for what a file
         * system cannot keep. */
        const int64_t most = INT64_MAX / (int64_t)NS_PER_SECOND - 1;
        int64_t seconds = MAX(MIN(times[i].seconds, most), -most);
        values[i] =
            nanoseconds == TIME_NOW ? inode_now() : seconds * (int64_t)NS_PER_SECOND + nanoseconds;
    }
    changes.atime = values[0];
    changes.mtime = values[1];
    changes.atime_now = times[0].nanoseconds == TIME_NOW;
    changes.mtime_now = times[1].nanoseconds == TIME_NOW;
    if (changes.what == 0) {
        return 0;
    }
    return path == 0 ? change_fd(dirfd, &changes) : change_path(dirfd, path, flags, &changes);
}

long sys_utimensat(struct syscall_args *a)
{
    struct timespec64 times[2] = {{0, TIME_NOW}, {0, TIME_NOW}};
    if ((a->arg[3] & ~(uint64_t)(AT_SYMLINK_NOFOLLOW | AT_EMPTY_PATH)) != 0) {
        return -EINVAL;
    }
    if (a->arg[2] != 0 && copy_from_user(times, a->arg[2], sizeof(times)) != 0) {
        return -EFAULT;
    }
    return change_times((int)a->arg[0], a->arg[1], (unsigned)a->arg[3], times);
}

/* With whole seconds. */
long sys_utime(struct syscall_args *a)
{
    struct timespec64 times[2] = {{0, TIME_NOW}, {0, TIME_NOW}};
    int64_t seconds[2];
    if (a->arg[1] != 0) {
        if (copy_from_user(seconds, a->arg[1], sizeof(seconds)) != 0) {
            return -EFAULT;
        }
        times[0] = (struct timespec64){seconds[0], 0};
        times[1] = (struct timespec64){seconds[1], 0};
    }
    return a->arg[0] == 0 ? -EFAULT : change_times(AT_FDCWD, a->arg[0], 0, times);
}

/* With microseconds. */
long sys_utimes(struct syscall_args *a)
{
    struct timespec64 times[2] = {{0, TIME_NOW}, {0, TIME_NOW}};
    if (a->arg[1] != 0 && copy_from_user(times, a->arg[1], sizeof(times)) != 0) {
        return -EFAULT;
    }
    for (int i = 0; i < 2 && a->arg[1] != 0; i++) {
        if (times[i].nanoseconds < 0 || times[i].nanoseconds > 999999) {
            return -EINVAL;
        }
        times[i].nanoseconds *= 1000;
    }
    return a->arg[0] == 0 ? -EFAULT : change_times(AT_FDCWD, a->arg[0], 0, times);
}

long sys_umask(struct syscall_args *a)
{
    return __atomic_exchange_n(&process_umask, (uint32_t)a->arg[0] & 0777, __ATOMIC_RELAXED);
}

/* --- size and contents
 * ---------------------------------------------------------------------------------------------- */

long sys_truncate(struct syscall_args *a)
{
    struct user_path path;
    struct walk walk;
    if ((int64_t)a->arg[1] < 0) {
        return -EINVAL;
    }
    long result = walk_user(AT_FDCWD, a->arg[0], WALK_FOLLOW, &path, &walk);
    if (result == 0) {
        struct inode *inode = walk.dentry->inode;
        result = inode_is_directory(inode)                                      ? -EISDIR
                 : !S_ISREG(inode->mode) || inode->operations->truncate == NULL ? -EINVAL
                 : inode->filesystem->read_only                                 ? -EROFS
                                                : inode->operations->truncate(inode, a->arg[1]);
        if (result == 0) {
            notify_dentry(walk.dentry, IN_MODIFY);
        }
        finish(&path, &walk);
    }
    return result;
}

long sys_ftruncate(struct syscall_args *a)
{
    struct file *file;
    if ((int64_t)a->arg[1] < 0) {
        return -EINVAL;
    }
    long result = fd_lookup((int)a->arg[0], &file);
    if (result == 0) {
        result = file->operations->truncate == NULL || !file_writable(file)
                     ? -EINVAL
                     : file->operations->truncate(file, a->arg[1]);
        if (result == 0) {
            notify_file(file, IN_MODIFY);
        }
        file_put(file);
    }
    return result;
}

long sys_fallocate(struct syscall_args *a)
{
    struct file *file;
    const int known = FALLOC_FL_KEEP_SIZE | FALLOC_FL_PUNCH_HOLE | FALLOC_FL_COLLAPSE_RANGE |
                      FALLOC_FL_ZERO_RANGE | FALLOC_FL_INSERT_RANGE | FALLOC_FL_UNSHARE_RANGE;
    int64_t offset = (int64_t)a->arg[2], length = (int64_t)a->arg[3], end;
    long result = fd_lookup((int)a->arg[0], &file);
    if (result == 0) {
        if (offset < 0 || length <= 0) {
            result = -EINVAL;
        } else if (((int)a->arg[1] & ~known) != 0) {
            result = -EOPNOTSUPP;
        } else if (!file_writable(file)) {
            result = -EBADF;
        } else if (__builtin_add_overflow(offset, length, &end)) {
            result = -EFBIG;
        } else if (file->operations->allocate == NULL) {
            bool pipe =
                file->inode == NULL ? file->offset_lock == NULL : S_ISFIFO(file->inode->mode);
            bool contents =
                file->inode != NULL && (S_ISREG(file->inode->mode) || S_ISBLK(file->inode->mode));
            result = pipe ? -ESPIPE : contents ? -EOPNOTSUPP : -ENODEV;
        } else {
            result = file->operations->allocate(file, (int)a->arg[1], (uint64_t)offset,
                                                (uint64_t)length);
        }
        if (result == 0) {
            notify_file(file, IN_MODIFY);
        }
        file_put(file);
    }
    return result;
}

static long sync_fd(int fd, bool filesystem)
{
    struct file *file;
    long result = fd_lookup(fd, &file);
    if (result == 0) {
        if (file->operations->sync != NULL) {
            result = file->operations->sync(file);
        } else {
            result = filesystem || (file->inode != NULL && inode_is_directory(file->inode))
                         ? 0
                         : -EINVAL;
        }
        file_put(file);
    }
    return result;
}

long sys_fsync(struct syscall_args *a)
{
    return sync_fd((int)a->arg[0], false);
}

long sys_fdatasync(struct syscall_args *a)
{
    return sync_fd((int)a->arg[0], false);
}

long sys_syncfs(struct syscall_args *a)
{
    return sync_fd((int)a->arg[0], true);
}

void fs_sync(void)
{
    for (struct filesystem *fs = filesystems; fs != NULL; fs = fs->next) {
        if (fs->sync != NULL) {
            fs->sync(fs);
        }
    }
    block_flush_all();
}

long sys_sync(struct syscall_args *a)
{
    (void)a;
    fs_sync();
    return 0;
}

long sys_fadvise64(struct syscall_args *a)
{
    struct file *file;
    long result = fd_lookup((int)a->arg[0], &file);
    if (result == 0) {
        result = file->offset_lock == NULL ? -ESPIPE : (unsigned)a->arg[3] > 5 ? -EINVAL : 0;
        file_put(file);
    }
    return result;
}

long sys_getdents64(struct syscall_args *a)
{
    struct file *file;
    long result = fd_lookup((int)a->arg[0], &file);
    if (result != 0) {
        return result;
    }
    result = -ENOTDIR;
    if (file->operations->readdir != NULL) {
        struct io_segment segment = {a->arg[1], (unsigned)a->arg[2]};
        struct io_vector io = {&segment, 1, segment.length, false};
        mutex_lock(file->offset_lock);
        result = file->operations->readdir(file, &io, &file->offset);
        mutex_unlock(file->offset_lock);
        if (result >= 0) {
            notify_file(file, IN_ACCESS);
        }
    }
    file_put(file);
    return result;
}

/* --- the working directory
 * ------------------------------------------------------------------------------------------ */

long sys_getcwd(struct syscall_args *a)
{
    char *buffer = kmalloc(PATH_MAX);
    struct dentry *directory = cwd_get();
    bool deleted;
    char *path = buffer == NULL ? NULL : dentry_path(directory, buffer, PATH_MAX, &deleted);
    long result = buffer == NULL ? -ENOMEM : path == NULL ? -ENAMETOOLONG : deleted ? -ENOENT : 0;
    dentry_put(directory);
    if (result == 0) {
        size_t size = (size_t)(buffer + PATH_MAX - path);
        result = size > a->arg[1]                           ? -ERANGE
                 : copy_to_user(a->arg[0], path, size) != 0 ? -EFAULT
                                                            : (long)size;
    }
    kfree(buffer);
    return result;
}

long sys_chdir(struct syscall_args *a)
{
    struct user_path path;
    struct walk walk;
    int result = walk_user(AT_FDCWD, a->arg[0], WALK_FOLLOW | WALK_DIRECTORY, &path, &walk);
    if (result == 0) {
        cwd_set(dentry_get(walk.dentry));
        finish(&path, &walk);
    }
    return result;
}

long sys_fchdir(struct syscall_args *a)
{
    struct file *file;
    int result = fd_lookup_any((int)a->arg[0], &file);
    if (result == 0) {
        result = file->inode == NULL || !inode_is_directory(file->inode) ? -ENOTDIR : 0;
        if (result == 0) {
            cwd_set(dentry_get(file->dentry));
        }
        file_put(file);
    }
    return result;
}

/* --- extended attributes: read-only
 * ----------------------------------------------------------------------------------- */

/* What a call is about: `inode` is NULL for a file without one. After 0 the caller calls
 * target_end. */
struct xattr_target {
    struct inode *inode;
    struct file *file; /* NULL: a path */
    struct user_path path;
    struct walk walk;
};

static long target_begin(struct xattr_target *target, uint64_t which, bool descriptor,
                         unsigned follow)
{
    target->file = NULL;
    if (descriptor) {
        long result = fd_lookup((int)which, &target->file);
        if (result == 0) {
            target->inode = target->file->inode;
        }
        return result;
    }
    long result = walk_user(AT_FDCWD, which, follow, &target->path, &target->walk);
    if (result == 0) {
        target->inode = target->walk.dentry->inode;
    }
    return result;
}

static void target_end(struct xattr_target *target)
{
    if (target->file != NULL) {
        file_put(target->file);
    } else {
        finish(&target->path, &target->walk);
    }
}

static long xattr_name(char name[XATTR_NAME_MAX + 1], uintptr_t address)
{
    long length = copy_string_from_user(name, address, XATTR_NAME_MAX + 1);
    return length == 0 || length == -ENAMETOOLONG ? -ERANGE : length < 0 ? length : 0;
}

/* setxattr and removexattr: `answer` for attributes of the kinds that may be there at all. */
static long xattr_change(struct syscall_args *a, bool descriptor, unsigned follow, long answer)
{
    char name[XATTR_NAME_MAX + 1];
    struct xattr_target target;
    long result = xattr_name(name, a->arg[1]);
    if (result == 0) {
        result = target_begin(&target, a->arg[0], descriptor, follow);
    }
    if (result != 0) {
        return result;
    }
    bool read_only = target.inode != NULL && target.inode->filesystem->read_only;
    target_end(&target);
    return read_only ? -EROFS : strncmp(name, "user.", 5) == 0 ? -EOPNOTSUPP : answer;
}

/* getxattr (with a name) and listxattr. */
static long xattr_read(uint64_t which, bool descriptor, unsigned follow, const char *name,
                       uintptr_t to, size_t size)
{
    struct xattr_target target;
    long result = target_begin(&target, which, descriptor, follow);
    if (result != 0) {
        return result;
    }
    size = MIN(size, (size_t)XATTR_SIZE_MAX);
    const struct inode_operations *operations =
        target.inode != NULL ? target.inode->operations : NULL;
    char *bytes = size != 0 ? kmalloc(size) : NULL;
    if (size != 0 && bytes == NULL) {
        result = -ENOMEM;
    } else if (operations == NULL || operations->get_attribute == NULL) {
        result = name == NULL ? 0 : strncmp(name, "user.", 5) == 0 ? -EOPNOTSUPP : -ENODATA;
    } else {
        result = name == NULL ? operations->list_attributes(target.inode, bytes, size)
                              : operations->get_attribute(target.inode, name, bytes, size);
    }
    if (result > 0 && size != 0) {
        result = (size_t)result > size                          ? -ERANGE
                 : copy_to_user(to, bytes, (size_t)result) != 0 ? -EFAULT
                                                                : result;
    }
    kfree(bytes);
    target_end(&target);
    return result;
}

static long xattr_get(struct syscall_args *a, bool descriptor, unsigned follow)
{
    char name[XATTR_NAME_MAX + 1];
    long result = xattr_name(name, a->arg[1]);
    return result != 0 ? result
                       : xattr_read(a->arg[0], descriptor, follow, name, a->arg[2], a->arg[3]);
}

long sys_setxattr(struct syscall_args *a)
{
    return xattr_change(a, false, WALK_FOLLOW, -EOPNOTSUPP);
}

long sys_lsetxattr(struct syscall_args *a)
{
    return xattr_change(a, false, 0, -EOPNOTSUPP);
}

long sys_fsetxattr(struct syscall_args *a)
{
    return xattr_change(a, true, 0, -EOPNOTSUPP);
}

long sys_getxattr(struct syscall_args *a)
{
    return xattr_get(a, false, WALK_FOLLOW);
}

long sys_lgetxattr(struct syscall_args *a)
{
    return xattr_get(a, false, 0);
}

long sys_fgetxattr(struct syscall_args *a)
{
    return xattr_get(a, true, 0);
}

long sys_removexattr(struct syscall_args *a)
{
    return xattr_change(a, false, WALK_FOLLOW, -ENODATA);
}

long sys_lremovexattr(struct syscall_args *a)
{
    return xattr_change(a, false, 0, -ENODATA);
}

long sys_fremovexattr(struct syscall_args *a)
{
    return xattr_change(a, true, 0, -ENODATA);
}

long sys_listxattr(struct syscall_args *a)
{
    return xattr_read(a->arg[0], false, WALK_FOLLOW, NULL, a->arg[1], a->arg[2]);
}

long sys_llistxattr(struct syscall_args *a)
{
    return xattr_read(a->arg[0], false, 0, NULL, a->arg[1], a->arg[2]);
}

long sys_flistxattr(struct syscall_args *a)
{
    return xattr_read(a->arg[0], true, 0, NULL, a->arg[1], a->arg[2]);
}
