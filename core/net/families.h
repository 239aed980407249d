/* SPDX-License-Identifier: MIT */
/* Each makes its address family known; called by net_init. */
#pragma once

void unix_init(void);
void netlink_init(void);
