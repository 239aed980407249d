/* SPDX-License-Identifier: MIT */
/* The image linker on a small kernel and program made here: where everything lies, what the kernel
 * is told, what is refused, and that damaged files never do worse than that. */
#define _GNU_SOURCE
#include "tools/link.h"

#include <stdlib.h>
#include <string.h>

#include "goruntime/image_info.h"
#include "test/unit/tools/errors.h"

enum {
    SECTION_TEXT = 1,
    SECTION_INFO,
    SECTION_BUILDINFO = 2,
    SECTION_SYMBOLS = 3,
    SECTION_STRINGS,
    SECTION_NAMES,
    SECTIONS,
    SECTION_KERNEL_NAMES = SECTIONS,
    SECTION_KERNEL_SYMBOLS,
    KERNEL_SECTIONS
};

#define TEXT_SIZE 64
#define DATA_SIZE 100
#define BSS_SIZE 20000
#define PROGRAM_TEXT 0x401000u
#define PROGRAM_DATA 0x405000u
#define KERNEL_NAMES "local\0socket_register"
#define KERNEL_SYMBOLS 3 /* the null symbol and two functions */
#define KERNEL_NOTE 32   /* in the segment at 0x101000, after the names */
#define KERNEL_INFO 64
#define KERNEL_TABLE (KERNEL_INFO + sizeof(struct image_info))
#define KERNEL_TABLES_SIZE (KERNEL_TABLE + KERNEL_SYMBOLS * sizeof(Elf64_Sym))

/* The common end of both: section headers with a symbol table of one or two symbols. */
static void finish(struct buffer *file, Elf64_Ehdr *header, const Elf64_Phdr *segments,
                   size_t count, Elf64_Shdr *sections, size_t section_count,
                   const char *second_name, const Elf64_Sym *symbols, size_t symbol_count,
                   const char *strings, size_t strings_size)
{
    struct buffer names = {0};
    const char *section_names[] = {"",        ".text",     second_name,     ".symtab",
                                   ".strtab", ".shstrtab", ".symbol_names", ".symbols"};
    for (size_t i = 0; i < section_count; i++) {
        sections[i].sh_name = (uint32_t)names.size;
        buffer_append(&names, section_names[i], strlen(section_names[i]) + 1);
    }
    sections[SECTION_SYMBOLS] = (Elf64_Shdr){.sh_name = sections[SECTION_SYMBOLS].sh_name,
                                             .sh_type = SHT_SYMTAB,
                                             .sh_offset = file->size,
                                             .sh_size = symbol_count * sizeof(*symbols),
                                             .sh_link = SECTION_STRINGS,
                                             .sh_info = 1,
                                             .sh_entsize = sizeof(*symbols)};
    buffer_append(file, symbols, symbol_count * sizeof(*symbols));
    sections[SECTION_STRINGS] = (Elf64_Shdr){.sh_name = sections[SECTION_STRINGS].sh_name,
                                             .sh_type = SHT_STRTAB,
                                             .sh_offset = file->size,
                                             .sh_size = strings_size};
    buffer_append(file, strings, strings_size);
    sections[SECTION_NAMES] = (Elf64_Shdr){.sh_name = sections[SECTION_NAMES].sh_name,
                                           .sh_type = SHT_STRTAB,
                                           .sh_offset = file->size,
                                           .sh_size = names.size};
    buffer_append(file, names.bytes, names.size);
    buffer_free(&names);
    memcpy(header->e_ident, ELFMAG "\2\1\1", 7);
    header->e_type = ET_EXEC;
    header->e_machine = EM_X86_64;
    header->e_version = EV_CURRENT;
    header->e_ehsize = sizeof(*header);
    header->e_phoff = sizeof(*header);
    header->e_phentsize = sizeof(*segments);
    header->e_phnum = (uint16_t)count;
    header->e_shoff = file->size;
    header->e_shentsize = sizeof(*sections);
    header->e_shnum = (uint16_t)section_count;
    header->e_shstrndx = SECTION_NAMES;
    buffer_append(file, sections, section_count * sizeof(*sections));
    memcpy(file->bytes, header, sizeof(*header));
    memcpy(file->bytes + sizeof(*header), segments, count * sizeof(*segments));
}

