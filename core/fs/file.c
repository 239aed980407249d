/* SPDX-License-Identifier: MIT */
/* Open file descriptions and the descriptor table of the one process. Looking a descriptor up takes
 * no lock: a struct file is never given back to the allocator, so a reference taken on a stale one
 * is noticed by looking at the slot again and dropped. table_lock guards the bitmaps and all
 * changes of slots; pool_lock the unused struct files. */
#include "core/fs/fs_internal.h"
#include "core/fs/inode.h"
#include "core/fs/notify.h"
#include "core/mm/page.h"

/* --- struct file
 * ----------------------------------------------------------------------------------------------------
 */

/* Type-stable: stays a file_slot for ever. */
struct file_slot {
    struct file file;
    struct mutex position;
    struct file_slot *next_free;
};

static struct spinlock pool_lock = SPINLOCK_INIT(LOCK_FILE);
static struct file_slot *pool;
uint32_t file_count; /* in use; pool_lock */

static bool pool_grow(void)
{
    uint64_t page = page_alloc(0, PAGE_ZERO);
    if (page == 0) {
        return false;
    }
    struct file_slot *slots = direct_map(page);
    spin_lock(&pool_lock);
    for (unsigned i = 0; i < PAGE_SIZE / sizeof(*slots); i++) {
        slots[i].next_free = pool;
        pool = &slots[i];
    }
    spin_unlock(&pool_lock);
    return true;
}

int file_create(struct file **out, const struct file_operations *operations, uint32_t flags,
                void *data)
{
    struct file_slot *slot;
    for (;;) {
        spin_lock(&pool_lock);
        slot = pool;
        if (slot != NULL) {
            pool = slot->next_free;
            file_count++;
        }
        spin_unlock(&pool_lock);
        if (slot != NULL) {
            break;
        }
        if (!pool_grow()) {
            return -ENOMEM;
        }
    }
    struct file *file = &slot->file;
    file->operations = operations;
    file->flags = flags;
    file->offset = 0;
    file->offset_lock = NULL;
    file->inode = NULL;
    file->dentry = NULL;
    file->data = data;
    list_init(&file->watches);
    __atomic_store_n(&file->references, 1, __ATOMIC_RELEASE);
    *out = file;
    return 0;
}

void file_set_seekable(struct file *file)
{
    struct file_slot *slot = container_of(file, struct file_slot, file);
    mutex_init(&slot->position);
    file->offset_lock = &slot->position;
}

struct file *file_get(struct file *file)
{
    __atomic_add_fetch(&file->references, 1, __ATOMIC_RELAXED);
    return file;
}

static void file_release(struct file *file)
{
    if (!list_empty(&file->watches)) {
        epoll_forget(file);
    }
    if (file->inode != NULL) {
        locks_release(file);
        if ((file->flags & O_PATH) == 0) {
            notify_file(file, file_writable(file) ? IN_CLOSE_WRITE : IN_CLOSE_NOWRITE);
        }
    }
    if (file->operations != NULL && file->operations->release != NULL) {
        file->operations->release(file);
    }
    if (file->dentry != NULL) {
        dentry_put(file->dentry);
    }
    struct file_slot *slot = container_of(file, struct file_slot, file);
    spin_lock(&pool_lock);
    slot->next_free = pool;
    pool = slot;
    file_count--;
    spin_unlock(&pool_lock);
}

void file_put(struct file *file)
{
    if (__atomic_sub_fetch(&file->references, 1, __ATOMIC_ACQ_REL) == 0) {
        file_release(file);
    }
}

/* --- the table
 * ------------------------------------------------------------------------------------------------------
 */

#define CHUNK_SLOTS 512
#define CHUNKS (FD_MAX / CHUNK_SLOTS)
#define SLOT_CLOEXEC 1ul

struct chunk {
    uint64_t used[CHUNK_SLOTS / 64];
    uintptr_t slots[CHUNK_SLOTS]; /* struct file *, with SLOT_CLOEXEC; atomic */
};

uint32_t fd_limit = FD_MAX;

