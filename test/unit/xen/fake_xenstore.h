/* SPDX-License-Identifier: MIT */
/* Around a front end that is tested: the real xenbus.c, front_end.c and xenstore.c, with a daemon
 * that keeps a tree of names; memory; a grant table that knows who may use which page. What a back
 * end says and does is the test's own. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#define FAKE_PAGES 4096
extern char fake_pages[]; /* physical memory */

/* An empty tree, all memory and grants free, no watches. Frees what was allocated. */
void fake_reset(void);

/* In the tree; NULL removes, and no value is NULL. Watches of it are told at fake_store_run. */
void fake_store_set(const char *path, const char *value);
void fake_store_set_number(const char *path, uint64_t value);
const char *fake_store_get(const char *path);
uint64_t fake_store_number(const char *path); /* 0: there is none */

/* Runs the watches that have something to tell, until all is quiet. */
void fake_store_run(void);

/* The steps of a script that suspend the domain and wake it up, which it may be: whether `word` was
 * one of them, and in its place. */
bool fake_suspend_step(const char *word, bool *asleep);

/* Has its turn when all is quiet: whether it has done something. May be NULL. */
extern bool (*fake_back_end)(void);

/* Changes what the daemon answers to a read; false: that there is no such name. May be NULL. */
typedef bool fake_store_spoil_fn(const char *path, char value[64], bool known);
extern fake_store_spoil_fn *fake_store_spoil;

/* What the front end has granted by a reference: NULL: nothing. */
#define FAKE_GRANTS 4096
struct fake_grant {
    char *page;
    uint16_t domain;
    bool read_only;
    bool kept; /* the back end does not let go of it */
};
extern struct fake_grant fake_grants[FAKE_GRANTS];
unsigned fake_granted_count(void);
