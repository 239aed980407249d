/* SPDX-License-Identifier: MIT */
/* Moving data between files and the program: io vectors and the system calls of the read and write
 * family, lseek, ioctl, sendfile and copy_file_range. Owns nothing; a file's position is guarded by
 * its offset_lock. */
#include <asm/ioctls.h>
#include <linux/fs.h>

#include "core/fs/fs_internal.h"
#include "core/fs/inode.h"
#include "core/fs/notify.h"
#include "core/signal/restart.h"
#include "core/signal/signal.h"

/* --- io vectors
 * -----------------------------------------------------------------------------------------------------
 */

static int io_copy(struct io_vector *io, char *kernel, size_t size, bool to_io)
{
    size = MIN(size, io->remaining);
    while (size != 0) {
        struct io_segment *segment = io->segments;
        if (segment->length == 0) {
            io->segments++;
            io->count--;
            continue;
        }
        size_t piece = MIN(size, segment->length);
        if (io->kernel) {
            if (to_io) {
                memcpy((void *)segment->base, kernel, piece);
            } else {
                memcpy(kernel, (void *)segment->base, piece);
            }
        } else {
            int result = to_io ? copy_to_user(segment->base, kernel, piece)
                               : copy_from_user(kernel, segment->base, piece);
            if (result != 0) {
                return result;
            }
        }
        segment->base += piece;
        segment->length -= piece;
        io->remaining -= piece;
        kernel += piece;
        size -= piece;
    }
    return 0;
}

int io_copy_to(struct io_vector *io, const void *from, size_t size)
{
    return io_copy(io, (char *)from, size, true);
}

int io_copy_from(struct io_vector *io, void *to, size_t size)
{
    return io_copy(io, to, size, false);
}

/* --- one transfer
 * ---------------------------------------------------------------------------------------------------
 */

/* Operations say -EINTR when they were interrupted before anything was done: then the call is made
 * again if the handler wants that. */
static long restartable(long done)
{
    return done == -EINTR ? -ERESTARTSYS : done;
}

/* Tells who watches the file what has been done. */
static inline long told(struct file *file, bool write, long done)
{
    if (done > 0) {
        notify_file(file, write ? IN_MODIFY : IN_ACCESS);
    }
    return done;
}

/* `at`: a position of the caller's own; NULL: the file's. */
static long transfer(struct file *file, struct io_vector *io, bool write, uint64_t *at)
{
    long (*operation)(struct file *, struct io_vector *, uint64_t *) =
        write ? file->operations->write : file->operations->read;
    if (!(write ? file_writable(file) : file_readable(file))) {
        return -EBADF;
    }
    if (operation == NULL) {
        return !write && file->inode != NULL && inode_is_directory(file->inode) ? -EISDIR : -EINVAL;
    }
    if (file->offset_lock == NULL) {
        return at != NULL ? -ESPIPE : told(file, write, restartable(operation(file, io, NULL)));
    }
    if (at != NULL) {
        return told(file, write, operation(file, io, at));
    }
    mutex_lock(file->offset_lock);
    long done = operation(file, io, &file->offset);
    mutex_unlock(file->offset_lock);
    return told(file, write, done);
}

static long transfer_kernel(struct file *file, void *bytes, size_t size, bool write,
                            uint64_t *offset)
{
    struct io_segment segment = {(uintptr_t)bytes, size};
    struct io_vector io = {&segment, 1, size, true};
    return transfer(file, &io, write, offset);
}

long file_read(struct file *file, void *to, size_t size, uint64_t *offset)
{
    return transfer_kernel(file, to, size, false, offset);
}

long file_write(struct file *file, const void *from, size_t size, uint64_t *offset)
{
    return transfer_kernel(file, (void *)from, size, true, offset);
}

static long read_write(struct syscall_args *a, bool write, uint64_t *at)
{
    struct file *file;
    int result = fd_lookup((int)a->arg[0], &file);
    if (result != 0) {
        return result;
    }
    struct io_segment segment = {a->arg[1], a->arg[2]};
    long done = -EINVAL;
    if ((int64_t)segment.length >= 0) {
        segment.length = MIN(segment.length, MAX_IO_BYTES);
        struct io_vector io = {&segment, 1, segment.length, false};
        done = transfer(file, &io, write, at);
    }
    file_put(file);
    return done;
}

long sys_read(struct syscall_args *a)
{
    return read_write(a, false, NULL);
}

