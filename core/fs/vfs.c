/* SPDX-License-Identifier: MIT */
/* The tree of names: the dentry cache, path walk, mounts, directories as open files, and opening.
 * dentry_lock guards the tree, the hash table and the list of idle dentries; it is held for a whole
 * walk as long as all names are cached, so that a walk takes no references on its way. What may
 * sleep is done after letting go of it, with references. */
#include "core/block/block.h"
#include "core/fs/fs.h"
#include "core/fs/fs_internal.h"
#include "core/fs/inode.h"
#include "core/fs/notify.h"
#include "core/time/clock.h"

#define MAX_LINKS 40
#define MAX_IDLE 4096
#define FIRST_BUCKETS 256
#define OFFSET_MADE_HERE (1ull << 62) /* directory offsets: names that `list` does not give */

struct dentry *root_dentry;
struct filesystem *filesystems;
uint32_t inotify_watches;

static struct spinlock dentry_lock = SPINLOCK_INIT(LOCK_FILE);
static struct dentry **buckets;
static uint32_t bucket_count, dentry_count;
static struct list idle = LIST_INIT(idle); /* nobody refers to them; those without a name first */
static uint32_t idle_count;
static uint64_t last_cookie;
static struct dentry *cwd;

/* --- inodes
 * ---------------------------------------------------------------------------------------------------------
 */

int64_t inode_now(void)
{
    return (int64_t)clock_wall();
}

void inode_init(struct inode *inode, const struct inode_operations *operations,
                struct filesystem *filesystem, uint32_t mode)
{
    inode->operations = operations;
    inode->filesystem = filesystem;
    inode->references = 1;
    inode->mode = mode;
    inode->links = S_ISDIR(mode) ? 2 : 1;
    inode->atime = inode->mtime = inode->ctime = inode->birth = inode_now();
    rwlock_init(&inode->lock);
}

struct inode *inode_get(struct inode *inode)
{
    __atomic_add_fetch(&inode->references, 1, __ATOMIC_RELAXED);
    return inode;
}

void inode_put(struct inode *inode)
{
    if (__atomic_sub_fetch(&inode->references, 1, __ATOMIC_ACQ_REL) == 0) {
        if (inode->watches != NULL) {
            inotify_gone(inode);
        }
        inode->operations->release(inode);
    }
}

void inode_dirty(struct inode *inode)
{
    if ((inode->flags & INODE_LOWER) != 0 &&
        (__atomic_fetch_or(&inode->flags, INODE_DIRTY, __ATOMIC_RELAXED) & INODE_DIRTY) == 0) {
        inode_get(inode);
    }
}

/* The last name is gone. */
static void inode_unlinked(struct inode *inode)
{
    if (inode->watches != NULL) {
        inotify_unlinked(inode);
    }
    if ((__atomic_fetch_and(&inode->flags, ~(uint32_t)(INODE_DIRTY | INODE_LOWER),
                            __ATOMIC_RELAXED) &
         INODE_DIRTY) != 0) {
        inode_put(inode);
    }
}

static void split_time(int64_t ns, int64_t *seconds, int64_t *nanoseconds)
{
    int64_t rest = ns % (int64_t)NS_PER_SECOND;
    *seconds = ns / (int64_t)NS_PER_SECOND - (rest < 0);
    *nanoseconds = rest < 0 ? rest + (int64_t)NS_PER_SECOND : rest;
}

void inode_stat(struct inode *inode, struct stat *stat)
{
    memset(stat, 0, sizeof(*stat));
    stat->st_dev = inode->filesystem->device;
    stat->st_ino = inode->number;
    stat->st_nlink = inode->links;
    stat->st_mode = inode->mode;
    stat->st_uid = inode->uid;
    stat->st_gid = inode->gid;
    stat->st_rdev = inode->rdev;
    stat->st_size = (int64_t)inode->size;
    stat->st_blksize = PAGE_SIZE;
    stat->st_blocks = (int64_t)(inode->pages * (PAGE_SIZE / 512));
    if ((inode->flags & INODE_LOWER) != 0) {
        stat->st_blocks = MAX(stat->st_blocks, (int64_t)((inode->size + 511) / 512));
    }
    split_time(inode->atime, &stat->st_atime, &stat->st_atime_nsec);
    split_time(inode->mtime, &stat->st_mtime, &stat->st_mtime_nsec);
    split_time(inode->ctime, &stat->st_ctime, &stat->st_ctime_nsec);
}

/* --- the cache
 * ------------------------------------------------------------------------------------------------------
 */

static uint32_t hash_name(const struct dentry *parent, const char *name, size_t length)
{
    uint64_t hash = (uintptr_t)parent;
    while (length >= 8) {
        uint64_t word;
        memcpy(&word, name, 8);
        hash = (hash ^ word) * 0x9e3779b97f4a7c15ull;
        hash ^= hash >> 32;
        name += 8;
        length -= 8;
    }
    while (length-- != 0) {
        hash = (hash ^ (uint8_t)*name++) * 0x9e3779b97f4a7c15ull;
    }
    return (uint32_t)(hash >> 29);
}

