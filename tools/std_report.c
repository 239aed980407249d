/* SPDX-License-Identifier: MIT */
/* Exceptions, verdicts and reports of `unigornel test std`. */
#define _GNU_SOURCE
#include "tools/std_report.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* --- exceptions
 * --------------------------------------------------------------------------------------------------
 */

static void add_exception(struct exception_list *list, const struct test_exception *item)
{
    struct test_exception *more = allocate((list->count + 1) * sizeof(*more));
    if (list->count)
        memcpy(more, list->items, list->count * sizeof(*more));
    more[list->count++] = *item;
    free(list->items);
    list->items = more;
}

/* One line: PACKAGE TEST REASON [kills] [what else there is to say]. */
static int parse_exception(struct exception_list *list, const char *path, size_t number, char *line)
{
    static const char *const reasons[] = {"exec", "cgo", "internet"};
    char *state = NULL;
    const char *package = strtok_r(line, " \t", &state), *test = strtok_r(NULL, " \t", &state),
               *reason = strtok_r(NULL, " \t", &state), *word = strtok_r(NULL, " \t", &state);
    bool known = false;
    for (size_t i = 0; reason && i < sizeof(reasons) / sizeof(*reasons); i++)
        known |= strcmp(reason, reasons[i]) == 0;
    if (!known)
        return fail("%s:%zu: give PACKAGE TEST REASON, the reason exec, cgo or internet", path,
                    number);
    add_exception(list, &(struct test_exception){.package = copy_string(package),
                                                 .test = copy_string(test),
                                                 .reason = copy_string(reason),
                                                 .kills = word && strcmp(word, "kills") == 0});
    return 0;
}

int exceptions_parse(struct exception_list *list, const char *path, const char *text)
{
    char *copy = copy_string(text), *rest = copy, *line;
    int result = 0;
    for (size_t number = 1; result == 0 && (line = strsep(&rest, "\n")); number++) {
        if (line[strspn(line, " \t")] && line[0] != '#')
            result = parse_exception(list, path, number, line);
    }
    free(copy);
    return result;
}

int exceptions_read(struct exception_list *list, const char *path)
{
    struct buffer text = {0};
    int error = read_file(path, &text);
    if (error)
        return fail("%s: cannot read the list of exceptions: %s", path, strerror(-error));
    int result = exceptions_parse(list, path, text.bytes);
    buffer_free(&text);
    return result;
}

/* The string after a key on one line that report_json has written, or NULL. */
static char *json_string(const char *line, size_t length, const char *key)
{
    char *mark = format_string("\"%s\": \"", key);
    const char *at = memmem(line, length, mark, strlen(mark)), *end = line + length;
    struct buffer value = {0};
    bool closed = false;
    for (at = at ? at + strlen(mark) : end; at < end && !(closed = *at == '"'); at++) {
        char byte = *at;
        unsigned code;
        if (byte == '\\' && end - at > 5 && sscanf(at, "\\u%4x", &code) == 1) {
            byte = (char)code;
            at += 5;
        } else if (byte == '\\') {
            byte = *++at;
        }
        buffer_append(&value, &byte, 1);
    }
    free(mark);
    if (closed)
        return value.bytes ? value.bytes : copy_string("");
    buffer_free(&value);
    return NULL;
}

/* Line by line, as append_json_run writes it. */
void exceptions_compare_parse(struct exception_list *list, const char *text)
{
    char *package = NULL;
    for (size_t length; *text; text += length + (text[length] == '\n')) {
        length = strcspn(text, "\n");
        char *name = json_string(text, length, "package");
        if (name) {
            free(package);
            package = name;
            continue;
        }
        name = json_string(text, length, "name");
        char *verdict = json_string(text, length, "verdict");
        if (package && name && verdict && strcmp(verdict, "failed") == 0)
            add_exception(list, &(struct test_exception){.package = copy_string(package),
                                                         .test = copy_string(name),
                                                         .reason = copy_string("linux"),
                                                         .is_compared = true});
        free(name);
        free(verdict);
    }
    free(package);
}

