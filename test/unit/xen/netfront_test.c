/* SPDX-License-Identifier: MIT */
/* The front end of network interfaces against a back end that sends and receives properly, or
 * writes what it likes into the rings. Whatever it does, each frame that was taken is told to core
 * at most once, each buffer comes back once, and core sees nothing outside of the pages that were
 * granted, nor one that still is. */
#include "hal/xen/netfront.c"

#include <stdio.h>
#include <stdlib.h>

#include "fake_xenbus.h"
#include "fakes/check.h"

#define GRANTS 4096
#define PAGES 2048
#define FRAMES 400

static struct {
    const char *page; /* NULL: not granted */
    bool read_only;
} grants[GRANTS];
static uint32_t next_grant;
static bool keep_pages; /* the back end does not let go */
static uint64_t seed;

static uint32_t dice(void)
{
    return (uint32_t)test_random(&seed);
}

/* --- the kernel around it --------------------------------------------------------------------- */

void page_free(uint64_t page, unsigned order)
{
    (void)page;
    (void)order;
    CHECK(false);
}

unsigned hal_cpu_count(void)
{
    return 2;
}

static void *allocated[PAGES];
static unsigned allocated_count;

void *kzalloc(size_t size)
{
    CHECK(allocated_count < PAGES);
    return allocated[allocated_count++] = calloc(1, size);
}

void kfree(void *pointer)
{
    CHECK(pointer == NULL);
}

int grant_alloc(uint32_t *reference)
{
    *reference = next_grant++;
    CHECK(next_grant < GRANTS);
    return 0;
}

void grant_give(uint32_t reference, uint16_t domain, const void *page, bool read_only)
{
    (void)domain;
    CHECK((uintptr_t)page % PAGE_SIZE == 0 && grants[reference].page == NULL);
    grants[reference].page = page;
    grants[reference].read_only = read_only;
}

bool grant_take_back(uint32_t reference)
{
    CHECK(grants[reference].page != NULL);
    if (keep_pages && dice() % 4 == 0) {
        return false;
    }
    grants[reference].page = NULL;
    return true;
}

/* --- xenstore: numbers at random, or what a proper back end says ------------------------------ */

static bool random_store;
static unsigned backend_state, own_state;
static const char *mac_text = "00:16:3E:0f:ff:02";

uint64_t xenbus_backend_number(const struct xenbus_device *device, const char *name, uint64_t max,
                               uint64_t otherwise)
{
    (void)device;
    if (random_store) {
        return dice() % 3 == 0 ? otherwise : max == UINT64_MAX ? dice() : dice() % (max + 1);
    }
    return strcmp(name, "state") == 0                    ? backend_state
           : strcmp(name, "multi-queue-max-queues") == 0 ? 4
                                                         : 1;
}

int xenbus_write_number(const struct xenbus_device *device, const char *name, uint64_t value)
{
    (void)device;
    if (strcmp(name, "state") == 0) {
        own_state = (unsigned)value;
    }
    return 0;
}

void xenbus_free_channel(uint32_t port)
{
    CHECK(port == 1);
}

long xenstore_read(const char *path, char *value, size_t size)
{
    (void)path;
    if (random_store) {
        unsigned length = dice() % 19;
        CHECK(length < size);
        for (unsigned i = 0; i < length; i++) {
            value[i] = (char)dice();
        }
        value[length] = '\0';
        return dice() % 4 == 0 ? -ENOENT : (long)length;
    }
    CHECK(size > 17);
    memcpy(value, mac_text, 18);
    return 17;
}

int xenstore_read_number(const char *path, uint64_t max, uint64_t *value)
{
    (void)path;
    *value = random_store ? dice() % (max + 1) : 1500;
    return 0;
}

/* --- core ------------------------------------------------------------------------------------- */

static struct netfront *net;
static unsigned taken[FRAMES], told[FRAMES]; /* of each frame to be sent */
static struct net_buffer *held[64];          /* received, and not given back yet */
static unsigned held_count, link_changes;
static uint64_t received_bytes;

