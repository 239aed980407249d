/* SPDX-License-Identifier: MIT */
/* The page cache and /dev/vda against a device in memory: what is read and written, how many
 * requests that takes, what errors touch, and what can be given back. */
#include <asm/ioctls.h>
#include <linux/fs.h>
#include <linux/stat.h>
#include <stdlib.h>

#include "core/block/block.h"
#include "core/mm/page.h"
#include "fake_disk.h"
#include "fs_machine.h"

#define SIZE (3u << 20)
#define PAGES (SIZE / PAGE_SIZE)

static struct fake_disk disk, odd;
static uint8_t bytes[SIZE], expected[SIZE], buffer[SIZE];
static struct block_device *device;

static void forget(void)
{
    cache_drop(device, 0, SIZE);
    CHECK(cache_pages() == 0, "%lu pages left", cache_pages());
    disk.requests = 0;
    disk.largest = 0;
}

static void check_contents(const char *when)
{
    CHECK(memcmp(bytes, expected, SIZE) == 0, "%s: on the device", when);
    int fd = open_file("/dev/vda", O_RDONLY, 0);
    CHECK_CALL(SIZE, CALL(pread64, (uint64_t)fd, P(buffer), SIZE, 0));
    CHECK(memcmp(buffer, expected, SIZE) == 0, "%s: as read", when);
    CALL(close, (uint64_t)fd);
}

static void test_reading(void)
{
    int fd = open_file("/dev/vda", O_RDONLY, 0);
    for (size_t at = 0; at < SIZE; at += 4096) {
        CHECK_CALL(4096, CALL(read, (uint64_t)fd, P(buffer + at), 4096));
    }
    CHECK_CALL(0, CALL(read, (uint64_t)fd, P(buffer), 4096));
    CHECK(memcmp(buffer, bytes, SIZE) == 0, "in sequence");
    CHECK(disk.requests < PAGES / 20, "%u requests for a sequence", disk.requests);
    unsigned requests = disk.requests;
    CHECK_CALL(SIZE, CALL(pread64, (uint64_t)fd, P(buffer), SIZE + 5, 0));
    CHECK(disk.requests == requests, "read again from the cache");
    forget();
    for (size_t i = 0; i < 20; i++) {
        size_t at = (i * 37 + 5) % PAGES * PAGE_SIZE + 100;
        CHECK_CALL(50, CALL(pread64, (uint64_t)fd, P(buffer), 50, at));
        CHECK(memcmp(buffer, bytes + at, 50) == 0, "at random");
    }
    CHECK(disk.requests == 20 && disk.largest == PAGE_SIZE, "%u requests at random", disk.requests);
    forget();
    /* One large read asks for all of it at once, in requests as large as they may be. */
    CHECK_CALL(300000, CALL(pread64, (uint64_t)fd, P(buffer), 300000, 1000000));
    CHECK(memcmp(buffer, bytes + 1000000, 300000) == 0 && disk.requests <= 4, "%u requests",
          disk.requests);
    forget();
    disk.device.segment_max = 3;
    disk.device.request_max = 4 * PAGE_SIZE;
    CHECK_CALL(SIZE, CALL(pread64, (uint64_t)fd, P(buffer), SIZE, 0));
    CHECK(memcmp(buffer, bytes, SIZE) == 0, "small requests");
    disk.device.segment_max = 128;
    disk.device.request_max = 1 << 20;
    CALL(close, (uint64_t)fd);
}

