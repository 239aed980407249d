/* SPDX-License-Identifier: MIT */
/* Builds the first stack and enters the program. */
#include "goruntime/start.h"

#include <linux/auxvec.h>
#include <linux/mman.h>

#include "core/fs/fs.h"
#include "core/lib/log.h"
#include "core/lib/random.h"
#include "core/lib/string.h"
#include "core/mm/kmalloc.h"
#include "core/mm/vm.h"
#include "core/options.h"
#include "goruntime/image_info.h"
#include "hal.h"

#define STACK_SIZE (8ul << 20) /* as Linux's default limit; only what is touched costs memory */
#define SELECTOR_CODE 8
#define SELECTOR_DATA 16
#define RFLAGS_PROGRAM 0x202

extern const struct image_info image_info;
extern const char vdso_start[];

static struct {
    uint64_t key, value;
} auxv[24];
static unsigned auxv_count;

/* Where the next thing goes, downwards. */
static uintptr_t stack;

static void push_bytes(const void *bytes, size_t size)
{
    stack -= size;
    if (copy_to_user(stack, bytes, size) != 0) {
        options_fail("not enough memory for the program's stack");
    }
}

static uintptr_t push_string(const char *string)
{
    push_bytes(string, strlen(string) + 1);
    return stack;
}

static void push_word(uint64_t word)
{
    push_bytes(&word, sizeof(word));
}

static void add_auxv(uint64_t key, uint64_t value)
{
    auxv[auxv_count].key = key;
    auxv[auxv_count++].value = value;
}

static uint32_t cpuid_features(void)
{
    uint32_t eax = 1, ebx, ecx = 0, edx;
    __asm__ volatile("cpuid" : "+a"(eax), "=b"(ebx), "+c"(ecx), "=d"(edx));
    return edx;
}

static void fill_auxv(uintptr_t name)
{
    uint8_t random[16];
    random_bytes(random, sizeof(random));
    uintptr_t platform = push_string("x86_64");
    push_bytes(random, sizeof(random));
    uintptr_t random_at = stack;
    add_auxv(AT_SYSINFO_EHDR, (uint64_t)vdso_start);
    add_auxv(AT_HWCAP, cpuid_features());
    add_auxv(AT_PAGESZ, PAGE_SIZE);
    add_auxv(AT_CLKTCK, 100);
    if (image_info.program_headers != 0) {
        add_auxv(AT_PHDR, image_info.program_headers);
        add_auxv(AT_PHENT, 56);
        add_auxv(AT_PHNUM, image_info.program_header_count);
    }
    add_auxv(AT_BASE, 0);
    add_auxv(AT_FLAGS, 0);
    add_auxv(AT_ENTRY, image_info.entry);
    add_auxv(AT_UID, 0);
    add_auxv(AT_EUID, 0);
    add_auxv(AT_GID, 0);
    add_auxv(AT_EGID, 0);
    add_auxv(AT_SECURE, 0);
    add_auxv(AT_RANDOM, random_at);
    add_auxv(AT_EXECFN, name);
    add_auxv(AT_PLATFORM, platform);
    add_auxv(AT_NULL, 0);
}

/* The strings one behind the other, each with its NUL; kept for ever. NULL: no memory. */
static char *join(const char *first, const char *const *rest, unsigned count, size_t *size)
{
    *size = first != NULL ? strlen(first) + 1 : 0;
    for (unsigned i = 0; i < count; i++) {
        *size += strlen(rest[i]) + 1;
    }
    char *joined = kmalloc(*size + 1);
    size_t used = 0;
    if (joined != NULL && first != NULL) {
        used = strlen(first) + 1;
        memcpy(joined, first, used);
    }
    for (unsigned i = 0; joined != NULL && i < count; i++) {
        memcpy(joined + used, rest[i], strlen(rest[i]) + 1);
        used += strlen(rest[i]) + 1;
    }
    return joined;
}

/* A program that has no file is named as if it lay in the root. */
static const char *program_path(void)
{
    static char path[sizeof(image_info.name) + 1] = "/";
    memcpy(path + 1, image_info.name, strlen(image_info.name) + 1);
    return options.program != NULL ? options.program : path;
}

static void publish(const char *name)
{
    struct process_view view = {
        .program = program_path(), .auxv = auxv, .auxv_size = auxv_count * sizeof(auxv[0])};
    view.arguments = join(name, options.arguments, options.argument_count, &view.arguments_size);
    view.environment = join(NULL, options.env, options.env_count, &view.environment_size);
    if (view.arguments != NULL && view.environment != NULL) {
        fs_set_process(&view);
    }
}

void program_start(void)
{
    long base = vm_mmap(USER_END - STACK_SIZE - (1ul << 20), STACK_SIZE, PROT_R | PROT_W,
                        MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, NULL, 0);
    uint64_t *strings =
        kmalloc((options.argument_count + options.env_count + 1) * sizeof(*strings));
    if (base < 0 || strings == NULL) {
        options_fail("not enough memory for the program's stack");
    }
    stack = (uintptr_t)base + STACK_SIZE;
    unsigned count = 0;
    const char *name = options.program != NULL ? options.program : image_info.name;
    uintptr_t name_at = push_string(name);
    strings[count++] = name_at;
    for (unsigned i = 0; i < options.argument_count; i++) {
        strings[count++] = push_string(options.arguments[i]);
    }
    unsigned argc = count;
    for (unsigned i = 0; i < options.env_count; i++) {
        strings[count++] = push_string(options.env[i]);
    }
    fill_auxv(name_at);

    /* argc must land on a 16-byte boundary. */
    size_t words = 1 + argc + 1 + options.env_count + 1;
    stack = (stack & ~15ul) - (words % 2) * 8;
    push_bytes(auxv, auxv_count * sizeof(auxv[0]));
    push_word(0);
    stack -= options.env_count * sizeof(*strings);
    copy_to_user(stack, strings + argc, options.env_count * sizeof(*strings));
    push_word(0);
    stack -= argc * sizeof(*strings);
    copy_to_user(stack, strings, argc * sizeof(*strings));
    push_word(argc);
    kfree(strings);
    publish(name);

    struct regs regs = {
        .rip = image_info.entry,
        .cs = SELECTOR_CODE,
        .rflags = RFLAGS_PROGRAM,
        .rsp = stack,
        .ss = SELECTOR_DATA,
    };
    log_info("program %s enters at %#llx", image_info.name, (unsigned long long)image_info.entry);
    hal_console_write(HAL_STREAM_CONTROL,
                      "\x10"
                      "B\n",
                      3);
    hal_irq_disable();
    hal_xstate_reset();
    hal_enter_user(&regs);
}
