/* SPDX-License-Identifier: MIT */
/* core/lib/format.c against the C library's snprintf. */
#include <limits.h>
#include <stdint.h>
#include <string.h>

#include "core/lib/log.h"
#include "fakes/check.h"

#define SAME(...)                                                                                  \
    do {                                                                                           \
        char ours[200], theirs[200];                                                               \
        int a = format(ours, sizeof(ours), __VA_ARGS__);                                           \
        int b = snprintf(theirs, sizeof(theirs), __VA_ARGS__);                                     \
        CHECK(strcmp(ours, theirs) == 0 && a == b, "'%s' is not '%s'", ours, theirs);              \
    } while (0)

static void test_small_buffers(void)
{
    char buffer[4] = "xyz";
    CHECK(format(buffer, sizeof(buffer), "%d", 123456) == 6 && strcmp(buffer, "123") == 0);
    CHECK(format(buffer, 1, "%s", "abc") == 3 && buffer[0] == 0);
    buffer[0] = 'q';
    CHECK(format(buffer, 0, "abc") == 3 && buffer[0] == 'q');
}

int main(void)
{
    SAME("plain");
    SAME("%d %i %d", 0, -1, INT_MIN);
    SAME("%u %x %X %o", 4000000000u, 0xdeadbeefu, 0xdeadbeefu, 0777u);
    SAME("%ld %lu %lx", LONG_MIN, ULONG_MAX, ULONG_MAX);
    SAME("%lld %llu %zu", LLONG_MIN, ULLONG_MAX, (size_t)12345678901);
    SAME("%hhd %hhu %hd %hx", (signed char)-3, (unsigned char)200, (short)-30000,
         (unsigned short)0xabcd);
    SAME("%5d|%-5d|%05d|%+d|%+5d|% d", 42, 42, 42, 42, 42, 42);
    SAME("%-5d|%05d|%+d", -42, -42, -42);
    SAME("%#x %#o %#X %#x", 255u, 8u, 255u, 0u);
    SAME("%#010x|%#-10x|%08lx", 255u, 255u, 4096ul);
    SAME("%.5d|%8.5d|%-8.5d|%.0d|%.3x", 42, -42, 42, 0, 10u);
    SAME("%*d|%-*d|%*d", 6, 1, 6, 2, -6, 3);
    SAME("%s|%10s|%-10s|%.2s|%.*s", "abc", "abc", "abc", "abc", 1, "abc");
    SAME("%c|%3c|%-3c|%%", 'a', 'b', 'c');
    SAME("%p", (void *)0x1234);
    test_small_buffers();
    return 0;
}
