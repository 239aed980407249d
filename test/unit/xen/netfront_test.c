/* SPDX-License-Identifier: MIT */
/* The front end of network interfaces against a back end that sends and receives properly, or
 * writes what it likes into the rings. Whatever it does, each frame that was taken is told to core
 * at most once, each buffer comes back once, and core sees nothing outside of the pages that were
 * granted, nor one that still is. An argument is the number of changed scripts. */
#include "hal/xen/netfront.c"

#include <string.h>

#include "fake_xenstore.h"
#include "fakes/check.h"
#include "script.h"

#define FRAMES 400
#define FRONT "device/vif/0"
#define BACK "/backend/0"

static uint64_t seed;

static uint32_t dice(void)
{
    return (uint32_t)test_random(&seed);
}

unsigned hal_cpu_count(void)
{
    return 2;
}

/* --- xenstore: what a proper back end says, or what none would say ---------------------------- */

static void set_state(unsigned state)
{
    fake_store_set_number(BACK "/state", state);
    fake_store_run();
}

static bool connect_turn(void)
{
    if (fake_store_number(BACK "/state") != XENBUS_INIT_WAIT ||
        fake_store_number(FRONT "/state") != XENBUS_CONNECTED) {
        return false;
    }
    fake_store_set_number(BACK "/state", XENBUS_CONNECTED);
    return true;
}

static void publish_back_end(const char *mac)
{
    static const char *const features[] = {"feature-sg", "feature-gso-tcpv4", "feature-gso-tcpv6",
                                           "feature-ipv6-csum-offload", "online"};
    fake_store_set(FRONT "/backend", BACK);
    fake_store_set(FRONT "/backend-id", "3");
    fake_store_set(FRONT "/mac", mac);
    fake_store_set(FRONT "/mtu", "1500");
    fake_store_set_number(BACK "/multi-queue-max-queues", 4);
    for (unsigned i = 0; i < sizeof(features) / sizeof(features[0]); i++) {
        char path[64];
        format(path, sizeof(path), BACK "/%s", features[i]);
        fake_store_set(path, "1");
    }
    fake_store_set_number(BACK "/state", XENBUS_INIT_WAIT);
}

/* Now and then something else than what is there. */
static bool spoil(const char *path, char value[64], bool known)
{
    static const char *const values[] = {"",
                                         "-1",
                                         "99999999999999999999",
                                         "18446744073709551615",
                                         "4294967296",
                                         "0x10",
                                         "1 ",
                                         "one",
                                         "00:16:3e:0f:ff",
                                         "00-16-3e-0f-ff-02",
                                         "a value that is much longer than what was wanted"};
    (void)path;
    switch (dice() % 8) {
    case 0:
        return false;
    case 1:
        strcpy(value, values[dice() % (sizeof(values) / sizeof(values[0]))]);
        return true;
    case 2:
        format(value, 64, "%u", dice() % 8);
        return true;
    default:
        return known;
    }
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
    strcpy(device->name, "eth0");
}

void core_net_link_changed(struct netdev *device)
{
    CHECK(net != NULL && device->link_up != net->gone);
    link_changes++;
}

void core_net_interrupt(struct netdev *device, unsigned queue)
{
    device->operations->poll(device, queue, 64);
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
        for (unsigned i = 0; i < FAKE_GRANTS; i++) {
            CHECK(fake_grants[i].page != page);
        }
        received_bytes += frame->length;
        if (held_count == sizeof(held) / sizeof(held[0])) {
            release_one(dice() % held_count);
        }
        held[held_count++] = frame;
    }
}

/* --- the test --------------------------------------------------------------------------------- */

static void begin(void)
{
    struct xenbus_device bus = {.path = FRONT, .backend = BACK, .backend_domain = 3};
    fake_reset();
    fake_back_end = connect_turn;
    net = NULL;
    held_count = 0;
    received_bytes = 0;
    memset(taken, 0, sizeof(taken));
    memset(told, 0, sizeof(told));
    publish_back_end("00:16:3E:0f:ff:02");
    netfront_connect(&bus);
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
            const char *page = fake_grants[entry.request.grant].page;
            CHECK(page != NULL && fake_grants[entry.request.grant].read_only);
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
        const char *page = fake_grants[entry->request.grant].page;
        CHECK(page != NULL && !fake_grants[entry->request.grant].read_only);
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
    begin();
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
}

