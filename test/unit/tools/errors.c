/* SPDX-License-Identifier: MIT */
/* The recording fail(). */
#include "test/unit/tools/errors.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

char last_error[512];

int fail(const char *format, ...)
{
    va_list values;
    va_start(values, format);
    vsnprintf(last_error, sizeof(last_error), format, values);
    va_end(values);
    return -1;
}

bool failed_with(int result, const char *part)
{
    bool good = result < 0 && strstr(last_error, part) && !strchr(last_error, '\n');
    if (!good)
        fprintf(stderr, "result %d, message: %s\n", result, last_error);
    return good;
}
