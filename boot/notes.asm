; SPDX-License-Identifier: MIT
; What loaders look for: the multiboot2 header (Multiboot2 Specification 2.0, 3.1) and the ELF notes of
; Xen's PVH protocol and of its paravirtual guests (docs/misc/pvh.pandoc, xen/include/public/elfnote.h).

bits 32

extern pvh_entry
extern xen_entry

MULTIBOOT2_MAGIC equ 0xe85250d6
MULTIBOOT2_TAG_MODULE_ALIGN equ 6
MULTIBOOT2_TAG_RELOCATABLE equ 10

XEN_ELFNOTE_ENTRY equ 1
XEN_ELFNOTE_VIRT_BASE equ 3
XEN_ELFNOTE_PADDR_OFFSET equ 4
XEN_ELFNOTE_XEN_VERSION equ 5
XEN_ELFNOTE_GUEST_OS equ 6
XEN_ELFNOTE_LOADER equ 8
XEN_ELFNOTE_PAE_MODE equ 9
XEN_ELFNOTE_L1_MFN_VALID equ 13
XEN_ELFNOTE_SUSPEND_CANCEL equ 14
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

%macro NOTE_NUMBER 2 ; type, value
    dd 4, 8, %1
    db "Xen", 0
    dq %2
%endmacro
%macro NOTE_TEXT 2
    dd 4, %%end - %%text, %1
    db "Xen", 0
%%text: db %2, 0
%%end:
    align 4, db 0
%endmacro

section .note.xen note alloc noexec nowrite align=4
    dd 4, 4, XEN_ELFNOTE_PHYS32_ENTRY
    db "Xen", 0
    dd pvh_entry
    ; The domain builder of PV guests maps the image where it is linked, and so are our physical addresses.
    NOTE_NUMBER XEN_ELFNOTE_ENTRY, xen_entry
    NOTE_NUMBER XEN_ELFNOTE_VIRT_BASE, 0
    NOTE_NUMBER XEN_ELFNOTE_PADDR_OFFSET, 0
    NOTE_TEXT XEN_ELFNOTE_XEN_VERSION, "xen-3.0"
    NOTE_TEXT XEN_ELFNOTE_GUEST_OS, "unigornel"
    NOTE_TEXT XEN_ELFNOTE_LOADER, "generic"
    NOTE_TEXT XEN_ELFNOTE_PAE_MODE, "yes"
    NOTE_NUMBER XEN_ELFNOTE_SUSPEND_CANCEL, 1
    ; A page-table entry is valid when its present bit is set: mask, then value.
    dd 4, 16, XEN_ELFNOTE_L1_MFN_VALID
    db "Xen", 0
    dq 1, 1

section .note.GNU-stack noalloc noexec nowrite progbits
