/* SPDX-License-Identifier: MIT */
/* System calls of core/sched/futex.c, for whoever defines SYSCALL_HANDLER (core/syscall/table.c).
 */
SYSCALL_HANDLER(futex) /* 202 */
