/* SPDX-License-Identifier: MIT */
/* Network devices as core sees them: virtio-net and Xen's netfront look the same from here. The
 * platform finds the devices and calls core_netdev_found for each; core calls the operations. All
 * memory that goes through here lies in the direct map (page_alloc, kmalloc). */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* What a device does for its user. */
enum netdev_features {
    NETDEV_TX_CHECKSUM = 1, /* completes TCP and UDP checksums */
    NETDEV_TX_TSO4 = 2,     /* cuts large TCP segments, over IPv4 */
    NETDEV_TX_TSO6 = 4,     /* and over IPv6 */
    NETDEV_RX_CHECKSUM = 8, /* frames come with NET_CHECKSUM_GOOD where the device has looked */
    NETDEV_RX_LARGE = 16,   /* frames larger than the MTU come in: the sender's TSO, or merged */
};

enum net_checksum {
    NET_CHECKSUM_NONE,    /* receive: nobody has looked. Transmit: the frame is complete */
    NET_CHECKSUM_GOOD,    /* receive: the device has found it right */
    NET_CHECKSUM_PARTIAL, /* transmit: the field holds the pseudo header's sum, the device does the
                             rest. Receive: the sender left it so, since no wire was in between */
};

/* What is to be done, or was done, beside moving bytes. Zero: nothing. */
struct net_offload {
    uint8_t checksum;         /* enum net_checksum */
    uint8_t segment_version;  /* 4 or 6: the device cuts the frame's TCP segment; 0: it does not */
    uint16_t segment_size;    /* TCP payload in each piece, bytes */
    uint16_t header_length;   /* Ethernet, IP and TCP headers, bytes; with segment_version */
    uint16_t checksum_start;  /* where the summed bytes begin, from the frame's start; PARTIAL */
    uint16_t checksum_offset; /* from there to the field */
};

/* A piece of a frame. */
struct net_segment {
    void *data;
    uint32_t length;
};

/* The most pieces that a frame to be sent may have: 64 KiB in pages that are not aligned, with its
 * headers. */
#define NET_MAX_SEGMENTS 19

/* A received piece of a frame, on loan: the driver's until it hands it over, then core's until it
 * calls `release` (any context). The pieces of a frame hang together by `next`. */
struct net_buffer {
    struct net_buffer *next;
    void *data;
    uint32_t length;
    void (*release)(struct net_buffer *buffer);
    uint64_t core[10]; /* core's own while it has the buffer */
};

struct netdev;

struct netdev_operations {
    /* Puts a frame into transmit queue `queue`. The memory of the segments stays in use until
     * core_net_transmitted is called with `token` (not NULL). The device learns of it at `flush`.
     * -ENOBUFS: the queue is full; core_net_interrupt is called for it, from here the first time
     * and when there is room. -ENODEV: the device is gone. One caller at a time for each queue,
     * while another may poll; any context. */
    int (*transmit)(struct netdev *device, unsigned queue, const struct net_segment *segments,
                    unsigned count, const struct net_offload *offload, void *token);
    /* Tells the device of what was put into the queue since the last time. Same callers. */
    void (*flush)(struct netdev *device, unsigned queue);
    /* Hands up to `budget` received frames to core_net_receive, and tokens of sent ones to
     * core_net_transmitted: the number of frames received. One caller at a time for each queue; any
     * context. */
    unsigned (*poll)(struct netdev *device, unsigned queue, unsigned budget);
    /* Has the device interrupt when a frame has come, and, if transmit has found no room or much is
     * in flight, when part of that is done; tokens of less come back at the next poll, whatever
     * calls for it. False: there is something to poll already, then the interrupt may not come.
     * After the interrupt it stays off until the next call. Same callers as poll. */
    bool (*enable_interrupt)(struct netdev *device, unsigned queue);
};

struct netdev {
    const struct netdev_operations *operations;
    char name[16]; /* "eth0", ...; core's */
    uint8_t mac[6];
    uint16_t mtu;          /* bytes of an IP packet */
    uint32_t features;     /* NETDEV_ bits; atomic, may change while the link is down */
    uint32_t transmit_max; /* largest frame with segment_version set, bytes; 65550 at most */
    unsigned queue_count;  /* pairs of a receive and a transmit queue, 1 .. HAL_MAX_CPUS */
    unsigned queues_used;  /* the first so many; atomic, may change while the link is down */
    bool link_up;          /* atomic; changes come with core_net_link_changed */
    bool draining; /* set by core for good, atomic: enable_interrupt has the device interrupt
                      whatever little is in flight */
    struct {       /* counted by the driver; frames and bytes; atomic */
        uint64_t rx_frames, rx_bytes, rx_dropped, rx_errors;
        uint64_t tx_frames, tx_bytes, tx_dropped, tx_errors;
    } statistics;
    void *core; /* core's own */
};

/* --- what a driver calls in core (core/net) ------------------------------------------------------
 */

/* A device is there and ready for its operations; it stays for ever. Thread context. */
void core_netdev_found(struct netdev *device);

/* Something waits to be polled in the queue, or transmit has found no room: poll and
 * enable_interrupt are to be called, not from here. From the interrupt handler, and from inside of
 * transmit. */
void core_net_interrupt(struct netdev *device, unsigned queue);

/* From poll only. The frame begins with its Ethernet header. */
void core_net_receive(struct netdev *device, struct net_buffer *frame,
                      const struct net_offload *offload);
void core_net_transmitted(struct netdev *device, void *token);

/* link_up has changed, and with it perhaps `mac`. Any context. */
void core_net_link_changed(struct netdev *device);
