/* SPDX-License-Identifier: MIT */
/* `unigornel test std`. Each package is built by `go test -c` under the overlay and then run once
 * for each number of CPUs by `unigornel exec`, all of it in child processes, a few at a time. The
 * results come from their logs (test_log.c) when they have ended. */
#define _GNU_SOURCE
#include "tools/std.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "tools/commands.h"
#include "tools/mkfs.h"
#include "tools/overlay.h"
#include "tools/stage.h"
#include "tools/std_report.h"

#define DEFAULT_TIMEOUT 900
#define BOOT_SECONDS 60 /* more than the tests' own limit, so that they can say where they are */

enum {
    STD_CPUS,
    STD_PLATFORM,
    STD_RUN,
    STD_SHORT,
    STD_JOBS,
    STD_MEMORY,
    STD_TIMEOUT,
    STD_JSON,
    STD_JUNIT,
    STD_EXCEPTIONS,
    STD_COMPARE,
    STD_LOGS,
    STD_VERBOSE,
    STD_OPTIONS
};

static const struct option_spec std_specs[STD_OPTIONS] = {
    [STD_CPUS] = {"--cpus", "N,N", "numbers of CPUs to run with (default: 1,4)", NULL},
    [STD_PLATFORM] = {"--platform", "NAME",
                      "kvm (default: a guest in QEMU), xen-pv or xen-pvh (a domain, see unigornel "
                      "exec --help), or host: as a process",
                      NULL},
    [STD_RUN] = {"--run", "REGEXP", "only tests that match, as for go test", NULL},
    [STD_SHORT] = {"--short", NULL, "have long tests shorten themselves, as for go test", NULL},
    [STD_JOBS] = {"-j", "N", "how many at a time (default: the host's CPUs)", NULL},
    [STD_MEMORY] = {"-m", "SIZE", "memory of a guest (default: 2G)", NULL},
    [STD_TIMEOUT] = {"--timeout", "SECONDS", "for one package (default: 900)", NULL},
    [STD_JSON] = {"--json", "FILE", "write all results there", NULL},
    [STD_JUNIT] = {"--junit", "FILE", "the same as JUnit's XML", NULL},
    [STD_EXCEPTIONS] = {"--exceptions", "FILE", "the list of tests that cannot pass", NULL},
    [STD_COMPARE] = {"--compare", "FILE",
                     "except what failed there: results of --json on Linux (--platform host)",
                     NULL},
    [STD_LOGS] = {"--logs", "DIR", "keep what each run has printed there", NULL},
    [STD_VERBOSE] = {"-v", NULL, "say what failed tests have said", NULL},
};

const struct option_table std_options = {
    .usage = "test std [OPTIONS] [PACKAGES]",
    .about =
        "Runs the standard library's own tests (or those of PACKAGES) in guests, and prints a "
        "table.\nStatus 1 when one fails that is not in test/std/exceptions.txt, or passes that "
        "is.",
    .specs = std_specs,
    .count = STD_OPTIONS,
};

#define MOST_CPU_COUNTS 8

struct settings {
    const char *platform, *run, *memory, *json, *junit, *logs, *compare;
    char *exceptions;
    long cpus[MOST_CPU_COUNTS];
    size_t cpu_counts;
    long jobs, timeout;
    bool host; /* platform */
    bool is_short, verbose;
};

enum state { WAITING, WORKING, DONE };

struct job {
    enum state state;
    pid_t child;
    struct timespec begin;
    char *log;
};

struct package {
    char *path, *directory, *binary;
    struct job build;
    bool broken;
    size_t runs_left;
};

struct suite {
    struct settings settings;
    struct exception_list exceptions;
    struct go_toolchain go;
    struct overlay overlay;
    char *folder;
    char *root; /* the root file system of the standard library's packages; NULL: none yet */
    struct package *packages;
    size_t package_count;
    struct package_run *runs; /* cpu_counts of each package, one after the other */
    struct job *run_jobs;
    size_t run_count, done, bad;
};

/* --- options
 * ---------------------------------------------------------------------------------------------------------
 */