static void test_errors(void)
{
    int fd = open_file("/dev/vda", O_RDWR, 0);
    forget();
    disk.bad_first = disk.bad_last = 80; /* in page 10 */
    CHECK_CALL(10 * PAGE_SIZE, CALL(pread64, (uint64_t)fd, P(buffer), SIZE, 0));
    CHECK(memcmp(buffer, bytes, 10 * PAGE_SIZE) == 0, "up to the bad block");
    CHECK_CALL(-EIO, CALL(pread64, (uint64_t)fd, P(buffer), 1, 10 * PAGE_SIZE));
    CHECK_CALL(PAGE_SIZE, CALL(pread64, (uint64_t)fd, P(buffer), PAGE_SIZE, 11 * PAGE_SIZE));
    CHECK_CALL(-EIO, CALL(pwrite64, (uint64_t)fd, P("x"), 1, 10 * PAGE_SIZE));
    disk.bad_first = UINT64_MAX;
    disk.bad_last = 0;
    CHECK_CALL(PAGE_SIZE, CALL(pread64, (uint64_t)fd, P(buffer), PAGE_SIZE, 10 * PAGE_SIZE));
    CHECK(memcmp(buffer, bytes + 10 * PAGE_SIZE, PAGE_SIZE) == 0, "after the error");
    forget();
    machine_fail_after = 0;
    CHECK_CALL(-ENOMEM, CALL(pread64, (uint64_t)fd, P(buffer), 1, 0));
    machine_fail_after = -1;
    CHECK_CALL(1, CALL(pread64, (uint64_t)fd, P(buffer), 1, 0));
    CHECK_CALL(-EFAULT, CALL(pread64, (uint64_t)fd, 8, 100, 0));
    CHECK_CALL(-EFAULT, CALL(pwrite64, (uint64_t)fd, 8, 100, 0));
    CALL(close, (uint64_t)fd);
}

static void test_writing(void)
{
    uint64_t seed = 7;
    int fd = open_file("/dev/vda", O_RDWR, 0);
    for (int i = 0; i < 300; i++) {
        size_t at = test_random(&seed) % SIZE;
        size_t size = test_random(&seed) % (i % 10 == 0 ? 400000 : 9000) + 1;
        size = size < SIZE - at ? size : SIZE - at;
        if (i % 3 == 0) {
            CHECK(CALL(pread64, (uint64_t)fd, P(buffer), 5000, at) > 0, "read before");
        }
        for (size_t j = 0; j < size; j++) {
            expected[at + j] = (uint8_t)test_random(&seed);
        }
        CHECK_CALL((long)size, CALL(pwrite64, (uint64_t)fd, P(expected + at), size, at));
    }
    check_contents("after writes");
    CHECK_CALL(-ENOSPC, CALL(pwrite64, (uint64_t)fd, P("x"), 1, SIZE));
    CHECK_CALL(2, CALL(pwrite64, (uint64_t)fd, P(expected + SIZE - 2), 9, SIZE - 2));
    CHECK_CALL(0, CALL(fsync, (uint64_t)fd));
    CHECK(disk.flushes == 1, "%u flushes", disk.flushes);
    uint64_t range[2] = {8192, 70000 * 512};
    CHECK_CALL(-EINVAL, CALL(ioctl, (uint64_t)fd, BLKDISCARD, P(range)));
    range[1] = 1 << 20;
    CHECK_CALL(0, CALL(ioctl, (uint64_t)fd, BLKDISCARD, P(range)));
    memset(expected + 8192, 0, 1 << 20);
    CHECK(disk.discards == 1, "%u discards", disk.discards);
    check_contents("after a discard");
    range[0] = SIZE - 10240;
    range[1] = 10240;
    CHECK_CALL(0, CALL(ioctl, (uint64_t)fd, BLKZEROOUT, P(range)));
    memset(expected + SIZE - 10240, 0, 10240);
    CHECK(disk.zeroes == 0, "%u requests that the device cannot", disk.zeroes);
    check_contents("after zeroes");
    /* By the device itself, in two pieces; what is mapped is zero too. */
    struct cached_page *page;
    disk.device.zeroes_max = 1 << 10;
    CHECK(cache_get(device, 600, 1, NULL, &page) == 0, "page 600");
    range[0] = (2 << 20) + 512;
    range[1] = 600 << 10;
    CHECK_CALL(0, CALL(ioctl, (uint64_t)fd, BLKZEROOUT, P(range)));
    memset(expected + (2 << 20) + 512, 0, 600 << 10);
    CHECK(disk.zeroes == 2, "%u requests", disk.zeroes);
    CHECK(memcmp(cached_bytes(page), expected + 600 * PAGE_SIZE, PAGE_SIZE) == 0, "in use");
    cache_put(page);
    check_contents("after the device's zeroes");
    range[1] = 600;
    CHECK_CALL(-EINVAL, CALL(ioctl, (uint64_t)fd, BLKZEROOUT, P(range)));
    disk.device.zeroes_max = 0;
    CALL(close, (uint64_t)fd);
    CHECK_CALL(-EBADF,
               CALL(ioctl, (uint64_t)open_file("/dev/vda", O_RDONLY, 0), BLKDISCARD, P(range)));
}