void core_netdev_found(struct netdev *device)
{
    net = (struct netfront *)device;
    snprintf(device->name, sizeof(device->name), "eth0");
}

void core_net_link_changed(struct netdev *device)
{
    CHECK(device->link_up != net->gone);
    link_changes++;
}

void core_net_interrupt(struct netdev *device, unsigned queue)
{
    (void)device;
    (void)queue;
}

void core_net_transmitted(struct netdev *device, void *token)
{
    (void)device;
    unsigned frame = (unsigned)(uintptr_t)token - 1;
    CHECK(frame < FRAMES && told[frame] < taken[frame]);
    told[frame]++;
}

static void release_one(unsigned at)
{
    struct net_buffer *buffer = held[at];
    held[at] = held[--held_count];
    buffer->release(buffer);
}

void core_net_receive(struct netdev *device, struct net_buffer *frame,
                      const struct net_offload *offload)
{
    (void)device;
    CHECK(offload->segment_version == 0 || offload->segment_version == 4 ||
          offload->segment_version == 6);
    for (struct net_buffer *next; frame != NULL; frame = next) {
        next = frame->next;
        const char *data = frame->data, *page = data - (uintptr_t)data % PAGE_SIZE;
        CHECK(frame->length != 0 && data >= fake_pages && data + frame->length <= page + PAGE_SIZE);
        for (unsigned i = 0; i < next_grant; i++) {
            CHECK(grants[i].page != page);
        }
        received_bytes += frame->length;
        if (held_count == sizeof(held) / sizeof(held[0])) {
            release_one(dice() % held_count);
        }
        held[held_count++] = frame;
    }
}

/* --- the test --------------------------------------------------------------------------------- */

static void connect(void)
{
    struct xenbus_device bus = {.path = "device/vif/0", .backend = "backend"};
    fake_pages_reset(PAGES);
    next_grant = 8;
    net = NULL;
    held_count = 0;
    received_bytes = 0;
    memset(grants, 0, sizeof(grants));
    memset(taken, 0, sizeof(taken));
    memset(told, 0, sizeof(told));
    netfront_connect(&bus);
}

static void free_all(void)
{
    while (allocated_count != 0) {
        free(allocated[--allocated_count]);
    }
}

static bool send(unsigned queue, unsigned frame)
{
    static char data[3][30000];
    struct net_segment segments[3];
    unsigned count = 1 + dice() % 3;
    for (unsigned i = 0; i < count; i++) {
        memset(data[i], (int)frame, sizeof(data[i]));
        segments[i] = (struct net_segment){data[i], 1 + dice() % (dice() % 4 == 0 ? 25000 : 1500)};
    }
    struct net_offload offload = {
        .checksum = NET_CHECKSUM_PARTIAL, .segment_version = dice() % 2 * 4, .segment_size = 1448};
    int error = net->device.operations->transmit(&net->device, queue, segments, count, &offload,
                                                 (void *)(uintptr_t)(frame + 1));
    CHECK(error == 0 || error == -ENOBUFS || error == -EMSGSIZE || error == -ENODEV);
    if (error == 0) {
        taken[frame]++;
    }
    net->device.operations->flush(&net->device, queue);
    return error == 0;
}

/* Takes all frames, looks at their pieces, and answers in the order of the ring. */
static void answer_sent(struct tx_ring *ring, unsigned *expected)
{
    while (ring->header.rsp_prod != ring->header.req_prod) {
        uint32_t at = ring->header.rsp_prod, first = at, left = 0;
        union tx_entry entry;
        do {
            entry = ring->entries[at++ % SLOTS];
            left += at - 1 == first ? entry.request.size : 0;
            uint32_t piece = entry.request.size;
            if (at - 1 == first) {
                /* The first says how long all of it is. */
                piece = (entry.request.flags & TX_MORE_DATA) != 0 ? (uint32_t)PAGE_SIZE : left;
            }
            const char *page = grants[entry.request.grant].page;
            CHECK(page != NULL && grants[entry.request.grant].read_only);
            CHECK(piece <= left && entry.request.offset + piece <= PAGE_SIZE);
            for (uint32_t i = 0; i < piece; i++) {
                CHECK(page[entry.request.offset + i] == (char)*expected);
            }
            left -= piece;
            uint16_t id = entry.request.id;
            ring->entries[(at - 1) % SLOTS].response = (struct tx_response){.id = id};
            if ((entry.request.flags & TX_EXTRA_INFO) != 0) {
                CHECK(ring->entries[at % SLOTS].extra.type == EXTRA_GSO);
                ring->entries[at++ % SLOTS].response = (struct tx_response){.status = RSP_NULL};
            }
        } while ((entry.request.flags & TX_MORE_DATA) != 0);
        CHECK(left == 0);
        (*expected)++;
        ring->header.rsp_prod = at;
    }
}