static int parse_cpus(struct settings *settings, const char *value)
{
    char *copy = copy_string(value), *state = NULL;
    int result = 0;
    settings->cpu_counts = 0;
    for (char *word = strtok_r(copy, ",", &state); word && result == 0;
         word = strtok_r(NULL, ",", &state)) {
        long number = parse_number("--cpus", word, 1, 64);
        if (number < 0)
            result = -1;
        else if (settings->cpu_counts == MOST_CPU_COUNTS)
            result = fail("--cpus %s: give at most %d numbers", value, MOST_CPU_COUNTS);
        else
            settings->cpus[settings->cpu_counts++] = number;
    }
    free(copy);
    return result == 0 && !settings->cpu_counts ? fail("--cpus: give a number") : result;
}

static int parse_platform(struct settings *settings, const char *value)
{
    static const char *const names[] = {"kvm", "xen-pv", "xen-pvh", "host"};
    settings->platform = NULL;
    settings->host = strcmp(value, "host") == 0;
    for (size_t i = 0; i < sizeof(names) / sizeof(*names); i++) {
        if (strcmp(value, names[i]) == 0)
            settings->platform = names[i];
    }
    return settings->platform ? 0 : fail("--platform %s: give kvm, xen-pv, xen-pvh or host", value);
}

static int apply_option(struct settings *settings, int option, const char *value)
{
    switch (option) {
    case STD_CPUS:
        return parse_cpus(settings, value);
    case STD_PLATFORM:
        return parse_platform(settings, value);
    case STD_RUN:
        settings->run = value;
        return 0;
    case STD_SHORT:
        settings->is_short = true;
        return 0;
    case STD_JOBS:
        settings->jobs = parse_number("-j", value, 1, 256);
        return settings->jobs < 0 ? -1 : 0;
    case STD_MEMORY:
        settings->memory = value;
        return 0;
    case STD_TIMEOUT:
        settings->timeout = parse_number("--timeout", value, 1, 1000000);
        return settings->timeout < 0 ? -1 : 0;
    case STD_JSON:
        settings->json = value;
        return 0;
    case STD_JUNIT:
        settings->junit = value;
        return 0;
    case STD_EXCEPTIONS:
        free(settings->exceptions);
        settings->exceptions = copy_string(value);
        return 0;
    case STD_COMPARE:
        settings->compare = value;
        return 0;
    case STD_LOGS:
        settings->logs = value;
        return 0;
    default:
        settings->verbose = true;
        return 0;
    }
}

/* --- what there is to do
 * -------------------------------------------------------------------------------------------------
 */

static int list_packages(struct suite *suite, char *const *patterns)
{
    struct arguments words = {0};
    struct buffer listing = {0};
    arguments_add(&words, "list");
    arguments_add(&words, "-f");
    arguments_add(&words, "{{if or .TestGoFiles .XTestGoFiles}}{{.ImportPath}}\t{{.Dir}}{{end}}");
    for (size_t i = 0; patterns[i]; i++)
        arguments_add(&words, patterns[i]);
    int result = go_query(&suite->go, words.items, &listing);
    arguments_free(&words);
    size_t lines = 0;
    for (size_t i = 0; result == 0 && i < listing.size; i++)
        lines += listing.bytes[i] == '\n';
    suite->packages = allocate(lines * sizeof(*suite->packages));
    char *state = NULL;
    for (char *line = lines ? strtok_r(listing.bytes, "\n", &state) : NULL; line;
         line = strtok_r(NULL, "\n", &state)) {
        char *tab = strchr(line, '\t');
        if (!tab)
            continue;
        size_t index = suite->package_count++;
        suite->packages[index] =
            (struct package){.path = format_string("%.*s", (int)(tab - line), line),
                             .directory = copy_string(tab + 1),
                             .binary = format_string("%s/%zu.test", suite->folder, index),
                             .runs_left = suite->settings.cpu_counts};
    }
    buffer_free(&listing);
    return result == 0 && !suite->package_count ? fail("test std: the packages have no tests")
                                                : result;
}

static char *log_path(const struct suite *suite, const char *package, const char *kind)
{
    char *name = copy_string(package);
    for (char *slash = name; (slash = strchr(slash, '/'));)
        *slash = '_';
    char *path = format_string(
        "%s/%s.%s.log", suite->settings.logs ? suite->settings.logs : suite->folder, name, kind);
    free(name);
    return path;
}

