/* SPDX-License-Identifier: MIT */
/* Putting messages of 9P together and taking them apart. No state, no lock. */
#include "core/fs/ninep_message.h"

#include <stdarg.h>

#include "core/lib/errno.h"
#include "core/lib/string.h"

#define ERRNO_MAX 4095u

/* The place of the next `size` bytes, or NULL. */
static uint8_t *take(struct ninep_message *message, size_t size)
{
    uint8_t *at = message->bytes + message->at;
    if (message->bytes == NULL) {
        message->at += size;
        return NULL;
    }
    if (message->bad || message->size - message->at < size) {
        message->bad = true;
        return NULL;
    }
    message->at += size;
    return at;
}

static void put_number(struct ninep_message *message, uint64_t value, size_t size)
{
    uint8_t *at = take(message, size);
    if (at != NULL) {
        memcpy(at, &value, size);
    }
}

static uint64_t get_number(struct ninep_message *message, size_t size)
{
    uint64_t value = 0;
    const uint8_t *at = take(message, size);
    if (at != NULL) {
        memcpy(&value, at, size);
    }
    return value;
}

static size_t width_of(char letter)
{
    return letter == 'b' ? 1 : letter == 'w' ? 2 : letter == 'd' ? 4 : 8;
}

void ninep_vput(struct ninep_message *message, const char *format, va_list arguments)
{
    for (; *format != '\0'; format++) {
        if (*format == 's') {
            const char *text = va_arg(arguments, const char *);
            size_t length = va_arg(arguments, size_t);
            message->bad |= length > UINT16_MAX;
            put_number(message, length, 2);
            uint8_t *at = take(message, length);
            if (at != NULL) {
                memcpy(at, text, length);
            }
        } else if (*format == 'q') {
            put_number(message, va_arg(arguments, uint64_t), 8);
        } else {
            put_number(message, va_arg(arguments, uint32_t), width_of(*format));
        }
    }
}

void ninep_put(struct ninep_message *message, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    ninep_vput(message, format, arguments);
    va_end(arguments);
}

bool ninep_vget(struct ninep_message *message, const char *format, va_list arguments)
{
    for (; *format != '\0'; format++) {
        if (*format == 's') {
            const char **text = va_arg(arguments, const char **);
            size_t *length = va_arg(arguments, size_t *);
            *length = get_number(message, 2);
            *text = (const char *)take(message, *length);
            if (message->bad) {
                *length = 0;
            }
        } else if (*format == 'Q') {
            struct ninep_qid *qid = va_arg(arguments, struct ninep_qid *);
            qid->type = (uint8_t)get_number(message, 1);
            qid->version = (uint32_t)get_number(message, 4);
            qid->path = get_number(message, 8);
        } else {
            size_t width = width_of(*format);
            uint64_t value = get_number(message, width);
            memcpy(va_arg(arguments, void *), &value, width);
        }
    }
    return !message->bad;
}

bool ninep_get(struct ninep_message *message, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    bool good = ninep_vget(message, format, arguments);
    va_end(arguments);
    return good;
}

void ninep_begin(struct ninep_message *message)
{
    message->at = NINEP_HEADER;
    message->bad = message->bytes != NULL && message->size < NINEP_HEADER;
}

void ninep_finish(struct ninep_message *message, uint8_t type, uint16_t tag, size_t more)
{
    size_t end = message->at;
    message->at = 0;
    ninep_put(message, "dbw", (uint32_t)(end + more), type, tag);
    message->at = end;
}

int ninep_check(struct ninep_message *message, size_t received, uint8_t type, uint16_t tag)
{
    uint32_t size, error;
    uint16_t answer_tag;
    uint8_t answer;
    message->size = message->size < received ? message->size : received;
    message->at = 0;
    message->bad = false;
    if (!ninep_get(message, "dbw", &size, &answer, &answer_tag) || size != received ||
        answer_tag != tag) {
        return -EIO;
    }
    if (answer == NINEP_RLERROR) {
        bool good = ninep_get(message, "d", &error) && error != 0 && error <= ERRNO_MAX;
        return good ? -(int)error : -EIO;
    }
    return answer == type + 1 ? 0 : -EIO;
}
