/* SPDX-License-Identifier: MIT */
/* Linux's struct stat for x86_64 (arch/x86/include/uapi/asm/stat.h), as the program gets it. */
#pragma once

#include <stdint.h>

struct stat {
    uint64_t st_dev, st_ino, st_nlink;
    uint32_t st_mode, st_uid, st_gid, st_pad;
    uint64_t st_rdev;
    int64_t st_size, st_blksize, st_blocks;
    int64_t st_atime, st_atime_nsec, st_mtime, st_mtime_nsec, st_ctime, st_ctime_nsec;
    int64_t st_reserved[3];
};
_Static_assert(sizeof(struct stat) == 144, "struct stat is part of the ABI");