long sys_write(struct syscall_args *a)
{
    return read_write(a, true, NULL);
}

long sys_pread64(struct syscall_args *a)
{
    uint64_t at = a->arg[3];
    return (int64_t)at < 0 ? -EINVAL : read_write(a, false, &at);
}

long sys_pwrite64(struct syscall_args *a)
{
    uint64_t at = a->arg[3];
    return (int64_t)at < 0 ? -EINVAL : read_write(a, true, &at);
}

int io_import(struct io_import *import, uintptr_t segments, size_t count)
{
    enum { MAX_SEGMENTS = 1024 };
    import->all = import->few;
    if (count > MAX_SEGMENTS) {
        return -EINVAL;
    }
    if (count > IO_FEW && (import->all = kmalloc(count * sizeof(*import->all))) == NULL) {
        return -ENOMEM;
    }
    int result = copy_from_user(import->all, segments, count * sizeof(*import->all));
    size_t total = 0;
    for (size_t i = 0; i < count && result == 0; i++) {
        struct io_segment *segment = &import->all[i];
        result = (int64_t)segment->length < 0 ? -EINVAL : 0;
        segment->length = MIN(segment->length, MAX_IO_BYTES - total);
        total += segment->length;
    }
    import->io = (struct io_vector){import->all, (unsigned)count, total, false};
    if (result != 0) {
        io_import_end(import);
    }
    return result;
}

void io_import_end(struct io_import *import)
{
    if (import->all != import->few) {
        kfree(import->all);
    }
}

static long vectored(struct syscall_args *a, bool write, uint64_t *at)
{
    struct io_import import;
    struct file *file;
    int result = fd_lookup((int)a->arg[0], &file);
    if (result != 0) {
        return result;
    }
    long done = io_import(&import, a->arg[1], a->arg[2]);
    if (done == 0) {
        done = transfer(file, &import.io, write, at);
        io_import_end(&import);
    }
    file_put(file);
    return done;
}

long sys_readv(struct syscall_args *a)
{
    return vectored(a, false, NULL);
}

long sys_writev(struct syscall_args *a)
{
    return vectored(a, true, NULL);
}

long sys_preadv(struct syscall_args *a)
{
    uint64_t at = a->arg[3];
    return (int64_t)at < 0 ? -EINVAL : vectored(a, false, &at);
}

long sys_pwritev(struct syscall_args *a)
{
    uint64_t at = a->arg[3];
    return (int64_t)at < 0 ? -EINVAL : vectored(a, true, &at);
}

static long vectored2(struct syscall_args *a, bool write)
{
    if ((a->arg[5] & ~(uint64_t)(RWF_HIPRI | RWF_DSYNC | RWF_SYNC)) != 0) {
        return -EOPNOTSUPP;
    }
    uint64_t at = a->arg[3];
    if ((int64_t)at < -1) {
        return -EINVAL;
    }
    return vectored(a, write, (int64_t)at == -1 ? NULL : &at);
}

long sys_preadv2(struct syscall_args *a)
{
    return vectored2(a, false);
}

long sys_pwritev2(struct syscall_args *a)
{
    return vectored2(a, true);
}

/* --- position, control
 * ---------------------------------------------------------------------------------------------- */

/* What SEEK_DATA, SEEK_HOLE and SEEK_END lead to: files without an answer of their own are all
 * data. */
static long seek_file(struct file *file, uint64_t offset, int whence)
{
    struct inode *inode = file->inode;
    if (file->operations->seek != NULL) {
        return file->operations->seek(file, offset, whence);
    }
    if (inode == NULL || inode_is_directory(inode) ||
        (whence != SEEK_END && !S_ISREG(inode->mode))) {
        return -EINVAL;
    }
    if (whence == SEEK_END) {
        return (long)inode->size;
    }
    return offset >= inode->size ? -ENXIO : (long)(whence == SEEK_HOLE ? inode->size : offset);
}