static struct dentry *find(const struct dentry *parent, const char *name, size_t length)
{
    uint32_t hash = hash_name(parent, name, length);
    struct dentry *dentry = buckets[hash & (bucket_count - 1)];
    while (dentry != NULL &&
           (dentry->hash != hash || dentry->parent != parent || dentry->length != length ||
            memcmp(dentry->name, name, length) != 0)) {
        dentry = dentry->hash_next;
    }
    return dentry;
}

static void grow_buckets(void)
{
    uint32_t count = bucket_count * 2;
    struct dentry **larger = kzalloc(count * sizeof(struct dentry *));
    if (larger == NULL) {
        return;
    }
    for (uint32_t i = 0; i < bucket_count; i++) {
        for (struct dentry *dentry = buckets[i], *next; dentry != NULL; dentry = next) {
            next = dentry->hash_next;
            dentry->hash_next = larger[dentry->hash & (count - 1)];
            larger[dentry->hash & (count - 1)] = dentry;
        }
    }
    kfree(buckets);
    buckets = larger;
    bucket_count = count;
}

/* dentry_lock held, here and in the next ones. */
static void ref_locked(struct dentry *dentry)
{
    if (__atomic_fetch_add(&dentry->references, 1, __ATOMIC_RELAXED) == 0) {
        list_remove(&dentry->idle);
        idle_count--;
    }
}

static void unref_locked(struct dentry *dentry)
{
    if (__atomic_sub_fetch(&dentry->references, 1, __ATOMIC_ACQ_REL) == 0) {
        if ((dentry->flags & DENTRY_HASHED) != 0) {
            list_push_back(&idle, &dentry->idle);
        } else {
            list_push_front(&idle, &dentry->idle);
        }
        idle_count++;
    }
}

static void add_name(struct dentry *dentry)
{
    if (dentry_count > bucket_count * 2) {
        grow_buckets();
    }
    dentry->hash = hash_name(dentry->parent, dentry->name, dentry->length);
    struct dentry **bucket = &buckets[dentry->hash & (bucket_count - 1)];
    dentry->hash_next = *bucket;
    *bucket = dentry;
    dentry->cookie = ++last_cookie;
    dentry->flags |= DENTRY_HASHED;
    list_push_back(&dentry->parent->children, &dentry->siblings);
    ref_locked(dentry->parent);
    dentry_count++;
}

/* The parent stays, with its reference: dentry_path wants it. */
static void remove_name(struct dentry *dentry)
{
    struct dentry **link = &buckets[dentry->hash & (bucket_count - 1)];
    while (*link != dentry) {
        link = &(*link)->hash_next;
    }
    *link = dentry->hash_next;
    dentry->flags &= (uint8_t)~DENTRY_HASHED;
    list_remove(&dentry->siblings);
    dentry_count--;
}

/* Frees idle dentries: all without a name, and the oldest of too many. No lock held. */
static void trim(void)
{
    for (;;) {
        struct dentry *dentry = NULL;
        spin_lock(&dentry_lock);
        if (!list_empty(&idle)) {
            dentry = list_entry(idle.next, struct dentry, idle);
            if ((dentry->flags & DENTRY_HASHED) != 0 && idle_count <= MAX_IDLE) {
                dentry = NULL;
            }
        }
        if (dentry != NULL) {
            list_remove(&dentry->idle);
            idle_count--;
            if ((dentry->flags & DENTRY_HASHED) != 0) {
                remove_name(dentry);
            }
            if (dentry->parent != dentry) {
                unref_locked(dentry->parent);
            }
        }
        spin_unlock(&dentry_lock);
        if (dentry == NULL) {
            return;
        }
        if (dentry->inode != NULL) {
            inode_put(dentry->inode);
        }
        if (dentry->name != dentry->short_name) {
            kfree(dentry->name);
        }
        kfree(dentry);
    }
}

/* Whether trim has something to do; a hint, read without the lock. */
static bool trim_wanted(void)
{
    return idle_count > MAX_IDLE ||
           (idle_count != 0 &&
            (list_entry(idle.next, struct dentry, idle)->flags & DENTRY_HASHED) == 0);
}

static void unlock_and_trim(void)
{
    bool wanted = trim_wanted();
    spin_unlock(&dentry_lock);
    if (wanted) {
        trim();
    }
}

struct dentry *dentry_get(struct dentry *dentry)
{
    __atomic_add_fetch(&dentry->references, 1, __ATOMIC_RELAXED);
    return dentry;
}

void dentry_put(struct dentry *dentry)
{
    uint32_t references = __atomic_load_n(&dentry->references, __ATOMIC_RELAXED);
    while (references > 1) {
        if (__atomic_compare_exchange_n(&dentry->references, &references, references - 1, true,
                                        __ATOMIC_ACQ_REL, __ATOMIC_RELAXED)) {
            return;
        }
    }
    spin_lock(&dentry_lock);
    unref_locked(dentry);
    unlock_and_trim();
}

static int set_name(struct dentry *dentry, const char *name, size_t length)
{
    dentry->name = length <= sizeof(dentry->short_name) ? dentry->short_name : kmalloc(length);
    if (dentry->name == NULL) {
        return -ENOMEM;
    }
    memcpy(dentry->name, name, length);
    dentry->length = (uint8_t)length;
    return 0;
}