/* The back end leaves while frames are under way, and comes again with another address. */
static void check_reconnect(void)
{
    begin();
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
        set_state(XENBUS_CLOSING);
        CHECK(fake_store_number(FRONT "/state") == XENBUS_CLOSED && link_changes == 1);
        CHECK(!net->device.link_up && !send(1, 0));
        set_state(XENBUS_CLOSED);
        CHECK(fake_store_number(FRONT "/state") == XENBUS_INITIALISING);
        CHECK(fake_granted_count() == 0);
        for (unsigned i = 0; i < sent; i++) {
            CHECK(told[i] == taken[i]);
        }
        set_state(XENBUS_INITIALISING);
        CHECK(link_changes == 1);
        publish_back_end(round % 2 != 0 ? "00:16:3E:0f:ff:02" : "02:00:00:00:00:07");
        fake_store_run();
        CHECK(link_changes == 2 && net->device.link_up && !net->bus.broken);
    }
    CHECK(received_bytes == put && net->device.mac[5] == 2);
    fake_grants[9].kept = true;
    set_state(XENBUS_CLOSING);
    set_state(XENBUS_CLOSED);
    CHECK(net->bus.broken && !net->device.link_up);
    set_state(XENBUS_INIT_WAIT);
    CHECK(fake_store_number(FRONT "/state") == XENBUS_CLOSED);
}

/* The domain sleeps, and wakes up with the same back ends or with others; a detached device may be
 * attached again. */
static void check_suspend(void)
{
    begin();
    link_changes = 0;
    for (unsigned round = 0; round < 6; round++) {
        bool cancelled = round % 3 == 0, detached = round % 3 == 1;
        unsigned before = taken[round];
        send(0, round);
        CHECK(taken[round] == before + 1);
        if (detached) {
            fake_store_set(BACK "/online", "0");
            set_state(XENBUS_CLOSING);
            fake_store_set(BACK "/state", NULL);
            fake_store_run();
        } else {
            xenbus_suspend();
        }
        CHECK(!net->device.link_up && link_changes == 1 && !send(0, 100));
        if (!cancelled) {
            if (!detached) {
                memset(fake_grants, 0, sizeof(fake_grants));
            }
            fake_store_set(FRONT "/state", "1");
            publish_back_end("02:00:00:00:00:07");
        }
        if (!detached) {
            xenbus_resume(cancelled);
        }
        fake_store_run();
        CHECK(net->device.link_up && link_changes == 2 && !net->bus.broken);
        CHECK(cancelled || told[round] == taken[round]);
        link_changes = 0;
    }
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
    for (unsigned round = 0; round < 500; round++) {
        fake_store_spoil = round % 3 == 0 ? spoil : NULL;
        begin();
        if (net == NULL) {
            continue;
        }
        link_changes = 0;
        unsigned queues = net->device.queue_count;
        CHECK(queues >= 1 && queues <= 2 && net->device.mtu >= 576);
        for (unsigned i = 0; i < FRAMES / 4; i++) {
            unsigned index = dice() % queues;
            if (round % 10 == 0) {
                fake_grants[dice() % 1000].kept = dice() % 2 == 0;
            }
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
            set_state(dice() % 8);
            poll(&net->device, 0, 8);
        }
        closed += link_changes != 0;
    }
    CHECK(closed > 150);
    fake_store_spoil = NULL;
}

