/* SPDX-License-Identifier: MIT */
/* The EROFS reader against images that mkfs.erofs makes of a tree with known contents; the writable
 * layer over one of them; and images with random damage, of which only the sanitizers judge. */
#include <stdlib.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "core/block/block.h"
#include "core/fs/erofs.h"
#include "fake_disk.h"
#include "fs_machine.h"

#define AT ((uint64_t)AT_FDCWD)

enum { LONG_DIRECTORY = 1500 };

static const size_t sizes[] = {0, 1, 100, 4000, 4095, 4096, 4097, 8191, 8192, 12289, 300000};

/* The contents of every file follow from its size. */
static uint8_t byte_at(size_t size, size_t offset)
{
    return (uint8_t)((offset * 2654435761u >> 7) ^ size);
}

static bool have_attributes; /* the folder for temporary files takes them */

static void shell(const char *command)
{
    CHECK(system(command) == 0, "%s", command);
}

static void make_tree(void)
{
    char path[64];
    shell("mkdir -p tree/deep/er/and/deeper tree/long tree/empty");
    for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
        snprintf(path, sizeof(path), "tree/size-%zu", sizes[i]);
        FILE *file = fopen(path, "w");
        for (size_t at = 0; at < sizes[i]; at++) {
            fputc(byte_at(sizes[i], at), file);
        }
        fclose(file);
    }
    for (int i = 0; i < LONG_DIRECTORY; i++) {
        snprintf(path, sizeof(path), "tree/long/entry-number-%05d", i * 7);
        fclose(fopen(path, "w"));
    }
    shell("ln tree/size-100 tree/hard && ln -s size-100 tree/link && ln -s /deep/er/../../size-1 "
          "tree/long-link");
    shell("mkfifo tree/fifo && echo -n text > tree/deep/er/and/deeper/text && chmod 4751 "
          "tree/size-1");
    shell("truncate -s 5000000 tree/sparse && echo -n end >> tree/sparse");
    char long_value[2000];
    memset(long_value, 'y', sizeof(long_value));
    have_attributes = setxattr("tree/size-100", "user.a", "hello", 5, 0) == 0 &&
                      setxattr("tree/size-100", "user.b", long_value, 2000, 0) == 0;
    memset(long_value, 'z', sizeof(long_value));
    for (int i = 0; i < 5 && have_attributes; i++) {
        snprintf(path, sizeof(path), "tree/long/entry-number-%05d", i * 7);
        CHECK(setxattr(path, "user.shared", long_value, 60, 0) == 0, "%s", path);
    }
    shell("touch -d '2001-02-03 04:05:06.123456789 UTC' tree/size-1");
}

/* The image in memory of its exact size, page-aligned where the size allows it. */
static uint8_t *load(const char *name, size_t *size)
{
    FILE *file = fopen(name, "r");
    CHECK(file != NULL, "%s", name);
    fseek(file, 0, SEEK_END);
    *size = (size_t)ftell(file);
    rewind(file);
    uint8_t *bytes = aligned_alloc(4096, *size);
    CHECK(fread(bytes, 1, *size, file) == *size, "%s", name);
    fclose(file);
    return bytes;
}

static int find(const struct erofs *fs, const char *path, struct erofs_inode *inode)
{
    uint64_t number = fs->root;
    int result = erofs_read_inode(fs, number, inode);
    while (result == 0 && *path != '\0') {
        size_t length = strcspn(path, "/");
        result = erofs_lookup(fs, inode, path, length, &number);
        if (result == 0) {
            result = erofs_read_inode(fs, number, inode);
        }
        path += length + (path[length] == '/');
    }
    return result;
}

static struct fake_disk disk;

