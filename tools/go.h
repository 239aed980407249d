/* SPDX-License-Identifier: MIT */
/* The user's own Go toolchain: which one it is, and running it. */
#pragma once

#include "tools/tool.h"

struct go_toolchain {
    char *version;   /* "go1.26.8" */
    char *root;      /* the GOROOT to run with; may be a link to the real one */
    char *real_root; /* GOROOT as `go env` gives it */
    char *command;   /* the go command to run */
    char *directory; /* where to run it: the folder of the user's package; NULL: here */
};

/* Finds out what `go` in PATH is for packages in `directory` (go.mod may choose another toolchain),
 * and sets the environment for GOOS=linux GOARCH=amd64 CGO_ENABLED=0. 0, or -1 after a message. */
int go_find(struct go_toolchain *go, const char *directory);
void go_free(struct go_toolchain *go);

/* Runs `go WORDS...` and gives its standard output. 0, or -1 after a message. */
int go_query(const struct go_toolchain *go, char *const *words, struct buffer *output);

/* Runs `go WORDS...` with our standard output and error. Returns its exit status, or -1 after a
 * message. */
int go_run(const struct go_toolchain *go, char *const *words);

/* Runs `go WORDS...`, which prints only when it fails: then all of it goes to standard error. 0 or
 * -1. */
int go_run_quietly(const struct go_toolchain *go, char *const *words);
