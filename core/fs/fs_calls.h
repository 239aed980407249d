/* SPDX-License-Identifier: MIT */
/* The system calls of this folder with their Linux numbers; included more than once, with
 * SYSCALL_HANDLER as the includer wants it. */

#include "core/syscall/syscall.h"

#ifndef SYSCALL_HANDLER
#define SYSCALL_HANDLER(name) long sys_##name(struct syscall_args *a);
#define SYSCALL_HANDLER_DEFAULT
#endif

/* clang-format off */
SYSCALL_HANDLER(read) /* 0 */
SYSCALL_HANDLER(write) /* 1 */
SYSCALL_HANDLER(open) /* 2 */
SYSCALL_HANDLER(close) /* 3 */
SYSCALL_HANDLER(stat) /* 4 */
SYSCALL_HANDLER(fstat) /* 5 */
SYSCALL_HANDLER(lstat) /* 6 */
SYSCALL_HANDLER(poll) /* 7 */
SYSCALL_HANDLER(lseek) /* 8 */
SYSCALL_HANDLER(ioctl) /* 16 */
SYSCALL_HANDLER(pread64) /* 17 */
SYSCALL_HANDLER(pwrite64) /* 18 */
SYSCALL_HANDLER(readv) /* 19 */
SYSCALL_HANDLER(writev) /* 20 */
SYSCALL_HANDLER(access) /* 21 */
SYSCALL_HANDLER(pipe) /* 22 */
SYSCALL_HANDLER(select) /* 23 */
SYSCALL_HANDLER(dup) /* 32 */
SYSCALL_HANDLER(dup2) /* 33 */
SYSCALL_HANDLER(sendfile) /* 40 */
SYSCALL_HANDLER(fcntl) /* 72 */
SYSCALL_HANDLER(flock) /* 73 */
SYSCALL_HANDLER(fsync) /* 74 */
SYSCALL_HANDLER(fdatasync) /* 75 */
SYSCALL_HANDLER(truncate) /* 76 */
SYSCALL_HANDLER(ftruncate) /* 77 */
SYSCALL_HANDLER(getdents64) /* 217 */
SYSCALL_HANDLER(getcwd) /* 79 */
SYSCALL_HANDLER(chdir) /* 80 */
SYSCALL_HANDLER(fchdir) /* 81 */
SYSCALL_HANDLER(rename) /* 82 */
SYSCALL_HANDLER(mkdir) /* 83 */
SYSCALL_HANDLER(rmdir) /* 84 */
SYSCALL_HANDLER(creat) /* 85 */
SYSCALL_HANDLER(link) /* 86 */
SYSCALL_HANDLER(unlink) /* 87 */
SYSCALL_HANDLER(symlink) /* 88 */
SYSCALL_HANDLER(readlink) /* 89 */
SYSCALL_HANDLER(chmod) /* 90 */
SYSCALL_HANDLER(fchmod) /* 91 */
SYSCALL_HANDLER(chown) /* 92 */
SYSCALL_HANDLER(fchown) /* 93 */
SYSCALL_HANDLER(lchown) /* 94 */
SYSCALL_HANDLER(umask) /* 95 */
SYSCALL_HANDLER(utime) /* 132 */
SYSCALL_HANDLER(mknod) /* 133 */
SYSCALL_HANDLER(statfs) /* 137 */
SYSCALL_HANDLER(fstatfs) /* 138 */
SYSCALL_HANDLER(sync) /* 162 */
SYSCALL_HANDLER(setxattr) /* 188 */
SYSCALL_HANDLER(lsetxattr) /* 189 */
SYSCALL_HANDLER(fsetxattr) /* 190 */
SYSCALL_HANDLER(getxattr) /* 191 */
SYSCALL_HANDLER(lgetxattr) /* 192 */
SYSCALL_HANDLER(fgetxattr) /* 193 */
SYSCALL_HANDLER(listxattr) /* 194 */
SYSCALL_HANDLER(llistxattr) /* 195 */
SYSCALL_HANDLER(flistxattr) /* 196 */
SYSCALL_HANDLER(removexattr) /* 197 */
SYSCALL_HANDLER(lremovexattr) /* 198 */
SYSCALL_HANDLER(fremovexattr) /* 199 */
SYSCALL_HANDLER(epoll_create) /* 213 */
SYSCALL_HANDLER(fadvise64) /* 221 */
SYSCALL_HANDLER(epoll_wait) /* 232 */
SYSCALL_HANDLER(epoll_ctl) /* 233 */
SYSCALL_HANDLER(utimes) /* 235 */
SYSCALL_HANDLER(inotify_init) /* 253 */
SYSCALL_HANDLER(inotify_add_watch) /* 254 */
SYSCALL_HANDLER(inotify_rm_watch) /* 255 */
SYSCALL_HANDLER(openat) /* 257 */
SYSCALL_HANDLER(mkdirat) /* 258 */
SYSCALL_HANDLER(mknodat) /* 259 */
SYSCALL_HANDLER(fchownat) /* 260 */
SYSCALL_HANDLER(newfstatat) /* 262 */
SYSCALL_HANDLER(unlinkat) /* 263 */
SYSCALL_HANDLER(renameat) /* 264 */
SYSCALL_HANDLER(linkat) /* 265 */
SYSCALL_HANDLER(symlinkat) /* 266 */
SYSCALL_HANDLER(readlinkat) /* 267 */
SYSCALL_HANDLER(fchmodat) /* 268 */
SYSCALL_HANDLER(faccessat) /* 269 */
SYSCALL_HANDLER(pselect6) /* 270 */
SYSCALL_HANDLER(ppoll) /* 271 */
SYSCALL_HANDLER(splice) /* 275 */
SYSCALL_HANDLER(tee) /* 276 */
SYSCALL_HANDLER(utimensat) /* 280 */
SYSCALL_HANDLER(epoll_pwait) /* 281 */
SYSCALL_HANDLER(timerfd_create) /* 283 */
SYSCALL_HANDLER(eventfd) /* 284 */
SYSCALL_HANDLER(fallocate) /* 285 */
SYSCALL_HANDLER(timerfd_settime) /* 286 */
SYSCALL_HANDLER(timerfd_gettime) /* 287 */
SYSCALL_HANDLER(eventfd2) /* 290 */
SYSCALL_HANDLER(epoll_create1) /* 291 */
SYSCALL_HANDLER(dup3) /* 292 */
SYSCALL_HANDLER(pipe2) /* 293 */
SYSCALL_HANDLER(inotify_init1) /* 294 */
SYSCALL_HANDLER(preadv) /* 295 */
SYSCALL_HANDLER(pwritev) /* 296 */
SYSCALL_HANDLER(syncfs) /* 306 */
SYSCALL_HANDLER(renameat2) /* 316 */
SYSCALL_HANDLER(memfd_create) /* 319 */
SYSCALL_HANDLER(copy_file_range) /* 326 */
SYSCALL_HANDLER(preadv2) /* 327 */
SYSCALL_HANDLER(pwritev2) /* 328 */
SYSCALL_HANDLER(statx) /* 332 */
SYSCALL_HANDLER(close_range) /* 436 */
SYSCALL_HANDLER(openat2) /* 437 */
SYSCALL_HANDLER(faccessat2) /* 439 */
SYSCALL_HANDLER(epoll_pwait2) /* 441 */
SYSCALL_HANDLER(fchmodat2) /* 452 */
/* clang-format on */
#ifdef SYSCALL_HANDLER_DEFAULT
#undef SYSCALL_HANDLER
#undef SYSCALL_HANDLER_DEFAULT
#endif
