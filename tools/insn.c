/* SPDX-License-Identifier: MIT */
/* x86-64 instruction lengths (Intel SDM volume 2, chapter 2 and appendix A): prefixes, opcode maps,
 * ModRM, immediates. */
#define _GNU_SOURCE
#include "tools/insn.h"

#include <stdbool.h>
#include <string.h>

enum operands {
    INVALID,
    NONE,
    MODRM,
    MODRM_IMM8,
    MODRM_IMMZ,  /* 32 bits, or 16 after a 66 prefix */
    MODRM_TEST8, /* group 3: an immediate only for TEST (reg 0 and 1) */
    MODRM_TESTZ,
    IMM8,
    IMM16,
    IMM16_8,
    IMMZ,
    IMMV, /* as IMMZ, and 64 bits with REX.W */
    REL32,
    MOFFS,
};

static enum operands one_byte_operands(uint8_t opcode)
{
    if (opcode < 0x40) {
        static const uint8_t arithmetic[8] = {MODRM, MODRM, MODRM,   MODRM,
                                              IMM8,  IMMZ,  INVALID, INVALID};
        return arithmetic[opcode & 7];
    }
    switch (opcode) {
    case 0x50 ... 0x5f:
    case 0x6c ... 0x6f:
    case 0x90 ... 0x99:
    case 0x9b ... 0x9f:
    case 0xa4 ... 0xa7:
    case 0xaa ... 0xaf:
    case 0xc3:
    case 0xc9:
    case 0xcb:
    case 0xcc:
    case 0xcf:
    case 0xd7:
    case 0xec ... 0xef:
    case 0xf1:
    case 0xf4:
    case 0xf5:
    case 0xf8 ... 0xfd:
        return NONE;
    case 0x63:
    case 0x84 ... 0x8f:
    case 0xd0 ... 0xd3:
    case 0xd8 ... 0xdf:
    case 0xfe:
    case 0xff:
        return MODRM;
    case 0x6b:
    case 0x80:
    case 0x83:
    case 0xc0:
    case 0xc1:
    case 0xc6:
        return MODRM_IMM8;
    case 0x69:
    case 0x81:
    case 0xc7:
        return MODRM_IMMZ;
    case 0x6a:
    case 0x70 ... 0x7f:
    case 0xa8:
    case 0xb0 ... 0xb7:
    case 0xcd:
    case 0xe0 ... 0xe7:
    case 0xeb:
        return IMM8;
    case 0x68:
    case 0xa9:
        return IMMZ;
    case 0xb8 ... 0xbf:
        return IMMV;
    case 0xa0 ... 0xa3:
        return MOFFS;
    case 0xc2:
    case 0xca:
        return IMM16;
    case 0xc8:
        return IMM16_8;
    case 0xe8:
    case 0xe9:
        return REL32;
    case 0xf6:
        return MODRM_TEST8;
    case 0xf7:
        return MODRM_TESTZ;
    default:
        return INVALID;
    }
}

/* The map behind 0F, also reached by VEX and EVEX map 1. */
static enum operands two_byte_operands(uint8_t opcode)
{
    switch (opcode) {
    case 0x05 ... 0x09:
    case 0x0b:
    case 0x0e:
    case 0x30 ... 0x35:
    case 0x37:
    case 0x77:
    case 0xa0 ... 0xa2:
    case 0xa8 ... 0xaa:
    case 0xc8 ... 0xcf:
        return NONE;
    case 0x04:
    case 0x0a:
    case 0x0c:
    case 0x24 ... 0x27:
    case 0x36:
    case 0x38 ... 0x3f:
        return INVALID;
    case 0x0f:
    case 0x70 ... 0x73:
    case 0xa4:
    case 0xac:
    case 0xba:
    case 0xc2:
    case 0xc4 ... 0xc6:
        return MODRM_IMM8;
    case 0x80 ... 0x8f:
        return REL32;
    default:
        return MODRM;
    }
}

static enum operands map_operands(unsigned map, uint8_t opcode)
{
    switch (map) {
    case 0:
        return one_byte_operands(opcode);
    case 1:
        return two_byte_operands(opcode);
    case 3:
        return MODRM_IMM8;
    case 2:
    case 5: /* AVX512-FP16 */
    case 6:
        return MODRM;
    default:
        return INVALID;
    }
}

