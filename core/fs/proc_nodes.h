/* SPDX-License-Identifier: MIT */
/* What the files with the nodes of /proc and /sys share. */
#pragma once

#include "core/block/block.h"
#include "core/fs/procfs.h"

#define TICKS_NS 10000000ull /* a tick of /proc: 1/100 s (USER_HZ) */

/* A device number's two parts, as Linux encodes it for user space (include/linux/kdev_t.h). */
static inline unsigned proc_device_major(uint64_t number)
{
    return (unsigned)(number >> 8 & 0xfff);
}

static inline unsigned proc_device_minor(uint64_t number)
{
    return (unsigned)((number & 0xff) | (number >> 12 & 0xfff00));
}

/* --- proc_system.c */

void proc_show_cpuinfo(struct text *text, long argument);
void proc_show_meminfo(struct text *text, long argument);
void proc_show_stat(struct text *text, long argument);
void proc_show_uptime(struct text *text, long argument);
void proc_show_loadavg(struct text *text, long argument);
void proc_show_vmstat(struct text *text, long argument);
void proc_show_disk_counts(struct text *text, long argument);
void proc_show_version(struct text *text, long argument);
void proc_show_file_systems(struct text *text, long argument);
extern const struct proc_node proc_sys_directory;

/* Page faults since the start, and of those (*major) the ones that waited for a disk. */
uint64_t proc_faults(uint64_t *major);

/* All CPUs, as "0-3", and a line's end. */
void proc_show_cpus(struct text *text, long argument);

/* The 17 numbers of a disk in /proc/diskstats and in its `stat` (Linux,
 * Documentation/admin-guide/iostats.rst), and a line's end. */
void proc_put_disk_counts(struct text *text, const struct block_device *device);
