/* SPDX-License-Identifier: MIT */
/* Path walk, tmpfs and the calls on names; /dev and /proc; what is left when memory runs out at any
 * place. */
#include <asm/statfs.h>
#include <linux/falloc.h>
#include <linux/fs.h>
#include <linux/openat2.h>

#include "core/fs/inode.h"
#include "core/fs/notify.h"
#include "fs_machine.h"

#define AT ((uint64_t)AT_FDCWD)

static long make_directory(const char *path)
{
    return CALL(mkdir, P(path), 0777);
}

static long make_file(const char *path, const char *contents)
{
    int fd = open_file(path, O_CREAT | O_WRONLY | O_TRUNC, 0666);
    if (fd < 0) {
        return fd;
    }
    long result = CALL(write, (uint64_t)fd, P(contents), strlen(contents));
    CALL(close, (uint64_t)fd);
    return result;
}

static void expect_contents(const char *path, const char *contents)
{
    char bytes[4096];
    int fd = open_file(path, O_RDONLY, 0);
    CHECK(fd >= 0, "open %s gave %d", path, fd);
    long size = CALL(read, (uint64_t)fd, P(bytes), sizeof(bytes));
    CHECK(size == (long)strlen(contents) && memcmp(bytes, contents, (size_t)size) == 0,
          "%s holds \"%.*s\"", path, (int)size, bytes);
    CALL(close, (uint64_t)fd);
}

static long rename_file(const char *from, const char *to)
{
    return CALL(rename, P(from), P(to));
}

static long stat_of(const char *path, struct stat *stat)
{
    return CALL(stat, P(path), P(stat));
}

static long remove_file(const char *path)
{
    return CALL(unlink, P(path));
}

struct record {
    uint64_t number;
    int64_t next;
    uint16_t length;
    uint8_t type;
    char name[];
};

/* All names of a directory, in order, each followed by a space; read with small buffers. */
static void expect_names(const char *path, const char *expected)
{
    char names[4096] = "";
    _Alignas(8) char bytes[72];
    int fd = open_file(path, O_RDONLY | O_DIRECTORY, 0);
    CHECK(fd >= 0, "open %s gave %d", path, fd);
    long size;
    while ((size = CALL(getdents64, (uint64_t)fd, P(bytes), sizeof(bytes))) > 0) {
        for (long at = 0; at < size;) {
            struct record *record = (struct record *)(bytes + at);
            if (strcmp(record->name, ".") != 0 && strcmp(record->name, "..") != 0) {
                strcat(names, record->name);
                strcat(names, " ");
            }
            at += record->length;
        }
    }
    CHECK(size == 0, "getdents64 gave %ld", size);
    CHECK(strcmp(names, expected) == 0, "%s has \"%s\", not \"%s\"", path, names, expected);
    CHECK_CALL(0, CALL(close, (uint64_t)fd));
}

