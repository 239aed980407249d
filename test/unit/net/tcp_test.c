/* SPDX-License-Identifier: MIT */
/* When TCP sends what: the stack as a server, and a peer that writes its segments by hand. */
#include <asm/ioctls.h>
#include <linux/errno.h>
#include <linux/in.h>
#include <linux/tcp.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "check.h"
#include "core/net/families.h"
#include "core/net/inet.h"
#include "netdev.h"
#include "stack_machine.h"

#define MS 1000000ull
#define MSS 1460

/* --- the device, and the peer's end of the cable
 * ------------------------------------------------------------------
 */

enum { FIN = 1, SYN = 2, PUSH = 8, ACK = 16 };

/* The last segment that the stack has sent. */
static struct {
    uint16_t port; /* of the peer */
    uint32_t sequence, acknowledged;
    uint8_t flags;
    size_t payload;
    uint8_t options[40];
    size_t options_length;
} segment;
static unsigned segment_count;

/* What it has sent of one connection, from this sequence number on: the same each time. */
static uint32_t sent_first, sent_end;
static uint8_t sent[1 << 20];

static void *tokens[64];
static unsigned token_count;
static struct net_buffer *incoming, **incoming_end = &incoming;

static const uint8_t peer_mac[6] = {2, 0, 0, 0, 0, 1};
static struct netdev device;

static uint32_t get32(const uint8_t *at)
{
    return (uint32_t)at[0] << 24 | (uint32_t)at[1] << 16 | (uint32_t)at[2] << 8 | at[3];
}

static void put16(uint8_t *at, unsigned value)
{
    at[0] = (uint8_t)(value >> 8);
    at[1] = (uint8_t)value;
}

static void put32(uint8_t *at, uint32_t value)
{
    put16(at, value >> 16);
    put16(at + 2, value & 0xffff);
}

static void release(struct net_buffer *buffer)
{
    free(buffer->data);
    free(buffer);
}

static void deliver(const uint8_t *frame, size_t length)
{
    struct net_buffer *buffer = calloc(1, sizeof(*buffer));
    buffer->data = malloc(length);
    memcpy(buffer->data, frame, length);
    buffer->length = (uint32_t)length;
    buffer->release = release;
    *incoming_end = buffer;
    incoming_end = &buffer->next;
    core_net_interrupt(&device, 0);
}

static void answer_arp(const uint8_t *request)
{
    uint8_t frame[42];
    memcpy(frame, request + 6, 6);
    memcpy(frame + 6, peer_mac, 6);
    memcpy(frame + 12, request + 12, 8);
    put16(frame + 20, 2);
    memcpy(frame + 22, peer_mac, 6);
    memcpy(frame + 28, request + 38, 4);
    memcpy(frame + 32, request + 22, 10);
    deliver(frame, sizeof(frame));
}

static int transmit(struct netdev *unused, unsigned queue, const struct net_segment *segments,
                    unsigned count, const struct net_offload *offload, void *token)
{
    (void)unused;
    (void)queue;
    (void)offload;
    static uint8_t frame[UINT16_MAX];
    size_t length = 0;
    for (unsigned i = 0; i < count; i++) {
        CHECK(length + segments[i].length <= sizeof(frame));
        memcpy(frame + length, segments[i].data, segments[i].length);
        length += segments[i].length;
    }
    if (frame[12] == 8 && frame[13] == 6 && frame[21] == 1 && get32(frame + 38) == 0x0a000202) {
        answer_arp(frame);
    } else if (frame[12] == 8 && frame[13] == 0 && frame[23] == 6) {
        const uint8_t *tcp = frame + 34;
        segment.port = (uint16_t)(tcp[2] << 8 | tcp[3]);
        segment.sequence = get32(tcp + 4);
        segment.acknowledged = get32(tcp + 8);
        segment.flags = tcp[13];
        segment.options_length = (tcp[12] >> 4) * 4u - 20;
        segment.payload = length - 54 - segment.options_length;
        memcpy(segment.options, tcp + 20, segment.options_length);
        const uint8_t *payload = tcp + 20 + segment.options_length;
        uint32_t at = segment.sequence - sent_first;
        if (at + segment.payload <= sizeof(sent)) {
            for (size_t i = 0; i < segment.payload; i++) {
                CHECK(at + i >= sent_end || sent[at + i] == payload[i], "byte %zu", at + i);
                sent[at + i] = payload[i];
            }
            if (at + segment.payload > sent_end) {
                sent_end = at + (uint32_t)segment.payload;
            }
        }
        segment_count++;
    }
    tokens[token_count++] = token; /* until the next poll */
    return 0;
}