/* Text with a multiboot2 header at 0x100000; at 0x101000 names, a note, image_info and symbols. */
static struct buffer make_kernel(void)
{
    struct buffer file = {0};
    struct image_info info = {.magic = IMAGE_INFO_MAGIC, .version = IMAGE_INFO_VERSION};
    uint32_t multiboot[6] = {0xe85250d6, 0, 24, 0u - 0xe85250d6 - 24, 0, 8};
    uint32_t note[5] = {4, 4, 18, 0x6e6558, 0x100040};
    const Elf64_Sym table[KERNEL_SYMBOLS] = {
        {0},
        {.st_name = 0, .st_info = STT_FUNC, .st_shndx = SHN_ABS, .st_value = 0x100010},
        {.st_name = 6, .st_info = STT_FUNC, .st_shndx = SHN_ABS, .st_value = 0x100020},
    };
    buffer_pad(&file, 4096 + 8);
    buffer_append(&file, multiboot, sizeof(multiboot));
    buffer_pad(&file, 8192);
    buffer_append(&file, KERNEL_NAMES, sizeof(KERNEL_NAMES));
    buffer_pad(&file, 8192 + KERNEL_NOTE);
    buffer_append(&file, note, sizeof(note));
    buffer_pad(&file, 8192 + KERNEL_INFO);
    buffer_append(&file, &info, sizeof(info));
    buffer_append(&file, table, sizeof(table));
    const Elf64_Phdr segments[] = {
        {.p_type = PT_LOAD,
         .p_flags = PF_R | PF_X,
         .p_offset = 4096,
         .p_vaddr = 0x100000,
         .p_paddr = 0x100000,
         .p_filesz = 128,
         .p_memsz = 128},
        {.p_type = PT_LOAD,
         .p_flags = PF_R,
         .p_offset = 8192,
         .p_vaddr = 0x101000,
         .p_paddr = 0x101000,
         .p_filesz = KERNEL_TABLES_SIZE,
         .p_memsz = 9000},
        {.p_type = PT_NOTE,
         .p_flags = PF_R,
         .p_offset = 8192 + KERNEL_NOTE,
         .p_vaddr = 0x101000 + KERNEL_NOTE,
         .p_paddr = 0x101000 + KERNEL_NOTE,
         .p_filesz = sizeof(note),
         .p_memsz = sizeof(note)},
    };
    Elf64_Shdr sections[KERNEL_SECTIONS] = {
        [SECTION_TEXT] = {.sh_type = SHT_PROGBITS,
                          .sh_flags = SHF_ALLOC | SHF_EXECINSTR,
                          .sh_addr = 0x100000,
                          .sh_offset = 4096,
                          .sh_size = 128},
        [SECTION_INFO] = {.sh_type = SHT_PROGBITS,
                          .sh_flags = SHF_ALLOC,
                          .sh_addr = 0x101000 + KERNEL_INFO,
                          .sh_offset = 8192 + KERNEL_INFO,
                          .sh_size = sizeof(info)},
        [SECTION_KERNEL_NAMES] = {.sh_type = SHT_PROGBITS,
                                  .sh_flags = SHF_ALLOC,
                                  .sh_addr = 0x101000,
                                  .sh_offset = 8192,
                                  .sh_size = sizeof(KERNEL_NAMES)},
        [SECTION_KERNEL_SYMBOLS] = {.sh_type = SHT_PROGBITS,
                                    .sh_flags = SHF_ALLOC,
                                    .sh_addr = 0x101000 + KERNEL_TABLE,
                                    .sh_offset = 8192 + KERNEL_TABLE,
                                    .sh_size = sizeof(table)},
    };
    Elf64_Ehdr header = {.e_entry = 0x100040};
    finish(&file, &header, segments, 3, sections, KERNEL_SECTIONS, ".image_info", table, 1, "", 1);
    return file;
}

static struct buffer make_program(void)
{
    struct buffer file = {0};
    buffer_pad(&file, 4096);
    for (int i = 0; i < TEXT_SIZE; i += 2)
        buffer_append(&file, i == 8 ? "\x0f\x05" : "\x90\x90", 2);
    buffer_pad(&file, 8192);
    for (int i = 0; i < DATA_SIZE; i++)
        buffer_append(&file, "d", 1);
    const Elf64_Phdr segments[] = {
        {.p_type = PT_LOAD,
         .p_flags = PF_R | PF_X,
         .p_offset = 0,
         .p_vaddr = PROGRAM_TEXT - 4096,
         .p_filesz = 4096 + TEXT_SIZE,
         .p_memsz = 4096 + TEXT_SIZE},
        {.p_type = PT_LOAD,
         .p_flags = PF_R | PF_W,
         .p_offset = 8192,
         .p_vaddr = PROGRAM_DATA,
         .p_filesz = DATA_SIZE,
         .p_memsz = BSS_SIZE},
    };
    Elf64_Shdr sections[SECTIONS] = {
        [SECTION_TEXT] = {.sh_type = SHT_PROGBITS,
                          .sh_flags = SHF_ALLOC | SHF_EXECINSTR,
                          .sh_addr = PROGRAM_TEXT,
                          .sh_offset = 4096,
                          .sh_size = TEXT_SIZE},
        [SECTION_BUILDINFO] = {.sh_type = SHT_PROGBITS,
                               .sh_flags = SHF_ALLOC | SHF_WRITE,
                               .sh_addr = PROGRAM_DATA,
                               .sh_offset = 8192,
                               .sh_size = DATA_SIZE},
    };
    const Elf64_Sym symbols[] = {
        {0},
        {.st_name = 1,
         .st_info = ELF64_ST_INFO(STB_GLOBAL, STT_FUNC),
         .st_shndx = SECTION_TEXT,
         .st_value = PROGRAM_TEXT},
    };
    Elf64_Ehdr header = {.e_entry = PROGRAM_TEXT};
    finish(&file, &header, segments, 2, sections, SECTIONS, ".go.buildinfo", symbols, 2,
           "\0runtime.text", 14);
    return file;
}

