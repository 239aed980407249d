/* SPDX-License-Identifier: MIT */
/* What the end of a thread needs of futexes. Thread context, no locks. */
#pragma once

#include <stdint.h>

/* Wakes up to `count` waiters of `address` whose bits meet `bitset`; the number woken or -EINVAL.
 */
long futex_wake(uintptr_t address, uint32_t count, uint32_t bitset);

/* Marks the robust futexes that the ending thread `tid` still holds (list at `head`,
 * set_robust_list(2)) and wakes one waiter of each. */
void futex_exit_robust_list(uintptr_t head, int32_t tid);