/* Takes over the inode's reference (also when it fails); one reference, no name in the tree yet. */
static int dentry_new(struct dentry **out, struct dentry *parent, const char *name, size_t length,
                      struct inode *inode)
{
    struct dentry *dentry = kzalloc(sizeof(*dentry));
    if (dentry == NULL || set_name(dentry, name, length) != 0) {
        kfree(dentry);
        if (inode != NULL) {
            inode_put(inode);
        }
        return -ENOMEM;
    }
    dentry->parent = parent == NULL ? dentry : parent;
    dentry->inode = inode;
    dentry->references = 1;
    list_init(&dentry->siblings);
    list_init(&dentry->children);
    list_init(&dentry->idle);
    *out = dentry;
    return 0;
}

/* Gives a new dentry without a name in the tree back. */
static void dentry_discard(struct dentry *dentry)
{
    spin_lock(&dentry_lock);
    ref_locked(dentry->parent);
    spin_unlock(&dentry_lock);
    dentry_put(dentry);
}

/* --- changes, change_lock held
 * -------------------------------------------------------------------------------------- */

/* Whether a cached dentry (or none) is the answer, or the file system must be asked. */
static bool is_final(const struct dentry *parent, const struct dentry *dentry)
{
    const struct inode *directory = parent->inode;
    return directory->operations->lookup == NULL ||
           (dentry != NULL && (!directory->filesystem->remote || dentry->mounted != NULL));
}

/* What a cached dentry is now that the file system has named the inode, or NULL, for its name. */
static bool confirm(struct dentry *dentry, const struct inode *inode)
{
    if (dentry->inode == inode) {
        return true;
    }
    spin_lock(&dentry_lock);
    if ((dentry->flags & DENTRY_HASHED) != 0) {
        remove_name(dentry);
    }
    unref_locked(dentry);
    unlock_and_trim();
    return false;
}

int dentry_lookup(struct dentry *parent, const char *name, size_t length, struct dentry **out)
{
    struct inode *directory = parent->inode, *inode;
    spin_lock(&dentry_lock);
    struct dentry *dentry = find(parent, name, length);
    bool final = is_final(parent, dentry);
    int result = dentry != NULL && dentry->inode != NULL ? 0 : -ENOENT;
    if (result == 0) {
        ref_locked(dentry);
    }
    spin_unlock(&dentry_lock);
    if (final) {
        if (result == 0) {
            *out = dentry;
        }
        return result;
    }
    result = directory->operations->lookup(directory, name, length, &inode);
    if (dentry != NULL && result != 0 && result != -ENOENT) {
        dentry_put(dentry);
        return result;
    }
    if (dentry != NULL && confirm(dentry, result == 0 ? inode : NULL)) {
        inode_put(inode);
        *out = dentry;
        return 0;
    }
    if (result == 0) {
        result = dentry_new(out, parent, name, length, inode);
    }
    if (result == 0) {
        spin_lock(&dentry_lock);
        if ((inode->flags & INODE_VOLATILE) == 0) {
            add_name(*out);
        } else {
            ref_locked(parent);
        }
        spin_unlock(&dentry_lock);
    }
    return result;
}

static void changed(struct inode *directory)
{
    inode_dirty(directory);
    directory->mtime = directory->ctime = inode_now();
}

/* Marks a name as made here, where that is all that keeps it. dentry_lock is held. */
static void pin_upper(struct dentry *dentry)
{
    if (!dentry->inode->filesystem->in_memory) {
        return;
    }
    dentry->flags |= DENTRY_UPPER;
    if ((dentry->flags & DENTRY_PINNED) == 0) {
        dentry->flags |= DENTRY_PINNED;
        ref_locked(dentry);
    }
}

/* Adds a name made here, in place of a whiteout if there is one. */
static void publish(struct dentry *dentry)
{
    struct dentry *parent = dentry->parent;
    spin_lock(&dentry_lock);
    struct dentry *whiteout = find(parent, dentry->name, dentry->length);
    if (whiteout != NULL) {
        remove_name(whiteout);
        unref_locked(whiteout);
    }
    pin_upper(dentry);
    add_name(dentry);
    unlock_and_trim();
    changed(parent->inode);
}

int dentry_create(struct dentry *parent, struct inode_request *request, struct dentry **out)
{
    struct inode *directory = parent->inode, *inode;
    if (directory->operations->create == NULL) {
        return -EPERM;
    }
    if (parent->inode->links == 0) {
        return -ENOENT;
    }
    int result = directory->operations->create(directory, request, &inode);
    if (result == 0) {
        result = dentry_new(out, parent, request->name, request->length, inode);
    }
    if (result == 0) {
        directory->links += S_ISDIR(request->mode);
        publish(*out);
        notify_name(*out, IN_CREATE);
    }
    return result;
}

