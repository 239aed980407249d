/* SPDX-License-Identifier: MIT */
/* The image linker. The image's file has, in this order: the ELF header with the program headers of
 * both, the kernel's text (the multiboot2 header is in it) and data, the program's segments, the
 * file system if there is one; the program's strings, the kernel's read-only segment, the program's
 * symbols; then what no loader reads. The kernel's segment begins with the names of its functions
 * and ends with their symbols, so there is one string table and one symbol table for debuggers, and
 * the kernel has its part of both in memory. Its debug information stays in kernel.elf. */
#define _GNU_SOURCE
#include "tools/link.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "goruntime/image_info.h"
#include "hal/include/hal.h"
#include "tools/insn.h"
#include "tools/mkfs.h"
#include "tools/overlay.h"
#include "tools/roots.h"

#define MULTIBOOT2_MAGIC 0xe85250d6u
#define MULTIBOOT2_SEARCH                                                                          \
    32768u /* Multiboot2 1.6, 3.1: the header lies whole within the first 32768 bytes, 8-byte      \
              aligned */
#define SEGMENT_ALIGN                                                                              \
    16 /* of a segment's bytes in the file: nobody maps it, and a page would be mostly padding */
#define MOST_PROGRAM_HEADERS (2 * IMAGE_MAX_SEGMENTS + 2) /* file system and notes */
#define LOAD_LIMIT 0xc0000000ul /* below the hole that PCs keep for devices */

static uint64_t align_up(uint64_t value, uint64_t alignment)
{
    return alignment > 1 ? (value + alignment - 1) & ~(alignment - 1) : value;
}

/* A loaded segment and where its bytes went in the image's file. */
struct placed_segment {
    const struct elf_file *from;
    Elf64_Phdr original;
    uint64_t offset;
};

struct linker {
    const struct elf_file *kernel;
    const struct go_binary *program;
    struct buffer *image;
    const struct buffer *files; /* the file system, perhaps empty */
    uint64_t files_address, files_offset;
    struct placed_segment placed[2 * IMAGE_MAX_SEGMENTS];
    size_t placed_count;
    size_t kernel_count;           /* the first of them are the kernel's */
    struct placed_segment *tables; /* of the kernel: the one with its names and symbols */
    const Elf64_Shdr *kernel_names, *kernel_symbols;
    const Elf64_Shdr *program_symbols; /* NULL: it has none */
    Elf64_Shdr strings, symbols;       /* of both */
    Elf64_Shdr *sections;
    size_t section_count;
    struct buffer section_names;
};

/* --- what is loaded
 * --------------------------------------------------------------------------------------------------
 */

static int compare_addresses(const void *left, const void *right)
{
    const struct placed_segment *a = left, *b = right;
    return (a->original.p_vaddr > b->original.p_vaddr) -
           (a->original.p_vaddr < b->original.p_vaddr);
}

static int collect_segments(struct linker *linker, const struct elf_file *file)
{
    size_t first = linker->placed_count;
    for (size_t i = 0; i < file->segment_count; i++) {
        const Elf64_Phdr *segment = &file->segments[i];
        if (segment->p_type != PT_LOAD || segment->p_memsz == 0)
            continue;
        if (linker->placed_count - first == IMAGE_MAX_SEGMENTS)
            return fail("%s: more than %d loaded segments: link it with Go's own linker",
                        file->path, IMAGE_MAX_SEGMENTS);
        if ((segment->p_flags & PF_W) && (segment->p_flags & PF_X))
            return fail("%s: has a segment that is both writable and executable: link it with Go's "
                        "own linker",
                        file->path);
        linker->placed[linker->placed_count++] =
            (struct placed_segment){.from = file, .original = *segment};
    }
    if (linker->placed_count == first)
        return fail("%s: has nothing to load: give a linked program", file->path);
    qsort(linker->placed + first, linker->placed_count - first, sizeof(*linker->placed),
          compare_addresses);
    for (size_t i = first + 1; i < linker->placed_count; i++) {
        const Elf64_Phdr *before = &linker->placed[i - 1].original;
        if (align_up(before->p_vaddr + before->p_memsz, PAGE_SIZE) >
            (linker->placed[i].original.p_vaddr & ~(PAGE_SIZE - 1)))
            return fail("%s: two segments share a page: link it with Go's own linker", file->path);
    }
    return 0;
}

