/* SPDX-License-Identifier: MIT */
/* The reader of verbose test output. A mark is the byte 0x16, which may follow output that has not
 * ended its line, and then one of "=== RUN   NAME", "=== CONT  NAME", "=== NAME  NAME" (NAME may be
 * empty there), "--- PASS: NAME (0.00s)" and so on. */
#define _GNU_SOURCE
#include "tools/test_log.h"

#include <stdlib.h>
#include <string.h>

#define SAID_MAX 4000

struct test_result *test_log_find(const struct test_log *log, const char *name, size_t length)
{
    /* The newest first: marks are mostly about what began last. */
    for (size_t i = log->count; i > 0; i--) {
        struct test_result *result = &log->results[i - 1];
        if (strncmp(result->name, name, length) == 0 && result->name[length] == '\0')
            return result;
    }
    return NULL;
}

static struct test_result *add(struct test_log *log, const char *name, size_t length)
{
    struct test_result *known = test_log_find(log, name, length);
    if (known)
        return known;
    if ((log->count & (log->count - 1)) == 0) {
        struct test_result *more = allocate((log->count ? 2 * log->count : 1) * sizeof(*more));
        if (log->count)
            memcpy(more, log->results, log->count * sizeof(*more));
        free(log->results);
        log->results = more;
    }
    struct test_result *result = &log->results[log->count++];
    *result = (struct test_result){.name = format_string("%.*s", (int)length, name)};
    return result;
}

static enum test_outcome outcome_of(const char *mark)
{
    return strncmp(mark, "--- PASS: ", 10) == 0   ? TEST_PASSED
           : strncmp(mark, "--- FAIL: ", 10) == 0 ? TEST_FAILED
           : strncmp(mark, "--- SKIP: ", 10) == 0 ? TEST_SKIPPED
                                                  : TEST_UNFINISHED;
}

/* Takes the text behind a mark up to the end of its line. Returns the index of the test that speaks
 * from now on plus one, 0 for none. */
static size_t read_mark(struct test_log *log, const char *mark, size_t length, size_t speaker)
{
    if (length < 10)
        return speaker;
    const char *name = mark + 10;
    size_t name_length = length - 10;
    const char *blank = memchr(name, ' ', name_length);
    if (blank)
        name_length = (size_t)(blank - name);
    if (strncmp(mark, "=== ", 4) == 0) {
        if (!name_length)
            return 0;
        return (size_t)(add(log, name, name_length) - log->results) + 1;
    }
    enum test_outcome outcome = outcome_of(mark);
    if (outcome == TEST_UNFINISHED)
        return speaker;
    struct test_result *result = add(log, name, name_length);
    result->outcome = outcome;
    if (blank && blank[1] == '(')
        result->seconds = strtod(blank + 2, NULL);
    return (size_t)(result - log->results) + 1;
}

void test_log_read(struct test_log *log, const char *bytes, size_t size)
{
    *log = (struct test_log){0};
    size_t speaker = 0;
    for (size_t at = 0; at < size;) {
        const char *from = bytes + at;
        size_t left = size - at;
        const char *newline = memchr(from, '\n', left);
        const char *mark = memchr(from, TEST_LOG_MARK, newline ? (size_t)(newline - from) : left);
        size_t line = newline ? (size_t)(newline - from) + 1 : left;
        if (mark == from) {
            /* Copied, because strtod wants an end. */
            char *text = format_string("%.*s", (int)(line - 1 - (newline != NULL)), from + 1);
            speaker = read_mark(log, text, strlen(text), speaker);
            free(text);
        } else {
            line = mark ? (size_t)(mark - from) : line;
            struct buffer *said = speaker ? &log->results[speaker - 1].said : NULL;
            if (said && said->size < SAID_MAX)
                buffer_append(said, from, line < SAID_MAX ? line : SAID_MAX);
        }
        at += line;
    }
}

void test_log_free(struct test_log *log)
{
    for (size_t i = 0; i < log->count; i++) {
        free(log->results[i].name);
        buffer_free(&log->results[i].said);
    }
    free(log->results);
    *log = (struct test_log){0};
}
