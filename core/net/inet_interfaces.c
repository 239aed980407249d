/* SPDX-License-Identifier: MIT */
/* The network's beginning, and its interfaces, routes and sockets as programs are shown them
 * (interface.h). What is shown is lwIP's; guarded by the network lock. */
#include "core/net/net.h"

#include <linux/in.h>
#include <linux/neighbour.h>
#include <linux/rtnetlink.h>

#include "core/lib/string.h"
#include "core/net/families.h"
#include "core/net/inet.h"
#include "core/net/interface.h"
#include "core/net/tcp.h"
#include "lwip/dhcp.h"
#include "lwip/etharp.h"
#include "lwip/igmp.h"
#include "lwip/init.h"
#include "lwip/ip.h"
#include "lwip/mld6.h"
#include "lwip/priv/nd6_priv.h"
#include "lwip/priv/tcp_priv.h"
#include "lwip/udp.h"

#define LOOPBACK_MTU 65535

/* netdevice(7). */
enum {
    IFF_UP = 1,
    IFF_BROADCAST = 2,
    IFF_LOOPBACK = 8,
    IFF_RUNNING = 0x40,
    IFF_MULTICAST = 0x1000,
    IFF_LOWER_UP = 0x10000,
    ARPHRD_ETHER = 1,
    ARPHRD_LOOPBACK = 772,
};

/* --- interfaces
 * -----------------------------------------------------------------------------------
 */

static uint8_t prefix_of(const ip4_addr_t *mask)
{
    uint32_t bits = lwip_ntohl(mask->addr);
    return bits == UINT32_MAX ? 32 : (uint8_t)__builtin_clz(~bits);
}

static void copy_addresses(struct netif *netif, struct interface *out)
{
    bool loopback = net_interface_of(netif) == NULL;
    if (!ip4_addr_isany_val(*netif_ip4_addr(netif))) {
        struct interface_address *address = &out->addresses[out->address_count++];
        *address = (struct interface_address){
            .family = AF_INET,
            .prefix_length = prefix_of(netif_ip4_netmask(netif)),
            .scope = loopback ? RT_SCOPE_HOST : RT_SCOPE_UNIVERSE,
            .permanent = !dhcp_supplied_address(netif),
            .valid_seconds = UINT32_MAX,
            .preferred_seconds = UINT32_MAX,
        };
        memcpy(address->bytes, &netif_ip4_addr(netif)->addr, 4);
    }
    for (int i = 0; i < LWIP_IPV6_NUM_ADDRESSES && out->address_count < INTERFACE_ADDRESSES; i++) {
        uint8_t state = netif_ip6_addr_state(netif, i);
        if (ip6_addr_isinvalid(state)) {
            continue;
        }
        const ip6_addr_t *ip = netif_ip6_addr(netif, i);
        struct interface_address *address = &out->addresses[out->address_count++];
        *address = (struct interface_address){
            .family = AF_INET6,
            .prefix_length = loopback ? 128 : 64,
            .scope = loopback                   ? RT_SCOPE_HOST
                     : ip6_addr_islinklocal(ip) ? RT_SCOPE_LINK
                                                : RT_SCOPE_UNIVERSE,
            .permanent = netif_ip6_addr_isstatic(netif, i),
            .tentative = ip6_addr_istentative(state),
            .valid_seconds = netif_ip6_addr_isstatic(netif, i)
                                 ? UINT32_MAX
                                 : netif_ip6_addr_valid_life(netif, i),
            .preferred_seconds =
                netif_ip6_addr_isstatic(netif, i) ? UINT32_MAX : netif_ip6_addr_pref_life(netif, i),
        };
        memcpy(address->bytes, ip->addr, 16);
    }
}