/* Each of what no back end may do closes the device, once, with all told and given back. */
static void check_each_damage(void)
{
    static const char *const ways[] = {"an index beyond what was sent",
                                       "an index that goes back",
                                       "an id that there is not",
                                       "one of a slot that is free",
                                       "an answer twice",
                                       "an index beyond the posted pages",
                                       "a chain of frames without an end",
                                       "an extra information that does not come",
                                       "a page that is kept",
                                       "one of extra information that is kept"};
    for (unsigned way = 0; way < sizeof(ways) / sizeof(ways[0]); way++) {
        begin();
        link_changes = 0;
        struct netfront_queue *queue = net->queues[0];
        struct net_segment segment = {(char[100]){0}, 100};
        for (uintptr_t frame = 1; frame <= 3; frame++) {
            CHECK(transmit(&net->device, 0, &segment, 1, &(struct net_offload){0}, (void *)frame) ==
                  0);
            taken[frame - 1]++;
        }
        flush(&net->device, 0);
        uint16_t id = queue->tx->entries[1].request.id;
        uint32_t posted = queue->rx->header.req_prod;
        for (unsigned i = 0; i < SLOTS; i++) {
            uint32_t grant = queue->rx->entries[i].request.grant;
            if (i == 0) {
                fake_grants[grant].kept = way == 8;
            } else if (i == 1) {
                fake_grants[grant].kept = way == 9;
            }
            queue->rx->entries[i].response =
                (struct rx_response){.id = (uint16_t)i,
                                     .status = 10,
                                     .flags = way == 6   ? RX_MORE_DATA
                                              : way == 7 ? RX_EXTRA_INFO
                                              : way == 9 ? RX_EXTRA_INFO
                                                         : 0};
        }
        struct tx_response answer = {.id = way == 2 ? SLOTS : way == 3 ? (uint16_t)(id + 100) : id};
        queue->tx->entries[0].response = queue->tx->entries[1].response = answer;
        queue->tx->header.rsp_prod = way == 0   ? 4
                                     : way == 1 ? (uint32_t)-1
                                     : way == 4 ? 2
                                     : way < 4  ? 1
                                                : 0;
        queue->rx->header.rsp_prod = way == 5   ? posted + 1
                                     : way == 6 ? 90
                                     : way == 7 ? 1
                                     : way == 8 ? 1
                                     : way == 9 ? 2
                                                : 0;
        poll(&net->device, 0, 64);
        CHECK(net->gone && net->bus.broken && link_changes == 1, "%s", ways[way]);
        CHECK(told[0] + told[1] + told[2] == (way == 4), "%s", ways[way]);
        CHECK(held_count == 0, "%s", ways[way]);
        /* It may still leave, and is not let in again; core hears of its frames. */
        set_state(XENBUS_CLOSING);
        CHECK(fake_store_number(FRONT "/state") == XENBUS_CLOSED);
        set_state(XENBUS_CLOSED);
        CHECK(told[0] == 1 && told[1] == 1 && told[2] == 1, "%s", ways[way]);
        CHECK(fake_granted_count() == (way >= 8), "%s", ways[way]);
        set_state(XENBUS_INIT_WAIT);
        CHECK(fake_store_number(FRONT "/state") == XENBUS_CLOSED && link_changes == 1);
    }
}

/* A frame that is not good is dropped and counted; those around it arrive. */
static void check_bad_frames(void)
{
    static const struct {
        uint16_t offset;
        int16_t status;
    } bad[] = {{0, 0}, {0, -1}, {0, INT16_MIN}, {4090, 60}, {0, 4097}, {UINT16_MAX, 1}};
    begin();
    for (unsigned i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        struct rx_ring *ring = net->queues[0]->rx;
        uint32_t at = ring->header.rsp_prod;
        uint64_t before = received_bytes;
        for (unsigned n = 0; n < 3; n++) {
            struct rx_response good = {.id = (uint16_t)((at + n) % SLOTS), .status = 60};
            ring->entries[(at + n) % SLOTS].response = good;
        }
        ring->entries[(at + 1) % SLOTS].response.offset = bad[i].offset;
        ring->entries[(at + 1) % SLOTS].response.status = bad[i].status;
        ring->header.rsp_prod = at + 3;
        CHECK(poll(&net->device, 0, 64) == 2 && received_bytes == before + 120);
        CHECK(net->device.statistics.rx_errors == i + 1 && !net->gone);
    }
}

/* What it may say of an interface and what it may not. */
static void check_values(void)
{
    static const struct {
        const char *key, *value;
        unsigned queues; /* 0: it is not used */
        unsigned mtu;
    } cases[] = {
        {FRONT "/mac", "00:16:3e:00:00:0", 0, 0},
        {FRONT "/mac", "00:16:3e:00:00:0g", 0, 0},
        {FRONT "/mac", "00:16:3e:00:00-02", 0, 0},
        {FRONT "/mac", "00:16:3e:00:00:022", 0, 0},
        {FRONT "/mac", NULL, 0, 0},
        {FRONT "/mtu", "9000", 2, 9000},
        {FRONT "/mtu", "575", 2, 1500},
        {FRONT "/mtu", "65522", 2, 1500},
        {FRONT "/mtu", "-1", 2, 1500},
        {FRONT "/mtu", NULL, 2, 1500},
        {BACK "/multi-queue-max-queues", "0", 1, 1500},
        {BACK "/multi-queue-max-queues", "1", 1, 1500},
        {BACK "/multi-queue-max-queues", "4294967295", 2, 1500},
        {BACK "/multi-queue-max-queues", "4294967296", 1, 1500},
        {BACK "/multi-queue-max-queues", "two", 1, 1500},
    };
    for (unsigned i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct xenbus_device bus = {.path = FRONT, .backend = BACK, .backend_domain = 3};
        fake_reset();
        net = NULL;
        publish_back_end("00:16:3e:00:00:02");
        fake_store_set(cases[i].key, cases[i].value);
        CHECK((netfront_connect(&bus) == 0) == (cases[i].queues != 0), "%s=%s", cases[i].key,
              cases[i].value);
        CHECK((net == NULL) == (cases[i].queues == 0));
        CHECK(net == NULL ||
                  (net->device.queue_count == cases[i].queues && net->device.mtu == cases[i].mtu),
              "%s=%s", cases[i].key, cases[i].value);
    }
}