int dentry_link(struct dentry *parent, const char *name, size_t length, struct inode *inode)
{
    struct dentry *dentry;
    if (parent->inode->operations->create == NULL) {
        return -EPERM;
    }
    if (parent->inode->links == 0 || (inode->links == 0 && (inode->flags & INODE_LINKABLE) == 0)) {
        return -ENOENT;
    }
    int result = dentry_new(&dentry, parent, name, length, inode_get(inode));
    if (result == 0 && parent->inode->operations->link != NULL) {
        result = parent->inode->operations->link(parent->inode, name, length, inode);
        if (result != 0) {
            dentry_discard(dentry);
        }
    }
    if (result == 0) {
        __atomic_and_fetch(&inode->flags, ~(uint32_t)INODE_LINKABLE, __ATOMIC_RELAXED);
        inode_dirty(inode);
        inode->links++;
        inode->ctime = inode_now();
        publish(dentry);
        notify_self(inode, IN_ATTRIB);
        notify_name(dentry, IN_CREATE);
        dentry_put(dentry);
    }
    return result;
}

/* Whether the layer below has the name, so that it must be hidden when the dentry goes. */
static bool is_below(struct dentry *dentry)
{
    struct inode *directory = dentry->parent->inode, *inode;
    if (directory->operations->lookup == NULL || !directory->filesystem->in_memory ||
        directory->operations->lookup(directory, dentry->name, dentry->length, &inode) != 0) {
        return false;
    }
    inode_put(inode);
    return true;
}

/* A whiteout to be for the dentry's name, when one is needed; else NULL. */
static int prepare_whiteout(struct dentry *dentry, struct dentry **out)
{
    *out = NULL;
    if (!is_below(dentry)) {
        return 0;
    }
    return dentry_new(out, dentry->parent, dentry->name, dentry->length, NULL);
}

/* What is left to do once a name has gone from the tree. */
static void removed(struct dentry *dentry)
{
    struct inode *inode = dentry->inode;
    inode_dirty(inode);
    inode->ctime = inode_now();
    if (inode_is_directory(inode)) {
        inode->links = 0;
        dentry->parent->inode->links--;
    } else {
        inode->links--;
        notify_self(inode, IN_ATTRIB);
    }
    if (inode->links == 0) {
        inode_unlinked(inode);
    }
    if ((dentry->flags & DENTRY_PINNED) != 0) {
        dentry->flags &= (uint8_t)~DENTRY_PINNED;
        dentry_put(dentry);
    }
}

/* Whether nobody but the caller has what was removed: no open file, and no other name. */
static bool is_forgotten(const struct dentry *dentry)
{
    return dentry->inode->links == 0 && __atomic_load_n(&dentry->references, __ATOMIC_RELAXED) == 1;
}

int dentry_remove(struct dentry *dentry)
{
    struct dentry *whiteout = NULL;
    struct inode *directory = dentry->parent->inode;
    if (directory->operations->create == NULL) {
        return -EPERM;
    }
    int result = directory->operations->remove == NULL
                     ? prepare_whiteout(dentry, &whiteout)
                     : directory->operations->remove(directory, dentry->name, dentry->length,
                                                     inode_is_directory(dentry->inode));
    if (result != 0) {
        return result;
    }
    spin_lock(&dentry_lock);
    /* Whiteouts below a directory that goes have nothing left to hide. */
    list_for_each_safe (node, &dentry->children) {
        struct dentry *child = list_entry(node, struct dentry, siblings);
        if (child->inode == NULL) {
            remove_name(child);
            unref_locked(child);
        }
    }
    remove_name(dentry);
    if (whiteout != NULL) {
        whiteout->flags |= DENTRY_PINNED;
        add_name(whiteout);
    }
    unlock_and_trim();
    changed(directory);
    removed(dentry);
    if (dentry->inode->watches != NULL && is_forgotten(dentry)) {
        inotify_gone(dentry->inode); /* on Linux, too, its own events come before the directory's */
    }
    notify_name(dentry, IN_DELETE);
    return 0;
}

/* `name`: what the dentry was called in `directory`. */
static void notify_renamed(struct inode *directory, const char *name, size_t length,
                           struct dentry *dentry)
{
    uint32_t cookie = inotify_cookie();
    inotify_name(directory, name, length, dentry->inode, IN_MOVED_FROM, cookie);
    inotify_name(dentry->parent->inode, dentry->name, dentry->length, dentry->inode, IN_MOVED_TO,
                 cookie);
}

