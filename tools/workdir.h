/* SPDX-License-Identifier: MIT */
/* The host's files that `unigornel exec` shows to the program, as an EROFS image for the guest's
 * root. */
#pragma once

/* Collects, and makes the image with mkfs.erofs. Which files: the current folder with all below it
 * (when that is more than 64 MiB, only its own files and its testdata); of each folder above it, up
 * to the one with go.mod, the testdata; and Go's lib/time/zoneinfo.zip. All keep their absolute
 * paths. Returns the image's path, or NULL after a message. */
char *workdir_image(const char *directory);

/* Copies a file, or a folder with all below it, to the same path below `stage`. What is not there
 * is left out. 0, or -1 after a message. */
int workdir_copy(const char *path, const char *stage);
