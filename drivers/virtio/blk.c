/* SPDX-License-Identifier: MIT */
/* The block device (virtio 1.2, 5.2). Each CPU has a queue as far as the device has them; a queue's
 * lock guards its virtqueue and the lists of its requests: those the device has, and those for
 * which there was no room. A request's `driver` is its header while the device has it. When the
 * device breaks, whoever holds the lock then, or else the one who tells, gives all requests back.
 */
#include <linux/errno.h>

#include "blockdev.h"
#include "core/lib/log.h"
#include "core/lib/spinlock.h"
#include "core/lib/string.h"
#include "core/mm/kmalloc.h"
#include "drivers/virtio/virtio.h"
#include "drivers/virtio/virtio_drivers.h"
#include "hal.h"

#define QUEUE_SIZE 64 /* requests that the device has at once */
#define SEGMENTS 32   /* of one request */
#define REQUEST_BYTES (1u << 20)
#define ID_SIZE 20
#define ID_PATIENCE_NS 100000000ull

/* 5.2.3 */
#define BLK_F_SIZE_MAX (1ull << 1)
#define BLK_F_SEG_MAX (1ull << 2)
#define BLK_F_RO (1ull << 5)
#define BLK_F_BLK_SIZE (1ull << 6)
#define BLK_F_FLUSH (1ull << 9)
#define BLK_F_CONFIG_WCE (1ull << 11)
#define BLK_F_MQ (1ull << 12)
#define BLK_F_DISCARD (1ull << 13)
#define BLK_F_WRITE_ZEROES (1ull << 14)

/* Offsets in struct virtio_blk_config, 5.2.4 */
enum {
    CONFIG_CAPACITY = 0,
    CONFIG_SIZE_MAX = 8,
    CONFIG_SEG_MAX = 12,
    CONFIG_BLK_SIZE = 20,
    CONFIG_WRITEBACK = 32,
    CONFIG_NUM_QUEUES = 34,
    CONFIG_MAX_DISCARD_SECTORS = 36,
    CONFIG_MAX_WRITE_ZEROES_SECTORS = 48,
};

/* 5.2.6 */
enum {
    TYPE_IN = 0,
    TYPE_OUT = 1,
    TYPE_FLUSH = 4,
    TYPE_GET_ID = 8,
    TYPE_DISCARD = 11,
    TYPE_WRITE_ZEROES = 13,
};
enum { STATUS_OK = 0, STATUS_UNSUPPORTED = 2, STATUS_NONE = 0xff };

struct blk_header {
    uint32_t type;
    uint32_t reserved;
    uint64_t sector;
    struct {
        uint64_t sector;
        uint32_t count, flags;
    } range; /* of TYPE_DISCARD and TYPE_WRITE_ZEROES */
    uint8_t status;
};
#define HEADER_SIZE 16u /* type, reserved, sector */
#define RANGE_SIZE 16u

struct blk_queue {
    struct spinlock lock;
    struct virtqueue *virtqueue;
    struct blk_disk *disk;
    struct list in_flight; /* of struct block_request, here and below; lock */
    struct list waiting;
    struct virtio_buffer buffers[SEGMENTS + 2]; /* of the request that is being added; lock */
};

struct blk_disk {
    struct blockdev device;
    struct virtio_device *virtio;
    uint32_t size_max; /* bytes in one buffer */
    unsigned queue_count;
    struct blk_queue queues[];
};

/* GET_ID has no number of its own among core's operations. */
enum { ID_WAITING, ID_ANSWERED, ID_ABANDONED };
struct id_request {
    struct block_request request;
    struct block_segment segment;
    uint32_t state; /* atomic */
    int error;
    char id[ID_SIZE];
};
#define OPERATION_GET_ID (BLOCK_WRITE_ZEROES + 1)

/* --- requests -------------------------------------------------------------------------------- */

/* Puts the parts of the segments into queue->buffers from `count` on: how many there are then. The
 * limits (set_limits) make sure that they fit. */
static unsigned add_segments(struct blk_queue *queue, const struct block_request *request,
                             unsigned count)
{
    for (unsigned i = 0; i < request->segment_count; i++) {
        uint8_t *data = request->segments[i].data;
        for (uint32_t rest = request->segments[i].length; rest != 0 && count <= SEGMENTS;) {
            uint32_t piece = rest < queue->disk->size_max ? rest : queue->disk->size_max;
            queue->buffers[count++] = (struct virtio_buffer){data, piece};
            data += piece;
            rest -= piece;
        }
    }
    return count;
}