/* A frame of 1 .. 4 pieces, as far as there are pages for it: its bytes. */
static uint32_t put_received(struct rx_ring *ring)
{
    unsigned pieces = 1 + dice() % 4;
    bool extra = dice() % 2 == 0;
    uint32_t at = ring->header.rsp_prod, size = 0;
    if (ring->header.req_prod - at < pieces + extra) {
        return 0;
    }
    for (unsigned i = 0; i < pieces; i++) {
        union rx_entry *entry = &ring->entries[at++ % SLOTS];
        const char *page = grants[entry->request.grant].page;
        CHECK(page != NULL && !grants[entry->request.grant].read_only);
        uint16_t offset = (uint16_t)(dice() % 64), length = (uint16_t)(1 + dice() % 4000);
        uint16_t flags = (uint16_t)((i + 1 < pieces ? RX_MORE_DATA : 0) | RX_CSUM_BLANK);
        if (i == 0 && extra) {
            flags |= RX_EXTRA_INFO;
            ring->entries[at++ % SLOTS].extra =
                (struct extra_info){.type = EXTRA_GSO, .gso_size = 1448, .gso_type = GSO_TCPV4};
        }
        entry->response = (struct rx_response){
            .id = entry->request.id, .offset = offset, .flags = flags, .status = (int16_t)length};
        size += length;
    }
    ring->header.rsp_prod = at;
    return size;
}

static void check_proper(void)
{
    connect();
    CHECK(net != NULL && net->device.queue_count == 2 && net->device.link_up);
    CHECK(memcmp(net->device.mac, "\x00\x16\x3e\x0f\xff\x02", 6) == 0);
    unsigned sent[2] = {0}, expected[2] = {0};
    uint64_t put = 0;
    for (unsigned round = 0; round < 4000; round++) {
        unsigned index = dice() % 2;
        struct netfront_queue *queue = net->queues[index];
        if (index == 0 && sent[0] < FRAMES && send(0, sent[0])) {
            sent[0]++;
        }
        put += put_received(queue->rx);
        if (dice() % 3 == 0) {
            answer_sent(queue->tx, &expected[index]);
            net->device.operations->poll(&net->device, index, 64);
            net->device.operations->enable_interrupt(&net->device, index);
        }
    }
    for (unsigned index = 0; index < 2; index++) {
        answer_sent(net->queues[index]->tx, &expected[index]);
        net->device.operations->poll(&net->device, index, SLOTS);
    }
    CHECK(!net->gone && received_bytes == put && sent[0] == FRAMES);
    for (unsigned i = 0; i < FRAMES; i++) {
        CHECK(told[i] == 1);
    }
    free_all();
}

static void set_backend_state(unsigned state)
{
    backend_state = state;
    backend_changed(net);
}

