/* SPDX-License-Identifier: MIT */
/* What `unigornel build` tells the kernel about the program it has linked in. The kernel's rodata
 * holds one, empty, in a section of its own; the tool fills it in. Shared by
 * tools/ and core/. All addresses are virtual. */
#pragma once

#include <stdint.h>

#define IMAGE_INFO_MAGIC 0x6f666e69676e7275ull /* "urngino" */
#define IMAGE_INFO_VERSION 1
#define IMAGE_INFO_SECTION ".image_info"
#define IMAGE_MAX_SEGMENTS 8

struct image_segment {
    uint64_t address;   /* page-aligned start */
    uint64_t file_size; /* bytes present in memory at boot; the rest of the last page is zero */
    uint64_t size; /* bytes in all; what is past file_size's last page is zero and given on first
                      touch */
    uint32_t prot; /* PROT_R | PROT_W | PROT_X */
    uint32_t file_offset; /* of `address` in the program's file; page-aligned */
};

struct image_info {
    uint64_t magic;
    uint32_t version;
    uint32_t segment_count; /* 0: no program linked in */
    struct image_segment segments[IMAGE_MAX_SEGMENTS];
    uint64_t entry;           /* of the program */
    uint64_t program_headers; /* address of its ELF program headers, 0: not in memory */
    uint32_t program_header_count;
    uint32_t raw_syscalls; /* SYSCALL instructions left in the text, for the log */
    uint64_t pclntab;      /* Go's function table (.gopclntab) and its size; 0: none */
    uint64_t pclntab_size;
    uint64_t text_start;  /* value that pclntab's entry offsets are relative to (runtime.text) */
    uint64_t file_system; /* an EROFS image in memory, and its size; 0: none */
    uint64_t file_system_size;
    char name[64]; /* base name of the program, for argv[0] and /proc */
};