static void flush(struct netdev *unused, unsigned queue)
{
    (void)unused;
    (void)queue;
}

static unsigned poll(struct netdev *unused, unsigned queue, unsigned budget)
{
    (void)unused;
    (void)queue;
    (void)budget;
    while (token_count != 0) {
        core_net_transmitted(&device, tokens[--token_count]);
    }
    unsigned count = 0;
    for (struct net_buffer *frame = incoming, *next; frame != NULL; frame = next) {
        struct net_offload good = {.checksum = NET_CHECKSUM_GOOD};
        next = frame->next;
        frame->next = NULL;
        incoming = next;
        incoming_end = next == NULL ? &incoming : incoming_end;
        core_net_receive(&device, frame, &good);
        count++;
    }
    return count;
}

static bool enable_interrupt(struct netdev *unused, unsigned queue)
{
    (void)unused;
    (void)queue;
    return incoming == NULL;
}

static const struct netdev_operations operations = {transmit, flush, poll, enable_interrupt};
static struct netdev device = {
    .operations = &operations,
    .mac = {0x52, 0x54, 0, 0x12, 0x34, 0x56},
    .mtu = 1500,
    .features = NETDEV_TX_CHECKSUM | NETDEV_RX_CHECKSUM | NETDEV_TX_TSO4,
    .transmit_max = UINT16_MAX,
    .queue_count = 1,
    .queues_used = 1,
    .link_up = true,
};

/* --- connections
 * --------------------------------------------------------------------------------------------------
 */

struct connection {
    uint16_t port; /* the peer's */
    uint32_t sequence, acknowledged;
    struct socket *socket; /* the stack's end */
};

static struct socket *listener;

static void say(struct connection *connection, uint8_t flags, size_t payload)
{
    uint8_t frame[1514] = {0};
    memcpy(frame, device.mac, 6);
    memcpy(frame + 6, peer_mac, 6);
    put16(frame + 12, 0x0800);
    uint8_t *ip = frame + 14;
    uint8_t *tcp = ip + 20;
    ip[0] = 0x45;
    put16(ip + 2, (unsigned)(40 + payload + ((flags & SYN) != 0 ? 8 : 0)));
    ip[8] = 64;
    ip[9] = 6;
    put32(ip + 12, 0x0a000202);
    put32(ip + 16, 0x0a00020f);
    uint32_t sum = 0;
    for (unsigned i = 0; i < 20; i += 2) {
        sum += (unsigned)(ip[i] << 8 | ip[i + 1]);
    }
    put16(ip + 10, ~((sum >> 16) + sum) & 0xffff);
    put16(tcp, connection->port);
    put16(tcp + 2, 80);
    put32(tcp + 4, connection->sequence);
    put32(tcp + 8, connection->acknowledged);
    tcp[12] = 5 << 4;
    if ((flags & SYN) != 0) {
        static const uint8_t options[8] = {4, 2, 2, 4, MSS >> 8, MSS & 0xff, 1, 1}; /* SACK too */
        memcpy(tcp + 20, options, sizeof(options));
        tcp[12] = 7 << 4;
    }
    size_t header = (tcp[12] >> 4) * 4u;
    tcp[13] = flags;
    put16(tcp + 14, 65535);
    connection->sequence += (uint32_t)payload + ((flags & SYN) != 0);
    deliver(frame, 34 + header + payload);
}