static int check_program_addresses(const struct linker *linker)
{
    for (size_t i = linker->kernel_count; i < linker->placed_count; i++) {
        const Elf64_Phdr *segment = &linker->placed[i].original;
        if (segment->p_vaddr < PROGRAM_MIN)
            return fail("%s: its segment at %#lx overlaps the kernel's addresses (below %#lx): "
                        "link it without -T",
                        linker->program->elf->path, (unsigned long)segment->p_vaddr, PROGRAM_MIN);
        if (segment->p_vaddr + segment->p_filesz > LOAD_LIMIT ||
            segment->p_vaddr + segment->p_memsz > USER_END)
            return fail(
                "%s: its segment at %#lx is too high to be loaded there: link it without -T",
                linker->program->elf->path, (unsigned long)segment->p_vaddr);
    }
    return 0;
}

static void place_segment(struct linker *linker, struct placed_segment *segment)
{
    segment->offset = align_up(linker->image->size, SEGMENT_ALIGN) +
                      (segment->original.p_vaddr & (SEGMENT_ALIGN - 1));
    if (segment->original.p_filesz) {
        buffer_pad(linker->image, segment->offset);
        buffer_append(linker->image, segment->from->contents.bytes + segment->original.p_offset,
                      segment->original.p_filesz);
    }
}

static void place_segments(struct linker *linker)
{
    for (size_t i = 0; i < linker->placed_count; i++) {
        if (&linker->placed[i] != linker->tables)
            place_segment(linker, &linker->placed[i]);
    }
}

/* The kernel's segment that begins with its names and ends with its symbols. */
static int find_tables(struct linker *linker)
{
    const Elf64_Shdr *names = elf_section(linker->kernel, ".symbol_names");
    const Elf64_Shdr *symbols = elf_section(linker->kernel, ".symbols");
    for (size_t i = 0; names && symbols && i < linker->kernel_count; i++) {
        const Elf64_Phdr *segment = &linker->placed[i].original;
        if (names->sh_offset == segment->p_offset &&
            symbols->sh_offset + symbols->sh_size == segment->p_offset + segment->p_filesz &&
            symbols->sh_size >= sizeof(Elf64_Sym) && symbols->sh_size % sizeof(Elf64_Sym) == 0)
            linker->tables = &linker->placed[i];
    }
    linker->kernel_names = names;
    linker->kernel_symbols = symbols;
    return linker->tables ? 0
                          : fail("%s: has no table of its functions: build the kernel again",
                                 linker->kernel->path);
}

/* The kernel's tables between the program's. */
static void place_tables(struct linker *linker)
{
    const struct elf_file *program = linker->program->elf;
    for (size_t i = 1; i < program->section_count && !linker->program_symbols; i++) {
        if (program->sections[i].sh_type == SHT_SYMTAB)
            linker->program_symbols = &program->sections[i];
    }
    const Elf64_Shdr *symbols = linker->program_symbols;
    const Elf64_Shdr *strings = symbols ? &program->sections[symbols->sh_link] : NULL;

    linker->strings =
        (Elf64_Shdr){.sh_type = SHT_STRTAB, .sh_offset = linker->image->size, .sh_addralign = 1};
    if (strings && strings->sh_type == SHT_STRTAB)
        buffer_append(linker->image, program->contents.bytes + strings->sh_offset,
                      strings->sh_size);
    buffer_append(linker->image, "", 1);
    place_segment(linker, linker->tables);
    linker->strings.sh_size =
        linker->tables->offset + linker->kernel_names->sh_size - linker->strings.sh_offset;

    size_t kernel_count = linker->kernel_symbols->sh_size / sizeof(Elf64_Sym);
    linker->symbols =
        (Elf64_Shdr){.sh_type = SHT_SYMTAB,
                     .sh_offset = linker->image->size - linker->kernel_symbols->sh_size,
                     .sh_info = (uint32_t)kernel_count, /* the kernel's are all local */
                     .sh_addralign = 8,
                     .sh_entsize = sizeof(Elf64_Sym)};
    if (symbols && symbols->sh_size > sizeof(Elf64_Sym)) {
        buffer_append(linker->image,
                      program->contents.bytes + symbols->sh_offset + sizeof(Elf64_Sym),
                      symbols->sh_size - sizeof(Elf64_Sym));
        linker->symbols.sh_info += symbols->sh_info ? symbols->sh_info - 1 : 0;
    }
    linker->symbols.sh_size = linker->image->size - linker->symbols.sh_offset;
}

