/* SPDX-License-Identifier: MIT */
/* How a system call reaches its handler: the gate leaves a frame (hal/include/regs.h) and calls the
 * handler of table.c with the address of the six arguments in it. */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "hal.h"

struct syscall_args {
    uint64_t arg[6];
};

typedef long syscall_handler(struct syscall_args *a);

/* The frame that the arguments are part of. */
static inline struct regs *syscall_regs(struct syscall_args *a)
{
    return (struct regs *)((char *)a - offsetof(struct regs, rdi));
}

/* Makes the table that the gate uses. Before the program runs, once. */
void syscall_init(void);

/* The place of a call in core/syscall/all_calls.h; -1: it is not there. */
int syscall_index(uint64_t number);

/* Has every call traced from now on (`log=strace`). */
void syscall_trace(void);