/* Gives a request to the device: -ENOBUFS, -EIO. The lock is held. */
static int add(struct blk_queue *queue, struct block_request *request)
{
    static const uint32_t types[] = {[BLOCK_READ] = TYPE_IN,
                                     [BLOCK_WRITE] = TYPE_OUT,
                                     [BLOCK_FLUSH] = TYPE_FLUSH,
                                     [BLOCK_DISCARD] = TYPE_DISCARD,
                                     [BLOCK_WRITE_ZEROES] = TYPE_WRITE_ZEROES,
                                     [OPERATION_GET_ID] = TYPE_GET_ID};
    struct blk_header *header = virtqueue_area(queue->virtqueue);
    if (header == NULL) {
        return -ENOBUFS;
    }
    *header = (struct blk_header){.type = types[request->operation], .status = STATUS_NONE};
    unsigned count = 1, out = 1;
    queue->buffers[0] = (struct virtio_buffer){header, HEADER_SIZE};
    if (request->operation == BLOCK_DISCARD || request->operation == BLOCK_WRITE_ZEROES) {
        header->range.sector = request->sector;
        header->range.count = (uint32_t)request->sector_count;
        queue->buffers[count++] = (struct virtio_buffer){&header->range, RANGE_SIZE};
        out = count;
    } else if (request->operation != BLOCK_FLUSH) {
        header->sector = request->sector;
        count = add_segments(queue, request, count);
        out = request->operation == BLOCK_WRITE ? count : 1;
    }
    queue->buffers[count++] = (struct virtio_buffer){&header->status, 1};
    int error = virtqueue_add(queue->virtqueue, queue->buffers, out, count - out, request);
    if (error == 0) {
        request->driver = header;
        list_push_back(&queue->in_flight, &request->node);
    }
    return error;
}

/* Gives what waits to the device as far as there is room, and tells it. The lock is held. */
static void add_waiting(struct blk_queue *queue)
{
    bool added = false;
    while (!list_empty(&queue->waiting)) {
        struct block_request *request = list_entry(queue->waiting.next, struct block_request, node);
        list_remove(&request->node);
        if (add(queue, request) != 0) {
            list_push_front(&queue->waiting, &request->node);
            break;
        }
        added = true;
    }
    if (added) {
        virtqueue_kick(queue->virtqueue);
    }
}

/* Ends the requests of a list; no lock held. */
static void finish_all(struct list *requests, int error)
{
    while (!list_empty(requests)) {
        struct block_request *request = list_entry(requests->next, struct block_request, node);
        list_remove(&request->node);
        request->done(request, error);
    }
}

static void take_all(struct list *from, struct list *to)
{
    while (!list_empty(from)) {
        struct list *node = from->next;
        list_remove(node);
        list_push_back(to, node);
    }
}

/* To be called after letting go of the lock: a device that broke meanwhile has nothing left. */
static void check_broken(struct blk_queue *queue)
{
    struct list gone = LIST_INIT(gone);
    while (__atomic_load_n(&queue->disk->virtio->broken, __ATOMIC_SEQ_CST) &&
           spin_try_lock(&queue->lock)) {
        take_all(&queue->in_flight, &gone);
        take_all(&queue->waiting, &gone);
        spin_unlock(&queue->lock);
        if (list_empty(&gone)) {
            break;
        }
        finish_all(&gone, -ENODEV);
    }
}

static void unlock(struct blk_queue *queue, bool irq)
{
    spin_unlock(&queue->lock);
    /* A broken device is seen here or by the one who tells, whose try for the lock came after. */
    __atomic_thread_fence(__ATOMIC_SEQ_CST);
    check_broken(queue);
    hal_irq_restore(irq);
}

/* Interrupts masked, so that it stays this CPU's. */
static struct blk_queue *this_queue(struct blk_disk *disk)
{
    return &disk->queues[hal_this_cpu()->id % disk->queue_count];
}

static void blk_submit(struct blockdev *device, struct block_request *request)
{
    struct blk_disk *disk = (struct blk_disk *)device;
    bool irq = hal_irq_save();
    struct blk_queue *queue = this_queue(disk);
    spin_lock(&queue->lock);
    list_push_back(&queue->waiting, &request->node);
    add_waiting(queue);
    unlock(queue, irq);
}

static int status_error(const struct blk_header *header)
{
    uint8_t status = __atomic_load_n(&header->status, __ATOMIC_RELAXED);
    return status == STATUS_OK ? 0 : status == STATUS_UNSUPPORTED ? -EOPNOTSUPP : -EIO;
}

/* Takes one answer, if there is one. */
static bool receive(struct blk_queue *queue)
{
    bool irq = spin_lock_irqsave(&queue->lock);
    struct block_request *request = virtqueue_get(queue->virtqueue, NULL);
    int error = 0;
    if (request != NULL) {
        error = status_error(request->driver);
        list_remove(&request->node);
        add_waiting(queue);
    }
    unlock(queue, irq);
    if (request != NULL) {
        request->done(request, error);
    }
    return request != NULL;
}

