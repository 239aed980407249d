/* SPDX-License-Identifier: MIT */
/* The reader of verbose test output, and the verdicts on what it has read. */
#include "tools/test_log.h"

#include <stdlib.h>
#include <string.h>

#include "test/unit/tools/errors.h"
#include "tools/std_report.h"

#define M "\x16"

static const struct test_result *find(const struct test_log *log, const char *name)
{
    return test_log_find(log, name, strlen(name));
}

static void test_reading(void)
{
    static const char text[] =
        M "=== RUN   TestA\n"
          "hello\nno newline" M "=== RUN   TestA/x_y\n"
          "inner\n" M "=== NAME  TestA\n"
          "outer\n" M "=== NAME  \n"
          "nobody\n" M "--- FAIL: TestA (1.50s)\n"
          "    late\n" M "--- SKIP: TestA/x_y (0.00s)\n" M "=== RUN   TestB\n" M
          "=== PAUSE TestB\n" M "=== CONT  TestB\n" M "garbage\n" M "\n" M "FAIL\n";
    struct test_log log;
    test_log_read(&log, text, sizeof(text) - 1);
    EXPECT(log.count == 3);
    EXPECT(find(&log, "TestA")->outcome == TEST_FAILED && find(&log, "TestA")->seconds == 1.5);
    EXPECT(strcmp(find(&log, "TestA")->said.bytes, "hello\nno newlineouter\n    late\n") == 0);
    EXPECT(find(&log, "TestA/x_y")->outcome == TEST_SKIPPED);
    EXPECT(strcmp(find(&log, "TestA/x_y")->said.bytes, "inner\n") == 0);
    EXPECT(find(&log, "TestB")->outcome == TEST_UNFINISHED && !find(&log, "Test"));
    test_log_free(&log);
    /* Cut anywhere. */
    for (size_t size = 0; size < sizeof(text); size++) {
        test_log_read(&log, text, size);
        test_log_free(&log);
    }
}

static enum verdict verdict_of(const struct package_run *run, const char *name,
                               const struct exception_list *list)
{
    const struct test_exception *exception;
    return test_verdict(run, find(&run->log, name), list, &exception);
}

static void test_verdicts(void)
{
    static const char text[] =
        M "--- PASS: TestPass (0.00s)\n" M "--- PASS: TestListed (0.00s)\n" M
          "--- FAIL: TestExec (0.00s)\n" M "--- FAIL: TestExec/a (0.00s)\n" M
          "--- PASS: TestExec/b (0.00s)\n" M "--- FAIL: TestSub (0.00s)\n" M
          "--- FAIL: TestSub/g (0.00s)\n" M "--- FAIL: TestSub/g/x (0.00s)\n" M
          "--- FAIL: TestMixed (0.00s)\n" M "--- FAIL: TestMixed/x (0.00s)\n" M
          "--- FAIL: TestMixed/y (0.00s)\n";
    struct exception_list list = {0};
    EXPECT(exceptions_parse(&list, "list",
                            "# a comment\n\np TestListed exec\np TestExec cgo kills and so on\n"
                            "p TestSub/g/x internet\np TestMixed/x exec\nq TestPass exec\n") == 0);
    EXPECT(list.count == 5 && list.items[1].kills && !list.items[0].kills);
    struct package_run run = {.package = "p"};
    test_log_read(&run.log, text, sizeof(text) - 1);
    EXPECT(verdict_of(&run, "TestPass", &list) == VERDICT_PASSED);
    EXPECT(verdict_of(&run, "TestListed", &list) == VERDICT_SURPRISE);
    EXPECT(verdict_of(&run, "TestExec", &list) == VERDICT_EXCEPTED);
    EXPECT(verdict_of(&run, "TestExec/a", &list) == VERDICT_EXCEPTED);
    EXPECT(verdict_of(&run, "TestExec/b", &list) == VERDICT_PASSED);
    EXPECT(verdict_of(&run, "TestSub", &list) == VERDICT_EXCEPTED);
    EXPECT(verdict_of(&run, "TestSub/g", &list) == VERDICT_EXCEPTED);
    EXPECT(verdict_of(&run, "TestMixed", &list) == VERDICT_FAILED);
    EXPECT(verdict_of(&run, "TestMixed/y", &list) == VERDICT_FAILED);

    package_run_judge(&run, &list, 1, "...\nFAIL\n");
    EXPECT(!run.trouble && run.counts[VERDICT_FAILED] == 2 && !package_run_good(&run));
    package_run_judge(&run, &list, 2, "panic\n");
    EXPECT(run.trouble);
    free(run.trouble);
    run.trouble = NULL;
    test_log_free(&run.log);
    package_run_judge(&run, &list, 0, "PASS\n");
    EXPECT(package_run_good(&run));
    package_run_judge(&run, &list, 0, "no end\n");
    EXPECT(run.trouble);
    free(run.trouble);
    exceptions_free(&list);
    EXPECT(failed_with(exceptions_parse(&list, "list", "p T exec\np T because\n"), "list:2"));
    exceptions_free(&list);
    EXPECT(failed_with(exceptions_parse(&list, "list", "p"), "list:1"));
}

