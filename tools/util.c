/* SPDX-License-Identifier: MIT */
/* Errors, buffers, argument vectors, files and child processes for the host command. */
#define _GNU_SOURCE
#include "tools/tool.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

bool verbose_enabled;

/* --- memory and strings
 * --------------------------------------------------------------------------------------------- */

_Noreturn static void out_of_memory(void)
{
    fputs("unigornel: out of memory\n", stderr);
    exit(STATUS_FAILED);
}

void *allocate(size_t size)
{
    void *memory = calloc(1, size ? size : 1);
    if (!memory)
        out_of_memory();
    return memory;
}

static char *format_values(const char *format, va_list values)
{
    char *text;
    if (vasprintf(&text, format, values) < 0)
        out_of_memory();
    return text;
}

char *format_string(const char *format, ...)
{
    va_list values;
    va_start(values, format);
    char *text = format_values(format, values);
    va_end(values);
    return text;
}

char *copy_string(const char *text)
{
    char *copy = strdup(text);
    if (!copy)
        out_of_memory();
    return copy;
}

void verbose(const char *format, ...)
{
    if (!verbose_enabled)
        return;
    va_list values;
    va_start(values, format);
    fputs("unigornel: ", stderr);
    vfprintf(stderr, format, values);
    fputc('\n', stderr);
    va_end(values);
}

/* --- buffers
 * ---------------------------------------------------------------------------------------------------------
 */

static void buffer_reserve(struct buffer *buffer, size_t more)
{
    size_t needed = buffer->size + more + 1;
    if (needed <= buffer->capacity)
        return;
    size_t capacity = buffer->capacity ? buffer->capacity : 256;
    while (capacity < needed)
        capacity *= 2;
    char *bytes = realloc(buffer->bytes, capacity);
    if (!bytes)
        out_of_memory();
    buffer->bytes = bytes;
    buffer->capacity = capacity;
}

void buffer_append(struct buffer *buffer, const void *bytes, size_t size)
{
    buffer_reserve(buffer, size);
    if (size)
        memcpy(buffer->bytes + buffer->size, bytes, size);
    buffer->size += size;
    buffer->bytes[buffer->size] = '\0';
}

void buffer_append_string(struct buffer *buffer, const char *text)
{
    buffer_append(buffer, text, strlen(text));
}

void buffer_append_format(struct buffer *buffer, const char *format, ...)
{
    va_list values;
    va_start(values, format);
    char *text = format_values(format, values);
    va_end(values);
    buffer_append_string(buffer, text);
    free(text);
}

void buffer_pad(struct buffer *buffer, size_t size)
{
    if (size <= buffer->size)
        return;
    buffer_reserve(buffer, size - buffer->size);
    memset(buffer->bytes + buffer->size, 0, size - buffer->size + 1);
    buffer->size = size;
}

void buffer_free(struct buffer *buffer)
{
    free(buffer->bytes);
    *buffer = (struct buffer){0};
}

/* --- argument vectors
 * ----------------------------------------------------------------------------------------------------
 */

void arguments_add(struct arguments *arguments, const char *item)
{
    char **items = realloc(arguments->items, (arguments->count + 2) * sizeof(*items));
    if (!items)
        out_of_memory();
    items[arguments->count++] = copy_string(item);
    items[arguments->count] = NULL;
    arguments->items = items;
}

void arguments_addf(struct arguments *arguments, const char *format, ...)
{
    va_list values;
    va_start(values, format);
    char *text = format_values(format, values);
    va_end(values);
    arguments_add(arguments, text);
    free(text);
}

void arguments_free(struct arguments *arguments)
{
    for (size_t i = 0; i < arguments->count; i++)
        free(arguments->items[i]);
    free(arguments->items);
    *arguments = (struct arguments){0};
}

static void shell_quote(struct buffer *out, const char *word)
{
    static const char plain[] =
        "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-+=.,/:@%";
    if (*word && strspn(word, plain) == strlen(word)) {
        buffer_append_string(out, word);
        return;
    }
    buffer_append_string(out, "'");
    for (; *word; word++)
        *word == '\'' ? buffer_append_string(out, "'\\''") : buffer_append(out, word, 1);
    buffer_append_string(out, "'");
}

char *shell_quote_all(char *const *words)
{
    struct buffer out = {0};
    for (size_t i = 0; words[i]; i++) {
        if (i)
            buffer_append_string(&out, " ");
        shell_quote(&out, words[i]);
    }
    buffer_append_string(&out, "");
    return out.bytes;
}

/* --- files
 * ------------------------------------------------------------------------------------------------------------------
 */

int read_file(const char *path, struct buffer *contents)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return -errno;
    struct stat status;
    if (fstat(fd, &status) == 0 && S_ISDIR(status.st_mode)) {
        close(fd);
        return -EISDIR;
    }
    for (;;) {
        buffer_reserve(contents, 1 << 20);
        ssize_t got =
            read(fd, contents->bytes + contents->size, contents->capacity - contents->size - 1);
        if (got < 0 && errno == EINTR)
            continue;
        if (got <= 0) {
            int result = got < 0 ? -errno : 0;
            contents->bytes[contents->size] = '\0';
            close(fd);
            return result;
        }
        contents->size += (size_t)got;
    }
}