static bool next_interface(int index, struct interface *out)
{
    struct netif *found = NULL;
    net_lock();
    for (struct netif *netif = netif_list; netif != NULL; netif = netif->next) {
        int number = netif_get_index(netif);
        if (number >= index && (found == NULL || number < netif_get_index(found))) {
            found = netif;
        }
    }
    if (found != NULL) {
        const struct net_interface *interface = net_interface_of(found);
        *out = (struct interface){.index = netif_get_index(found), .mtu = found->mtu};
        if (interface == NULL) {
            memcpy(out->name, "lo", 3);
            out->flags = IFF_UP | IFF_LOOPBACK | IFF_RUNNING | IFF_LOWER_UP;
            out->hardware = ARPHRD_LOOPBACK;
            out->statistics.rx_frames = out->statistics.tx_frames = net_loopback_count.packets;
            out->statistics.rx_bytes = out->statistics.tx_bytes = net_loopback_count.bytes;
        } else {
            const struct netdev *device = interface->device;
            memcpy(out->name, device->name, sizeof(out->name));
            out->flags = IFF_UP | IFF_BROADCAST | IFF_MULTICAST |
                         (netif_is_link_up(found) ? (uint32_t)(IFF_RUNNING | IFF_LOWER_UP) : 0);
            out->hardware = ARPHRD_ETHER;
            out->carrier_up = interface->carrier_up;
            out->carrier_down = interface->carrier_down;
            memcpy(out->mac, device->mac, sizeof(out->mac));
            out->queue_length = 1000;
            _Static_assert(sizeof(out->statistics) == sizeof(device->statistics), "same fields");
            memcpy(&out->statistics, &device->statistics, sizeof(out->statistics));
        }
        copy_addresses(found, out);
    }
    net_unlock();
    return found != NULL;
}

/* --- routes
 * ---------------------------------------------------------------------------------------
 */

static void copy_gateway(struct netif *netif, struct interface_route *out)
{
    *out = (struct interface_route){
        .family = AF_INET,
        .protocol = dhcp_supplied_address(netif) ? RTPROT_DHCP : RTPROT_BOOT,
        .scope = RT_SCOPE_UNIVERSE,
        .has_gateway = true,
        .interface = netif_get_index(netif),
    };
    memcpy(out->gateway, &netif_ip4_gw(netif)->addr, 4);
}

static void copy_subnet(struct netif *netif, struct interface_route *out)
{
    uint32_t subnet = netif_ip4_addr(netif)->addr & netif_ip4_netmask(netif)->addr;
    *out = (struct interface_route){
        .family = AF_INET,
        .prefix_length = prefix_of(netif_ip4_netmask(netif)),
        .protocol = RTPROT_KERNEL,
        .scope = net_interface_of(netif) == NULL ? RT_SCOPE_HOST : RT_SCOPE_LINK,
        .has_source = true,
        .interface = netif_get_index(netif),
    };
    memcpy(out->destination, &subnet, 4);
    memcpy(out->source, &netif_ip4_addr(netif)->addr, 4);
}

static void copy_prefix(struct netif *netif, int index, struct interface_route *out)
{
    bool loopback = net_interface_of(netif) == NULL;
    *out = (struct interface_route){
        .family = AF_INET6,
        .prefix_length = loopback ? 128 : 64,
        .protocol = RTPROT_KERNEL,
        .scope = RT_SCOPE_UNIVERSE,
        .metric = 256,
        .interface = netif_get_index(netif),
    };
    memcpy(out->destination, netif_ip6_addr(netif, index)->addr, loopback ? 16 : 8);
}

static void copy_router(const struct nd6_neighbor_cache_entry *router, struct interface_route *out)
{
    *out = (struct interface_route){
        .family = AF_INET6,
        .protocol = RTPROT_RA,
        .scope = RT_SCOPE_UNIVERSE,
        .has_gateway = true,
        .metric = 1024,
        .interface = netif_get_index(router->netif),
    };
    memcpy(out->gateway, router->next_hop_address.addr, 16);
}

static bool next_route(unsigned position, struct interface_route *out)
{
    bool found = false;
    net_lock();
    for (struct netif *netif = netif_list; netif != NULL && !found; netif = netif->next) {
        if (netif == netif_default && !ip4_addr_isany_val(*netif_ip4_gw(netif)) &&
            net_interface_of(netif) != NULL && position-- == 0) {
            copy_gateway(netif, out);
            found = true;
        } else if (!ip4_addr_isany_val(*netif_ip4_addr(netif)) && position-- == 0) {
            copy_subnet(netif, out);
            found = true;
        }
        for (int i = 0; i < LWIP_IPV6_NUM_ADDRESSES && !found; i++) {
            if (!ip6_addr_isinvalid(netif_ip6_addr_state(netif, i)) && position-- == 0) {
                copy_prefix(netif, i, out);
                found = true;
            }
        }
    }
    for (int i = 0; i < LWIP_ND6_NUM_ROUTERS && !found; i++) {
        if (default_router_list[i].neighbor_entry != NULL && position-- == 0) {
            copy_router(default_router_list[i].neighbor_entry, out);
            found = true;
        }
    }
    net_unlock();
    return found;
}

