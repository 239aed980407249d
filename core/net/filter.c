/* SPDX-License-Identifier: MIT */
/* The interpreter of classic BPF. A program is checked when it is attached: jumps go forward to
 * instructions of its own and the last one returns, so it ends, and its memory words are in range.
 * Owns nothing: a filter never changes, and is its socket's. */
#include "core/net/filter.h"

#include <linux/errno.h>
#include <linux/filter.h>

#include "core/fs/fs_internal.h"
#include "core/lib/string.h"
#include "core/mm/kmalloc.h"
#include "lwip/pbuf.h"

struct socket_filter {
    unsigned length; /* instructions */
    struct sock_filter code[];
};

/* --- checking
 * ----------------------------------------------------------------------------------------
 */

static bool is_operation(uint16_t code)
{
    switch (BPF_OP(code)) {
    case BPF_ADD:
    case BPF_SUB:
    case BPF_MUL:
    case BPF_DIV:
    case BPF_MOD:
    case BPF_AND:
    case BPF_OR:
    case BPF_XOR:
    case BPF_LSH:
    case BPF_RSH:
        return true;
    default:
        return code == (BPF_ALU | BPF_NEG);
    }
}

static bool check_alu(const struct sock_filter *at)
{
    uint8_t operation = BPF_OP(at->code);
    if (!is_operation(at->code)) {
        return false;
    }
    if (BPF_SRC(at->code) == BPF_X) {
        return true;
    }
    return !((operation == BPF_DIV || operation == BPF_MOD) && at->k == 0) &&
           !((operation == BPF_LSH || operation == BPF_RSH) && at->k >= 32);
}

static bool check_jump(const struct sock_filter *at, unsigned left)
{
    switch (BPF_OP(at->code)) {
    case BPF_JA:
        return at->code == (BPF_JMP | BPF_JA) && at->k < left;
    case BPF_JEQ:
    case BPF_JGT:
    case BPF_JGE:
    case BPF_JSET:
        return at->jt < left && at->jf < left;
    default:
        return false;
    }
}

/* One instruction that `left` others follow. */
static bool check(const struct sock_filter *at, unsigned left)
{
    switch (at->code) {
    case BPF_LD | BPF_MEM:
    case BPF_LDX | BPF_MEM:
    case BPF_ST:
    case BPF_STX:
        return at->k < BPF_MEMWORDS;
    case BPF_LD | BPF_W | BPF_ABS:
    case BPF_LD | BPF_H | BPF_ABS:
    case BPF_LD | BPF_B | BPF_ABS:
        return at->k < (uint32_t)SKF_LL_OFF; /* Linux's extensions are not there */
    case BPF_LD | BPF_W | BPF_IND:
    case BPF_LD | BPF_H | BPF_IND:
    case BPF_LD | BPF_B | BPF_IND:
    case BPF_LDX | BPF_B | BPF_MSH:
    case BPF_LD | BPF_IMM:
    case BPF_LDX | BPF_IMM:
    case BPF_LD | BPF_W | BPF_LEN:
    case BPF_LDX | BPF_W | BPF_LEN:
    case BPF_RET | BPF_K:
    case BPF_RET | BPF_A:
    case BPF_MISC | BPF_TAX:
    case BPF_MISC | BPF_TXA:
        return true;
    default:
        return at->code > UINT8_MAX             ? false
               : BPF_CLASS(at->code) == BPF_ALU ? check_alu(at)
               : BPF_CLASS(at->code) == BPF_JMP ? check_jump(at, left)
                                                : false;
    }
}

int filter_create(const void *fprog, size_t size, struct socket_filter **out)
{
    struct sock_fprog program;
    if (size < sizeof(program)) {
        return -EINVAL;
    }
    memcpy(&program, fprog, sizeof(program));
    if (program.len == 0 || program.len > BPF_MAXINSNS) {
        return -EINVAL;
    }
    size_t bytes = program.len * sizeof(struct sock_filter);
    struct socket_filter *filter = kmalloc(sizeof(*filter) + bytes);
    if (filter == NULL) {
        return -ENOMEM;
    }
    filter->length = program.len;
    int error = copy_from_user(filter->code, (uintptr_t)program.filter, bytes);
    for (unsigned i = 0; i < filter->length && error == 0; i++) {
        error = check(&filter->code[i], filter->length - 1 - i) ? 0 : -EINVAL;
    }
    if (error == 0 && BPF_CLASS(filter->code[filter->length - 1].code) != BPF_RET) {
        error = -EINVAL;
    }
    if (error != 0) {
        kfree(filter);
        return error;
    }
    *out = filter;
    return 0;
}

