/* SPDX-License-Identifier: MIT */
/* Channels to 9P servers as core sees them: messages out, answers in, whatever carries them. The
 * platform finds the channels and calls core_ninep_found for each. All memory that goes through
 * here lies in the direct map. */
#pragma once

#include <stddef.h>
#include <stdint.h>

struct ninep_buffer {
    void *data;
    uint32_t length;
};

#define NINEP_BUFFERS_MAX 4u /* of one request and its answer */
#define NINEP_TAG_SIZE 32u   /* longer names are cut */

struct ninep_channel {
    /* Starts a request: the first `out` buffers hold it, the `in` that follow take the answer. They
     * stay in use until core_ninep_answered is called with `token`. At most `capacity` at a time.
     * -EIO: the channel is closed. Any context. */
    int (*send)(struct ninep_channel *channel, const struct ninep_buffer *buffers, unsigned out,
                unsigned in, void *token);
    unsigned capacity;
    char tag[NINEP_TAG_SIZE]; /* the name of what the server has, NUL-terminated */
    void *core;               /* core's own */
    struct ninep_channel *next;
};

/* --- what a driver calls in core (core/fs/ninep_client.c) ------------------------------------- */

/* A channel is there and ready; the structure stays for ever. Thread context. */
void core_ninep_found(struct ninep_channel *channel);

/* An answer is there, of `length` bytes. Any context, interrupts masked. */
void core_ninep_answered(struct ninep_channel *channel, void *token, uint32_t length);

/* The channel is closed: what is under way will not be answered. Any context. */
void core_ninep_gone(struct ninep_channel *channel);
