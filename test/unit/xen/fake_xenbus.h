/* SPDX-License-Identifier: MIT */
/* Around a front end that is tested: memory, and a bus on which nothing fails. What a back end says
 * in xenstore is the test's own. */
#pragma once

#include <stdint.h>

#define FAKE_PAGES 2048
extern char fake_pages[]; /* physical memory */

/* All pages are free again, of which `count` may be taken. */
void fake_pages_reset(unsigned count);
