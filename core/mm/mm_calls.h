/* SPDX-License-Identifier: MIT */
/* The system calls of this folder with their Linux numbers; included more than once, with
 * SYSCALL_HANDLER as the includer wants it. */
#include "core/syscall/syscall.h"

#ifndef SYSCALL_HANDLER
#define SYSCALL_HANDLER(name) long sys_##name(struct syscall_args *a);
#endif

/* clang-format off */
SYSCALL_HANDLER(mmap) /* 9 */
SYSCALL_HANDLER(mprotect) /* 10 */
SYSCALL_HANDLER(munmap) /* 11 */
SYSCALL_HANDLER(brk) /* 12 */
SYSCALL_HANDLER(mremap) /* 25 */
SYSCALL_HANDLER(msync) /* 26 */
SYSCALL_HANDLER(mincore) /* 27 */
SYSCALL_HANDLER(madvise) /* 28 */
SYSCALL_HANDLER(mlock) /* 149 */
SYSCALL_HANDLER(munlock) /* 150 */
SYSCALL_HANDLER(mlockall) /* 151 */
SYSCALL_HANDLER(munlockall) /* 152 */
SYSCALL_HANDLER(mlock2) /* 325 */
SYSCALL_HANDLER(pkey_mprotect) /* 329 */
/* clang-format on */
