/* SPDX-License-Identifier: MIT */
/* Reading and checking ELF files: libelf decodes the headers, the bounds are checked here. */
#include "tools/elf_file.h"

#include <errno.h>
#include <gelf.h>
#include <stdlib.h>
#include <string.h>

static bool in_range(uint64_t offset, uint64_t size, uint64_t limit)
{
    return offset <= limit && size <= limit - offset;
}

static int truncated(const struct elf_file *file)
{
    return fail("%s: the ELF file is truncated or damaged: build it again", file->path);
}

static int check_header(struct elf_file *file)
{
    const uint8_t *bytes = (const uint8_t *)file->contents.bytes;
    size_t size = file->contents.size;
    if (size < SELFMAG || memcmp(bytes, ELFMAG, SELFMAG) != 0)
        return fail("%s: not an ELF file: give a Go package, or a program built with GOOS=linux "
                    "GOARCH=amd64",
                    file->path);
    if (size > EI_CLASS && bytes[EI_CLASS] == ELFCLASS32)
        return fail("%s: a 32-bit program: build it with GOARCH=amd64", file->path);
    if (size < sizeof(Elf64_Ehdr) || bytes[EI_CLASS] != ELFCLASS64)
        return truncated(file);
    if (bytes[EI_DATA] != ELFDATA2LSB)
        return fail("%s: not an x86-64 program: build it with GOARCH=amd64", file->path);
    memcpy(&file->header, bytes, sizeof(file->header));
    if (file->header.e_machine != EM_X86_64)
        return fail("%s: not an x86-64 program: build it with GOARCH=amd64", file->path);
    return 0;
}

static int read_segments(struct elf_file *file, Elf *elf)
{
    const Elf64_Ehdr *header = &file->header;
    if (header->e_phnum == 0)
        return 0;
    if (header->e_phnum == PN_XNUM || header->e_phentsize != sizeof(Elf64_Phdr) ||
        !in_range(header->e_phoff, (uint64_t)header->e_phnum * sizeof(Elf64_Phdr),
                  file->contents.size))
        return truncated(file);
    file->segment_count = header->e_phnum;
    file->segments = allocate(file->segment_count * sizeof(*file->segments));
    for (size_t i = 0; i < file->segment_count; i++) {
        GElf_Phdr *segment = &file->segments[i];
        if (!gelf_getphdr(elf, (int)i, segment))
            return truncated(file);
        if (segment->p_type != PT_NULL &&
            !in_range(segment->p_offset, segment->p_filesz, file->contents.size))
            return truncated(file);
        if (segment->p_type == PT_LOAD && (segment->p_memsz < segment->p_filesz ||
                                           segment->p_vaddr + segment->p_memsz < segment->p_vaddr))
            return truncated(file);
    }
    return 0;
}

static int read_sections(struct elf_file *file, Elf *elf)
{
    const Elf64_Ehdr *header = &file->header;
    if (header->e_shoff == 0 || header->e_shnum == 0)
        return 0;
    if (header->e_shnum >= SHN_LORESERVE || header->e_shentsize != sizeof(Elf64_Shdr) ||
        header->e_shstrndx >= header->e_shnum ||
        !in_range(header->e_shoff, (uint64_t)header->e_shnum * sizeof(Elf64_Shdr),
                  file->contents.size))
        return truncated(file);
    file->section_count = header->e_shnum;
    file->sections = allocate(file->section_count * sizeof(*file->sections));
    for (size_t i = 0; i < file->section_count; i++) {
        GElf_Shdr *section = &file->sections[i];
        Elf_Scn *handle = elf_getscn(elf, i);
        if (!handle || !gelf_getshdr(handle, section))
            return truncated(file);
        if (section->sh_type != SHT_NOBITS && section->sh_type != SHT_NULL &&
            !in_range(section->sh_offset, section->sh_size, file->contents.size))
            return truncated(file);
        if (section->sh_type == SHT_SYMTAB &&
            (section->sh_entsize != sizeof(Elf64_Sym) || section->sh_link >= file->section_count))
            return truncated(file);
        if (section->sh_addralign & (section->sh_addralign - 1))
            return truncated(file);
    }
    return 0;
}