static void make_runs(struct suite *suite)
{
    size_t counts = suite->settings.cpu_counts;
    suite->run_count = suite->package_count * counts;
    suite->runs = allocate(suite->run_count * sizeof(*suite->runs));
    suite->run_jobs = allocate(suite->run_count * sizeof(*suite->run_jobs));
    for (size_t i = 0; i < suite->run_count; i++) {
        const struct package *package = &suite->packages[i / counts];
        long cpus = suite->settings.cpus[i % counts];
        char *kind = format_string("%ld", cpus);
        suite->runs[i] = (struct package_run){.package = copy_string(package->path),
                                              .directory = copy_string(package->directory),
                                              .cpus = cpus};
        suite->run_jobs[i].log = log_path(suite, package->path, kind);
        free(kind);
    }
    for (size_t i = 0; i < suite->package_count; i++)
        suite->packages[i].build.log = log_path(suite, suite->packages[i].path, "build");
}

/* Files that Go's tests look for on any Linux machine; the programs are only looked at. */
static const char *const system_files[] = {"/etc/group",   "/etc/hosts",     "/etc/mime.types",
                                           "/etc/passwd",  "/etc/protocols", "/etc/services",
                                           "/usr/bin/cat", "/usr/bin/echo",  "/usr/bin/ls",
                                           "/usr/bin/pwd", "/usr/bin/true"};

/* GOROOT but for its programs and what they have built. */
static int copy_goroot(const char *root, const char *stage)
{
    int result = 0;
    DIR *directory = opendir(root);
    struct dirent *entry;
    while (directory && result == 0 && (entry = readdir(directory))) {
        const char *name = entry->d_name;
        if (name[0] == '.' || strcmp(name, "bin") == 0 || strcmp(name, "pkg") == 0)
            continue;
        char *path = format_string("%s/%s", root, name);
        result = stage_copy(path, stage);
        free(path);
    }
    if (directory)
        closedir(directory);
    return result;
}

/* One root file system for all packages of the standard library: their tests read each other's
 * files. 0, or -1 after a message. */
static int make_root(struct suite *suite)
{
    char *folder = temporary_directory();
    if (!folder)
        return -1;
    char *stage = format_string("%s/stage", folder);
    suite->root = format_string("%s/root.erofs", folder);
    int result = copy_goroot(suite->go.root, stage);
    for (size_t i = 0; i < sizeof(system_files) / sizeof(*system_files) && result == 0; i++)
        result = stage_copy(system_files[i], stage);
    if (result == 0)
        result = make_file_system(stage, suite->root, false);
    remove_tree(stage);
    free(stage);
    free(folder);
    return result;
}

static bool is_standard(const struct suite *suite, const struct package *package)
{
    size_t length = strlen(suite->go.root);
    return strncmp(package->directory, suite->go.root, length) == 0 &&
           package->directory[length] == '/';
}

/* --- children
 * --------------------------------------------------------------------------------------------------------
 */

/* Starts a command with both its outputs in the job's log. 0, or -1 after a message. */
static int start(struct job *job, char *const *words, const char *directory)
{
    pid_t parent = getpid();
    clock_gettime(CLOCK_MONOTONIC, &job->begin);
    job->state = WORKING;
    job->child = fork();
    if (job->child < 0)
        return fail("fork: %s", strerror(errno));
    if (job->child)
        return 0;
    prctl(PR_SET_PDEATHSIG, SIGTERM);
    int input = open("/dev/null", O_RDONLY),
        log = open(job->log, O_WRONLY | O_CREAT | O_TRUNC, 0666);
    if (getppid() != parent || log < 0 || (directory && chdir(directory) < 0))
        _exit(126);
    if (directory)
        setenv("PWD", directory, 1);
    dup2(input, STDIN_FILENO);
    dup2(log, STDOUT_FILENO);
    dup2(log, STDERR_FILENO);
    execvp(words[0], words);
    _exit(127);
}