/* The file system follows the program's last page in memory. There it has no virtual address: the
 * kernel reads it through its map of all memory, and the addresses may be the program's bss. */
static int place_files(struct linker *linker)
{
    if (!linker->files->size)
        return 0;
    for (size_t i = linker->kernel_count; i < linker->placed_count; i++) {
        const Elf64_Phdr *segment = &linker->placed[i].original;
        uint64_t end = align_up(segment->p_vaddr + segment->p_filesz, PAGE_SIZE);
        if (segment->p_filesz && end > linker->files_address)
            linker->files_address = end;
    }
    if (linker->files_address + linker->files->size > LOAD_LIMIT)
        return fail("the files are too many to be loaded with the program: %lu MiB; make a disk "
                    "with unigornel mkfs",
                    (unsigned long)(linker->files->size >> 20));
    linker->files_offset = align_up(linker->image->size, PAGE_SIZE);
    buffer_pad(linker->image, linker->files_offset);
    buffer_append(linker->image, linker->files->bytes, linker->files->size);
    return 0;
}

/* Where a part of the kernel's or the program's file is in the image; 0 when no loader sees it. */
static uint64_t placed_offset(const struct linker *linker, const struct elf_file *from,
                              uint64_t offset, uint64_t size)
{
    for (size_t i = 0; i < linker->placed_count; i++) {
        const struct placed_segment *segment = &linker->placed[i];
        if (segment->from == from && offset >= segment->original.p_offset &&
            offset + size <= segment->original.p_offset + segment->original.p_filesz)
            return segment->offset + (offset - segment->original.p_offset);
    }
    return 0;
}

static int write_program_headers(struct linker *linker, Elf64_Ehdr *header)
{
    Elf64_Phdr table[MOST_PROGRAM_HEADERS];
    size_t count = 0;
    for (size_t i = 0; i < linker->placed_count; i++) {
        Elf64_Phdr segment = linker->placed[i].original;
        segment.p_offset = linker->placed[i].offset;
        segment.p_align = SEGMENT_ALIGN;
        if (i >= linker->kernel_count) {
            if (segment.p_filesz == 0)
                continue;
            /* The rest of the last page is zeroed by the loader; later pages are given on first
             * touch by the kernel. */
            segment.p_paddr = segment.p_vaddr;
            segment.p_memsz =
                align_up(segment.p_vaddr + segment.p_filesz, PAGE_SIZE) - segment.p_vaddr;
        }
        table[count++] = segment;
    }
    if (linker->files->size)
        table[count++] = (Elf64_Phdr){.p_type = PT_LOAD,
                                      .p_flags = PF_R,
                                      .p_offset = linker->files_offset,
                                      .p_vaddr = linker->files_address,
                                      .p_paddr = linker->files_address,
                                      .p_filesz = linker->files->size,
                                      .p_memsz = linker->files->size,
                                      .p_align = PAGE_SIZE};
    size_t notes = 0;
    for (size_t i = 0; i < linker->kernel->segment_count && notes == 0; i++) {
        Elf64_Phdr note = linker->kernel->segments[i];
        if (note.p_type != PT_NOTE)
            continue;
        note.p_offset = placed_offset(linker, linker->kernel, note.p_offset, note.p_filesz);
        if (!note.p_offset)
            return fail("%s: its notes are not in a loaded segment: build the kernel again",
                        linker->kernel->path);
        note.p_align = 4;
        table[count++] = note;
        notes++;
    }
    if (!notes)
        return fail("%s: has no boot notes: build the kernel again", linker->kernel->path);
    header->e_phoff = sizeof(*header);
    header->e_phentsize = sizeof(*table);
    header->e_phnum = (uint16_t)count;
    memcpy(linker->image->bytes + header->e_phoff, table, count * sizeof(*table));
    return 0;
}

