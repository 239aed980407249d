/* SPDX-License-Identifier: MIT */
/* The subcommands: each takes the words after its name and returns the exit status of the whole
 * command. */
#pragma once

#include "tools/options.h"

int command_build(char **words);
int command_run(char **words);
/* A file system image for the root of `exec`, instead of the current folder's files. */
#define EXEC_FILES "UNIGORNEL_EXEC_FILES"
#define EXEC_PLATFORM "UNIGORNEL_EXEC_PLATFORM"
#define XEN_RUN "UNIGORNEL_XEN_RUN"
int command_exec(char **words);
int command_test(char **words);
int command_image(char **words);
int command_xen(char **words);
int command_mkfs(char **words);

extern const struct option_table build_options, run_options, exec_options, test_options,
    image_options, xen_options, mkfs_options;