long sys_lseek(struct syscall_args *a)
{
    struct file *file;
    int result = fd_lookup((int)a->arg[0], &file);
    if (result != 0) {
        return result;
    }
    long done = -ESPIPE;
    if (file->offset_lock != NULL) {
        mutex_lock(file->offset_lock);
        int64_t offset = (int64_t)a->arg[1];
        done = 0;
        switch (a->arg[2]) {
        case SEEK_SET:
            break;
        case SEEK_CUR:
            done = __builtin_add_overflow(offset, (int64_t)file->offset, &offset) ? -EOVERFLOW : 0;
            break;
        case SEEK_END:
            done = seek_file(file, 0, SEEK_END);
            if (done >= 0 && __builtin_add_overflow(offset, done, &offset)) {
                done = -EOVERFLOW;
            }
            break;
        case SEEK_DATA:
        case SEEK_HOLE:
            done = offset < 0 ? -ENXIO : seek_file(file, (uint64_t)offset, (int)a->arg[2]);
            offset = done < 0 ? offset : done;
            break;
        default:
            done = -EINVAL;
        }
        if (done >= 0 && offset < 0) {
            done = -EINVAL;
        }
        if (done >= 0) {
            file->offset = (uint64_t)offset;
            done = offset;
        }
        mutex_unlock(file->offset_lock);
    }
    file_put(file);
    return done;
}

static long ioctl_any(struct file *file, int fd, unsigned command, uintptr_t argument)
{
    uint32_t value;
    switch (command) {
    case FIONBIO:
        if (copy_from_user(&value, argument, sizeof(value)) != 0) {
            return -EFAULT;
        }
        if (value != 0) {
            __atomic_or_fetch(&file->flags, O_NONBLOCK, __ATOMIC_RELAXED);
        } else {
            __atomic_and_fetch(&file->flags, ~(uint32_t)O_NONBLOCK, __ATOMIC_RELAXED);
        }
        return 0;
    case FIOCLEX:
    case FIONCLEX: {
        struct syscall_args set = {
            .arg = {(uint64_t)fd, F_SETFD, command == FIOCLEX ? FD_CLOEXEC : 0}};
        return sys_fcntl(&set);
    }
    case FIONREAD:
        if (file->inode != NULL && S_ISREG(file->inode->mode)) {
            value = (uint32_t)(file->inode->size - MIN(file->offset, file->inode->size));
            return copy_to_user(argument, &value, sizeof(value));
        }
        break;
    default:
        break;
    }
    return file->operations->ioctl == NULL ? -ENOTTY
                                           : file->operations->ioctl(file, command, argument);
}

long sys_ioctl(struct syscall_args *a)
{
    struct file *file;
    int result = fd_lookup((int)a->arg[0], &file);
    if (result != 0) {
        return result;
    }
    long done = ioctl_any(file, (int)a->arg[0], (unsigned)a->arg[1], a->arg[2]);
    file_put(file);
    return done;
}

/* --- from file to file
 * ---------------------------------------------------------------------------------------------- */

/* Copies from `in` at *in_at to `out`, from the file's own pages where it has any. Bytes done or
 * -errno. */
static long copy_between(struct file *in, uint64_t *in_at, struct file *out, uint64_t *out_at,
                         size_t size)
{
    enum { BOUNCE = 16384 };
    bool pages = in->operations->map_page != NULL && in->inode != NULL &&
                 S_ISREG(in->inode->mode) && !in->inode->filesystem->remote;
    char *bounce = pages ? NULL : kmalloc(BOUNCE);
    long total = 0, done = 0;
    if (!pages && bounce == NULL) {
        return -ENOMEM;
    }
    while (size != 0) {
        long piece;
        if (pages) {
            uint64_t at = *in_at, end = in->inode->size, physical;
            if (at >= end) {
                break;
            }
            size_t within = at % PAGE_SIZE;
            size_t length = MIN(MIN(size, PAGE_SIZE - within), end - at);
            done = in->operations->map_page(in, at - within, false, &physical);
            if (done != 0) {
                break;
            }
            piece = (long)length;
            done = file_write(out, (char *)direct_map(physical) + within, length, out_at);
            in->operations->unmap_page(in, at - within, physical);
            if (done > 0) {
                *in_at += (uint64_t)done;
                notify_file(in, IN_ACCESS);
            }
        } else {
            piece = file_read(in, bounce, MIN(size, BOUNCE), in_at);
            done = piece;
            if (piece > 0) {
                done = file_write(out, bounce, (size_t)piece, out_at);
                if (in_at != NULL && done < piece) {
                    *in_at -= (uint64_t)(piece - MAX(done, 0));
                }
            }
        }
        if (done <= 0) {
            break;
        }
        total += done;
        size -= (size_t)done;
        if (done < piece || (!pages && in->offset_lock == NULL) || thread_signal_pending()) {
            break;
        }
    }
    kfree(bounce);
    return total != 0 ? total : done;
}

