/* SPDX-License-Identifier: MIT */
/* The interpreter of classic BPF: what is refused, what a filter sees and keeps, and that any
 * program which is not refused ends without touching what is not its own. */
#include <linux/errno.h>
#include <linux/filter.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "core/net/filter.h"
#include "fakes/check.h"
#include "lwip/pbuf.h"

int copy_from_user(void *to, uintptr_t from, size_t size)
{
    memcpy(to, (const void *)from, size);
    return 0;
}

void *kmalloc(size_t size)
{
    return malloc(size);
}

void kfree(void *memory)
{
    free(memory);
}

u8_t pbuf_get_at(const struct pbuf *p, u16_t offset)
{
    CHECK(offset < p->tot_len, "in the packet");
    return ((const uint8_t *)p->payload)[offset];
}

static struct socket_filter *create(const struct sock_filter *code, unsigned length, int wanted)
{
    struct sock_fprog program = {.len = (uint16_t)length, .filter = (struct sock_filter *)code};
    struct socket_filter *filter = NULL;
    int error = filter_create(&program, sizeof(program), &filter);
    CHECK(error == wanted && (filter != NULL) == (wanted == 0), "%d", error);
    return filter;
}

static uint32_t run(const struct sock_filter *code, unsigned length, const char *header,
                    const char *data)
{
    struct socket_filter *filter = create(code, length, 0);
    struct pbuf pbuf = {.payload = (void *)data, .tot_len = (uint16_t)strlen(data)};
    struct filter_packet packet = {(const uint8_t *)header, (uint32_t)strlen(header), &pbuf};
    uint32_t result = filter_run(filter, &packet);
    kfree(filter);
    return result;
}

#define RUN(code, header, data) run(code, sizeof(code) / sizeof(*(code)), header, data)
#define REFUSED(...)                                                                               \
    do {                                                                                           \
        const struct sock_filter code[] = {__VA_ARGS__};                                           \
        create(code, sizeof(code) / sizeof(*code), -EINVAL);                                       \
    } while (0)

static void test_refused(void)
{
    const struct sock_filter done = BPF_STMT(BPF_RET | BPF_K, 1);
    struct socket_filter *none;
    CHECK(filter_create(&done, 1, &none) == -EINVAL, "too short");
    create(&done, 0, -EINVAL);
    create(&done, BPF_MAXINSNS + 1, -EINVAL);
    kfree(create(&done, 1, 0));
    REFUSED(BPF_STMT(BPF_LD | BPF_IMM, 1));                      /* does not return */
    REFUSED(BPF_STMT(0xff, 1), done);                            /* no such instruction */
    REFUSED(BPF_STMT(0x100 | BPF_RET, 1), done);                 /* nor this */
    REFUSED(BPF_JUMP(BPF_JMP | BPF_JEQ, 0, 0, 1), done);         /* beyond the end */
    REFUSED(BPF_JUMP(BPF_JMP | BPF_JA, UINT32_MAX, 0, 0), done); /* backwards */
    REFUSED(BPF_STMT(BPF_ST, BPF_MEMWORDS), done);
    REFUSED(BPF_STMT(BPF_LDX | BPF_MEM, BPF_MEMWORDS), done);
    REFUSED(BPF_STMT(BPF_ALU | BPF_DIV, 0), done);
    REFUSED(BPF_STMT(BPF_ALU | BPF_LSH, 32), done);
    REFUSED(BPF_STMT(BPF_LD | BPF_B | BPF_ABS, (uint32_t)SKF_AD_OFF), done);
}

