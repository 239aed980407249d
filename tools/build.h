/* SPDX-License-Identifier: MIT */
/* Making an image from a Go package or from a prebuilt program. */
#pragma once

#include "tools/link.h"
#include "tools/overlay.h"

/* Builds with `go build FLAGS PACKAGE` (NULL: the current folder's) under the overlay, and links.
 * `output` NULL: NAME.elf in the current folder. 0, or -1 after a message (Go's own, where Go
 * failed). */
int build_package(char *const *flags, const char *package, const struct link_options *options,
                  const char *output);

/* The folder whose module a package argument belongs to, when that is another module than the
 * current folder's, so that go has to run there; NULL: run it here. */
char *package_directory(const char *package);