static int check_multiboot2(const struct linker *linker)
{
    size_t limit =
        linker->image->size < MULTIBOOT2_SEARCH ? linker->image->size : MULTIBOOT2_SEARCH;
    for (size_t at = 0; at + 16 <= limit; at += 8) {
        uint32_t field[4]; /* magic, architecture, length, checksum */
        memcpy(field, linker->image->bytes + at, sizeof(field));
        if (field[0] == MULTIBOOT2_MAGIC && field[0] + field[1] + field[2] + field[3] == 0 &&
            at + field[2] <= limit)
            return 0;
    }
    return fail("%s: has no multiboot2 header in its first page: build the kernel again",
                linker->kernel->path);
}

/* --- what the kernel is told
 * ------------------------------------------------------------------------------------------ */

/* SYSCALL instructions that no rule has replaced (tools/overlay.h). On every platform they trap
 * into the kernel, which is slower than the gate: syscall_entry in hal/x86_64, and for a
 * paravirtual domain of Xen hal/xen/entry.asm. */
static uint32_t count_raw_syscalls(const struct go_binary *program)
{
    size_t count = 0;
    if (program->function_count) {
        for (size_t i = 0; i < program->function_count; i++) {
            const struct go_function *function = &program->functions[i];
            size_t found =
                find_syscalls(go_function_code(program, function), function->size, NULL, NULL);
            if (found)
                verbose("SYSCALL left in %s: %zu", function->name, found);
            count += found;
        }
        return (uint32_t)count;
    }
    for (size_t i = 0; i < program->elf->segment_count; i++) {
        const Elf64_Phdr *segment = &program->elf->segments[i];
        if (segment->p_type == PT_LOAD && (segment->p_flags & PF_X))
            count +=
                find_syscalls((const uint8_t *)program->elf->contents.bytes + segment->p_offset,
                              segment->p_filesz, NULL, NULL);
    }
    return (uint32_t)count;
}

static int fill_image_info(struct linker *linker, const char *name)
{
    const struct elf_file *program = linker->program->elf;
    struct image_info info = {
        .magic = IMAGE_INFO_MAGIC,
        .version = IMAGE_INFO_VERSION,
        .entry = program->header.e_entry,
        .raw_syscalls = count_raw_syscalls(linker->program),
        .pclntab = linker->program->table,
        .pclntab_size = linker->program->table_size,
        .text_start = linker->program->text_start,
        .file_system = linker->files_address,
        .file_system_size = linker->files->size,
    };
    strncpy(info.name, name, sizeof(info.name) - 1);
    bool entry_found = false;
    for (size_t i = linker->kernel_count; i < linker->placed_count; i++) {
        const Elf64_Phdr *segment = &linker->placed[i].original;
        uint64_t start = segment->p_vaddr & ~(PAGE_SIZE - 1), lead = segment->p_vaddr - start;
        info.segments[info.segment_count++] = (struct image_segment){
            .address = start,
            .file_size = segment->p_filesz ? lead + segment->p_filesz : 0,
            .size = lead + segment->p_memsz,
            .prot = (segment->p_flags & PF_R ? PROT_R : 0u) |
                    (segment->p_flags & PF_W ? PROT_W : 0u) |
                    (segment->p_flags & PF_X ? PROT_X : 0u),
            .file_offset = (uint32_t)(segment->p_offset - lead),
        };
        uint64_t headers = program->header.e_phoff,
                 headers_size = program->segment_count * sizeof(Elf64_Phdr);
        if (headers >= segment->p_offset &&
            headers + headers_size <= segment->p_offset + segment->p_filesz) {
            info.program_headers = segment->p_vaddr + (headers - segment->p_offset);
            info.program_header_count = (uint32_t)program->segment_count;
        }
        entry_found |= (segment->p_flags & PF_X) && info.entry >= segment->p_vaddr &&
                       info.entry < segment->p_vaddr + segment->p_filesz;
    }
    if (!entry_found)
        return fail("%s: its entry point is not in executable code: build it again", program->path);

    const Elf64_Shdr *section = elf_section(linker->kernel, IMAGE_INFO_SECTION);
    struct image_info old;
    if (!section)
        return fail(
            "%s: not a Unigornel kernel (no image_info): set UNIGORNEL_KERNEL to build/kernel.elf",
            linker->kernel->path);
    uint64_t offset = placed_offset(linker, linker->kernel, section->sh_offset, sizeof(info));
    if (!offset)
        return fail("%s: image_info is not in its loaded data: build the kernel again",
                    linker->kernel->path);
    memcpy(&old, linker->image->bytes + offset, sizeof(old));
    if (old.magic != IMAGE_INFO_MAGIC || old.version != IMAGE_INFO_VERSION)
        return fail("%s: made for another version of this command: build both together",
                    linker->kernel->path);
    memcpy(linker->image->bytes + offset, &info, sizeof(info));
    return 0;
}