static void test_runs(void)
{
    const struct sock_filter third[] = {BPF_STMT(BPF_LD | BPF_B | BPF_ABS, 2),
                                        BPF_STMT(BPF_RET | BPF_A, 0)};
    CHECK(RUN(third, "ab", "cd") == 'c' && RUN(third, "abc", "") == 'c', "either part");
    CHECK(RUN(third, "ab", "") == 0, "a load past the end drops the packet");
    const struct sock_filter across[] = {BPF_STMT(BPF_LDX | BPF_IMM, 1),
                                         BPF_STMT(BPF_LD | BPF_W | BPF_IND, 0),
                                         BPF_STMT(BPF_RET | BPF_A, 0)};
    CHECK(RUN(across, "\1\2\3", "\4\5") == 0x02030405, "network order");
    const struct sock_filter wraps[] = {BPF_STMT(BPF_LDX | BPF_IMM, UINT32_MAX),
                                        BPF_STMT(BPF_LD | BPF_H | BPF_IND, 1),
                                        BPF_STMT(BPF_RET | BPF_A, 0)};
    CHECK(RUN(wraps, "\1", "\2") == 0x0102, "32 bits");
    const struct sock_filter far[] = {BPF_STMT(BPF_LDX | BPF_IMM, UINT32_MAX),
                                      BPF_STMT(BPF_LD | BPF_W | BPF_IND, 0),
                                      BPF_STMT(BPF_RET | BPF_K, 1)};
    CHECK(RUN(far, "\1\2\3", "\4\5") == 0, "far away");
    const struct sock_filter length[] = {BPF_STMT(BPF_LD | BPF_W | BPF_LEN, 0),
                                         BPF_STMT(BPF_ALU | BPF_MUL, 10),
                                         BPF_STMT(BPF_ST, 15),
                                         BPF_STMT(BPF_LDX | BPF_B | BPF_MSH, 0),
                                         BPF_STMT(BPF_LD | BPF_MEM, 15),
                                         BPF_STMT(BPF_ALU | BPF_ADD | BPF_X, 0),
                                         BPF_STMT(BPF_RET | BPF_A, 0)};
    CHECK(RUN(length, "\x45", "ab") == 50, "length and header length");
    const struct sock_filter zero[] = {BPF_STMT(BPF_LD | BPF_IMM, 9),
                                       BPF_STMT(BPF_ALU | BPF_MOD | BPF_X, 0),
                                       BPF_STMT(BPF_RET | BPF_K, 1)};
    CHECK(RUN(zero, "", "a") == 0, "a division by zero drops the packet");
    const struct sock_filter even[] = {
        BPF_STMT(BPF_LD | BPF_B | BPF_ABS, 0), BPF_JUMP(BPF_JMP | BPF_JSET, 1, 1, 0),
        BPF_STMT(BPF_RET | BPF_K, UINT32_MAX), BPF_STMT(BPF_RET | BPF_K, 0)};
    CHECK(RUN(even, "", "b") == UINT32_MAX && RUN(even, "", "a") == 0, "jumps");
}

/* Half of the instructions are likely ones. */
static void test_arbitrary(void)
{
    static const uint16_t codes[] = {0x00, 0x20, 0x28, 0x30, 0x40, 0x48, 0x50, 0x60, 0x80, 0x01,
                                     0x61, 0x81, 0xb1, 0x02, 0x03, 0x04, 0x0c, 0x34, 0x3c, 0x64,
                                     0x6c, 0x7c, 0x84, 0x94, 0x9c, 0xa4, 0x05, 0x15, 0x1d, 0x25,
                                     0x35, 0x45, 0x4d, 0x06, 0x16, 0x07, 0x87};
    unsigned accepted = 0;
    srand(1);
    for (unsigned round = 0; round < 100000; round++) {
        struct sock_filter code[12];
        unsigned length = 1 + (unsigned)rand() % 12;
        for (unsigned i = 0; i < length; i++) {
            code[i] = (struct sock_filter){
                .code = rand() % 50 != 0 ? codes[(unsigned)rand() % (sizeof(codes) / 2)]
                                         : (uint16_t)rand(),
                .jt = (uint8_t)(rand() % 4),
                .jf = (uint8_t)(rand() % 4),
                .k = rand() % 4 != 0 ? (uint32_t)rand() % 20 : (uint32_t)rand() * 3,
            };
        }
        struct sock_fprog program = {.len = (uint16_t)length, .filter = code};
        struct socket_filter *filter;
        if (filter_create(&program, sizeof(program), &filter) != 0) {
            continue;
        }
        accepted++;
        uint8_t bytes[16] = {1, 2, 3, 4, 5, 6, 7, 8};
        struct pbuf pbuf = {.payload = bytes, .tot_len = (uint16_t)(rand() % 17)};
        struct filter_packet packet = {bytes, (uint32_t)rand() % 9, &pbuf};
        (void)filter_run(filter, &packet);
        kfree(filter);
    }
    CHECK(accepted > 1000, "%u", accepted);
}

int main(void)
{
    test_refused();
    test_runs();
    test_arbitrary();
    return 0;
}
