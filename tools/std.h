/* SPDX-License-Identifier: MIT */
/* `unigornel test std`: the standard library's own tests, package by package, as unikernels. */
#pragma once

#include "tools/options.h"

extern const struct option_table std_options;

/* The words after `test std`; returns the exit status of the whole command: 0 when each test passes
 * but for those on the list of exceptions, and each of those fails. */
int command_test_std(char **words);