static void test_open(void)
{
    char bytes[64];
    CHECK_CALL(-ENOENT, open_file("/tmp/none", O_RDONLY, 0));
    CHECK_CALL(-ENOENT, open_file("", O_RDONLY, 0));
    CHECK_CALL(-EFAULT, CALL(open, 8, 0, 0));
    CHECK_CALL(-ENOENT, open_file("/none/x", O_CREAT | O_RDWR, 0600));
    int fd = open_file("/tmp/f", O_CREAT | O_EXCL | O_RDWR, 0666);
    struct stat stat;
    CHECK_CALL(0, CALL(fstat, (uint64_t)fd, P(&stat)));
    CHECK(stat.st_mode == 0100644 && stat.st_nlink == 1 && stat.st_size == 0, "%o", stat.st_mode);
    CHECK_CALL(-EEXIST, open_file("/tmp/f", O_CREAT | O_EXCL | O_RDWR, 0666));
    CHECK_CALL(-ENOTDIR, open_file("/tmp/f/x", O_RDONLY, 0));
    CHECK_CALL(-ENOTDIR, open_file("/tmp/f/", O_RDONLY, 0));
    CHECK_CALL(-ENOTDIR, open_file("/tmp/f", O_RDONLY | O_DIRECTORY, 0));
    CHECK_CALL(-EISDIR, open_file("/tmp", O_RDWR, 0));
    CHECK_CALL(-EISDIR, open_file("/tmp/new/", O_CREAT | O_RDWR, 0600));
    CHECK_CALL(-EISDIR, open_file("/tmp", O_CREAT | O_RDONLY, 0600));
    CHECK_CALL(5, CALL(write, (uint64_t)fd, P("hello"), 5));
    CHECK_CALL(1, CALL(lseek, (uint64_t)fd, 1, 0));
    CHECK_CALL(4, CALL(read, (uint64_t)fd, P(bytes), 10));
    CHECK_CALL(0, CALL(read, (uint64_t)fd, P(bytes), 10));
    CHECK_CALL(2, CALL(pwrite64, (uint64_t)fd, P("XY"), 2, 1));
    CHECK_CALL(5, CALL(pread64, (uint64_t)fd, P(bytes), 10, 0));
    CHECK(memcmp(bytes, "hXYlo", 5) == 0, "%.5s", bytes);
    CHECK_CALL(-EINVAL, CALL(pread64, (uint64_t)fd, P(bytes), 10, UINT64_MAX));
    CHECK_CALL(-EINVAL, CALL(lseek, (uint64_t)fd, UINT64_MAX, 0));
    CHECK_CALL(3, CALL(lseek, (uint64_t)fd, (uint64_t)-2, 2));
    CHECK_CALL(-ENXIO, CALL(lseek, (uint64_t)fd, 5, 3));
    CHECK_CALL(5, CALL(lseek, (uint64_t)fd, 0, 4));
    struct {
        const void *base;
        size_t length;
    } segments[3] = {{"ab", 2}, {"", 0}, {"cde", 3}};
    CHECK_CALL(5, CALL(writev, (uint64_t)fd, P(segments), 3));
    CHECK_CALL(5, CALL(pwritev, (uint64_t)fd, P(segments), 3, 20));
    CHECK_CALL(-EINVAL, CALL(writev, (uint64_t)fd, P(segments), 1025));
    segments[0].base = bytes;
    segments[2].base = bytes + 10;
    CHECK_CALL(5, CALL(preadv, (uint64_t)fd, P(segments), 3, 20));
    CHECK(memcmp(bytes, "ab", 2) == 0 && memcmp(bytes + 10, "cde", 3) == 0, "preadv");
    CHECK_CALL(-EOPNOTSUPP, CALL(preadv2, (uint64_t)fd, P(segments), 3, 20, 0, 0x40));
    CHECK_CALL(0, CALL(close, (uint64_t)fd));
    fd = open_file("/tmp/f", O_WRONLY | O_APPEND, 0);
    CHECK_CALL(1, CALL(write, (uint64_t)fd, P("!"), 1));
    CHECK_CALL(-EBADF, CALL(read, (uint64_t)fd, P(bytes), 1));
    CHECK_CALL(26, CALL(lseek, (uint64_t)fd, 0, 1));
    CHECK_CALL(0100000 | O_WRONLY | O_APPEND, CALL(fcntl, (uint64_t)fd, F_GETFL));
    CHECK_CALL(0, CALL(close, (uint64_t)fd));
    fd = open_file("/tmp/f", O_PATH, 0);
    CHECK_CALL(-EBADF, CALL(read, (uint64_t)fd, P(bytes), 1));
    CHECK_CALL(0, CALL(fstat, (uint64_t)fd, P(&stat)));
    CHECK(stat.st_size == 26, "%ld", stat.st_size);
    CHECK_CALL(0, CALL(close, (uint64_t)fd));
    CHECK_CALL(0, make_file("/tmp/f", ""));
    CHECK_CALL(0, stat_of("/tmp/f", &stat));
    CHECK(stat.st_size == 0 && stat.st_blocks == 0, "O_TRUNC left %ld bytes", stat.st_size);
    /* Unlinked while open, and never named. */
    fd = open_file("/tmp/f", O_RDWR, 0);
    CHECK_CALL(0, remove_file("/tmp/f"));
    CHECK_CALL(-ENOENT, stat_of("/tmp/f", &stat));
    CHECK_CALL(3, CALL(write, (uint64_t)fd, P("abc"), 3));
    CHECK_CALL(0, CALL(fstat, (uint64_t)fd, P(&stat)));
    CHECK(stat.st_nlink == 0 && stat.st_size == 3, "unlinked: %lu links", stat.st_nlink);
    char link[64] = "";
    char path[32];
    snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
    CHECK_CALL(16, CALL(readlink, P(path), P(link), sizeof(link)));
    CHECK(strcmp(link, "/tmp/f (deleted)") == 0, "%s", link);
    CHECK_CALL(0, CALL(close, (uint64_t)fd));
    CHECK_CALL(-EINVAL, open_file("/tmp", O_TMPFILE | O_RDONLY, 0600));
    fd = open_file("/tmp", O_TMPFILE | O_RDWR, 0600);
    CHECK_CALL(3, CALL(write, (uint64_t)fd, P("abc"), 3));
    CHECK_CALL(0, CALL(linkat, (uint64_t)fd, P(""), AT, P("/tmp/named"), AT_EMPTY_PATH));
    CHECK_CALL(0, CALL(close, (uint64_t)fd));
    expect_contents("/tmp/named", "abc");
    CHECK_CALL(0, remove_file("/tmp/named"));
}

