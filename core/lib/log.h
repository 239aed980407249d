/* SPDX-License-Identifier: MIT */
/* Kernel messages, and the end of the kernel when an invariant is broken. Messages at or above the
 * level chosen by `log=` go to the error stream; the last ones are kept for the panic report
 * whatever the level. Any context. */
#pragma once

#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>

enum log_level { LOG_ERROR, LOG_WARN, LOG_INFO, LOG_DEBUG, LOG_STRACE };

extern enum log_level log_level;

/* One line; no newline at the end of `format`. */
void log_write(enum log_level level, const char *format, ...) __attribute__((format(printf, 2, 3)));

#define log_error(...) log_write(LOG_ERROR, __VA_ARGS__)
#define log_warn(...) log_write(LOG_WARN, __VA_ARGS__)
#define log_info(...) log_write(LOG_INFO, __VA_ARGS__)
#define log_debug(...) log_write(LOG_DEBUG, __VA_ARGS__)

/* Sets log_level by name ("error" ... "strace"): -EINVAL for another name. */
int log_set_level(const char *name);

/* Writes the kept lines to the error stream. */
void log_replay(void);

/* printf family: %d %i %u %x %X %o %c %s %p %% with width (also *), precision for %s and integers,
 * flags `0`, `-`, `+`, `#`, and h, hh, l, ll, z. Returns the length the whole text has, as C's
 * snprintf. */
int vformat(char *buffer, size_t size, const char *format, va_list arguments);
int format(char *buffer, size_t size, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* An invariant of our own is broken: prints the message, registers, a symbolised backtrace and the
 * last log lines, and ends the machine. Never for bad input. */
_Noreturn void panic(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* The same for an exception in kernel code. */
struct regs;
_Noreturn void panic_regs(const struct regs *regs, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

#define assert(condition)                                                                          \
    do {                                                                                           \
        if (__builtin_expect(!(condition), 0)) {                                                   \
            panic("%s:%d: assertion failed: %s", __FILE__, __LINE__, #condition);                  \
        }                                                                                          \
    } while (0)
