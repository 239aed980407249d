/* SPDX-License-Identifier: MIT */
/* The 9P client against a server that makes its answers up: right ones, and ones with sizes, tags,
 * types, names and numbers that are wrong. Of the latter only the sanitizers judge, and that every
 * call comes back. */
#include <linux/fs.h>

#include "core/fs/inode.h"
#include "core/fs/ninep.h"
#include "fs_machine.h"

#define AT ((uint64_t)AT_FDCWD)

static uint64_t seed = 7;
static bool names_missing; /* a walk finds nothing */
static unsigned damage;    /* in how many of 256 answers; 0: never */

static struct ninep_channel channel = {.capacity = 32, .tag = "host"};

static unsigned below(unsigned limit)
{
    return (unsigned)(test_random(&seed) % limit);
}

/* --- the messages ----------------------------------------------------------------------------- */

static void check_codec(void)
{
    uint8_t bytes[64];
    struct ninep_message message = {.bytes = bytes, .size = sizeof(bytes)};
    ninep_begin(&message);
    ninep_put(&message, "bwdqs", 1, 2, 3u, (uint64_t)4, "name", (size_t)4);
    ninep_finish(&message, NINEP_TWALK, 5, 0);
    static const uint8_t expected[] = {28, 0, 0, 0, 110, 5, 0, 1, 2, 0, 3,   0,   0,   0,
                                       4,  0, 0, 0, 0,   0, 0, 0, 4, 0, 'n', 'a', 'm', 'e'};
    CHECK(!message.bad && message.at == sizeof(expected) &&
              memcmp(bytes, expected, sizeof(expected)) == 0,
          "bytes of a message");
    ninep_put(&message, "s", "does not fit into what is left of it", (size_t)37);
    CHECK(message.bad, "too long");

    static const uint8_t answer[] = {13, 0, 0, 0, 111, 9, 0, 2, 0, 'a', 'b', 7, 0};
    uint16_t number;
    const char *text;
    size_t length;
    for (size_t size = 0; size <= sizeof(answer); size++) {
        memcpy(bytes, answer, sizeof(answer));
        message = (struct ninep_message){.bytes = bytes, .size = size};
        int result = ninep_check(&message, sizeof(answer), NINEP_TWALK, 9);
        CHECK(result == (size >= NINEP_HEADER ? 0 : -EIO), "%zu bytes: %d", size, result);
        bool good = result == 0 && ninep_get(&message, "sw", &text, &length, &number);
        CHECK(good == (size == sizeof(answer)), "fields in %zu bytes", size);
    }
    CHECK(length == 2 && text[1] == 'b' && number == 7, "fields");
    message = (struct ninep_message){.bytes = bytes, .size = sizeof(answer)};
    CHECK(ninep_check(&message, 13, NINEP_TWALK, 8) == -EIO, "a tag of another");
    CHECK(ninep_check(&message, 12, NINEP_TWALK, 9) == -EIO, "a size that is not its");
    message.size = sizeof(answer);
    CHECK(ninep_check(&message, 13, NINEP_TREAD, 9) == -EIO, "a type of another");
    static const uint8_t error[] = {11, 0, 0, 0, 7, 9, 0, 2, 0, 0, 0};
    memcpy(bytes, error, sizeof(error));
    message.size = sizeof(error);
    CHECK(ninep_check(&message, 11, NINEP_TWALK, 9) == -ENOENT, "an error");
    bytes[9] = 1;
    message.size = sizeof(error);
    CHECK(ninep_check(&message, 11, NINEP_TWALK, 9) == -EIO, "an error that is none");
}

/* --- the server ------------------------------------------------------------------------------- */

struct reply {
    uint8_t bytes[NINEP_HEADER + 70000];
    size_t size;
};

static void add(struct reply *reply, const void *bytes, size_t size)
{
    memcpy(reply->bytes + reply->size, bytes, size);
    reply->size += size;
}

