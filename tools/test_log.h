/* SPDX-License-Identifier: MIT */
/* Reads what a Go test binary prints with -test.v=test2json (testing/testing.go, cmd/internal/
 * test2json): which tests ran, how each ended, and what it said. */
#pragma once

#include "tools/tool.h"

#define TEST_LOG_MARK '\x16'

enum test_outcome { TEST_UNFINISHED, TEST_PASSED, TEST_FAILED, TEST_SKIPPED };

struct test_result {
    char *name; /* "TestX/case" */
    enum test_outcome outcome;
    double seconds;
    struct buffer said; /* the beginning of its output */
};

struct test_log {
    struct test_result *results; /* in the order in which they began */
    size_t count;
};

/* Reads a whole log; whatever it holds beside the marks is output. */
void test_log_read(struct test_log *log, const char *bytes, size_t size);
void test_log_free(struct test_log *log);

/* NULL: no such test ran. */
struct test_result *test_log_find(const struct test_log *log, const char *name, size_t length);
