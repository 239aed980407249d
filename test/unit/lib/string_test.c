/* SPDX-License-Identifier: MIT */
/* core/lib/string.c, under other names, against the C library. Every length and offset that the
 * short paths tell apart. */
#include <string.h>

#include "fakes/check.h"

#define memcpy our_memcpy
#define memmove our_memmove
#define memset our_memset
#define memcmp our_memcmp
#define memchr our_memchr
#define strlen our_strlen
#define strnlen our_strnlen
#define strcmp our_strcmp
#define strncmp our_strncmp
#define strchr our_strchr
#define strrchr our_strrchr
#define strncpy our_strncpy
#include "core/lib/string.c"
#include "core/lib/string.h"
#undef memcpy
#undef memmove
#undef memset
#undef memcmp
#undef memchr
#undef strlen
#undef strnlen
#undef strcmp
#undef strncmp
#undef strchr
#undef strrchr
#undef strncpy

#define SIZE 400

static char source[SIZE], ours[SIZE], theirs[SIZE];

static int sign(int value)
{
    return (value > 0) - (value < 0);
}

static void fill(void)
{
    for (unsigned i = 0; i < SIZE; i++) {
        source[i] = (char)(i * 7 + 1);
        ours[i] = theirs[i] = (char)i;
    }
}

static void test_memory(size_t offset, size_t size)
{
    fill();
    CHECK(our_memcpy(ours + offset, source + 3, size) == ours + offset);
    memcpy(theirs + offset, source + 3, size);
    CHECK(memcmp(ours, theirs, SIZE) == 0, "memcpy %zu %zu", offset, size);
    our_memset(ours + offset, 0xab, size);
    memset(theirs + offset, 0xab, size);
    CHECK(memcmp(ours, theirs, SIZE) == 0, "memset %zu %zu", offset, size);
    for (size_t to = 0; to < 20; to++) {
        fill();
        our_memmove(ours + to, ours + offset, size);
        memmove(theirs + to, theirs + offset, size);
        CHECK(memcmp(ours, theirs, SIZE) == 0, "memmove %zu %zu %zu", to, offset, size);
    }
    fill();
    our_memcpy(ours, source, SIZE);
    CHECK(our_memcmp(ours + offset, source + offset, size) == 0);
    if (size != 0) {
        ours[offset + size - 1] ^= 0x40;
        CHECK(sign(our_memcmp(ours + offset, source + offset, size)) ==
              sign(memcmp(ours + offset, source + offset, size)));
    }
}

int main(void)
{
    for (size_t offset = 0; offset < 18; offset++) {
        for (size_t size = 0; size < 150; size++) {
            test_memory(offset, size);
        }
    }
    CHECK(our_strlen("") == 0 && our_strlen("abc") == 3 && our_strnlen("abc", 2) == 2);
    CHECK(our_strcmp("a", "a") == 0 && our_strcmp("a", "b") < 0 && our_strcmp("\xff", "a") > 0);
    CHECK(our_strncmp("abc", "abd", 2) == 0 && our_strncmp("abc", "abd", 3) < 0);
    const char *text = "hello";
    CHECK(our_strchr(text, 'l') == text + 2 && our_strrchr(text, 'l') == text + 3);
    CHECK(our_strchr(text, 0) == text + 5 && our_strchr(text, 'x') == NULL &&
          our_strrchr(text, 'x') == NULL);
    CHECK(our_memchr(text, 'o', 5) == text + 4 && our_memchr(text, 'o', 4) == NULL);
    char name[8] = "xxxxxxx";
    our_strncpy(name, "ab", 6);
    CHECK(memcmp(name, "ab\0\0\0\0x", 8) == 0);
    return 0;
}
