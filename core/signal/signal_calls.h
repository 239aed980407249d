/* SPDX-License-Identifier: MIT */
/* System calls of core/signal, for whoever defines SYSCALL_HANDLER (core/syscall/table.c). */
SYSCALL_HANDLER(rt_sigaction)      /* 13 */
SYSCALL_HANDLER(rt_sigprocmask)    /* 14 */
SYSCALL_HANDLER(rt_sigreturn)      /* 15 */
SYSCALL_HANDLER(pause)             /* 34 */
SYSCALL_HANDLER(kill)              /* 62 */
SYSCALL_HANDLER(rt_sigpending)     /* 127 */
SYSCALL_HANDLER(rt_sigtimedwait)   /* 128 */
SYSCALL_HANDLER(rt_sigqueueinfo)   /* 129 */
SYSCALL_HANDLER(rt_sigsuspend)     /* 130 */
SYSCALL_HANDLER(sigaltstack)       /* 131 */
SYSCALL_HANDLER(tkill)             /* 200 */
SYSCALL_HANDLER(restart_syscall)   /* 219 */
SYSCALL_HANDLER(tgkill)            /* 234 */
SYSCALL_HANDLER(signalfd)          /* 282 */
SYSCALL_HANDLER(signalfd4)         /* 289 */
SYSCALL_HANDLER(rt_tgsigqueueinfo) /* 297 */
