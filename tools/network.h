/* SPDX-License-Identifier: MIT */
/* The guest's network under QEMU: --net, -p and --ip of `run` and `exec`. */
#pragma once

#include "tools/tool.h"

enum network_kind {
    NETWORK_DEFAULT, /* user where the image has the network, else none */
    NETWORK_NONE,
    NETWORK_USER,
    NETWORK_TAP,
};

struct network {
    enum network_kind kind;
    char *tap;              /* the host's interface */
    long queues;            /* of a tap device; 0: one */
    struct arguments ports; /* as given by -p */
    const char *ip;         /* --ip for IPv4; NULL: not given */
};

/* Each takes the value of an option: 0, or -1 after a message. */
int network_parse_kind(struct network *network, const char *value);
int network_parse_port(struct network *network, const char *value);
int network_parse_ip(struct network *network, const char *value, struct arguments *kernel_words);

/* Settles the default for an image that has the network or not, and looks whether what the host is
 * to give is there: ports that are free, the tap device. 0, or -1 after a message. */
int network_check(struct network *network, bool has_network);

/* Adds QEMU's arguments. `mmio`: the machine has no PCI. */
void network_arguments(const struct network *network, bool mmio, struct arguments *words);

void network_free(struct network *network);