static int try_link(struct buffer kernel_bytes, struct buffer program_bytes, struct buffer *image)
{
    struct elf_file kernel = {0}, program = {0};
    struct go_binary go = {0};
    int result = elf_file_parse(&kernel, "kernel", kernel_bytes);
    int parsed = elf_file_parse(&program, "program", program_bytes);
    if (result == 0)
        result = parsed;
    if (result == 0)
        result = go_binary_open(&go, &program);
    if (result == 0)
        result = link_image(&kernel, &go, "name", &(struct buffer){0}, image);
    go_binary_close(&go);
    elf_file_close(&kernel);
    elf_file_close(&program);
    return result;
}

static void test_image(void)
{
    struct buffer image = {0};
    struct elf_file elf;
    EXPECT(try_link(make_kernel(), make_program(), &image) == 0);
    EXPECT(elf_file_parse(&elf, "image", image) == 0);
    EXPECT(elf.header.e_entry == 0x100040 && elf.header.e_type == ET_EXEC &&
           elf.segment_count == 5);
    for (size_t i = 0; i < elf.segment_count; i++) {
        const Elf64_Phdr *segment = &elf.segments[i];
        EXPECT(segment->p_paddr == segment->p_vaddr);
        if (segment->p_type == PT_LOAD)
            EXPECT(segment->p_offset % segment->p_align == segment->p_vaddr % segment->p_align);
    }
    EXPECT(elf.segments[0].p_vaddr == 0x100000 && elf.segments[1].p_memsz == 9000);
    EXPECT(elf.segments[3].p_vaddr == PROGRAM_DATA && elf.segments[3].p_filesz == DATA_SIZE &&
           elf.segments[3].p_memsz == 4096);
    EXPECT(elf.segments[4].p_type == PT_NOTE && elf.segments[4].p_align == 4);
    EXPECT(memcmp(elf.contents.bytes + elf.segments[4].p_offset + 12, "Xen", 4) == 0);
    EXPECT(memcmp(elf_bytes_at(&elf, PROGRAM_DATA, DATA_SIZE), "dddd", 4) == 0);

    struct image_info info;
    const Elf64_Shdr *section = elf_section(&elf, ".kernel.image_info");
    EXPECT(is_image(&elf) && section->sh_addr == 0x101000 + KERNEL_INFO);
    memcpy(&info, elf_bytes_at(&elf, section->sh_addr, sizeof(info)), sizeof(info));
    EXPECT(info.magic == IMAGE_INFO_MAGIC && info.segment_count == 2 && info.entry == PROGRAM_TEXT);
    EXPECT(info.segments[0].prot == 5 && info.segments[1].prot == 3 && info.raw_syscalls == 1);
    EXPECT(info.segments[1].address == PROGRAM_DATA && info.segments[1].file_size == DATA_SIZE &&
           info.segments[1].size == BSS_SIZE);
    EXPECT(info.program_headers == PROGRAM_TEXT - 4096 + 64 && info.program_header_count == 2);
    EXPECT(info.text_start == PROGRAM_TEXT && strcmp(info.name, "name") == 0);
    /* Symbols of both, the kernel's first; local ones first, as sh_info says. */
    Elf64_Sym symbol;
    EXPECT(elf_find_symbol(&elf, "runtime.text", &symbol) && symbol.st_shndx == SECTION_TEXT);
    EXPECT(elf_find_symbol(&elf, "local", &symbol) && symbol.st_value == 0x100010);
    EXPECT(strcmp(elf_section_name(&elf, &elf.sections[symbol.st_shndx]), ".kernel.text") == 0);
    EXPECT(has_network(&elf) && elf.sections[SECTION_SYMBOLS].sh_info == KERNEL_SYMBOLS);
    /* The kernel has them in memory, and finds the names by their distance from the first. */
    Elf64_Sym table[KERNEL_SYMBOLS];
    memcpy(table, elf_bytes_at(&elf, 0x101000 + KERNEL_TABLE, sizeof(table)), sizeof(table));
    EXPECT(table[2].st_value == 0x100020 && table[2].st_name - table[1].st_name == 6);
    EXPECT(strcmp((const char *)elf_bytes_at(&elf, 0x101000, 6), "local") == 0);
    elf_file_close(&elf);
}

