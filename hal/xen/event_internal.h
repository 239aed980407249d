/* SPDX-License-Identifier: MIT */
/* Between event.c and event_fifo.c. */
#pragma once

#include "xen_internal.h"

/* The FIFO ABI for all CPUs from now on; false: this Xen has it not, or there is no memory. Before
 * any channel is bound; also when Xen has forgotten all, and then again before any is bound. */
bool fifo_start(unsigned cpu_count);

/* Makes room for `port`. -ENOMEM, or what Xen says. Under event_lock. */
int fifo_expand(uint32_t port);

/* Runs what is pending for this CPU. Masked. */
void fifo_dispatch(unsigned cpu);

/* Runs the handler of a channel whose event has been taken. Masked. */
void event_deliver(uint32_t port);

/* Xen's number of a CPU. */
uint32_t event_vcpu(unsigned cpu);
