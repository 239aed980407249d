; SPDX-License-Identifier: MIT
; Entry of exceptions and interrupts. The CPU is in ring 0 all the time and would push its frame onto a goroutine's stack, so every
; vector has an IST stack (Intel SDM 3A 6.14.5); from there the frame moves at once to the thread's kernel stack:
; below what is on it when kernel code was interrupted, else to its top.

%include "frame.inc"

bits 64
default rel

global interrupt_stubs
global to_kernel_stack
global hal_enter_user
extern x86_interrupt
extern x86_fatal
extern return_to_user

%define STUB_SIZE 16

section .text
align 16
interrupt_stubs:
%assign vector 0
%rep 256
    align STUB_SIZE
    %if vector == 8 || (vector >= 10 && vector <= 14) || vector == 17 || vector == 21 || vector == 29 || vector == 30
    %else
    push 0
    %endif
    push dword vector
    %if vector == 2 || vector == 8 || vector == 18
    jmp near fatal ; NMI, double fault, machine check: on IST stacks of their own
    %else
    jmp near to_kernel_stack
    %endif
    %assign vector vector + 1
%endrep

; On the IST stack: vector, error, RIP, CS, RFLAGS, RSP, SS.
align 16
to_kernel_stack:
    push rax
    push rcx
    push rdx
    mov rcx, [gs:CPU_CURRENT]
    mov rcx, [rcx + THREAD_STACK_TOP]
    mov rax, [rsp + 3 * 8 + REGS_RSP - REGS_VECTOR]
    mov rdx, rcx
    sub rdx, rax
    cmp rdx, KERNEL_STACK_SIZE ; unsigned: is RSP on the kernel stack?
    jae .top
    mov rcx, rax
    and rcx, -16
.top:
    mov rax, rsp
    mov qword [rcx - 8], SELECTOR_DATA ; not the null SS of code that itself began on an IST stack (SEGMENT_DATA, x86.h)
%assign i 5
%rep 6 ; RSP down to vector
    mov rdx, [rax + (3 + i) * 8]
    mov [rcx - (7 - i) * 8], rdx
    %assign i i - 1
%endrep
    lea rsp, [rcx - 7 * 8]
    PUSH_GENERAL qword [rax], qword [rax + 16], qword [rax + 8]
    cld
    mov rdi, rsp
    call x86_interrupt
    jmp return_to_user

; Never returns: stays on the IST stack, so that nothing else is touched.
fatal:
    PUSH_GENERAL rdx, rax, rcx
    cld
    mov rdi, rsp
    and rsp, -16
    call x86_fatal
    ud2

hal_enter_user:
    times 4 db 0x3e ; see RING0_SITE (hal/include/hal_irq.h)
    cli
    mov rsp, rdi
    jmp return_to_user

section .ring0_sites progbits alloc noexec nowrite align=4
    dd hal_enter_user - $

section .note.GNU-stack noalloc noexec nowrite progbits