/* --- sections and symbols, for debuggers
 * ---------------------------------------------------------------------------------- */

static uint32_t add_section_name(struct linker *linker, const char *prefix, const char *name)
{
    uint32_t at = (uint32_t)linker->section_names.size;
    buffer_append_string(&linker->section_names, prefix);
    buffer_append(&linker->section_names, name, strlen(name) + 1);
    return at;
}

static void append_bytes(struct linker *linker, Elf64_Shdr *section, const void *bytes, size_t size)
{
    /* Nothing here is mapped; an alignment of more than a page is damage or waste. */
    if (section->sh_addralign > PAGE_SIZE)
        section->sh_addralign = PAGE_SIZE;
    buffer_pad(linker->image, align_up(linker->image->size, section->sh_addralign));
    section->sh_offset = linker->image->size;
    section->sh_size = size;
    buffer_append(linker->image, bytes, size);
}

/* Sections of the program keep their index, so that its symbols need no change. */
static void copy_program_sections(struct linker *linker)
{
    const struct elf_file *program = linker->program->elf;
    size_t names = program->section_count ? program->header.e_shstrndx : 0;
    size_t symbols = linker->program_symbols ? linker->program_symbols - program->sections : 0;
    size_t strings = linker->program_symbols ? linker->program_symbols->sh_link : 0;
    for (size_t i = 0; i < program->section_count; i++) {
        Elf64_Shdr section = program->sections[i];
        if (i)
            section.sh_name =
                add_section_name(linker, "", elf_section_name(program, &program->sections[i]));
        uint64_t size = section.sh_type == SHT_NOBITS ? 0 : section.sh_size;
        if (section.sh_flags & SHF_ALLOC) {
            uint64_t offset = placed_offset(linker, program, section.sh_offset, size);
            section.sh_offset = offset ? offset : linker->image->size;
        }
        linker->sections[linker->section_count++] = section;
    }
    for (size_t i = 1; i < program->section_count; i++) {
        Elf64_Shdr *section = &linker->sections[i];
        if (!(section->sh_flags & SHF_ALLOC) && section->sh_type != SHT_NOBITS &&
            section->sh_type != SHT_NULL && i != symbols && i != strings && i != names)
            append_bytes(linker, section, program->contents.bytes + program->sections[i].sh_offset,
                         section->sh_size);
    }
}

/* Has the kernel's symbols point to where its names and its text are in the image. */
static void adopt_kernel_symbols(struct linker *linker, uint16_t text)
{
    char *table = linker->image->bytes + linker->symbols.sh_offset;
    uint64_t names = linker->tables->offset - linker->strings.sh_offset;
    for (uint64_t at = sizeof(Elf64_Sym); at < linker->kernel_symbols->sh_size;
         at += sizeof(Elf64_Sym)) {
        Elf64_Sym symbol;
        memcpy(&symbol, table + at, sizeof(symbol));
        symbol.st_name += (uint32_t)names;
        symbol.st_shndx = text;
        memcpy(table + at, &symbol, sizeof(symbol));
    }
}

