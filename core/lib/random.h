/* SPDX-License-Identifier: MIT */
/* The kernel's random generator: ChaCha20 with fast key erasure (RFC 8439 for the block function),
 * one state for each CPU, seeded by hal_entropy and reseeded with time. */
#pragma once

#include <stddef.h>
#include <stdint.h>

/* After hal_entropy works, before the first random_bytes. */
void random_init(void);

/* Mixes in what a device has given; nothing is taken on trust. From now on all CPUs generate from
 * it. Any context. */
void random_mix(const void *bytes, size_t size);

/* `request` is called, interrupts masked, when it is time for more from such a device. */
void random_set_source(void (*request)(void));

/* Cryptographically strong bytes. Thread context or interrupts masked. */
void random_bytes(void *to, size_t size);

uint64_t random_u64(void);
