; SPDX-License-Identifier: MIT
; What loaders look for: the multiboot2 header (Multiboot2 Specification 2.0, 3.1) and the ELF notes of the PVH
; protocol (Xen, docs/misc/pvh.pandoc and xen/include/public/elfnote.h).

bits 32

extern pvh_entry

MULTIBOOT2_MAGIC equ 0xe85250d6
MULTIBOOT2_TAG_MODULE_ALIGN equ 6
MULTIBOOT2_TAG_RELOCATABLE equ 10
XEN_ELFNOTE_PHYS32_ENTRY equ 18

section .multiboot2 progbits alloc noexec nowrite align=8
header:
    dd MULTIBOOT2_MAGIC
    dd 0 ; i386, protected mode
    dd header_end - header
    dd -(MULTIBOOT2_MAGIC + 0 + (header_end - header))

    dw MULTIBOOT2_TAG_MODULE_ALIGN, 0
    dd 8

    ; Under UEFI the firmware may own the addresses we are linked at. The alignment of 4 MiB keeps the physical image
    ; clear of our virtual 1-4 MiB, which the identity map in entry.asm relies on.
    dw MULTIBOOT2_TAG_RELOCATABLE, 0
    dd 24
    dd 0x400000   ; lowest load address
    dd 0x7fffffff ; highest
    dd 0x400000   ; alignment
    dd 1          ; as low as possible

    dw 0, 0
    dd 8
header_end:

section .note.xen note alloc noexec nowrite align=4
    dd 4, 4, XEN_ELFNOTE_PHYS32_ENTRY
    db "Xen", 0
    dd pvh_entry

section .note.GNU-stack noalloc noexec nowrite progbits
