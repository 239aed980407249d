/* SPDX-License-Identifier: MIT */
/* rtnetlink and the interface ioctls, with interfaces made up here. */
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <linux/sockios.h>
#include <stdio.h>
#include <stdlib.h>

#include "core/net/families.h"
#include "core/net/interface.h"
#include "core/net/net_calls.h"
#include "core/net/socket.h"
#include "fs_machine.h"

#define INTERFACES 30

static bool next(int index, struct interface *out)
{
    if (index > INTERFACES) {
        return false;
    }
    *out = (struct interface){.index = index, .flags = 0x43, .hardware = 1, .mtu = 1500};
    snprintf(out->name, sizeof(out->name), "eth%d", index);
    out->mac[5] = (uint8_t)index;
    out->address_count = 2;
    out->addresses[0] = (struct interface_address){.family = AF_INET,
                                                   .prefix_length = 24,
                                                   .permanent = true,
                                                   .bytes = {10, 0, 0, (uint8_t)index}};
    out->addresses[1] = (struct interface_address){
        .family = AF_INET6, .prefix_length = 64, .bytes = {0xfe, 0x80, [15] = (uint8_t)index}};
    return true;
}

static bool route(unsigned position, struct interface_route *out)
{
    *out = (struct interface_route){.family = position == 2 ? AF_INET6 : AF_INET,
                                    .prefix_length = position == 0 ? 0 : 24,
                                    .has_gateway = position == 0,
                                    .interface = 1};
    return position < 3;
}

static void no_sockets(int family, int protocol, interface_visit_fn *visit, void *context)
{
    (void)family;
    (void)protocol;
    (void)visit;
    (void)context;
}

static const struct interface_source source = {.next = next, .route = route, .sockets = no_sockets};

static long ask(int fd, unsigned type, unsigned flags, const void *body, size_t size)
{
    struct {
        struct nlmsghdr header;
        uint8_t body[64];
    } request = {.header = {.nlmsg_len = (uint32_t)NLMSG_LENGTH(size),
                            .nlmsg_type = (uint16_t)type,
                            .nlmsg_flags = (uint16_t)(NLM_F_REQUEST | flags),
                            .nlmsg_seq = 7}};
    memcpy(request.body, body, size);
    return CALL(sendto, (uint64_t)fd, P(&request), request.header.nlmsg_len, 0, 0, 0);
}

/* Reads a whole dump, each message checked for its form; counts those of `type`. */
static int read_dump(int fd, unsigned type)
{
    static uint8_t buffer[4096];
    int count = 0;
    for (;;) {
        long size = CALL(recvfrom, (uint64_t)fd, P(buffer), sizeof(buffer), 0, 0, 0);
        CHECK(size >= NLMSG_HDRLEN, "%ld", size);
        unsigned left = (unsigned)size;
        for (struct nlmsghdr *at = (void *)buffer; NLMSG_OK(at, left); at = NLMSG_NEXT(at, left)) {
            CHECK(at->nlmsg_seq == 7 && at->nlmsg_pid == 1, "%u %u", at->nlmsg_seq, at->nlmsg_pid);
            if (at->nlmsg_type == NLMSG_DONE) {
                CHECK_CALL(-EAGAIN, CALL(read, (uint64_t)fd, P(buffer), sizeof(buffer)));
                return count;
            }
            CHECK(at->nlmsg_type == type, "%u", at->nlmsg_type);
            count++;
        }
        CHECK(left == 0, "%u bytes at the end", left);
    }
}

/* The error number of the one message that waits; its own type when it is not an error. */
static int read_one(int fd, unsigned *type)
{
    uint8_t buffer[4096];
    long size = CALL(read, (uint64_t)fd, P(buffer), sizeof(buffer));
    const struct nlmsghdr *header = (const void *)buffer;
    CHECK(size >= NLMSG_HDRLEN, "%ld", size);
    *type = header->nlmsg_type;
    return *type == NLMSG_ERROR ? ((const struct nlmsgerr *)NLMSG_DATA(header))->error : 0;
}

