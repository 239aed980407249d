/* SPDX-License-Identifier: MIT */
/* The trace of system calls, one line each as strace(1) prints them. */
#pragma once

#include "core/syscall/syscall.h"

/* A call that may not come back (exit, rt_sigreturn) is printed on entry, any other when it is
 * done. */
void strace_enter(uint64_t number, const struct syscall_args *args);
void strace_leave(uint64_t number, const struct syscall_args *args, long result);
