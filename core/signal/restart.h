/* SPDX-License-Identifier: MIT */
/* How an interrupted system call says whether it is to be made again: one of these codes (Linux's,
 * include/linux/errno.h) as its result. signal_deliver resolves them on the way back to the
 * program, which never sees one. They may only be returned after thread_sleep has said -EINTR or
 * thread_signal_pending was true. */
#pragma once

#include <stdint.h>

#define ERESTARTSYS 512    /* again if no handler runs, or one with SA_RESTART; else EINTR */
#define ERESTARTNOINTR 513 /* always again */
#define ERESTARTNOHAND 514 /* again if no handler runs; else EINTR */
#define ERESTART_RESTARTBLOCK                                                                      \
    516 /* as ERESTARTNOHAND, but goes on by restart_syscall(2) and the thread's restart_block */

struct restart_block {
    long (*resume)(const struct restart_block *restart);
    uint64_t argument[4];
};

/* Fills the current thread's restart block; returns -ERESTART_RESTARTBLOCK. */
long restart_later(long (*resume)(const struct restart_block *), uint64_t a, uint64_t b, uint64_t c,
                   uint64_t d);