static struct connection open_connection(uint16_t port)
{
    struct connection connection = {.port = port, .sequence = 1000};
    say(&connection, SYN, 0);
    CHECK(segment.flags == (SYN | ACK) && segment.port == port, "%x", segment.flags);
    connection.acknowledged = segment.sequence + 1;
    say(&connection, ACK, 0);
    CHECK(listener->operations->accept(listener, &connection.socket) == 0);
    return connection;
}

/* The program reads what has come and answers; the peer acknowledges the answer. */
static void answer(struct connection *connection)
{
    struct socket_message message = {.io = {.remaining = 2000}};
    CHECK(connection->socket->operations->receive(connection->socket, &message) > 0);
    unsigned before = segment_count;
    message = (struct socket_message){.io = {.remaining = 100}};
    CHECK(connection->socket->operations->send(connection->socket, &message) == 100);
    CHECK(segment_count == before + 1 && segment.payload == 100 && (segment.flags & ACK) != 0);
    CHECK(segment.acknowledged == connection->sequence);
    connection->acknowledged += 100;
    say(connection, ACK, 0);
}

/* Nothing is sent for `quiet` ns, and then, in the millisecond that follows, an acknowledgement
 * alone. */
static void expect_acknowledgement(const struct connection *connection, uint64_t quiet)
{
    unsigned before = segment_count;
    stack_pass_time(quiet);
    CHECK(segment_count == before, "flags %x", segment.flags);
    stack_pass_time(MS);
    CHECK(segment_count == before + 1);
    CHECK(segment.port == connection->port && segment.flags == ACK && segment.payload == 0);
    CHECK(segment.acknowledged == connection->sequence);
}

static void expect_silence(uint64_t ns)
{
    unsigned before = segment_count;
    stack_pass_time(ns);
    CHECK(segment_count == before, "flags %x", segment.flags);
}

/* --- tests
 * ------------------------------------------------------------------------------------------------------
 */

static void test_alone(void)
{
    struct connection connection = open_connection(1000);
    expect_silence(1000 * MS);
    for (unsigned i = 0; i < 3; i++) {
        say(&connection, ACK | PUSH, 10);
        expect_acknowledgement(&connection, 39 * MS);
        expect_silence(i * 77 * MS); /* no tick that all share */
    }
}

static void test_with_an_answer(void)
{
    struct connection connection = open_connection(1001);
    say(&connection, ACK | PUSH, 10);
    expect_silence(30 * MS);
    answer(&connection);
    expect_silence(5 * MS);
    say(&connection, ACK | PUSH, 10); /* its deadline is its own, not the first one's */
    expect_acknowledgement(&connection, 39 * MS);
    say(&connection, ACK | PUSH, 10);
    answer(&connection);
    expect_silence(1000 * MS);
}

static void test_every_second(void)
{
    struct connection connection = open_connection(1002);
    unsigned before = segment_count;
    say(&connection, ACK | PUSH, 10);
    say(&connection, ACK | PUSH, 10);
    CHECK(segment_count == before + 1 && segment.acknowledged == connection.sequence);
    expect_silence(1000 * MS);
}

static void test_each_its_own(void)
{
    struct connection first = open_connection(1003);
    struct connection second = open_connection(1004);
    struct connection third = open_connection(1005);
    say(&first, ACK | PUSH, 10);
    expect_silence(10 * MS);
    say(&second, ACK | PUSH, 10);
    expect_silence(10 * MS);
    say(&third, ACK | PUSH, 10);
    answer(&second);
    expect_acknowledgement(&first, 19 * MS);
    expect_acknowledgement(&third, 19 * MS);
    expect_silence(1000 * MS);
    say(&first, ACK | PUSH, 10);
    third.socket->operations->release(third.socket); /* its entry goes with it */
    expect_acknowledgement(&first, 39 * MS);
}

static void test_without_memory(void)
{
    struct connection connection = open_connection(1006);
    say(&connection, ACK | PUSH, 10);
    stack_memory_fails = 1;
    expect_silence(60 * MS);
    stack_memory_fails = 0;
    unsigned before = segment_count;
    stack_pass_time(100 * MS);
    CHECK(segment_count == before + 1 && segment.flags == ACK && segment.payload == 0);
    CHECK(segment.acknowledged == connection.sequence);
}

