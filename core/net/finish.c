/* SPDX-License-Identifier: MIT */
/* The program has ended, and what it has sent may still be here: in TCP's queues, in packets that
 * wait for a neighbour's address, in a device's ring. Owns nothing. */
#include "core/net/net.h"
#include "core/net/stack.h"
#include "core/net/tcp.h"
#include "core/time/clock.h"
#include "lwip/etharp.h"
#include "lwip/priv/nd6_priv.h"

#define PATIENCE_NS 10000000000ull

static bool neighbours_awaited(void)
{
    for (unsigned i = 0; i < LWIP_ND6_NUM_NEIGHBORS; i++) {
        if (neighbor_cache[i].q != NULL) {
            return true;
        }
    }
    return etharp_has_queued() != 0;
}

static bool is_drained(void *unused)
{
    (void)unused;
    bool sent = net_devices_drain();
    return sent && !tcp_has_unacknowledged() && !neighbours_awaited();
}

void net_finish(void)
{
    net_lock();
    tcp_close_all();
    net_unlock();
    net_wait(THREAD_SLEEPING, deadline_after(PATIENCE_NS), is_drained, NULL);
}
