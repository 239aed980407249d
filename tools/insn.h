/* SPDX-License-Identifier: MIT */
/* The length of an x86-64 instruction, so that the bytes 0F 05 inside an immediate are told from a
 * SYSCALL. */
#pragma once

#include <stddef.h>
#include <stdint.h>

/* Returns the length in bytes of the instruction at `code`, or 0 when it is not a valid one or is
 * longer than `size`. */
size_t instruction_length(const uint8_t *code, size_t size);

/* Calls `found` with the offset of each SYSCALL in a function's code. Bytes that cannot be decoded
 * are stepped over one at a time, so a SYSCALL behind them is still found. Returns the number
 * found. */
size_t find_syscalls(const uint8_t *code, size_t size, void (*found)(size_t offset, void *context),
                     void *context);
