/* SPDX-License-Identifier: MIT */
/* An ELF64 x86-64 file in memory, every header checked against the file's size once, at opening;
 * then used freely. */
#pragma once

#include <elf.h>

#include "tools/tool.h"

struct elf_file {
    const char *path; /* for messages */
    struct buffer contents;
    Elf64_Ehdr header;
    Elf64_Phdr *segments;
    size_t segment_count;
    Elf64_Shdr *sections;
    size_t section_count;
};

/* Opens a 64-bit little-endian x86-64 ELF file. 0, or -1 after a message (not ELF, truncated,
 * 32-bit, other machine). */
int elf_file_open(struct elf_file *file, const char *path);
/* The same for bytes that are already in memory; takes `contents` over. */
int elf_file_parse(struct elf_file *file, const char *path, struct buffer contents);
void elf_file_close(struct elf_file *file);

/* Lookups return NULL (0 for an index) when there is none. Names are never NULL. */
const char *elf_section_name(const struct elf_file *file, const Elf64_Shdr *section);
const Elf64_Shdr *elf_section(const struct elf_file *file, const char *name);
const char *elf_string(const struct elf_file *file, const Elf64_Shdr *strings, uint64_t offset);

/* The symbols of SHT_SYMTAB: calls `visit` for each until it returns true, then returns true
 * itself. */
typedef bool elf_symbol_visitor(const Elf64_Sym *symbol, const char *name, void *context);
bool elf_each_symbol(const struct elf_file *file, elf_symbol_visitor *visit, void *context);
bool elf_find_symbol(const struct elf_file *file, const char *name, Elf64_Sym *symbol);

/* The file's bytes behind a loaded address range, or NULL when they are not all in one segment's
 * file part. */
const uint8_t *elf_bytes_at(const struct elf_file *file, uint64_t address, uint64_t size);