static void test_walk(void)
{
    static char path[6000];
    char cwd[64];
    struct stat stat, other;
    CHECK_CALL(0, make_directory("/w"));
    CHECK_CALL(0, make_directory("/w/a/"));
    CHECK_CALL(-EEXIST, make_directory("/w/a"));
    CHECK_CALL(-EEXIST, make_directory("/"));
    CHECK_CALL(-ENOENT, make_directory("/w/none/b"));
    CHECK_CALL(3, make_file("/w/a/f", "abc"));
    expect_contents("//w/./a/../a//f", "abc");
    expect_contents("/../../w/a/f", "abc");
    CHECK_CALL(0, CALL(chdir, P("/w/a")));
    expect_contents("f", "abc");
    expect_contents("../a/f", "abc");
    CHECK_CALL(5, CALL(getcwd, P(cwd), sizeof(cwd)));
    CHECK(strcmp(cwd, "/w/a") == 0, "%s", cwd);
    CHECK_CALL(-ERANGE, CALL(getcwd, P(cwd), 4));
    CHECK_CALL(-ENOTDIR, CALL(chdir, P("f")));
    CHECK_CALL(0, CALL(symlink, P("f"), P("link")));
    CHECK_CALL(0, CALL(symlink, P("/w/a"), P("/w/dir")));
    CHECK_CALL(0, CALL(symlink, P("loop2"), P("/w/loop1")));
    CHECK_CALL(0, CALL(symlink, P("loop1"), P("/w/loop2")));
    CHECK_CALL(0, CALL(symlink, P("/w/made"), P("/w/dangling")));
    CHECK_CALL(-ENOENT, CALL(symlink, P(""), P("/w/x")));
    CHECK_CALL(-EEXIST, CALL(symlink, P("x"), P("/w/dir")));
    expect_contents("link", "abc");
    expect_contents("/w/dir/link", "abc");
    CHECK_CALL(-ELOOP, stat_of("/w/loop1", &stat));
    CHECK_CALL(-ELOOP, open_file("link", O_RDONLY | O_NOFOLLOW, 0));
    CHECK_CALL(-ELOOP, open_file("/w/loop1", O_CREAT | O_RDWR, 0600));
    CHECK_CALL(0, CALL(lstat, P("link"), P(&stat)));
    CHECK(stat.st_mode == 0120777 && stat.st_size == 1, "%o", stat.st_mode);
    CHECK_CALL(0, CALL(lstat, P("/w/dir/"), P(&stat)));
    CHECK((stat.st_mode & 0170000) == 0040000, "%o", stat.st_mode);
    CHECK_CALL(-ENOENT, stat_of("/w/dangling", &stat));
    CHECK_CALL(-EEXIST, open_file("/w/dangling", O_CREAT | O_EXCL | O_RDWR, 0600));
    CHECK_CALL(2, make_file("/w/dangling", "hi"));
    expect_contents("/w/made", "hi");
    /* A slash after a name that is made or removed follows no link. */
    CHECK_CALL(0, CALL(symlink, P("/w/none"), P("/w/broken")));
    static const char *const names[] = {"/w/broken/", "/w/dir/", "link/", "f/"};
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        CHECK_CALL(-EEXIST, make_directory(names[i]));
        CHECK_CALL(-EEXIST, CALL(symlink, P("x"), P(names[i])));
        CHECK_CALL(-EEXIST, CALL(link, P("f"), P(names[i])));
        CHECK_CALL(-ENOTDIR, CALL(rmdir, P(names[i])));
        CHECK_CALL(-ENOTDIR, CALL(unlink, P(names[i])));
        CHECK_CALL(-ENOTDIR, CALL(rename, P(names[i]), P("/w/x")));
    }
    CHECK_CALL(1, CALL(readlink, P("link"), P(cwd), sizeof(cwd)));
    CHECK_CALL(2, CALL(readlink, P("/w/dir"), P(cwd), 2));
    CHECK_CALL(-EINVAL, CALL(readlink, P("f"), P(cwd), 2));
    CHECK_CALL(-EINVAL, CALL(readlink, P("link"), P(cwd), 0));
    /* Exactly 40 links are followed. */
    CHECK_CALL(0, CALL(symlink, P("f"), P("l0")));
    for (int i = 1; i <= 40; i++) {
        char target[16], name[16];
        snprintf(target, sizeof(target), "l%d", i - 1);
        snprintf(name, sizeof(name), "l%d", i);
        CHECK_CALL(0, CALL(symlink, P(target), P(name)));
    }
    CHECK_CALL(0, stat_of("l39", &stat));
    CHECK_CALL(-ELOOP, stat_of("l40", &stat));
    memset(path, 'n', sizeof(path));
    path[255] = '\0';
    CHECK_CALL(1, make_file(path, "x"));
    CHECK_CALL(0, remove_file(path));
    path[255] = 'n';
    path[256] = '\0';
    CHECK_CALL(-ENAMETOOLONG, make_file(path, "x"));
    memset(path, '/', sizeof(path));
    memcpy(path + 4091, "w/a/f", 6);
    CHECK_CALL(0, stat_of(path + 1, &stat));
    CHECK_CALL(-ENAMETOOLONG, stat_of(path, &stat));
    CHECK_CALL(1, make_file("\xff\x01 \n", "x"));
    CHECK_CALL(0, remove_file("\xff\x01 \n"));
    /* Relative to descriptors. */
    int fd = open_file("/w", O_RDONLY | O_DIRECTORY, 0);
    CHECK_CALL(0, CALL(newfstatat, (uint64_t)fd, P("a/f"), P(&stat), 0));
    CHECK_CALL(0, CALL(newfstatat, (uint64_t)fd, P(""), P(&stat), AT_EMPTY_PATH));
    CHECK_CALL(0, stat_of("/w", &other));
    CHECK(stat.st_ino == other.st_ino, "AT_EMPTY_PATH");
    CHECK_CALL(-ENOENT, CALL(newfstatat, (uint64_t)fd, P(""), P(&stat), 0));
    CHECK_CALL(-EBADF, CALL(newfstatat, 99, P("a"), P(&stat), 0));
    CHECK_CALL(0, CALL(newfstatat, 99, P("/w"), P(&stat), 0));
    int file = open_file("/w/a/f", O_RDONLY, 0);
    CHECK_CALL(-ENOTDIR, CALL(newfstatat, (uint64_t)file, P("x"), P(&stat), 0));
    CHECK_CALL(0, CALL(close, (uint64_t)file));
    struct open_how how = {.resolve = RESOLVE_BENEATH};
    CHECK_CALL(-EXDEV, CALL(openat2, (uint64_t)fd, P("a/../../w"), P(&how), sizeof(how)));
    CHECK_CALL(-EXDEV, CALL(openat2, (uint64_t)fd, P("/w"), P(&how), sizeof(how)));
    CHECK_CALL(-EXDEV, CALL(openat2, (uint64_t)fd, P("dir/f"), P(&how), sizeof(how)));
    file = (int)CALL(openat2, (uint64_t)fd, P("a/../a/f"), P(&how), sizeof(how));
    CHECK(file >= 0, "openat2 %d", file);
    CHECK_CALL(0, CALL(close, (uint64_t)file));
    how.resolve = RESOLVE_IN_ROOT;
    file = (int)CALL(openat2, (uint64_t)fd, P("/../a/f"), P(&how), sizeof(how));
    CHECK(file >= 0, "openat2 in root %d", file);
    CHECK_CALL(0, CALL(close, (uint64_t)file));
    how.resolve = RESOLVE_NO_SYMLINKS;
    CHECK_CALL(-ELOOP, CALL(openat2, (uint64_t)fd, P("dir/f"), P(&how), sizeof(how)));
    how.resolve = 0x100;
    CHECK_CALL(-EINVAL, CALL(openat2, (uint64_t)fd, P("a"), P(&how), sizeof(how)));
    CHECK_CALL(0, CALL(close, (uint64_t)fd));
    /* A working directory that is removed. */
    CHECK_CALL(0, make_directory("/gone"));
    CHECK_CALL(0, CALL(chdir, P("/gone")));
    CHECK_CALL(0, CALL(rmdir, P("/gone")));
    CHECK_CALL(-ENOENT, CALL(getcwd, P(cwd), sizeof(cwd)));
    CHECK_CALL(-ENOENT, make_file("x", "x"));
    CHECK_CALL(0, stat_of(".", &stat));
    CHECK_CALL(0, CALL(chdir, P("..")));
    CHECK_CALL(2, CALL(getcwd, P(cwd), sizeof(cwd)));
}