static void test_memory(void)
{
    struct cached_page *page;
    forget();
    check_contents("filled");
    CHECK(cache_pages() == PAGES, "%lu pages", cache_pages());
    CHECK(cache_get(device, 17, 1, NULL, &page) == 0, "page 17");
    size_t freed = machine_shrinker();
    CHECK(freed >= 32 && cache_pages() == PAGES - freed, "%zu pages", freed);
    while (machine_shrinker() != 0) {
    }
    CHECK(cache_pages() == 1 && memcmp(cached_bytes(page), bytes + 17 * PAGE_SIZE, PAGE_SIZE) == 0,
          "the page in use stays");
    cache_put(page);
    CHECK(machine_shrinker() == 1 && machine_shrinker() == 0, "and goes when it is not");
    /* When little is left, the cache takes its own pages. */
    check_contents("filled again");
    unsigned used = machine_pages;
    while (page_is_plentiful(page_total() / 16)) {
        CHECK(page_alloc(0, 0) != 0, "memory");
    }
    uint64_t before = cache_pages();
    used = machine_pages;
    cache_drop(device, 0, SIZE / 2);
    check_contents("little memory");
    CHECK(cache_pages() <= before && machine_pages <= used + 8, "%u pages more",
          machine_pages - used);
}

/* Every request is counted, those that fail too. */
static void test_stats(void)
{
    struct block_stats before, after;
    int fd = open_file("/dev/vda", O_RDWR, 0);
    uint64_t range[2] = {0, 1 << 20};
    forget();
    block_stats(device, &before);
    CHECK(before.in_flight == 0, "%lu in flight", before.in_flight);
    CHECK_CALL(50, CALL(pread64, (uint64_t)fd, P(buffer), 50, 400 * PAGE_SIZE));
    unsigned reads = disk.requests;
    CHECK_CALL(8192, CALL(pwrite64, (uint64_t)fd, P(expected), 8192, 0));
    CHECK_CALL(0, CALL(fsync, (uint64_t)fd));
    memcpy(buffer, bytes, sizeof(bytes));
    CHECK_CALL(0, CALL(ioctl, (uint64_t)fd, BLKDISCARD, P(range)));
    memcpy(bytes, buffer, sizeof(bytes));
    block_stats(device, &after);
    CHECK(after.of[BLOCK_READ].requests - before.of[BLOCK_READ].requests == reads, "reads");
    CHECK(after.of[BLOCK_READ].sectors - before.of[BLOCK_READ].sectors == 8, "sectors read");
    CHECK(after.of[BLOCK_READ].ns > before.of[BLOCK_READ].ns, "time of reads");
    CHECK(after.of[BLOCK_WRITE].requests - before.of[BLOCK_WRITE].requests == 1, "writes");
    CHECK(after.of[BLOCK_WRITE].sectors - before.of[BLOCK_WRITE].sectors == 16, "sectors written");
    CHECK(after.of[BLOCK_FLUSH].requests - before.of[BLOCK_FLUSH].requests == 1, "flushes");
    CHECK(after.of[BLOCK_DISCARD].sectors - before.of[BLOCK_DISCARD].sectors == 2048, "discarded");
    disk.bad_first = disk.bad_last = 80;
    forget();
    CHECK_CALL(-EIO, CALL(pread64, (uint64_t)fd, P(buffer), 1, 10 * PAGE_SIZE));
    disk.bad_first = UINT64_MAX;
    disk.bad_last = 0;
    block_stats(device, &before);
    CHECK(before.of[BLOCK_READ].requests - after.of[BLOCK_READ].requests == disk.requests,
          "one that failed");
    /* Of two milliseconds one has a request under way. */
    machine_skew += 1000000;
    disk.late_ns = 1000000;
    forget();
    CHECK_CALL(1, CALL(pread64, (uint64_t)fd, P(buffer), 1, 0));
    disk.late_ns = 0;
    block_stats(device, &after);
    CHECK(after.of[BLOCK_READ].ns - before.of[BLOCK_READ].ns >= 1000000, "a millisecond's read");
    CHECK(after.busy_ms > before.busy_ms && after.in_flight == 0, "busy for %lu ms",
          after.busy_ms - before.busy_ms);
    CALL(close, (uint64_t)fd);
}

