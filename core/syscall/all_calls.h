/* SPDX-License-Identifier: MIT */
/* Every system call there is, by the folder that handles it. Included with SYSCALL_HANDLER defined
 * as what is wanted of each. */
#include <asm/unistd_64.h>

/* Newer than Debian 12's headers. */
#ifndef __NR_fchmodat2
#define __NR_fchmodat2 452
#endif

#include "core/fs/fs_calls.h"
#include "core/mm/mm_calls.h"
#include "core/net/net_calls.h"
#include "core/sched/futex_calls.h"
#include "core/signal/signal_calls.h"
#include "core/syscall/process_calls.h"
#include "core/time/time_calls.h"