/* RFC 2018: what has come behind a gap is told. */
static void test_gap(void)
{
    struct connection connection = open_connection(1007);
    uint32_t gap = connection.sequence;
    connection.sequence += 100;
    unsigned before = segment_count;
    say(&connection, ACK | PUSH, 50);
    CHECK(segment_count == before + 1 && segment.acknowledged == gap);
    CHECK(segment.options_length == 12 && segment.options[2] == 5 && segment.options[3] == 10);
    CHECK(get32(segment.options + 4) == gap + 100 && get32(segment.options + 8) == gap + 150);
    connection.sequence = gap;
    say(&connection, ACK | PUSH, 100);
    CHECK(segment_count == before + 2 && segment.acknowledged == gap + 150);
    CHECK(segment.options_length == 0);
}

static void set_option(struct connection *connection, int level, int name, int value)
{
    const struct socket_operations *operations = connection->socket->operations;
    if (level == SOL_SOCKET) {
        CHECK(name == SO_KEEPALIVE);
        connection->socket->options.keep_alive = value != 0;
        operations->option_changed(connection->socket, name);
    } else {
        CHECK(operations->set_option(connection->socket, level, name, &value, sizeof(value)) == 0);
    }
}

static void write_bytes(struct connection *connection, size_t size)
{
    struct socket_message message = {.io = {.remaining = size}};
    CHECK(connection->socket->operations->send(connection->socket, &message) == (long)size);
}

/* RFC 896: while something small is under way the next waits for its acknowledgement, unless the
 * program does not want that. */
static void test_nagle(void)
{
    struct connection connection = open_connection(1008);
    unsigned before = segment_count;
    write_bytes(&connection, 10);
    write_bytes(&connection, 10);
    write_bytes(&connection, 10);
    CHECK(segment_count == before + 1 && segment.payload == 10);
    connection.acknowledged += 10;
    say(&connection, ACK, 0);
    CHECK(segment_count == before + 2 && segment.payload == 20);
    set_option(&connection, IPPROTO_TCP, TCP_NODELAY, 1);
    write_bytes(&connection, 10);
    CHECK(segment_count == before + 3 && segment.payload == 10);
    connection.acknowledged += 30;
    say(&connection, ACK, 0);
    expect_silence(1000 * MS);
}

/* Three probes, 2 s apart, after 10 s of silence. */
static void keep_alive(struct connection *connection)
{
    set_option(connection, SOL_SOCKET, SO_KEEPALIVE, 1);
    set_option(connection, IPPROTO_TCP, TCP_KEEPIDLE, 10);
    set_option(connection, IPPROTO_TCP, TCP_KEEPINTVL, 2);
    set_option(connection, IPPROTO_TCP, TCP_KEEPCNT, 3);
}

/* tcp(7): a probe after TCP_KEEPIDLE, TCP_KEEPCNT of them TCP_KEEPINTVL apart, and the end. */
static void test_keep_alive(void)
{
    struct connection connection = open_connection(1009);
    keep_alive(&connection);
    for (unsigned i = 0; i < 2; i++) { /* the first is answered, and time begins anew */
        expect_silence(9800 * MS);
        unsigned before = segment_count;
        stack_pass_time(500 * MS);
        CHECK(segment_count == before + 1, "%u", segment_count - before);
        CHECK(segment.port == connection.port && segment.sequence == connection.acknowledged - 1);
        if (i == 0) {
            say(&connection, ACK, 0);
        }
    }
    unsigned before = segment_count;
    stack_pass_time(4300 * MS);
    CHECK(segment_count == before + 2, "%u", segment_count - before);
    CHECK((connection.socket->operations->poll(connection.socket) & POLLERR) == 0);
    stack_pass_time(2000 * MS);
    CHECK((connection.socket->operations->poll(connection.socket) & POLLERR) != 0);
    CHECK(connection.socket->error == ETIMEDOUT);
    connection.socket->operations->release(connection.socket);
}

