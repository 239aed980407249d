/* SPDX-License-Identifier: MIT */
/* The system calls of this folder with their Linux numbers; included more than once, with
 * SYSCALL_HANDLER as the includer wants it. */

#include "core/syscall/syscall.h"

#ifndef SYSCALL_HANDLER
#define SYSCALL_HANDLER(name) long sys_##name(struct syscall_args *a);
#define SYSCALL_HANDLER_DEFAULT
#endif

/* clang-format off */
SYSCALL_HANDLER(socket) /* 41 */
SYSCALL_HANDLER(connect) /* 42 */
SYSCALL_HANDLER(accept) /* 43 */
SYSCALL_HANDLER(sendto) /* 44 */
SYSCALL_HANDLER(recvfrom) /* 45 */
SYSCALL_HANDLER(sendmsg) /* 46 */
SYSCALL_HANDLER(recvmsg) /* 47 */
SYSCALL_HANDLER(shutdown) /* 48 */
SYSCALL_HANDLER(bind) /* 49 */
SYSCALL_HANDLER(listen) /* 50 */
SYSCALL_HANDLER(getsockname) /* 51 */
SYSCALL_HANDLER(getpeername) /* 52 */
SYSCALL_HANDLER(socketpair) /* 53 */
SYSCALL_HANDLER(setsockopt) /* 54 */
SYSCALL_HANDLER(getsockopt) /* 55 */
SYSCALL_HANDLER(accept4) /* 288 */
SYSCALL_HANDLER(recvmmsg) /* 299 */
SYSCALL_HANDLER(sendmmsg) /* 307 */
/* clang-format on */

#ifdef SYSCALL_HANDLER_DEFAULT
#undef SYSCALL_HANDLER
#undef SYSCALL_HANDLER_DEFAULT
#endif
