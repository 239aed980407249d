/* SPDX-License-Identifier: MIT */
/* lwIP's cyclic timers without a tick. One timer of core/time is armed for the earliest of those
 * that are needed: each says so itself, from the state of its protocol. TCP's clock stops while no
 * connection waits for anything, and is put right when something happens again. Delayed
 * acknowledgements have a deadline each. Guarded by the network lock. */
#include "core/lib/string.h"
#include "core/net/lwip/hooks.h"
#include "core/net/stack.h"
#include "core/net/tcp.h"
#include "core/time/timer.h"
#include "hal.h"
#include "lwip/dhcp.h"
#include "lwip/dhcp6.h"
#include "lwip/etharp.h"
#include "lwip/igmp.h"
#include "lwip/ip4_frag.h"
#include "lwip/ip6_frag.h"
#include "lwip/mld6.h"
#include "lwip/nd6.h"
#include "lwip/priv/tcp_priv.h"
#include "lwip/prot/dhcp.h"
#include "lwip/timeouts.h"

#define MS 1000000ull
#define NEVER UINT64_MAX

static struct timer timer;
static uint64_t armed = NEVER; /* what the timer waits for; it may be earlier than needed */
bool net_timers_changed = true;

static void expired(struct timer *unused)
{
    (void)unused;
    net_request(NET_WORK_TIMERS);
}

/* --- TCP
 * ------------------------------------------------------------------------------------------
 */

#define TICK (TCP_SLOW_INTERVAL * MS)
#define ACK_DELAY (40 * MS) /* Linux's TCP_DELACK_MIN; RFC 9293, 3.8.6.3: less than 500 ms */

static uint64_t tcp_due = NEVER; /* the next tick */
static uint64_t tcp_last;        /* when the last one was due */
static bool tcp_halted;          /* no tick until tcp_due, or until something happens */

/* Ticks of tcp_ticks until the connection needs one, when it does not need all of them. */
static uint32_t idle_ticks(const struct tcp_pcb *pcb)
{
    uint32_t age = tcp_ticks - pcb->tmr;
    uint32_t limit;
    if (pcb->state == TIME_WAIT) {
        limit = 2 * TCP_MSL / TCP_SLOW_INTERVAL;
    } else if (ip_get_option(pcb, SOF_KEEPALIVE) &&
               (pcb->state == ESTABLISHED || pcb->state == CLOSE_WAIT)) {
        limit = (pcb->keep_idle + pcb->keep_cnt_sent * pcb->keep_intvl) / TCP_SLOW_INTERVAL;
    } else {
        return UINT32_MAX;
    }
    return age > limit ? 0 : limit + 1 - age;
}

/* Whether the connection counts every tick. */
static bool is_ticking(const struct tcp_pcb *pcb)
{
    return (pcb->state != ESTABLISHED && pcb->state != CLOSE_WAIT) || pcb->unsent != NULL ||
           pcb->unacked != NULL || pcb->ooseq != NULL || pcb->refused_data != NULL ||
           pcb->persist_backoff != 0 || (pcb->flags & TF_CLOSEPEND) != 0;
}

static void tcp_tick(uint64_t now)
{
    tcp_last = tcp_due;
    tcp_fasttmr();
    tcp_slowtmr();
    uint32_t idle = UINT32_MAX;
    for (struct tcp_pcb *pcb = tcp_active_pcbs; pcb != NULL; pcb = pcb->next) {
        uint32_t ticks = is_ticking(pcb) ? 0 : idle_ticks(pcb);
        idle = ticks < idle ? ticks : idle;
        if (idle == 0) {
            break;
        }
    }
    for (struct tcp_pcb *pcb = tcp_tw_pcbs; pcb != NULL && idle != 0; pcb = pcb->next) {
        uint32_t ticks = idle_ticks(pcb);
        idle = ticks < idle ? ticks : idle;
    }
    tcp_halted = idle > 1;
    if (!tcp_halted) {
        tcp_due += TICK;
        if (tcp_due < now) {
            tcp_due = now + TICK;
        }
    } else {
        tcp_due = idle == UINT32_MAX ? NEVER : tcp_last + idle * TICK;
    }
}

/* Goes on ticking: the ticks that were left out are added to the clock. */
static void tcp_resume(uint64_t now)
{
    uint64_t missed = (now - tcp_last) / TICK;
    tcp_ticks += (u32_t)missed;
    tcp_last += missed * TICK;
    tcp_halted = false;
    tcp_due = now + TICK;
    net_timers_changed = true;
}

/* lwIP has a connection to look after. */
void tcp_timer_needed(void)
{
    if (tcp_due == NEVER || tcp_halted) {
        tcp_resume(hal_clock_monotonic());
    }
}

void net_timers_wake(void)
{
    if (tcp_halted) {
        tcp_resume(hal_clock_monotonic());
    }
}

/* Connections in the order of their deadlines. One whose acknowledgement has gone out with data
 * stays until its deadline: the next that is delayed moves it to the end. */
static struct list delayed = LIST_INIT(delayed);
static uint64_t ack_due = NEVER; /* not later than the first deadline */

