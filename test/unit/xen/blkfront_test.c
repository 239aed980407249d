/* SPDX-License-Identifier: MIT */
/* The front end of disks against a back end that completes requests in any order, comes and goes,
 * or writes what it likes into the rings and into xenstore. Whatever it does, each request is done
 * exactly once. An argument is the number of changed scripts. */
#include "hal/xen/blkfront.c"

#include "fake_xenstore.h"
#include "fakes/check.h"
#include "script.h"

#define REQUESTS 64
#define REGION (PAGES_MAX * PAGE_SIZE) /* of the disk, of each request */
#define SECTORS (REQUESTS * REGION / SECTOR_SIZE)
#define FRONT "device/vbd/51712"
#define BACK "/backend/51712"

/* --- core ------------------------------------------------------------------------------------- */

static struct blkfront *disk;
static unsigned changes; /* of the size, or that it is gone */

void core_blockdev_found(struct blockdev *device)
{
    disk = (struct blkfront *)device;
    device->core = disk;
}

void core_blockdev_changed(struct blockdev *device)
{
    CHECK(device == &disk->device);
    changes++;
}

unsigned hal_cpu_count(void)
{
    return 2;
}

/* --- the back end ----------------------------------------------------------------------------- */

static struct {
    unsigned queues, order, segments;
    uint64_t sectors;
    bool read_only;
} offered = {.queues = 4, .order = 4, .segments = 256, .sectors = SECTORS};

static char contents[REQUESTS * REGION];
static struct {
    struct ring *ring;
    unsigned entries;
    uint32_t taken;
    union blkif_request requests[SLOTS_MAX]; /* not answered */
    unsigned count;
} rings[2];
static unsigned ring_count;
static uint64_t seed;

static uint32_t dice(void)
{
    return (uint32_t)test_random(&seed);
}

static char *page_of(uint32_t grant)
{
    CHECK(grant < FAKE_GRANTS && fake_grants[grant].page != NULL && fake_grants[grant].domain == 3);
    return fake_grants[grant].page;
}

/* Finds the rings by what the front end has said. */
static void map_rings(void)
{
    char path[80];
    unsigned order = offered.order != 0 ? (unsigned)fake_store_number(FRONT "/ring-page-order") : 0;
    ring_count =
        offered.queues != 0 ? (unsigned)fake_store_number(FRONT "/multi-queue-num-queues") : 1;
    CHECK(ring_count >= 1 && ring_count <= 2 && order <= offered.order);
    for (unsigned i = 0; i < ring_count; i++) {
        char prefix[32] = FRONT "/";
        if (ring_count > 1) {
            format(prefix, sizeof(prefix), FRONT "/queue-%u/", i);
        }
        for (unsigned page = 0; page < 1u << order; page++) {
            format(path, sizeof(path), "%sring-ref", prefix);
            if (offered.order != 0) {
                format(path, sizeof(path), "%sring-ref%u", prefix, page);
            }
            char *mapped = page_of((uint32_t)fake_store_number(path));
            if (page == 0) {
                rings[i].ring = (struct ring *)mapped;
            }
            CHECK(mapped == (char *)rings[i].ring + page * PAGE_SIZE);
        }
        rings[i].entries = 32u << order;
        rings[i].taken = rings[i].count = 0;
    }
}

static void set_state(unsigned state)
{
    fake_store_set_number(BACK "/state", state);
    fake_store_run();
}

/* Connects as Linux's does: what it says of the disk comes with its last state. */
static bool connect_turn(void)
{
    if (fake_store_number(BACK "/state") != XENBUS_INIT_WAIT ||
        fake_store_number(FRONT "/state") != XENBUS_INITIALISED) {
        return false;
    }
    map_rings();
    fake_store_set_number(BACK "/sectors", offered.sectors);
    fake_store_set_number(BACK "/sector-size", 512);
    fake_store_set_number(BACK "/info", offered.read_only ? VDISK_READONLY : 0);
    fake_store_set_number(BACK "/feature-flush-cache", 1);
    fake_store_set_number(BACK "/feature-discard", 1);
    fake_store_set_number(BACK "/state", XENBUS_CONNECTED);
    return true;
}

