/* SPDX-License-Identifier: MIT */
/* Parsing of the guest's command line. */
#include "core/options.h"

#include <linux/errno.h>

#include "core/lib/log.h"
#include "core/lib/string.h"
#include "core/net/net.h"
#include "core/syscall/process.h"
#include "hal.h"

#define EXIT_USAGE 64 /* EX_USAGE of BSD's sysexits.h */

struct options options;

static char text[8192]; /* the words, unquoted and NUL-terminated */
static size_t text_used;

void options_fail(const char *format_text, ...)
{
    char line[256];
    va_list arguments;
    va_start(arguments, format_text);
    vformat(line, sizeof(line), format_text, arguments);
    va_end(arguments);
    log_error("%s", line);
    process_exit(EXIT_USAGE);
}

static void put(char byte)
{
    if (text_used == sizeof(text)) {
        options_fail("the command line is longer than %zu bytes", sizeof(text));
    }
    text[text_used++] = byte;
}

/* Takes the next word off `*at`; NULL at the end. */
static const char *next_word(const char **at)
{
    const char *from = *at;
    while (*from == ' ' || *from == '\t' || *from == '\n') {
        from++;
    }
    if (*from == 0) {
        return NULL;
    }
    const char *word = text + text_used;
    bool quoted = false;
    for (; *from != 0 && (quoted || (*from != ' ' && *from != '\t' && *from != '\n')); from++) {
        if (*from == '"') {
            quoted = !quoted;
        } else if (*from == '\\' && from[1] != 0) {
            put(*++from);
        } else {
            put(*from);
        }
    }
    if (quoted) {
        options_fail("the command line has a quote that does not end");
    }
    put(0);
    *at = from;
    return word;
}

/* The value when `word` is NAME=VALUE with this name. */
static const char *value_of(const char *word, const char *name)
{
    size_t length = strlen(name);
    return strncmp(word, name, length) == 0 && word[length] == '=' ? word + length + 1 : NULL;
}

static void add(const char **list, unsigned *count, const char *word, const char *what)
{
    if (*count == OPTIONS_MAX_WORDS) {
        options_fail("more than %u %s", OPTIONS_MAX_WORDS, what);
    }
    list[(*count)++] = word;
}

static void kernel_word(const char *word)
{
    const char *value;
    if (strcmp(word, "hostlink") == 0) {
        options.hostlink = true;
    } else if (strcmp(word, "hostlink=merged") == 0) {
        options.hostlink = options.hostlink_merged = true;
    } else if (strcmp(word, "probe") == 0) {
        options.probe = true;
    } else if ((value = value_of(word, "log")) != NULL) {
        if (log_set_level(value) != 0) {
            options_fail("log=%s: the levels are error, warn, info, debug, strace", value);
        }
    } else if (strncmp(word, "env.", 4) == 0 && strchr(word, '=') != NULL && word[4] != '=') {
        add(options.env, &options.env_count, word + 4, "env words");
    } else if ((value = value_of(word, "exe")) != NULL) {
        options.program = value;
    } else if ((value = value_of(word, "cwd")) != NULL) {
        options.cwd = value;
    } else if ((value = value_of(word, "hostname")) != NULL) {
        options.hostname = value;
    } else if ((value = value_of(word, "root")) != NULL) {
        options.root = value;
    } else if ((value = value_of(word, "mount")) != NULL) {
        add(options.mounts, &options.mount_count, value, "mount words");
    } else if ((value = value_of(word, "crash")) != NULL) {
        options.crash = value;
    } else if (!net_option(word) && !hal_kernel_word(word)) {
        options_fail("unknown kernel word \"%s\" (words for the program come after --)", word);
    }
}

/* The program runs as root, and what it keeps for its user has a place (os.UserHomeDir). */
static void add_home(void)
{
    for (unsigned i = 0; i < options.env_count; i++) {
        if (value_of(options.env[i], "HOME") != NULL) {
            return;
        }
    }
    add(options.env, &options.env_count, "HOME=/root", "env words");
}

void options_parse(const char *command_line)
{
    const char *at = command_line;
    const char *word;
    options.cwd = "/";
    options.hostname = "unigornel";
    bool program = false;
    while ((word = next_word(&at)) != NULL) {
        if (program) {
            add(options.arguments, &options.argument_count, word, "arguments");
        } else if (strcmp(word, "--") == 0) {
            program = true;
        } else {
            kernel_word(word);
        }
    }
    add_home();
    /* A loader puts its words at the end of the line, whatever is there. */
    while (options.argument_count != 0 &&
           hal_kernel_word(options.arguments[options.argument_count - 1])) {
        options.argument_count--;
    }
}
