/* SPDX-License-Identifier: MIT */
/* Start, kick and stop of CPUs. Starting is serial and the boot CPU's work: `start` is its own, and
 * the new CPU's while that comes up (boot/trampoline.asm, then smp_entry). */
#include <linux/errno.h>

#include "core/lib/log.h"
#include "core/lib/string.h"
#include "kvm_internal.h"

/* Between start-up messages; doubled each time, since an emulator with few host CPUs takes its
 * time. */
#define FIRST_PATIENCE_NS 500000ull
#define START_TRIES 11              /* a second in all */
#define STOP_PATIENCE_NS 5000000ull /* for a CPU that masks interrupts; then for the host */

/* In boot/trampoline.asm, which has the same layout. */
struct trampoline_arguments {
    uint64_t gdt[3];
    uint16_t gdt_limit;
    uint32_t gdt_base;
    uint32_t jump_offset;
    uint16_t jump_selector;
    uint32_t cr0, cr3, cr4, efer;
    uint64_t stack, entry;
} __attribute__((packed));

extern const uint8_t trampoline_start[], trampoline_end[], trampoline_long_mode[];
extern const uint8_t trampoline_arguments[];

/* IDLE to ALIVE and GO to RUNNING are the new CPU's steps, ALIVE to GO is the boot CPU's. */
enum start_state { START_IDLE, START_ALIVE, START_GO, START_RUNNING };

static struct {
    uint32_t state; /* enum start_state; atomic */
    struct hal_cpu *cpu;
    struct cpu_tables *tables;
} start;

static uint64_t running = 1; /* bit per CPU that takes interrupts; written by the boot CPU */
static uint32_t stopper;     /* id + 1 of the CPU that stops the others; atomic */
static uint64_t stopped;     /* bit per CPU that has stopped; atomic */

unsigned hal_cpu_count(void)
{
    return acpi.cpu_count != 0 ? acpi.cpu_count : 1;
}

void hal_cpu_kick(unsigned id)
{
    apic_send_ipi(id, VECTOR_KICK);
}

void hal_idle(void)
{
    /* STI takes effect after HLT has begun; the empty prefixes make this function long enough for a
     * jump (hal/xen/replace.c). */
    __asm__ volatile("ds; ds; sti; hlt" ::: "memory");
}

static void wait_for(enum start_state state)
{
    while (__atomic_load_n(&start.state, __ATOMIC_ACQUIRE) != state) {
        hal_spin_hint();
    }
}

/* On the new CPU, on its idle thread's stack. */
static _Noreturn void smp_entry(void)
{
    struct hal_cpu *cpu = start.cpu;
    cpu_setup(cpu, start.tables);
    apic_init_cpu();
    tlb_cpu_online(cpu->id);
    __atomic_store_n(&start.state, START_ALIVE, __ATOMIC_RELEASE);
    apic_send_ipi(0, VECTOR_ALIVE);
    clock_check_cpu(cpu->id, true);
    wait_for(START_GO);
    write_cr3(read_cr3()); /* drops the trampoline */
    __atomic_store_n(&start.state, START_RUNNING, __ATOMIC_RELEASE);
    core_cpu_entry();
}

/* Halts meanwhile, so that an emulator's host has time for the new CPU. */
static bool wait_until_alive(uint64_t patience)
{
    uint64_t deadline = hal_clock_monotonic() + patience;
    bool irq = hal_irq_save(), alive;
    while (!(alive = __atomic_load_n(&start.state, __ATOMIC_ACQUIRE) != START_IDLE) &&
           hal_clock_monotonic() < deadline) {
        hal_timer_set(deadline);
        hal_idle();
        hal_irq_disable();
    }
    hal_timer_set(0); /* core sets its own deadline again */
    hal_irq_restore(irq);
    return alive;
}

static void fill_trampoline(uint64_t page, const struct hal_thread *idle)
{
    uint8_t *at = direct_map(page);
    memcpy(at, trampoline_start, (size_t)(trampoline_end - trampoline_start));
    size_t offset = (size_t)(trampoline_arguments - trampoline_start);
    /* The descriptors have their accessed bits set: the CPU cannot write to the page. */
    struct trampoline_arguments arguments = {
        .gdt = {0, SEGMENT_CODE, SEGMENT_DATA},
        .gdt_limit = sizeof(arguments.gdt) - 1,
        .gdt_base = (uint32_t)(page + offset),
        .jump_offset = (uint32_t)(page + (size_t)(trampoline_long_mode - trampoline_start)),
        .jump_selector = SELECTOR_CODE,
        .cr0 = (uint32_t)read_cr0(),
        .cr3 = (uint32_t)paging_root(),
        .cr4 = (uint32_t)read_cr4(),
        .efer = (uint32_t)rdmsr(MSR_EFER),
        .stack = idle->kernel_stack_top,
        .entry = (uint64_t)smp_entry,
    };
    memcpy(at + offset, &arguments, sizeof(arguments));
}