static void add_number(struct reply *reply, uint64_t value, size_t size)
{
    add(reply, &value, size);
}

static void add_qid(struct reply *reply, uint8_t type, uint64_t path)
{
    add_number(reply, type, 1);
    add_number(reply, 1, 4);
    add_number(reply, path, 8);
}

/* Directories are those whose names begin with d: files by number, odd ones are directories. */
static void answer_fields(struct reply *reply, uint8_t type, const uint8_t *request)
{
    uint32_t fid, count;
    uint16_t names, length;
    static uint64_t paths[4096]; /* by fid */
    memcpy(&fid, request + 7, 4);
    switch (type) {
    case NINEP_TVERSION:
        add_number(reply, 8192, 4);
        add_number(reply, 8, 2);
        add(reply, "9P2000.L", 8);
        break;
    case NINEP_TATTACH:
        paths[fid % 4096] = 1;
        add_qid(reply, NINEP_QID_DIRECTORY, 1);
        break;
    case NINEP_TWALK:
        memcpy(&count, request + 11, 4);
        memcpy(&names, request + 15, 2);
        if (names_missing && names != 0) {
            reply->bytes[4] = NINEP_RLERROR;
            add_number(reply, ENOENT, 4);
            break;
        }
        add_number(reply, names, 2);
        paths[count % 4096] = paths[fid % 4096];
        if (names != 0) {
            memcpy(&length, request + 17, 2);
            paths[count % 4096] = request[19] == 'd' ? 3 + 2 * (length % 8u) : 2 * length;
            add_qid(reply, request[19] == 'd' ? NINEP_QID_DIRECTORY : 0, paths[count % 4096]);
        }
        break;
    case NINEP_TGETATTR: {
        bool directory = paths[fid % 4096] % 2 == 1;
        add_number(reply, 0x7ff, 8);
        add_qid(reply, directory ? NINEP_QID_DIRECTORY : 0, paths[fid % 4096]);
        add_number(reply, directory ? S_IFDIR | 0755 : S_IFREG | 0644, 4);
        add_number(reply, 0, 8);    /* owners */
        add_number(reply, 2, 8);    /* links */
        add_number(reply, 0, 8);    /* device */
        add_number(reply, 5000, 8); /* size */
        add_number(reply, 4096, 8);
        add_number(reply, 16, 8);
        for (int i = 0; i < 10; i++) {
            add_number(reply, i % 2 == 0 ? 1000000 : 5, 8);
        }
        break;
    }
    case NINEP_TLOPEN:
    case NINEP_TLCREATE:
        add_qid(reply, 0, 2);
        add_number(reply, 0, 4);
        break;
    case NINEP_TREAD:
    case NINEP_TWRITE: {
        uint64_t offset;
        memcpy(&offset, request + 11, 8);
        memcpy(&count, request + 19, 4);
        count = offset >= 5000 && type == NINEP_TREAD ? 0 : count;
        count = type == NINEP_TREAD && count > 5000 - offset ? (uint32_t)(5000 - offset) : count;
        add_number(reply, count, 4);
        for (uint32_t i = 0; i < count && type == NINEP_TREAD; i++) {
            add_number(reply, (offset + i) & 0xff, 1);
        }
        break;
    }
    case NINEP_TREADDIR: {
        uint64_t offset;
        memcpy(&offset, request + 11, 8);
        add_number(reply, offset < 2 ? 2 * (24 + 1) : 0, 4);
        for (uint64_t i = offset; i < 2 && offset < 2; i++) {
            add_qid(reply, 0, i);
            add_number(reply, i + 1, 8);
            add_number(reply, 8, 1);
            add_number(reply, 1, 2);
            add_number(reply, 'a' + i, 1);
        }
        break;
    }
    case NINEP_TREADLINK:
        add_number(reply, 3, 2);
        add(reply, "x/y", 3);
        break;
    case NINEP_TXATTRWALK:
        add_number(reply, 10, 8);
        break;
    case NINEP_TSTATFS:
        add_number(reply, 1, 4);
        add_number(reply, 4096, 4);
        for (int i = 0; i < 6; i++) {
            add_number(reply, 100, 8);
        }
        add_number(reply, 255, 4);
        break;
    case NINEP_TMKNOD: {
        uint32_t fields[3]; /* mode, major, minor */
        memcpy(&length, request + 11, 2);
        memcpy(fields, request + 13 + length, sizeof(fields));
        CHECK(fields[0] == (S_IFBLK | 0640) && fields[1] == 0x123 && fields[2] == 0x45678,
              "node %o, %#x, %#x", fields[0], fields[1], fields[2]);
        add_qid(reply, 0, 2);
        break;
    }
    case NINEP_TSYMLINK:
    case NINEP_TMKDIR:
        add_qid(reply, 0, 2);
        break;
    default:
        break;
    }
}

