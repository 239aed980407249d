/* SPDX-License-Identifier: MIT */
/* The register frame that every entry into the kernel leaves at the top of the thread's kernel
 * stack: a system call, an exception and an interrupt all use this one layout. The tail from `rip`
 * on is what IRETQ takes. Its offsets are repeated in hal/x86_64/frame.inc. */
#pragma once

#include <stdint.h>

struct regs {
    uint64_t r15, r14, r13, r12, rbp, rbx;
    uint64_t r11, rcx, rax;
    uint64_t rdi, rsi, rdx, r10, r8, r9; /* a system call's arguments, in their order */
    uint64_t vector; /* VECTOR_SYSCALL, or the vector of the exception or interrupt */
    uint64_t error;  /* exceptions: the CPU's error code or 0; system calls: the call's number */
    uint64_t rip, cs, rflags, rsp, ss;
};

#define VECTOR_SYSCALL 256     /* through the gate (goruntime/gate.h) */
#define VECTOR_SYSCALL_RAW 257 /* by a SYSCALL instruction */