static void test_names(void)
{
    struct stat stat, other;
    CHECK_CALL(0, make_directory("/n"));
    CHECK_CALL(0, make_directory("/n/d"));
    CHECK_CALL(1, make_file("/n/1", "1"));
    CHECK_CALL(1, make_file("/n/2", "2"));
    CHECK_CALL(0, stat_of("/n", &stat));
    CHECK(stat.st_nlink == 3, "%lu links", stat.st_nlink);
    expect_names("/n", "d 1 2 ");
    CHECK_CALL(0, CALL(link, P("/n/1"), P("/n/hard")));
    CHECK_CALL(-EEXIST, CALL(link, P("/n/1"), P("/n/2")));
    CHECK_CALL(-EPERM, CALL(link, P("/n/d"), P("/n/d2")));
    CHECK_CALL(-EXDEV, CALL(link, P("/n/1"), P("/dev/1")));
    CHECK_CALL(0, stat_of("/n/hard", &stat));
    CHECK(stat.st_nlink == 2, "%lu links", stat.st_nlink);
    CHECK_CALL(0, rename_file("/n/1", "/n/hard"));
    CHECK_CALL(0, stat_of("/n/1", &stat));
    CHECK_CALL(0, rename_file("/n/2", "/n/1"));
    expect_contents("/n/1", "2");
    expect_contents("/n/hard", "1");
    CHECK_CALL(-ENOENT, rename_file("/n/2", "/n/3"));
    CHECK_CALL(-ENOTDIR, rename_file("/n/d", "/n/1"));
    CHECK_CALL(-EISDIR, rename_file("/n/1", "/n/d"));
    CHECK_CALL(-EINVAL, rename_file("/n/d", "/n/d/e"));
    CHECK_CALL(-EINVAL, rename_file("/n", "/n/d/e"));
    CHECK_CALL(-ENOTEMPTY, rename_file("/n/d", "/n"));
    CHECK_CALL(-ENOTEMPTY, rename_file("/n/d", "/w"));
    CHECK_CALL(-EBUSY, rename_file("/n/d/.", "/n/e"));
    CHECK_CALL(-ENOTDIR, rename_file("/n/1", "/n/e/"));
    CHECK_CALL(-EXDEV, rename_file("/n/1", "/dev/1"));
    CHECK_CALL(-EBUSY, rename_file("/dev", "/n/e"));
    CHECK_CALL(-EEXIST, CALL(renameat2, AT, P("/n/1"), AT, P("/n/hard"), RENAME_NOREPLACE));
    CHECK_CALL(0, CALL(renameat2, AT, P("/n/1"), AT, P("/n/d"), RENAME_EXCHANGE));
    CHECK_CALL(0, stat_of("/n/1/", &stat));
    expect_contents("/n/d", "2");
    CHECK_CALL(-ENOENT, CALL(renameat2, AT, P("/n/1"), AT, P("/n/x"), RENAME_EXCHANGE));
    CHECK_CALL(-EINVAL, CALL(renameat2, AT, P("/n/1"), AT, P("/n"), RENAME_EXCHANGE));
    CHECK_CALL(
        0, CALL(renameat2, AT, P("/n/1"), AT, P("/n/a name that is longer than thirty bytes"), 0));
    CHECK_CALL(0, CALL(renameat2, AT, P("/n/a name that is longer than thirty bytes"), AT,
                       P("/n/hard"), RENAME_EXCHANGE));
    expect_contents("/n/a name that is longer than thirty bytes", "1");
    CHECK_CALL(0, CALL(renameat2, AT, P("/n/hard"), AT,
                       P("/n/a name that is longer than thirty bytes"), RENAME_EXCHANGE));
    CHECK_CALL(0, rename_file("/n/a name that is longer than thirty bytes", "/n/1"));
    CHECK_CALL(0, make_directory("/n/1/sub"));
    CHECK_CALL(0, make_directory("/n/empty"));
    CHECK_CALL(0, rename_file("/n/1", "/n/empty"));
    CHECK_CALL(0, stat_of("/n/empty/sub", &stat));
    CHECK_CALL(0, stat_of("/n", &stat));
    CHECK(stat.st_nlink == 3, "%lu links", stat.st_nlink);
    CHECK_CALL(-EISDIR, remove_file("/n/empty"));
    CHECK_CALL(-ENOTEMPTY, CALL(rmdir, P("/n/empty")));
    CHECK_CALL(-ENOTDIR, CALL(rmdir, P("/n/hard")));
    CHECK_CALL(-ENOTDIR, remove_file("/n/hard/"));
    CHECK_CALL(-EINVAL, CALL(rmdir, P("/n/empty/.")));
    CHECK_CALL(-ENOTEMPTY, CALL(rmdir, P("/n/empty/..")));
    CHECK_CALL(-EBUSY, CALL(rmdir, P("/")));
    CHECK_CALL(-EBUSY, CALL(rmdir, P("/proc")));
    CHECK_CALL(-ENOENT, remove_file("/n/none"));
    CHECK_CALL(0, CALL(unlinkat, AT, P("/n/empty/sub"), AT_REMOVEDIR));
    CHECK_CALL(0, CALL(rmdir, P("/n/empty/")));
    CHECK_CALL(0, remove_file("/n/hard"));
    CHECK_CALL(0, remove_file("/n/d"));
    expect_names("/n", "");
    /* Attributes. */
    CHECK_CALL(1, make_file("/n/a", "x"));
    CHECK_CALL(0, CALL(chmod, P("/n/a"), 04711));
    CHECK_CALL(0, CALL(chown, P("/n/a"), 5, UINT32_MAX));
    CHECK_CALL(0, stat_of("/n/a", &stat));
    CHECK(stat.st_mode == 0100711 && stat.st_uid == 5 && stat.st_gid == 0, "%o %u", stat.st_mode,
          stat.st_uid);
    int64_t times[4] = {-5, 7, 100, 0x3ffffffe};
    CHECK_CALL(0, CALL(utimensat, AT, P("/n/a"), P(times), 0));
    CHECK_CALL(0, stat_of("/n/a", &other));
    CHECK(other.st_atime == -5 && other.st_atime_nsec == 7 && other.st_mtime == stat.st_mtime,
          "%ld", other.st_atime);
    times[1] = 1000000000;
    CHECK_CALL(-EINVAL, CALL(utimensat, AT, P("/n/a"), P(times), 0));
    CHECK_CALL(-EACCES, CALL(access, P("/w/a/f"), 1));
    CHECK_CALL(0, CALL(access, P("/n/a"), 7));
    CHECK_CALL(-EINVAL, CALL(access, P("/n/a"), 8));
    CHECK_CALL(-ENODATA, CALL(getxattr, P("/n/a"), P("security.x"), 0, 0));
    CHECK_CALL(-EOPNOTSUPP, CALL(setxattr, P("/n/a"), P("user.x"), 0, 0));
    CHECK_CALL(0, CALL(listxattr, P("/n/a"), 0, 0));
    CHECK_CALL(077, (CALL(umask, 077), CALL(umask, 022)));
    /* A named pipe and a socket's name. */
    CHECK_CALL(0, CALL(mknod, P("/n/fifo"), 0010600, 0));
    CHECK_CALL(-ENXIO, open_file("/n/fifo", O_WRONLY | O_NONBLOCK, 0));
    int reader = open_file("/n/fifo", O_RDONLY | O_NONBLOCK, 0);
    int writer = open_file("/n/fifo", O_WRONLY | O_NONBLOCK, 0);
    CHECK_CALL(1, CALL(write, (uint64_t)writer, P("x"), 1));
    char byte;
    CHECK_CALL(1, CALL(read, (uint64_t)reader, P(&byte), 1));
    CHECK_CALL(0, CALL(close, (uint64_t)writer));
    CHECK_CALL(0, CALL(read, (uint64_t)reader, P(&byte), 1));
    CHECK_CALL(0, CALL(close, (uint64_t)reader));
    CHECK_CALL(0, remove_file("/n/fifo"));
    CHECK_CALL(0, CALL(mknod, P("/n/sock"), 0140600, 0));
    CHECK_CALL(-ENXIO, open_file("/n/sock", O_RDWR, 0));
    CHECK_CALL(0, remove_file("/n/sock"));
    CHECK_CALL(0, remove_file("/n/a"));
    CHECK_CALL(0, CALL(rmdir, P("/n")));
}

