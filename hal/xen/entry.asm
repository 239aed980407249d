; SPDX-License-Identifier: MIT
; The entries of a paravirtual guest: from the domain builder, from Xen for traps, events and SYSCALL, and what stands in
; for the instructions of ring 0 (replace.c).
;
; All of a guest runs in ring 3, but Xen tells the guest's kernel mode from its user mode. In kernel mode SYSCALL is a
; hypercall and frames go onto the stack in use; in user mode SYSCALL and all else comes to the entries here, in kernel
; mode, on the stack that Xen was told of. A goroutine's stack has no room for a frame and may not even be mapped where
; RSP points, and a SYSCALL of the program must not be a hypercall: so the program always runs in user mode. Both modes
; have the same page tables and GS base, so the gate stays a plain call, and the kernel runs in whichever mode it is in:
;  - a trap or event enters kernel mode, and each IRET leaves it;
;  - a hypercall in user mode enters kernel mode and stays there (syscall_callback);
;  - a thread that leaves the kernel by the gate's fast exit while the CPU is in kernel mode would take that mode with
;    it: WORK_FRAME sends it out by IRET. It is set on the current thread by syscall_callback, and on the next one by
;    xen_switch_stacks.

%include "frame.inc"

bits 64
default rel

%define CPU_PLATFORM 24 ; the CPU's struct xen_cpu, which begins with its vcpu_info
%define UPCALL_PENDING 0
%define UPCALL_MASK 1
%define VCPU_CR2 16
%define KERNEL_MODE 64
%define RFLAGS_IF 0x200
%define RFLAGS_IF_SHIFT 9
%define HYPERCALL_XEN_VERSION 17
%define HYPERCALL_IRET 23
%define USER_CS 0xe033 ; RPL 3: to user mode
%define USER_SS 0xe02b
%define EVENT_VECTOR 0xf8

global xen_entry
global xen_trap_stubs
global xen_event_entry
global xen_failsafe_entry
global xen_syscall_callback
global xen_switch_stacks
global xen_return_from_frame
global xen_irq_save
global xen_irq_disable
global xen_irq_enable
global xen_cpuid
global xen_read_cr2
global xen_nothing
global xen_hypercall
extern boot_stack_top
extern to_kernel_stack
extern x86_interrupt
extern return_to_user
extern syscall_entry
extern switch_stacks_rest
extern xen_start

section .text
; RSI: struct start_info. The loader has cleared .bss, events are masked.
xen_entry:
    cld
    mov rsp, boot_stack_top
    mov rdi, rsi
    xor ebp, ebp
    call xen_start
    ud2

; 32 entries, 16 bytes apart. The frame becomes that of the CPU.
align 16
xen_trap_stubs:
%assign vector 0
%rep 32
    align 16
    pop rcx
    pop r11
    %if vector == 8 || (vector >= 10 && vector <= 14) || vector == 17 || vector == 21 || vector == 29 || vector == 30
    %else
    push 0
    %endif
    push dword vector
    jmp near trapped
    %assign vector vector + 1
%endrep

align 16
xen_event_entry:
    pop rcx
    pop r11
    push 0
    push dword EVENT_VECTOR
    jmp trapped

; Xen could not load the segments of an IRET's frame: a general protection fault where it would have returned to.
xen_failsafe_entry:
    pop rcx
    pop r11
    add rsp, 4 * 8 ; DS, ES, FS, GS
    push 0
    push dword 13

; A frame from user mode is on the stack of the CPU's own, and moves to the thread's. One from kernel mode lies where it
; is to be: below what the interrupted code has on the thread's kernel stack.
trapped:
    push rax
    push rcx
    mov rcx, [gs:CPU_PLATFORM]
    mov byte [rcx + KERNEL_MODE], 1
    mov rax, [gs:CPU_CURRENT]
    mov rcx, [rax + THREAD_STACK_TOP]
    sub rcx, rsp
    cmp rcx, KERNEL_STACK_SIZE ; unsigned
    pop rcx
    pop rax
    jae to_kernel_stack
    PUSH_GENERAL rdx, rax, rcx
    cld
    mov rdi, rsp
    call x86_interrupt
    jmp return_to_user

