/* SPDX-License-Identifier: MIT */
/* File system images (EROFS) from folders of the host. */
#pragma once

#include <stdbool.h>

/* Makes `image` from all of `directory` with mkfs.erofs: modes, owners, times to the nanosecond,
 * and with `attributes` extended attributes. 0, or -1 after a message. */
int make_file_system(const char *directory, const char *image, bool attributes);