static void interrupt(void *context)
{
    struct blk_queue *queue = context;
    bool idle;
    do {
        while (receive(queue)) {
        }
        spin_lock(&queue->lock);
        idle = virtqueue_enable_interrupt(queue->virtqueue, 1);
        unlock(queue, false);
    } while (!idle);
}

/* --- the device ------------------------------------------------------------------------------ */

static uint64_t read_config(struct virtio_device *device, unsigned offset, size_t size)
{
    uint64_t value = 0;
    virtio_config_read(device, offset, &value, size);
    return value;
}

static uint64_t read_capacity(struct virtio_device *device)
{
    uint64_t sectors = read_config(device, CONFIG_CAPACITY, 8);
    return sectors <= UINT64_MAX >> (SECTOR_SHIFT + 1) ? sectors : UINT64_MAX >> (SECTOR_SHIFT + 1);
}

static void changed(struct virtio_device *device)
{
    struct blk_disk *disk = device->driver;
    bool broken = __atomic_load_n(&device->broken, __ATOMIC_SEQ_CST);
    uint64_t sectors = broken ? 0 : read_capacity(device);
    if (__atomic_exchange_n(&disk->device.sector_count, sectors, __ATOMIC_ACQ_REL) != sectors) {
        core_blockdev_changed(&disk->device);
    }
    for (unsigned i = 0; i < disk->queue_count; i++) {
        check_broken(&disk->queues[i]);
    }
}

static void id_done(struct block_request *request, int error)
{
    struct id_request *id = container_of(request, struct id_request, request);
    id->error = error;
    if (__atomic_exchange_n(&id->state, ID_ANSWERED, __ATOMIC_ACQ_REL) == ID_ABANDONED) {
        kfree(id);
    }
}

/* The serial number, when the device tells it soon. What it has not answered by then stays its own.
 */
static void read_serial(struct blk_disk *disk)
{
    struct id_request *id = kzalloc(sizeof(*id));
    if (id == NULL) {
        return;
    }
    id->segment = (struct block_segment){id->id, ID_SIZE};
    id->request = (struct block_request){.operation = OPERATION_GET_ID,
                                         .segments = &id->segment,
                                         .segment_count = 1,
                                         .done = id_done};
    uint64_t deadline = hal_clock_monotonic() + ID_PATIENCE_NS;
    bool irq = hal_irq_save();
    struct blk_queue *queue = this_queue(disk);
    blk_submit(&disk->device, &id->request);
    while (__atomic_load_n(&id->state, __ATOMIC_ACQUIRE) == ID_WAITING &&
           hal_clock_monotonic() < deadline) {
        interrupt(queue);
        hal_spin_hint();
    }
    hal_irq_restore(irq);
    if (__atomic_exchange_n(&id->state, ID_ABANDONED, __ATOMIC_ACQ_REL) == ID_WAITING) {
        return;
    }
    if (id->error == 0) {
        memcpy(disk->device.serial, id->id, ID_SIZE);
    }
    for (char *at = disk->device.serial; *at != '\0'; at++) {
        *at = *at > ' ' && *at < 0x7f ? *at : '?';
    }
    kfree(id);
}

/* Limits that core keeps to, so that every request has at most SEGMENTS parts. -ENODEV: nothing
 * useful fits. */