/* Opens an image in memory, or the same on a disk, whose size is in whole sectors. */
static int open_image(struct erofs *fs, void *image, size_t size, bool on_disk, const char **reason)
{
    memset(fs, 0, sizeof(*fs));
    if (on_disk) {
        struct block_device *device = block_find("vda");
        cache_drop(device, 0, UINT64_MAX);
        disk.bytes = image;
        disk.device.sector_count = size / SECTOR_SIZE;
        fs->device = device;
        fs->size = block_size(device);
    } else {
        fs->image = image;
        fs->size = size;
    }
    return erofs_open(fs, reason);
}

struct names {
    const struct erofs *fs;
    const struct erofs_inode *directory;
    int count;
    int stop; /* take this many, then no more; -1: all */
};

static bool take_name(void *context, const char *name, size_t length, uint64_t number,
                      unsigned type, uint64_t next)
{
    struct names *names = context;
    uint64_t found;
    (void)type;
    (void)next;
    if (names->stop == 0) {
        return false;
    }
    CHECK(erofs_lookup(names->fs, names->directory, name, length, &found) == 0 && found == number,
          "%.*s", (int)length, name);
    names->count++;
    names->stop--;
    return true;
}

static void check_attributes(const char *name, const struct erofs *fs)
{
    static char text[4096];
    struct erofs_inode inode;
    CHECK(find(fs, "size-100", &inode) == 0, "size-100");
    long length = erofs_list_attributes(fs, &inode, text, sizeof(text));
    CHECK(length == 14 && memcmp(text, "user.a\0user.b\0", 14) == 0, "%s: %ld bytes of names", name,
          length);
    CHECK_CALL(14, erofs_list_attributes(fs, &inode, NULL, 0));
    CHECK_CALL(5, erofs_get_attribute(fs, &inode, "user.a", text, sizeof(text)));
    CHECK(memcmp(text, "hello", 5) == 0, "%.5s", text);
    CHECK_CALL(2000, erofs_get_attribute(fs, &inode, "user.b", text, sizeof(text)));
    CHECK(text[0] == 'y' && text[1999] == 'y', "user.b");
    CHECK_CALL(-ENODATA, erofs_get_attribute(fs, &inode, "user.c", text, sizeof(text)));
    for (int i = 0; i < 5; i++) { /* of many files, so kept once for all of them */
        snprintf(text, sizeof(text), "long/entry-number-%05d", i * 7);
        CHECK(find(fs, text, &inode) == 0, "%s", text);
        CHECK_CALL(60, erofs_get_attribute(fs, &inode, "user.shared", text, sizeof(text)));
        CHECK(text[0] == 'z' && text[59] == 'z', "%s", name);
    }
    CHECK(find(fs, "size-1", &inode) == 0, "size-1");
    CHECK_CALL(0, erofs_list_attributes(fs, &inode, text, sizeof(text)));
}