static void test_requests(int fd)
{
    struct sockaddr_nl name = {.nl_family = AF_NETLINK};
    int32_t length = sizeof(name);
    unsigned type;
    CHECK_CALL(-EPROTONOSUPPORT, CALL(socket, AF_NETLINK, SOCK_RAW, 15));
    CHECK_CALL(-ESOCKTNOSUPPORT, CALL(socket, AF_NETLINK, SOCK_STREAM, 0));
    name.nl_groups = 1;
    CHECK_CALL(-EOPNOTSUPP, CALL(bind, (uint64_t)fd, P(&name), sizeof(name)));
    name.nl_groups = 0;
    CHECK_CALL(-EINVAL, CALL(bind, (uint64_t)fd, P(&name), 4));
    CHECK_CALL(0, CALL(bind, (uint64_t)fd, P(&name), sizeof(name)));
    CHECK_CALL(0, CALL(getsockname, (uint64_t)fd, P(&name), P(&length)));
    CHECK(name.nl_pid == 1 && length == sizeof(name), "%u", name.nl_pid);
    CHECK_CALL(-EAGAIN, CALL(read, (uint64_t)fd, P(&name), sizeof(name)));
    CHECK_CALL(17, ask(fd, RTM_GETLINK, NLM_F_DUMP, "\0", 1)); /* as Go's package does */
    CHECK(read_dump(fd, RTM_NEWLINK) == INTERFACES, "links");
    CHECK_CALL(17, ask(fd, RTM_GETADDR, NLM_F_DUMP, "\0", 1));
    CHECK(read_dump(fd, RTM_NEWADDR) == 2 * INTERFACES, "addresses");
    CHECK_CALL(17, ask(fd, RTM_GETADDR, NLM_F_DUMP, "\x0a", 1));
    CHECK(read_dump(fd, RTM_NEWADDR) == INTERFACES, "of IPv6");
    CHECK_CALL(17, ask(fd, RTM_GETROUTE, NLM_F_DUMP, "\2", 1));
    CHECK(read_dump(fd, RTM_NEWROUTE) == 2, "routes of IPv4");
    struct ifinfomsg link = {.ifi_index = 3};
    CHECK_CALL(32, ask(fd, RTM_GETLINK, 0, &link, sizeof(link)));
    CHECK(read_one(fd, &type) == 0 && type == RTM_NEWLINK, "%u", type);
    link.ifi_index = 99;
    CHECK_CALL(32, ask(fd, RTM_GETLINK, 0, &link, sizeof(link)));
    CHECK(read_one(fd, &type) == -ENODEV, "%u", type);
    CHECK_CALL(17, ask(fd, RTM_GETLINK, 0, "\0", 1));
    CHECK(read_one(fd, &type) == -EINVAL, "%u", type);
    CHECK_CALL(32, ask(fd, RTM_NEWLINK, 0, &link, sizeof(link)));
    CHECK(read_one(fd, &type) == -EOPNOTSUPP, "%u", type);
    name.nl_pid = 44;
    CHECK_CALL(-ECONNREFUSED, CALL(sendto, (uint64_t)fd, P(&link), 16, 0, P(&name), sizeof(name)));
}

/* Bytes without sense: dropped or answered, nothing worse. */
static void test_nonsense(int fd)
{
    uint32_t bytes[32];
    uint8_t answer[4096];
    srand(1);
    for (int i = 0; i < 20000; i++) {
        for (size_t word = 0; word < 32; word++) {
            bytes[word] = (uint32_t)rand();
        }
        bytes[0] = (uint32_t)rand() % 160;
        bytes[1] = (bytes[1] & 0xffff0000) | (RTM_GETLINK + (uint32_t)rand() % 4 - 2);
        bytes[4] &= 0xffff00ff;
        bytes[8] = (uint32_t)(rand() % 40) | IFLA_IFNAME << 16;
        long size = rand() % (long)sizeof(bytes);
        CHECK_CALL(size, CALL(sendto, (uint64_t)fd, P(bytes), (uint64_t)size, 0, 0, 0));
        while (CALL(recvfrom, (uint64_t)fd, P(answer), sizeof(answer), 0, 0, 0) > 0) {
        }
    }
}

static void test_ioctls(int fd)
{
    struct {
        char name[16];
        uint8_t rest[24];
    } request = {.name = "eth5"}, list[40];
    struct {
        int32_t length, pad;
        uint64_t list;
    } conf = {sizeof(list), 0, P(list)};
    int32_t number;
    CHECK_CALL(0, CALL(ioctl, (uint64_t)fd, SIOCGIFINDEX, P(&request)));
    memcpy(&number, request.rest, 4);
    CHECK(number == 5, "%d", number);
    CHECK_CALL(0, CALL(ioctl, (uint64_t)fd, SIOCGIFNETMASK, P(&request)));
    CHECK(memcmp(request.rest + 4, "\xff\xff\xff\0", 4) == 0, "the mask");
    CHECK_CALL(0, CALL(ioctl, (uint64_t)fd, SIOCGIFHWADDR, P(&request)));
    CHECK(request.rest[7] == 5, "%u", request.rest[7]);
    CHECK_CALL(0, CALL(ioctl, (uint64_t)fd, SIOCGIFCONF, P(&conf)));
    CHECK(conf.length == INTERFACES * 40 && strcmp(list[29].name, "eth30") == 0, "%d", conf.length);
    strcpy(request.name, "wlan0");
    CHECK_CALL(-ENODEV, CALL(ioctl, (uint64_t)fd, SIOCGIFMTU, P(&request)));
    CHECK_CALL(-EFAULT, CALL(ioctl, (uint64_t)fd, SIOCGIFMTU, 8));
    CHECK_CALL(0, CALL(setsockopt, (uint64_t)fd, SOL_SOCKET, SO_BINDTODEVICE, P("eth7"), 5));
}

int main(void)
{
    machine_init();
    netlink_init();
    interface_register(&source);
    CHECK_CALL(0, fs_init("none"));
    int fd = (int)CALL(socket, AF_NETLINK, SOCK_RAW | SOCK_NONBLOCK, 0);
    test_requests(fd);
    test_nonsense(fd);
    test_ioctls(fd);
    CHECK_CALL(0, CALL(close, (uint64_t)fd));
    return 0;
}
