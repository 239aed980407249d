/* SPDX-License-Identifier: MIT */
/* The part of <string.h> that the kernel uses; the compiler may call the first four by itself. */
#pragma once

#include <stddef.h>

void *memcpy(void *restrict to, const void *restrict from, size_t size);
void *memmove(void *to, const void *from, size_t size);
void *memset(void *to, int byte, size_t size);
int memcmp(const void *left, const void *right, size_t size);
void *memchr(const void *from, int byte, size_t size);
size_t strlen(const char *text);
size_t strnlen(const char *text, size_t size);
int strcmp(const char *left, const char *right);
int strncmp(const char *left, const char *right, size_t size);
char *strchr(const char *text, int byte);
char *strrchr(const char *text, int byte);
char *strncpy(char *restrict to, const char *restrict from,
              size_t size); /* pads with NULs, as in C */

/* A freestanding compiler takes these for functions like any other; by these names it may put a
 * move of few bytes in their place. Not for string.c, which is what the calls that remain reach. */
#ifndef STRING_FUNCTIONS_ONLY
#define memcpy(...) __builtin_memcpy(__VA_ARGS__)
#define memset(...) __builtin_memset(__VA_ARGS__)
#define memcmp(...) __builtin_memcmp(__VA_ARGS__)
#endif