static struct spinlock table_lock = SPINLOCK_INIT(LOCK_FILE);
static struct chunk *chunks[CHUNKS];
static uint64_t chunk_full[CHUNKS / 64]; /* table_lock */

static inline uintptr_t *slot_of(unsigned fd)
{
    if (fd >= FD_MAX) {
        return NULL;
    }
    struct chunk *chunk = __atomic_load_n(&chunks[fd / CHUNK_SLOTS], __ATOMIC_ACQUIRE);
    return chunk == NULL ? NULL : &chunk->slots[fd % CHUNK_SLOTS];
}

static inline struct file *slot_file(uintptr_t value)
{
    return (struct file *)(value & ~SLOT_CLOEXEC);
}

static inline int look_up(int fd, struct file **out)
{
    uintptr_t *slot = slot_of((unsigned)fd);
    if (slot == NULL) {
        return -EBADF;
    }
    for (;;) {
        struct file *file = slot_file(__atomic_load_n(slot, __ATOMIC_ACQUIRE));
        if (file == NULL) {
            return -EBADF;
        }
        uint32_t references = __atomic_load_n(&file->references, __ATOMIC_RELAXED);
        while (references != 0) {
            if (__atomic_compare_exchange_n(&file->references, &references, references + 1, true,
                                            __ATOMIC_ACQUIRE, __ATOMIC_RELAXED)) {
                if (slot_file(__atomic_load_n(slot, __ATOMIC_ACQUIRE)) == file) {
                    *out = file;
                    return 0;
                }
                file_put(file);
                break;
            }
        }
    }
}

int fd_lookup_any(int fd, struct file **out)
{
    return look_up(fd, out);
}

int fd_lookup(int fd, struct file **out)
{
    int result = look_up(fd, out);
    if (result == 0 && __builtin_expect(((*out)->flags & O_PATH) != 0, 0)) {
        file_put(*out);
        result = -EBADF;
    }
    return result;
}

/* Makes sure that the chunk exists. table_lock held. */
static struct chunk *chunk_need(unsigned index)
{
    if (chunks[index] == NULL) {
        struct chunk *chunk = kzalloc(sizeof(*chunk));
        __atomic_store_n(&chunks[index], chunk, __ATOMIC_RELEASE);
    }
    return chunks[index];
}

static void mark_used(unsigned fd)
{
    struct chunk *chunk = chunks[fd / CHUNK_SLOTS];
    unsigned in_chunk = fd % CHUNK_SLOTS;
    chunk->used[in_chunk / 64] |= 1ull << (in_chunk % 64);
    if (chunk->used[in_chunk / 64] == UINT64_MAX) {
        for (unsigned i = 0; i < CHUNK_SLOTS / 64; i++) {
            if (chunk->used[i] != UINT64_MAX) {
                return;
            }
        }
        unsigned index = fd / CHUNK_SLOTS;
        chunk_full[index / 64] |= 1ull << (index % 64);
    }
}

static void mark_free(unsigned fd)
{
    unsigned index = fd / CHUNK_SLOTS;
    unsigned in_chunk = fd % CHUNK_SLOTS;
    chunks[index]->used[in_chunk / 64] &= ~(1ull << (in_chunk % 64));
    chunk_full[index / 64] &= ~(1ull << (index % 64));
}

/* The lowest free descriptor not below `minimum`, with its chunk allocated: -EMFILE, -ENOMEM.
 * table_lock held. */
static int find_free(unsigned minimum)
{
    for (unsigned index = minimum / CHUNK_SLOTS; index < CHUNKS; index++) {
        if (index * CHUNK_SLOTS >= fd_limit) {
            break;
        }
        if (((chunk_full[index / 64] >> (index % 64)) & 1) != 0) {
            continue;
        }
        struct chunk *chunk = chunk_need(index);
        if (chunk == NULL) {
            return -ENOMEM;
        }
        unsigned first = index == minimum / CHUNK_SLOTS ? minimum % CHUNK_SLOTS : 0;
        for (unsigned word = first / 64; word < CHUNK_SLOTS / 64; word++) {
            uint64_t unused = ~chunk->used[word];
            if (word == first / 64) {
                unused &= UINT64_MAX << (first % 64);
            }
            if (unused != 0) {
                unsigned fd = index * CHUNK_SLOTS + word * 64 + (unsigned)__builtin_ctzll(unused);
                return fd < fd_limit ? (int)fd : -EMFILE;
            }
        }
    }
    return -EMFILE;
}