/* --- multicast groups
 * --------------------------------------------------------------------------------------
 */

static void copy_group(const struct netif *netif, const ip_addr_t *ip, unsigned users,
                       struct interface_group *out)
{
    *out = (struct interface_group){
        .interface = netif_get_index(netif),
        .family = IP_IS_V6(ip) ? AF_INET6 : AF_INET,
        .users = users,
    };
    if (IP_IS_V6(ip)) {
        memcpy(out->bytes, ip_2_ip6(ip)->addr, 16);
    } else {
        memcpy(out->bytes, &ip_2_ip4(ip)->addr, 4);
    }
}

static bool next_group(unsigned position, struct interface_group *out)
{
    bool found = false;
    net_lock();
    for (struct netif *netif = netif_list; netif != NULL && !found; netif = netif->next) {
        /* lwIP receives these without a membership. */
        static const ip_addr_t nodes[] = {IPADDR6_INIT_HOST(0xff020000, 0, 0, 1),
                                          IPADDR6_INIT_HOST(0xff010000, 0, 0, 1)};
        const unsigned count = sizeof(nodes) / sizeof(nodes[0]);
        if (position < count) {
            copy_group(netif, &nodes[position], 1, out);
            found = true;
            break;
        }
        position -= count;
        for (struct igmp_group *group = netif_igmp_data(netif); group != NULL && !found;
             group = group->next) {
            if (position-- == 0) {
                ip_addr_t ip = IPADDR4_INIT(group->group_address.addr);
                copy_group(netif, &ip, LWIP_MAX(group->use, 1u), out);
                found = true;
            }
        }
        for (struct mld_group *group = netif_mld6_data(netif); group != NULL && !found;
             group = group->next) {
            if (position-- == 0) {
                ip_addr_t ip;
                ip_addr_copy_from_ip6(ip, group->group_address);
                copy_group(netif, &ip, LWIP_MAX(group->use, 1u), out);
                found = true;
            }
        }
    }
    net_unlock();
    return found;
}

/* --- neighbours ------------------------------------------------------------------------------- */

/* Entry `index` of lwIP's table of ARP. */
static bool copy_neighbour4(size_t index, struct interface_neighbour *out)
{
    ip4_addr_t *ip;
    struct netif *netif;
    struct eth_addr *mac;
    bool known = etharp_get_entry(index, &ip, &netif, &mac) != 0;
    if (!known && !etharp_get_pending(index, &ip, &netif)) {
        return false;
    }
    *out = (struct interface_neighbour){
        .interface = netif_get_index(netif),
        .family = AF_INET,
        .has_mac = known,
        .state = known ? NUD_REACHABLE : NUD_INCOMPLETE,
    };
    memcpy(out->bytes, &ip->addr, 4);
    if (known) {
        memcpy(out->mac, mac->addr, sizeof(out->mac));
    }
    return true;
}

static bool copy_neighbour6(size_t index, struct interface_neighbour *out)
{
    static const uint16_t states[] = {
        [ND6_INCOMPLETE] = NUD_INCOMPLETE, [ND6_REACHABLE] = NUD_REACHABLE, [ND6_STALE] = NUD_STALE,
        [ND6_DELAY] = NUD_DELAY,           [ND6_PROBE] = NUD_PROBE,
    };
    const struct nd6_neighbor_cache_entry *entry = &neighbor_cache[index];
    if (entry->state == ND6_NO_ENTRY) {
        return false;
    }
    *out = (struct interface_neighbour){
        .interface = netif_get_index(entry->netif),
        .family = AF_INET6,
        .has_mac = entry->state != ND6_INCOMPLETE,
        .router = entry->isrouter,
        .state = states[entry->state],
    };
    memcpy(out->bytes, entry->next_hop_address.addr, 16);
    if (out->has_mac) {
        memcpy(out->mac, entry->lladdr, sizeof(out->mac));
    }
    return true;
}

