/* SPDX-License-Identifier: MIT */
/* What every part of the host command shares: errors, growing buffers, argument vectors, files,
 * child processes and the temporary folder. The command is single-threaded. Errors are one line on
 * standard error that says what to do. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

/* Exit statuses of the command itself; otherwise the program's own. */
enum {
    STATUS_FAILED = 1,
    STATUS_USAGE = 2,
    STATUS_KERNEL_PANIC = 70, /* EX_SOFTWARE */
    STATUS_MACHINE = 71,      /* EX_OSERR: QEMU did not start, or ended without a status */
    STATUS_TIMEOUT = 124,     /* as timeout(1) */
};

/* Prints "unigornel: " and the message as one line to standard error; always returns -1. */
int fail(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* Prints a line for -v only. */
void verbose(const char *format, ...) __attribute__((format(printf, 1, 2)));
extern bool verbose_enabled;

/* Memory that never fails: the command ends with a message when there is none. */
void *allocate(size_t size); /* zeroed */
char *format_string(const char *format, ...) __attribute__((format(printf, 1, 2)));
char *copy_string(const char *text);

/* --- buffers
 * ------------------------------------------------------------------------------------------------------
 */

struct buffer {
    char *bytes; /* always followed by a NUL once anything was appended */
    size_t size;
    size_t capacity;
};

void buffer_append(struct buffer *buffer, const void *bytes, size_t size);
void buffer_append_string(struct buffer *buffer, const char *text);
void buffer_append_format(struct buffer *buffer, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
/* Appends zeros until the size is `size`. */
void buffer_pad(struct buffer *buffer, size_t size);
void buffer_free(struct buffer *buffer);

/* --- argument vectors
 * ---------------------------------------------------------------------------------------------- */

struct arguments {
    char **items; /* NULL-terminated once anything was appended */
    size_t count;
};

void arguments_add(struct arguments *arguments, const char *item); /* copies */
void arguments_addf(struct arguments *arguments, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
void arguments_free(struct arguments *arguments);

/* The words as a POSIX shell reads them back, separated by blanks. */
char *shell_quote_all(char *const *words);

/* --- files
 * ------------------------------------------------------------------------------------------------------------
 */

/* Reads a whole file. Returns 0 or -errno, and prints nothing. */
int read_file(const char *path, struct buffer *contents);
/* Writes a file with `mode`; the old one is replaced at once or not at all. Prints what went wrong;
 * 0 or -1. */
int write_file(const char *path, const void *bytes, size_t size, mode_t mode);
int make_directories(const char *path);
void remove_tree(const char *path);
bool is_directory(const char *path);
bool is_file(const char *path);
const char *base_name(const char *path);
/* The absolute path without links and dots, or NULL. */
char *real_path(const char *path);
/* Whether a path is the folder's or of something in it, by its text. */
bool path_is_below(const char *path, const char *folder);
/* By the name that the environment gives it, if that is right, as for Go. */
char *current_directory(void);

/* A fresh folder below $TMPDIR that is removed when the command ends, or, when it was killed, by
 * the next one; NULL after a message. */
char *temporary_directory(void);

/* Where the command's own binary lies, and a file next to that folder (../NAME). */
char *own_path(void);
char *build_folder_path(const char *name);

/* --- child processes
 * -------------------------------------------------------------------------------------------------
 */

/* Runs a command in `directory` (NULL: here) and waits for it. Its standard output goes to `output`
 * when that is not NULL, otherwise to ours; its standard error likewise. Returns its exit status
 * (128 + signal when one ended it), or -1 after a message when it could not be started. */
struct command {
    char *const *words;
    const char *directory;
    struct buffer *output;
    struct buffer *errors;
};
int run_command(const struct command *command);

/* The file that PATH has for a command, or NULL. */
char *find_command(const char *name);

/* Whether `name` is found in PATH. */
bool command_exists(const char *name);