int exceptions_compare(struct exception_list *list, const char *path)
{
    struct buffer text = {0};
    int error = read_file(path, &text);
    if (error)
        return fail("%s: cannot read the results to compare with: %s", path, strerror(-error));
    exceptions_compare_parse(list, text.size ? text.bytes : "");
    buffer_free(&text);
    return 0;
}

void exceptions_free(struct exception_list *list)
{
    for (size_t i = 0; i < list->count; i++) {
        free(list->items[i].package);
        free(list->items[i].test);
        free(list->items[i].reason);
    }
    free(list->items);
    *list = (struct exception_list){0};
}

/* --- verdicts
 * ----------------------------------------------------------------------------------------------------
 */

static bool is_below(const char *name, const char *above)
{
    size_t length = strlen(above);
    return strncmp(name, above, length) == 0 && name[length] == '/';
}

/* A listed test stands for its subtests as well; those of a run on Linux are there by name. */
static const struct test_exception *find_exception(const struct exception_list *list,
                                                   const char *package, const char *test)
{
    for (size_t i = 0; i < list->count; i++) {
        const struct test_exception *item = &list->items[i];
        if (strcmp(item->package, package) == 0 &&
            (strcmp(item->test, test) == 0 || (!item->is_compared && is_below(test, item->test))))
            return item;
    }
    return NULL;
}

/* For a test that has failed and is not listed itself: whether that is because of subtests that
 * are. */
static const struct test_exception *excused_by_subtests(const struct package_run *run,
                                                        const struct test_result *result,
                                                        const struct exception_list *list)
{
    const struct test_exception *excuse = NULL;
    for (size_t i = 0; i < run->log.count; i++) {
        const struct test_result *below = &run->log.results[i];
        if (!is_below(below->name, result->name) || below->outcome == TEST_PASSED ||
            below->outcome == TEST_SKIPPED)
            continue;
        const struct test_exception *listed = find_exception(list, run->package, below->name);
        bool group = false; /* it may have failed only because of what is below it */
        for (size_t j = 0; j < run->log.count && !listed; j++)
            group |= is_below(run->log.results[j].name, below->name) &&
                     run->log.results[j].outcome == TEST_FAILED;
        if (!listed && !group)
            return NULL;
        excuse = listed ? listed : excuse;
    }
    return excuse;
}

enum verdict test_verdict(const struct package_run *run, const struct test_result *result,
                          const struct exception_list *list,
                          const struct test_exception **exception)
{
    const struct test_exception *listed = find_exception(list, run->package, result->name);
    bool itself = listed && strcmp(listed->test, result->name) == 0;
    *exception = listed;
    switch (result->outcome) {
    case TEST_PASSED:
        return itself && !listed->is_compared ? VERDICT_SURPRISE : VERDICT_PASSED;
    case TEST_SKIPPED:
        return VERDICT_SKIPPED;
    default:
        if (!listed && result->outcome == TEST_FAILED)
            *exception = excused_by_subtests(run, result, list);
        return *exception ? VERDICT_EXCEPTED : VERDICT_FAILED;
    }
}

/* Perhaps with the mark of test2json in front. */
static bool has_line(const char *output, const char *line)
{
    size_t length = strlen(line);
    for (const char *at = output; (at = strstr(at, line)); at += length) {
        if ((at == output || at[-1] == '\n' || at[-1] == TEST_LOG_MARK) &&
            (at[length] == '\n' || !at[length]))
            return true;
    }
    return false;
}

static char *last_lines(const char *output)
{
    size_t length = strlen(output);
    const char *from = output + (length > 1500 ? length - 1500 : 0);
    return copy_string(from);
}