static void spoil(struct reply *reply)
{
    unsigned kind = below(6);
    if (kind == 0) {
        reply->size = below((unsigned)reply->size + 1);
    } else if (kind == 1) {
        reply->bytes[4] = NINEP_RLERROR;
    } else if (kind == 2) {
        reply->size += below(200);
    } else {
        for (unsigned i = 0; i <= below(4); i++) {
            static const uint8_t values[] = {0, 1, 0x7f, 0x80, 0xff, '/'};
            reply->bytes[below((unsigned)reply->size)] = values[below(sizeof(values))];
        }
    }
}

static int serve(struct ninep_channel *self, const struct ninep_buffer *buffers, unsigned out,
                 unsigned in, void *token)
{
    static struct reply reply;
    const uint8_t *request = buffers[0].data;
    uint32_t size, total = 0;
    memcpy(&size, request, 4);
    for (unsigned i = 0; i < out; i++) {
        total += buffers[i].length;
    }
    CHECK(size == total, "a message of %u bytes in %u", size, total);
    reply.size = NINEP_HEADER;
    reply.bytes[4] = request[4] + 1;
    answer_fields(&reply, request[4], request);
    memcpy(reply.bytes, &(uint32_t){(uint32_t)reply.size}, 4);
    memcpy(reply.bytes + 5, request + 5, 2);
    if (below(256) < damage) {
        spoil(&reply);
    }
    size_t at = 0;
    for (unsigned i = out; i < out + in && at < reply.size; i++) {
        size_t piece = reply.size - at < buffers[i].length ? reply.size - at : buffers[i].length;
        memcpy(buffers[i].data, reply.bytes + at, piece);
        at += piece;
    }
    core_ninep_answered(self, token, (uint32_t)at);
    return 0;
}

/* --- calls ------------------------------------------------------------------------------------ */

