/* SPDX-License-Identifier: MIT */
/* Who a thread runs as: the ids that programs set and ask for. Nothing is refused because of them:
 * the kernel has no protection from a program in its own address space, and there is no second
 * user. They belong to the thread, as in Linux, and only it changes them. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#define CREDENTIALS_MAX_GROUPS 32

struct id_set {
    uint32_t real, effective, saved, fs;
};

/* All zero: root, as a thread begins. A clone has its parent's. */
struct credentials {
    struct id_set uid, gid;
    bool keep_capabilities; /* PR_SET_KEEPCAPS */
    uint32_t group_count;
    uint32_t groups[CREDENTIALS_MAX_GROUPS];
};
