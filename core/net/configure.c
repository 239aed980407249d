/* SPDX-License-Identifier: MIT */
/* Gives the interfaces their addresses: those of the command line (config.h), or what DHCP, router
 * advertisements and DHCPv6 say, which also bring name servers. Guarded by the network lock. */
#include <linux/errno.h>

#include "core/lib/log.h"
#include "core/lib/string.h"
#include "core/net/config.h"
#include "core/net/inet.h"
#include "core/net/lwip/hooks.h"
#include "core/options.h"
#include "core/sched/sched.h"
#include "core/time/clock.h"
#include "lwip/dhcp.h"
#include "lwip/dhcp6.h"
#include "lwip/ip.h"

#define DHCP_PATIENCE_NS 10000000000ull /* the program starts without an address after this */

#define SERVERS_MAX (LWIP_DHCP6_DNS_FIRST + DNS_MAX_SERVERS)

static ip_addr_t servers[SERVERS_MAX]; /* what was announced */
static ip6_addr_t gateway6;
static struct wait_queue address_queue; /* notified when an address comes */

/* --- name servers
 * ---------------------------------------------------------------------------------
 */

/* Router advertisements and DHCPv6 may name the same server. */
static bool is_known_before(unsigned index)
{
    for (unsigned i = 0; i < index; i++) {
        if (ip_addr_eq(&servers[i], &servers[index])) {
            return true;
        }
    }
    return false;
}

static void report_servers(int family)
{
    struct net_address list[SERVERS_MAX];
    unsigned count = 0;
    for (unsigned i = 0; i < SERVERS_MAX; i++) {
        if (ip_addr_isany(&servers[i]) || IP_IS_V6(&servers[i]) != (family == AF_INET6) ||
            is_known_before(i)) {
            continue;
        }
        list[count].family = (uint8_t)family;
        memcpy(list[count++].bytes,
               family == AF_INET ? (const void *)&ip_2_ip4(&servers[i])->addr
                                 : (const void *)ip_2_ip6(&servers[i])->addr,
               family == AF_INET ? 4 : 16);
    }
    resolver_update(netif_default != NULL ? netif_get_index(netif_default) : 0, family, list,
                    count);
}

void dns_setserver(uint8_t index, const struct ip_addr *address)
{
    ip_addr_t none = {0};
    if (index >= SERVERS_MAX) {
        return;
    }
    int before = IP_IS_V6(&servers[index]) ? AF_INET6 : AF_INET;
    servers[index] = address != NULL ? *address : none;
    int after = IP_IS_V6(&servers[index]) ? AF_INET6 : AF_INET;
    report_servers(before);
    if (after != before) {
        report_servers(after);
    }
}

const struct ip_addr *dns_getserver(uint8_t index)
{
    static const ip_addr_t none;
    return index < SERVERS_MAX ? &servers[index] : &none;
}

/* --- interfaces
 * -----------------------------------------------------------------------------------
 */

static ip4_addr_t to_ip4(const struct net_address *address)
{
    ip4_addr_t ip = {0};
    if (address->family == AF_INET) {
        memcpy(&ip.addr, address->bytes, 4);
    }
    return ip;
}

static void set_ip6(struct netif *netif)
{
    s8_t index;
    ip6_addr_t address = {0};
    memcpy(address.addr, net_config.ip6.address.bytes, 16);
    ip6_addr_assign_zone(&address, IP6_UNICAST, netif);
    if (netif_get_ip6_addr_match(netif, &address) >= 0 ||
        netif_add_ip6_address(netif, &address, &index) != ERR_OK) {
        return;
    }
    /* Whoever writes an address down answers for it: no search for duplicates, which takes a
     * second. */
    netif_ip6_addr_set_state(netif, index, IP6_ADDR_PREFERRED);
    memcpy(gateway6.addr, net_config.ip6.gateway.bytes, 16);
    ip6_addr_assign_zone(&gateway6, IP6_UNICAST, netif);
}

const struct ip6_addr *core_net_gateway6(struct netif *netif)
{
    return netif == netif_default && net_config.ip6.addressing == NET_STATIC &&
                   net_config.ip6.gateway.family == AF_INET6
               ? &gateway6
               : NULL;
}

void net_configure(struct net_interface *interface)
{
    struct netif *netif = &interface->netif;
    bool first = netif == netif_default; /* the words are for this one; the others ask */
    enum net_addressing ip = first ? net_config.ip.addressing : NET_AUTOMATIC;
    enum net_addressing ip6 = first ? net_config.ip6.addressing : NET_AUTOMATIC;
    netif_set_hostname(netif, options.hostname);
    if (ip == NET_STATIC) {
        unsigned bits = net_config.ip.prefix_length;
        ip4_addr_t address = to_ip4(&net_config.ip.address);
        ip4_addr_t gateway = to_ip4(&net_config.ip.gateway);
        ip4_addr_t mask = {bits == 0 ? 0 : lwip_htonl(UINT32_MAX << (32 - bits))};
        netif_set_addr(netif, &address, &mask, &gateway);
    } else if (ip == NET_AUTOMATIC) {
        dhcp_start(netif);
    }
    if (ip6 == NET_STATIC) {
        set_ip6(netif);
    } else if (ip6 == NET_AUTOMATIC) {
        netif_set_ip6_autoconfig_enabled(netif, 1);
        dhcp6_enable_stateless(netif);
    }
}

void net_address_changed(struct netif *netif)
{
    const struct net_interface *interface = net_interface_of(netif);
    if (interface != NULL && !ip4_addr_isany_val(*netif_ip4_addr(netif))) {
        char text[IP4ADDR_STRLEN_MAX];
        ip4addr_ntoa_r(netif_ip4_addr(netif), text, sizeof(text));
        log_info("%s: address %s", interface->device->name, text);
    }
    wait_queue_notify(&address_queue, 0);
    net_timers_recheck();
}

/* Whether DHCP has given what the program needs to begin, or is not to. */
static bool has_address(void)
{
    net_lock();
    const struct netif *netif = netif_default;
    bool wanted = net_config.ip.addressing == NET_AUTOMATIC && netif != NULL &&
                  net_interface_of(netif) != NULL && netif_is_link_up(netif);
    bool has = !wanted || !ip4_addr_isany_val(*netif_ip4_addr(netif));
    net_unlock();
    return has;
}

void net_await_address(void)
{
    if (wait_event(&address_queue, deadline_after(DHCP_PATIENCE_NS), has_address()) == -ETIMEDOUT) {
        log_warn("no DHCP server has answered: the program starts without an address");
    }
}

void net_configure_init(void)
{
    wait_queue_init(&address_queue);
}
