; SPDX-License-Identifier: MIT
; Where a CPU starts after the start-up message: real mode, at offset 0 of the page that
; hal/kvm/smp.c has copied this to and mapped at its own address, read-only. Goes straight to long
; mode with the boot CPU's tables and control registers, then to smp_entry on the idle thread's
; stack. trampoline_arguments is struct trampoline_arguments of smp.c.

%define EFER 0xc0000080
%define EFER_LMA 0x400
%define CR4_PCIDE 0x20000

global trampoline_start
global trampoline_end
global trampoline_long_mode
global trampoline_arguments

section .rodata
align 16
bits 16
trampoline_start:
    cli
    cld
    mov ax, cs
    mov ds, ax
    o32 lgdt [gdt_pointer - trampoline_start]
    mov eax, [cr4_value - trampoline_start]
    and eax, ~CR4_PCIDE ; only in long mode
    mov cr4, eax
    mov eax, [cr3_value - trampoline_start]
    mov cr3, eax
    mov ecx, EFER
    xor edx, edx
    mov eax, [efer_value - trampoline_start]
    and eax, ~EFER_LMA
    wrmsr
    mov eax, [cr0_value - trampoline_start]
    mov cr0, eax
    jmp far dword [jump_target - trampoline_start]

bits 64
default rel
trampoline_long_mode:
    mov eax, 16
    mov ds, eax
    mov es, eax
    mov ss, eax
    xor eax, eax
    mov fs, eax
    mov gs, eax
    mov rsp, [stack_value]
    mov rax, [entry_value]
    xor ebp, ebp
    push rbp ; the return address that smp_entry does not have
    jmp rax

align 8
trampoline_arguments:
    dq 0, 0, 0 ; descriptors
gdt_pointer:
    dw 0
    dd 0
jump_target:
    dd 0
    dw 0
cr0_value: dd 0
cr3_value: dd 0
cr4_value: dd 0
efer_value: dd 0
stack_value: dq 0
entry_value: dq 0
trampoline_end:

section .note.GNU-stack noalloc noexec nowrite progbits
