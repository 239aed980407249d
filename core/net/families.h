/* SPDX-License-Identifier: MIT */
/* Each makes its address family known; called by net_init. */
#pragma once

void unix_init(void);
void netlink_init(void);

/* lwIP too, and the interfaces of the devices that have been found; waits for DHCP. */
void inet_start(void);
/* Files of /etc that the root does not have (proc.c). */
void net_make_files(void);