static void check_image(const char *name, bool on_disk)
{
    char path[64];
    struct erofs fs;
    struct erofs_inode inode, other;
    const char *reason;
    size_t size;
    uint8_t *image = load(name, &size);
    CHECK(open_image(&fs, image, size, on_disk, &reason) == 0, "%s: %s", name, reason);
    if (have_attributes) {
        check_attributes(name, &fs);
    }
    for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
        snprintf(path, sizeof(path), "size-%zu", sizes[i]);
        CHECK(find(&fs, path, &inode) == 0 && inode.size == sizes[i], "%s %s", name, path);
        uint8_t *bytes = malloc(sizes[i] + 50);
        CHECK(erofs_read(&fs, &inode, 0, bytes, sizes[i] + 50) == 0, "%s %s", name, path);
        for (size_t at = 0; at < sizes[i] + 50; at++) {
            CHECK(bytes[at] == (at < sizes[i] ? byte_at(sizes[i], at) : 0), "%s %s at %zu", name,
                  path, at);
        }
        free(bytes);
    }
    CHECK(find(&fs, "size-1", &inode) == 0 && inode.mode == 0104751, "%o", inode.mode);
    CHECK(find(&fs, "hard", &inode) == 0 && find(&fs, "size-100", &other) == 0, "hard link");
    CHECK(inode.number == other.number && inode.links == 2, "%u links", inode.links);
    CHECK(find(&fs, "fifo", &inode) == 0 && (inode.mode & 0170000) == 0010000, "%o", inode.mode);
    CHECK(find(&fs, "deep/er/and/deeper/text", &inode) == 0 && inode.size == 4, "text");
    CHECK(find(&fs, "long/entry-number-00001", &inode) == -ENOENT, "a name that is not there");
    CHECK(find(&fs, "a", &inode) == -ENOENT && find(&fs, "zz", &inode) == -ENOENT &&
              find(&fs, "empty/x", &inode) == -ENOENT,
          "names");
    CHECK(find(&fs, "long-link", &inode) == 0 && inode.size == 21, "link");
    CHECK(find(&fs, "sparse", &inode) == 0 && inode.size == 5000003, "sparse");
    CHECK(erofs_read(&fs, &inode, 4999999, path, 4) == 0 && memcmp(path, "\0end", 4) == 0,
          "sparse");
    CHECK(find(&fs, "long", &inode) == 0, "long");
    struct names names = {&fs, &inode, 0, 700};
    uint64_t position = 0;
    CHECK(erofs_list(&fs, &inode, &position, take_name, &names) == 0 && names.count == 700,
          "%d names at first", names.count);
    names.stop = -1;
    CHECK(erofs_list(&fs, &inode, &position, take_name, &names) == 0 &&
              names.count == LONG_DIRECTORY,
          "%d names", names.count);
    free(image);
}

static long make_file(const char *path, int flags, const char *contents)
{
    int fd = open_file(path, O_CREAT | O_WRONLY | flags, 0666);
    if (fd < 0) {
        return fd;
    }
    long result = CALL(write, (uint64_t)fd, P(contents), strlen(contents));
    CALL(close, (uint64_t)fd);
    return result;
}

static int count_names(const char *path)
{
    static _Alignas(8) char bytes[4000];
    int fd = open_file(path, O_RDONLY, 0), count = 0;
    long size;
    while ((size = CALL(getdents64, (uint64_t)fd, P(bytes), sizeof(bytes))) > 0) {
        for (long at = 0; at < size; at += *(uint16_t *)(bytes + at + 16)) {
            count++;
        }
    }
    CHECK(size == 0, "getdents64 gave %ld", size);
    CALL(close, (uint64_t)fd);
    return count - 2;
}