/* A back end that comes may offer less than the one before, and the one after it as much again. */
static void check_what_is_less(void)
{
    static const struct {
        const char *key;
        uint32_t features; /* that are left */
        unsigned queues;
    } cases[] = {
        {"feature-gso-tcpv4", NETDEV_TX_CHECKSUM | NETDEV_TX_TSO6, 2},
        {"feature-gso-tcpv6", NETDEV_TX_CHECKSUM | NETDEV_TX_TSO4, 2},
        {"feature-sg", NETDEV_TX_CHECKSUM, 2},
        {"feature-ipv6-csum-offload", 0, 2},
        {"multi-queue-max-queues", NETDEV_TX_CHECKSUM | NETDEV_TX_TSO4 | NETDEV_TX_TSO6, 1},
    };
    begin();
    for (unsigned i = 0; i < 2 * sizeof(cases) / sizeof(cases[0]); i++) {
        bool less = i % 2 == 0;
        char path[64];
        send(0, i);
        send(1, i);
        set_state(XENBUS_CLOSING);
        set_state(XENBUS_CLOSED);
        CHECK(told[i] == taken[i] && fake_granted_count() == 0);
        publish_back_end("00:16:3e:00:00:02");
        format(path, sizeof(path), BACK "/%s", cases[i / 2].key);
        if (less) {
            fake_store_set(path, NULL);
        }
        fake_store_run();
        const struct netdev *device = &net->device;
        CHECK(!net->bus.broken && device->link_up && device->queue_count == 2, "%s", path);
        CHECK((device->features & ~(NETDEV_RX_CHECKSUM | NETDEV_RX_LARGE)) ==
                  (less ? cases[i / 2].features : cases[4].features),
              "%s", path);
        unsigned queues = less ? cases[i / 2].queues : 2;
        CHECK(device->queues_used == queues &&
              fake_store_number(FRONT "/multi-queue-num-queues") == queues);
        static char frame[60];
        struct net_segment segment = {frame, sizeof(frame)};
        for (unsigned queue = 0; queue < 2; queue++) {
            int error = transmit(&net->device, queue, &segment, 1, &(struct net_offload){0},
                                 (void *)(uintptr_t)(i + 1));
            CHECK(error == (queue < queues ? 0 : -ENODEV), "%s", path);
            taken[i] += error == 0;
        }
        CHECK(poll(&net->device, 1, 64) == 0 && enable_interrupt(&net->device, 1));
    }
}

/* --- scripts (netfront.txt) ------------------------------------------------------------------- */

static unsigned queue_index, frames_sent;
static bool asleep;

static void play_begin(void)
{
    fake_reset();
    fake_back_end = NULL;
    net = NULL;
    held_count = queue_index = frames_sent = 0;
    asleep = false;
    memset(taken, 0, sizeof(taken));
    memset(told, 0, sizeof(told));
    fake_store_set(FRONT "/backend", BACK);
    fake_store_set(FRONT "/backend-id", "3");
    fake_store_set(FRONT "/mac", "00:16:3e:00:00:02");
    fake_store_set(BACK "/online", "1");
}

static bool script_connects(void)
{
    fake_back_end = NULL;
    if (fake_store_number(BACK "/state") != XENBUS_INIT_WAIT) {
        return false;
    }
    fake_store_set_number(BACK "/state", XENBUS_CONNECTED);
    return true;
}

static void script_send(int64_t count)
{
    for (; count > 0 && frames_sent < FRAMES; count--) {
        send(queue_index, frames_sent++);
    }
}

static void script_answer(struct netfront_queue *queue)
{
    for (unsigned i = 0; i < SLOTS; i++) {
        if (queue->tx_slots[i].used) {
            uint32_t at = queue->tx->header.rsp_prod++;
            queue->tx->entries[at % SLOTS].response = (struct tx_response){.id = (uint16_t)i};
        }
    }
}

static void script_receive(struct netfront_queue *queue, int64_t count)
{
    for (; count > 0 && queue->rx->header.rsp_prod != queue->rx_prod; count--) {
        uint32_t at = queue->rx->header.rsp_prod++ % SLOTS;
        queue->rx->entries[at].response =
            (struct rx_response){.id = (uint16_t)at, .status = 100, .flags = RX_DATA_VALIDATED};
    }
    poll(&net->device, queue->index, 64);
}