int elf_file_parse(struct elf_file *file, const char *path, struct buffer contents)
{
    *file = (struct elf_file){.path = path, .contents = contents};
    if (check_header(file) < 0) {
        elf_file_close(file);
        return -1;
    }
    elf_version(EV_CURRENT);
    Elf *elf = elf_memory(file->contents.bytes, file->contents.size);
    int result = elf ? 0 : truncated(file);
    if (result == 0)
        result = read_segments(file, elf);
    if (result == 0)
        result = read_sections(file, elf);
    if (elf)
        elf_end(elf);
    if (result < 0)
        elf_file_close(file);
    return result;
}

int elf_file_open(struct elf_file *file, const char *path)
{
    struct buffer contents = {0};
    int error = read_file(path, &contents);
    if (error < 0) {
        buffer_free(&contents);
        return fail("%s: cannot read: %s", path, strerror(-error));
    }
    return elf_file_parse(file, path, contents);
}

void elf_file_close(struct elf_file *file)
{
    free(file->segments);
    free(file->sections);
    buffer_free(&file->contents);
    *file = (struct elf_file){0};
}

const char *elf_string(const struct elf_file *file, const Elf64_Shdr *strings, uint64_t offset)
{
    if (strings->sh_type != SHT_STRTAB || offset >= strings->sh_size)
        return "";
    const char *text = file->contents.bytes + strings->sh_offset + offset;
    return memchr(text, '\0', strings->sh_size - offset) ? text : "";
}

const char *elf_section_name(const struct elf_file *file, const Elf64_Shdr *section)
{
    return elf_string(file, &file->sections[file->header.e_shstrndx], section->sh_name);
}

const Elf64_Shdr *elf_section(const struct elf_file *file, const char *name)
{
    for (size_t i = 1; i < file->section_count; i++) {
        if (strcmp(elf_section_name(file, &file->sections[i]), name) == 0)
            return &file->sections[i];
    }
    return NULL;
}

bool elf_each_symbol(const struct elf_file *file, elf_symbol_visitor *visit, void *context)
{
    for (size_t i = 1; i < file->section_count; i++) {
        const Elf64_Shdr *section = &file->sections[i];
        if (section->sh_type != SHT_SYMTAB)
            continue;
        for (uint64_t at = sizeof(Elf64_Sym); at + sizeof(Elf64_Sym) <= section->sh_size;
             at += sizeof(Elf64_Sym)) {
            Elf64_Sym symbol;
            memcpy(&symbol, file->contents.bytes + section->sh_offset + at, sizeof(symbol));
            if (visit(&symbol, elf_string(file, &file->sections[section->sh_link], symbol.st_name),
                      context))
                return true;
        }
    }
    return false;
}

struct symbol_search {
    const char *name;
    Elf64_Sym *symbol;
};

static bool match_symbol(const Elf64_Sym *symbol, const char *name, void *context)
{
    struct symbol_search *search = context;
    if (symbol->st_shndx == SHN_UNDEF || strcmp(name, search->name) != 0)
        return false;
    *search->symbol = *symbol;
    return true;
}

bool elf_find_symbol(const struct elf_file *file, const char *name, Elf64_Sym *symbol)
{
    return elf_each_symbol(file, match_symbol,
                           &(struct symbol_search){.name = name, .symbol = symbol});
}

const uint8_t *elf_bytes_at(const struct elf_file *file, uint64_t address, uint64_t size)
{
    for (size_t i = 0; i < file->segment_count; i++) {
        const Elf64_Phdr *segment = &file->segments[i];
        if (segment->p_type == PT_LOAD && address >= segment->p_vaddr &&
            in_range(address - segment->p_vaddr, size, segment->p_filesz))
            return (const uint8_t *)file->contents.bytes + segment->p_offset +
                   (address - segment->p_vaddr);
    }
    return NULL;
}
