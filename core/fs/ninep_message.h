/* SPDX-License-Identifier: MIT */
/* Messages of 9P2000.L as bytes: size[4] type[1] tag[2] and fields, little-endian. Put and get walk
 * a format with a letter for each field:
 *
 *     b w d q   1, 2, 4, 8 bytes
 *     s         a string, of two bytes of length and that many others: const char *, size_t
 *     Q         a qid: struct ninep_qid *
 *
 * What does not fit, or is not there, makes the message bad for good: no byte outside of it is
 * touched. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define NINEP_HEADER 7u

struct ninep_qid {
    uint8_t type; /* NINEP_QID_ bits */
    uint32_t version;
    uint64_t path;
};

enum { NINEP_QID_DIRECTORY = 0x80, NINEP_QID_LINK = 0x02 };

/* T-messages; the answer is one more, or NINEP_RLERROR. */
enum {
    NINEP_RLERROR = 7,
    NINEP_TSTATFS = 8,
    NINEP_TLOPEN = 12,
    NINEP_TLCREATE = 14,
    NINEP_TSYMLINK = 16,
    NINEP_TMKNOD = 18,
    NINEP_TREADLINK = 22,
    NINEP_TGETATTR = 24,
    NINEP_TSETATTR = 26,
    NINEP_TXATTRWALK = 30,
    NINEP_TREADDIR = 40,
    NINEP_TFSYNC = 50,
    NINEP_TLINK = 70,
    NINEP_TMKDIR = 72,
    NINEP_TRENAMEAT = 74,
    NINEP_TUNLINKAT = 76,
    NINEP_TVERSION = 100,
    NINEP_TATTACH = 104,
    NINEP_TWALK = 110,
    NINEP_TREAD = 116,
    NINEP_TWRITE = 118,
    NINEP_TCLUNK = 120,
};

struct ninep_message {
    uint8_t *bytes; /* NULL: only counts */
    size_t size;    /* of the buffer, or of the message that was received */
    size_t at;      /* what is put or got next */
    bool bad;
};

/* `const char *, size_t` for s; a pointer for Q; the numbers as int, int, uint32_t, uint64_t. */
void ninep_put(struct ninep_message *message, const char *format, ...);
void ninep_vput(struct ninep_message *message, const char *format, __builtin_va_list arguments);

/* Pointers to uint8_t, uint16_t, uint32_t, uint64_t; for s `const char **, size_t *`, into the
 * message and not terminated. False: bad. */
bool ninep_get(struct ninep_message *message, const char *format, ...);
bool ninep_vget(struct ninep_message *message, const char *format, __builtin_va_list arguments);

/* Starts a message over at its first field, with room left for the header. */
void ninep_begin(struct ninep_message *message);
/* Writes the header; `more` bytes follow in another buffer. */
void ninep_finish(struct ninep_message *message, uint8_t type, uint16_t tag, size_t more);

/* Checks an answer to a message of `type`: `received` bytes, of which `message` has as many as it
 * holds. Then fields are to be got. 0, the -errno that the server gives, or -EIO when it is not an
 * answer to that message. */
int ninep_check(struct ninep_message *message, size_t received, uint8_t type, uint16_t tag);
