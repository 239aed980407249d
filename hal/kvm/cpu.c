/* SPDX-License-Identifier: MIT */
/* Descriptor tables and control registers of a CPU (Intel SDM 3A 6-8): one code and one data
 * segment of ring 0, a TSS for the IST stacks, and an IDT, shared by all CPUs, whose every vector
 * switches to one of them. */
#include "cpu.h"
#include "core/lib/string.h"
#include "core/mm/page.h"
#include "hal.h"
#include "hal/x86_64/x86.h"

#define IST_COMMON 1 /* interrupt.asm leaves it at once */
#define IST_NMI 2
#define IST_DOUBLE_FAULT 3
#define IST_MACHINE_CHECK 4

#define IST_COMMON_SIZE 512
#define IST_FATAL_SIZE 2048

#define GATE_PRESENT_INTERRUPT 0x8e

struct tss {
    uint32_t reserved0;
    uint64_t rsp[3], reserved1, ist[7], reserved2;
    uint16_t reserved3, io_map;
} __attribute__((packed));

struct idt_gate {
    uint16_t offset_low, selector;
    uint8_t ist, type;
    uint16_t offset_middle;
    uint32_t offset_high, reserved;
};

struct descriptor_pointer {
    uint16_t limit;
    uint64_t base;
} __attribute__((packed));

/* What a CPU needs of its own; a page. */
struct cpu_tables {
    uint64_t gdt[5];
    struct tss tss;
    uint8_t common[IST_COMMON_SIZE] __attribute__((aligned(16)));
    uint8_t fatal[IST_FATAL_SIZE] __attribute__((aligned(16)));
};

static struct idt_gate idt[256];
static struct cpu_tables boot_tables;

static void fill_idt(void)
{
    for (unsigned vector = 0; vector < 256; vector++) {
        uint64_t entry = (uint64_t)interrupt_stubs + vector * 16;
        uint8_t ist = IST_COMMON;
        if (vector == 2) {
            ist = IST_NMI;
        } else if (vector == 8) {
            ist = IST_DOUBLE_FAULT;
        } else if (vector == 18) {
            ist = IST_MACHINE_CHECK;
        }
        idt[vector] = (struct idt_gate){
            .offset_low = (uint16_t)entry,
            .selector = SELECTOR_CODE,
            .ist = ist,
            .type = GATE_PRESENT_INTERRUPT,
            .offset_middle = (uint16_t)(entry >> 16),
            .offset_high = (uint32_t)(entry >> 32),
        };
    }
}

int cpu_tables_alloc(struct cpu_tables **out)
{
    _Static_assert(sizeof(struct cpu_tables) <= PAGE_SIZE, "one page");
    uint64_t page = page_alloc(0, PAGE_ZERO);
    if (page == 0) {
        return -1;
    }
    *out = direct_map(page);
    return 0;
}

void cpu_setup(struct hal_cpu *cpu, struct cpu_tables *tables)
{
    if (tables == NULL) {
        tables = &boot_tables;
        fill_idt();
    }
    struct tss *tss = &tables->tss;
    tss->ist[IST_COMMON - 1] = (uint64_t)(tables->common + IST_COMMON_SIZE);
    /* These three end in a panic, so they may share. */
    tss->ist[IST_NMI - 1] = (uint64_t)(tables->fatal + IST_FATAL_SIZE);
    tss->ist[IST_DOUBLE_FAULT - 1] = (uint64_t)(tables->fatal + IST_FATAL_SIZE);
    tss->ist[IST_MACHINE_CHECK - 1] = (uint64_t)(tables->fatal + IST_FATAL_SIZE);
    tss->io_map = sizeof(*tss);

    uint64_t base = (uint64_t)tss;
    tables->gdt[SELECTOR_CODE / 8] = SEGMENT_CODE;
    tables->gdt[SELECTOR_DATA / 8] = SEGMENT_DATA;
    tables->gdt[SELECTOR_TSS / 8] =
        (sizeof(*tss) - 1) | (base & 0xffffff) << 16 | 0x89ull << 40 | (base >> 24 & 0xff) << 56;
    tables->gdt[SELECTOR_TSS / 8 + 1] = base >> 32;

    struct descriptor_pointer gdt_pointer = {sizeof(tables->gdt) - 1, (uint64_t)tables->gdt};
    struct descriptor_pointer idt_pointer = {sizeof(idt) - 1, (uint64_t)idt};
    __asm__ volatile("lgdt %0" ::"m"(gdt_pointer));
    /* The selectors are those of the boot tables, so only the hidden parts would change: reload CS
     * and SS. */
    __asm__ volatile("pushq %0; leaq 1f(%%rip), %%rax; pushq %%rax; lretq; 1: movl %1, %%ss" ::"i"(
                         SELECTOR_CODE),
                     "r"(SELECTOR_DATA)
                     : "rax", "memory");
    __asm__ volatile("lidt %0" ::"m"(idt_pointer));
    __asm__ volatile("ltr %w0" ::"r"(SELECTOR_TSS));

    cpu->self = cpu;
    wrmsr(MSR_GS_BASE, (uint64_t)cpu);
    wrmsr(MSR_FS_BASE, 0);
    /* SYSCALL stays in ring 0; nothing returns by SYSRET. */
    wrmsr(MSR_EFER, rdmsr(MSR_EFER) | EFER_SCE);
    wrmsr(MSR_STAR, (uint64_t)SELECTOR_CODE << 32);
    wrmsr(MSR_LSTAR, (uint64_t)syscall_entry);
    wrmsr(MSR_SFMASK, 0x500); /* DF, TF; interrupts stay on (gate.asm) */
    x86_xstate_enable();
}