/* What it has said before that is not offered any more is gone. */
static void set_offer(const char *name, unsigned value)
{
    if (value != 0) {
        fake_store_set_number(name, value);
    } else {
        fake_store_set(name, NULL);
    }
}

static void publish_back_end(void)
{
    fake_store_set(FRONT "/backend", BACK);
    fake_store_set(FRONT "/backend-id", "3");
    fake_store_set(FRONT "/virtual-device", "51712");
    fake_store_set(BACK "/online", "1");
    set_offer(BACK "/multi-queue-max-queues", offered.queues);
    set_offer(BACK "/max-ring-page-order", offered.order);
    set_offer(BACK "/feature-max-indirect-segments", offered.segments);
    fake_store_set_number(BACK "/state", XENBUS_INIT_WAIT);
}

static void take_requests_of(unsigned index)
{
    struct ring *ring = rings[index].ring;
    while (rings[index].taken != ring->header.req_prod) {
        CHECK(rings[index].count < rings[index].entries);
        rings[index].requests[rings[index].count++] =
            ring->entries[rings[index].taken++ % rings[index].entries];
    }
}

/* Moves the data of a request, looking at every number in it. */
static void transfer(const union blkif_request *request)
{
    bool indirect = request->direct.operation == BLKIF_INDIRECT;
    uint8_t operation = indirect ? request->indirect.indirect_operation : request->direct.operation;
    unsigned count = indirect ? request->indirect.segment_count : request->direct.segment_count;
    const struct blkif_segment *segments = request->direct.segments;
    uint64_t sector = request->direct.sector;
    if (operation == BLKIF_FLUSH || operation == BLKIF_DISCARD) {
        return;
    }
    CHECK(operation == BLKIF_READ || operation == BLKIF_WRITE);
    CHECK(count != 0 && count <= (indirect ? offered.segments : BLKIF_DIRECT_SEGMENTS));
    if (indirect) {
        CHECK(request->indirect.handle == 51712);
        segments = (struct blkif_segment *)page_of(request->indirect.grants[0]);
    } else {
        CHECK(request->direct.handle == 51712);
    }
    for (unsigned i = 0; i < count; i++) {
        unsigned first = segments[i].first_sector, last = segments[i].last_sector;
        CHECK(first <= last && last < 8);
        size_t size = (last - first + 1) * SECTOR_SIZE;
        char *page = page_of(segments[i].grant) + first * SECTOR_SIZE;
        char *place = contents + sector * SECTOR_SIZE;
        CHECK(!fake_grants[segments[i].grant].read_only); /* as feature-persistent wants it */
        CHECK(sector * SECTOR_SIZE + size <= sizeof(contents));
        memcpy(operation == BLKIF_READ ? page : place, operation == BLKIF_READ ? place : page,
               size);
        sector += size / SECTOR_SIZE;
    }
}

/* Answers one of the requests that it has. */
static void answer(unsigned index, int status)
{
    CHECK(rings[index].count != 0);
    unsigned pick = dice() % rings[index].count;
    union blkif_request request = rings[index].requests[pick];
    rings[index].requests[pick] = rings[index].requests[--rings[index].count];
    if (status == 0) {
        transfer(&request);
    }
    struct ring *ring = rings[index].ring;
    ring->entries[ring->header.rsp_prod++ % rings[index].entries].response =
        (struct blkif_response){.id = request.direct.id, .status = (int16_t)status};
}

/* --- requests --------------------------------------------------------------------------------- */

static struct block_request requests[REQUESTS];
static struct block_segment segments[REQUESTS][PAGES_MAX];
static char data[REQUESTS][REGION];
static unsigned done_count[REQUESTS];
static int errors[REQUESTS];

static void done(struct block_request *request, int error)
{
    done_count[request - requests]++;
    errors[request - requests] = error;
}

/* Connects to what the back end offers now. */
static void begin(void)
{
    struct xenbus_device bus = {.path = FRONT, .backend = BACK, .backend_domain = 3};
    fake_reset();
    memset(rings, 0, sizeof(rings));
    fake_back_end = connect_turn;
    disk = NULL;
    changes = 0;
    publish_back_end();
    CHECK(blkfront_connect(&bus) == 0 && disk != NULL);
    CHECK(strcmp(disk->device.name, "xvda") == 0 &&
          fake_store_number(FRONT "/state") == XENBUS_CONNECTED);
}

