/* SPDX-License-Identifier: MIT */
/* The overlay's rewriting of assembly: what is replaced, which jumps are corrected, what is
 * refused. */
#include "tools/overlay.h"

#include <stdio.h>

#include <stdlib.h>
#include <string.h>

#include "test/unit/tools/errors.h"

#define GATE "QUAD $0xb9000000071d8d4c; LONG $0x00100000; WORD $0xe1ff"

static struct overlay overlay;
static struct buffer out;

static int rewrite(const char *source)
{
    overlay_free(&overlay);
    buffer_free(&out);
    return overlay_rewrite(&overlay, "file.s", "runtime", source, &out);
}

static bool gives(const char *source, int count, const char *expected)
{
    int result = rewrite(source);
    bool good = result == count && strcmp(out.bytes, expected) == 0;
    if (!good)
        fprintf(stderr, "%d: %s\n%s", result, last_error, out.bytes ? out.bytes : "");
    return good;
}

static void test_replacement(void)
{
    EXPECT(gives("TEXT runtime\xc2\xb7"
                 "exit(SB),NOSPLIT,$0\n\tSYSCALL\n\tRET\n",
                 1,
                 "TEXT runtime\xc2\xb7"
                 "exit(SB),NOSPLIT,$0\n\t" GATE "\n\tRET\n"));
    EXPECT(overlay.function_count == 1 && strcmp(overlay.functions[0].name, "runtime.exit") == 0);
    EXPECT(overlay.functions[0].gates == 1);
    /* Comments, labels, several statements in a line, names that only contain the word. */
    EXPECT(gives("TEXT \xc2\xb7"
                 "f<ABIInternal>(SB),4,$0\n again: SYSCALL; SYSCALL // SYSCALL\n/* SYSCALL\n*/ "
                 "CALL SYSCALLX(SB)\n",
                 2,
                 "TEXT \xc2\xb7"
                 "f<ABIInternal>(SB),4,$0\n again: " GATE "; " GATE
                 " // SYSCALL\n/* SYSCALL\n*/ CALL SYSCALLX(SB)\n"));
    EXPECT(strcmp(overlay.functions[0].name, "runtime.f") == 0 && overlay.functions[0].gates == 2);
    EXPECT(gives("TEXT a\xe2\x88\x95"
                 "b\xc2\xb7"
                 "c(SB),4,$0\n\tSYSCALL",
                 1,
                 "TEXT a\xe2\x88\x95"
                 "b\xc2\xb7"
                 "c(SB),4,$0\n\t" GATE));
    EXPECT(strcmp(overlay.functions[0].name, "a/b.c") == 0);
    EXPECT(gives("", 0, "") && gives("TEXT f(SB),4,$0\n\tRET\n", 0, "TEXT f(SB),4,$0\n\tRET\n"));
}

static void test_jumps(void)
{
    /* Over a SYSCALL, forward and back; to one; past none; to itself. */
    EXPECT(gives("TEXT f(SB),4,$0\n JMP 3(PC)\n SYSCALL\n NOP\n RET\n", 1,
                 "TEXT f(SB),4,$0\n JMP 5(PC)\n " GATE "\n NOP\n RET\n"));
    EXPECT(gives("TEXT f(SB),4,$0\n MOVL $1, DI\n MOVL $2, AX\n SYSCALL\n JMP -3(PC) // again\n", 1,
                 "TEXT f(SB),4,$0\n MOVL $1, DI\n MOVL $2, AX\n " GATE "\n JMP -5(PC) // again\n"));
    EXPECT(gives("TEXT f(SB),4,$0\n JMP 1(PC)\n SYSCALL\n JMP -1(PC)\n", 1,
                 "TEXT f(SB),4,$0\n JMP 1(PC)\n " GATE "\n JMP -3(PC)\n"));
    EXPECT(gives("TEXT f(SB),4,$0\n SYSCALL\n JLS 2(PC)\n RET\n JMP 0(PC)\n", 1,
                 "TEXT f(SB),4,$0\n " GATE "\n JLS 2(PC)\n RET\n JMP 0(PC)\n"));
    /* A macro on the way is harmless as long as no SYSCALL is. */
    EXPECT(gives("TEXT f(SB),4,$0\n JEQ 2(PC)\n get_tls(CX)\n RET\n", 0,
                 "TEXT f(SB),4,$0\n JEQ 2(PC)\n get_tls(CX)\n RET\n"));
}