/* Intel SDM 3A 9.4.4.1. The pauses it has between the messages are for CPUs of the 1990s; a CPU
 * that has begun ignores further start-up messages. */
static bool wake(uint32_t apic_id, uint64_t page)
{
    apic_send_init(apic_id);
    for (unsigned i = 0; i < START_TRIES; i++) {
        apic_send_startup(apic_id, (uint8_t)(page >> PAGE_SHIFT));
        if (wait_until_alive(FIRST_PATIENCE_NS << i)) {
            return true;
        }
    }
    return false;
}

int hal_cpu_start(unsigned id, struct hal_cpu *cpu, struct hal_thread *idle)
{
    uint64_t page = boot_info_trampoline();
    if (id >= acpi.cpu_count) {
        return -ENODEV;
    }
    if (page == 0 || paging_root() >> 32 != 0) {
        log_warn("smp: no memory below 1 MiB to start CPU %u with", id);
        return -ENOMEM;
    }
    cpu->self = cpu;
    cpu->id = id;
    cpu->apic_id = acpi.apic_ids[id];
    cpu->current = idle;
    if (cpu_tables_alloc(&start.tables) != 0) {
        return -ENOMEM;
    }
    start.cpu = cpu;
    start.state = START_IDLE;
    fill_trampoline(page, idle);
    int error = paging_map_trampoline(page);
    if (error != 0) {
        return error;
    }
    bool alive = wake(cpu->apic_id, page);
    if (!alive) {
        apic_send_init(cpu->apic_id); /* should it wake up yet, the trampoline is gone */
    }
    paging_unmap_trampoline(page);
    if (!alive) {
        log_warn("smp: CPU %u (APIC id %u) did not start", id, cpu->apic_id);
        return -ETIMEDOUT;
    }
    running |= 1ull << id;
    clock_check_cpu(id, false);
    __atomic_store_n(&start.state, START_GO, __ATOMIC_RELEASE);
    wait_for(START_RUNNING);
    return 0;
}

_Noreturn void smp_stop_self(void)
{
    __atomic_or_fetch(&stopped, 1ull << hal_this_cpu()->id, __ATOMIC_ACQ_REL);
    for (;;) {
        __asm__ volatile("cli; hlt" ::: "memory");
    }
}

void platform_nmi(void)
{
    if (__atomic_load_n(&stopper, __ATOMIC_ACQUIRE) != 0) {
        smp_stop_self();
    }
}

/* Those that still run after a while. */
static uint64_t wait_until_stopped(uint64_t others)
{
    uint64_t deadline = hal_clock_monotonic() + STOP_PATIENCE_NS, left;
    while ((left = others & ~__atomic_load_n(&stopped, __ATOMIC_ACQUIRE)) != 0 &&
           hal_clock_monotonic() < deadline) {
        hal_spin_hint();
    }
    return left;
}

void hal_cpu_stop_others(void)
{
    uint64_t others = running & ~(1ull << hal_this_cpu()->id);
    if (others != 0) {
        bool irq = hal_irq_save();
        uint32_t self = hal_this_cpu()->id + 1, expected = 0;
        if (!__atomic_compare_exchange_n(&stopper, &expected, self, false, __ATOMIC_ACQ_REL,
                                         __ATOMIC_ACQUIRE)) {
            if (expected != self) {
                smp_stop_self(); /* two at once: the first one has the floor */
            }
            hal_irq_restore(irq);
            return;
        }
        apic_send_ipi_all_but_self(VECTOR_STOP);
        uint64_t left = wait_until_stopped(others);
        /* Who masks interrupts may do so for ever: it waits for a lock of one that has stopped. */
        for (uint64_t late = left; late != 0; late &= late - 1) {
            apic_send_nmi((unsigned)__builtin_ctzll(late));
        }
        (void)wait_until_stopped(left);
        hal_irq_restore(irq);
    }
    console_break_lock();
}