static void check_layer(const char *name)
{
    static char bytes[400000], expected[400000];
    char path[64];
    struct stat stat, other;
    size_t size;
    uint64_t physical, again;
    struct file *file;
    uint8_t *image = load(name, &size);
    machine_module(image, size);
    CHECK_CALL(0, fs_init("initrd"));
    CHECK_CALL(0, CALL(stat, P("/size-1"), P(&stat)));
    CHECK(stat.st_mode == 0104751 && stat.st_mtime == 981173106 && stat.st_mtime_nsec == 123456789,
          "%ld", stat.st_mtime);
    CHECK_CALL(1500, count_names("/long"));
    int below = count_names("/");
    /* Writing changes what is read and nothing else: a piece in the middle, the end, a size in
     * between. */
    for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
        snprintf(path, sizeof(path), "/size-%zu", sizes[i]);
        memset(expected, 0, sizeof(expected));
        for (size_t at = 0; at < sizes[i]; at++) {
            expected[at] = (char)byte_at(sizes[i], at);
        }
        int fd = open_file(path, O_RDWR, 0);
        CHECK_CALL((long)sizes[i], CALL(pread64, (uint64_t)fd, P(bytes), sizeof(bytes), 0));
        CHECK(memcmp(bytes, expected, sizes[i]) == 0, "%s", path);
        size_t at = sizes[i] / 2;
        CHECK_CALL(5, CALL(pwrite64, (uint64_t)fd, P("12345"), 5, at));
        memcpy(expected + at, "12345", 5);
        size_t end = at + 5 > sizes[i] ? at + 5 : sizes[i];
        CHECK_CALL((long)end, CALL(pread64, (uint64_t)fd, P(bytes), sizeof(bytes), 0));
        CHECK(memcmp(bytes, expected, end) == 0, "%s after a write", path);
        CHECK_CALL(0, CALL(ftruncate, (uint64_t)fd, end / 3));
        CHECK_CALL(0, CALL(ftruncate, (uint64_t)fd, end + 9000));
        memset(expected + end / 3, 0, sizeof(expected) - end / 3);
        CHECK_CALL((long)end + 9000, CALL(pread64, (uint64_t)fd, P(bytes), sizeof(bytes), 0));
        CHECK(memcmp(bytes, expected, end + 9000) == 0, "%s after truncate", path);
        CHECK_CALL(0, CALL(close, (uint64_t)fd));
    }
    /* The two names of one file below are one file. */
    CHECK_CALL(0, CALL(stat, P("/hard"), P(&stat)));
    CHECK_CALL(0, CALL(stat, P("/size-100"), P(&other)));
    CHECK(stat.st_ino == other.st_ino && stat.st_size == 9100 && stat.st_nlink == 2, "%ld",
          stat.st_size);
    CHECK_CALL(0, CALL(unlink, P("/size-100")));
    CHECK_CALL(-ENOENT, CALL(stat, P("/size-100"), P(&other)));
    CHECK_CALL(-ENOENT, CALL(stat, P("/link"), P(&other)));
    CHECK_CALL(0, CALL(stat, P("/hard"), P(&stat)));
    CHECK(stat.st_size == 9100 && stat.st_nlink == 1, "%lu links", stat.st_nlink);
    CHECK_CALL(below - 1, count_names("/"));
    CHECK_CALL(3, make_file("/size-100", O_EXCL, "new"));
    CHECK_CALL(0, CALL(stat, P("/link"), P(&other)));
    CHECK(other.st_size == 3, "%ld", other.st_size);
    CHECK_CALL(below, count_names("/"));
    /* Directories: emptied, removed, moved, made again. */
    CHECK_CALL(-ENOTEMPTY, CALL(rmdir, P("/long")));
    CHECK_CALL(0, CALL(rename, P("/long"), P("/moved")));
    CHECK_CALL(-ENOENT, CALL(stat, P("/long"), P(&stat)));
    CHECK_CALL(1500, count_names("/moved"));
    CHECK_CALL(0, CALL(mkdir, P("/long"), 0755));
    CHECK_CALL(0, count_names("/long"));
    CHECK_CALL(1, make_file("/moved/entry-number-00007", O_TRUNC, "x"));
    CHECK_CALL(1, make_file("/moved/new", 0, "x"));
    CHECK_CALL(0, CALL(rename, P("/moved/new"), P("/moved/entry-number-00014")));
    CHECK_CALL(1500, count_names("/moved"));
    for (int i = 0; i < LONG_DIRECTORY; i++) {
        snprintf(path, sizeof(path), "/moved/entry-number-%05d", i * 7);
        CHECK_CALL(0, CALL(unlink, P(path)));
    }
    CHECK_CALL(0, count_names("/moved"));
    CHECK_CALL(0, CALL(rmdir, P("/moved")));
    CHECK_CALL(0, CALL(rmdir, P("/empty")));
    CHECK_CALL(0, CALL(mkdir, P("/empty"), 0755));
    CHECK_CALL(0, CALL(renameat2, AT, P("/empty"), AT, P("/deep/er"), 2));
    CHECK_CALL(0, CALL(stat, P("/empty/and/deeper/text"), P(&stat)));
    CHECK_CALL(0, count_names("/deep/er"));
    CHECK_CALL(0, CALL(unlink, P("/hard")));
    CHECK_CALL(0, CALL(chmod, P("/sparse"), 0600));
    CHECK_CALL(0, CALL(stat, P("/sparse"), P(&stat)));
    CHECK(stat.st_mode == 0100600, "%o", stat.st_mode);
    /* Pages of the image are mapped in place; written ones are copies, and so is what reaches over
     * the end. */
    int fd = open_file("/sparse", O_RDWR, 0);
    CHECK(fd_lookup(fd, &file) == 0, "lookup");
    unsigned pages = machine_pages;
    CHECK(file->operations->map_page(file, 4096, false, &physical) == 0 && machine_pages == pages,
          "mapped in place");
    CHECK(file->operations->map_page(file, 4096, true, &again) == 0 && again != physical,
          "copied to be written");
    CHECK(machine_pages == pages + 1, "one page");
    file->operations->unmap_page(file, 4096, physical);
    file->operations->unmap_page(file, 4096, again);
    CHECK(file->operations->map_page(file, 4997120, false, &physical) == 0 &&
              machine_pages == pages + 2,
          "the tail");
    file->operations->unmap_page(file, 4997120, physical);
    CHECK(file->operations->map_page(file, 5001216, false, &physical) == -EIO, "past the end");
    file_put(file);
    CHECK_CALL(0, CALL(close, (uint64_t)fd));
    CHECK_CALL(0, CALL(unlink, P("/sparse")));
    machine_module(NULL, 0);
}

