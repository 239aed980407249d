/* SPDX-License-Identifier: MIT */
/* The guest's network under QEMU. */
#include "tools/network.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "tools/options.h"

#define QUEUES_MAX 64
#define LOOPBACK "127.0.0.1"

int network_parse_kind(struct network *network, const char *value)
{
    if (strcmp(value, "none") == 0) {
        network->kind = NETWORK_NONE;
        return 0;
    }
    if (strcmp(value, "user") == 0) {
        network->kind = NETWORK_USER;
        return 0;
    }
    size_t length = strncmp(value, "tap=", 4) == 0 ? strcspn(value + 4, ",") : 0;
    const char *rest = value + 4 + length;
    if (!length || length >= 16 /* IFNAMSIZ */ || memchr(value + 4, '/', length) ||
        (*rest && strncmp(rest, ",queues=", 8) != 0))
        return fail("--net %s: give user, none or tap=INTERFACE[,queues=N]", value);
    network->queues = *rest ? parse_number("--net queues", rest + 8, 1, QUEUES_MAX) : 0;
    if (network->queues < 0)
        return -1;
    network->kind = NETWORK_TAP;
    free(network->tap);
    network->tap = format_string("%.*s", (int)length, value + 4);
    return 0;
}

/* What -p says. */
struct port {
    char address[INET_ADDRSTRLEN]; /* of the host */
    long host, guest;
    bool udp;
};

static long port_number(const char *text, const char *end)
{
    char *stop;
    long number = *text >= '0' && *text <= '9' ? strtol(text, &stop, 10) : -1;
    return number >= 1 && number <= 65535 && stop == end ? number : -1;
}

/* [ADDRESS:]HOST:GUEST[/tcp|/udp] */
static bool parse_port(const char *value, struct port *port)
{
    const char *slash = strchr(value, '/'), *end = slash ? slash : value + strlen(value);
    const char *first = strchr(value, ':'), *second = first ? strchr(first + 1, ':') : NULL;
    *port = (struct port){.address = LOOPBACK, .udp = slash && strcmp(slash, "/udp") == 0};
    if (!first || first > end || (slash && !port->udp && strcmp(slash, "/tcp") != 0))
        return false;
    if (second && second < end) {
        struct in_addr address;
        size_t length = (size_t)(first - value);
        if (length >= sizeof(port->address))
            return false;
        memcpy(port->address, value, length);
        port->address[length] = '\0';
        if (inet_pton(AF_INET, port->address, &address) != 1)
            return false;
        value = first + 1;
        first = second;
    }
    port->host = port_number(value, first);
    port->guest = port_number(first + 1, end);
    return port->host > 0 && port->guest > 0;
}

int network_parse_port(struct network *network, const char *value)
{
    struct port port;
    if (!parse_port(value, &port))
        return fail("-p %s: give [ADDRESS:]HOST:GUEST[/udp], such as 8080:80", value);
    arguments_add(&network->ports, value);
    return 0;
}

/* The kernel reads the address itself; here it is only told which family's it is. */
int network_parse_ip(struct network *network, const char *value, struct arguments *kernel_words)
{
    char address[INET6_ADDRSTRLEN];
    uint8_t bytes[16];
    size_t length = strcspn(value, "/,");
    bool named = strcmp(value, "dhcp") == 0 || strcmp(value, "none") == 0;
    if (!named) {
        if (length >= sizeof(address) || value[length] != '/')
            return fail("--ip %s: give dhcp, none or ADDRESS/LENGTH[,GATEWAY]", value);
        memcpy(address, value, length);
        address[length] = '\0';
        if (inet_pton(AF_INET6, address, bytes) == 1) {
            arguments_addf(kernel_words, "ip6=%s", value);
            return 0;
        }
        if (inet_pton(AF_INET, address, bytes) != 1)
            return fail("--ip %s: give dhcp, none or ADDRESS/LENGTH[,GATEWAY]", value);
        network->ip = value;
    }
    arguments_addf(kernel_words, "ip=%s", value);
    return 0;
}

/* QEMU would say so as well, but only once it runs, and in its own words. */
static int check_port(const struct port *port)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port->host)};
    inet_pton(AF_INET, port->address, &address.sin_addr);
    int fd = socket(AF_INET, (port->udp ? SOCK_DGRAM : SOCK_STREAM) | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return fail("no sockets: %s", strerror(errno));
    if (!port->udp)
        setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &(int){1}, sizeof(int));
    int error = bind(fd, (struct sockaddr *)&address, sizeof(address)) < 0 ? errno : 0;
    close(fd);
    return error ? fail("-p: port %ld of %s cannot be had: %s", port->host, port->address,
                        strerror(error))
                 : 0;
}

static int check_tap(const char *name)
{
    char *path = format_string("/sys/class/net/%s/tun_flags", name);
    bool there = is_file(path);
    free(path);
    return there ? 0
                 : fail("--net tap=%s: there is no such tap device: make it with "
                        "ip tuntap add %s mode tap && ip link set %s up",
                        name, name, name);
}

int network_check(struct network *network, bool has_network)
{
    bool asked = network->kind == NETWORK_USER || network->kind == NETWORK_TAP;
    if (!has_network && (asked || network->ports.count))
        return fail("the program has no sockets, so its image has no network: build it with "
                    "--network always");
    if (network->kind == NETWORK_DEFAULT)
        network->kind = has_network ? NETWORK_USER : NETWORK_NONE;
    if (network->ports.count && network->kind != NETWORK_USER)
        return fail("-p: only --net user forwards ports");
    for (size_t i = 0; i < network->ports.count; i++) {
        struct port port;
        if (!parse_port(network->ports.items[i], &port) || check_port(&port) < 0)
            return -1;
    }
    return network->kind == NETWORK_TAP ? check_tap(network->tap) : 0;
}

void network_arguments(const struct network *network, bool mmio, struct arguments *words)
{
    struct buffer netdev = {0};
    if (network->kind != NETWORK_USER && network->kind != NETWORK_TAP)
        return;
    if (network->kind == NETWORK_TAP) {
        char *text =
            format_string("tap,id=net0,ifname=%s,script=no,downscript=no,vhost=off", network->tap);
        buffer_append_string(&netdev, text);
        free(text);
        if (network->queues > 1) {
            text = format_string(",queues=%ld", network->queues);
            buffer_append_string(&netdev, text);
            free(text);
        }
    } else {
        buffer_append_string(&netdev, "user,id=net0");
    }
    for (size_t i = 0; i < network->ports.count; i++) {
        struct port port;
        if (!parse_port(network->ports.items[i], &port))
            continue;
        int length = network->ip ? (int)strcspn(network->ip, "/") : 0;
        char *text =
            format_string(",hostfwd=%s:%s:%ld-%.*s:%ld", port.udp ? "udp" : "tcp", port.address,
                          port.host, length, length ? network->ip : "", port.guest);
        buffer_append_string(&netdev, text);
        free(text);
    }
    arguments_add(words, "-netdev");
    arguments_add(words, netdev.bytes);
    arguments_add(words, "-device");
    if (network->queues > 1)
        /* A vector for each queue, and for changes and control. */
        arguments_addf(words,
                       mmio ? "virtio-net-device,netdev=net0,mq=on"
                            : "virtio-net-pci,netdev=net0,mq=on,vectors=%ld",
                       network->queues * 2 + 2);
    else
        arguments_addf(words, "virtio-net-%s,netdev=net0", mmio ? "device" : "pci");
    buffer_free(&netdev);
}

void network_free(struct network *network)
{
    free(network->tap);
    arguments_free(&network->ports);
    *network = (struct network){0};
}