/* Random operations on one file against a plain array. */
static void test_contents(void)
{
    enum { SIZE = 600000 };
    static char model[SIZE], bytes[SIZE];
    size_t size = 0;
    uint64_t state = 42;
    unsigned before = machine_pages;
    int fd = open_file("/tmp/model", O_CREAT | O_RDWR, 0600);
    memset(model, 0, sizeof(model));
    for (int round = 0; round < 6000; round++) {
        size_t at = test_random(&state) % (SIZE - 20000), length = test_random(&state) % 20000;
        switch (test_random(&state) % 6) {
        case 0:
        case 1:
            for (size_t i = 0; i < length; i++) {
                bytes[i] = (char)test_random(&state);
            }
            CHECK_CALL((long)length, CALL(pwrite64, (uint64_t)fd, P(bytes), length, at));
            memcpy(model + at, bytes, length);
            size = length != 0 && at + length > size ? at + length : size;
            break;
        case 2:
            CHECK_CALL(0, CALL(ftruncate, (uint64_t)fd, at));
            if (at < size) {
                memset(model + at, 0, size - at);
            }
            size = at;
            break;
        case 3:
            if (length != 0) {
                int mode = FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE;
                CHECK_CALL(0, CALL(fallocate, (uint64_t)fd, (uint64_t)mode, at, length));
                memset(model + at, 0, length);
            }
            break;
        case 4:
            if (length != 0 && test_random(&state) % 8 == 0) {
                CHECK_CALL(0, CALL(fallocate, (uint64_t)fd, 0, at, length));
                size = at + length > size ? at + length : size;
            }
            break;
        default: {
            long expected = at >= size ? 0 : (long)(length < size - at ? length : size - at);
            CHECK_CALL(expected, CALL(pread64, (uint64_t)fd, P(bytes), length, at));
            CHECK(memcmp(bytes, model + at, (size_t)expected) == 0, "round %d: contents at %zu",
                  round, at);
        }
        }
    }
    CHECK_CALL(0, CALL(ftruncate, (uint64_t)fd, 0));
    CHECK(machine_pages == before, "%u pages left", machine_pages - before);
    /* Sparse and far away. */
    CHECK_CALL(1, CALL(pwrite64, (uint64_t)fd, P("x"), 1, 1ul << 50));
    CHECK_CALL(1, CALL(pwrite64, (uint64_t)fd, P("y"), 1, 0));
    CHECK_CALL(1, CALL(pread64, (uint64_t)fd, P(bytes), 10, 1ul << 50));
    CHECK(bytes[0] == 'x', "far byte");
    CHECK_CALL(-EFBIG, CALL(pwrite64, (uint64_t)fd, P("x"), 1, INT64_MAX));
    CHECK_CALL(-EFBIG, CALL(ftruncate, (uint64_t)fd, INT64_MAX));
    struct stat stat;
    CHECK_CALL(0, CALL(fstat, (uint64_t)fd, P(&stat)));
    CHECK(stat.st_blocks == 16 && stat.st_size == (1l << 50) + 1, "%ld blocks", stat.st_blocks);
    /* Mapped pages stay when they are cut off. */
    struct file *file;
    uint64_t physical, again;
    CHECK(fd_lookup(fd, &file) == 0, "lookup");
    CHECK(file->operations->map_page(file, 0, true, &physical) == 0, "map");
    CHECK(file->operations->map_page(file, 0, false, &again) == 0 && again == physical,
          "map twice");
    CHECK_CALL(0, CALL(ftruncate, (uint64_t)fd, 0));
    CHECK(machine_pages == before + 1, "a mapped page was freed");
    CHECK(file->operations->map_page(file, 0, false, &again) == -EIO, "map past the end");
    CHECK_CALL(2, CALL(pwrite64, (uint64_t)fd, P("zz"), 2, 0));
    file->operations->unmap_page(file, 0, physical);
    file->operations->unmap_page(file, 0, physical);
    CHECK(machine_pages == before + 1, "%u pages", machine_pages - before);
    file_put(file);
    /* Copies from file to file. */
    int other = open_file("/tmp/other", O_CREAT | O_RDWR, 0600);
    memset(bytes, 'c', 10000);
    CHECK_CALL(10000, CALL(pwrite64, (uint64_t)fd, P(bytes), 10000, 0));
    uint64_t in_at = 100, out_at = 5;
    CHECK_CALL(9900, CALL(copy_file_range, (uint64_t)fd, P(&in_at), (uint64_t)other, P(&out_at),
                          20000, 0));
    CHECK(in_at == 10000 && out_at == 9905, "%lu %lu", in_at, out_at);
    in_at = 0;
    CHECK_CALL(3000, CALL(sendfile, (uint64_t)other, (uint64_t)fd, P(&in_at), 3000));
    CHECK_CALL(3000, CALL(lseek, (uint64_t)other, 0, 1));
    CHECK_CALL(0, CALL(lseek, (uint64_t)fd, 0, 0));
    CHECK_CALL(100, CALL(sendfile, (uint64_t)fd, (uint64_t)fd, 0, 100));
    CHECK_CALL(0, CALL(lseek, (uint64_t)fd, 0, 0));
    int pipe[2];
    CHECK_CALL(0, CALL(pipe2, P(pipe), O_NONBLOCK));
    CHECK_CALL(10000, CALL(sendfile, (uint64_t)pipe[1], (uint64_t)fd, 0, 100000));
    CHECK_CALL(-EINVAL, CALL(splice, (uint64_t)fd, 0, (uint64_t)pipe[1], 0, 10, 0));
    CHECK_CALL(0, CALL(close_range, 3, UINT32_MAX, 0));
    CHECK_CALL(0, remove_file("/tmp/model"));
    CHECK_CALL(0, remove_file("/tmp/other"));
    CHECK(machine_pages <= before, "%u pages left", machine_pages - before);
}

