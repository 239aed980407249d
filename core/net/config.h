/* SPDX-License-Identifier: MIT */
/* What the kernel words ip=, ip6= and dns= ask for, and the name servers in use. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

/* An address in network order; IPv4 in the first four bytes. */
struct net_address {
    uint8_t family; /* AF_INET, AF_INET6; 0: none */
    uint8_t bytes[16];
};

enum net_addressing {
    NET_AUTOMATIC, /* DHCP; router advertisements. Also without the word */
    NET_STATIC,
    NET_OFF, /* ip=none, ip6=none */
};

struct net_config {
    struct net_family_config {
        enum net_addressing addressing;
        struct net_address address, gateway; /* static; the gateway may be none */
        uint8_t prefix_length;               /* bits */
    } ip, ip6;
    unsigned name_server_count; /* by dns=; if there are any, no others are used */
    struct net_address name_servers[8];
};

extern struct net_config net_config; /* complete before net_init */

/* The name servers that one interface was told of in one family (DHCP, router advertisements,
 * DHCPv6), in place of those before; they show in /proc/net/pnp, which /etc/resolv.conf leads to.
 * Any context without LOCK_WAIT_QUEUE or a higher lock. */
void resolver_update(int interface, int family, const struct net_address *servers, unsigned count);

/* Name server `position` in use, counted from 0; false: there are no more. */
bool resolver_server(unsigned position, struct net_address *out);

/* When they last changed, ns since 1970. */
int64_t resolver_changed(void);

/* Reads an address of either family as inet_pton(3) does (IPv6 without a zone); `length` bytes.
 * False: it is none. */
bool net_address_parse(const char *text, unsigned length, struct net_address *out);

/* Writes it as inet_ntop(3) does (RFC 5952); returns `text`. */
#define NET_ADDRESS_TEXT 46
char *net_address_format(const struct net_address *address, char text[NET_ADDRESS_TEXT]);