static void add_kernel_sections(struct linker *linker)
{
    const struct elf_file *kernel = linker->kernel;
    for (size_t i = 1; i < kernel->section_count; i++) {
        Elf64_Shdr section = kernel->sections[i];
        if (!(section.sh_flags & SHF_ALLOC) || &kernel->sections[i] == linker->kernel_names ||
            &kernel->sections[i] == linker->kernel_symbols)
            continue;
        section.sh_name =
            add_section_name(linker, ".kernel", elf_section_name(kernel, &kernel->sections[i]));
        uint64_t offset = section.sh_type == SHT_NOBITS
                              ? 0
                              : placed_offset(linker, kernel, section.sh_offset, section.sh_size);
        section.sh_offset = offset ? offset : linker->image->size;
        section.sh_link = section.sh_info = 0;
        if (strcmp(elf_section_name(kernel, &kernel->sections[i]), ".text") == 0)
            adopt_kernel_symbols(linker, (uint16_t)linker->section_count);
        linker->sections[linker->section_count++] = section;
    }
}

static void add_tables(struct linker *linker)
{
    const struct elf_file *program = linker->program->elf;
    size_t symbols = linker->section_count, strings = symbols + 1;
    if (linker->program_symbols) {
        symbols = linker->program_symbols - program->sections;
        strings = linker->program_symbols->sh_link;
        linker->symbols.sh_name = linker->sections[symbols].sh_name;
        linker->strings.sh_name = linker->sections[strings].sh_name;
    } else {
        linker->section_count += 2;
        linker->symbols.sh_name = add_section_name(linker, "", ".symtab");
        linker->strings.sh_name = add_section_name(linker, "", ".strtab");
    }
    linker->symbols.sh_link = (uint32_t)strings;
    linker->sections[symbols] = linker->symbols;
    linker->sections[strings] = linker->strings;
}

static void write_sections(struct linker *linker, Elf64_Ehdr *header)
{
    const struct elf_file *program = linker->program->elf;
    linker->sections = allocate((program->section_count + linker->kernel->section_count + 4) *
                                sizeof(*linker->sections));
    buffer_append(&linker->section_names, "", 1);
    if (program->section_count)
        copy_program_sections(linker);
    else
        linker->section_count = 1;
    add_kernel_sections(linker);
    add_tables(linker);

    size_t names = program->section_count ? program->header.e_shstrndx : linker->section_count++;
    if (!program->section_count)
        linker->sections[names] = (Elf64_Shdr){.sh_name = add_section_name(linker, "", ".shstrtab"),
                                               .sh_type = SHT_STRTAB,
                                               .sh_addralign = 1};
    append_bytes(linker, &linker->sections[names], linker->section_names.bytes,
                 linker->section_names.size);
    buffer_pad(linker->image, align_up(linker->image->size, 8));
    header->e_shoff = linker->image->size;
    header->e_shentsize = sizeof(Elf64_Shdr);
    header->e_shnum = (uint16_t)linker->section_count;
    header->e_shstrndx = (uint16_t)names;
    buffer_append(linker->image, linker->sections,
                  linker->section_count * sizeof(*linker->sections));
    free(linker->sections);
    buffer_free(&linker->section_names);
}

int link_image(const struct elf_file *kernel, const struct go_binary *program, const char *name,
               const struct buffer *files, struct buffer *image)
{
    struct linker linker = {.kernel = kernel, .program = program, .image = image, .files = files};
    *image = (struct buffer){0};
    if (collect_segments(&linker, kernel) < 0)
        return -1;
    linker.kernel_count = linker.placed_count;
    if (find_tables(&linker) < 0 || collect_segments(&linker, program->elf) < 0 ||
        check_program_addresses(&linker) < 0)
        return -1;
    Elf64_Ehdr header = {.e_type = ET_EXEC,
                         .e_machine = EM_X86_64,
                         .e_version = EV_CURRENT,
                         .e_entry = kernel->header.e_entry,
                         .e_ehsize = sizeof(header)};
    memcpy(header.e_ident, kernel->header.e_ident, EI_NIDENT);
    buffer_pad(image, sizeof(header) + MOST_PROGRAM_HEADERS * sizeof(Elf64_Phdr));
    place_segments(&linker);
    if (place_files(&linker) < 0) {
        buffer_free(image);
        return -1;
    }
    place_tables(&linker);
    if (write_program_headers(&linker, &header) < 0 || fill_image_info(&linker, name) < 0 ||
        check_multiboot2(&linker) < 0) {
        buffer_free(image);
        return -1;
    }
    write_sections(&linker, &header);
    memcpy(image->bytes, &header, sizeof(header));
    return 0;
}