void core_net_ack_delayed(struct tcp_pcb *pcb)
{
    struct tcp_entry *entry = tcp_entry_of(pcb);
    entry->ack_due = hal_clock_monotonic() + ACK_DELAY;
    list_remove(&entry->delayed);
    if (list_empty(&delayed)) {
        ack_due = entry->ack_due;
        net_timers_changed = true;
    }
    list_push_back(&delayed, &entry->delayed);
}

static void acknowledge(uint64_t now)
{
    ack_due = NEVER;
    while (!list_empty(&delayed)) {
        struct tcp_entry *entry = list_entry(delayed.next, struct tcp_entry, delayed);
        struct tcp_pcb *pcb = entry->pcb;
        bool waits = (pcb->flags & TF_ACK_DELAY) != 0;
        if (waits && entry->ack_due > now) {
            ack_due = entry->ack_due;
            break;
        }
        list_remove(&entry->delayed);
        if (waits) {
            tcp_send_empty_ack(pcb); /* without memory it is delayed again */
        }
    }
}

/* --- the others
 * -----------------------------------------------------------------------------------
 */

static bool has_device(void)
{
    for (struct netif *netif = netif_list; netif != NULL; netif = netif->next) {
        if (net_interface_of(netif) != NULL) {
            return true;
        }
    }
    return false;
}

static bool dhcp_negotiates(void)
{
    for (struct netif *netif = netif_list; netif != NULL; netif = netif->next) {
        const struct dhcp *dhcp = netif_dhcp_data(netif);
        if (dhcp != NULL && dhcp->state != DHCP_STATE_OFF && dhcp->state != DHCP_STATE_BOUND) {
            return true;
        }
    }
    return false;
}

static bool dhcp6_negotiates(void)
{
    for (struct netif *netif = netif_list; netif != NULL; netif = netif->next) {
        const struct dhcp6 *dhcp6 = netif_dhcp6_data(netif);
        if (dhcp6 != NULL && dhcp6->request_timeout != 0) {
            return true;
        }
    }
    return false;
}

static bool group_reports(void)
{
    for (struct netif *netif = netif_list; netif != NULL; netif = netif->next) {
        for (struct igmp_group *group = netif_igmp_data(netif); group != NULL;
             group = group->next) {
            if (group->timer != 0) {
                return true;
            }
        }
        for (struct mld_group *group = netif_mld6_data(netif); group != NULL; group = group->next) {
            if (group->timer != 0) {
                return true;
            }
        }
    }
    return false;
}

static void every_second(void)
{
    ip_reass_tmr();
    ip6_reass_tmr();
    etharp_tmr();
    nd6_tmr();
    dhcp_coarse_tmr();
}

static void group_timers(void)
{
    igmp_tmr();
    mld6_tmr();
}

static struct cycle {
    void (*run)(void);
    bool (*needed)(void);
    uint32_t period; /* ms */
    uint64_t due;    /* NEVER: not needed */
} cycles[] = {
    {every_second, has_device, 1000, NEVER},
    {group_timers, group_reports, IGMP_TMR_INTERVAL, NEVER},
    {dhcp_fine_tmr, dhcp_negotiates, DHCP_FINE_TIMER_MSECS, NEVER},
    {dhcp6_tmr, dhcp6_negotiates, DHCP6_TIMER_MSECS, NEVER},
};

_Static_assert(IP_TMR_INTERVAL == 1000 && ARP_TMR_INTERVAL == 1000 && ND6_TMR_INTERVAL == 1000 &&
                   IP6_REASS_TMR_INTERVAL == 1000 && DHCP_COARSE_TIMER_MSECS == 1000 &&
                   IGMP_TMR_INTERVAL == MLD6_TMR_INTERVAL,
               "timers that run together");

static uint64_t cycles_due = NEVER; /* the earliest */
static bool recheck;                /* one that was not needed may be now */

void net_timers_recheck(void)
{
    recheck = net_timers_changed = true;
}

void net_timers_run(void)
{
    uint64_t now = hal_clock_monotonic();
    net_timers_changed = true;
    if (armed <= now) {
        armed = NEVER;
    }
    if (tcp_due <= now && tcp_halted) {
        tcp_resume(now);
    } else if (tcp_due <= now) {
        tcp_tick(now);
    }
    if (ack_due <= now) {
        acknowledge(now);
    }
    for (unsigned i = 0; i < sizeof(cycles) / sizeof(cycles[0]); i++) {
        if (cycles[i].due <= now) {
            cycles[i].due = NEVER;
            cycles[i].run();
            recheck = true;
        }
    }
}

void net_timers_arm(void)
{
    net_timers_changed = false;
    if (recheck) {
        recheck = false;
        uint64_t now = hal_clock_monotonic();
        cycles_due = NEVER;
        for (unsigned i = 0; i < sizeof(cycles) / sizeof(cycles[0]); i++) {
            struct cycle *cycle = &cycles[i];
            if (cycle->due == NEVER && cycle->needed()) {
                cycle->due = now + cycle->period * MS;
            }
            cycles_due = cycle->due < cycles_due ? cycle->due : cycles_due;
        }
    }
    uint64_t next = tcp_due < cycles_due ? tcp_due : cycles_due;
    next = ack_due < next ? ack_due : next;
    if (next < armed) {
        armed = next;
        timer_arm(&timer, next);
    }
}

void net_timers_init(void)
{
    timer_init(&timer, expired);
    tcp_last = hal_clock_monotonic();
}

void sys_timeouts_init(void)
{
}
