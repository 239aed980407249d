/* SPDX-License-Identifier: MIT */
/* What the files of the inet families share: the network lock, timers, interfaces. lwIP and all
 * that hangs on it (its control blocks, the interfaces, the inet sockets' state but where it says
 * otherwise) is touched with the network lock held. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/sched/sched.h"
#include "lwip/ip_addr.h"
#include "lwip/netif.h"
#include "netdev.h"

/* Takes the network lock, with interrupts as they are. Thread context; LOCK_NET and above not held.
 * Nothing that may sleep or touches the program's memory is done while it is held. */
void net_lock(void);

/* Does what has come up meanwhile (received frames, timers, packets to this machine itself), has
 * the devices send, and lets go. */
void net_unlock(void);

/* Work for whoever holds the lock, or for the caller when nobody does. Any context. */
enum net_work {
    NET_WORK_DEVICES = 1, /* a device has something to be polled */
    NET_WORK_TIMERS = 2,  /* a timer may be due */
};
void net_request(enum net_work work);

/* Sleeps (`how`: as thread_prepare_sleep) until `condition` holds, which is called with the lock
 * held whenever something may have changed: 0, -ETIMEDOUT, -EINTR. Not for what changes often: it
 * is work for every packet. Thread context, no lock held. */
int net_wait(enum thread_state how, uint64_t deadline, bool (*condition)(void *), void *context);

/* Whether memory is so short that no more is to be queued. Any context. */
bool net_memory_is_short(void);

/* --- timers.c: lwIP's cyclic timers, on one timer of core/time. Network lock held. */

void net_timers_init(void);
void net_timers_run(void);

/* Before lwIP is told of anything: brings TCP's clock up to date if it had been stopped. */
void net_timers_wake(void);

/* Something has happened that may make a timer needed: a packet that is neither TCP nor UDP, a
 * change of an interface. */
void net_timers_recheck(void);

/* Arms the timer for what is due next, after that has become earlier. */
extern bool net_timers_changed;
void net_timers_arm(void);

/* --- device.c: network devices as lwIP's interfaces. Network lock held but where it says
 * otherwise.
 */

struct net_interface {
    struct netif netif;
    struct netdev *device;
    uint64_t polled; /* bit per queue that has something to poll; atomic */
    uint64_t flush;  /* bit per transmit queue that holds frames the device has not been told of */
    struct net_backlog *backlog;       /* per queue: frames that the device had no room for */
    unsigned in_flight;                /* frames that the device has and has not given back */
    bool link_changed;                 /* atomic */
    uint32_t carrier_up, carrier_down; /* changes of the link */
};

/* What each CPU has done in polling: frames received, and how often it left off with more to do. */
extern struct net_poll_count {
    uint64_t frames, squeezed;
} net_poll_counts[HAL_MAX_CPUS];

/* The interface behind one of lwIP's, or NULL for loopback. */
struct net_interface *net_interface_of(const struct netif *netif);

/* Whether the device has one of the NETDEV_ features. */
bool net_device_has(const struct net_interface *interface, uint32_t feature);

/* Brings up the devices that have been found; once. */
void net_devices_start(void);

/* The next net_devices_poll takes back what the devices have sent. They keep it until they are
 * polled (netdev.h, enable_interrupt), and what they have TCP does not send again. */
void net_devices_reclaim(void);

/* Polls what has asked for it. Whether it may have left something. */
bool net_devices_poll(void);

/* Tells the devices of the frames that they have got, if there are any. */
extern bool net_devices_to_flush;
void net_devices_flush(void);

/* Delivers packets that this machine has sent to itself. Whether it has left some.
 * core_net_loopback (core/net/lwip/arch/cc.h) says that there may be some. */
bool net_loopback_poll(void);

/* Has the devices say when they have sent what they were given. Whether all has gone. */
bool net_devices_drain(void);

/* Whether datagrams wait for room in a device: no more are taken then, and net_backlog_gone is
 * called when they are gone (udp.c). */
bool net_device_congested(void);
void net_backlog_gone(void);

/* --- configure.c */

void net_configure_init(void);

/* A new interface, or one whose cable was plugged in: addresses by the words of the command line.
 */
void net_configure(struct net_interface *interface);

/* An address of the interface has come or gone. */
void net_address_changed(struct netif *netif);

/* Waits until DHCP has given an address, if it is to. The network lock is not held. */
void net_await_address(void);

/* What the machine has sent to itself by `lo`. Net lock. */
extern struct net_loopback_count {
    uint64_t packets, bytes;
} net_loopback_count;