/* --- running
 * -----------------------------------------------------------------------------------------
 */

static uint32_t packet_length(const struct filter_packet *packet)
{
    return packet->header_length + packet->data->tot_len;
}

/* A number of 1, 2 or 4 bytes, in network order. False: the packet does not have them. */
static bool load(const struct filter_packet *packet, uint64_t offset, unsigned count,
                 uint32_t *value)
{
    if (offset + count > packet_length(packet)) {
        return false;
    }
    *value = 0;
    for (unsigned i = 0; i < count; i++, offset++) {
        uint8_t byte = offset < packet->header_length
                           ? packet->header[offset]
                           : pbuf_get_at(packet->data, (uint16_t)(offset - packet->header_length));
        *value = *value << 8 | byte;
    }
    return true;
}

static unsigned load_size(uint16_t code)
{
    return BPF_SIZE(code) == BPF_W ? 4 : BPF_SIZE(code) == BPF_H ? 2 : 1;
}

/* False: a division by zero. */
static bool calculate(uint16_t code, uint32_t operand, uint32_t *a)
{
    switch (BPF_OP(code)) {
    case BPF_ADD:
        *a += operand;
        break;
    case BPF_SUB:
        *a -= operand;
        break;
    case BPF_MUL:
        *a *= operand;
        break;
    case BPF_DIV:
        if (operand == 0) {
            return false;
        }
        *a /= operand;
        break;
    case BPF_MOD:
        if (operand == 0) {
            return false;
        }
        *a %= operand;
        break;
    case BPF_AND:
        *a &= operand;
        break;
    case BPF_OR:
        *a |= operand;
        break;
    case BPF_XOR:
        *a ^= operand;
        break;
    case BPF_LSH:
        *a <<= operand & 31; /* as Linux's own code does for a shift by X */
        break;
    case BPF_RSH:
        *a >>= operand & 31;
        break;
    default:
        *a = -*a;
        break;
    }
    return true;
}

static unsigned jump(const struct sock_filter *at, uint32_t operand, uint32_t a)
{
    bool taken;
    switch (BPF_OP(at->code)) {
    case BPF_JA:
        return at->k;
    case BPF_JEQ:
        taken = a == operand;
        break;
    case BPF_JGT:
        taken = a > operand;
        break;
    case BPF_JGE:
        taken = a >= operand;
        break;
    default:
        taken = (a & operand) != 0;
        break;
    }
    return taken ? at->jt : at->jf;
}

/* What a load instruction puts into its register. False: the packet does not have it. */
static bool fetch(const struct sock_filter *at, const struct filter_packet *packet,
                  const uint32_t *memory, uint32_t x, uint32_t *value)
{
    bool good = true;
    switch (BPF_MODE(at->code)) {
    case BPF_IMM:
        *value = at->k;
        break;
    case BPF_MEM:
        *value = memory[at->k];
        break;
    case BPF_LEN:
        *value = packet_length(packet);
        break;
    case BPF_ABS:
        good = load(packet, at->k, load_size(at->code), value);
        break;
    case BPF_IND: /* the sum is one of 32 bits */
        good = load(packet, (uint32_t)(x + at->k), load_size(at->code), value);
        break;
    default: /* BPF_MSH: the length in an IPv4 header */
        good = load(packet, at->k, 1, value);
        *value = (*value & 15) * 4;
        break;
    }
    return good;
}

uint32_t filter_run(const struct socket_filter *filter, const struct filter_packet *packet)
{
    uint32_t a = 0, x = 0, memory[BPF_MEMWORDS] = {0};
    for (const struct sock_filter *at = filter->code;; at++) {
        uint32_t operand = BPF_SRC(at->code) == BPF_X ? x : at->k;
        bool good = true;
        switch (BPF_CLASS(at->code)) {
        case BPF_LD:
            good = fetch(at, packet, memory, x, &a);
            break;
        case BPF_LDX:
            good = fetch(at, packet, memory, x, &x);
            break;
        case BPF_ST:
            memory[at->k] = a;
            break;
        case BPF_STX:
            memory[at->k] = x;
            break;
        case BPF_ALU:
            good = calculate(at->code, operand, &a);
            break;
        case BPF_JMP:
            at += jump(at, operand, a);
            break;
        case BPF_RET:
            return BPF_RVAL(at->code) == BPF_A ? a : at->k;
        default: /* BPF_MISC */
            if (at->code == (BPF_MISC | BPF_TAX)) {
                x = a;
            } else {
                a = x;
            }
            break;
        }
        if (!good) {
            return 0;
        }
    }
}
