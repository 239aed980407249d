/* SPDX-License-Identifier: MIT */
/* The kernel around lwIP and core/net, for tests of the whole of them: time passes when the test
 * says so, memory may run out now and then, what the program writes is noise, the same in each run.
 * The address is 10.0.2.15/24. */
#pragma once

#include <stdint.h>

extern uint64_t stack_now;    /* what the clock says, ns */
extern uint64_t stack_random; /* the state of all chance */

/* One allocation of so many fails; 0: none. */
extern unsigned stack_memory_fails;

/* Lets timers expire at their time. */
void stack_pass_time(uint64_t ns);
