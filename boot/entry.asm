; SPDX-License-Identifier: MIT
; From the loader's 32-bit protected mode, paging off, to C in long mode. Both loaders come here: PVH with the address
; of its start_info in EBX, multiboot2 with its magic in EAX and its information in EBX. The image may be loaded away from
; its link address (multiboot2 only), by a multiple of 4 MiB less the link base: EBP holds that difference.
;
; The tables built here map
;   virtual 1-4 MiB          the kernel image, 4 KiB pages
;   4 MiB - 4 GiB            identity, for this code and early reads (paging_init drops it)
;   DIRECT_MAP_BASE + 4 GiB  physical memory, not executable
; and stay in use; hal/kvm/paging.c tightens them.

%define PAGE_PRESENT 1
%define PAGE_WRITE 2
%define PAGE_TABLE 3
%define PAGE_LARGE 0x80
%define CR0_PG_WP_PE 0x80010001
%define CR4_PAE 0x20
%define EFER 0xc0000080
%define EFER_LME_NXE 0x900

global pvh_entry
global multiboot2_entry
global boot_pml4
global boot_pdpt_low
global boot_pd_low
global boot_pt_low
global boot_pdpt_direct
global boot_stack
global boot_stack_top
extern kvm_start

section .boot.text progbits alloc exec nowrite align=16
bits 32

pvh_entry:
    cld
    cli
    xor eax, eax
    xor ebp, ebp
    jmp start

multiboot2_entry:
    cld
    cli
    ; The reserved word of the information structure serves as the stack of one call.
    lea esp, [ebx + 8]
    call .here
.here:
    pop ebp
    sub ebp, .here

start:
    mov edx, eax ; the loader's magic, 0 for PVH

    ; Entries that are not written here are zero: the loader has cleared .bss.
    lea edi, [ebp + boot_pd_direct]
    mov eax, PAGE_PRESENT | PAGE_WRITE | PAGE_LARGE
    mov ecx, 4 * 512
.direct:
    mov [edi], eax
    mov dword [edi + 4], 0x80000000 ; NX
    add edi, 8
    add eax, 0x200000
    loop .direct

    lea edi, [ebp + boot_pd_low]
    mov eax, 2 * 0x200000 | PAGE_PRESENT | PAGE_WRITE | PAGE_LARGE
    mov ecx, 510
.low:
    mov [edi + 16], eax
    add edi, 8
    add eax, 0x200000
    loop .low
    lea eax, [ebp + boot_pt_low + PAGE_TABLE]
    mov [ebp + boot_pd_low], eax
    add eax, 4096
    mov [ebp + boot_pd_low + 8], eax

    ; Virtual 1-4 MiB: pages 256 to 1023 of the two low tables.
    lea edi, [ebp + boot_pt_low + 256 * 8]
    lea eax, [ebp + 0x100000 + PAGE_TABLE]
    mov ecx, 768
.image:
    mov [edi], eax
    add edi, 8
    add eax, 4096
    loop .image

    lea eax, [ebp + boot_pd_low + PAGE_TABLE]
    mov [ebp + boot_pdpt_low], eax
    lea eax, [ebp + boot_pd_direct + PAGE_TABLE]
    mov [ebp + boot_pdpt_direct], eax
    lea edi, [ebp + boot_pdpt_low + 8]
    lea esi, [ebp + boot_pdpt_direct + 8]
    mov ecx, 3
.gigabytes:
    add eax, 4096
    mov [edi], eax
    mov [esi], eax
    add edi, 8
    add esi, 8
    loop .gigabytes

    lea eax, [ebp + boot_pdpt_low + PAGE_TABLE]
    mov [ebp + boot_pml4], eax
    lea eax, [ebp + boot_pdpt_direct + PAGE_TABLE]
    mov [ebp + boot_pml4 + 272 * 8], eax ; DIRECT_MAP_BASE

    mov eax, cr4
    or eax, CR4_PAE
    mov cr4, eax
    lea eax, [ebp + boot_pml4]
    mov cr3, eax
    mov esi, edx ; RDMSR and WRMSR take EDX
    mov ecx, EFER
    rdmsr
    or eax, EFER_LME_NXE
    wrmsr
    mov eax, CR0_PG_WP_PE
    mov cr0, eax

    lea eax, [ebp + boot_gdt]
    mov [ebp + boot_gdt_pointer + 2], eax
    lgdt [ebp + boot_gdt_pointer]
    ; A far return, since a far jump's target would be absolute.
    lea esp, [ebp + boot_stack_top]
    push 8
    lea eax, [ebp + .long]
    push eax
    retf

bits 64
.long:
    mov eax, 16
    mov ss, eax
    mov ds, eax
    mov es, eax
    xor eax, eax
    mov fs, eax
    mov gs, eax
    mov rsp, boot_stack_top
    mov edi, esi ; magic
    mov esi, ebx ; information
    mov edx, ebp ; load offset
    xor ebp, ebp
    mov rax, kvm_start
    call rax
    ud2

section .data
align 8
boot_gdt:
    dq 0
    dq 0x00af9b000000ffff ; 64-bit code
    dq 0x008f93000000ffff ; data; B is clear, see SEGMENT_DATA
boot_gdt_pointer:
    dw boot_gdt_pointer - boot_gdt - 1
    dd 0

section .bss
alignb 4096
boot_pml4: resb 4096
boot_pdpt_low: resb 4096
boot_pdpt_direct: resb 4096
boot_pd_low: resb 4096
boot_pt_low: resb 2 * 4096
boot_pd_direct: resb 4 * 4096
boot_stack: resb 4096 ; becomes the guard page
    resb 16384
boot_stack_top:

section .note.GNU-stack noalloc noexec nowrite progbits