/* --- files
 * -------------------------------------------------------------------------------------------------------------------
 */

char *kernel_path(bool network, bool files)
{
    const char *given = getenv("UNIGORNEL_KERNEL");
    return given && *given ? copy_string(given)
                           : build_folder_path(network ? "kernel-net.elf"
                                               : files ? "kernel-files.elf"
                                                       : "kernel.elf");
}

bool has_files(const struct elf_file *file)
{
    Elf64_Sym symbol;
    return elf_find_symbol(file, "core_ninep_found", &symbol);
}

bool has_network(const struct elf_file *file)
{
    Elf64_Sym symbol;
    return elf_find_symbol(file, "socket_register", &symbol);
}

/* Whether the program shall have the network. */
static bool wants_network(const struct go_binary *go, const char *name, enum network_choice choice)
{
    if (choice != NETWORK_AUTO)
        return choice == NETWORK_ALWAYS;
    const char *function = go_socket_function(go);
    verbose("%s: %s%s: %s the network", name, function ? "has " : "no sockets",
            function ? function : "", function ? "with" : "without");
    return function;
}

static int open_kernel(struct elf_file *kernel, const char *path)
{
    if (!is_file(path))
        return fail("%s: the kernel is not there: build it with cmake, or set UNIGORNEL_KERNEL",
                    path);
    return elf_file_open(kernel, path);
}

static int read_files(const char *folder, struct buffer *files)
{
    char *work = temporary_directory();
    char *path = work ? format_string("%s/files.erofs", work) : NULL;
    int result = path ? make_file_system(folder, path, true) : -1;
    if (result == 0 && read_file(path, files) < 0)
        result = fail("%s: cannot read", path);
    free(path);
    free(work);
    return result;
}

/* The image's files: the folder that was given, with CA certificates if the program looks for some.
 */
static int collect_files(const struct go_binary *go, const struct link_options *options,
                         struct buffer *files)
{
    if (!go_uses_roots(go) || (options->files && roots_present(options->files)))
        return options->files ? read_files(options->files, files) : 0;
    char *stage = roots_stage(options->files);
    int result = stage ? read_files(stage, files) : -1;
    free(stage);
    return result;
}

int link_files(const char *binary, const char *name, const struct overlay *overlay,
               const struct link_options *options, const char *output)
{
    struct elf_file kernel = {0}, program = {0};
    struct go_binary go = {0};
    struct buffer image = {0}, files = {0};
    char *path = NULL;
    int result = -1;
    if (elf_file_open(&program, binary) == 0 && go_binary_open(&go, &program) == 0 &&
        (!overlay || overlay_verify(overlay, &go) == 0)) {
        path = kernel_path(wants_network(&go, name, options->network), go_file_function(&go));
        if (open_kernel(&kernel, path) == 0 && collect_files(&go, options, &files) == 0 &&
            link_image(&kernel, &go, name, &files, &image) == 0)
            result = write_file(output, image.bytes, image.size, 0755);
    }
    go_binary_close(&go);
    elf_file_close(&program);
    elf_file_close(&kernel);
    buffer_free(&files);
    buffer_free(&image);
    free(path);
    return result;
}

bool is_image(const struct elf_file *file)
{
    return elf_section(file, ".kernel" IMAGE_INFO_SECTION) != NULL;
}

int check_image(const char *path)
{
    struct elf_file file;
    if (elf_file_open(&file, path) < 0)
        return -1;
    bool image = is_image(&file);
    elf_file_close(&file);
    return image ? 0 : fail("%s: not an image: make one with unigornel build", path);
}
