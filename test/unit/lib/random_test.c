/* SPDX-License-Identifier: MIT */
/* The ChaCha20 block of RFC 8439, 2.3.2, and what can be asked of core/lib/random.c: no byte comes
 * twice, keys do not stay. */
#include <string.h>

#include "core/lib/chacha20.h"
#include "core/lib/random.h"
#include "fakes/check.h"
#include "hal.h"

static uint64_t now;
static unsigned seeds;

uint64_t hal_clock_monotonic(void)
{
    return now;
}

unsigned hal_entropy(uint8_t *bytes, size_t size)
{
    seeds++;
    memset(bytes, (int)seeds, size);
    return 256;
}

static void test_block(void)
{
    static const uint8_t expected[CHACHA20_BLOCK_SIZE] = {
        0x10, 0xf1, 0xe7, 0xe4, 0xd1, 0x3b, 0x59, 0x15, 0x50, 0x0f, 0xdd, 0x1f, 0xa3,
        0x20, 0x71, 0xc4, 0xc7, 0xd1, 0xf4, 0xc7, 0x33, 0xc0, 0x68, 0x03, 0x04, 0x22,
        0xaa, 0x9a, 0xc3, 0xd4, 0x6c, 0x4e, 0xd2, 0x82, 0x64, 0x46, 0x07, 0x9f, 0xaa,
        0x09, 0x14, 0xc2, 0xd7, 0x05, 0xd9, 0x8b, 0x02, 0xa2, 0xb5, 0x12, 0x9c, 0xd1,
        0xde, 0x16, 0x4e, 0xb9, 0xcb, 0xd0, 0x83, 0xe8, 0xa2, 0x50, 0x3c, 0x4e,
    };
    uint8_t key_bytes[CHACHA20_KEY_SIZE], block[CHACHA20_BLOCK_SIZE];
    uint32_t key[8];
    const uint32_t nonce[3] = {0x09000000, 0x4a000000, 0};
    for (unsigned i = 0; i < sizeof(key_bytes); i++) {
        key_bytes[i] = (uint8_t)i;
    }
    memcpy(key, key_bytes, sizeof(key));
    chacha20_block(key, 1, nonce, block);
    CHECK(memcmp(block, expected, sizeof(block)) == 0);
}

static void test_generator(void)
{
    static uint8_t bytes[100000];
    uint64_t words[64];
    random_init();
    CHECK(seeds == 1);
    for (unsigned i = 0; i < 64; i++) {
        words[i] = random_u64();
        for (unsigned j = 0; j < i; j++) {
            CHECK(words[i] != words[j]);
        }
    }
    random_bytes(bytes, sizeof(bytes));
    unsigned ones = 0;
    for (unsigned i = 0; i < sizeof(bytes); i++) {
        ones += (unsigned)__builtin_popcount(bytes[i]);
    }
    CHECK(ones > sizeof(bytes) * 4 - 4000 && ones < sizeof(bytes) * 4 + 4000, "%u", ones);
    for (size_t size = 0; size < 200; size++) {
        uint8_t piece[256];
        memset(piece, 0x5a, sizeof(piece));
        random_bytes(piece, size);
        for (size_t i = size; i < sizeof(piece); i++) {
            CHECK(piece[i] == 0x5a);
        }
    }
    CHECK(seeds == 1);
    now += 1000000000000ull;
    random_u64();
    CHECK(seeds == 2);
}

int main(void)
{
    test_block();
    test_generator();
    return 0;
}