; SYSCALL in user mode, events masked. On the CPU's own stack: RCX, R11, RIP, CS, RFLAGS, RSP, SS.
xen_syscall_callback:
    cmp qword [rsp + 16], iret_done
    je .iret
    mov rcx, [gs:CPU_PLATFORM]
    mov byte [rcx + KERNEL_MODE], 1
    mov r11, [gs:CPU_CURRENT]
    cmp qword [rsp + 16], hypercall_done
    jne .program
    lock or dword [r11 + THREAD_WORK], WORK_FRAME
    test dword [rsp + 4 * 8], RFLAGS_IF
    mov rsp, [rsp + 5 * 8] ; where xen_hypercall was
    jz .masked
    mov byte [rcx + UPCALL_MASK], 0 ; what is pending comes with the return from the hypercall
.masked:
    jmp xen_hypercall ; whose instruction runs again when an event interrupts the call: then perhaps in user mode
.iret:
    mov rsp, [rsp + 5 * 8]
    syscall
.program: ; goes out by IRET in any case; unmasks on its kernel stack
    mov rcx, [rsp + 2 * 8]
    mov rsp, [rsp + 5 * 8]
    jmp syscall_entry

; RAX: the number. RCX and R11 are spoilt. Under PVH VMCALL or VMMCALL takes SYSCALL's place (replace.c).
align 16
xen_hypercall:
    syscall
hypercall_done:
    ret
    nop

; RSP: the vector of a struct regs; what lies below has been popped. Events are masked. The hypercall's frame is the
; CPU's with a word of flags below, then RCX, R11 and RAX.
xen_return_from_frame:
    mov word [rsp + 24], USER_CS
    mov word [rsp + 48], USER_SS
    mov qword [rsp + 8], 0
    add rsp, 8
    push rcx
    push r11
    push rax
    mov rcx, [gs:CPU_PLATFORM]
    mov byte [rcx + KERNEL_MODE], 0
    mov eax, HYPERCALL_IRET
    syscall
iret_done:

; In front of switch_stacks (hal/x86_64/switch.asm), whose first instructions this takes the place of.
xen_switch_stacks:
    push rbx
    push rbp
    push r12
    push r13
    mov rax, [gs:CPU_PLATFORM]
    cmp byte [rax + KERNEL_MODE], 0
    je switch_stacks_rest
    lock or dword [rsi + THREAD_WORK], WORK_FRAME
    jmp switch_stacks_rest

; RAX: 0x200 when events were enabled, else 0.
xen_irq_save:
    push rcx
    mov rcx, [gs:CPU_PLATFORM]
    movzx eax, byte [rcx + UPCALL_MASK]
    mov byte [rcx + UPCALL_MASK], 1
    xor eax, 1
    shl eax, RFLAGS_IF_SHIFT
    pop rcx
    ret

xen_irq_disable:
    push rax
    mov rax, [gs:CPU_PLATFORM]
    mov byte [rax + UPCALL_MASK], 1
    pop rax
    ret

; An event that came while they were masked is delivered at the return from any hypercall.
xen_irq_enable:
    push rax
    mov rax, [gs:CPU_PLATFORM]
    mov byte [rax + UPCALL_MASK], 0
    cmp byte [rax + UPCALL_PENDING], 0
    jne .pending
    pop rax
    ret
.pending:
    push rcx
    push rdx
    push rsi
    push rdi
    push r11
    xor edi, edi ; XENVER_version
    xor esi, esi
    mov eax, HYPERCALL_XEN_VERSION
    call xen_hypercall
    pop r11
    pop rdi
    pop rsi
    pop rdx
    pop rcx
    pop rax
    ret

; Xen emulates this one by the prefix, whose answer is the domain's and not the machine's.
xen_cpuid:
    db 0x0f, 0x0b, "xen"
    cpuid
    ret

xen_read_cr2:
    mov rax, [gs:CPU_PLATFORM]
    mov rax, [rax + VCPU_CR2]
    ret

xen_nothing:
    ret

section .note.GNU-stack noalloc noexec nowrite progbits