int dentry_rename(struct dentry *dentry, struct dentry *parent, const char *name, size_t length,
                  struct dentry *target)
{
    struct dentry *whiteout, *old_parent = dentry->parent;
    struct inode *inode = dentry->inode;
    if (parent->inode->operations->create == NULL) {
        return -EPERM;
    }
    if (parent->inode->links == 0) {
        return -ENOENT;
    }
    char *old_name = dentry->name,
         *new_name = length <= sizeof(dentry->short_name) ? NULL : kmalloc(length);
    char told_name[NAME_MAX];
    size_t told_length = inotify_active() ? dentry->length : 0;
    memcpy(told_name, old_name, told_length);
    if (new_name == NULL && length > sizeof(dentry->short_name)) {
        return -ENOMEM;
    }
    int result = prepare_whiteout(dentry, &whiteout);
    if (result == 0 && parent->inode->operations->rename != NULL) {
        result = parent->inode->operations->rename(old_parent->inode, old_name, dentry->length,
                                                   parent->inode, name, length);
    }
    if (result != 0) {
        kfree(new_name);
        return result;
    }
    spin_lock(&dentry_lock);
    if (target == NULL) {
        struct dentry *hidden = find(parent, name, length);
        if (hidden != NULL) {
            remove_name(hidden);
            unref_locked(hidden);
        }
    } else {
        remove_name(target);
    }
    remove_name(dentry);
    if (whiteout != NULL) {
        whiteout->flags |= DENTRY_PINNED;
        add_name(whiteout);
    }
    dentry->parent = parent;
    dentry->name = new_name == NULL ? dentry->short_name : new_name;
    memmove(dentry->name, name, length);
    dentry->length = (uint8_t)length;
    add_name(dentry);
    pin_upper(dentry);
    unref_locked(old_parent);
    unlock_and_trim();
    if (old_name != dentry->short_name) {
        kfree(old_name);
    }
    if (inode_is_directory(inode)) {
        old_parent->inode->links--;
        parent->inode->links++;
    }
    changed(old_parent->inode);
    changed(parent->inode);
    inode_dirty(inode);
    inode->ctime = inode_now();
    if (told_length != 0) {
        notify_renamed(old_parent->inode, told_name, told_length, dentry);
    }
    if (target != NULL) {
        removed(target);
        if (inode_is_directory(target->inode)) {
            notify_self(target->inode, IN_ATTRIB); /* its links; rmdir does not tell of them */
        }
    }
    notify_self(inode, IN_MOVE_SELF);
    return 0;
}

int dentry_exchange(struct dentry *left, struct dentry *right)
{
    struct dentry *pair[2] = {left, right};
    struct dentry saved;
    spin_lock(&dentry_lock);
    remove_name(left);
    remove_name(right);
    saved = *left;
    left->parent = right->parent;
    left->length = right->length;
    memcpy(left->short_name, right->short_name, sizeof(left->short_name));
    left->name = right->name == right->short_name ? left->short_name : right->name;
    right->parent = saved.parent;
    right->length = saved.length;
    memcpy(right->short_name, saved.short_name, sizeof(right->short_name));
    right->name = saved.name == left->short_name ? right->short_name : saved.name;
    for (int i = 0; i < 2; i++) {
        add_name(pair[i]);
        pin_upper(pair[i]);
    }
    unref_locked(left->parent);
    unref_locked(right->parent);
    unlock_and_trim();
    int moved = inode_is_directory(left->inode) - inode_is_directory(right->inode);
    left->parent->inode->links += (uint32_t)moved;
    right->parent->inode->links -= (uint32_t)moved;
    for (int i = 0; i < 2; i++) {
        changed(pair[i]->parent->inode);
        inode_dirty(pair[i]->inode);
        pair[i]->inode->ctime = inode_now();
    }
    for (int i = 0; i < 2 && inotify_active(); i++) {
        const struct dentry *other = pair[1 - i];
        notify_renamed(other->parent->inode, other->name, other->length, pair[i]);
        inotify_self(pair[i]->inode, IN_MOVE_SELF);
    }
    return 0;
}

bool dentry_is_below(struct dentry *dentry, struct dentry *ancestor)
{
    spin_lock(&dentry_lock);
    while (dentry != ancestor && dentry->parent != dentry) {
        dentry = dentry->parent;
    }
    spin_unlock(&dentry_lock);
    return dentry == ancestor;
}

int dentry_anonymous(struct filesystem *filesystem, struct inode *inode, struct dentry **out)
{
    char name[24];
    int length = format(name, sizeof(name), "#%llu", (unsigned long long)inode->number);
    int result = dentry_new(out, filesystem->root, name, (size_t)length, inode);
    if (result == 0) {
        dentry_get(filesystem->root);
    }
    return result;
}

/* --- mounts
 * ---------------------------------------------------------------------------------------------------------
 */

int filesystem_init(struct filesystem *filesystem, struct inode *root)
{
    static uint64_t last_device = 20;
    if (buckets == NULL) {
        buckets = kzalloc(FIRST_BUCKETS * sizeof(struct dentry *));
        bucket_count = FIRST_BUCKETS;
    }
    filesystem->device = ++last_device;
    mutex_init(&filesystem->change_lock);
    return buckets == NULL ? -ENOMEM : dentry_new(&filesystem->root, NULL, "", 0, root);
}

int filesystem_mount(struct filesystem *filesystem, const char *path)
{
    struct filesystem **end = &filesystems;
    if (root_dentry == NULL) {
        root_dentry = filesystem->root;
        cwd = dentry_get(root_dentry);
    } else {
        struct walk walk;
        int result = walk_path(root_dentry, path, WALK_FOLLOW | WALK_DIRECTORY, &walk);
        if (result != 0) {
            return result;
        }
        filesystem->covered = dentry_get(walk.dentry);
        walk_end(&walk);
        spin_lock(&dentry_lock);
        filesystem->covered->mounted = filesystem->root;
        spin_unlock(&dentry_lock);
    }
    while (*end != NULL) {
        end = &(*end)->next;
    }
    *end = filesystem;
    return 0;
}

struct dentry *cwd_get(void)
{
    spin_lock(&dentry_lock);
    struct dentry *dentry = dentry_get(cwd);
    spin_unlock(&dentry_lock);
    return dentry;
}

