/* SPDX-License-Identifier: MIT */
/* core/lib/log.h on the host: messages are dropped, a panic fails the test. */
#include "core/lib/log.h"

#include <stdio.h>
#include <stdlib.h>

enum log_level log_level = LOG_ERROR;

void log_write(enum log_level level, const char *format, ...)
{
    (void)level;
    (void)format;
}

void panic(const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    fputs("panic: ", stderr);
    vfprintf(stderr, format, arguments);
    fputs("\n", stderr);
    va_end(arguments);
    abort();
}