struct visit {
    const struct erofs *fs;
    int depth;
    int *budget;
};

static void visit(const struct erofs *fs, uint64_t number, int depth, int *budget);

static bool visit_name(void *context, const char *name, size_t length, uint64_t number,
                       unsigned type, uint64_t next)
{
    struct visit *from = context;
    CHECK(length != 0 && length <= 255 && memchr(name, '/', length) == NULL, "a name");
    (void)type;
    (void)next;
    if (from->depth < 6 && name[0] != '.') {
        visit(from->fs, number, from->depth + 1, from->budget);
    }
    return --*from->budget > 0;
}

/* Looks at everything, as deep and as wide as a damaged image may seem to be. */
static void visit(const struct erofs *fs, uint64_t number, int depth, int *budget)
{
    struct erofs_inode inode;
    static uint8_t bytes[20000];
    if (--*budget < 0 || erofs_read_inode(fs, number, &inode) != 0) {
        return;
    }
    long names = erofs_list_attributes(fs, &inode, (char *)bytes, 1000);
    if (names > 0) {
        (void)erofs_list_attributes(fs, &inode, (char *)bytes, sizeof(bytes));
        (void)erofs_get_attribute(fs, &inode, "user.b", bytes, sizeof(bytes));
    }
    if ((inode.mode & 0170000) != 0040000) {
        for (int i = 0; i < 3; i++) {
            uint64_t from = i == 0 ? 0 : i == 1 ? inode.size / 2 : inode.size - 1;
            (void)erofs_read(fs, &inode, from, bytes, sizeof(bytes));
        }
        return;
    }
    struct visit below = {fs, depth, budget};
    uint64_t position = 0, found;
    (void)erofs_list(fs, &inode, &position, visit_name, &below);
    (void)erofs_lookup(fs, &inode, "no such name", 12, &found);
}

/* Every byte of the superblock, the inodes, the attributes and the first names takes each of some
 * values. */
static void check_every_byte(const char *name)
{
    size_t size;
    const char *reason;
    struct erofs fs;
    uint8_t *image = load(name, &size);
    image[1024 + 8] &= 0xfe; /* no checksum: the fields themselves shall be looked at */
    for (size_t at = 1024; at < 6144 && at < size; at++) {
        uint8_t old = image[at], values[] = {0, 0xff, (uint8_t)(old + 1), (uint8_t)(old ^ 0x80)};
        for (size_t i = 0; i < sizeof(values); i++) {
            int budget = 400;
            image[at] = values[i];
            if (open_image(&fs, image, size, false, &reason) == 0) {
                visit(&fs, fs.root, 0, &budget);
            }
        }
        image[at] = old;
    }
    free(image);
}

