/* SPDX-License-Identifier: MIT */
/* Names for addresses of kernel and program, for traces. The kernel's table is made by the link
 * (scripts/symbols.py); the program's is Go's own pclntab, found through the image information. Any
 * context, no locks, no allocation. */
#pragma once

#include <stddef.h>
#include <stdint.h>

/* Writes "name+0x12" to `buffer`, or the bare address. */
void symbol_name(char *buffer, size_t size, uintptr_t address);

/* The entry of the program's function `name`, or 0. Slow. */
uintptr_t program_symbol(const char *name);