/* Cuts the data of request `i` into segments of sectors; a part of it stays untouched. */
static void fill_request(unsigned i, enum block_operation operation)
{
    uint32_t size = 0, most = disk->device.request_max;
    unsigned count = 0;
    bool moves = operation == BLOCK_READ || operation == BLOCK_WRITE;
    while (moves && count < disk->device.segment_max && (count == 0 || dice() % 8 != 0)) {
        uint32_t length = (1 + dice() % (dice() % 4 == 0 ? 64 : 9)) * SECTOR_SIZE;
        if (size + length > most) {
            break;
        }
        segments[i][count++] = (struct block_segment){data[i] + size, length};
        size += length;
    }
    requests[i] = (struct block_request){
        .operation = operation,
        .sector = i * REGION / SECTOR_SIZE,
        .sector_count = operation == BLOCK_DISCARD ? 8 : 0,
        .segments = segments[i],
        .segment_count = count,
        .done = done,
    };
    done_count[i] = 0;
    errors[i] = 1;
}

static void submit_all(enum block_operation operation)
{
    for (unsigned i = 0; i < REQUESTS; i++) {
        fill_request(i, operation);
    }
    for (unsigned i = 0; i < REQUESTS; i++) {
        fake_cpu->id = dice() % 2;
        disk->device.operations->submit(&disk->device, &requests[i]);
    }
}

/* The same pieces again, as reads. */
static void read_back(void)
{
    for (unsigned i = 0; i < REQUESTS; i++) {
        requests[i].operation = BLOCK_READ;
        done_count[i] = 0;
        fake_cpu->id = dice() % 2;
        disk->device.operations->submit(&disk->device, &requests[i]);
    }
}

static unsigned done_in_all(void)
{
    unsigned count = 0;
    for (unsigned i = 0; i < REQUESTS; i++) {
        CHECK(done_count[i] <= 1);
        count += done_count[i];
    }
    return count;
}

/* A few turns of the back end. */
static void serve_some(int status, unsigned turns)
{
    for (; turns != 0; turns--) {
        unsigned index = dice() % ring_count;
        take_requests_of(index);
        for (unsigned n = dice() % 4; n != 0 && rings[index].count != 0; n--) {
            answer(index, status);
        }
        completed(disk->queues[index]);
    }
}

static void serve_all(int status)
{
    while (done_in_all() < REQUESTS) {
        serve_some(status, 1);
    }
}

static void fill_data(void)
{
    for (size_t i = 0; i < sizeof(data); i++) {
        ((char *)data)[i] = (char)dice();
    }
}

static size_t size_of(unsigned i)
{
    return data_size(&requests[i]);
}

static void check_written(void)
{
    for (unsigned i = 0; i < REQUESTS; i++) {
        CHECK(errors[i] == 0 && memcmp(data[i], contents + i * REGION, size_of(i)) == 0);
    }
}

/* --- the tests -------------------------------------------------------------------------------- */

static void check_proper(void)
{
    static char written[REQUESTS][REGION];
    for (unsigned round = 0; round < 18; round++) {
        offered.queues = round % 3;
        offered.order = round / 3 % 3;
        offered.segments = round / 9 % 2 == 0 ? 256 : 0;
        begin();
        CHECK(disk->device.request_max ==
              (offered.segments != 0 ? PAGES_MAX : BLKIF_DIRECT_SEGMENTS) * PAGE_SIZE);
        fill_data();
        submit_all(BLOCK_WRITE);
        serve_all(0);
        check_written();
        memcpy(written, data, sizeof(data));
        fill_data();
        read_back();
        serve_all(0);
        for (unsigned i = 0; i < REQUESTS; i++) {
            CHECK(errors[i] == 0 && memcmp(data[i], written[i], size_of(i)) == 0);
        }
        submit_all(BLOCK_FLUSH);
        serve_all(-1);
        for (unsigned i = 0; i < REQUESTS; i++) {
            CHECK(errors[i] == -EIO);
        }
        submit_all(BLOCK_DISCARD);
        serve_all(BLKIF_UNSUPPORTED);
        for (unsigned i = 0; i < REQUESTS; i++) {
            CHECK(errors[i] == -EOPNOTSUPP);
        }
        CHECK(!disk->gone && changes == 0);
    }
    offered.queues = offered.order = 4;
    offered.segments = 256;
}

