/* SPDX-License-Identifier: MIT */
/* Instructions, registers and features of x86_64 that hal/x86_64 and the platforms share (Intel SDM
 * 2A-4). */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "hal_irq.h"

/* On a function that a platform replaces (hal/xen/replace.c) and that is called in its own file:
 * the compiler must not make use of what it knows about the original. */
#define REPLACEABLE __attribute__((noipa))

#define SELECTOR_CODE 8
#define SELECTOR_DATA 16
/* Flat segments (Intel SDM 3A, 3.4.5). Long mode ignores the data segment's B, but QEMU translates
 * code for each value of SS.B: it is as clear as that of the null SS with which an interrupt
 * begins on an IST stack, so that nothing is translated twice. */
#define SEGMENT_CODE 0x00af9b000000ffffull
#define SEGMENT_DATA 0x008f93000000ffffull
#define SELECTOR_TSS 24

#define RFLAGS_IF 0x200ul
#define RFLAGS_PROGRAM 0x202ul

#define CR0_MP 0x2ul
#define CR0_EM 0x4ul
#define CR0_TS 0x8ul
#define CR0_NE 0x20ul
#define CR0_WP 0x10000ul
#define CR4_OSFXSR 0x200ul
#define CR4_OSXMMEXCPT 0x400ul
#define CR4_FSGSBASE 0x10000ul
#define CR4_OSXSAVE 0x40000ul

#define MSR_EFER 0xc0000080
#define MSR_STAR 0xc0000081
#define MSR_LSTAR 0xc0000082
#define MSR_SFMASK 0xc0000084
#define MSR_FS_BASE 0xc0000100
#define MSR_GS_BASE 0xc0000101
#define EFER_SCE 1ul

#define EXCEPTION_NMI 2
#define EXCEPTION_PAGE_FAULT 14
#define FIRST_INTERRUPT_VECTOR 32

struct cpuid {
    uint32_t eax, ebx, ecx, edx;
};

static inline struct cpuid cpuid(uint32_t leaf, uint32_t subleaf)
{
    struct cpuid out;
    __asm__ volatile(RING0_SITE("ds; ds; ds; cpuid")
                     : "=a"(out.eax), "=b"(out.ebx), "=c"(out.ecx), "=d"(out.edx)
                     : "a"(leaf), "c"(subleaf));
    return out;
}

static inline uint64_t rdmsr(uint32_t msr)
{
    uint32_t low, high;
    __asm__ volatile("rdmsr" : "=a"(low), "=d"(high) : "c"(msr));
    return (uint64_t)high << 32 | low;
}

static inline void wrmsr(uint32_t msr, uint64_t value)
{
    __asm__ volatile("wrmsr" ::"c"(msr), "a"((uint32_t)value), "d"((uint32_t)(value >> 32))
                     : "memory");
}

static inline uint64_t read_cr0(void)
{
    uint64_t value;
    __asm__ volatile("movq %%cr0, %0" : "=r"(value));
    return value;
}

static inline void write_cr0(uint64_t value)
{
    __asm__ volatile("movq %0, %%cr0" ::"r"(value) : "memory");
}

static inline uint64_t read_cr2(void)
{
    uint64_t value;
    __asm__ volatile(RING0_SITE("ds; ds; movq %%cr2, %%rax") : "=a"(value));
    return value;
}

static inline uint64_t read_cr3(void)
{
    uint64_t value;
    __asm__ volatile("movq %%cr3, %0" : "=r"(value));
    return value;
}

static inline void write_cr3(uint64_t value)
{
    __asm__ volatile("movq %0, %%cr3" ::"r"(value) : "memory");
}

static inline uint64_t read_cr4(void)
{
    uint64_t value;
    __asm__ volatile("movq %%cr4, %0" : "=r"(value));
    return value;
}

static inline void write_cr4(uint64_t value)
{
    __asm__ volatile("movq %0, %%cr4" ::"r"(value) : "memory");
}

static inline void invlpg(uintptr_t address)
{
    __asm__ volatile("invlpg (%0)" ::"r"(address) : "memory");
}

/* --- thread.c
 * ------------------------------------------------------------------------------------------------
 */

/* Chooses XSAVE or FXSAVE and the features that are kept; on the boot CPU, before the first thread.
 */
void x86_xstate_init(void);

/* The control registers for that: the platform's, where it has them. */
void x86_control_registers(void);

/* Enables them on this CPU; on every CPU. */
void x86_xstate_enable(void);

/* switch.asm: saves the stack of `from`, and returns on that of `to`. Interrupts masked. */
struct hal_thread;
void switch_stacks(struct hal_thread *from, struct hal_thread *to);

/* --- hostlink.c
 * ------------------------------------------------------------------------------------------------
 */

/* Writes text with its ESCAPE bytes doubled, so that none of it passes for a record, in pieces by
 * `write`. Any context. */
void hostlink_write_escaped(const char *bytes, size_t length,
                            void (*write)(const char *bytes, size_t length));

/* --- interrupt.c, gate.asm, interrupt.asm
 * --------------------------------------------------------------------- */

/* 256 entry points, 16 bytes apart. Vectors 2, 8 and 18 want IST stacks of their own. */
extern const char interrupt_stubs[];
extern const char syscall_entry[];

/* What the platform does for vectors from FIRST_INTERRUPT_VECTOR on. Interrupts masked. */
struct regs;
void platform_interrupt(struct regs *regs);

/* An NMI; does not return when it was the platform's own. On an IST stack: nothing may be locked.
 */
void platform_nmi(void);