/* A run is compared with another that report_json has written. */
static void test_compared(void)
{
    static const char there[] =
        M "--- FAIL: TestBoth (0.00s)\n" M "--- FAIL: TestBoth/\"a\" (0.00s)\n" M
          "--- FAIL: TestThere (0.00s)\n" M "--- PASS: TestHere (0.00s)\n" M "=== RUN   TestEnds\n";
    static const char here[] =
        M "--- FAIL: TestBoth (0.00s)\n" M "--- FAIL: TestBoth/\"a\" (0.00s)\n" M
          "--- FAIL: TestBoth/b (0.00s)\n" M "--- PASS: TestThere (0.00s)\n" M
          "--- FAIL: TestHere (0.00s)\n" M "=== RUN   TestEnds\n";
    struct exception_list none = {0}, list = {0};
    struct package_run run = {.package = "p"};
    struct buffer json = {0};
    test_log_read(&run.log, there, sizeof(there) - 1);
    report_json(&json, &(struct report_facts){"go1", "host", false}, &run, 1, &none);
    exceptions_compare_parse(&list, json.bytes);
    EXPECT(list.count == 4);
    buffer_free(&json);
    test_log_free(&run.log);
    test_log_read(&run.log, here, sizeof(here) - 1);
    EXPECT(verdict_of(&run, "TestBoth", &list) == VERDICT_EXCEPTED);
    EXPECT(verdict_of(&run, "TestBoth/\"a\"", &list) == VERDICT_EXCEPTED);
    EXPECT(verdict_of(&run, "TestBoth/b", &list) == VERDICT_FAILED);
    EXPECT(verdict_of(&run, "TestThere", &list) == VERDICT_PASSED);
    EXPECT(verdict_of(&run, "TestHere", &list) == VERDICT_FAILED);
    package_run_judge(&run, &list, 1, "exit\n");
    EXPECT(!run.trouble && run.counts[VERDICT_EXCEPTED] == 3);
    test_log_free(&run.log);
    exceptions_free(&list);
    exceptions_compare_parse(&list, "{\"package\": \"p\"\n{\"name\": \"cut \\");
    EXPECT(list.count == 0);
}

/* What the files say of bytes that are not ASCII: UTF-8 as it is, the rest one by one. */
static void test_bytes(void)
{
    static const char log[] =
        M "=== RUN   TestA\n\u00e9 \u20ac \U0001f600 \xff \xe9x \xc0\x80 \xed\xa0\x80 "
          "\xf4\x90\x80\x80 \xef\xbf\xbf \xe2\x82\n" M "--- FAIL: TestA (0.00s)\n";
    static const char json_text[] =
        "\u00e9 \u20ac \U0001f600 \\u00ff \\u00e9x \\u00c0\\u0080 \\u00ed\\u00a0\\u0080 "
        "\\u00f4\\u0090\\u0080\\u0080 \\u00ef\\u00bf\\u00bf \\u00e2\\u0082\\u000a";
    struct exception_list none = {0};
    struct package_run run = {.package = "p"};
    struct buffer json = {0}, junit = {0};
    test_log_read(&run.log, log, sizeof(log) - 1);
    report_json(&json, &(struct report_facts){"go1", "host", false}, &run, 1, &none);
    EXPECT(strstr(json.bytes, json_text));
    report_junit(&junit, &run, 1, &none);
    EXPECT(strstr(junit.bytes, ">\u00e9 \u20ac \U0001f600 &#255; &#233;x &#192;&#128; "));
    buffer_free(&json);
    buffer_free(&junit);
    test_log_free(&run.log);
}

int main(void)
{
    test_bytes();
    test_reading();
    test_compared();
    test_verdicts();
    return 0;
}
