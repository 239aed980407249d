/* SPDX-License-Identifier: MIT */
/* The kernel without the network: every call of it is there and fails. For programs in which
 * `unigornel build` has found no way to a socket. */
#include <linux/errno.h>

#include "core/lib/log.h"
#include "core/lib/string.h"
#include "core/net/net.h"
#include "core/net/net_calls.h"

/* The words are known and have no effect: who starts the machine need not know the program. */
bool net_option(const char *word)
{
    return strncmp(word, "ip=", 3) == 0 || strncmp(word, "ip6=", 4) == 0 ||
           strncmp(word, "dns=", 4) == 0;
}

void net_init(void)
{
    log_info("the kernel has no network: the program was found to have no sockets");
}

void net_finish(void)
{
}

const struct proc_node net_proc_directory = {.name = "net", .mode = S_IFDIR | 0555};
extern const struct proc_node net_sysfs_class __attribute__((alias("net_proc_directory")));
extern const struct proc_node net_sysfs_devices __attribute__((alias("net_proc_directory")));
extern const struct proc_node net_sysfs_virtual __attribute__((alias("net_proc_directory")));

static long no_network(struct syscall_args *a)
{
    log_debug("system call %lu needs the network: build the image with --network always",
              (unsigned long)syscall_regs(a)->error);
    return -ENOSYS;
}

#define SYSCALL_HANDLER(name)                                                                      \
    long sys_##name(struct syscall_args *a) __attribute__((alias("no_network")));
#include "core/net/net_calls.h"
#undef SYSCALL_HANDLER