/* The program with `size` bytes at `offset` of it changed. */
static int link_changed(size_t offset, uint64_t value, size_t size)
{
    struct buffer image = {0}, program = make_program();
    memcpy(program.bytes + offset, &value, size);
    int result = try_link(make_kernel(), program, &image);
    buffer_free(&image);
    return result;
}

#define HEADER(field) offsetof(Elf64_Ehdr, field)
#define SEGMENT(i, field)                                                                          \
    (sizeof(Elf64_Ehdr) + (i) * sizeof(Elf64_Phdr) + offsetof(Elf64_Phdr, field))

static void test_refusals(void)
{
    EXPECT(failed_with(link_changed(0, 0, 4), "not an ELF file"));
    EXPECT(failed_with(link_changed(EI_CLASS, ELFCLASS32, 1), "32-bit"));
    EXPECT(failed_with(link_changed(HEADER(e_machine), EM_AARCH64, 2), "not an x86-64"));
    EXPECT(failed_with(link_changed(HEADER(e_type), ET_DYN, 2), "PIE"));
    EXPECT(failed_with(link_changed(HEADER(e_type), ET_REL, 2), "not a linked program"));
    EXPECT(failed_with(link_changed(HEADER(e_entry), 0x500000, 8), "entry point"));
    EXPECT(failed_with(link_changed(HEADER(e_phoff), ~7ull, 8), "truncated"));
    EXPECT(failed_with(link_changed(HEADER(e_shoff), 1ull << 40, 8), "truncated"));
    EXPECT(failed_with(link_changed(SEGMENT(1, p_type), PT_INTERP, 4), "dynamically linked"));
    EXPECT(failed_with(link_changed(SEGMENT(1, p_flags), PF_R | PF_W | PF_X, 4),
                       "writable and executable"));
    EXPECT(failed_with(link_changed(SEGMENT(1, p_filesz), 1 << 30, 8), "truncated"));
    EXPECT(failed_with(link_changed(SEGMENT(1, p_vaddr), 0x300000, 8), "overlaps the kernel"));
    EXPECT(failed_with(link_changed(SEGMENT(1, p_vaddr), 0x401800, 8), "share a page"));
    EXPECT(failed_with(link_changed(SEGMENT(1, p_vaddr), 1ull << 40, 8), "too high"));

    struct buffer image = {0}, program = make_program(), kernel = make_kernel();
    program.size = 4200;
    EXPECT(failed_with(try_link(kernel, program, &image), "truncated"));
    kernel = make_kernel();
    memset(kernel.bytes + 4096, 0, 64);
    EXPECT(failed_with(try_link(kernel, make_program(), &image), "multiboot2"));
    kernel = make_kernel();
    memset(kernel.bytes + 8192 + KERNEL_INFO, 0, 8);
    EXPECT(failed_with(try_link(kernel, make_program(), &image), "another version"));
    kernel = make_kernel();
    memcpy(memmem(kernel.bytes, kernel.size, ".symbols", 8), ".xx", 3);
    EXPECT(failed_with(try_link(kernel, make_program(), &image), "no table of its functions"));
    program = make_program();
    memcpy(memmem(program.bytes, program.size, ".go.buildinfo", 13), ".xx", 3);
    EXPECT(failed_with(try_link(make_kernel(), program, &image), "not a Go program"));
}

/* Random damage to the headers: refused or linked, under the sanitizers. */
static void test_damage(void)
{
    static const uint64_t values[] = {0,          1,          7,          0xff,  0xffff,
                                      0x7fffffff, 0xffffffff, 1ull << 40, ~0ull, ~7ull};
    struct buffer good = make_program();
    size_t headers = sizeof(Elf64_Ehdr) + 2 * sizeof(Elf64_Phdr);
    size_t tables = good.size - SECTIONS * sizeof(Elf64_Shdr) - 256;
    for (size_t offset = 0; offset + 8 <= good.size; offset += 4) {
        if (offset >= headers && offset < tables)
            continue;
        for (size_t i = 0; i < sizeof(values) / sizeof(*values); i++) {
            link_changed(offset, values[i], 8);
            link_changed(offset, values[i], 2);
        }
    }
    buffer_free(&good);
}

int main(void)
{
    test_image();
    test_refusals();
    test_damage();
    return 0;
}