static void right_answers(void)
{
    struct stat stat;
    uint8_t bytes[8000];
    int fd = open_file("/m/d/file", O_RDWR, 0);
    CHECK(fd >= 0, "open: %d", fd);
    CHECK_CALL(0, CALL(fstat, (uint64_t)fd, P(&stat)));
    CHECK(stat.st_size == 5000 && stat.st_mtime == 1000000 && S_ISREG(stat.st_mode), "stat");
    CHECK_CALL(5000, CALL(read, (uint64_t)fd, P(bytes), sizeof(bytes)));
    CHECK(bytes[4999] == (4999 & 0xff), "contents");
    CHECK_CALL(-EFAULT, CALL(pread64, (uint64_t)fd, 8, 100, 0));
    CHECK_CALL(-EFAULT, CALL(write, (uint64_t)fd, 8, 100));
    CHECK_CALL(8000, CALL(pwrite64, (uint64_t)fd, P(bytes), 8000, 0));
    CHECK_CALL(0, CALL(close, (uint64_t)fd));
    fd = open_file("/m/dir", O_RDONLY | O_DIRECTORY, 0);
    CHECK_CALL(48, CALL(getdents64, (uint64_t)fd, P(bytes), sizeof(bytes)));
    CHECK_CALL(0, CALL(getdents64, (uint64_t)fd, P(bytes), sizeof(bytes)));
    CHECK_CALL(0, CALL(close, (uint64_t)fd));
    CHECK_CALL(-EINVAL, CALL(renameat2, AT, P("/m/a"), AT, P("/m/bb"), 1));
    CHECK_CALL(-EEXIST, CALL(mknod, P("/m/there"), S_IFIFO | 0640, 0));
    names_missing = true;
    CHECK_CALL(-ENOENT, CALL(mknod, P("/m/node"), S_IFBLK | 0640, 0x45612378));
    names_missing = false;
    CHECK_CALL(-EOPNOTSUPP, open_file("/m/d", O_TMPFILE | O_RDWR, 0600));
    fd = open_file("/m/d/file", O_RDWR, 0);
    CHECK_CALL(-EOPNOTSUPP, CALL(fallocate, (uint64_t)fd, 0, 0, 100));
    CHECK_CALL(0, CALL(close, (uint64_t)fd));
}

/* Every call once, whatever comes of it. */
static void any_answers(void)
{
    char bytes[9000];
    struct stat stat;
    int fd = open_file("/m/d/file", O_RDWR, 0);
    if (fd >= 0) {
        CALL(read, (uint64_t)fd, P(bytes), sizeof(bytes));
        CALL(pwrite64, (uint64_t)fd, P(bytes), sizeof(bytes), 3);
        CALL(fstat, (uint64_t)fd, P(&stat));
        CALL(ftruncate, (uint64_t)fd, below(9000));
        CALL(fsync, (uint64_t)fd);
        CALL(lseek, (uint64_t)fd, 0, SEEK_END);
        CALL(fgetxattr, (uint64_t)fd, P("user.a"), P(bytes), below(20));
        CALL(flistxattr, (uint64_t)fd, P(bytes), sizeof(bytes));
        CALL(fstatfs, (uint64_t)fd, P(bytes));
        CALL(close, (uint64_t)fd);
    }
    fd = open_file("/m/dir", O_RDONLY | O_DIRECTORY, 0);
    if (fd >= 0) {
        for (int i = 0; i < 4; i++) {
            CALL(getdents64, (uint64_t)fd, P(bytes), 40 + below(2000));
        }
        CALL(close, (uint64_t)fd);
    }
    CALL(mkdir, P("/m/directory"), 0755);
    CALL(symlink, P("to"), P("/m/link"));
    CALL(link, P("/m/a"), P("/m/ccc"));
    CALL(readlink, P("/m/link"), P(bytes), sizeof(bytes));
    CALL(rename, P("/m/a"), P("/m/bb"));
    CALL(unlink, P("/m/a"));
    CALL(rmdir, P("/m/dd"));
    CALL(chmod, P("/m/a"), 0600);
    CALL(stat, P("/m/d/dd/ddd/file"), P(&stat));
    fd = open_file("/m/new", O_RDWR | O_CREAT | O_APPEND, 0600);
    if (fd >= 0) {
        CALL(write, (uint64_t)fd, P(bytes), 100);
        CALL(close, (uint64_t)fd);
    }
}

int main(void)
{
    check_codec();
    machine_init();
    channel.send = serve;
    core_ninep_found(&channel);
    CHECK_CALL(0, fs_init("none"));
    CHECK_CALL(0, fs_mount("host:/m:rw"));
    right_answers();
    damage = 25;
    for (int i = 0; i < 2000; i++) {
        any_answers();
    }
    damage = 0;
    right_answers();
    core_ninep_gone(&channel);
    CHECK(open_file("/m/d/file", O_RDWR, 0) == -EIO, "the channel is closed");
    return 0;
}
