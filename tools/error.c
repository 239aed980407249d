/* SPDX-License-Identifier: MIT */
/* How the command reports an error: one line on standard error. Apart from util.c so that unit
 * tests can record it. */
#include "tools/tool.h"

#include <stdarg.h>
#include <stdio.h>

int fail(const char *format, ...)
{
    va_list values;
    va_start(values, format);
    fputs("unigornel: ", stderr);
    vfprintf(stderr, format, values);
    fputc('\n', stderr);
    va_end(values);
    return -1;
}
