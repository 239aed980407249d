/* SPDX-License-Identifier: MIT */
/* Memory and text. Short pieces are moved as overlapping words, long ones by the CPU's string
 * instructions, eight bytes a step. No state. */
#define STRING_FUNCTIONS_ONLY
#include "core/lib/string.h"

#include <stdint.h>

/* Words that may be unaligned and alias anything. */
typedef uint64_t __attribute__((may_alias, aligned(1))) any64;
typedef uint32_t __attribute__((may_alias, aligned(1))) any32;
typedef uint16_t __attribute__((may_alias, aligned(1))) any16;

/* The loops below must not become calls to themselves. */
#define NO_LOOP_CALLS __attribute__((optimize("no-tree-loop-distribute-patterns")))

/* Both ends are read before anything is written, so overlap is fine. */
static inline void move_up_to_32(char *to, const char *from, size_t size)
{
    if (size >= 16) {
        uint64_t a = *(const any64 *)from, b = *(const any64 *)(from + 8);
        uint64_t c = *(const any64 *)(from + size - 16), d = *(const any64 *)(from + size - 8);
        *(any64 *)to = a;
        *(any64 *)(to + 8) = b;
        *(any64 *)(to + size - 16) = c;
        *(any64 *)(to + size - 8) = d;
    } else if (size >= 8) {
        uint64_t a = *(const any64 *)from, b = *(const any64 *)(from + size - 8);
        *(any64 *)to = a;
        *(any64 *)(to + size - 8) = b;
    } else if (size >= 4) {
        uint32_t a = *(const any32 *)from, b = *(const any32 *)(from + size - 4);
        *(any32 *)to = a;
        *(any32 *)(to + size - 4) = b;
    } else if (size >= 2) {
        uint16_t a = *(const any16 *)from, b = *(const any16 *)(from + size - 2);
        *(any16 *)to = a;
        *(any16 *)(to + size - 2) = b;
    } else if (size != 0) {
        *to = *from;
    }
}

void *memcpy(void *restrict to, const void *restrict from, size_t size)
{
    if (size <= 32) {
        move_up_to_32(to, from, size);
        return to;
    }
    char *end = (char *)to + size;
    uint64_t last = *(const any64 *)((const char *)from + size - 8);
    void *at = to;
    size_t words = (size - 1) / 8;
    __asm__ volatile("rep movsq" : "+D"(at), "+S"(from), "+c"(words)::"memory");
    *(any64 *)(end - 8) = last;
    return to;
}

NO_LOOP_CALLS void *memmove(void *to, const void *from, size_t size)
{
    if (size <= 32) {
        move_up_to_32(to, from, size);
        return to;
    }
    if ((uintptr_t)to - (uintptr_t)from >= size) { /* forward is safe */
        void *at = to;
        size_t words = size / 8, bytes = size % 8;
        __asm__ volatile("rep movsq" : "+D"(at), "+S"(from), "+c"(words)::"memory");
        __asm__ volatile("rep movsb" : "+D"(at), "+S"(from), "+c"(bytes)::"memory");
        return to;
    }
    char *target = to;
    const char *source = from;
    while (size >= 8) {
        size -= 8;
        *(any64 *)(target + size) = *(const any64 *)(source + size);
    }
    while (size != 0) {
        size--;
        target[size] = source[size];
    }
    return to;
}

void *memset(void *to, int byte, size_t size)
{
    uint64_t word = (uint8_t)byte * 0x0101010101010101ull;
    char *start = to;
    if (size >= 8) {
        *(any64 *)(start + size - 8) = word;
        if (size <= 16) {
            *(any64 *)start = word;
            return to;
        }
        void *at = to;
        size_t words = (size - 1) / 8;
        __asm__ volatile("rep stosq" : "+D"(at), "+c"(words) : "a"(word) : "memory");
    } else if (size >= 4) {
        *(any32 *)start = (uint32_t)word;
        *(any32 *)(start + size - 4) = (uint32_t)word;
    } else if (size != 0) {
        start[0] = (char)byte;
        start[size - 1] = (char)byte;
        start[size / 2] = (char)byte;
    }
    return to;
}

int memcmp(const void *left, const void *right, size_t size)
{
    const uint8_t *a = left, *b = right;
    while (size >= 8 && *(const any64 *)a == *(const any64 *)b) {
        a += 8;
        b += 8;
        size -= 8;
    }
    for (; size != 0; a++, b++, size--) {
        if (*a != *b) {
            return *a - *b;
        }
    }
    return 0;
}

void *memchr(const void *from, int byte, size_t size)
{
    const uint8_t *at = from;
    for (; size != 0; at++, size--) {
        if (*at == (uint8_t)byte) {
            return (void *)(uintptr_t)at;
        }
    }
    return NULL;
}

NO_LOOP_CALLS size_t strlen(const char *text)
{
    const char *end = text;
    while (*end != 0) {
        end++;
    }
    return (size_t)(end - text);
}

size_t strnlen(const char *text, size_t size)
{
    size_t length = 0;
    while (length < size && text[length] != 0) {
        length++;
    }
    return length;
}

int strcmp(const char *left, const char *right)
{
    while (*left != 0 && *left == *right) {
        left++;
        right++;
    }
    return (uint8_t)*left - (uint8_t)*right;
}

int strncmp(const char *left, const char *right, size_t size)
{
    for (; size != 0; left++, right++, size--) {
        if (*left != *right || *left == 0) {
            return (uint8_t)*left - (uint8_t)*right;
        }
    }
    return 0;
}

char *strchr(const char *text, int byte)
{
    for (;; text++) {
        if (*text == (char)byte) {
            return (char *)(uintptr_t)text;
        }
        if (*text == 0) {
            return NULL;
        }
    }
}

char *strrchr(const char *text, int byte)
{
    const char *found = NULL;
    for (;; text++) {
        if (*text == (char)byte) {
            found = text;
        }
        if (*text == 0) {
            return (char *)(uintptr_t)found;
        }
    }
}

NO_LOOP_CALLS char *strncpy(char *restrict to, const char *restrict from, size_t size)
{
    size_t i = 0;
    for (; i < size && from[i] != 0; i++) {
        to[i] = from[i];
    }
    for (; i < size; i++) {
        to[i] = 0;
    }
    return to;
}
