/* SPDX-License-Identifier: MIT */
/* The build overlay: copies of the user's own GOROOT files in which the Go runtime enters the
 * kernel by a jump through the gate (goruntime/gate.h) instead of SYSCALL. The rules are the tables
 * at the top of overlay.c. */
#pragma once

#include "tools/go.h"
#include "tools/go_binary.h"

/* A function whose SYSCALLs were replaced. */
struct overlay_function {
    char *name; /* as in a Go traceback */
    unsigned gates;
};

struct overlay {
    char *path; /* the file for `go build -overlay` */
    char *go_version;
    struct overlay_function *functions;
    size_t function_count;
};

/* Makes the overlay for the toolchain in folder `directory`. 0, or -1 after a message, also when
 * the Go release does not fit. */
int overlay_create(struct overlay *overlay, const struct go_toolchain *go, const char *directory);
void overlay_free(struct overlay *overlay);

/* Checks the linked program: no SYSCALL is left in the packages with a rule, and each replaced one
 * is a jump through the gate. 0, or -1 after a message. */
int overlay_verify(const struct overlay *overlay, const struct go_binary *binary);

/* Rewrites one assembly file of package `import_path`: each SYSCALL statement becomes the gate
 * jump, and relative jumps N(PC), which count instructions, are corrected. Adds to the overlay's
 * functions. Returns the number of SYSCALLs, or -1 after a message. */
int overlay_rewrite(struct overlay *overlay, const char *path, const char *import_path,
                    const char *source, struct buffer *out);

/* Raises the runtime's stack guard (runtime/stack.go). 0, or -1 after a message. */
int overlay_raise_stack_guard(const char *path, const char *source, struct buffer *out);
