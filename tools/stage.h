/* SPDX-License-Identifier: MIT */
/* Files of the host in a staging folder, from which an EROFS image is made. */
#pragma once

/* Copies a file, or a folder with all below it, to the same path below `stage`. What is not there
 * is left out. 0, or -1 after a message. */
int stage_copy(const char *path, const char *stage);