/* tcp(7): with data under way there are no keep-alive probes, and a quarter of an hour passes
 * before the connection is given up; much less when the program has closed it. */
static void test_no_answer(void)
{
    struct connection connection = open_connection(1011);
    keep_alive(&connection);
    unsigned before = segment_count, seconds = 0;
    write_bytes(&connection, 100);
    const struct socket_operations *operations = connection.socket->operations;
    while ((operations->poll(connection.socket) & POLLERR) == 0 && seconds < 2000) {
        CHECK(segment.sequence == connection.acknowledged && segment.payload == 100);
        stack_pass_time(1000 * MS);
        seconds++;
    }
    CHECK(connection.socket->error == ETIMEDOUT);
    CHECK(segment_count == before + 1 + 15, "%u", segment_count - before);
    CHECK(seconds > 900 && seconds < 1100, "%u", seconds);
    operations->release(connection.socket);

    connection = open_connection(1012);
    before = segment_count;
    write_bytes(&connection, 100);
    connection.socket->operations->release(connection.socket);
    stack_pass_time(300000 * MS);
    CHECK(segment_count == before + 2 * (1 + 8), "%u", segment_count - before); /* its end, too */
    expect_silence(1000000 * MS);
}

static void acknowledge_all(struct connection *connection)
{
    for (unsigned seen = segment_count - 1; seen != segment_count;) {
        seen = segment_count;
        connection->acknowledged = segment.sequence + (uint32_t)segment.payload;
        say(connection, ACK, 0);
    }
}

/* Large segments, which the device cuts and of which only a part arrives: what is sent again begins
 * with what is missing, as much as the congestion window lets out, and in the end all is there. */
static void test_part_of_large_segments(void)
{
    struct connection connection = open_connection(1010);
    set_option(&connection, IPPROTO_TCP, TCP_NODELAY, 1);
    sent_first = connection.acknowledged;
    static const uint32_t arrived[] = {MSS, 2 * MSS, 1, MSS - 1, 5000};
    for (unsigned i = 0; i < sizeof(arrived) / sizeof(arrived[0]); i++) {
        do { /* as the window grows, they do */
            write_bytes(&connection, 20000);
            acknowledge_all(&connection);
        } while (segment.payload < 8u * MSS);
        write_bytes(&connection, 20000);
        uint32_t end = connection.acknowledged + 20000;
        connection.acknowledged += arrived[i];
        say(&connection, ACK, 0);
        unsigned before = segment_count;
        stack_pass_time(3000 * MS);
        CHECK(segment_count > before && segment.sequence == connection.acknowledged,
              "%u segments, %u", segment_count - before,
              segment.sequence - connection.acknowledged);
        CHECK(segment.payload == MSS, "%zu", segment.payload);
        while (connection.acknowledged != end) {
            uint32_t missing = connection.acknowledged;
            CHECK(segment.sequence <= missing, "%u", segment.sequence - missing);
            connection.acknowledged = segment.sequence + (uint32_t)segment.payload;
            CHECK(connection.acknowledged > missing);
            say(&connection, ACK, 0);
        }
        int queued = -1;
        CHECK(connection.socket->operations->ioctl(connection.socket, TIOCOUTQ,
                                                   (uintptr_t)&queued) == 0);
        CHECK(queued == 0, "%d", queued);
    }
}

int main(void)
{
    core_netdev_found(&device);
    inet_start();
    stack_pass_time(5000 * MS);
    union socket_address web = {.family = AF_INET};
    put16(web.bytes + 2, 80);
    CHECK(tcp_socket_create(AF_INET, 6, &listener) == 0);
    CHECK(listener->operations->bind(listener, &web, 16) == 0);
    CHECK(listener->operations->listen(listener, 8) == 0);
    test_alone();
    test_with_an_answer();
    test_every_second();
    test_each_its_own();
    test_without_memory();
    test_gap();
    test_nagle();
    test_keep_alive();
    test_no_answer();
    test_part_of_large_segments();
    return 0;
}
