/* SPDX-License-Identifier: MIT */
/* The network's kernel words, and the list of name servers. The list is guarded by servers_lock;
 * the words are read before the program runs. */
#include "core/net/config.h"

#include "core/fs/fs_internal.h"
#include "core/net/families.h"
#include "core/net/net.h"
#include "core/net/socket.h"
#include "core/options.h"
#include "core/time/clock.h"

struct net_config net_config;

/* --- kernel words
 * ---------------------------------------------------------------------------------------------------
 */

/* Where the piece of a list ends. */
static unsigned piece_length(const char *text)
{
    const char *comma = strchr(text, ',');
    return (unsigned)(comma == NULL ? strlen(text) : (size_t)(comma - text));
}

static bool parse_prefix(const char *text, unsigned length, unsigned most, uint8_t *out)
{
    unsigned value = 0;
    for (unsigned i = 0; i < length; i++) {
        if (text[i] < '0' || text[i] > '9' || i == 3) {
            return false;
        }
        value = value * 10 + (unsigned)(text[i] - '0');
    }
    *out = (uint8_t)value;
    return length != 0 && value >= 1 && value <= most;
}

/* ADDRESS/LENGTH[,GATEWAY] */
static bool parse_static(const char *value, struct net_family_config *out, uint8_t family)
{
    unsigned piece = piece_length(value);
    const char *slash = memchr(value, '/', piece);
    if (slash == NULL) {
        return false;
    }
    unsigned address = (unsigned)(slash - value);
    out->addressing = NET_STATIC;
    if (!net_address_parse(value, address, &out->address) || out->address.family != family ||
        !parse_prefix(slash + 1, piece - address - 1, family == AF_INET ? 32 : 128,
                      &out->prefix_length)) {
        return false;
    }
    const char *gateway = value + piece + 1;
    return value[piece] == '\0' ||
           (net_address_parse(gateway, (unsigned)strlen(gateway), &out->gateway) &&
            out->gateway.family == family);
}

static void parse_family(const char *word, const char *value, const char *automatic,
                         struct net_family_config *out, uint8_t family)
{
    if (strcmp(value, automatic) == 0) {
        out->addressing = NET_AUTOMATIC;
    } else if (strcmp(value, "none") == 0) {
        out->addressing = NET_OFF;
    } else if (!parse_static(value, out, family)) {
        options_fail("%s: give %s, none or ADDRESS/LENGTH[,GATEWAY]", word, automatic);
    }
}

static void parse_name_servers(const char *word, const char *value)
{
    const unsigned most = sizeof(net_config.name_servers) / sizeof(net_config.name_servers[0]);
    for (;;) {
        unsigned piece = piece_length(value);
        if (net_config.name_server_count == most ||
            !net_address_parse(value, piece,
                               &net_config.name_servers[net_config.name_server_count])) {
            options_fail("%s: give up to %u addresses with commas between them", word, most);
        }
        net_config.name_server_count++;
        if (value[piece] == '\0') {
            return;
        }
        value += piece + 1;
    }
}

bool net_option(const char *word)
{
    if (strncmp(word, "ip=", 3) == 0) {
        parse_family(word, word + 3, "dhcp", &net_config.ip, AF_INET);
    } else if (strncmp(word, "ip6=", 4) == 0) {
        parse_family(word, word + 4, "auto", &net_config.ip6, AF_INET6);
    } else if (strncmp(word, "dns=", 4) == 0) {
        parse_name_servers(word, word + 4);
    } else {
        return false;
    }
    return true;
}

/* --- name servers
 * ---------------------------------------------------------------------------------------------------
 */

#define SERVERS_MAX 16

static struct spinlock servers_lock = SPINLOCK_INIT(LOCK_WAIT_QUEUE);
static struct told_server {
    int interface;
    struct net_address address;
} servers[SERVERS_MAX];
static unsigned server_count;
static int64_t changed_at;

void resolver_update(int interface, int family, const struct net_address *addresses, unsigned count)
{
    unsigned kept = 0;
    bool irq = spin_lock_irqsave(&servers_lock);
    for (unsigned i = 0; i < server_count; i++) {
        if (servers[i].interface != interface || servers[i].address.family != family) {
            servers[kept++] = servers[i];
        }
    }
    for (unsigned i = 0; i < count && kept < SERVERS_MAX; i++) {
        servers[kept++] = (struct told_server){interface, addresses[i]};
    }
    server_count = kept;
    changed_at = (int64_t)clock_wall();
    spin_unlock_irqrestore(&servers_lock, irq);
}

bool resolver_server(unsigned position, struct net_address *out)
{
    if (net_config.name_server_count != 0) {
        if (position < net_config.name_server_count) {
            *out = net_config.name_servers[position];
        }
        return position < net_config.name_server_count;
    }
    bool irq = spin_lock_irqsave(&servers_lock);
    bool found = position < server_count;
    if (found) {
        *out = servers[position].address;
    }
    spin_unlock_irqrestore(&servers_lock, irq);
    return found;
}

int64_t resolver_changed(void)
{
    bool irq = spin_lock_irqsave(&servers_lock);
    int64_t at = changed_at;
    spin_unlock_irqrestore(&servers_lock, irq);
    return at;
}

void net_init(void)
{
    unix_init();
    netlink_init();
    inet_start();
    net_make_files();
}
