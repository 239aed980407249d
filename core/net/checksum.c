/* SPDX-License-Identifier: MIT */
/* The Internet checksum (RFC 1071), 8 bytes at a time with the carry added back. */
#include "core/lib/string.h"
#include "lwip/arch.h"

static inline uint64_t add(uint64_t sum, uint64_t word)
{
    sum += word;
    return sum + (sum < word);
}

/* The folded sum, not inverted, of words in memory order. */
uint16_t core_net_checksum(const void *data, int size)
{
    const uint8_t *at = data;
    size_t left = (size_t)size;
    uint64_t sum = 0;
    while (left >= 32) {
        uint64_t words[4];
        memcpy(words, at, sizeof(words));
        sum = add(add(add(add(sum, words[0]), words[1]), words[2]), words[3]);
        at += 32;
        left -= 32;
    }
    while (left >= 8) {
        uint64_t word;
        memcpy(&word, at, sizeof(word));
        sum = add(sum, word);
        at += 8;
        left -= 8;
    }
    uint64_t rest = 0;
    for (size_t i = 0; i < left; i++) {
        rest |= (uint64_t)at[i] << 8 * i;
    }
    sum = add(sum, rest);
    sum = (sum >> 32) + (sum & 0xffffffff);
    sum = (sum >> 32) + (sum & 0xffffffff);
    sum = (sum >> 16) + (sum & 0xffff);
    return (uint16_t)((sum >> 16) + (sum & 0xffff));
}
