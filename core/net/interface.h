/* SPDX-License-Identifier: MIT */
/* Network interfaces as programs are shown them: rtnetlink, the interface ioctls, /proc/net and
 * /sys/class/net read them through here. The live ones are the IP side's, which registers itself as
 * the source; before that there are none. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct interface_address {
    uint8_t family;                            /* AF_INET, AF_INET6 */
    uint8_t prefix_length;                     /* bits */
    uint8_t scope;                             /* RT_SCOPE_ of rtnetlink(7) */
    bool permanent;                            /* not from DHCP or a router */
    bool tentative;                            /* duplicate address detection goes on */
    uint8_t bytes[16];                         /* network order */
    uint32_t valid_seconds, preferred_seconds; /* UINT32_MAX: for ever */
};

struct interface_route {
    uint8_t family;
    uint8_t prefix_length; /* of the destination; 0: the default route */
    uint8_t protocol;      /* RTPROT_ */
    uint8_t scope;         /* RT_SCOPE_ */
    bool has_gateway, has_source;
    uint8_t destination[16], gateway[16], source[16];
    uint32_t metric;
    int interface; /* index */
};

#define INTERFACE_ADDRESSES 12

struct interface {
    int index; /* from 1; 1 is lo */
    char name[16];
    uint32_t flags;        /* IFF_ of netdevice(7) */
    uint16_t hardware;     /* ARPHRD_ */
    uint8_t mac[6];        /* zeroes for lo */
    uint32_t mtu;          /* bytes */
    uint32_t queue_length; /* frames */
    struct {               /* frames and bytes */
        uint64_t rx_frames, rx_bytes, rx_dropped, rx_errors;
        uint64_t tx_frames, tx_bytes, tx_dropped, tx_errors;
    } statistics;
    uint32_t carrier_up, carrier_down; /* how often the cable was plugged in, and pulled */
    unsigned address_count;
    struct interface_address addresses[INTERFACE_ADDRESSES];
};

/* A socket as /proc/net shows it. */
struct interface_socket {
    uint8_t family, protocol; /* AF_, IPPROTO_ */
    uint8_t state;            /* as in Linux's include/net/tcp_states.h */
    uint8_t local[16], remote[16];
    uint16_t local_port, remote_port; /* host order */
    uint32_t send_queue, receive_queue;
    uint64_t inode;
};

/* A multicast group that an interface receives. */
struct interface_group {
    int interface; /* index */
    uint8_t family;
    uint8_t bytes[16]; /* network order */
    unsigned users;    /* who have joined it, the kernel counted */
};

/* What is known of the link-layer address of a neighbour. */
struct interface_neighbour {
    int interface; /* index */
    uint8_t family;
    bool has_mac, router;
    uint16_t state;    /* NUD_ of rtnetlink(7) */
    uint8_t bytes[16]; /* network order */
    uint8_t mac[6];
};

typedef bool interface_visit_fn(void *context, const struct interface_socket *socket);

/* Thread context, all of them. */
struct interface_source {
    /* Copies the first interface whose index is not below `index`: false when there is none. */
    bool (*next)(int index, struct interface *out);
    /* Copies route number `position`, counted from 0, of all that a program sees: false when there
     * are no more. */
    bool (*route)(unsigned position, struct interface_route *out);
    /* The same with multicast groups, those of one interface after the other. */
    bool (*group)(unsigned position, struct interface_group *out);
    /* The same with neighbours. */
    bool (*neighbour)(unsigned position, struct interface_neighbour *out);
    /* Calls `visit` for each socket of one family and protocol until it returns false. `visit` does
     * not sleep. */
    void (*sockets)(int family, int protocol, interface_visit_fn *visit, void *context);
};

/* Before the program runs; it stays the caller's and must stay. */
void interface_register(const struct interface_source *source);

bool interface_next(int index, struct interface *out);
bool interface_route(unsigned position, struct interface_route *out);
bool interface_group(unsigned position, struct interface_group *out);
bool interface_neighbour(unsigned position, struct interface_neighbour *out);
void interface_sockets(int family, int protocol, interface_visit_fn *visit, void *context);

/* The interface ioctls of netdevice(7), which any socket takes; -ENOTTY for another command. */
long interface_ioctl(unsigned command, uintptr_t argument);
