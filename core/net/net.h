/* SPDX-License-Identifier: MIT */
/* The network as the rest of the kernel sees it, beside its system calls (net_calls.h). There are
 * two kernels: kernel-net.elf has it, kernel.elf is smaller and says that it has none (absent.c);
 * `unigornel build` takes the one that the program needs. */
#pragma once

#include <stdbool.h>

#include "core/fs/procfs.h"

/* Takes a word of the kernel's command line when it is one of the network's (DESIGN 7: ip, ip6,
 * dns); false: it is not. A wrong value ends the machine (options_fail). */
bool net_option(const char *word);

/* Before the program runs, in its first thread. */
void net_init(void);

/* The program has ended: closes its connections, and waits until what it has sent has gone out and,
 * over TCP, been acknowledged, as Linux does these behind the back of a process that is gone. Ends
 * as soon as nothing is left, and after 10 s in any case. Thread context, no lock held. */
void net_finish(void);

/* /proc/net, and in /sys class/net, devices/platform/net and devices/virtual/net. */
extern const struct proc_node net_proc_directory;
extern const struct proc_node net_sysfs_class, net_sysfs_devices, net_sysfs_virtual;
