/* SPDX-License-Identifier: MIT */
/* IPv4 and IPv6 addresses as text. Owns nothing. */
#include "core/lib/log.h"
#include "core/lib/string.h"
#include "core/net/config.h"
#include "core/net/socket.h"

/* Four decimal numbers without leading zeroes. */
static bool parse_ipv4(const char *text, unsigned length, uint8_t *bytes)
{
    unsigned at = 0;
    for (unsigned part = 0; part < 4; part++) {
        unsigned value = 0, digits = 0;
        if (part != 0 && (at == length || text[at++] != '.')) {
            return false;
        }
        for (; at < length && text[at] >= '0' && text[at] <= '9' && digits < 3; at++, digits++) {
            if (digits != 0 && value == 0) {
                return false;
            }
            value = value * 10 + (unsigned)(text[at] - '0');
        }
        if (digits == 0 || value > 255) {
            return false;
        }
        bytes[part] = (uint8_t)value;
    }
    return at == length;
}

static int hex_digit(char byte)
{
    return byte >= '0' && byte <= '9'   ? byte - '0'
           : byte >= 'a' && byte <= 'f' ? byte - 'a' + 10
           : byte >= 'A' && byte <= 'F' ? byte - 'A' + 10
                                        : -1;
}

/* RFC 4291, 2.2. */
static bool parse_ipv6(const char *text, unsigned length, uint8_t *bytes)
{
    unsigned at = 0, used = 0, gap = 16; /* where "::" stands in `bytes`; 16: nowhere */
    while (at < length) {
        if (text[at] == ':' && at + 1 < length && text[at + 1] == ':') {
            if (gap != 16 || used == 16) {
                return false;
            }
            gap = used;
            at += 2;
            if (at == length) {
                break;
            }
        } else if (used != 0) {
            if (text[at++] != ':') {
                return false;
            }
        }
        unsigned value = 0, digits = 0, start = at;
        for (; at < length && digits < 4 && hex_digit(text[at]) >= 0; at++, digits++) {
            value = value * 16 + (unsigned)hex_digit(text[at]);
        }
        if (at < length && text[at] == '.') {
            if (used > 12 || !parse_ipv4(text + start, length - start, bytes + used)) {
                return false;
            }
            used += 4;
            break;
        }
        if (digits == 0 || used > 14) {
            return false;
        }
        bytes[used++] = (uint8_t)(value >> 8);
        bytes[used++] = (uint8_t)value;
    }
    if (gap == 16) {
        return used == 16;
    }
    if (used == 16) {
        return false;
    }
    memmove(bytes + 16 - (used - gap), bytes + gap, used - gap);
    memset(bytes + gap, 0, 16 - used);
    return true;
}

bool net_address_parse(const char *text, unsigned length, struct net_address *out)
{
    memset(out, 0, sizeof(*out));
    if (memchr(text, ':', length) != NULL) {
        out->family = AF_INET6;
        return parse_ipv6(text, length, out->bytes);
    }
    out->family = AF_INET;
    return parse_ipv4(text, length, out->bytes);
}

char *net_address_format(const struct net_address *address, char text[NET_ADDRESS_TEXT])
{
    const uint8_t *bytes = address->bytes;
    if (address->family == AF_INET) {
        format(text, NET_ADDRESS_TEXT, "%u.%u.%u.%u", bytes[0], bytes[1], bytes[2], bytes[3]);
        return text;
    }
    /* The longest run of zero groups, the first of equals, of two at least, is "::". */
    unsigned best = 8, best_length = 1;
    for (unsigned i = 0; i < 8; i++) {
        unsigned run = 0;
        while (i + run < 8 && bytes[(i + run) * 2] == 0 && bytes[(i + run) * 2 + 1] == 0) {
            run++;
        }
        if (run > best_length) {
            best = i;
            best_length = run;
        }
    }
    size_t used = 0;
    for (unsigned i = 0; i < 8; i++) {
        if (i == best) {
            used += (size_t)format(text + used, NET_ADDRESS_TEXT - used, "::");
            i += best_length - 1;
        } else {
            bool colon = i != 0 && i != best + best_length;
            used += (size_t)format(text + used, NET_ADDRESS_TEXT - used, colon ? ":%x" : "%x",
                                   (unsigned)bytes[i * 2] << 8 | bytes[i * 2 + 1]);
        }
    }
    return text;
}
