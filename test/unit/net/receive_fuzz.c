/* SPDX-License-Identifier: MIT */
/* Frames that nobody would send, into the whole of lwIP and core/net, as a device would deliver
 * them: seeds from frames.txt, and answers to what the stack itself has sent, changed at random, in
 * pieces. What is looked for is a crash, a leak or an endless loop. The run repeats: same seed,
 * same frames. An argument is the number of frames. */
#include <linux/errno.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "check.h"
#include "core/net/families.h"
#include "core/net/inet.h"
#include "core/net/net.h"
#include "netdev.h"
#include "stack_machine.h"

/* --- the device
 * -----------------------------------------------------------------------------------
 */

#define FRAME_MAX 70000

static uint8_t sent[FRAME_MAX]; /* the last frame with an IP packet that the stack has sent */
static size_t sent_length;
static unsigned sent_count, buffers_out;
static void *token;
static struct net_buffer *incoming;
static struct net_offload incoming_offload;

static int transmit(struct netdev *device, unsigned queue, const struct net_segment *segments,
                    unsigned count, const struct net_offload *offload, void *new_token)
{
    (void)device;
    CHECK(queue == 0 && count >= 1 && count <= NET_MAX_SEGMENTS);
    if (token != NULL) {
        return -ENOBUFS;
    }
    uint8_t frame[FRAME_MAX];
    size_t length = 0;
    for (unsigned i = 0; i < count; i++) {
        CHECK(length + segments[i].length <= sizeof(frame));
        memcpy(frame + length, segments[i].data, segments[i].length);
        length += segments[i].length;
    }
    CHECK(length >= 14 && (length <= 1514 || offload->segment_version != 0));
    if (frame[12] == 8 ? frame[13] == 0 : frame[12] == 0x86) {
        memcpy(sent, frame, length);
        sent_length = length;
    }
    sent_count++;
    token = new_token;
    return 0;
}

static void flush(struct netdev *device, unsigned queue)
{
    (void)device;
    (void)queue;
}

static unsigned poll(struct netdev *device, unsigned queue, unsigned budget)
{
    (void)queue;
    (void)budget;
    if (token != NULL) {
        void *done = token;
        token = NULL;
        core_net_transmitted(device, done);
    }
    struct net_buffer *frame = incoming;
    incoming = NULL;
    if (frame == NULL) {
        return 0;
    }
    core_net_receive(device, frame, &incoming_offload);
    return 1;
}

static bool enable_interrupt(struct netdev *device, unsigned queue)
{
    (void)device;
    (void)queue;
    return token == NULL;
}

static const struct netdev_operations operations = {transmit, flush, poll, enable_interrupt};
static struct netdev device = {
    .operations = &operations,
    .mac = {0x52, 0x54, 0, 0x12, 0x34, 0x56},
    .mtu = 1500,
    .features = NETDEV_TX_CHECKSUM | NETDEV_TX_TSO4 | NETDEV_TX_TSO6 | NETDEV_RX_CHECKSUM,
    .transmit_max = 65550,
    .queue_count = 1,
    .queues_used = 1,
    .link_up = true,
};

static void release(struct net_buffer *buffer)
{
    buffers_out--;
    free(buffer->data);
    free(buffer);
}

/* Delivers a frame in up to three pieces, each of exactly its bytes. */
static void deliver(const uint8_t *frame, size_t length)
{
    struct net_buffer **end = &incoming;
    size_t pieces = 1 + test_random(&stack_random) % 3;
    for (size_t at = 0; at < length || (at == 0 && end == &incoming);) {
        size_t part =
            pieces-- > 1 ? 1 + test_random(&stack_random) % (length - at + 1) : length - at;
        part = part > length - at ? length - at : part;
        struct net_buffer *buffer = calloc(1, sizeof(*buffer));
        buffer->data = malloc(part);
        memcpy(buffer->data, frame + at, part);
        buffer->length = (uint32_t)part;
        buffer->release = release;
        buffers_out++;
        *end = buffer;
        end = &buffer->next;
        at += part;
    }
    incoming_offload.checksum =
        test_random(&stack_random) % 8 == 0 ? NET_CHECKSUM_NONE : NET_CHECKSUM_GOOD;
    core_net_interrupt(&device, 0);
}

/* --- frames
 * ---------------------------------------------------------------------------------------
 */

#define SEEDS_MAX 64

static struct {
    uint8_t bytes[1600];
    size_t length;
} seeds[SEEDS_MAX];
static unsigned seed_count;