static int start_build(struct suite *suite, struct package *package)
{
    struct arguments words = {0};
    arguments_add(&words, suite->go.command);
    arguments_add(&words, "test");
    arguments_add(&words, "-c");
    if (!suite->settings.host)
        arguments_addf(&words, "-overlay=%s", suite->overlay.path);
    arguments_addf(&words, "-o=%s", package->binary);
    arguments_add(&words, package->path);
    int result = start(&package->build, words.items, suite->go.directory);
    arguments_free(&words);
    return result;
}

/* Tests that would end the binary are left out; the others on the list shall show that they fail.
 */
static void add_skips(struct arguments *words, const struct suite *suite, const char *package)
{
    struct buffer names = {0};
    for (size_t i = 0; i < suite->exceptions.count; i++) {
        const struct test_exception *item = &suite->exceptions.items[i];
        if (item->kills && strcmp(item->package, package) == 0)
            buffer_append_format(&names, "%s^%s$", names.size ? "|" : "", item->test);
    }
    if (names.size)
        arguments_addf(words, "-test.skip=%s", names.bytes);
    buffer_free(&names);
}

static int start_run(struct suite *suite, size_t index)
{
    const struct settings *settings = &suite->settings;
    const struct package *package = &suite->packages[index / settings->cpu_counts];
    struct arguments words = {0};
    unsetenv(EXEC_FILES);
    if (!settings->host && is_standard(suite, package)) {
        if (!suite->root && make_root(suite) < 0)
            return -1;
        setenv(EXEC_FILES, suite->root, 1);
    }
    if (!settings->host) {
        setenv(EXEC_PLATFORM, settings->platform, 1);
        char *self = own_path();
        arguments_add(&words, self);
        free(self);
        arguments_add(&words, "exec");
        arguments_addf(&words, "--smp=%ld", suite->runs[index].cpus);
        arguments_addf(&words, "--timeout=%ld", settings->timeout + BOOT_SECONDS);
        if (settings->memory)
            arguments_addf(&words, "-m=%s", settings->memory);
    }
    arguments_add(&words, package->binary);
    arguments_add(&words, "-test.v=test2json");
    arguments_add(&words, "-test.paniconexit0");
    arguments_addf(&words, "-test.timeout=%lds", settings->timeout);
    if (settings->host)
        arguments_addf(&words, "-test.cpu=%ld", suite->runs[index].cpus);
    if (settings->is_short)
        arguments_add(&words, "-test.short");
    if (settings->run)
        arguments_addf(&words, "-test.run=%s", settings->run);
    add_skips(&words, suite, package->path);
    int result = start(&suite->run_jobs[index], words.items, package->directory);
    arguments_free(&words);
    return result;
}

/* --- results
 * ---------------------------------------------------------------------------------------------------------
 */

static double seconds_since(const struct timespec *begin)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)(now.tv_sec - begin->tv_sec) + (double)(now.tv_nsec - begin->tv_nsec) / 1e9;
}

static void clear_progress(void)
{
    if (isatty(STDERR_FILENO))
        fputs("\r\033[K", stderr);
}

static void show_progress(const struct suite *suite)
{
    if (!isatty(STDERR_FILENO))
        return;
    struct buffer line = {0};
    buffer_append_format(&line, "\r\033[K[%zu/%zu, %zu bad]", suite->done, suite->run_count,
                         suite->bad);
    for (size_t i = 0; i < suite->run_count && line.size < 100; i++) {
        if (suite->run_jobs[i].state == WORKING)
            buffer_append_format(&line, " %s", suite->runs[i].package);
    }
    fputs(line.bytes, stderr);
    fflush(stderr);
    buffer_free(&line);
}

static void finish_run(struct suite *suite, size_t index)
{
    struct package_run *run = &suite->runs[index];
    struct package *package = &suite->packages[index / suite->settings.cpu_counts];
    suite->run_jobs[index].state = DONE;
    suite->done++;
    suite->bad += !package_run_good(run);
    if (--package->runs_left == 0)
        unlink(package->binary);
    struct buffer text = {0};
    report_row(&text, run);
    report_faults(&text, run, &suite->exceptions, suite->settings.verbose);
    clear_progress();
    fputs(text.bytes, stdout);
    fflush(stdout);
    buffer_free(&text);
}