/* The back end leaves while frames are under way, and comes again with another address. */
static void check_reconnect(void)
{
    connect();
    unsigned sent = 0;
    uint64_t put = 0;
    for (unsigned round = 0; round < 20; round++) {
        unsigned before = sent;
        while (sent < before + 10) {
            CHECK(send(0, sent) || sent > before);
            sent++;
        }
        put += put_received(net->queues[0]->rx);
        put += put_received(net->queues[1]->rx);
        net->device.operations->poll(&net->device, 0, 64);
        net->device.operations->poll(&net->device, 1, 64);
        link_changes = 0;
        set_backend_state(XENBUS_CLOSING);
        CHECK(own_state == XENBUS_CLOSED && link_changes == 1 && !net->device.link_up);
        CHECK(!send(1, 0));
        set_backend_state(XENBUS_CLOSED);
        CHECK(own_state == XENBUS_INITIALISING);
        unsigned granted = 0;
        for (unsigned i = 0; i < next_grant; i++) {
            granted += grants[i].page != NULL;
        }
        CHECK(granted == 0);
        net->device.operations->poll(&net->device, 0, 64);
        for (unsigned i = 0; i < sent; i++) {
            CHECK(told[i] == taken[i]);
        }
        mac_text = round % 2 != 0 ? "00:16:3E:0f:ff:02" : "02:00:00:00:00:07";
        set_backend_state(XENBUS_INITIALISING);
        set_backend_state(XENBUS_INIT_WAIT);
        CHECK(own_state == XENBUS_CONNECTED && link_changes == 1);
        set_backend_state(XENBUS_CONNECTED);
        CHECK(link_changes == 2 && net->device.link_up && !net->broken);
    }
    CHECK(received_bytes == put && net->device.mac[5] == 2);
    keep_pages = true;
    set_backend_state(0);
    CHECK(net->broken && !net->device.link_up);
    own_state = 0;
    set_backend_state(XENBUS_INIT_WAIT);
    CHECK(own_state == 0);
    keep_pages = false;
    free_all();
}

static void fill_randomly(void *at, size_t size)
{
    for (size_t i = 0; i < size; i++) {
        ((char *)at)[i] = (char)dice();
    }
}

/* What is in a ring is nearly right, or not at all. */
static void damage(struct netfront_queue *queue)
{
    queue->rx->header.rsp_prod += dice() % 4;
    queue->tx->header.rsp_prod += dice() % 4;
    if (dice() % 16 == 0) {
        queue->rx->header.rsp_prod = dice();
    }
    if (dice() % 16 == 0) {
        queue->tx->header.rsp_prod = dice();
    }
    queue->rx->header.req_event = dice();
    queue->tx->header.req_event = dice();
    if (dice() % 2 == 0) {
        fill_randomly(queue->rx->entries, sizeof(queue->rx->entries));
        fill_randomly(queue->tx->entries, sizeof(queue->tx->entries));
        return;
    }
    for (unsigned i = 0; i < SLOTS; i++) {
        queue->tx->entries[i].response =
            (struct tx_response){(uint16_t)(dice() % (SLOTS + 2)), (int16_t)(dice() % 4 - 2)};
        queue->rx->entries[i].response =
            (struct rx_response){(uint16_t)i, (uint16_t)(dice() % 5000), (uint16_t)(dice() % 16),
                                 (int16_t)(dice() % 5000 - 100)};
    }
}

static void check_damage(void)
{
    unsigned closed = 0;
    for (unsigned round = 0; round < 1500; round++) {
        keep_pages = round % 10 == 0;
        random_store = round % 3 == 0;
        connect();
        if (net == NULL) {
            free_all();
            continue;
        }
        link_changes = 0;
        unsigned queues = net->device.queue_count;
        CHECK(queues >= 1 && queues <= 2 && net->device.mtu >= 576);
        for (unsigned i = 0; i < FRAMES / 4; i++) {
            unsigned index = dice() % queues;
            send(index, i);
            damage(net->queues[index]);
            net->device.operations->poll(&net->device, index, 1 + dice() % 64);
            net->device.operations->enable_interrupt(&net->device, index);
            while (held_count != 0 && dice() % 2 == 0) {
                release_one(dice() % held_count);
            }
        }
        CHECK(link_changes <= 1 && link_changes == net->gone);
        for (unsigned i = 0; i < 8; i++) { /* and its states jump */
            backend_state = dice() % 8;
            backend_changed(net);
            poll(&net->device, 0, 8);
        }
        closed += link_changes != 0;
        free_all();
    }
    CHECK(closed > 500);
    keep_pages = random_store = false;
}

int main(void)
{
    check_proper();
    check_reconnect();
    check_damage();
    return 0;
}
