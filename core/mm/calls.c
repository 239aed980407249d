/* SPDX-License-Identifier: MIT */
/* The system calls on memory: arguments as the program gives them, handed on to vm.c. */
#include <linux/mman.h>

#include "core/fs/file.h"
#include "core/lib/errno.h"
#include "core/mm/mm_calls.h"
#include "core/mm/mm_internal.h"
#include "core/mm/vm.h"

long sys_mmap(struct syscall_args *a)
{
    struct file *file = NULL;
    unsigned flags = (unsigned)a->arg[3];
    if ((a->arg[5] & (PAGE_SIZE - 1)) != 0) {
        return -EINVAL;
    }
    if ((flags & MAP_ANONYMOUS) == 0) {
        int error = fd_lookup((int)a->arg[4], &file);
        if (error != 0) {
            return error;
        }
    }
    long result = vm_mmap(a->arg[0], a->arg[1], (unsigned)a->arg[2], flags, file, a->arg[5]);
    if (file != NULL) {
        file_put(file);
    }
    return result;
}

long sys_mprotect(struct syscall_args *a)
{
    return vm_mprotect(a->arg[0], a->arg[1], (unsigned)a->arg[2]);
}

long sys_munmap(struct syscall_args *a)
{
    return vm_munmap(a->arg[0], a->arg[1]);
}

long sys_brk(struct syscall_args *a)
{
    return (long)vm_brk(a->arg[0]);
}

long sys_mremap(struct syscall_args *a)
{
    return vm_mremap(a->arg[0], a->arg[1], a->arg[2], (unsigned)a->arg[3], a->arg[4]);
}

long sys_msync(struct syscall_args *a)
{
    return vm_msync(a->arg[0], a->arg[1], (int)a->arg[2]);
}

long sys_mincore(struct syscall_args *a)
{
    return vm_mincore(a->arg[0], a->arg[1], a->arg[2]);
}

long sys_madvise(struct syscall_args *a)
{
    return vm_madvise(a->arg[0], a->arg[1], (int)a->arg[2]);
}

long sys_mlock(struct syscall_args *a)
{
    return vm_mlock(a->arg[0], a->arg[1], true, false);
}

long sys_munlock(struct syscall_args *a)
{
    return vm_mlock(a->arg[0], a->arg[1], false, false);
}

long sys_mlockall(struct syscall_args *a)
{
    return vm_mlockall((int)a->arg[0]);
}

long sys_munlockall(struct syscall_args *a)
{
    (void)a;
    vm_munlockall();
    return 0;
}

long sys_mlock2(struct syscall_args *a)
{
    if ((a->arg[2] & ~(uint64_t)MLOCK_ONFAULT) != 0) {
        return -EINVAL;
    }
    return vm_mlock(a->arg[0], a->arg[1], true, a->arg[2] != 0);
}

/* Without protection keys there is only "no key" (-1), as on a Linux machine that lacks them. */
long sys_pkey_mprotect(struct syscall_args *a)
{
    return (int)a->arg[3] == -1 ? vm_mprotect(a->arg[0], a->arg[1], (unsigned)a->arg[2]) : -EINVAL;
}