/* A mapping's page stays, and is the same memory that reads come from. */
static void test_mapping(void)
{
    struct file *file;
    uint64_t physical, again;
    int fd = open_file("/dev/vda", O_RDWR, 0);
    CHECK(fd_lookup(fd, &file) == 0, "lookup");
    CHECK(file->operations->map_page(file, 40960, false, &physical) == 0, "map");
    CHECK(memcmp((void *)(fake_memory + physical), bytes + 40960, PAGE_SIZE) == 0, "mapped");
    memcpy(expected + 40970, "written", 7);
    CHECK_CALL(7, CALL(pwrite64, (uint64_t)fd, P("written"), 7, 40970));
    CHECK(memcmp(fake_memory + physical + 10, "written", 7) == 0, "a write is seen");
    while (machine_shrinker() != 0) {
    }
    CHECK(file->operations->map_page(file, 40960, false, &again) == 0 && again == physical, "kept");
    file->operations->unmap_page(file, 40960, physical);
    file->operations->unmap_page(file, 40960, again);
    while (machine_shrinker() != 0) {
    }
    CHECK(cache_pages() == 0, "%lu pages", cache_pages());
    CHECK(file->operations->map_page(file, SIZE, false, &physical) == -EIO, "past the end");
    file_put(file);
    CALL(close, (uint64_t)fd);
}

static void test_control(void)
{
    struct stat stat;
    uint64_t value = 0;
    uint32_t number = 0;
    int fd = open_file("/dev/vda", O_RDONLY, 0);
    CHECK_CALL(0, CALL(fstat, (uint64_t)fd, P(&stat)));
    CHECK(stat.st_mode == (S_IFBLK | 0660) && stat.st_rdev == (254 << 8), "%o %#lx", stat.st_mode,
          stat.st_rdev);
    CHECK_CALL(0, CALL(ioctl, (uint64_t)fd, BLKGETSIZE64, P(&value)));
    CHECK(value == SIZE, "%lu bytes", value);
    CHECK_CALL(0, CALL(ioctl, (uint64_t)fd, BLKGETSIZE, P(&value)));
    CHECK(value == SIZE / 512, "%lu sectors", value);
    CHECK_CALL(0, CALL(ioctl, (uint64_t)fd, BLKSSZGET, P(&number)));
    CHECK(number == 512, "%u", number);
    CHECK_CALL(-ENOTTY, CALL(ioctl, (uint64_t)fd, 0x12345, P(&number)));
    CHECK_CALL(SIZE, CALL(lseek, (uint64_t)fd, 0, SEEK_END));
    CHECK_CALL(SIZE - 3, CALL(lseek, (uint64_t)fd, (uint64_t)-3, SEEK_END));
    CALL(close, (uint64_t)fd);
    /* A page that the device ends in, blocks of 4096 bytes, and a read-only one. */
    static uint8_t odd_bytes[20480];
    fd = open_file("/dev/xvdb", O_RDONLY, 0);
    CHECK_CALL(-ENOENT, fd);
    fake_disk_add(&odd, "xvdb", odd_bytes, 5 * 512, 512);
    odd.device.read_only = true;
    struct cached_page *page;
    CHECK(cache_get(block_find("xvdb"), 0, 1, NULL, &page) == 0, "the only page");
    CHECK(cached_bytes(page)[2560] == 0 && cached_bytes(page)[4095] == 0, "zero past the end");
    cache_put(page);
    CHECK(cache_get(block_find("/dev/xvdb"), 1, 1, NULL, &page) == -EIO, "past the end");
    CHECK(block_find("xvdb")->number == (202 << 8 | 16), "%#lx", block_find("xvdb")->number);
    CHECK_CALL(0, CALL(mknodat, (uint64_t)AT_FDCWD, P("/dev/odd"), S_IFBLK | 0600, 202 << 8 | 16));
    CHECK_CALL(-EACCES, open_file("/dev/odd", O_RDWR, 0));
    CHECK_CALL(2560,
               CALL(pread64, (uint64_t)open_file("/dev/odd", O_RDONLY, 0), P(buffer), 9999, 0));
    CHECK(block_write(block_find("xvdb"), 0, buffer, 512) == -EROFS, "read-only");
    cache_drop(block_find("xvdb"), 0, PAGE_SIZE);
    CHECK_CALL(0, CALL(mknodat, (uint64_t)AT_FDCWD, P("/dev/none"), S_IFBLK | 0600, 9 << 8));
    CHECK_CALL(-ENXIO, open_file("/dev/none", O_RDONLY, 0));
}