/* A line is a frame in hexadecimal digits; `#` begins a comment. */
static void read_seeds(const char *path)
{
    FILE *file = fopen(path, "r");
    CHECK(file != NULL, "%s", path);
    char line[4096];
    while (fgets(line, sizeof(line), file) != NULL) {
        unsigned byte;
        if (line[0] == '#' || line[0] == '\n') {
            continue;
        }
        CHECK(seed_count < SEEDS_MAX);
        for (const char *at = line; sscanf(at, "%2x", &byte) == 1; at += 2) {
            seeds[seed_count].bytes[seeds[seed_count].length++] = (uint8_t)byte;
        }
        seed_count++;
    }
    fclose(file);
    CHECK(seed_count > 0);
}

static uint16_t sum(const uint8_t *at, size_t length)
{
    uint32_t total = 0;
    for (size_t i = 0; i < length; i++) {
        total += i % 2 == 0 ? (uint32_t)at[i] << 8 : at[i];
    }
    while (total > 0xffff) {
        total = (total >> 16) + (total & 0xffff);
    }
    return (uint16_t)~total;
}

static void put16(uint8_t *at, unsigned value)
{
    at[0] = (uint8_t)(value >> 8);
    at[1] = (uint8_t)value;
}

/* Makes the checksums right that the stack looks at even when the device has looked. */
static void mend(uint8_t *frame, size_t length)
{
    size_t header = 14u + (frame[14] & 15) * 4u;
    if (length < 34 || frame[12] != 8 || frame[13] != 0 || header < 34 || header + 4 > length) {
        return;
    }
    put16(frame + 24, 0);
    put16(frame + 24, sum(frame + 14, header - 14));
    if (frame[23] == 1 || frame[23] == 2) {
        put16(frame + header + 2, 0);
        put16(frame + header + 2, sum(frame + header, length - header));
    }
}

static void swap(uint8_t *left, uint8_t *right, size_t size)
{
    for (size_t i = 0; i < size; i++) {
        uint8_t byte = left[i];
        left[i] = right[i];
        right[i] = byte;
    }
}

/* What a peer would say to the last packet that was sent: to a TCP segment with a fitting sequence
 * number, acknowledgement and flags, so that connections come up and go down. */
static size_t answer(uint8_t *frame)
{
    size_t length = sent_length < 1514 ? sent_length : 1514;
    memcpy(frame, sent, length);
    swap(frame, frame + 6, 6);
    bool v4 = frame[12] == 8;
    size_t header = v4 ? 14u + (frame[14] & 15) * 4u : 54;
    if (v4) {
        swap(frame + 26, frame + 30, 4);
    } else {
        swap(frame + 22, frame + 38, 16);
    }
    uint8_t protocol = v4 ? frame[23] : frame[20];
    if (header + 20 > length) {
        return length;
    }
    uint8_t *tcp = frame + header;
    swap(tcp, tcp + 2, 2);
    if (protocol != 6) {
        return length;
    }
    size_t payload = length - header - (tcp[12] >> 4) * 4u;
    uint32_t sequence = (uint32_t)tcp[4] << 24 | (uint32_t)tcp[5] << 16 | tcp[6] << 8 | tcp[7];
    sequence += (uint32_t)payload + ((tcp[13] & 3) != 0);
    uint8_t old_ack[4];
    memcpy(old_ack, tcp + 8, 4);
    put16(tcp + 8, sequence >> 16);
    put16(tcp + 10, sequence & 0xffff);
    memcpy(tcp + 4, old_ack, 4);
    static const uint8_t flags[] = {0x10, 0x18, 0x18, 0x11, 0x12, 0x14, 0x04, 0x10};
    tcp[13] = flags[test_random(&stack_random) % sizeof(flags)];
    return length;
}

static void throw_one(void)
{
    uint8_t frame[1600];
    size_t length;
    if (sent_length != 0 && test_random(&stack_random) % 2 == 0) {
        length = answer(frame);
    } else {
        unsigned seed = (unsigned)(test_random(&stack_random) % seed_count);
        length = seeds[seed].length;
        memcpy(frame, seeds[seed].bytes, length);
    }
    unsigned changes =
        test_random(&stack_random) % 4 == 0 ? 0 : (unsigned)(test_random(&stack_random) % 5);
    for (unsigned i = 0; i < changes && length > 14; i++) {
        size_t at = test_random(&stack_random) % 4 == 0
                        ? test_random(&stack_random) % length
                        : 14 + test_random(&stack_random) % (length - 14);
        static const uint8_t edges[] = {0, 1, 0x7f, 0x80, 0xff};
        frame[at] = test_random(&stack_random) % 2 == 0
                        ? edges[test_random(&stack_random) % sizeof(edges)]
                        : (uint8_t)test_random(&stack_random);
    }
    if (test_random(&stack_random) % 8 == 0) {
        length = test_random(&stack_random) % (length + 1);
    } else if (test_random(&stack_random) % 8 == 0 && length < 1500) {
        size_t more = test_random(&stack_random) % (1500 - length);
        memset(frame + length, 0x5a, more);
        length += more;
    }
    if (length >= 34 && test_random(&stack_random) % 8 != 0) {
        mend(frame, length);
    }
    deliver(frame, length);
}