/* The pages that the back end has are the same all the time, and not many. */
static void check_persistent(void)
{
    begin();
    for (unsigned round = 0; round < 8; round++) {
        static unsigned first;
        submit_all(BLOCK_WRITE);
        serve_all(0);
        first = round == 4 ? fake_granted_count() : first;
        CHECK(round <= 4 || fake_granted_count() <= first + 2 * PAGES_MAX);
    }
    CHECK(fake_granted_count() <= 2 * (FAKE_PAGES / 32 + PAGES_MAX + (1u << RING_ORDER_MAX)));
}

/* It leaves while requests are in flight, and another comes, which may have fewer queues. */
static void check_reconnect(void)
{
    begin();
    for (unsigned round = 0; round < 30; round++) {
        fill_data();
        submit_all(BLOCK_WRITE);
        serve_some(0, dice() % 6);
        unsigned before = done_in_all();
        set_state(XENBUS_CLOSING);
        CHECK(fake_store_number(FRONT "/state") == XENBUS_CLOSED);
        completed(disk->queues[0]);
        set_state(XENBUS_CLOSED);
        CHECK(fake_store_number(FRONT "/state") == XENBUS_INITIALISING);
        CHECK(fake_granted_count() == 0 && done_in_all() == before);
        offered.queues = dice() % 3;
        offered.order = dice() % 3;
        publish_back_end();
        fake_store_run();
        CHECK(fake_store_number(FRONT "/state") == XENBUS_CONNECTED);
        CHECK(disk->queues_used == (offered.queues == 2 ? 2 : 1));
        serve_all(0);
        check_written();
    }
    CHECK(changes == 0 && !disk->bus.broken);
    offered.queues = offered.order = 4;
}

/* It answers what it has before it leaves: nothing is sent twice. */
static bool answer_turn(void)
{
    bool any = false;
    for (unsigned index = 0; index < ring_count; index++) {
        take_requests_of(index);
        if (rings[index].count != 0) {
            CHECK(fake_store_number(FRONT "/state") == XENBUS_CONNECTED);
            answer(index, 0);
            completed(disk->queues[index]);
            any = true;
        }
    }
    fake_back_end = any ? answer_turn : NULL;
    return any;
}

static void check_drained(void)
{
    begin();
    fill_data();
    submit_all(BLOCK_WRITE);
    take_requests_of(0);
    take_requests_of(1);
    unsigned seen = rings[0].count + rings[1].count;
    CHECK(seen < REQUESTS);
    fake_back_end = answer_turn;
    set_state(XENBUS_CLOSING);
    CHECK(fake_store_number(FRONT "/state") == XENBUS_CLOSED && done_in_all() == seen);
    set_state(XENBUS_CLOSED);
    fake_back_end = connect_turn;
    publish_back_end();
    fake_store_run();
    serve_all(0);
    check_written();
}

/* What a back end has to offer that comes after another. */
static void check_what_is_less(void)
{
    for (unsigned way = 0; way < 4; way++) {
        begin();
        submit_all(BLOCK_READ);
        set_state(XENBUS_CLOSING);
        set_state(XENBUS_CLOSED);
        offered.sectors = way == 0 ? SECTORS + 8 : way == 1 ? 0 : SECTORS;
        offered.read_only = way == 2;
        offered.segments = way == 3 ? 0 : 256;
        publish_back_end();
        fake_store_run();
        if (way == 0) {
            CHECK(changes == 1 && disk->device.sector_count == SECTORS + 8);
            serve_all(0);
        } else {
            CHECK(changes == 1 && disk->device.sector_count == 0 && done_in_all() == REQUESTS);
        }
        offered.sectors = SECTORS;
        offered.read_only = false;
        offered.segments = 256;
    }
    begin();
    fake_store_set_number(BACK "/sectors", SECTORS / 2);
    set_state(XENBUS_CONNECTED);
    CHECK(changes == 1 && disk->device.sector_count == SECTORS / 2);
}

