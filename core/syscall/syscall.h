/* SPDX-License-Identifier: MIT */
/* How a system call reaches its handler: the gate leaves a frame, core_syscall looks the number up in the table of
 * table.c and calls the handler with the six arguments. */
#pragma once

#include <stdint.h>

#include "hal.h"

struct syscall_args {
    uint64_t arg[6];
    struct regs *regs;
};

typedef long syscall_handler(struct syscall_args *a);