void cwd_set(struct dentry *dentry)
{
    spin_lock(&dentry_lock);
    struct dentry *old = cwd;
    cwd = dentry;
    spin_unlock(&dentry_lock);
    dentry_put(old);
}

int fs_set_cwd(const char *path)
{
    struct walk walk;
    int result = walk_path(root_dentry, path, WALK_FOLLOW | WALK_DIRECTORY, &walk);
    if (result == 0) {
        cwd_set(dentry_get(walk.dentry));
        walk_end(&walk);
    }
    return result;
}

static struct dentry *up(struct dentry *dentry)
{
    while (dentry->parent == dentry && dentry->inode->filesystem->covered != NULL) {
        dentry = dentry->inode->filesystem->covered;
    }
    return dentry->parent;
}

char *dentry_path(struct dentry *dentry, char *buffer, size_t size, bool *deleted)
{
    char *at = buffer + size;
    if (size < 2) {
        return NULL;
    }
    *--at = '\0';
    spin_lock(&dentry_lock);
    bool gone = (dentry->flags & DENTRY_HASHED) == 0 && dentry->parent != dentry;
    while (dentry != root_dentry) {
        if (dentry->parent == dentry) {
            dentry = dentry->inode->filesystem->covered;
            if (dentry == NULL) {
                break;
            }
            continue;
        }
        if ((size_t)(at - buffer) < dentry->length + 1ul) {
            at = NULL;
            break;
        }
        at -= dentry->length;
        memcpy(at, dentry->name, dentry->length);
        *--at = '/';
        dentry = dentry->parent;
    }
    spin_unlock(&dentry_lock);
    if (at != NULL && *at == '\0') {
        *--at = '/';
    }
    if (deleted != NULL) {
        *deleted = gone;
    }
    return at;
}

struct inode *dentry_name(struct dentry *dentry, char *name, size_t *length, bool *unlinked)
{
    struct inode *directory = NULL;
    spin_lock(&dentry_lock);
    /* Roots have no name, and what never had one (O_TMPFILE) no place. */
    if (dentry->parent != dentry && dentry->cookie != 0) {
        directory = inode_get(dentry->parent->inode);
        *length = dentry->length;
        memcpy(name, dentry->name, dentry->length);
        *unlinked = (dentry->flags & DENTRY_HASHED) == 0;
    }
    spin_unlock(&dentry_lock);
    return directory;
}

char *file_path(struct file *file, char *buffer, size_t size)
{
    return file->dentry == NULL ? NULL : dentry_path(file->dentry, buffer, size, NULL);
}

/* --- path walk
 * ------------------------------------------------------------------------------------------------------
 */

/* A name that is not cached. dentry_lock is held before and after; the result is safe until it is
 * released. */
static int lookup_slowly(struct dentry *parent, const char *name, size_t length,
                         struct dentry **out)
{
    struct mutex *change_lock = &parent->inode->filesystem->change_lock;
    ref_locked(parent);
    spin_unlock(&dentry_lock);
    mutex_lock(change_lock);
    int result = dentry_lookup(parent, name, length, out);
    mutex_unlock(change_lock);
    spin_lock(&dentry_lock);
    unref_locked(parent);
    if (result == 0) {
        unref_locked(*out);
    }
    return result;
}

/* Puts the target of a symbolic link in front of `rest` as the new path: its start in *path.
 * `open`, when the link leads to an open file: that, with a reference. dentry_lock is held before
 * and after; `from` stays. */
static int read_link(struct dentry *from, struct dentry *link, const char *rest, char **path,
                     struct file **open)
{
    struct inode *inode = link->inode;
    int result = -ENOMEM;
    ref_locked(from);
    ref_locked(link);
    spin_unlock(&dentry_lock);
    *open = NULL;
    *path = NULL;
    if (inode->operations->follow != NULL) {
        result = inode->operations->follow(inode, open);
    } else {
        size_t rest_length = strlen(rest);
        char *buffer = kmalloc(PATH_MAX + rest_length + 2);
        if (buffer != NULL) {
            long length = inode->operations->read_link(inode, buffer, PATH_MAX);
            result = length < 0           ? (int)length
                     : length == 0        ? -ENOENT
                     : length >= PATH_MAX ? -ENAMETOOLONG
                                          : 0;
            if (result == 0) {
                /* `rest` begins with the slash that ended the link's name, or is empty. */
                memcpy(buffer + length, rest, rest_length + 1);
                *path = buffer;
            } else {
                kfree(buffer);
            }
        }
    }
    spin_lock(&dentry_lock);
    unref_locked(from);
    unref_locked(link);
    return result;
}

