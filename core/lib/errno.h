/* SPDX-License-Identifier: MIT */
/* Error numbers of Linux (include/uapi/asm-generic/errno-base.h and errno.h), which are what the
 * program sees. */
#pragma once

#include <linux/errno.h>
