/* SPDX-License-Identifier: MIT */
/* Instruction lengths by examples from each part of the opcode maps, and SYSCALL told from
 * look-alikes. */
#include "tools/insn.h"

#include "test/unit/tools/errors.h"

struct example {
    uint8_t code[16];
    size_t length;
};

static const struct example examples[] = {
    {{0x90}, 1},                                                 /* nop */
    {{0x0f, 0x05}, 2},                                           /* syscall */
    {{0xb9, 0, 0, 0x10, 0}, 5},                                  /* mov ecx, imm32 */
    {{0x48, 0xb8, 1, 2, 3, 4, 5, 6, 7, 8}, 10},                  /* mov rax, imm64 */
    {{0x66, 0xb8, 1, 2}, 4},                                     /* mov ax, imm16 */
    {{0x4c, 0x8d, 0x1d, 7, 0, 0, 0}, 7},                         /* lea r11, [rip + 7] */
    {{0x48, 0x8b, 0x44, 0x24, 0x08}, 5},                         /* mov rax, [rsp + 8] */
    {{0x48, 0x8b, 0x84, 0x24, 1, 2, 3, 4}, 8},                   /* mov rax, [rsp + disp32] */
    {{0x48, 0x8b, 0x04, 0x25, 1, 2, 3, 4}, 8},                   /* mov rax, [disp32] */
    {{0xf6, 0xc1, 1}, 3},                                        /* test cl, imm8 */
    {{0xf6, 0xd9}, 2},                                           /* neg cl */
    {{0xf7, 0xc1, 1, 2, 3, 4}, 6},                               /* test ecx, imm32 */
    {{0xf7, 0xd9}, 2},                                           /* neg ecx */
    {{0xc8, 1, 2, 3}, 4},                                        /* enter */
    {{0xe8, 1, 2, 3, 4}, 5},                                     /* call */
    {{0x0f, 0x84, 1, 2, 3, 4}, 6},                               /* je */
    {{0xf3, 0x0f, 0x6f, 0x07}, 4},                               /* movdqu */
    {{0x66, 0x0f, 0x70, 0xc0, 0x1b}, 5},                         /* pshufd, imm8 */
    {{0x66, 0x0f, 0x38, 0x00, 0xc1}, 5},                         /* pshufb */
    {{0x66, 0x0f, 0x3a, 0x0f, 0xc1, 8}, 6},                      /* palignr, imm8 */
    {{0xc5, 0xf8, 0x77}, 3},                                     /* vzeroupper */
    {{0xc5, 0xfd, 0x6f, 0x06}, 4},                               /* vmovdqa */
    {{0xc4, 0xe3, 0x7d, 0x39, 0xc1, 1}, 6},                      /* vextracti128, imm8 */
    {{0x62, 0xf1, 0xfd, 0x48, 0x6f, 0x06}, 6},                   /* vmovdqa64 zmm */
    {{0xf0, 0x48, 0x0f, 0xb1, 0x0a}, 5},                         /* lock cmpxchg */
    {{0x64, 0x48, 0x8b, 0x04, 0x25, 0xf8, 0xff, 0xff, 0xff}, 9}, /* mov rax, fs:-8 */
    {{0x48, 0xa1, 1, 2, 3, 4, 5, 6, 7, 8}, 10},                  /* mov rax, [moffs64] */
    {{0x06}, 0},                                                 /* push es: not in 64-bit mode */
    {{0xb9, 0, 0}, 3 + 2},                                       /* the zeros behind it count */
};

static size_t found_at[4], found_count;

static void note(size_t offset, void *context)
{
    (void)context;
    if (found_count < 4)
        found_at[found_count] = offset;
    found_count++;
}

int main(void)
{
    for (size_t i = 0; i < sizeof(examples) / sizeof(*examples); i++)
        EXPECT(instruction_length(examples[i].code, sizeof(examples[i].code)) ==
               examples[i].length);
    /* Cut off anywhere, it is no instruction. */
    for (size_t i = 0; i + 2 < sizeof(examples) / sizeof(*examples); i++) {
        for (size_t size = 0; size < examples[i].length; size++)
            EXPECT(instruction_length(examples[i].code, size) == 0);
    }

    /* mov eax, 0x050f0f05; syscall; invalid; syscall */
    static const uint8_t code[] = {0xb8, 0x05, 0x0f, 0x0f, 0x05, 0x0f, 0x05, 0x06, 0x0f, 0x05};
    EXPECT(find_syscalls(code, sizeof(code), note, NULL) == 2);
    EXPECT(found_count == 2 && found_at[0] == 5 && found_at[1] == 8);
    EXPECT(find_syscalls(code, 5, NULL, NULL) == 0);
    return 0;
}
