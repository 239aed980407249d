/* SPDX-License-Identifier: MIT */
/* What Go's linker leaves in a program: its function table (.gopclntab), read the way the runtime
 * reads it, so that it works for programs stripped of their symbols too. */
#pragma once

#include "tools/elf_file.h"

struct go_function {
    const char *name; /* as in a Go traceback: "runtime.clone" */
    uint64_t address;
    uint64_t size;
};

struct go_binary {
    const struct elf_file *elf;
    uint64_t text_start; /* what the table's offsets are relative to; 0: not known */
    uint64_t table;      /* address and size of .gopclntab; 0: none */
    uint64_t table_size;
    struct go_function
        *functions; /* sorted by address; none when the table has an unknown format */
    size_t function_count;
    const char *names; /* of all functions, also of those that are only inlined: each ends with a
                          NUL; NULL: not known */
    size_t names_size;
};

/* 0, or -1 after a message: the program is not made by Go, or not one that can run alone (dynamic,
 * PIE, cgo). */
int go_binary_open(struct go_binary *binary, const struct elf_file *elf);
void go_binary_close(struct go_binary *binary);

/* What gives the program a way to a socket, as a name for messages; NULL: it has none. A program
 * whose names are not known may have one. Does not see one that makes the system call by itself. */
const char *go_socket_function(const struct go_binary *binary);

/* The same for files: opening or looking at them, which the runtime alone does not. */
const char *go_file_function(const struct go_binary *binary);

/* Whether the program looks for the system's CA certificates; false when its names are not known.
 */
bool go_uses_roots(const struct go_binary *binary);

/* The function's bytes. */
const uint8_t *go_function_code(const struct go_binary *binary, const struct go_function *function);
