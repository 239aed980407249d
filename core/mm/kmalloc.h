/* SPDX-License-Identifier: MIT */
/* Kernel memory in small pieces: size classes over pages, a cache of free objects per CPU. Aligned
 * to 16 bytes, and to 64 from 64 bytes up. Grows with need and gives empty pages back. Thread
 * context or interrupts masked, LOCK_KMALLOC and above not held. */
#pragma once

#include <stddef.h>

void kmalloc_init(void);
void *kmalloc(size_t size); /* NULL when there is no memory; not zeroed */
void *kzalloc(size_t size); /* zeroed */
void *krealloc(void *old, size_t size);
void kfree(void *pointer); /* NULL is fine */
