/* SPDX-License-Identifier: MIT */
/* The neighbours of core/fs for its tests: host threads, memory from malloc (so that the sanitizers
 * see every byte), a recording console. User memory is the test's own; the first 64 KiB are not
 * accessible. */
#pragma once

#include <linux/errno.h>
#include <linux/fcntl.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#include "core/fs/file.h"
#include "core/fs/fs.h"
#include "core/fs/fs_calls.h"
#include "core/fs/stat.h"
#include "core/signal/restart.h"
#include "fakes/check.h"

#define P(pointer) ((uint64_t)(uintptr_t)(pointer))
#define CALL(name, ...) machine_call(sys_##name, (uint64_t[6]){__VA_ARGS__})

static inline long machine_call(syscall_handler *handler, const uint64_t *arguments)
{
    struct syscall_args args = {0};
    memcpy(args.arg, arguments, sizeof(args.arg));
    return handler(&args);
}

#define CHECK_CALL(expected, ...)                                                                  \
    do {                                                                                           \
        long result_ = (__VA_ARGS__);                                                              \
        CHECK(result_ == (expected), "%s gave %ld, not %ld", #__VA_ARGS__, result_,                \
              (long)(expected));                                                                   \
    } while (0)

/* Sets the machine up for the calling thread. */
void machine_init(void);

/* A host thread that plays a thread of the program. */
void machine_thread_start(void *(*run)(void *));
void *machine_thread_join(void);

extern char machine_console[65536];
extern size_t machine_console_used;
extern unsigned machine_signals[64]; /* how often each was sent */
extern uint64_t machine_skew;        /* ns that the clock is ahead of the host's */
extern unsigned machine_pages;       /* in use */
extern unsigned machine_unmaps;      /* calls of vm_unmap_file */
extern size_t (*machine_shrinker)(void);
extern int machine_fail_after; /* allocations that still succeed; -1: all */
void machine_run_timers(void);

/* An image as the first boot module; NULL: none. Page-aligned copies are the caller's business. */
void machine_module(void *image, uint64_t size);

int open_file(const char *path, int flags, int mode);
void core_console_input(const char *bytes, size_t length);
