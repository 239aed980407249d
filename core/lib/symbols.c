/* SPDX-License-Identifier: MIT */
/* Names for addresses. The kernel's table comes from scripts/symbols.py; the program's is Go's
 * pclntab (Go's internal/abi and debug/gosym describe it), which is read with every offset checked,
 * since a trace must not fault. */
#include "core/lib/symbols.h"

#include <linux/elf.h>
#include <stdbool.h>

#include "core/lib/log.h"
#include "core/lib/string.h"
#include "goruntime/image_info.h"

extern const struct image_info image_info;

/* scripts/symbols.py: by address, the first one null. The image's linker has moved st_name to where
 * the first name is in the image's string table. */
extern const Elf64_Sym symbol_table[], symbol_table_end[];
extern const char symbol_names[];
extern const char text_start[], text_end[];

/* The header of pclntab since Go 1.20 (magic 0xfffffff1); later releases leave textStart 0. */
#define PCLNTAB_MAGIC 0xfffffff1u
struct pclntab_header {
    uint32_t magic;
    uint8_t pad[2], quantum, pointer_size;
    uint64_t function_count, file_count, text_start;
    uint64_t names_offset, cu_offset, files_offset, pc_offset, functions_offset;
};

struct function_entry {
    uint32_t entry_offset, data_offset;
};

static const struct pclntab_header *program_table(void)
{
    const struct pclntab_header *header = (const void *)image_info.pclntab;
    if (header == NULL || image_info.pclntab_size < sizeof(*header) ||
        header->magic != PCLNTAB_MAGIC || header->functions_offset >= image_info.pclntab_size ||
        header->names_offset >= image_info.pclntab_size ||
        header->function_count >
            (image_info.pclntab_size - header->functions_offset) / sizeof(struct function_entry)) {
        return NULL;
    }
    return header;
}

static const char *program_function_name(const struct pclntab_header *header,
                                         const struct function_entry *function)
{
    uint64_t data = header->functions_offset + function->data_offset;
    if (data + 8 > image_info.pclntab_size) {
        return NULL;
    }
    uint32_t name; /* struct _func: entryOff uint32, nameOff int32 */
    memcpy(&name, (const char *)header + data + 4, sizeof(name));
    uint64_t at = header->names_offset + name;
    return at < image_info.pclntab_size ? (const char *)header + at : NULL;
}

static const char *program_name(uintptr_t address, uintptr_t *start)
{
    const struct pclntab_header *header = program_table();
    if (header == NULL || address < image_info.text_start) {
        return NULL;
    }
    const struct function_entry *functions =
        (const void *)((const char *)header + header->functions_offset);
    uint64_t offset = address - image_info.text_start;
    uint64_t low = 0, high = header->function_count;
    while (low < high) {
        uint64_t middle = low + (high - low) / 2;
        if (functions[middle].entry_offset <= offset) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    if (low == 0 || low == header->function_count) {
        return NULL;
    }
    *start = image_info.text_start + functions[low - 1].entry_offset;
    return program_function_name(header, &functions[low - 1]);
}

static const char *kernel_name(uintptr_t address, uintptr_t *start)
{
    if (address < (uintptr_t)text_start || address >= (uintptr_t)text_end) {
        return NULL;
    }
    const Elf64_Sym *first = symbol_table + 1, *found = NULL;
    for (const Elf64_Sym *symbol = first; symbol < symbol_table_end; symbol++) {
        if (symbol->st_value <= address) {
            found = symbol;
        }
    }
    if (found == NULL) {
        return NULL;
    }
    *start = found->st_value;
    return symbol_names + (found->st_name - first->st_name);
}

void symbol_name(char *buffer, size_t size, uintptr_t address)
{
    uintptr_t start = 0;
    const char *name = kernel_name(address, &start);
    if (name == NULL) {
        name = program_name(address, &start);
    }
    if (name == NULL) {
        format(buffer, size, "%#lx", address);
    } else {
        format(buffer, size, "%s+%#lx", name, address - start);
    }
}

uintptr_t program_symbol(const char *name)
{
    const struct pclntab_header *header = program_table();
    if (header == NULL) {
        return 0;
    }
    const struct function_entry *functions =
        (const void *)((const char *)header + header->functions_offset);
    for (uint64_t i = 0; i < header->function_count; i++) {
        const char *candidate = program_function_name(header, &functions[i]);
        if (candidate != NULL && strcmp(candidate, name) == 0) {
            return image_info.text_start + functions[i].entry_offset;
        }
    }
    return 0;
}