long sys_sendfile(struct syscall_args *a)
{
    struct file *in, *out;
    uint64_t at, *in_at = NULL;
    uintptr_t user_at = a->arg[2];
    int result = fd_lookup((int)a->arg[1], &in);
    if (result != 0) {
        return result;
    }
    result = fd_lookup((int)a->arg[0], &out);
    if (result != 0) {
        file_put(in);
        return result;
    }
    long done = -EBADF;
    if (!file_readable(in) || !file_writable(out)) {
        goto out;
    }
    done = -EINVAL;
    if (in->operations->read == NULL || out->operations->write == NULL ||
        (out->flags & O_APPEND) != 0 || (in->offset_lock == NULL && in->inode == NULL)) {
        goto out;
    }
    if (user_at != 0) {
        done = copy_from_user(&at, user_at, sizeof(at));
        if (done != 0) {
            goto out;
        }
        done = in->offset_lock == NULL ? -ESPIPE : (int64_t)at < 0 ? -EINVAL : 0;
        if (done != 0) {
            goto out;
        }
        in_at = &at;
    } else if (in->offset_lock != NULL) {
        /* Not locked meanwhile: two transfers in opposite directions would wait for each other. */
        at = in->offset;
        in_at = &at;
    }
    done = copy_between(in, in_at, out, NULL, MIN(a->arg[3], MAX_IO_BYTES));
    if (user_at == 0 && in->offset_lock != NULL && done > 0) {
        mutex_lock(in->offset_lock);
        in->offset = at;
        mutex_unlock(in->offset_lock);
    } else if (user_at != 0 && copy_to_user(user_at, &at, sizeof(at)) != 0) {
        done = -EFAULT;
    }
out:
    file_put(in);
    file_put(out);
    return done;
}

static int copy_offset(struct file *file, uintptr_t user, uint64_t *at)
{
    if (user == 0) {
        *at = file->offset;
        return 0;
    }
    return copy_from_user(at, user, sizeof(*at)) != 0 ? -EFAULT : (int64_t)*at < 0 ? -EINVAL : 0;
}

static int copy_offset_back(struct file *file, uintptr_t user, uint64_t at)
{
    if (user == 0) {
        file->offset = at;
        return 0;
    }
    return copy_to_user(user, &at, sizeof(at));
}

long sys_copy_file_range(struct syscall_args *a)
{
    struct file *in, *out;
    uint64_t in_at, out_at;
    size_t size = MIN(a->arg[4], MAX_IO_BYTES);
    int result = fd_lookup((int)a->arg[0], &in);
    if (result != 0) {
        return result;
    }
    result = fd_lookup((int)a->arg[2], &out);
    if (result != 0) {
        file_put(in);
        return result;
    }
    long done = -EINVAL;
    if (a->arg[5] != 0 || in->inode == NULL || out->inode == NULL) {
        goto out;
    }
    if (inode_is_directory(in->inode) || inode_is_directory(out->inode)) {
        done = -EISDIR;
        goto out;
    }
    if (!S_ISREG(in->inode->mode) || !S_ISREG(out->inode->mode)) {
        goto out;
    }
    done = -EBADF;
    if (!file_readable(in) || !file_writable(out) || (out->flags & O_APPEND) != 0) {
        goto out;
    }
    done = copy_offset(in, a->arg[1], &in_at);
    if (done == 0) {
        done = copy_offset(out, a->arg[3], &out_at);
    }
    if (done != 0) {
        goto out;
    }
    if (in->inode == out->inode && in_at < out_at + size && out_at < in_at + size) {
        done = -EINVAL;
        goto out;
    }
    done = copy_between(in, &in_at, out, &out_at, size);
    if (done > 0 && (copy_offset_back(in, a->arg[1], in_at) != 0 ||
                     copy_offset_back(out, a->arg[3], out_at) != 0)) {
        done = -EFAULT;
    }
out:
    file_put(in);
    file_put(out);
    return done;
}

/* -EINVAL makes Go's io.Copy fall back to read and write, which -ENOSYS does not everywhere. */
long sys_splice(struct syscall_args *a)
{
    (void)a;
    return -EINVAL;
}

long sys_tee(struct syscall_args *a)
{
    (void)a;
    return -EINVAL;
}