static int write_all(int fd, const char *bytes, size_t size)
{
    while (size) {
        ssize_t put = write(fd, bytes, size);
        if (put < 0 && errno == EINTR)
            continue;
        if (put < 0)
            return -errno;
        bytes += put;
        size -= (size_t)put;
    }
    return 0;
}

int write_file(const char *path, const void *bytes, size_t size, mode_t mode)
{
    /* A device or a pipe (-o /dev/stdout) cannot be replaced by a rename. */
    struct stat status;
    bool replace = stat(path, &status) < 0 || S_ISREG(status.st_mode);
    char *target = replace ? format_string("%s.%d.tmp", path, (int)getpid()) : copy_string(path);
    int fd = open(target, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, mode);
    int error = fd < 0 ? -errno : write_all(fd, bytes, size);
    if (fd >= 0 && close(fd) < 0 && !error)
        error = -errno;
    if (!error && replace && rename(target, path) < 0)
        error = -errno;
    if (error && replace)
        unlink(target);
    free(target);
    return error ? fail("%s: cannot write: %s", path, strerror(-error)) : 0;
}

int make_directories(const char *path)
{
    char *copy = copy_string(path);
    int result = 0;
    for (char *p = copy + 1; result == 0; p++) {
        if (*p != '/' && *p != '\0')
            continue;
        char saved = *p;
        *p = '\0';
        if (mkdir(copy, 0777) < 0 && errno != EEXIST)
            result = fail("%s: cannot make the folder: %s", copy, strerror(errno));
        *p = saved;
        if (!saved)
            break;
    }
    free(copy);
    return result;
}

static int remove_entry(const char *path, const struct stat *status, int kind, struct FTW *walk)
{
    (void)status;
    (void)kind;
    (void)walk;
    remove(path);
    return 0;
}

void remove_tree(const char *path)
{
    nftw(path, remove_entry, 16, FTW_DEPTH | FTW_PHYS);
}

bool is_directory(const char *path)
{
    struct stat status;
    return stat(path, &status) == 0 && S_ISDIR(status.st_mode);
}

bool is_file(const char *path)
{
    struct stat status;
    return stat(path, &status) == 0 && S_ISREG(status.st_mode);
}

const char *base_name(const char *path)
{
    const char *slash = strrchr(path, '/');
    return slash ? slash + 1 : path;
}

char *real_path(const char *path)
{
    return realpath(path, NULL);
}

bool path_is_below(const char *path, const char *folder)
{
    size_t length = strlen(folder);
    return length && strncmp(path, folder, length) == 0 && (path[length] == '/' || !path[length]);
}

char *current_directory(void)
{
    const char *named = getenv("PWD");
    struct stat by_name, here;
    if (named && *named == '/' && stat(named, &by_name) == 0 && stat(".", &here) == 0 &&
        by_name.st_dev == here.st_dev && by_name.st_ino == here.st_ino)
        return copy_string(named);
    char *path = getcwd(NULL, 0);
    return path ? path : copy_string(".");
}

#define TEMPORARY_PREFIX "unigornel."

/* Removed by remove_temporary; locked as long as we live, so that others see that it is in use. */
static char *temporary_path;
static pid_t temporary_owner;

static void remove_temporary(void)
{
    if (temporary_path && temporary_owner == getpid())
        remove_tree(temporary_path);
}

/* Locks the folder until the process ends. -1: somebody else has it, or it is not a folder of
 * ours any more. */
static int lock_directory(const char *path)
{
    struct stat opened, named;
    int fd = open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (fd >= 0 && flock(fd, LOCK_EX | LOCK_NB) == 0 && fstat(fd, &opened) == 0 &&
        opened.st_uid == geteuid() && lstat(path, &named) == 0 && named.st_ino == opened.st_ino)
        return fd;
    if (fd >= 0)
        close(fd);
    return -1;
}

/* Removes what commands that were killed have left in `parent`. */
static void remove_leftovers(const char *parent)
{
    DIR *directory = opendir(parent);
    struct dirent *entry;
    while (directory && (entry = readdir(directory))) {
        if (strncmp(entry->d_name, TEMPORARY_PREFIX, strlen(TEMPORARY_PREFIX)) != 0)
            continue;
        char *path = format_string("%s/%s", parent, entry->d_name);
        int lock = lock_directory(path);
        if (lock >= 0) {
            remove_tree(path);
            close(lock);
        }
        free(path);
    }
    if (directory)
        closedir(directory);
}

