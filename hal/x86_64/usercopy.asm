; SPDX-License-Identifier: MIT
; The instructions that touch the program's memory for the kernel. A fault in one of them that cannot be resolved
; resumes at its landing place (fixup_table, searched by usercopy.c), which returns -EFAULT.

bits 64
default rel

global user_copy
global user_clear
global user_load_u32
global user_load_u32_load
global user_cmpxchg_u32
global user_string_length

EFAULT equ 14

%macro FIXUP 2 ; faulting instruction, landing
section .fixup_table progbits alloc noexec nowrite align=8
    dq %1, %2
section .text
%endmacro

section .text
; int user_copy(void *to, const void *from, size_t size): 0 or -EFAULT
align 16
user_copy:
    mov rcx, rdx
    cmp rdx, 16
    ja .long
    cmp rdx, 8
    jb .small
.load1: mov rax, [rsi]
.load2: mov r8, [rsi + rdx - 8]
.store1: mov [rdi], rax
.store2: mov [rdi + rdx - 8], r8
    xor eax, eax
    ret
.small:
    test rcx, rcx
    jz .done
.byte_load: mov al, [rsi]
.byte_store: mov [rdi], al
    inc rsi
    inc rdi
    dec rcx
    jnz .byte_load
.done:
    xor eax, eax
    ret
.long:
    shr rcx, 3
.words: rep movsq
    mov ecx, edx
    and ecx, 7
.bytes: rep movsb
    xor eax, eax
    ret
    FIXUP .load1, fault
    FIXUP .load2, fault
    FIXUP .store1, fault
    FIXUP .store2, fault
    FIXUP .byte_load, fault
    FIXUP .byte_store, fault
    FIXUP .words, fault
    FIXUP .bytes, fault

; int user_clear(void *to, size_t size)
align 16
user_clear:
    mov rcx, rsi
    xor eax, eax
.bytes: rep stosb
    ret
    FIXUP .bytes, fault

; int user_load_u32(uint32_t *value, const void *from)
align 16
user_load_u32:
user_load_u32_load:
    mov eax, [rsi]
    mov [rdi], eax
    xor eax, eax
    ret
    FIXUP user_load_u32_load, fault

; int user_cmpxchg_u32(void *address, uint32_t *old, uint32_t new_value)
align 16
user_cmpxchg_u32:
    mov eax, [rsi]
.exchange: lock cmpxchg [rdi], edx
    mov [rsi], eax
    mov eax, 0
    ret
    FIXUP .exchange, fault

; long user_string_length(const char *text, size_t size): without the NUL, or `size` when there is none, or -EFAULT
align 16
user_string_length:
    xor eax, eax
.next:
    cmp rax, rsi
    je .end
.load: cmp byte [rdi + rax], 0
    je .end
    inc rax
    jmp .next
.end:
    ret
    FIXUP .load, fault

fault:
    mov rax, -EFAULT
    ret

section .note.GNU-stack noalloc noexec nowrite progbits