static void run_ended(struct suite *suite, size_t index, int status)
{
    struct package_run *run = &suite->runs[index];
    struct job *job = &suite->run_jobs[index];
    struct buffer output = {0};
    run->seconds = seconds_since(&job->begin);
    read_file(job->log, &output);
    /* The log is text; a NUL would hide the rest. */
    for (size_t i = 0; i < output.size; i++)
        output.bytes[i] = output.bytes[i] ? output.bytes[i] : ' ';
    test_log_read(&run->log, output.size ? output.bytes : "", output.size);
    package_run_judge(run, &suite->exceptions, status, output.size ? output.bytes : "");
    buffer_free(&output);
    finish_run(suite, index);
}

static void build_ended(struct suite *suite, size_t index, int status)
{
    struct package *package = &suite->packages[index];
    package->build.state = DONE;
    package->broken = status != 0 || !is_file(package->binary);
    for (size_t i = 0; i < suite->settings.cpu_counts && package->broken; i++) {
        size_t run = index * suite->settings.cpu_counts + i;
        struct buffer output = {0};
        read_file(package->build.log, &output);
        suite->runs[run].trouble = format_string("not built: go test -c ended with status %d:\n%s",
                                                 status, output.size ? output.bytes : "");
        buffer_free(&output);
        finish_run(suite, run);
    }
}

static void child_ended(struct suite *suite, pid_t child, int raw)
{
    int status = WIFEXITED(raw) ? WEXITSTATUS(raw) : 128 + WTERMSIG(raw);
    for (size_t i = 0; i < suite->package_count; i++) {
        if (suite->packages[i].build.state == WORKING && suite->packages[i].build.child == child)
            build_ended(suite, i, status);
    }
    for (size_t i = 0; i < suite->run_count; i++) {
        if (suite->run_jobs[i].state == WORKING && suite->run_jobs[i].child == child)
            run_ended(suite, i, status);
    }
}

/* --- the whole
 * -------------------------------------------------------------------------------------------------------
 */

/* Starts what comes next: a run whose package is built, else a build. 1: there is nothing to start;
 * 0, or -1 after a message. */
static int start_next(struct suite *suite)
{
    for (size_t i = 0; i < suite->run_count; i++) {
        const struct package *package = &suite->packages[i / suite->settings.cpu_counts];
        if (suite->run_jobs[i].state == WAITING && package->build.state == DONE && !package->broken)
            return start_run(suite, i);
    }
    for (size_t i = 0; i < suite->package_count; i++) {
        if (suite->packages[i].build.state == WAITING)
            return start_build(suite, &suite->packages[i]);
    }
    return 1;
}

static volatile sig_atomic_t interrupted;

static void note_interruption(int number)
{
    (void)number;
    interrupted = 1;
}

/* Runs all, or until SIGINT or SIGTERM comes. 0, or -1 after a message. */
static int run_all(struct suite *suite)
{
    long working = 0;
    struct sigaction action = {.sa_handler = note_interruption};
    sigaction(SIGINT, &action, NULL);
    sigaction(SIGTERM, &action, NULL);
    while (suite->done < suite->run_count && !interrupted) {
        int started = 0;
        while (working < suite->settings.jobs && (started = start_next(suite)) == 0)
            working++;
        if (started < 0)
            return -1;
        show_progress(suite);
        int raw;
        pid_t child = waitpid(-1, &raw, 0);
        if (child < 0 && errno != EINTR)
            return fail("waitpid: %s", strerror(errno));
        if (child > 0 && !interrupted) {
            child_ended(suite, child, raw);
            working--;
        }
    }
    return 0;
}

/* The runs that have ended; the caller frees the array, not what is in it. */
static struct package_run *ended_runs(const struct suite *suite)
{
    struct package_run *ended = allocate((suite->done + 1) * sizeof(*ended));
    size_t count = 0;
    for (size_t i = 0; i < suite->run_count; i++) {
        if (suite->run_jobs[i].state == DONE)
            ended[count++] = suite->runs[i];
    }
    return ended;
}

static int write_report(const char *path, struct buffer *text)
{
    int result = write_file(path, text->bytes, text->size, 0644);
    buffer_free(text);
    return result;
}

