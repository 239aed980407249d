/* SPDX-License-Identifier: MIT */
/* fail() for tests: keeps the last message instead of printing it. */
#pragma once

#include "check.h"
#include "tools/tool.h"

#define EXPECT(condition) CHECK(condition, "last message: %s", last_error)

extern char last_error[512];

/* Whether a call has failed with a message that contains `part`. */
bool failed_with(int result, const char *part);