void package_run_judge(struct package_run *run, const struct exception_list *list, int status,
                       const char *output)
{
    memset(run->counts, 0, sizeof(run->counts));
    bool ended_there = false; /* on Linux, too */
    for (size_t i = 0; i < run->log.count; i++) {
        const struct test_result *result = &run->log.results[i];
        const struct test_exception *exception;
        run->counts[test_verdict(run, result, list, &exception)]++;
        ended_there |= result->outcome == TEST_UNFINISHED && exception && exception->is_compared;
    }
    bool failed = run->counts[VERDICT_FAILED] || run->counts[VERDICT_EXCEPTED];
    bool ended = status == 0 ? has_line(output, "PASS") : status == 1 && has_line(output, "FAIL");
    if ((!ended && !ended_there) || (status == 1 && !failed)) {
        char *lines = last_lines(output);
        run->trouble = format_string("ended with status %d after:\n%s", status, lines);
        free(lines);
    }
}

bool package_run_good(const struct package_run *run)
{
    return !run->trouble && !run->counts[VERDICT_FAILED] && !run->counts[VERDICT_SURPRISE];
}

/* --- the table
 * -----------------------------------------------------------------------------------------------------
 */

static size_t run_count(const struct package_run *run)
{
    return run->log.count;
}

void report_row(struct buffer *out, const struct package_run *run)
{
    if (!run) {
        buffer_append_format(out, "%-44s %4s %6s %6s %6s %7s %8s %8s\n", "package", "cpus", "run",
                             "passed", "failed", "skipped", "excepted", "seconds");
        return;
    }
    buffer_append_format(out, "%-44s %4ld %6zu %6zu %6zu %7zu %8zu %8.1f%s\n", run->package,
                         run->cpus, run_count(run), run->counts[VERDICT_PASSED],
                         run->counts[VERDICT_FAILED] + run->counts[VERDICT_SURPRISE],
                         run->counts[VERDICT_SKIPPED], run->counts[VERDICT_EXCEPTED], run->seconds,
                         run->trouble ? "  ended badly" : "");
}

void report_faults(struct buffer *out, const struct package_run *run,
                   const struct exception_list *list, bool all)
{
    for (size_t i = 0; i < run->log.count; i++) {
        const struct test_result *result = &run->log.results[i];
        const struct test_exception *exception;
        enum verdict verdict = test_verdict(run, result, list, &exception);
        if (verdict == VERDICT_SURPRISE)
            buffer_append_format(out, "    surprise: %s passes: take it off the list (%s)\n",
                                 result->name, exception->reason);
        if (verdict != VERDICT_FAILED)
            continue;
        buffer_append_format(out, "    %s: %s\n",
                             result->outcome == TEST_FAILED ? "failed" : "did not end",
                             result->name);
        if (all && result->said.size)
            buffer_append_format(out, "%s\n", result->said.bytes);
    }
    if (run->trouble && all)
        buffer_append_format(out, "    %s\n", run->trouble);
    else if (run->trouble)
        buffer_append_format(out, "    %.*s (-v shows more)\n", (int)strcspn(run->trouble, "\n"),
                             run->trouble);
}

void report_sum(struct buffer *out, const struct package_run *runs, size_t count, double seconds)
{
    size_t counts[VERDICTS] = {0}, tests = 0, bad = 0;
    for (size_t i = 0; i < count; i++) {
        for (int verdict = 0; verdict < VERDICTS; verdict++)
            counts[verdict] += runs[i].counts[verdict];
        tests += run_count(&runs[i]);
        bad += !package_run_good(&runs[i]);
    }
    buffer_append_format(out,
                         "%zu packages, %zu of them bad: %zu tests, %zu passed, %zu failed, %zu "
                         "surprises, %zu skipped, %zu excepted, in %.0f s\n",
                         count, bad, tests, counts[VERDICT_PASSED], counts[VERDICT_FAILED],
                         counts[VERDICT_SURPRISE], counts[VERDICT_SKIPPED],
                         counts[VERDICT_EXCEPTED], seconds);
}

