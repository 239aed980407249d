/* SPDX-License-Identifier: MIT */
/* The Internet checksum (RFC 1071), 8 bytes at a time with the carry added back. */
#include "core/lib/string.h"
#include "lwip/arch.h"

static inline uint64_t add(uint64_t sum, uint64_t word)
{
    sum += word;
    return sum + (sum < word);
}

static inline uint64_t load(const uint8_t *at, unsigned size)
{
    uint64_t word = 0;
    memcpy(&word, at, size);
    return word;
}

/* The folded sum, not inverted, of words in memory order. */
uint16_t core_net_checksum(const void *data, int size)
{
    const uint8_t *at = data;
    size_t left = (size_t)size;
    uint64_t sum = 0;
    for (; left >= 32; at += 32, left -= 32) {
        sum = add(sum, load(at, 8));
        sum = add(sum, load(at + 8, 8));
        sum = add(sum, load(at + 16, 8));
        sum = add(sum, load(at + 24, 8));
    }
    for (; left >= 8; at += 8, left -= 8) {
        sum = add(sum, load(at, 8));
    }
    if (left >= 4) {
        sum = add(sum, load(at, 4));
        at += 4;
        left -= 4;
    }
    if (left >= 2) {
        sum = add(sum, load(at, 2));
        at += 2;
        left -= 2;
    }
    if (left != 0) {
        sum = add(sum, *at);
    }
    uint32_t low = (uint32_t)sum;
    uint32_t high = (uint32_t)(sum >> 32);
    low += high;
    low += low < high;
    low = (low >> 16) + (low & 0xffff);
    return (uint16_t)((low >> 16) + low);
}