static void test_refusals(void)
{
    EXPECT(failed_with(rewrite("TEXT f(SB),4,$0\n JEQ 3(PC)\n get_tls(CX)\n SYSCALL\n RET\n"),
                       "passes a macro and a SYSCALL"));
    EXPECT(failed_with(rewrite("TEXT f(SB),4,$0\n JEQ 3(PC)\n#ifdef X\n SYSCALL\n#endif\n RET\n"),
                       "does not fit"));
    EXPECT(failed_with(
        rewrite("#define CALL6 \\\n MOVL $1, AX; \\\n SYSCALL\nTEXT f(SB),4,$0\n CALL6\n"),
        "a macro contains"));
    EXPECT(failed_with(rewrite("SYSCALL\n"), "outside a function"));
    EXPECT(failed_with(rewrite("TEXT f(SB),4,$0\n JMP 2(PC)\nTEXT g(SB),4,$0\n"),
                       "leaves its function"));
    EXPECT(failed_with(rewrite("TEXT f(SB),4,$0\n JMP 2(PC)\n"), "leaves the file"));
    EXPECT(failed_with(rewrite("TEXT f(SB),4,$0\n JMP -9(PC)\n"), "leaves"));
}

static void test_stack_guard(void)
{
    struct buffer raised = {0};
    const char *line = "\tstackGuard = stackNosplit + stackSystem + abi.StackSmall\n";
    EXPECT(overlay_raise_stack_guard("stack.go", line, &raised) == 0);
    EXPECT(strcmp(raised.bytes,
                  "\tstackGuard = stackNosplit + stackSystem + abi.StackSmall + 256\n") == 0);
    buffer_free(&raised);
    EXPECT(failed_with(overlay_raise_stack_guard("stack.go", "\tstackGuard = 928\n", &raised),
                       "stack guard"));
    char *twice = format_string("%s%s", line, line);
    EXPECT(failed_with(overlay_raise_stack_guard("stack.go", twice, &raised), "stack guard"));
    free(twice);
    buffer_free(&raised);
}

/* The linked program, with a function of the runtime and one of the user's. */
static int verify(const char *runtime_code, size_t runtime_size, const char *user_code,
                  size_t user_size)
{
    static char code[128];
    memset(code, 0x90, sizeof(code));
    memcpy(code, runtime_code, runtime_size);
    memcpy(code + 64, user_code, user_size);
    Elf64_Phdr segment = {
        .p_type = PT_LOAD, .p_vaddr = 0x401000, .p_filesz = sizeof(code), .p_memsz = sizeof(code)};
    struct elf_file elf = {.contents = {.bytes = code, .size = sizeof(code)},
                           .segments = &segment,
                           .segment_count = 1};
    struct go_function functions[] = {{"runtime.exit", 0x401000, 64}, {"main.raw", 0x401040, 64}};
    struct go_binary binary = {.elf = &elf, .functions = functions, .function_count = 2};
    return overlay_verify(&overlay, &binary);
}

/* What was not replaced is refused by the name of its function, but in the user's own code. */
static void test_verification(void)
{
    static const char gate[] = "\x4c\x8d\x1d\x07\x00\x00\x00\xb9\x00\x00\x10\x00\xff\xe1";
    static const char call[] = "\x0f\x05";
    CHECK(rewrite("TEXT runtime\xc2\xb7"
                  "exit(SB),NOSPLIT,$0\n\tSYSCALL\n\tRET\n") == 1);
    EXPECT(verify(gate, sizeof(gate) - 1, call, 2) == 0);
    EXPECT(failed_with(verify(call, 2, "", 0), "runtime.exit: still enters the kernel by SYSCALL"));
    char twice[2 * sizeof(gate)];
    memcpy(twice, gate, sizeof(gate) - 1);
    memcpy(twice + sizeof(gate) - 1, gate, sizeof(gate) - 1);
    EXPECT(failed_with(verify(twice, 2 * (sizeof(gate) - 1), "", 0), "runtime.exit"));
    overlay.go_version = "go1.99";
    EXPECT(failed_with(verify("", 0, call, 2), "go1.99: the program does not use the overlay"));
    overlay.go_version = NULL;
}

int main(void)
{
    test_replacement();
    test_jumps();
    test_refusals();
    test_stack_guard();
    test_verification();
    overlay_free(&overlay);
    buffer_free(&out);
    return 0;
}
