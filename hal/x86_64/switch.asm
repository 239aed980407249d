; SPDX-License-Identifier: MIT
; The switch of stacks between two threads.

%include "frame.inc"

bits 64
default rel

global switch_stacks
global switch_stacks_rest
global thread_entry
extern thread_first_run

section .text
; void switch_stacks(struct hal_thread *from, struct hal_thread *to)
align 16
switch_stacks:
    push rbx
    push rbp
    push r12
    push r13
switch_stacks_rest: ; see hal/xen/entry.asm
    push r14
    push r15
    mov [rdi + THREAD_SAVED_RSP], rsp
    mov rsp, [rsi + THREAD_SAVED_RSP]
    pop r15
    pop r14
    pop r13
    pop r12
    pop rbp
    pop rbx
    ret

; The first return of a new thread: R12 the function, R13 its argument (hal_thread_init).
align 16
thread_entry:
    call thread_first_run
    mov rdi, r13
    xor ebp, ebp
    call r12
    ud2

section .note.GNU-stack noalloc noexec nowrite progbits