/* What it may say of a disk and what it may not. */
static const struct {
    const char *key, *value;
    uint64_t sectors; /* 0: it is not used */
    unsigned block_size, request_max;
} values[] = {
    {BACK "/sectors", "0", 0, 0, 0},
    {BACK "/sectors", "-8", 0, 0, 0},
    {BACK "/sectors", "36028797018963968", 0, 0, 0},
    {BACK "/sectors", "36028797018963967", 36028797018963967, 512, 131072},
    {BACK "/sectors", NULL, 0, 0, 0},
    {BACK "/sector-size", NULL, SECTORS, 512, 131072},
    {BACK "/sector-size", "4096", SECTORS, 4096, 131072},
    {BACK "/sector-size", "0", 0, 0, 0},
    {BACK "/sector-size", "256", 0, 0, 0},
    {BACK "/sector-size", "1536", 0, 0, 0},
    {BACK "/sector-size", "8192", SECTORS, 512, 131072},
    {BACK "/feature-max-indirect-segments", "11", SECTORS, 512, 45056},
    {BACK "/feature-max-indirect-segments", "20", SECTORS, 512, 81920},
    {BACK "/feature-max-indirect-segments", "4294967295", SECTORS, 512, 131072},
    {BACK "/feature-max-indirect-segments", "many", SECTORS, 512, 45056},
    {FRONT "/virtual-device", "51713", SECTORS, 512, 131072},
    {FRONT "/virtual-device", "2048", 0, 0, 0},
    {FRONT "/virtual-device", "268435456", SECTORS, 512, 131072},
    {FRONT "/virtual-device", "268442112", 0, 0, 0},
    {FRONT "/virtual-device", "", 0, 0, 0},
};
static unsigned value_index;

static bool say_value(void)
{
    bool connects = connect_turn();
    if (connects) {
        fake_store_set(values[value_index].key, values[value_index].value);
    }
    return connects;
}

static void check_values(void)
{
    for (value_index = 0; value_index < sizeof(values) / sizeof(values[0]); value_index++) {
        const char *key = values[value_index].key, *value = values[value_index].value;
        struct xenbus_device bus = {.path = FRONT, .backend = BACK, .backend_domain = 3};
        fake_reset();
        disk = NULL;
        fake_back_end = say_value;
        publish_back_end();
        fake_store_set(key, value);
        bool good = values[value_index].sectors != 0;
        CHECK((blkfront_connect(&bus) == 0) == good && (disk != NULL) == good, "%s=%s", key, value);
        CHECK(!good || (disk->device.sector_count == values[value_index].sectors &&
                        disk->device.block_size == values[value_index].block_size &&
                        disk->device.request_max == values[value_index].request_max),
              "%s=%s", key, value);
    }
}

/* The toolstack detaches the disk: no other will come. */
static void check_detach(bool removed)
{
    begin();
    submit_all(BLOCK_WRITE);
    serve_some(0, 4);
    fake_store_set(BACK "/online", "0");
    set_state(XENBUS_CLOSING);
    CHECK(done_in_all() < REQUESTS);
    if (removed) {
        fake_store_set(BACK "/state", NULL);
        fake_store_run();
    } else {
        set_state(XENBUS_CLOSED);
    }
    CHECK(done_in_all() == REQUESTS && changes == 1 && disk->device.sector_count == 0);
    CHECK(fake_granted_count() == 0);
    unsigned failed = 0;
    for (unsigned i = 0; i < REQUESTS; i++) {
        CHECK(errors[i] == 0 || errors[i] == -ENODEV);
        failed += errors[i] != 0;
    }
    CHECK(failed != 0);
    submit_all(BLOCK_READ);
    CHECK(done_in_all() == REQUESTS && errors[0] == -ENODEV && errors[REQUESTS - 1] == -ENODEV);
}

/* The domain sleeps, and wakes up with the same back ends or with others. */
static void check_suspend(void)
{
    begin();
    fill_data();
    submit_all(BLOCK_WRITE);
    serve_some(0, 4);
    xenbus_suspend();
    unsigned before = done_in_all();
    take_requests_of(0);
    while (rings[0].count != 0) {
        answer(0, 0);
    }
    completed(disk->queues[0]);
    CHECK(done_in_all() == before);
    xenbus_resume(true);
    CHECK(done_in_all() > before);
    serve_all(0);
    check_written();

    fill_data();
    submit_all(BLOCK_WRITE);
    serve_some(0, 4);
    xenbus_suspend();
    memset(fake_grants, 0, sizeof(fake_grants));
    publish_back_end();
    fake_store_set(FRONT "/state", "1");
    xenbus_resume(false);
    fake_store_run();
    CHECK(disk->bus.connected);
    serve_all(0);
    check_written();
    CHECK(changes == 0);
}