static int write_reports(const struct suite *suite, double seconds)
{
    struct buffer text = {0};
    struct report_facts facts = {.go_version = suite->go.version,
                                 .platform = suite->settings.platform,
                                 .is_short = suite->settings.is_short};
    struct package_run *runs = ended_runs(suite);
    clear_progress();
    report_sum(&text, runs, suite->done, seconds);
    if (interrupted)
        buffer_append_format(&text, "interrupted: %zu of %zu packages have run\n", suite->done,
                             suite->run_count);
    fputs(text.bytes, stdout);
    buffer_free(&text);
    int result = 0;
    if (suite->settings.json) {
        report_json(&text, &facts, runs, suite->done, &suite->exceptions);
        result |= write_report(suite->settings.json, &text);
    }
    if (suite->settings.junit) {
        report_junit(&text, runs, suite->done, &suite->exceptions);
        result |= write_report(suite->settings.junit, &text);
    }
    free(runs);
    return interrupted ? -1 : result;
}

static int run_suite(struct suite *suite, char **patterns)
{
    struct timespec begin;
    clock_gettime(CLOCK_MONOTONIC, &begin);
    char *overlay = temporary_directory();
    suite->folder = temporary_directory();
    int result = overlay && suite->folder ? 0 : -1;
    if (result == 0 && suite->settings.logs)
        result = make_directories(suite->settings.logs);
    if (result == 0)
        result = exceptions_read(&suite->exceptions, suite->settings.exceptions);
    if (result == 0 && suite->settings.compare)
        result = exceptions_compare(&suite->exceptions, suite->settings.compare);
    if (result == 0)
        result = go_find(&suite->go, NULL);
    if (result == 0)
        result = overlay_create(&suite->overlay, &suite->go, overlay);
    if (result == 0)
        result = list_packages(suite, patterns);
    if (result == 0) {
        make_runs(suite);
        struct buffer head = {0};
        report_row(&head, NULL);
        fputs(head.bytes, stdout);
        buffer_free(&head);
        result = run_all(suite);
    }
    if (result == 0)
        result = write_reports(suite, seconds_since(&begin));
    free(overlay);
    return result;
}

static void free_suite(struct suite *suite)
{
    for (size_t i = 0; i < suite->run_count; i++) {
        free(suite->runs[i].package);
        free(suite->runs[i].directory);
        free(suite->runs[i].trouble);
        test_log_free(&suite->runs[i].log);
        free(suite->run_jobs[i].log);
    }
    for (size_t i = 0; i < suite->package_count; i++) {
        free(suite->packages[i].path);
        free(suite->packages[i].directory);
        free(suite->packages[i].binary);
        free(suite->packages[i].build.log);
    }
    free(suite->runs);
    free(suite->run_jobs);
    free(suite->packages);
    free(suite->folder);
    free(suite->root);
    free(suite->settings.exceptions);
    exceptions_free(&suite->exceptions);
    overlay_free(&suite->overlay);
    go_free(&suite->go);
}

int command_test_std(char **words)
{
    long processors = sysconf(_SC_NPROCESSORS_ONLN);
    struct suite suite = {
        .settings = {.platform = "kvm",
                     .cpus = {1, 4},
                     .cpu_counts = 2,
                     .jobs = processors < 1 ? 1 : processors,
                     .timeout = DEFAULT_TIMEOUT,
                     .exceptions = build_folder_path("../test/std/exceptions.txt")}};
    struct option_cursor cursor = {.table = &std_options, .words = words};
    struct arguments patterns = {0};
    int option = OPTION_END, status = -1;
    while (status < 0 && ((option = option_next(&cursor)) != OPTION_END || words[cursor.at])) {
        if (option == OPTION_END)
            arguments_add(&patterns, words[cursor.at++]);
        else if (option == OPTION_HELP)
            status = 0;
        else if (option == OPTION_ERROR || apply_option(&suite.settings, option, cursor.value) < 0)
            status = STATUS_USAGE;
    }
    if (status < 0 && !patterns.count)
        arguments_add(&patterns, "std");
    if (status < 0)
        status = run_suite(&suite, patterns.items) == 0 && !suite.bad ? 0 : STATUS_FAILED;
    arguments_free(&patterns);
    free_suite(&suite);
    return status;
}