static void script_chain(struct rx_ring *ring, int64_t count)
{
    for (; count > 0; count--) {
        ring->entries[ring->header.rsp_prod++ % SLOTS].response =
            (struct rx_response){.flags = RX_MORE_DATA, .status = 100};
    }
}

/* The steps that are about the rings. */
static void play_on_rings(const char *word)
{
    int64_t number;
    struct netfront_queue *queue = net->queues[queue_index];
    struct tx_response *tx = &queue->tx->entries[queue->tx->header.rsp_prod % SLOTS].response;
    struct rx_response *rx = &queue->rx->entries[queue->rx->header.rsp_prod % SLOTS].response;
    if (script_number(word, "send:", &number)) {
        script_send(number);
    } else if (script_number(word, "receive:", &number)) {
        script_receive(queue, number % 100);
    } else if (script_number(word, "release:", &number)) {
        while (held_count != 0 && number-- > 0) {
            release_one(dice() % held_count);
        }
    } else if (script_number(word, "tx+", &number)) {
        queue->tx->header.rsp_prod += (uint32_t)number;
    } else if (script_number(word, "rx+", &number)) {
        queue->rx->header.rsp_prod += (uint32_t)number;
    } else if (script_number(word, "tx:", &number)) {
        queue->tx->header.rsp_prod = (uint32_t)number;
    } else if (script_number(word, "rx:", &number)) {
        queue->rx->header.rsp_prod = (uint32_t)number;
    } else if (script_number(word, "txid:", &number)) {
        tx->id = (uint16_t)number;
    } else if (script_number(word, "txstatus:", &number)) {
        tx->status = (int16_t)number;
    } else if (script_number(word, "size:", &number)) {
        *rx = (struct rx_response){.status = (int16_t)number};
    } else if (script_number(word, "offset:", &number)) {
        rx->offset = (uint16_t)number;
    } else if (script_number(word, "flags:", &number)) {
        rx->flags = (uint16_t)number;
    } else if (script_number(word, "chain:", &number)) {
        script_chain(queue->rx, number % 300);
    } else if (strcmp(word, "noise") == 0) {
        fill_randomly(queue->rx->entries, sizeof(queue->rx->entries));
        fill_randomly(queue->tx->entries, sizeof(queue->tx->entries));
    } else if (strcmp(word, "answer") == 0) {
        script_answer(queue);
    } else if (strcmp(word, "poll") == 0) {
        poll(&net->device, queue_index, 64);
        enable_interrupt(&net->device, queue_index);
    }
}

static void play_step(const char *word)
{
    int64_t number;
    char key[SCRIPT_WORD_MAX + 32];
    const char *value = strchr(word, '=');
    struct xenbus_device bus = {.path = FRONT, .backend = BACK, .backend_domain = 3};
    if (value != NULL) {
        format(key, sizeof(key), "%s%s%.*s", word[0] == '/' ? FRONT : BACK,
               word[0] == '/' ? "" : "/", (int)(value - word), word);
        fake_store_set(key, value[1] != '\0' ? value + 1 : NULL);
        fake_store_run();
    } else if (script_number(word, "keep:", &number)) {
        fake_grants[8 + (uint64_t)number % 200].kept = true;
    } else if (strcmp(word, "connect") == 0 && net == NULL) {
        fake_back_end = script_connects;
        netfront_connect(&bus);
        fake_back_end = NULL;
    } else if (net != NULL && fake_suspend_step(word, &asleep)) {
        return;
    } else if (script_number(word, "queue:", &number) && net != NULL) {
        queue_index = (unsigned)number % net->device.queue_count;
    } else if (net != NULL) {
        play_on_rings(word);
    }
}

/* Whatever came before, a detach ends it: each frame has been told. */
static void play_end(void)
{
    if (net != NULL && !asleep) {
        fake_store_set(BACK "/state", NULL);
        fake_store_run();
        for (unsigned i = 0; i < FRAMES; i++) {
            CHECK(told[i] == taken[i]);
        }
    }
}

int main(int count, char **arguments)
{
    check_proper();
    check_reconnect();
    check_suspend();
    check_values();
    check_what_is_less();
    check_bad_frames();
    check_each_damage();
    check_damage();
    script_play_all(SCRIPTS, &(struct script_player){play_begin, play_step, play_end},
                    count > 1 ? (unsigned)strtoul(arguments[1], NULL, 10) : 2000, &seed);
    fake_reset();
    return 0;
}