int walk_path(struct dentry *start, const char *path, unsigned flags, struct walk *walk)
{
    struct dentry *current = start, *parent = NULL, *child;
    struct dentry *base = (flags & WALK_IN_ROOT) != 0 ? start : root_dentry;
    int links = 0, result = 0;
    memset(walk, 0, sizeof(*walk));
    walk->name = path;
    if (*path == '\0' && (flags & WALK_EMPTY) == 0) {
        return -ENOENT;
    }
    spin_lock(&dentry_lock);
restart:
    if (*path == '/') {
        current = base;
        if ((flags & WALK_BENEATH) != 0) {
            result = -EXDEV;
            goto out;
        }
    }
    for (;;) {
        while (*path == '/') {
            path++;
        }
        if (*path == '\0') {
            walk->length = 0;
            parent = parent == NULL ? current : parent;
            break;
        }
        size_t length = 1;
        while (path[length] != '\0' && path[length] != '/') {
            length++;
        }
        const char *rest = path + length;
        while (*rest == '/') {
            rest++;
        }
        bool last = *rest == '\0';
        walk->slash = last && path[length] == '/';
        walk->name = path;
        walk->length = length;
        result = length > NAME_MAX                     ? -ENAMETOOLONG
                 : !inode_is_directory(current->inode) ? -ENOTDIR
                                                       : 0;
        if (result != 0) {
            goto out;
        }
        if (path[0] == '.' && (length == 1 || (length == 2 && path[1] == '.'))) {
            parent = current;
            if (length == 2 && current != base) {
                if (current == start && (flags & WALK_BENEATH) != 0) {
                    result = -EXDEV;
                    goto out;
                }
                current = up(current);
                if ((flags & WALK_NO_XDEV) != 0 &&
                    current->inode->filesystem != parent->inode->filesystem) {
                    result = -EXDEV;
                    goto out;
                }
            }
            if (last) {
                walk->length = 0;
                break;
            }
            path = rest;
            continue;
        }
        child = find(current, path, length);
        if (!is_final(current, child)) {
            result = lookup_slowly(current, path, length, &child);
        } else if (child == NULL || child->inode == NULL) {
            result = -ENOENT;
        }
        if (result != 0) {
            if (result == -ENOENT && last && (flags & WALK_PARENT) != 0) {
                parent = current;
                current = NULL;
                result = 0;
            }
            break;
        }
        while (child->mounted != NULL) {
            child = child->mounted;
            if ((flags & WALK_NO_XDEV) != 0) {
                result = -EXDEV;
                goto out;
            }
        }
        bool by_slash = walk->slash && (flags & WALK_PARENT) == 0;
        if (S_ISLNK(child->inode->mode) && (!last || by_slash || (flags & WALK_FOLLOW) != 0)) {
            char *target;
            struct file *open;
            bool magic = child->inode->operations->follow != NULL;
            if (++links > MAX_LINKS || walk->file != NULL || (flags & WALK_NO_LINKS) != 0 ||
                (magic && (flags & WALK_NO_MAGIC) != 0)) {
                result = -ELOOP;
                goto out;
            }
            result = read_link(current, child, path + length, &target, &open);
            if (result != 0) {
                goto out;
            }
            if (open == NULL) {
                kfree(walk->buffer);
                walk->buffer = target;
                path = target;
                parent = NULL;
                goto restart;
            }
            if (open->dentry == NULL) {
                result = last && (flags & WALK_FILE) != 0 ? 0 : -ENXIO;
                walk->file = open;
                current = NULL;
                goto out;
            }
            /* The descriptor could be closed now; its dentry is kept by a reference until the walk
             * ends. */
            walk->file = open;
            child = open->dentry;
        }
        parent = current;
        current = child;
        if (last) {
            break;
        }
        path = rest;
    }
    bool slash = walk->slash && (flags & WALK_NEW) == 0;
    if (result == 0 && current != NULL && (slash || (flags & WALK_DIRECTORY) != 0) &&
        !inode_is_directory(current->inode)) {
        result = -ENOTDIR;
    }
out:
    if (result == 0 && current != NULL) {
        ref_locked(current);
        walk->dentry = current;
    }
    if (result == 0 && (flags & WALK_PARENT) != 0 && parent != NULL) {
        ref_locked(parent);
        walk->parent = parent;
    }
    unlock_and_trim();
    if (walk->file != NULL && (result != 0 || walk->dentry != NULL)) {
        file_put(walk->file);
        walk->file = NULL;
    }
    if (result != 0) {
        kfree(walk->buffer);
    }
    return result;
}

void walk_end(struct walk *walk)
{
    if (walk->dentry != NULL) {
        dentry_put(walk->dentry);
    }
    if (walk->parent != NULL) {
        dentry_put(walk->parent);
    }
    if (walk->file != NULL) {
        file_put(walk->file);
    }
    kfree(walk->buffer);
}

/* --- directories as files
 * ------------------------------------------------------------------------------------------- */

struct record {
    uint64_t number;
    int64_t next;
    uint16_t length;
    uint8_t type;
    char name[];
} __attribute__((packed)); /* struct linux_dirent64, getdents64(2) */

struct listing {
    struct dentry *directory;
    char *buffer;
    size_t used, size;
    uint64_t offset; /* of the next name */
    bool full;
};

size_t put_dirent(char *to, size_t room, const char *name, size_t length, uint64_t number,
                  unsigned type, uint64_t next)
{
    size_t size = (offsetof(struct record, name) + length + 1 + 7) & ~7ul;
    if (room < size) {
        return 0;
    }
    struct record *record = (struct record *)to;
    record->number = number;
    record->next = (int64_t)next;
    record->length = (uint16_t)size;
    record->type = (uint8_t)type;
    memcpy(record->name, name, length);
    memset(record->name + length, 0, size - offsetof(struct record, name) - length);
    return size;
}