/* --- files
 * ---------------------------------------------------------------------------------------------------------
 */

/* The length of the sequence of UTF-8 that the text begins with when it is one of more than one
 * byte, as RFC 3629, 4 has them; else 0. */
static size_t utf8_sequence(const char *text)
{
    const unsigned char *byte = (const unsigned char *)text;
    size_t length = byte[0] >= 0xc2 && byte[0] < 0xe0   ? 2
                    : byte[0] >> 4 == 0xe               ? 3
                    : byte[0] >= 0xf0 && byte[0] < 0xf5 ? 4
                                                        : 0;
    for (size_t i = 1; i < length; i++) {
        if (byte[i] >> 6 != 2)
            return 0;
    }
    /* Too long a form, surrogates, beyond U+10FFFF; and U+FFFE and U+FFFF, not for XML. */
    bool wrong = (byte[0] == 0xe0 && byte[1] < 0xa0) || (byte[0] == 0xed && byte[1] > 0x9f) ||
                 (byte[0] == 0xf0 && byte[1] < 0x90) || (byte[0] == 0xf4 && byte[1] > 0x8f) ||
                 (byte[0] == 0xef && byte[1] == 0xbf && byte[2] > 0xbd);
    return wrong ? 0 : length;
}

static void append_json_string(struct buffer *out, const char *text)
{
    buffer_append_string(out, "\"");
    for (size_t length; *text; text += length ? length : 1) {
        unsigned char byte = (unsigned char)*text;
        length = utf8_sequence(text);
        if (length)
            buffer_append(out, text, length);
        else if (byte == '"' || byte == '\\')
            buffer_append_format(out, "\\%c", byte);
        else if (byte < 32 || byte > 126)
            buffer_append_format(out, "\\u%04x", byte); /* a stray byte, read as Latin-1 */
        else
            buffer_append(out, text, 1);
    }
    buffer_append_string(out, "\"");
}

static const char *const verdict_names[VERDICTS] = {"passed", "skipped", "failed", "excepted",
                                                    "surprise"};

static void append_json_run(struct buffer *out, const struct package_run *run,
                            const struct exception_list *list)
{
    buffer_append_string(out, "\n  {\"package\": ");
    append_json_string(out, run->package);
    buffer_append_format(out, ", \"cpus\": %ld, \"seconds\": %.2f, \"good\": %s", run->cpus,
                         run->seconds, package_run_good(run) ? "true" : "false");
    for (int verdict = 0; verdict < VERDICTS; verdict++)
        buffer_append_format(out, ", \"%s\": %zu", verdict_names[verdict], run->counts[verdict]);
    if (run->trouble) {
        buffer_append_string(out, ", \"trouble\": ");
        append_json_string(out, run->trouble);
    }
    buffer_append_string(out, ", \"tests\": [");
    for (size_t i = 0; i < run->log.count; i++) {
        const struct test_result *result = &run->log.results[i];
        const struct test_exception *exception;
        enum verdict verdict = test_verdict(run, result, list, &exception);
        buffer_append_string(out, i ? ",\n    {\"name\": " : "\n    {\"name\": ");
        append_json_string(out, result->name);
        buffer_append_format(out, ", \"verdict\": \"%s\", \"seconds\": %.2f",
                             verdict_names[verdict], result->seconds);
        if (verdict == VERDICT_FAILED && result->said.size) {
            buffer_append_string(out, ", \"said\": ");
            append_json_string(out, result->said.bytes);
        }
        buffer_append_string(out, "}");
    }
    buffer_append_string(out, "]}");
}