/* Bytes of ModRM, SIB and displacement; 0 when they do not fit into `size`. */
static size_t modrm_length(const uint8_t *code, size_t size)
{
    if (size < 1)
        return 0;
    unsigned mod = code[0] >> 6, rm = code[0] & 7;
    size_t length = 1;
    if (mod == 3)
        return length;
    bool wide = mod == 0 && rm == 5; /* RIP-relative */
    if (rm == 4) {
        if (size < 2)
            return 0;
        wide = mod == 0 && (code[1] & 7) == 5;
        length++;
    }
    if (mod == 1)
        length += 1;
    else if (mod == 2 || wide)
        length += 4;
    return length <= size ? length : 0;
}

static size_t immediate_length(enum operands operands, unsigned reg, bool operand16, bool address32,
                               bool rex_w)
{
    size_t z = operand16 && !rex_w ? 2 : 4;
    switch (operands) {
    case MODRM_IMM8:
    case IMM8:
        return 1;
    case MODRM_TEST8:
        return reg < 2 ? 1 : 0;
    case MODRM_TESTZ:
        return reg < 2 ? z : 0;
    case MODRM_IMMZ:
    case IMMZ:
        return z;
    case IMMV:
        return rex_w ? 8 : z;
    case IMM16:
        return 2;
    case IMM16_8:
        return 3;
    case REL32:
        return 4;
    case MOFFS:
        return address32 ? 4 : 8;
    default:
        return 0;
    }
}

static bool has_modrm(enum operands operands)
{
    return operands >= MODRM && operands <= MODRM_TESTZ;
}

size_t instruction_length(const uint8_t *code, size_t size)
{
    size_t at = 0;
    bool operand16 = false, address32 = false, rex_w = false;
    if (size > 15)
        size = 15;
    for (; at < size; at++) {
        uint8_t byte = code[at];
        if (byte == 0x66)
            operand16 = true;
        else if (byte == 0x67)
            address32 = true;
        else if (byte != 0xf0 && byte != 0xf2 && byte != 0xf3 && (byte & 0xe7) != 0x26 &&
                 byte != 0x64 && byte != 0x65)
            break;
    }
    if (at < size && (code[at] & 0xf0) == 0x40)
        rex_w = code[at++] & 8;

    unsigned map = 0;
    if (at + 3 < size && code[at] == 0x62) { /* EVEX: 62 P0 P1 P2 opcode */
        map = code[at + 1] & 7;
        map = map ? map : 7;
        at += 4;
    } else if (at + 2 < size && code[at] == 0xc4) { /* VEX, three bytes */
        map = code[at + 1] & 31;
        map = map ? map : 7;
        at += 3;
    } else if (at + 1 < size && code[at] == 0xc5) {
        map = 1;
        at += 2;
    } else if (at < size && code[at] == 0x0f) {
        map = 1;
        at++;
        if (at < size && (code[at] == 0x38 || code[at] == 0x3a))
            map = code[at++] == 0x38 ? 2 : 3;
    }
    if (at >= size)
        return 0;
    enum operands operands = map_operands(map, code[at++]);
    if (operands == INVALID)
        return 0;
    unsigned reg = 0;
    if (has_modrm(operands)) {
        size_t length = modrm_length(code + at, size - at);
        if (!length)
            return 0;
        reg = code[at] >> 3 & 7;
        at += length;
    }
    at += immediate_length(operands, reg, operand16, address32, rex_w);
    return at <= size ? at : 0;
}

size_t find_syscalls(const uint8_t *code, size_t size, void (*found)(size_t offset, void *context),
                     void *context)
{
    static const uint8_t syscall_bytes[] = {0x0f, 0x05};
    size_t count = 0, at = 0;
    if (!memmem(code, size, syscall_bytes, sizeof(syscall_bytes)))
        return 0;
    while (at < size) {
        size_t length = instruction_length(code + at, size - at);
        /* No prefix changes what SYSCALL does, but nobody writes one. */
        if (length == 2 && memcmp(code + at, syscall_bytes, 2) == 0) {
            if (found)
                found(at, context);
            count++;
        }
        at += length ? length : 1;
    }
    return count;
}
