/* SPDX-License-Identifier: MIT */
/* What lwIP needs of the compiler and the kernel. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <sys/types.h> /* ssize_t; SSIZE_MAX says that it is there */

#define SSIZE_MAX INT64_MAX
#define LWIP_NO_CTYPE_H 1
#define LWIP_NO_UNISTD_H 1
#define LWIP_NO_INTTYPES_H 1
#define X8_F "x"
#define U16_F "u"
#define S16_F "d"
#define X16_F "x"
#define U32_F "u"
#define S32_F "d"
#define X32_F "x"
#define SZT_F "zu"

#ifndef BYTE_ORDER
#define BYTE_ORDER LITTLE_ENDIAN
#endif
#define lwip_htons(x) __builtin_bswap16(x)
#define lwip_htonl(x) __builtin_bswap32(x)

#define LWIP_ERRNO_INCLUDE <linux/errno.h>

void *core_net_malloc(size_t size);
void *core_net_calloc(size_t count, size_t size);
void core_net_free(void *pointer);
uint32_t core_net_random(void);
#define LWIP_RAND() core_net_random()

#ifdef LWIP_HOST_ASSERT
_Noreturn void core_net_assert(const char *message, const char *file, int line);
#define LWIP_PLATFORM_ASSERT(x) core_net_assert(x, __FILE__, __LINE__)
#else
#define LWIP_NOASSERT 1
#define LWIP_PLATFORM_ASSERT(x)
#endif
#define LWIP_PLATFORM_DIAG(x)

/* Most are of few bytes, whose number the compiler knows (core/lib/string.h). */
#define MEMCPY(to, from, size) __builtin_memcpy(to, from, size)
#define SMEMCPY(to, from, size) __builtin_memcpy(to, from, size)

/* 32 bits at a time with end-around carry; core/net/checksum.c. */
uint16_t core_net_checksum(const void *data, int size);
#define LWIP_CHKSUM core_net_checksum

/* A packet of this machine's to itself waits (lwip.patch; core/net/device.c). */
extern bool core_net_loopback;
#define LWIP_LOOPBACK_QUEUED() (core_net_loopback = true)