static int set_limits(struct blk_disk *disk)
{
    struct virtio_device *device = disk->virtio;
    struct blockdev *block = &disk->device;
    uint64_t segments =
        virtio_has(device, BLK_F_SEG_MAX) ? read_config(device, CONFIG_SEG_MAX, 4) : 1;
    uint64_t room = virtqueue_size(disk->queues[0].virtqueue);
    segments = segments < SEGMENTS ? segments : SEGMENTS;
    if (!virtio_has(device, VIRTIO_F_INDIRECT_DESC)) {
        segments = segments + 2 < room ? segments : room > 2 ? room - 2 : 0;
    }
    block->request_max = REQUEST_BYTES;
    disk->size_max = UINT32_MAX;
    if (virtio_has(device, BLK_F_SIZE_MAX)) {
        /* Half of the parts are for segments that are cut, half for the cuts. */
        disk->size_max = (uint32_t)read_config(device, CONFIG_SIZE_MAX, 4);
        uint64_t most = segments / 2 * disk->size_max;
        if (disk->size_max < REQUEST_BYTES && segments > 1) {
            segments /= 2;
            block->request_max = (uint32_t)(most < REQUEST_BYTES ? most : REQUEST_BYTES);
        } else if (disk->size_max < REQUEST_BYTES) {
            block->request_max = disk->size_max;
        }
    }
    block->request_max &= ~(uint32_t)(PAGE_SIZE - 1);
    block->segment_max = (uint32_t)segments;
    block->block_size = SECTOR_SIZE;
    if (virtio_has(device, BLK_F_BLK_SIZE)) {
        block->block_size = (uint32_t)read_config(device, CONFIG_BLK_SIZE, 4);
    }
    uint32_t block_size = block->block_size;
    if (block_size < SECTOR_SIZE || block_size > PAGE_SIZE ||
        (block_size & (block_size - 1)) != 0 || segments == 0 || block->request_max == 0) {
        log_error("%s: blocks of %u bytes in requests of %u cannot be used", device->name,
                  block->block_size, block->request_max);
        return -ENODEV;
    }
    block->sector_count = read_capacity(device);
    block->read_only = virtio_has(device, BLK_F_RO);
    block->can_flush =
        virtio_has(device, BLK_F_FLUSH) &&
        (!virtio_has(device, BLK_F_CONFIG_WCE) || read_config(device, CONFIG_WRITEBACK, 1) != 0);
    if (virtio_has(device, BLK_F_DISCARD)) {
        block->discard_max = (uint32_t)read_config(device, CONFIG_MAX_DISCARD_SECTORS, 4);
    }
    if (virtio_has(device, BLK_F_WRITE_ZEROES)) {
        block->zeroes_max = (uint32_t)read_config(device, CONFIG_MAX_WRITE_ZEROES_SECTORS, 4);
    }
    return 0;
}

static int open_queues(struct blk_disk *disk, unsigned count)
{
    struct virtqueue_options options = {.size_max = QUEUE_SIZE,
                                        .indirect_max = SEGMENTS + 2,
                                        .area_size = sizeof(struct blk_header)};
    int error = 0;
    for (unsigned i = 0; i < count && error == 0; i++) {
        struct blk_queue *queue = &disk->queues[i];
        spinlock_init(&queue->lock, LOCK_DEVICE);
        list_init(&queue->in_flight);
        list_init(&queue->waiting);
        queue->disk = disk;
        error = virtio_open_vector(disk->virtio, i, interrupt, queue, &options.vector);
        if (error == 0) {
            error = virtio_open_queue(disk->virtio, i, &options, &queue->virtqueue);
        }
    }
    disk->queue_count = count;
    return error;
}

static void set_name(char *name)
{
    static unsigned disks;
    unsigned letters = 1, index = disks++, first = 0, power = 26;
    while (index - first >= power) {
        first += power;
        power *= 26;
        letters++;
    }
    memcpy(name, "vd", 2);
    for (index -= first; letters-- > 0; index /= 26) {
        name[2 + letters] = (char)('a' + index % 26);
    }
}

int virtio_blk_probe(struct virtio_device *device)
{
    int error = virtio_negotiate(device, BLK_F_SIZE_MAX | BLK_F_SEG_MAX | BLK_F_RO |
                                             BLK_F_BLK_SIZE | BLK_F_FLUSH | BLK_F_CONFIG_WCE |
                                             BLK_F_MQ | BLK_F_DISCARD | BLK_F_WRITE_ZEROES);
    if (error != 0) {
        return error;
    }
    uint64_t count = virtio_has(device, BLK_F_MQ) ? read_config(device, CONFIG_NUM_QUEUES, 2) : 1;
    count = count < hal_cpu_count() ? count : hal_cpu_count();
    count += count == 0;
    struct blk_disk *disk = kzalloc(sizeof(*disk) + count * sizeof(disk->queues[0]));
    if (disk == NULL) {
        return -ENOMEM;
    }
    static const struct blockdev_operations operations = {.submit = blk_submit};
    disk->virtio = device;
    disk->device.operations = &operations;
    error = open_queues(disk, (unsigned)count);
    if (error == 0) {
        error = set_limits(disk);
    }
    if (error != 0) {
        /* The memory stays: where lines are shared, another device's interrupt may be under way to
         * a queue. */
        return error;
    }
    set_name(disk->device.name);
    size_t length = strlen(device->name);
    format(device->name + length, sizeof(device->name) - length, ", %s", disk->device.name);
    virtio_start(device);
    for (unsigned i = 0; i < disk->queue_count; i++) {
        (void)virtqueue_enable_interrupt(disk->queues[i].virtqueue, 1);
    }
    read_serial(disk);
    core_blockdev_found(&disk->device);
    device->driver = disk;
    device->changed = changed;
    /* What changed before anybody listened. */
    changed(device);
    return 0;
}