static void test_full(void)
{
    static char page[4096];
    struct statfs statfs;
    long total = 0, done;
    CHECK_CALL(0, CALL(statfs, P("/tmp"), P(&statfs)));
    CHECK(statfs.f_type == 0x01021994 && statfs.f_blocks == 1000, "%lx", statfs.f_type);
    int fd = open_file("/tmp/full", O_CREAT | O_RDWR, 0600);
    while ((done = CALL(write, (uint64_t)fd, P(page), sizeof(page))) == sizeof(page)) {
        total++;
    }
    CHECK(done == -ENOSPC && total > 900 && total <= 1000, "%ld pages, then %ld", total, done);
    CHECK_CALL(-ENOSPC, make_directory("/tmp/more"));
    CHECK_CALL(-ENOSPC, CALL(fallocate, (uint64_t)fd, 0, 0, 1ul << 40));
    CHECK_CALL(total * 4096, CALL(lseek, (uint64_t)fd, 0, 2));
    CHECK_CALL(0, CALL(close, (uint64_t)fd));
    CHECK_CALL(0, remove_file("/tmp/full"));
    CHECK_CALL(1, make_file("/tmp/again", "x"));
    CHECK_CALL(0, remove_file("/tmp/again"));
}

static void test_locks(void)
{
    int first = open_file("/tmp/lock", O_CREAT | O_RDWR, 0600),
        second = open_file("/tmp/lock", O_RDWR, 0);
    CHECK_CALL(0, CALL(flock, (uint64_t)first, 1));
    CHECK_CALL(0, CALL(flock, (uint64_t)second, 1));
    CHECK_CALL(-EAGAIN, CALL(flock, (uint64_t)second, 2 | 4));
    CHECK_CALL(0, CALL(flock, (uint64_t)first, 8));
    CHECK_CALL(0, CALL(flock, (uint64_t)second, 2 | 4));
    CHECK_CALL(-EINVAL, CALL(flock, (uint64_t)second, 3));
    struct flock range = {.l_type = F_WRLCK, .l_start = 10, .l_len = 20};
    CHECK_CALL(0, CALL(fcntl, (uint64_t)first, F_OFD_SETLK, P(&range)));
    range = (struct flock){.l_type = F_UNLCK, .l_start = 15, .l_len = 5};
    CHECK_CALL(0, CALL(fcntl, (uint64_t)first, F_OFD_SETLK, P(&range)));
    range = (struct flock){.l_type = F_RDLCK, .l_start = 15, .l_len = 5};
    CHECK_CALL(0, CALL(fcntl, (uint64_t)second, F_OFD_SETLK, P(&range)));
    range = (struct flock){.l_type = F_RDLCK, .l_start = 15, .l_len = 6};
    CHECK_CALL(-EAGAIN, CALL(fcntl, (uint64_t)second, F_OFD_SETLK, P(&range)));
    CHECK_CALL(0, CALL(fcntl, (uint64_t)second, F_OFD_GETLK, P(&range)));
    CHECK(range.l_type == F_WRLCK && range.l_start == 20 && range.l_len == 10, "%ld",
          (long)range.l_start);
    range = (struct flock){0};
    CHECK_CALL(0, CALL(fcntl, (uint64_t)second, F_SETLK, P(&range)));
    CHECK_CALL(0, CALL(close, (uint64_t)first));
    range = (struct flock){.l_type = F_WRLCK};
    CHECK_CALL(0, CALL(fcntl, (uint64_t)second, F_OFD_SETLK, P(&range)));
    CHECK_CALL(0, CALL(close, (uint64_t)second));
    CHECK_CALL(0, remove_file("/tmp/lock"));
}