int fd_install(struct file *file, bool cloexec, int minimum)
{
    spin_lock(&table_lock);
    int fd = find_free((unsigned)minimum);
    if (fd >= 0) {
        mark_used((unsigned)fd);
        __atomic_store_n(slot_of((unsigned)fd), (uintptr_t)file | cloexec, __ATOMIC_RELEASE);
    }
    spin_unlock(&table_lock);
    if (fd < 0) {
        file_put(file);
    }
    return fd;
}

int fd_install_at(struct file *file, bool cloexec, int fd)
{
    struct file *old = NULL;
    int result = -EBADF;
    spin_lock(&table_lock);
    if ((unsigned)fd < fd_limit) {
        result = -ENOMEM;
        if (chunk_need((unsigned)fd / CHUNK_SLOTS) != NULL) {
            mark_used((unsigned)fd);
            uintptr_t value = (uintptr_t)file | cloexec;
            old = slot_file(__atomic_exchange_n(slot_of((unsigned)fd), value, __ATOMIC_ACQ_REL));
            result = fd;
        }
    }
    spin_unlock(&table_lock);
    if (result < 0) {
        old = file;
    }
    if (old != NULL) {
        file_put(old);
    }
    return result;
}

int fd_close(int fd)
{
    struct file *file = NULL;
    uintptr_t *slot = slot_of((unsigned)fd);
    if (slot == NULL) {
        return -EBADF;
    }
    spin_lock(&table_lock);
    file = slot_file(__atomic_exchange_n(slot, 0, __ATOMIC_ACQ_REL));
    if (file != NULL) {
        mark_free((unsigned)fd);
    }
    spin_unlock(&table_lock);
    if (file == NULL) {
        return -EBADF;
    }
    file_put(file);
    return 0;
}

int fd_next(int fd)
{
    for (unsigned next = (unsigned)fd; next < FD_MAX; next++) {
        uintptr_t *slot = slot_of(next);
        if (slot == NULL) {
            next |= CHUNK_SLOTS - 1;
        } else if (__atomic_load_n(slot, __ATOMIC_RELAXED) != 0) {
            return (int)next;
        }
    }
    return -1;
}

int file_create_fd(const struct file_operations *operations, uint32_t flags, void *data)
{
    struct file *file;
    int result = file_create(&file, operations, flags & ~(uint32_t)O_CLOEXEC, data);
    if (result != 0) {
        struct file gone = {.data = data};
        operations->release(&gone);
        return result;
    }
    return fd_install(file, (flags & O_CLOEXEC) != 0, 0);
}

/* --- system calls on the table
 * -------------------------------------------------------------------------------------- */

long sys_close(struct syscall_args *a)
{
    return fd_close((int)a->arg[0]);
}

long sys_close_range(struct syscall_args *a)
{
    enum { UNSHARE = 2, SET_CLOEXEC = 4 };
    unsigned first = (unsigned)a->arg[0], last = (unsigned)a->arg[1], flags = (unsigned)a->arg[2];
    if ((flags & ~(unsigned)(UNSHARE | SET_CLOEXEC)) != 0 || first > last) {
        return -EINVAL;
    }
    for (int fd = first < FD_MAX ? fd_next((int)first) : -1; fd >= 0 && (unsigned)fd <= last;
         fd = fd_next(fd + 1)) {
        if ((flags & SET_CLOEXEC) == 0) {
            fd_close(fd);
        } else {
            spin_lock(&table_lock);
            if (*slot_of((unsigned)fd) != 0) {
                __atomic_or_fetch(slot_of((unsigned)fd), SLOT_CLOEXEC, __ATOMIC_RELAXED);
            }
            spin_unlock(&table_lock);
        }
    }
    return 0;
}

