/* SPDX-License-Identifier: MIT */
/* Socket filters: programs of the classic Berkeley Packet Filter (socket(7), SO_ATTACH_FILTER;
 * Linux's Documentation/networking/filter.rst). */
#pragma once

#include <stddef.h>
#include <stdint.h>

struct pbuf;
struct socket_filter;

/* A packet as a filter sees it: `header_length` bytes at `header`, then the pbufs. */
struct filter_packet {
    const uint8_t *header;
    uint32_t header_length;
    struct pbuf *data;
};

/* Copies and checks the program that a struct sock_fprog names; the caller frees it with kfree.
 * -EINVAL: it is not one that ends for every packet. -EFAULT, -ENOMEM. May sleep. */
int filter_create(const void *fprog, size_t size, struct socket_filter **out);

/* How many bytes of the packet to keep; 0: none, drop it. */
uint32_t filter_run(const struct socket_filter *filter, const struct filter_packet *packet);
