/* SPDX-License-Identifier: MIT */
/* Command-line options: each command has a table, from which both the parser and --help work. */
#pragma once

#include "tools/tool.h"

struct option_spec {
    const char *name;  /* "--smp" or "-m" */
    const char *value; /* what --help calls its value; NULL: it takes none */
    const char *help;
    const char *unsupported; /* not NULL: why it is refused */
};

struct option_table {
    const char *usage; /* after "usage: unigornel " */
    const char *about; /* one paragraph */
    const struct option_spec *specs;
    size_t count;
};

enum { OPTION_END = -1, OPTION_ERROR = -2, OPTION_HELP = -3, OPTION_OTHER = -4 };

struct option_cursor {
    const struct option_table *table;
    char **words; /* NULL-terminated */
    size_t at;
    const char *value; /* of the option just returned; for OPTION_OTHER the word itself */
    bool pass_unknown; /* unknown options are OPTION_OTHER instead of an error */
};

/* The next option's index in the table. OPTION_END: words[at] is the first operand, "--" or NULL.
 * OPTION_HELP: help was printed. OPTION_ERROR: after a message. "--name=value" and "--name value"
 * both work, as does "-name" of one dash. */
int option_next(struct option_cursor *cursor);

/* A decimal number in [low, high], or -1 after a message. */
long parse_number(const char *option, const char *text, long low, long high);

/* Prints what --help prints to standard output. */
void print_help(const struct option_table *table);