static long dup_from(int fd, bool cloexec, unsigned minimum)
{
    struct file *file;
    int result = fd_lookup_any(fd, &file);
    if (result != 0) {
        return result;
    }
    if (minimum >= fd_limit) {
        file_put(file);
        return -EINVAL;
    }
    return fd_install(file, cloexec, (int)minimum);
}

long sys_dup(struct syscall_args *a)
{
    return dup_from((int)a->arg[0], false, 0);
}

static long dup_to(int old, int fd, bool cloexec)
{
    struct file *file;
    int result = fd_lookup_any(old, &file);
    return result != 0 ? result : fd_install_at(file, cloexec, fd);
}

long sys_dup2(struct syscall_args *a)
{
    int old = (int)a->arg[0], fd = (int)a->arg[1];
    if (old == fd) {
        struct file *file;
        int result = fd_lookup_any(old, &file);
        if (result == 0) {
            file_put(file);
            result = fd;
        }
        return result;
    }
    return dup_to(old, fd, false);
}

long sys_dup3(struct syscall_args *a)
{
    int old = (int)a->arg[0], fd = (int)a->arg[1], flags = (int)a->arg[2];
    if (old == fd || (flags & ~O_CLOEXEC) != 0) {
        return -EINVAL;
    }
    return dup_to(old, fd, flags != 0);
}

static long fcntl_file(struct file *file, int fd, unsigned command, uintptr_t argument)
{
    enum { CHANGEABLE = O_APPEND | O_NONBLOCK | O_DIRECT | O_NOATIME };
    uintptr_t *slot = slot_of((unsigned)fd);
    switch (command) {
    case F_GETFD:
        return (long)(__atomic_load_n(slot, __ATOMIC_RELAXED) & SLOT_CLOEXEC);
    case F_SETFD:
        spin_lock(&table_lock);
        if (slot_file(*slot) == file) {
            __atomic_store_n(slot, (uintptr_t)file | ((argument & FD_CLOEXEC) != 0),
                             __ATOMIC_RELEASE);
        }
        spin_unlock(&table_lock);
        return 0;
    case F_GETFL:
        return __atomic_load_n(&file->flags, __ATOMIC_RELAXED);
    default:
        break;
    }
    if ((file->flags & O_PATH) != 0) {
        return -EBADF;
    }
    switch (command) {
    case F_SETFL: {
        uint32_t old = __atomic_load_n(&file->flags, __ATOMIC_RELAXED);
        uint32_t flags;
        do {
            flags = (old & ~(uint32_t)CHANGEABLE) | ((uint32_t)argument & CHANGEABLE);
        } while (!__atomic_compare_exchange_n(&file->flags, &old, flags, true, __ATOMIC_RELAXED,
                                              __ATOMIC_RELAXED));
        return 0;
    }
    case F_SETPIPE_SZ:
    case F_GETPIPE_SZ:
        /* Only a pipe's ioctl knows these two numbers; they are far from any ioctl's. */
        return file->operations->ioctl == NULL || file->inode != NULL
                   ? -EBADF
                   : file->operations->ioctl(file, command, argument);
    case F_GETLK:
    case F_SETLK:
    case F_SETLKW:
    case F_OFD_GETLK:
    case F_OFD_SETLK:
    case F_OFD_SETLKW:
        return locks_fcntl(file, command, argument);
    default:
        return -EINVAL;
    }
}

long sys_fcntl(struct syscall_args *a)
{
    int fd = (int)a->arg[0];
    unsigned command = (unsigned)a->arg[1];
    if (command == F_DUPFD || command == F_DUPFD_CLOEXEC) {
        return dup_from(fd, command == F_DUPFD_CLOEXEC, (unsigned)a->arg[2]);
    }
    struct file *file;
    int result = fd_lookup_any(fd, &file);
    if (result != 0) {
        return result;
    }
    long done = fcntl_file(file, fd, command, a->arg[2]);
    file_put(file);
    return done;
}
