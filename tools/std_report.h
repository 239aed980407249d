/* SPDX-License-Identifier: MIT */
/* What the runs of `unigornel test std` mean: the list of exceptions, the verdict on each test, the
 * table, and the JUnit and JSON files. */
#pragma once

#include "tools/test_log.h"

/* A test that cannot pass in a unikernel (test/std/exceptions.txt), or that failed in a run on
 * Linux with which this one is compared. */
struct test_exception {
    char *package, *test;
    char *reason;     /* "exec", "cgo", "internet", "linux" */
    bool kills;       /* ends the whole test binary, so it is left out */
    bool is_compared; /* from a run on Linux: may pass here */
};

struct exception_list {
    struct test_exception *items;
    size_t count;
};

/* 0, or -1 after a message about the first line that is wrong. */
int exceptions_read(struct exception_list *list, const char *path);
int exceptions_parse(struct exception_list *list, const char *path, const char *text);
/* Adds the tests that have failed in a run, from the file that its --json has written. 0, or -1
 * after a message. */
int exceptions_compare(struct exception_list *list, const char *path);
void exceptions_compare_parse(struct exception_list *list, const char *text);
void exceptions_free(struct exception_list *list);

enum verdict {
    VERDICT_PASSED,
    VERDICT_SKIPPED, /* by itself */
    VERDICT_FAILED,
    VERDICT_EXCEPTED, /* failed, as the list says */
    VERDICT_SURPRISE, /* passed, though the list says that it cannot */
    VERDICTS
};

/* One package with one number of CPUs. */
struct package_run {
    char *package, *directory;
    long cpus;
    double seconds;
    struct test_log log;
    size_t counts[VERDICTS];
    char *trouble; /* of the whole binary: not built, a panic, a time-out; NULL: none */
};

/* The verdict on one test of the run, and the exception that it is about (NULL: none). */
enum verdict test_verdict(const struct package_run *run, const struct test_result *result,
                          const struct exception_list *list,
                          const struct test_exception **exception);

/* Fills in counts, and trouble where the binary's exit status does not go with its log (`output`,
 * all of it). */
void package_run_judge(struct package_run *run, const struct exception_list *list, int status,
                       const char *output);
bool package_run_good(const struct package_run *run);

/* A row of the table, or (NULL) its head. Ends with a newline. */
void report_row(struct buffer *out, const struct package_run *run);
/* What is wrong in the run, a line or more for each. `all`: with what the tests said. */
void report_faults(struct buffer *out, const struct package_run *run,
                   const struct exception_list *list, bool all);
/* The sum of all runs. */
void report_sum(struct buffer *out, const struct package_run *runs, size_t count, double seconds);

struct report_facts {
    const char *go_version, *platform;
    bool is_short;
};
void report_json(struct buffer *out, const struct report_facts *facts,
                 const struct package_run *runs, size_t count, const struct exception_list *list);
/* JUnit's XML, one test suite for each run. */
void report_junit(struct buffer *out, const struct package_run *runs, size_t count,
                  const struct exception_list *list);