/* --- sockets
 * --------------------------------------------------------------------------------------
 */

#define CONNECTIONS 16

static struct socket *listener4, *listener6, *udp, *ping, *connections[CONNECTIONS];

static union socket_address address(int family, unsigned port, unsigned last)
{
    union socket_address name = {.family = (uint16_t)family};
    put16(name.bytes + 2, port);
    if (family == AF_INET && last != 0) {
        memcpy(name.bytes + 4, (uint8_t[4]){10, 0, 2, (uint8_t)last}, 4);
    }
    return name;
}

static void use_connection(unsigned i)
{
    struct io_vector io = {.remaining = 1 + test_random(&stack_random) % 40000};
    struct socket_message message = {.io = io};
    switch (test_random(&stack_random) % 8) {
    case 0:
        connections[i]->operations->release(connections[i]);
        connections[i] = NULL;
        break;
    case 1:
        connections[i]->operations->shutdown(connections[i], (int)(test_random(&stack_random) % 3));
        break;
    case 2:
    case 3:
        connections[i]->operations->send(connections[i], &message);
        break;
    default:
        connections[i]->operations->receive(connections[i], &message);
    }
    if (connections[i] != NULL) {
        connections[i]->operations->poll(connections[i]);
    }
}

static void use_sockets(void)
{
    unsigned i = (unsigned)(test_random(&stack_random) % CONNECTIONS);
    struct socket *from = test_random(&stack_random) % 2 == 0 ? listener4 : listener6;
    if (connections[i] != NULL) {
        use_connection(i);
    } else if (test_random(&stack_random) % 4 == 0) {
        union socket_address name = address(AF_INET, 80, 2);
        if (tcp_socket_create(AF_INET, 6, &connections[i]) == 0) {
            connections[i]->operations->connect(connections[i], &name, 16);
        }
    } else {
        from->operations->accept(from, &connections[i]);
    }
    struct io_vector io = {.remaining = 2000};
    struct socket_message message = {.io = io};
    struct socket *datagrams = test_random(&stack_random) % 2 == 0 ? udp : ping;
    datagrams->operations->receive(datagrams, &message);
    message = (struct socket_message){.io = io, .name = address(AF_INET, 53, 2), .name_length = 16};
    datagrams->operations->send(datagrams, &message);
}

static void open_sockets(void)
{
    union socket_address web = address(AF_INET, 80, 0);
    union socket_address web6 = address(AF_INET6, 8080, 0);
    union socket_address names = address(AF_INET, 53, 0);
    CHECK(tcp_socket_create(AF_INET, 6, &listener4) == 0);
    CHECK(listener4->operations->bind(listener4, &web, 16) == 0);
    CHECK(listener4->operations->listen(listener4, 8) == 0);
    CHECK(tcp_socket_create(AF_INET6, 6, &listener6) == 0);
    CHECK(listener6->operations->bind(listener6, &web6, 28) == 0);
    CHECK(listener6->operations->listen(listener6, 8) == 0);
    CHECK(udp_socket_create(AF_INET, 17, &udp) == 0);
    CHECK(udp->operations->bind(udp, &names, 16) == 0);
    CHECK(icmp_socket_create(AF_INET, 1, &ping) == 0);
}

int main(int argc, char **argv)
{
    unsigned long count = argc > 1 ? strtoul(argv[1], NULL, 10) : 200000;
    stack_memory_fails = 512;
    read_seeds(FRAMES);
    core_netdev_found(&device);
    inet_start();
    open_sockets();
    for (unsigned long i = 0; i < count; i++) {
        throw_one();
        if (i % 4 == 0) {
            use_sockets();
        }
        if (i % 16 == 0) {
            stack_pass_time(test_random(&stack_random) % 300000000);
        }
    }
    uint64_t end = stack_now;
    net_finish();
    CHECK(stack_now <= end + 10000000000, "%lu ns", stack_now - end);
    for (unsigned i = 0; i < CONNECTIONS; i++) {
        if (connections[i] != NULL) {
            connections[i]->operations->release(connections[i]);
        }
    }
    listener4->operations->release(listener4);
    listener6->operations->release(listener6);
    udp->operations->release(udp);
    ping->operations->release(ping);
    stack_pass_time(600000000000);
    CHECK(sent_count > count / 100, "%u", sent_count);
    CHECK(buffers_out == 0, "%u buffers are lost", buffers_out);
    return 0;
}