static bool next_neighbour(unsigned position, struct interface_neighbour *out)
{
    bool found = false;
    net_lock();
    for (size_t i = 0; i < ARP_TABLE_SIZE && !found; i++) {
        found = copy_neighbour4(i, out) && position-- == 0;
    }
    for (size_t i = 0; i < LWIP_ND6_NUM_NEIGHBORS && !found; i++) {
        found = copy_neighbour6(i, out) && position-- == 0;
    }
    net_unlock();
    return found;
}

/* --- sockets
 * --------------------------------------------------------------------------------------
 */

static void copy_end(int family, const ip_addr_t *ip, uint8_t bytes[16])
{
    memset(bytes, 0, 16);
    if (family == AF_INET) {
        memcpy(bytes, &ip_2_ip4(ip)->addr, 4);
    } else if (IP_IS_V4(ip)) {
        uint32_t mapped[4] = {0, 0, PP_HTONL(0xffff), ip_2_ip4(ip)->addr};
        memcpy(bytes, mapped, 16);
    } else {
        memcpy(bytes, ip_2_ip6(ip)->addr, 16);
    }
}

static bool visit_one(int family, struct interface_socket *out, const ip_addr_t *local,
                      const ip_addr_t *remote, interface_visit_fn *visit, void *context)
{
    bool v6 = !IP_IS_V4(local);
    if (v6 != (family == AF_INET6)) {
        return true;
    }
    out->family = (uint8_t)family;
    copy_end(family, local, out->local);
    copy_end(family, remote, out->remote);
    return visit(context, out);
}

static void visit_tcp(int family, interface_visit_fn *visit, void *context)
{
    struct tcp_pcb *lists[] = {tcp_listen_pcbs.pcbs, tcp_active_pcbs, tcp_tw_pcbs};
    static const ip_addr_t none;
    for (unsigned i = 0; i < 3; i++) {
        for (struct tcp_pcb *pcb = lists[i]; pcb != NULL; pcb = pcb->next) {
            bool listens = pcb->state == LISTEN; /* a control block with less in it */
            struct interface_socket out = {
                .protocol = IPPROTO_TCP,
                .state = tcp_linux_state(pcb),
                .local_port = pcb->local_port,
                .remote_port = listens ? 0 : pcb->remote_port,
                .send_queue = listens ? 0 : pcb->snd_lbb - pcb->lastack,
            };
            if (listens || i == 1) {
                tcp_show_socket(pcb, &out);
            }
            if (!visit_one(family, &out, &pcb->local_ip, listens ? &none : &pcb->remote_ip, visit,
                           context)) {
                return;
            }
        }
    }
}

static void visit_sockets(int family, int protocol, interface_visit_fn *visit, void *context)
{
    net_lock();
    if (protocol == IPPROTO_TCP) {
        visit_tcp(family, visit, context);
    } else if (protocol == IPPROTO_UDP) {
        for (struct udp_pcb *pcb = udp_pcbs; pcb != NULL; pcb = pcb->next) {
            struct interface_socket out = {
                .protocol = IPPROTO_UDP,
                .state = tcp_linux_state(NULL),
                .local_port = pcb->local_port,
                .remote_port = pcb->remote_port,
            };
            datagram_show_socket(pcb, &out);
            if (!visit_one(family, &out, &pcb->local_ip, &pcb->remote_ip, visit, context)) {
                break;
            }
        }
    }
    net_unlock();
}

/* --- the beginning
 * --------------------------------------------------------------------------------
 */

void inet_start(void)
{
    static const struct interface_source source = {next_interface, next_route, next_group,
                                                   next_neighbour, visit_sockets};
    net_lock();
    net_timers_init();
    net_configure_init();
    tcp_table_init();
    lwip_init();
    struct netif *loopback = netif_list;
    loopback->mtu = LOOPBACK_MTU;
    loopback->mtu6 = LOOPBACK_MTU;
    netif_set_link_up(loopback);
    /* lwip_init starts it before it knows which group all systems belong to. */
    igmp_stop(loopback);
    igmp_start(loopback);
    datagram_init();
    net_devices_start();
    net_unlock();
    inet_register();
    interface_register(&source);
    net_await_address();
}
