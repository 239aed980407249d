/* SPDX-License-Identifier: MIT */
/* Files of /proc/net that are made elsewhere than in proc.c. */
#pragma once

#include "core/fs/procfs.h"

/* --- snmp.c: what lwIP has counted. */

void net_show_snmp(struct text *text, long argument);
void net_show_snmp6(struct text *text, long argument);
void net_show_netstat(struct text *text, long argument);
void net_show_sockstat(struct text *text, long argument);
void net_show_sockstat6(struct text *text, long argument);
void net_show_softnet(struct text *text, long argument);