/* Each of what no back end may do closes the disk, once, and nothing else. */
static void check_each_damage(void)
{
    for (unsigned way = 0; way < 5; way++) {
        begin();
        fake_cpu->id = 0;
        for (unsigned i = 0; i < 3; i++) {
            fill_request(i, BLOCK_READ);
            disk->device.operations->submit(&disk->device, &requests[i]);
        }
        struct queue *queue = disk->queues[0];
        struct ring *ring = queue->ring;
        take_requests_of(0);
        uint64_t id = rings[0].requests[1].direct.id;
        for (unsigned e = 0; e < 4; e++) {
            ring->entries[e].response = (struct blkif_response){.id = id};
        }
        ring->header.rsp_prod = 1;
        switch (way) {
        case 0: /* an index beyond what was asked */
            ring->header.rsp_prod = 4;
            break;
        case 1: /* one that goes back */
            ring->header.rsp_prod = (uint32_t)-1;
            break;
        case 2: /* an id that there is not */
            ring->entries[0].response.id = queue->slot_count;
            break;
        case 3: /* one of a slot that is free */
            ring->entries[0].response.id = id + 2 < queue->slot_count ? id + 2 : 40;
            break;
        default: /* an answer twice */
            ring->header.rsp_prod = 2;
            break;
        }
        completed(queue);
        CHECK(disk->gone && disk->bus.broken && changes == 1 && disk->device.sector_count == 0);
        for (unsigned i = 0; i < 3; i++) {
            CHECK(done_count[i] == 1 && (errors[i] == -ENODEV || (i == 1 && way == 4)));
        }
        /* It may still leave, and is not let in again. */
        set_state(XENBUS_CLOSING);
        CHECK(fake_store_number(FRONT "/state") == XENBUS_CLOSED);
        set_state(XENBUS_CLOSED);
        CHECK(fake_granted_count() == 0);
        set_state(XENBUS_INIT_WAIT);
        CHECK(fake_store_number(FRONT "/state") == XENBUS_CLOSED && changes == 1);
    }
}

/* A back end that keeps one of the pages when it leaves gets no others. */
static void check_kept_page(void)
{
    for (unsigned grant = 8; grant < 60; grant++) {
        begin();
        if (fake_grants[grant].page == NULL) {
            continue;
        }
        submit_all(BLOCK_READ);
        fake_grants[grant].kept = true;
        set_state(XENBUS_CLOSING);
        set_state(XENBUS_CLOSED);
        CHECK(disk->bus.broken && done_in_all() == REQUESTS && changes == 1);
    }
}

/* What is in a ring is nearly right, or not at all. */
static void check_damage(void)
{
    for (unsigned round = 0; round < 200; round++) {
        begin();
        submit_all(dice() % 4);
        for (unsigned i = 0; i < 50; i++) {
            struct queue *queue = disk->queues[dice() % 2];
            queue->ring->header.rsp_prod += dice() % 3;
            if (dice() % 16 == 0) {
                queue->ring->header.rsp_prod = dice();
            }
            queue->ring->header.req_event = dice();
            for (unsigned e = 0; e < queue->slot_count; e++) {
                queue->ring->entries[e].response.id = dice() % (queue->slot_count + 1);
                queue->ring->entries[e].response.status = (int16_t)(dice() % 4 - 2);
            }
            completed(queue);
            done_in_all();
        }
        fail_all(disk);
        CHECK(done_in_all() == REQUESTS);
    }
}

/* --- scripts (blkfront.txt) ------------------------------------------------------------------- */

static unsigned submitted;