static void test_special(void)
{
    static const char *const files[] = {"self/maps",
                                        "self/stat",
                                        "self/status",
                                        "self/statm",
                                        "self/mountinfo",
                                        "self/limits",
                                        "self/comm",
                                        "self/oom_score_adj",
                                        "thread-self/comm",
                                        "1/task/1/stat",
                                        "cpuinfo",
                                        "meminfo",
                                        "stat",
                                        "uptime",
                                        "loadavg",
                                        "version",
                                        "mounts",
                                        "filesystems",
                                        "sys/kernel/hostname",
                                        "sys/kernel/osrelease",
                                        "sys/kernel/pid_max",
                                        "sys/kernel/random/uuid",
                                        "sys/kernel/random/boot_id",
                                        "sys/vm/overcommit_memory",
                                        "sys/net/core/somaxconn"};
    char bytes[4096], path[64];
    struct process_view view = {"/a.test", "a\0b\0", "E=1\0", 4, 4, "auxv", 4};
    fs_set_process(&view);
    for (size_t i = 0; i < sizeof(files) / sizeof(files[0]); i++) {
        snprintf(path, sizeof(path), "/proc/%s", files[i]);
        int fd = open_file(path, O_RDONLY, 0);
        CHECK(fd >= 0, "%s gave %d", path, fd);
        long size = CALL(read, (uint64_t)fd, P(bytes), sizeof(bytes));
        CHECK(size > 1 && bytes[size - 1] == '\n', "%s gave %ld", path, size);
        CHECK_CALL(0, CALL(read, (uint64_t)fd, P(bytes), sizeof(bytes)));
        CHECK_CALL(0, CALL(close, (uint64_t)fd));
    }
    expect_contents("/proc/self/comm", "tested\n");
    expect_contents("/proc/self/cgroup", "");
    expect_contents(
        "/proc/self/maps",
        "00400000-00401000 r-xp 00000000 00:00 0                                  /tested\n");
    expect_contents("/sys/kernel/mm/transparent_hugepage/hpage_pmd_size", "2097152\n");
    expect_contents("/sys/devices/system/cpu/online", "0\n");
    int fd = open_file("/proc/1/cmdline", O_RDONLY, 0);
    CHECK_CALL(4, CALL(read, (uint64_t)fd, P(bytes), sizeof(bytes)));
    CHECK(memcmp(bytes, "a\0b", 4) == 0, "cmdline");
    expect_names("/proc/self/fd", "0 1 2 3 4 ");
    CHECK_CALL(0, CALL(close, (uint64_t)fd));
    CHECK_CALL(-ENOENT, open_file("/proc/self/fd/3", O_RDONLY, 0));
    expect_names("/proc/self/task", "1 ");
    CHECK_CALL(-ENOENT, open_file("/proc/self/task/77/stat", O_RDONLY, 0));
    CHECK_CALL(-EACCES, open_file("/proc/version", O_RDWR, 0));
    CHECK_CALL(-EPERM, make_directory("/proc/x"));
    CHECK_CALL(-EPERM, remove_file("/proc/version"));
    CHECK_CALL(7, CALL(readlink, P("/proc/self/exe"), P(bytes), sizeof(bytes)));
    CHECK_CALL(3, make_file("/proc/self/oom_score_adj", "-7\n"));
    expect_contents("/proc/self/oom_score_adj", "-7\n");
    CHECK_CALL(-EINVAL, make_file("/proc/self/oom_score_adj", "x"));
    CHECK_CALL(3, make_file("/tmp/magic", "abc"));
    fd = open_file("/tmp/magic", O_RDONLY, 0);
    snprintf(path, sizeof(path), "/dev/fd/%d", fd);
    expect_contents(path, "abc");
    int directory = open_file("/tmp", O_RDONLY, 0);
    snprintf(path, sizeof(path), "/proc/self/fd/%d/magic", directory);
    expect_contents(path, "abc");
    CHECK_CALL(0, CALL(close_range, 3, UINT32_MAX, 0));
    CHECK_CALL(0, remove_file("/tmp/magic"));
    fd = open_file("/dev/zero", O_RDWR, 0);
    memset(bytes, 1, sizeof(bytes));
    CHECK_CALL(2000, CALL(read, (uint64_t)fd, P(bytes), 2000));
    CHECK(bytes[0] == 0 && bytes[1999] == 0 && bytes[2000] == 1, "/dev/zero");
    CHECK_CALL(9, CALL(write, (uint64_t)fd, P(bytes), 9));
    CHECK_CALL(0, CALL(close, (uint64_t)fd));
    fd = open_file("/dev/full", O_RDWR, 0);
    CHECK_CALL(-ENOSPC, CALL(write, (uint64_t)fd, P(bytes), 9));
    CHECK_CALL(0, CALL(close, (uint64_t)fd));
    fd = open_file("/dev/null", O_RDWR, 0);
    CHECK_CALL(0, CALL(read, (uint64_t)fd, P(bytes), 9));
    CHECK_CALL(0, CALL(close, (uint64_t)fd));
    fd = open_file("/dev/urandom", O_RDONLY, 0);
    CHECK_CALL(1000, CALL(read, (uint64_t)fd, P(bytes), 1000));
    CHECK_CALL(0, CALL(close, (uint64_t)fd));
}

