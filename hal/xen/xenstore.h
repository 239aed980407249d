/* SPDX-License-Identifier: MIT */
/* The client of xenstore, the tree of names by which domains find their devices
 * (docs/misc/xenstore.txt, xen/include/public/io/xs_wire.h). A kernel thread of its own, "xenbus",
 * makes all requests and runs all watches, so nothing here needs a lock: every function but
 * xenstore_start is called on that thread. Paths are relative to the own domain unless they begin
 * with a slash. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "abi.h"

/* How long the store and back ends may take, as long as Linux waits for its devices: a host that
 * has much to do is slow, and there is nothing without them. After the first there is a warning. */
#define XENSTORE_WARNING_NS 10000000000ull
#define XENSTORE_PATIENCE_NS 300000000000ull

/* Where the store's ring is. Once, at boot. */
void xenstore_attach(struct xenstore_interface *ring, uint32_t port);

/* Starts the thread, which calls `first` before it waits for watches, and returns when `first` has
 * returned. -ENOMEM; -ENODEV: there is no ring. Thread context. */
int xenstore_start(void (*first)(void));

/* Runs `work` on the thread, once no watch runs. Called from a watch. */
void xenstore_defer(void (*work)(void));

/* In a restored domain, whose store has a new ring (xenstore_attach) and knows of no watch. First,
 * on CPU 0 while the thread sleeps outside of all requests: -ENOMEM. Then, on the thread, all
 * watches are made again, and run once as new ones do. */
int xenstore_resume(void);
void xenstore_watch_again(void);

/* The value, NUL-terminated (one with a NUL in it ends there): its length; -ENOENT and other errors
 * of the store; -E2BIG: `size` is too small; -EIO: the answer is not one. */
long xenstore_read(const char *path, char *value, size_t size);

/* A decimal number of at most `max`: -EINVAL when it is none. */
int xenstore_read_number(const char *path, uint64_t max, uint64_t *value);

/* The names below `path`, each ended by NUL: their length in bytes. */
long xenstore_directory(const char *path, char *names, size_t size);

int xenstore_write(const char *path, const char *value);

/* As the last thing that the domain does: no other CPU runs, and nobody waits for the answer. Any
 * context. Nothing is written when the thread was stopped in the middle of a request. */
void xenstore_write_last(const char *path, const char *value);

/* Writes between the two calls become visible together; -EAGAIN from the end: do it all again. */
int xenstore_transaction_begin(void);
int xenstore_transaction_end(void);

/* `changed` runs once at once, and then each time that something at `path` or below changes. */
typedef void xenstore_watch_fn(void *context);
int xenstore_watch(const char *path, xenstore_watch_fn *changed, void *context);

/* Ends the watch of `changed` and `context`, if there is one; not from that watch itself. */
void xenstore_unwatch(xenstore_watch_fn *changed, void *context);

/* Runs watches until `condition` says true: false after `patience_ns`. */
bool xenstore_wait(bool (*condition)(void *context), void *context, uint64_t patience_ns);
