/* SPDX-License-Identifier: MIT */
/* A client of 9P2000.L (github.com/chaos/diod/blob/master/protocol.md): requests and their answers
 * over a channel, many at a time, and fids, which name files on the server. The server is not
 * trusted: an answer that is no answer to what was asked is -EIO. Thread context, may sleep, no
 * spinlock held, unless said otherwise. */
#pragma once

#include "core/fs/ninep_message.h"
#include "core/lib/spinlock.h"
#include "core/sched/wait.h"
#include "ninepdev.h"

#define NINEP_REQUESTS_MAX 32u
#define NINEP_DATA_MAX (256u << 10) /* bytes of one read or write */

/* A small message and its answer, in place: for reads, writes and clunks. In the direct map. */
struct ninep_scratch {
    uint8_t request[24], answer[12];
};

struct ninep_call {
    uint8_t type;
    uint16_t tag, slot;
    bool done;     /* atomic */
    int32_t state; /* -errno, or how long the answer is */
    struct ninep_message request, answer;
    struct ninep_buffer out, in; /* data that follows the request's fields, or the answer's */
    struct ninep_fid *clunked;   /* nobody waits; the fid is free afterwards */
};

struct ninep_fid {
    struct ninep_fid *next; /* free ones; fid_lock */
    uint32_t references;    /* atomic */
    uint32_t number;
    struct ninep_client *client;
    struct ninep_call clunk;
    struct ninep_scratch scratch;
};

struct ninep_client {
    struct ninep_channel *channel;
    struct ninep_call *calls[NINEP_REQUESTS_MAX]; /* under way, by tag; atomic */
    struct wait_queue waiters;                    /* for answers, and for tags */
    bool gone;                                    /* atomic */
    struct spinlock fid_lock;                     /* with interrupts masked */
    struct ninep_fid *free_fids;                  /* fid_lock */
    uint32_t next_fid;                            /* fid_lock */
    uint32_t data_max;                            /* bytes of one read or write here */
};

/* The channel with this tag that nobody has mounted yet, or NULL. Itself NULL, as ninep_create is,
 * in the kernel for programs that open no files. */
struct ninep_channel *ninep_find(const char *tag) __attribute__((weak));

/* Agrees with the server on the protocol and attaches to the tree that it has: its root. */
int ninep_connect(struct ninep_client *client, struct ninep_channel *channel,
                  struct ninep_fid **root, struct ninep_qid *qid);

/* A fid without a file, for a request that will give it one. -ENOMEM. The last ninep_fid_put clunks
 * it. */
int ninep_fid_new(struct ninep_client *client, struct ninep_fid **out);
struct ninep_fid *ninep_fid_get(struct ninep_fid *fid);
void ninep_fid_put(struct ninep_fid *fid);
/* Frees a fid that the server has given no file. */
void ninep_fid_discard(struct ninep_fid *fid);

/* A new fid for a name in a directory, or (NULL) for the same file again. -ENOENT. */
int ninep_walk(struct ninep_fid *from, const char *name, size_t length, struct ninep_fid **out,
               struct ninep_qid *qid);

/* Sends a message of `type` with fields as ninep_put, and waits for the answer, of which at most
 * `room` bytes of fields are expected. After 0 its fields are to be got from `answer`, and
 * `ninep_answer_free` is due; NULL: they do not matter. */
int ninep_ask(struct ninep_client *client, struct ninep_message *answer, size_t room, uint8_t type,
              const char *format, ...);
void ninep_answer_free(struct ninep_message *answer);

/* Reads (NINEP_TREAD, NINEP_TREADDIR) or writes (NINEP_TWRITE) up to data_max bytes in the direct
 * map: how many, or -errno. */
long ninep_transfer(struct ninep_fid *fid, uint8_t type, uint64_t offset, void *data, size_t size,
                    struct ninep_scratch *scratch);
