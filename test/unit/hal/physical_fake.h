/* SPDX-License-Identifier: MIT */
/* Physical memory for tests: what was put there can be viewed, each view is a copy of exactly the
 * bytes asked for, so that the sanitizer sees a read past it. Also the console and the end of the
 * machine. */
#pragma once

#include <setjmp.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Forgets all memory and frees all views. */
void physical_reset(void);
void physical_put(uint64_t physical, const void *bytes, size_t size);
/* The bytes at `physical`, to change them. */
void *physical_at(uint64_t physical);

/* hal_shutdown comes back here. */
extern jmp_buf machine_end;
/* Whether this has been written to the console since physical_reset. */
bool console_has(const char *text);

#define CHECK(condition)                                                                           \
    do {                                                                                           \
        if (!(condition)) {                                                                        \
            check_failed(__FILE__, __LINE__, #condition);                                          \
        }                                                                                          \
    } while (0)
_Noreturn void check_failed(const char *file, int line, const char *condition);

/* xorshift, for mutations. */
uint32_t test_random(void);