static bool put_record(struct listing *listing, const char *name, size_t length, uint64_t number,
                       unsigned type, uint64_t next)
{
    size_t size = put_dirent(listing->buffer + listing->used, listing->size - listing->used, name,
                             length, number, type, next);
    if (size == 0) {
        listing->full = true;
        return false;
    }
    listing->used += size;
    listing->offset = next;
    return true;
}

/* A name of the layer below: hidden by a whiteout or by what was made here. */
static bool put_lower(void *context, const char *name, size_t length, uint64_t number,
                      unsigned type, uint64_t next)
{
    struct listing *listing = context;
    spin_lock(&dentry_lock);
    struct dentry *dentry = find(listing->directory, name, length);
    bool hidden = dentry != NULL && (dentry->inode == NULL || (dentry->flags & DENTRY_UPPER) != 0);
    spin_unlock(&dentry_lock);
    return hidden || put_record(listing, name, length, number, type, next + 2);
}

static int list_directory(struct listing *listing)
{
    struct dentry *directory = listing->directory;
    struct inode *inode = directory->inode;
    unsigned type = S_IFDIR >> 12;
    if (listing->offset == 0 && !put_record(listing, ".", 1, inode->number, type, 1)) {
        return 0;
    }
    if (listing->offset == 1 &&
        !put_record(listing, "..", 2, up(directory)->inode->number, type, 2)) {
        return 0;
    }
    if (inode->operations->list != NULL && listing->offset < OFFSET_MADE_HERE) {
        uint64_t position = listing->offset - 2;
        int result = inode->operations->list(inode, &position, put_lower, listing);
        if (result != 0 || listing->full) {
            return result;
        }
    }
    listing->offset = MAX(listing->offset, OFFSET_MADE_HERE);
    spin_lock(&dentry_lock);
    list_for_each (node, &directory->children) {
        struct dentry *child = list_entry(node, struct dentry, siblings);
        if ((child->flags & DENTRY_UPPER) != 0 && child->inode != NULL &&
            (child->cookie | OFFSET_MADE_HERE) > listing->offset &&
            !put_record(listing, child->name, child->length, child->inode->number,
                        child->inode->mode >> 12, child->cookie | OFFSET_MADE_HERE)) {
            break;
        }
    }
    spin_unlock(&dentry_lock);
    return 0;
}

static long directory_list(struct file *file, struct io_vector *io, uint64_t *offset)
{
    struct listing listing = {
        .directory = file->dentry, .size = MIN(io->remaining, 8192ul), .offset = *offset};
    if (file->inode->links == 0) {
        return -ENOENT;
    }
    listing.buffer = kmalloc(MAX(listing.size, 1ul));
    if (listing.buffer == NULL) {
        return -ENOMEM;
    }
    struct mutex *change_lock = &file->inode->filesystem->change_lock;
    mutex_lock(change_lock);
    int result = list_directory(&listing);
    mutex_unlock(change_lock);
    if (result == 0 && listing.used == 0 && listing.full) {
        result = -EINVAL;
    }
    if (result == 0) {
        result = io_copy_to(io, listing.buffer, listing.used);
    }
    if (result == 0) {
        *offset = listing.offset;
    }
    kfree(listing.buffer);
    return result != 0 ? result : (long)listing.used;
}

bool dentry_is_empty(struct dentry *directory)
{
    char buffer[64];
    /* Longer than "." and "..": any further name either fits or does not. */
    struct listing listing = {.directory = directory, .buffer = buffer, .size = 40, .offset = 2};
    if (directory->inode->filesystem->remote) {
        return true; /* whose directory it is will say */
    }
    return list_directory(&listing) == 0 && listing.used == 0 && !listing.full;
}

const struct file_operations directory_operations = {.readdir = directory_list};

/* --- opening
 * --------------------------------------------------------------------------------------------------------
 */

static const struct file_operations path_operations;

int dentry_open(struct dentry *dentry, uint32_t flags, struct file **out)
{
    struct inode *inode = dentry->inode;
    struct file *file;
    int result = file_create(&file, &path_operations, flags, NULL);
    if (result != 0) {
        return result;
    }
    file->dentry = dentry_get(dentry);
    file->inode = inode;
    if ((flags & O_PATH) == 0) {
        switch (inode->mode & S_IFMT) {
        case S_IFDIR:
            if (inode->filesystem->remote) {
                result = inode->operations->open(inode, file);
            } else {
                file->operations = &directory_operations;
                file_set_seekable(file);
            }
            break;
        case S_IFCHR:
            result = chr_open(inode, file);
            break;
        case S_IFBLK:
            result = block_open(inode, file);
            break;
        case S_IFIFO:
            result = fifo_open(inode, file);
            break;
        case S_IFREG:
            result = inode->operations->open(inode, file);
            break;
        default:
            result = -ENXIO;
        }
    }
    if (result != 0) {
        /* Never opened, so its end is no event. */
        file->flags |= O_PATH;
        file->operations = &path_operations;
        file_put(file);
        return result;
    }
    *out = file;
    return 0;
}