static void play_begin(void)
{
    fake_reset();
    fake_back_end = NULL;
    disk = NULL;
    changes = submitted = 0;
    memset(done_count, 0, sizeof(done_count));
    fake_store_set(FRONT "/backend", BACK);
    fake_store_set(FRONT "/backend-id", "3");
    fake_store_set(FRONT "/virtual-device", "51712");
    fake_store_set(BACK "/online", "1");
    fake_store_set_number(BACK "/sectors", SECTORS);
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

static struct queue *script_queue(void)
{
    return disk->queues[fake_cpu->id % disk->queues_used];
}

static struct blkif_response *next_response(struct queue *queue)
{
    return &queue->ring->entries[queue->ring->header.rsp_prod & (queue->slot_count - 1)].response;
}

static void script_submit(int64_t count)
{
    for (; count > 0 && submitted < REQUESTS; count--) {
        fill_request(submitted, dice() % 4);
        disk->device.operations->submit(&disk->device, &requests[submitted++]);
    }
}

/* Answers requests that are in flight, in the order of their slots. */
static void script_answer(int64_t count, int status)
{
    for (unsigned q = 0; q < disk->queues_used; q++) {
        struct queue *queue = disk->queues[q];
        for (unsigned i = 0; count > 0 && i < queue->slot_count; i++) {
            if (queue->slots[i].request != NULL) {
                *next_response(queue) = (struct blkif_response){.id = i, .status = (int16_t)status};
                queue->ring->header.rsp_prod++;
                completed(queue);
                count--;
            }
        }
    }
}

static void script_noise(struct queue *queue)
{
    for (size_t i = 0; i < queue->slot_count * sizeof(union blkif_request); i++) {
        ((char *)queue->ring->entries)[i] = (char)dice();
    }
    queue->ring->header.req_event = dice();
}

/* The steps that are about the rings. */
static void play_on_rings(const char *word)
{
    int64_t number;
    struct queue *queue = script_queue();
    if (script_number(word, "submit:", &number)) {
        script_submit(number);
    } else if (script_number(word, "answer:", &number)) {
        script_answer(number, 0);
    } else if (script_number(word, "error:", &number)) {
        script_answer(number, -1);
    } else if (script_number(word, "prod+", &number)) {
        queue->ring->header.rsp_prod += (uint32_t)number;
    } else if (script_number(word, "prod:", &number)) {
        queue->ring->header.rsp_prod = (uint32_t)number;
    } else if (script_number(word, "id:", &number)) {
        next_response(queue)->id = (uint64_t)number;
    } else if (script_number(word, "status:", &number)) {
        next_response(queue)->status = (int16_t)number;
    } else if (strcmp(word, "noise") == 0) {
        script_noise(queue);
    } else if (strcmp(word, "event") == 0) {
        completed(queue);
    }
}

static void play_step(const char *word)
{
    int64_t number;
    char key[SCRIPT_WORD_MAX + 32];
    const char *value = strchr(word, '=');
    struct xenbus_device bus = {.path = FRONT, .backend = BACK, .backend_domain = 3};
    static bool asleep;
    if (value != NULL) {
        snprintf(key, sizeof(key), BACK "/%.*s", (int)(value - word), word);
        fake_store_set(key, value[1] != '\0' ? value + 1 : NULL);
        fake_store_run();
    } else if (script_number(word, "cpu:", &number)) {
        fake_cpu->id = (unsigned)number % 2;
    } else if (script_number(word, "keep:", &number)) {
        fake_grants[8 + (uint64_t)number % 64].kept = true;
    } else if (strcmp(word, "connect") == 0 && disk == NULL) {
        fake_back_end = script_connects;
        blkfront_connect(&bus);
        fake_back_end = NULL;
        asleep = false;
    } else if (disk != NULL && fake_suspend_step(word, &asleep)) {
        return;
    } else if (disk != NULL) {
        play_on_rings(word);
    }
}

static void play_end(void)
{
    fake_cpu->id = 0;
    if (disk != NULL) {
        CHECK(done_in_all() <= submitted);
        fail_all(disk);
        CHECK(done_in_all() == submitted && disk->device.sector_count == 0);
    }
}

int main(int count, char **arguments)
{
    check_proper();
    check_persistent();
    check_reconnect();
    check_drained();
    check_what_is_less();
    check_values();
    check_detach(false);
    check_detach(true);
    check_suspend();
    check_each_damage();
    check_kept_page();
    check_damage();
    script_play_all(SCRIPTS, &(struct script_player){play_begin, play_step, play_end},
                    count > 1 ? (unsigned)strtoul(arguments[1], NULL, 10) : 2000, &seed);
    fake_reset();
    return 0;
}