static void remove_all(void)
{
    machine_fail_after = -1;
    CALL(close_range, 3, UINT32_MAX, 0);
    remove_file("/m/a/file");
    remove_file("/m/b/file");
    remove_file("/m/b/a name that is longer than thirty bytes");
    remove_file("/m/link");
    CALL(rmdir, P("/m/a"));
    CALL(rmdir, P("/m/b"));
    CALL(rmdir, P("/m"));
}

/* Every allocation fails once: each call says so, and nothing leaks or breaks. */
static void test_no_memory(void)
{
    static char bytes[300000];
    bool failed = true;
    unsigned before = machine_pages;
    for (int after = 0; failed; after++) {
        CHECK(after < 500, "it never succeeds");
        machine_fail_after = after;
        long results[16] = {
            make_directory("/m"),
            make_directory("/m/a"),
            make_directory("/m/b"),
            make_file("/m/a/file", "abc"),
            CALL(symlink, P("/m/a/file"), P("/m/link")),
            CALL(link, P("/m/a/file"), P("/m/b/file")),
            rename_file("/m/a/file", "/m/b/a name that is longer than thirty bytes"),
            rename_file("/m/b/file", "/m/a/file"),
        };
        int fd = open_file("/m/link", O_RDWR, 0), pipe[2];
        results[8] = fd;
        results[9] = CALL(pwrite64, (uint64_t)fd, P(bytes), sizeof(bytes), 1 << 20) == sizeof(bytes)
                         ? 0
                         : -1;
        results[10] = CALL(pipe2, P(pipe), 0);
        results[11] = CALL(write, (uint64_t)pipe[1], P(bytes), 9);
        results[12] = CALL(eventfd2, 0, 0);
        results[13] = CALL(epoll_create1, 0);
        results[14] = CALL(timerfd_create, 1, 0);
        results[15] = open_file("/proc/self/status", O_RDONLY, 0);
        failed = machine_fail_after == 0;
        for (int i = 0; i < 16 && !failed; i++) {
            CHECK(results[i] >= 0, "call %d gave %ld", i, results[i]);
        }
        remove_all();
        CHECK(machine_pages <= before + 4, "%u pages left", machine_pages - before);
    }
}

/* An event for which there is no memory is not lost without a word. */
static void test_lost_event(void)
{
    struct inotify_event event;
    struct dentry *dentry;
    uint64_t fd = (uint64_t)CALL(inotify_init1, IN_NONBLOCK);
    CHECK_CALL(0, make_directory("/m"));
    long watch = CALL(inotify_add_watch, fd, P("/m"), IN_ATTRIB | IN_ACCESS);
    CHECK_CALL(0, path_dentry(P("/m"), 0, &dentry));
    for (int round = 0; round < 2; round++) {
        CHECK_CALL(0, CALL(chmod, P("/m"), 0700));
        machine_fail_after = 0;
        inotify_self(dentry->inode, IN_ACCESS);
        inotify_self(dentry->inode, IN_ATTRIB);
        machine_fail_after = -1;
        CHECK_CALL(sizeof(event), CALL(read, fd, P(&event), sizeof(event)));
        CHECK(event.wd == watch && event.mask == (IN_ATTRIB | IN_ISDIR), "mask %#x", event.mask);
        CHECK_CALL(sizeof(event), CALL(read, fd, P(&event), sizeof(event)));
        CHECK(event.wd == -1 && event.mask == IN_Q_OVERFLOW, "mask %#x", event.mask);
        CHECK_CALL(-EAGAIN, CALL(read, fd, P(&event), sizeof(event)));
    }
    dentry_put(dentry);
    CHECK_CALL(0, CALL(close, fd));
    CHECK_CALL(0, CALL(rmdir, P("/m")));
}

int main(void)
{
    machine_init();
    CHECK_CALL(-ENOENT, fs_init("/dev/vda"));
    CHECK_CALL(-ENOENT, fs_init("initrd"));
    CHECK_CALL(0, fs_init("none"));
    console_init(false, false);
    expect_names("/", "dev proc sys tmp etc root run var home ");
    test_open();
    test_walk();
    test_names();
    test_contents();
    test_full();
    test_locks();
    test_special();
    test_no_memory();
    test_lost_event();
    return 0;
}
