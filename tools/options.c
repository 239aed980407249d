/* SPDX-License-Identifier: MIT */
/* The option parser and the text of --help. */
#include "tools/options.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void print_help(const struct option_table *table)
{
    printf("usage: unigornel %s\n\n%s\n", table->usage, table->about);
    if (table->count)
        puts("");
    for (size_t i = 0; i < table->count; i++) {
        const struct option_spec *spec = &table->specs[i];
        char *left = format_string("%s%s%s", spec->name, spec->value ? " " : "",
                                   spec->value ? spec->value : "");
        printf("  %-24s %s%s\n", left, spec->help, spec->unsupported ? " (not supported yet)" : "");
        free(left);
    }
}

/* Go's tools take -name and --name alike; so do we, except that one letter has one dash. */
static const char *without_dashes(const char *word)
{
    return word + 1 + (word[1] == '-');
}

static const struct option_spec *find_option(const struct option_table *table, const char *word,
                                             size_t length)
{
    for (size_t i = 0; i < table->count; i++) {
        const char *name = without_dashes(table->specs[i].name);
        if (strlen(name) == length && strncmp(name, word, length) == 0)
            return &table->specs[i];
    }
    return NULL;
}

int option_next(struct option_cursor *cursor)
{
    char *word = cursor->words[cursor->at];
    if (!word || word[0] != '-' || word[1] == '\0' || strcmp(word, "--") == 0)
        return OPTION_END;
    if (strcmp(word, "--help") == 0 || strcmp(word, "-help") == 0 || strcmp(word, "-h") == 0) {
        print_help(cursor->table);
        return OPTION_HELP;
    }
    const char *name = without_dashes(word), *equals = strchr(name, '=');
    size_t length = equals ? (size_t)(equals - name) : strlen(name);
    const struct option_spec *spec = find_option(cursor->table, name, length);
    cursor->at++;
    if (!spec) {
        cursor->value = word;
        if (cursor->pass_unknown)
            return OPTION_OTHER;
        fail("%s: unknown option: see unigornel --help", word);
        return OPTION_ERROR;
    }
    if (spec->unsupported) {
        fail("%s: not supported yet: %s", spec->name, spec->unsupported);
        return OPTION_ERROR;
    }
    cursor->value = NULL;
    if (spec->value) {
        cursor->value = equals ? equals + 1 : cursor->words[cursor->at];
        if (!cursor->value) {
            fail("%s: needs a value: %s %s", spec->name, spec->name, spec->value);
            return OPTION_ERROR;
        }
        cursor->at += !equals;
    } else if (equals) {
        fail("%s: takes no value", spec->name);
        return OPTION_ERROR;
    }
    return (int)(spec - cursor->table->specs);
}

long parse_number(const char *option, const char *text, long low, long high)
{
    char *end;
    errno = 0;
    long value = strtol(text, &end, 10);
    if (*text < '0' || *text > '9' || *end || errno || value < low || value > high)
        return fail("%s %s: give a number from %ld to %ld", option, text, low, high);
    return value;
}