/* Readers and a writer at once; the device answers late and in another order. */
static void *hammer(void *unused)
{
    static uint64_t seeds;
    static _Thread_local uint8_t piece[20000];
    uint64_t seed = __atomic_add_fetch(&seeds, 99, __ATOMIC_RELAXED);
    int fd = open_file("/dev/vda", O_RDWR, 0);
    (void)unused;
    for (int i = 0; i < 1500; i++) {
        size_t at = test_random(&seed) % (SIZE - sizeof(piece));
        size_t size = test_random(&seed) % sizeof(piece) + 1;
        CHECK_CALL((long)size, CALL(pread64, (uint64_t)fd, P(piece), size, at));
        CHECK(memcmp(piece, expected + at, size) == 0, "read of %zu at %zu", size, at);
        if (i % 4 == 0) { /* what is there already: no reader may see anything else */
            CHECK_CALL((long)size, CALL(pwrite64, (uint64_t)fd, P(piece), size, at));
        }
        if (i % 16 == 0) {
            machine_shrinker();
        }
    }
    CALL(close, (uint64_t)fd);
    return NULL;
}

static void test_threads(void)
{
    forget();
    fake_disk_start_thread(&disk);
    machine_thread_start(hammer);
    hammer(NULL);
    machine_thread_join();
    check_contents("after both");
    disk.threaded = false;
}

static void test_gone(void)
{
    int fd = open_file("/dev/vda", O_RDWR, 0);
    forget();
    CHECK_CALL(1, CALL(pread64, (uint64_t)fd, P(buffer), 1, 0));
    disk.gone = true;
    CHECK_CALL(-EIO, CALL(pread64, (uint64_t)fd, P(buffer), 1, 100 * PAGE_SIZE));
    disk.device.sector_count = 0;
    core_blockdev_changed(&disk.device);
    CHECK_CALL(-EIO, CALL(pread64, (uint64_t)fd, P(buffer), 1, 0));
    CHECK_CALL(-EIO, CALL(pwrite64, (uint64_t)fd, P("x"), 1, 0));
    CHECK_CALL(-EIO, CALL(fsync, (uint64_t)fd));
    CHECK_CALL(-ENXIO, open_file("/dev/vda", O_RDONLY, 0));
    CALL(close, (uint64_t)fd);
}

int main(void)
{
    uint64_t seed = 1;
    for (size_t i = 0; i < SIZE; i++) {
        bytes[i] = expected[i] = (uint8_t)test_random(&seed);
    }
    machine_init();
    fake_disk_add(&disk, "vda", bytes, SIZE, 512);
    device = block_find("vda");
    CHECK(device != NULL && block_find("vdb") == NULL, "names");
    CHECK_CALL(0, fs_init("none"));
    test_reading();
    test_errors();
    test_writing();
    test_stats();
    test_memory();
    test_mapping();
    test_control();
    test_threads();
    test_gone();
    return 0;
}