void report_json(struct buffer *out, const struct report_facts *facts,
                 const struct package_run *runs, size_t count, const struct exception_list *list)
{
    buffer_append_string(out, "{\"go\": ");
    append_json_string(out, facts->go_version);
    buffer_append_string(out, ", \"platform\": ");
    append_json_string(out, facts->platform);
    buffer_append_format(out, ", \"short\": %s, \"packages\": [",
                         facts->is_short ? "true" : "false");
    for (size_t i = 0; i < count; i++) {
        if (i)
            buffer_append_string(out, ",");
        append_json_run(out, &runs[i], list);
    }
    buffer_append_string(out, "\n]}\n");
}

/* XML 1.0, 2.2 and 2.4: other control characters cannot be written at all. */
static void append_xml(struct buffer *out, const char *text)
{
    for (size_t length; *text; text += length ? length : 1) {
        unsigned char byte = (unsigned char)*text;
        length = utf8_sequence(text);
        if (length)
            buffer_append(out, text, length);
        else if (byte == '<')
            buffer_append_string(out, "&lt;");
        else if (byte == '&')
            buffer_append_string(out, "&amp;");
        else if (byte == '"')
            buffer_append_string(out, "&quot;");
        else if (byte == '\n')
            buffer_append_string(out, "&#10;");
        else if (byte == '\t' || (byte >= 32 && byte < 127))
            buffer_append(out, text, 1);
        else if (byte > 126)
            buffer_append_format(out, "&#%u;", byte);
        else
            buffer_append_string(out, "?");
    }
}

static void append_junit_test(struct buffer *out, const struct package_run *run,
                              const struct test_result *result, const struct exception_list *list)
{
    const struct test_exception *exception;
    enum verdict verdict = test_verdict(run, result, list, &exception);
    buffer_append_string(out, "    <testcase classname=\"");
    append_xml(out, run->package);
    buffer_append_string(out, "\" name=\"");
    append_xml(out, result->name);
    buffer_append_format(out, "\" time=\"%.2f\">", result->seconds);
    if (verdict == VERDICT_SKIPPED) {
        buffer_append_string(out, "<skipped/>");
    } else if (verdict == VERDICT_EXCEPTED) {
        buffer_append_format(out, "<skipped message=\"%s\"/>", exception->reason);
    } else if (verdict != VERDICT_PASSED) {
        buffer_append_format(out, "<failure message=\"%s\">", verdict_names[verdict]);
        append_xml(out, result->said.size ? result->said.bytes : "");
        buffer_append_string(out, "</failure>");
    }
    buffer_append_string(out, "</testcase>\n");
}

void report_junit(struct buffer *out, const struct package_run *runs, size_t count,
                  const struct exception_list *list)
{
    buffer_append_string(out, "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<testsuites>\n");
    for (size_t i = 0; i < count; i++) {
        const struct package_run *run = &runs[i];
        buffer_append_string(out, "  <testsuite name=\"");
        append_xml(out, run->package);
        buffer_append_format(
            out, "\" tests=\"%zu\" failures=\"%zu\" skipped=\"%zu\" errors=\"%d\" time=\"%.2f\">\n",
            run_count(run) + (run->trouble != NULL),
            run->counts[VERDICT_FAILED] + run->counts[VERDICT_SURPRISE],
            run->counts[VERDICT_SKIPPED] + run->counts[VERDICT_EXCEPTED], run->trouble != NULL,
            run->seconds);
        buffer_append_format(
            out, "    <properties><property name=\"cpus\" value=\"%ld\"/></properties>\n",
            run->cpus);
        for (size_t j = 0; j < run->log.count; j++)
            append_junit_test(out, run, &run->log.results[j], list);
        if (run->trouble) { /* a case of its own: what reads the file may look at nothing else */
            buffer_append_string(out, "    <testcase classname=\"");
            append_xml(out, run->package);
            buffer_append_string(out, "\" name=\"(package)\"><error>");
            append_xml(out, run->trouble);
            buffer_append_string(out, "</error></testcase>\n");
        }
        buffer_append_string(out, "  </testsuite>\n");
    }
    buffer_append_string(out, "</testsuites>\n");
}
