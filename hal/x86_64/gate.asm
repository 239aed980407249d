; SPDX-License-Identifier: MIT
; The way into the kernel for system calls, and out again. The program jumps to gate_entry (goruntime/gate.h) with
; the call's number and arguments where SYSCALL has them and its return address in R11; nothing else is clobbered but RCX.
; A SYSCALL instruction that was left in the program arrives at syscall_entry instead.
;
; Calls that always give the same result (core_fixed_results) need no frame: up to gate_full, but for RCX, the program's
; registers and stack are left as they are, so that interrupt.c can take an interrupt there for one of the program on its
; way to gate_entry.
;
; Interrupts stay enabled throughout. Between the check of `work` and the jump to the program one could arrive and set `work`
; too late: interrupt.c then goes back to gate_exit (while RSP still points to the frame), or, at
; gate_exit_jump, treats the program as interrupted already.

%include "frame.inc"

bits 64
default rel

global gate_entry
global gate_fixed_jump
global gate_full
global syscall_entry
global gate_exit
global gate_exit_jump
global return_to_user
global return_from_frame
extern core_fixed_results
extern core_syscalls
extern return_work

%macro PUSH_PROGRAM 2 ; return address, vector
    push SELECTOR_DATA
    push rcx
    push RFLAGS_PROGRAM
    push SELECTOR_CODE
    push %1
    push rax
    push %2
    PUSH_GENERAL rdx, rax, rcx
%endmacro

%macro RESTORE_ARGUMENTS 0
    mov r10, [rsp + REGS_R10]
    mov r9, [rsp + REGS_R9]
    mov r8, [rsp + REGS_R8]
    mov rax, [rsp + REGS_RAX]
    mov rdx, [rsp + REGS_RDX]
    mov rsi, [rsp + REGS_RSI]
    mov rdi, [rsp + REGS_RDI]
%endmacro

; RAX: the number. The table has an entry for each number below SYSCALL_COUNT, the last one for what is not there.
%macro CALL_HANDLER 0
    mov ecx, SYSCALL_COUNT - 1
    cmp rax, rcx
    cmova rax, rcx
    lea rdi, [rsp + REGS_RDI]
    call [core_syscalls + rax * 8]
    mov [rsp + REGS_RAX], rax
%endmacro

section .gate progbits alloc exec nowrite align=16
gate_entry:
    cmp rax, SYSCALL_COUNT
    jae gate_full
    mov ecx, [core_fixed_results + rax * 4]
    test ecx, ecx
    js gate_full
    mov eax, ecx
gate_fixed_jump:
    jmp r11

gate_full:
    mov rcx, rsp
    mov rsp, [gs:CPU_CURRENT]
    mov rsp, [rsp + THREAD_STACK_TOP]
    PUSH_PROGRAM r11, VECTOR_SYSCALL
    CALL_HANDLER
gate_exit:
    mov rcx, [gs:CPU_CURRENT]
    cmp dword [rcx + THREAD_WORK], 0
    jne slow_exit
    RESTORE_ARGUMENTS ; C has kept the others
    mov r11, [rsp + REGS_RIP]
    mov rsp, [rsp + REGS_RSP]
gate_exit_jump:
    jmp r11

; RCX: return address, R11: RFLAGS. Vector registers are the program's, so a switch must keep them.
syscall_entry:
    mov r11, rsp
    mov rsp, [gs:CPU_CURRENT]
    mov byte [rsp + THREAD_XSTATE_LIVE], 1
    mov rsp, [rsp + THREAD_STACK_TOP]
    xchg rcx, r11
    PUSH_PROGRAM r11, VECTOR_SYSCALL_RAW
syscall_entry_enable: ; a site as of RING0_SITE (hal/include/hal_irq.h): under Xen events are masked here
    times 4 db 0x3e
    sti
    CALL_HANDLER
slow_exit:
    mov rdi, rsp
    call return_work ; returns with interrupts masked

; RSP: a whole frame. Interrupts masked.
return_to_user:
    pop r15
    pop r14
    pop r13
    pop r12
    pop rbp
    pop rbx
    pop r11
    pop rcx
    pop rax
    pop rdi
    pop rsi
    pop rdx
    pop r10
    pop r8
    pop r9
return_from_frame: ; a platform without ring 0 puts a jump here (hal/xen/replace.c)
    add rsp, 16
    iretq

section .ring0_sites progbits alloc noexec nowrite align=4
    dd syscall_entry_enable - $

section .note.GNU-stack noalloc noexec nowrite progbits