static void check_damage(const char *name, uint64_t seed, int rounds)
{
    size_t size;
    const char *reason;
    struct erofs fs;
    uint8_t *image = load(name, &size);
    int opened = 0;
    image[1024 + 8] &= 0xfe;
    for (int round = 0; round < rounds; round++) {
        /* A heap block of the exact size, so that a read past the image is seen. */
        size_t length = test_random(&seed) % 8 == 0 ? test_random(&seed) % (size + 1) : size;
        uint8_t *copy = malloc(length + (length == 0));
        memcpy(copy, image, length);
        for (uint64_t changes = test_random(&seed) % 12; length != 0 && changes > 0; changes--) {
            uint64_t where = test_random(&seed);
            /* Half of the damage hits the superblock and the inodes behind it. */
            size_t at = where % 2 == 0 ? 1024 + (where >> 8) % 3000 : (where >> 8) % length;
            static const uint8_t values[4] = {0, 0xff, 0x80, 1};
            if (at < length) {
                copy[at] = where % 3 == 0 ? values[(where >> 4) % 4] : (uint8_t)(where >> 40);
            }
        }
        int budget = 3000;
        int result = open_image(&fs, copy, length, round % 8 == 0, &reason);
        CHECK((result == 0) == (reason == NULL), "%d", result);
        opened += result == 0;
        if (result == 0) {
            visit(&fs, fs.root, 0, &budget);
        }
        free(copy);
    }
    CHECK(opened > rounds / 20, "only %d of %d opened", opened, rounds);
    free(image);
}

int main(void)
{
    static const char *const variants[] = {"",
                                           "-Eforce-inode-extended",
                                           "--chunksize=4096",
                                           "--chunksize=16384 -Eforce-chunk-indexes",
                                           "-Enoinline_data",
                                           "-T1000"};
    char directory[] = "/tmp/erofs-test-XXXXXX", command[128], name[32];
    if (system("command -v mkfs.erofs >/dev/null") != 0) {
        puts("skipped: no mkfs.erofs");
        return 0;
    }
    CHECK(mkdtemp(directory) != NULL && chdir(directory) == 0, "%s", directory);
    machine_init();
    fake_disk_add(&disk, "vda", NULL, 0, 512);
    make_tree();
    for (size_t i = 0; i < sizeof(variants) / sizeof(variants[0]); i++) {
        snprintf(name, sizeof(name), "image%zu", i);
        snprintf(command, sizeof(command),
                 "mkfs.erofs --quiet %s %s tree >log 2>&1 || (cat log; false)", variants[i], name);
        shell(command);
        check_image(name, false);
        check_image(name, true);
    }
    /* Compressed: refused, and the reason is told. */
    shell("mkfs.erofs --quiet -zlz4hc packed tree >log 2>&1");
    size_t size;
    struct erofs fs;
    const char *reason;
    uint8_t *packed = load("packed", &size);
    int result = open_image(&fs, packed, size, false, &reason);
    CHECK(result == -EOPNOTSUPP && strstr(reason, "compressed") != NULL, "%d: %s", result, reason);
    free(packed);
    CHECK(open_image(&fs, "", 1, false, &reason) == -EINVAL && reason != NULL, "no image");
    check_layer("image1");
    shell("mkdir small && cp -a tree/deep tree/size-[0-9] tree/size-100 tree/size-4097 "
          "tree/size-12289 tree/link "
          "small/ && mkdir small/many && cp tree/long/entry-number-001* small/many/");
    shell("mkfs.erofs --quiet small-plain small >log 2>&1 && mkfs.erofs --quiet --chunksize=4096 "
          "small-chunks small >log 2>&1");
    check_every_byte("small-plain");
    check_every_byte("small-chunks");
    check_damage("small-plain", 1, 15000);
    check_damage("small-chunks", 2, 15000);
    snprintf(command, sizeof(command), "rm -rf %s", directory);
    shell(command);
    return 0;
}
