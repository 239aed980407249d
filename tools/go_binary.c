/* SPDX-License-Identifier: MIT */
/* Recognises Go programs and reads their function table (layout: cmd/link/internal/ld/pcln.go,
 * runtime/symtab.go). */
#define _GNU_SOURCE
#include "tools/go_binary.h"

#include <stdlib.h>
#include <string.h>

#define PCLNTAB_MAGIC_GO118 0xfffffff0u
#define PCLNTAB_MAGIC_GO120 0xfffffff1u

struct pclntab_header {
    uint32_t magic;
    uint8_t zero[2];
    uint8_t instruction_quantum;
    uint8_t pointer_size;
    uint64_t function_count;
    uint64_t file_count;
    uint64_t text_start; /* zero from Go 1.26 on */
    uint64_t function_names;
    uint64_t compilation_units;
    uint64_t file_table;
    uint64_t pc_tables;
    uint64_t functions;
};

static bool has_go_note(const struct elf_file *elf)
{
    for (size_t i = 0; i < elf->segment_count; i++) {
        const Elf64_Phdr *segment = &elf->segments[i];
        Elf64_Nhdr note;
        if (segment->p_type != PT_NOTE || segment->p_filesz < sizeof(note) + 4)
            continue;
        memcpy(&note, elf->contents.bytes + segment->p_offset, sizeof(note));
        if (note.n_namesz == 4 &&
            memcmp(elf->contents.bytes + segment->p_offset + sizeof(note), "Go\0\0", 4) == 0)
            return true;
    }
    return false;
}

static int check_kind(const struct elf_file *elf)
{
    if (elf->header.e_type == ET_DYN)
        return fail("%s: position-independent (PIE or shared): build it with -buildmode=exe",
                    elf->path);
    if (elf->header.e_type != ET_EXEC)
        return fail("%s: not a linked program: give the output of go build", elf->path);
    for (size_t i = 0; i < elf->segment_count; i++) {
        if (elf->segments[i].p_type == PT_INTERP || elf->segments[i].p_type == PT_DYNAMIC)
            return fail("%s: dynamically linked: build it with CGO_ENABLED=0", elf->path);
    }
    if (!elf_section(elf, ".go.buildinfo") && !elf_section(elf, ".note.go.buildid") &&
        !has_go_note(elf))
        return fail("%s: not a Go program: unigornel runs programs built by the Go toolchain",
                    elf->path);
    return 0;
}

/* Fills binary->functions; leaves it empty when the table's format is not known. */
static int read_functions(struct go_binary *binary)
{
    const struct elf_file *elf = binary->elf;
    const uint8_t *table = elf_bytes_at(elf, binary->table, binary->table_size);
    struct pclntab_header header;
    if (!table || binary->table_size < sizeof(header))
        return 0;
    memcpy(&header, table, sizeof(header));
    if (header.magic != PCLNTAB_MAGIC_GO118 && header.magic != PCLNTAB_MAGIC_GO120)
        return 0;
    if (!binary->text_start)
        binary->text_start = header.text_start;
    uint64_t size = binary->table_size;
    if (header.functions > size || header.function_count > (size - header.functions) / 8 ||
        header.function_names > size)
        return fail("%s: Go's function table is damaged: build the program again", elf->path);
    if (header.compilation_units <= size && header.compilation_units > header.function_names &&
        !table[header.compilation_units - 1]) {
        binary->names = (const char *)table + header.function_names;
        binary->names_size = header.compilation_units - header.function_names;
    }
    const uint8_t *entries = table + header.functions;
    uint64_t entries_size = size - header.functions;
    binary->functions = allocate(header.function_count * sizeof(*binary->functions));
    /* The table has pairs (entry, offset of the function's record) and one more entry for the end
     * of the text. */
    for (uint64_t i = 0; i < header.function_count; i++) {
        uint32_t pair[3];
        uint32_t record[2];
        if (i * 8 + sizeof(pair) > entries_size)
            break;
        memcpy(pair, entries + i * 8, sizeof(pair));
        if (pair[1] > entries_size - sizeof(record) || pair[2] < pair[0])
            continue;
        memcpy(record, entries + pair[1], sizeof(record));
        uint64_t name = header.function_names + record[1];
        if (name >= size || !memchr(table + name, '\0', size - name))
            continue;
        struct go_function function = {(const char *)table + name, binary->text_start + pair[0],
                                       pair[2] - pair[0]};
        if (elf_bytes_at(elf, function.address, function.size))
            binary->functions[binary->function_count++] = function;
    }
    return 0;
}

int go_binary_open(struct go_binary *binary, const struct elf_file *elf)
{
    *binary = (struct go_binary){.elf = elf};
    if (check_kind(elf) < 0)
        return -1;
    const Elf64_Shdr *table = elf_section(elf, ".gopclntab");
    const Elf64_Shdr *text = elf_section(elf, ".text");
    Elf64_Sym symbol;
    if (elf_find_symbol(elf, "runtime.text", &symbol))
        binary->text_start = symbol.st_value;
    else if (text)
        binary->text_start = text->sh_addr;
    if (!table)
        return 0;
    binary->table = table->sh_addr;
    binary->table_size = table->sh_size;
    if (read_functions(binary) < 0)
        return -1;
    for (size_t i = 0; i < binary->function_count; i++) {
        if (strcmp(binary->functions[i].name, "crosscall2") == 0) {
            go_binary_close(binary);
            return fail("%s: uses cgo: build it with CGO_ENABLED=0", elf->path);
        }
    }
    return 0;
}

void go_binary_close(struct go_binary *binary)
{
    free(binary->functions);
    *binary = (struct go_binary){0};
}

/* Whether `name` is one of the `functions` of syscall or golang.org/x/sys/unix. */
static bool is_call(const char *name, const char *const *functions)
{
    const char *package = strstr(name, "golang.org/x/sys/unix."); /* perhaps vendored */
    const char *function = package                             ? strrchr(package, '.') + 1
                           : strncmp(name, "syscall.", 8) == 0 ? name + 8
                                                               : "";
    for (; *functions; functions++) {
        if (strcmp(function, *functions) == 0)
            return true;
    }
    return false;
}

static const char *find_call(const struct go_binary *binary, const char *const *functions)
{
    if (!binary->names)
        return "functions without names";
    for (size_t at = 0; at < binary->names_size; at += strlen(binary->names + at) + 1) {
        if (is_call(binary->names + at, functions))
            return binary->names + at;
    }
    return NULL;
}

const char *go_socket_function(const struct go_binary *binary)
{
    static const char *const functions[] = {"socket", "Socket", "socketpair", "Socketpair", NULL};
    return find_call(binary, functions);
}

const char *go_file_function(const struct go_binary *binary)
{
    static const char *const functions[] = {
        "open",    "Open",    "openat", "Openat",   "openat2",  "Openat2",  "Stat",         "Lstat",
        "fstatat", "Fstatat", "Statx",  "Adjtimex", "Signalfd", "signalfd", "ClockAdjtime", NULL};
    return find_call(binary, functions);
}

bool go_uses_roots(const struct go_binary *binary)
{
    static const char function[] = "crypto/x509.loadSystemRoots";
    return binary->names && memmem(binary->names, binary->names_size, function, sizeof(function));
}

const uint8_t *go_function_code(const struct go_binary *binary, const struct go_function *function)
{
    return elf_bytes_at(binary->elf, function->address, function->size);
}
