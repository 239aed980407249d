/* SPDX-License-Identifier: MIT */
/* Descriptor tables, paging and early entry of bare metal: what start.c and smp.c need of cpu.c and
 * paging.c. */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "hal.h"

struct cpu_tables;

/* The tables of another CPU: 0, or -1 when there is no memory. */
int cpu_tables_alloc(struct cpu_tables **out);

/* Makes the calling CPU `cpu`: GDT, IDT, TSS, GS base, system-call and vector-register set-up.
 * `tables` NULL: the boot CPU's. Interrupts masked. */
void cpu_setup(struct hal_cpu *cpu, struct cpu_tables *tables);

/* `load_offset`: physical less virtual address of the image. First of all. */
void paging_early_init(uint64_t load_offset);

/* Replaces the boot tables' maps by the final ones; needs page_alloc. */
void paging_init(void);

/* Physical address of the top-level table. */
uint64_t paging_root(void);

/* The page that starts other CPUs (below 1 MiB), identity-mapped executable only while it is
 * needed. -ENOMEM. */
int paging_map_trampoline(uint64_t physical);
void paging_unmap_trampoline(uint64_t physical);

/* This CPU has been asked to flush (VECTOR_TLB). Interrupts masked. */
void tlb_flush_handler(void);

/* Before the new CPU is told to run: from now on it takes part in flushes. */
void tlb_cpu_online(unsigned cpu);

/* Physical address of something in the kernel image. */
static inline uint64_t image_physical(const void *address)
{
    return hal_image_physical((uintptr_t)address);
}
