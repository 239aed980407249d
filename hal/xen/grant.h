/* SPDX-License-Identifier: MIT */
/* Pages of ours that another domain may use, by reference (xen/include/public/grant_table.h). A
 * driver keeps the references that it has allocated, and uses them again and again. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

/* A reference that grants nothing yet: -ENOMEM, -ENOSPC (Xen gives this domain no more). Any
 * context. */
int grant_alloc(uint32_t *reference);

/* From now on `domain` may use the page (in the direct map) by the reference. Any context. */
void grant_give(uint32_t reference, uint16_t domain, const void *page, bool read_only);

/* Around a suspend, on CPU 0 while all others stand still: the frames of a paravirtual guest's
 * table leave its page tables, and the table is mapped again. References stay allocated; in a
 * restored domain they grant nothing. */
void grants_suspend(void);
void grants_resume(void);

/* The domain may not use it any more; false when it still does. Any context. */
bool grant_take_back(uint32_t reference);