static int make_temporary_root(void)
{
    const char *parent = getenv("TMPDIR");
    if (!parent || !*parent)
        parent = "/tmp";
    remove_leftovers(parent);
    for (;;) {
        char *path = format_string("%s/" TEMPORARY_PREFIX "XXXXXX", parent);
        if (!mkdtemp(path)) {
            fail("%s: cannot make a temporary folder: %s: set TMPDIR to a folder that can be "
                 "written",
                 path, strerror(errno));
            free(path);
            return -1;
        }
        if (lock_directory(path) >= 0) {
            temporary_path = path;
            temporary_owner = getpid();
            atexit(remove_temporary);
            return 0;
        }
        free(path); /* another command took it for a leftover before it was locked */
    }
}

char *temporary_directory(void)
{
    if (!temporary_path && make_temporary_root() < 0)
        return NULL;
    static unsigned serial;
    char *path = format_string("%s/%u", temporary_path, serial++);
    if (mkdir(path, 0700) < 0) {
        fail("%s: cannot make a temporary folder: %s", path, strerror(errno));
        free(path);
        return NULL;
    }
    return path;
}

char *own_path(void)
{
    char *path = realpath("/proc/self/exe", NULL);
    return path ? path : copy_string("unigornel");
}

char *build_folder_path(const char *name)
{
    char *path = own_path();
    for (int level = 0; level < 2; level++) {
        char *slash = strrchr(path, '/');
        if (slash)
            *slash = '\0';
    }
    char *result = format_string("%s/%s", path, name);
    free(path);
    return result;
}

/* --- child processes
 * -------------------------------------------------------------------------------------------------------
 */

/* A child that the terminal interrupts ends by itself; we go on to clean up behind it. */
static void note_signal(int number)
{
    (void)number;
}

static void drain(struct pollfd *channel, struct buffer *into)
{
    char chunk[65536];
    ssize_t got = read(channel->fd, chunk, sizeof(chunk));
    if (got > 0) {
        buffer_append(into, chunk, (size_t)got);
    } else if (got == 0 || errno != EINTR) {
        close(channel->fd);
        channel->fd = -1;
    }
}

static _Noreturn void exec_child(const struct command *command, const int output[2],
                                 const int errors[2])
{
    signal(SIGINT, SIG_DFL);
    signal(SIGTERM, SIG_DFL);
    if (command->output)
        dup2(output[1], STDOUT_FILENO);
    if (command->errors)
        dup2(errors[1], STDERR_FILENO);
    if (command->directory && chdir(command->directory) < 0) {
        fail("%s: %s", command->directory, strerror(errno));
        _exit(126);
    }
    if (command->directory)
        setenv("PWD", command->directory, 1);
    execvp(command->words[0], command->words);
    fail("%s: cannot be run: %s: install it or put it in PATH", command->words[0], strerror(errno));
    _exit(127);
}

int run_command(const struct command *command)
{
    int output[2] = {-1, -1}, errors[2] = {-1, -1};
    if ((command->output && pipe2(output, O_CLOEXEC) < 0) ||
        (command->errors && pipe2(errors, O_CLOEXEC) < 0))
        return fail("pipe: %s", strerror(errno));
    struct sigaction action = {.sa_handler = note_signal}, old_interrupt, old_terminate;
    sigaction(SIGINT, &action, &old_interrupt);
    sigaction(SIGTERM, &action, &old_terminate);
    fflush(NULL);
    pid_t child = fork();
    if (child == 0)
        exec_child(command, output, errors);
    int status = -1;
    if (command->output)
        close(output[1]);
    if (command->errors)
        close(errors[1]);
    if (child < 0) {
        fail("fork: %s", strerror(errno));
    } else {
        struct pollfd channels[2] = {{.fd = output[0], .events = POLLIN},
                                     {.fd = errors[0], .events = POLLIN}};
        while (channels[0].fd >= 0 || channels[1].fd >= 0) {
            if (poll(channels, 2, -1) < 0)
                continue;
            if (channels[0].revents && channels[0].fd >= 0)
                drain(&channels[0], command->output);
            if (channels[1].revents && channels[1].fd >= 0)
                drain(&channels[1], command->errors);
        }
        int raw;
        while (waitpid(child, &raw, 0) < 0 && errno == EINTR)
            ;
        status = WIFEXITED(raw) ? WEXITSTATUS(raw) : 128 + WTERMSIG(raw);
    }
    sigaction(SIGINT, &old_interrupt, NULL);
    sigaction(SIGTERM, &old_terminate, NULL);
    return status;
}

char *find_command(const char *name)
{
    const char *path = getenv("PATH");
    if (strchr(name, '/'))
        return access(name, X_OK) == 0 ? copy_string(name) : NULL;
    char *copy = copy_string(path ? path : "/usr/bin:/bin"), *state = NULL, *found = NULL;
    for (char *folder = strtok_r(copy, ":", &state); folder && !found;
         folder = strtok_r(NULL, ":", &state)) {
        found = format_string("%s/%s", folder, name);
        if (access(found, X_OK) < 0) {
            free(found);
            found = NULL;
        }
    }
    free(copy);
    return found;
}

bool command_exists(const char *name)
{
    char *path = find_command(name);
    bool found = path != NULL;
    free(path);
    return found;
}
