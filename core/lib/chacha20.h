/* SPDX-License-Identifier: MIT */
/* The ChaCha20 block function (RFC 8439, 2.3), for random.c and its test. */
#pragma once

#include <stdint.h>

#include "core/lib/string.h"

#define CHACHA20_KEY_SIZE 32
#define CHACHA20_BLOCK_SIZE 64

static inline uint32_t chacha20_rotate(uint32_t value, unsigned bits)
{
    return value << bits | value >> (32 - bits);
}

#define CHACHA20_QUARTER_ROUND(a, b, c, d)                                                         \
    do {                                                                                           \
        (a) += (b);                                                                                \
        (d) = chacha20_rotate((d) ^ (a), 16);                                                      \
        (c) += (d);                                                                                \
        (b) = chacha20_rotate((b) ^ (c), 12);                                                      \
        (a) += (b);                                                                                \
        (d) = chacha20_rotate((d) ^ (a), 8);                                                       \
        (c) += (d);                                                                                \
        (b) = chacha20_rotate((b) ^ (c), 7);                                                       \
    } while (0)

static inline void chacha20_block(const uint32_t key[8], uint32_t counter, const uint32_t nonce[3],
                                  uint8_t block[CHACHA20_BLOCK_SIZE])
{
    const uint32_t start[16] = {
        0x61707865, 0x3320646e, 0x79622d32, 0x6b206574, /* "expand 32-byte k" */
        key[0],     key[1],     key[2],     key[3],     key[4],   key[5],
        key[6],     key[7],     counter,    nonce[0],   nonce[1], nonce[2],
    };
    uint32_t x[16];
    memcpy(x, start, sizeof(x));
    for (unsigned i = 0; i < 10; i++) {
        CHACHA20_QUARTER_ROUND(x[0], x[4], x[8], x[12]);
        CHACHA20_QUARTER_ROUND(x[1], x[5], x[9], x[13]);
        CHACHA20_QUARTER_ROUND(x[2], x[6], x[10], x[14]);
        CHACHA20_QUARTER_ROUND(x[3], x[7], x[11], x[15]);
        CHACHA20_QUARTER_ROUND(x[0], x[5], x[10], x[15]);
        CHACHA20_QUARTER_ROUND(x[1], x[6], x[11], x[12]);
        CHACHA20_QUARTER_ROUND(x[2], x[7], x[8], x[13]);
        CHACHA20_QUARTER_ROUND(x[3], x[4], x[9], x[14]);
    }
    for (unsigned i = 0; i < 16; i++) {
        x[i] += start[i];
    }
    memcpy(block, x, CHACHA20_BLOCK_SIZE);
}
