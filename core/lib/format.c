/* SPDX-License-Identifier: MIT */
/* printf-like formatting into a buffer of the caller. Owns no state, takes no lock, allocates
 * nothing. */
#include <stdint.h>

#include "core/lib/log.h"
#include "core/lib/string.h"

struct output {
    char *buffer;
    size_t size;
    size_t length; /* of the whole text, also what did not fit */
};

struct conversion {
    bool left, zero, plus, space, alternate, upper;
    int width;
    int precision; /* -1: none given */
};

enum length { LENGTH_CHAR, LENGTH_SHORT, LENGTH_INT, LENGTH_LONG };

static void put(struct output *out, char byte)
{
    if (out->length + 1 < out->size) {
        out->buffer[out->length] = byte;
    }
    out->length++;
}

static void put_text(struct output *out, const char *text, size_t length)
{
    for (size_t i = 0; i < length; i++) {
        put(out, text[i]);
    }
}

static void pad(struct output *out, char byte, int count)
{
    for (; count > 0; count--) {
        put(out, byte);
    }
}

static void put_string(struct output *out, const struct conversion *how, const char *text)
{
    if (text == NULL) {
        text = "(null)";
    }
    size_t length = how->precision >= 0 ? strnlen(text, (size_t)how->precision) : strlen(text);
    int fill = how->width - (int)length;
    if (!how->left) {
        pad(out, ' ', fill);
    }
    put_text(out, text, length);
    if (how->left) {
        pad(out, ' ', fill);
    }
}

static void put_integer(struct output *out, const struct conversion *how, uint64_t value,
                        unsigned base, bool negative)
{
    const char *digits = how->upper ? "0123456789ABCDEF" : "0123456789abcdef";
    char reversed[24];
    int count = 0;
    bool was_zero = value == 0;
    while (value != 0) {
        reversed[count++] = digits[value % base];
        value /= base;
    }

    const char *prefix = negative ? "-" : how->plus ? "+" : how->space ? " " : "";
    int zeroes = (how->precision >= 0 ? how->precision : 1) - count;
    if (how->alternate && base == 16 && !was_zero) {
        prefix = how->upper ? "0X" : "0x";
    }
    if (how->alternate && base == 8 && zeroes <= 0) {
        zeroes = 1;
    }
    int length = (int)strlen(prefix) + count + (zeroes > 0 ? zeroes : 0);
    if (how->zero && !how->left && how->precision < 0 && length < how->width) {
        zeroes = (zeroes > 0 ? zeroes : 0) + how->width - length;
        length = how->width;
    }
    if (!how->left) {
        pad(out, ' ', how->width - length);
    }
    put_text(out, prefix, strlen(prefix));
    pad(out, '0', zeroes);
    while (count > 0) {
        put(out, reversed[--count]);
    }
    if (how->left) {
        pad(out, ' ', how->width - length);
    }
}

static const char *parse_number(const char *at, int *number)
{
    int value = 0;
    for (; *at >= '0' && *at <= '9'; at++) {
        if (value < 100000) {
            value = value * 10 + (*at - '0');
        }
    }
    *number = value;
    return at;
}

static const char *parse_flags(const char *at, struct conversion *how)
{
    for (;; at++) {
        switch (*at) {
        case '-':
            how->left = true;
            break;
        case '0':
            how->zero = true;
            break;
        case '+':
            how->plus = true;
            break;
        case ' ':
            how->space = true;
            break;
        case '#':
            how->alternate = true;
            break;
        default:
            return at;
        }
    }
}

static const char *parse_length(const char *at, enum length *length)
{
    *length = LENGTH_INT;
    if (*at == 'h') {
        *length = at[1] == 'h' ? LENGTH_CHAR : LENGTH_SHORT;
        return at + (at[1] == 'h' ? 2 : 1);
    }
    if (*at == 'l') {
        *length = LENGTH_LONG;
        return at + (at[1] == 'l' ? 2 : 1);
    }
    if (*at == 'z' || *at == 't' || *at == 'j') {
        *length = LENGTH_LONG;
        return at + 1;
    }
    return at;
}

int vformat(char *buffer, size_t size, const char *format, va_list arguments)
{
    struct output out = {.buffer = buffer, .size = size};
    va_list list;
    va_copy(list, arguments);
    for (const char *at = format; *at != 0; at++) {
        if (*at != '%') {
            put(&out, *at);
            continue;
        }
        struct conversion how = {.precision = -1};
        enum length length;
        at = parse_flags(at + 1, &how);
        if (*at == '*') {
            how.width = va_arg(list, int);
            at++;
        } else {
            at = parse_number(at, &how.width);
        }
        if (how.width < 0) {
            how.left = true;
            how.width = -how.width;
        }
        if (*at == '.' && at[1] == '*') {
            how.precision = va_arg(list, int);
            at += 2;
        } else if (*at == '.') {
            at = parse_number(at + 1, &how.precision);
        }
        at = parse_length(at, &length);

        switch (*at) {
        case 'd':
        case 'i': {
            int64_t value = length == LENGTH_LONG ? va_arg(list, long) : va_arg(list, int);
            if (length == LENGTH_SHORT) {
                value = (short)value;
            } else if (length == LENGTH_CHAR) {
                value = (signed char)value;
            }
            uint64_t magnitude = value < 0 ? -(uint64_t)value : (uint64_t)value;
            put_integer(&out, &how, magnitude, 10, value < 0);
            break;
        }
        case 'u':
        case 'x':
        case 'X':
        case 'o': {
            uint64_t value =
                length == LENGTH_LONG ? va_arg(list, unsigned long) : va_arg(list, unsigned);
            if (length == LENGTH_SHORT) {
                value = (unsigned short)value;
            } else if (length == LENGTH_CHAR) {
                value = (unsigned char)value;
            }
            how.plus = false;
            how.space = false;
            how.upper = *at == 'X';
            put_integer(&out, &how, value, *at == 'u' ? 10 : *at == 'o' ? 8 : 16, false);
            break;
        }
        case 'p':
            how.alternate = true;
            put_integer(&out, &how, (uintptr_t)va_arg(list, void *), 16, false);
            break;
        case 'c': {
            char byte = (char)va_arg(list, int);
            pad(&out, ' ', how.left ? 0 : how.width - 1);
            put(&out, byte);
            pad(&out, ' ', how.left ? how.width - 1 : 0);
            break;
        }
        case 's':
            put_string(&out, &how, va_arg(list, const char *));
            break;
        case '%':
            put(&out, '%');
            break;
        case 0:
            at--; /* a lone % at the end */
            break;
        default:
            put(&out, '%');
            put(&out, *at);
        }
    }
    va_end(list);
    if (size != 0) {
        buffer[out.length < size ? out.length : size - 1] = 0;
    }
    return (int)out.length;
}

int format(char *buffer, size_t size, const char *text, ...)
{
    va_list arguments;
    va_start(arguments, text);
    int length = vformat(buffer, size, text, arguments);
    va_end(arguments);
    return length;
}
