/* SPDX-License-Identifier: MIT */
/* Dispatch of interrupts. Device lines get vectors in the order in which they are installed; lines
 * are installed by the boot CPU in thread context and never removed, so the table needs no lock. */
#include <linux/errno.h>

#include "kvm_internal.h"

#define PIC1_DATA 0x21
#define PIC2_DATA 0xa1

static struct {
    interrupt_handler *handler;
    void *context;
} lines[VECTOR_IRQ_COUNT];
static unsigned line_count;

void interrupt_init(void)
{
    port_write8(PIC1_DATA, 0xff);
    port_write8(PIC2_DATA, 0xff);
}

int interrupt_install(uint32_t gsi, bool level, bool active_low, interrupt_handler *handler,
                      void *context)
{
    if (line_count == VECTOR_IRQ_COUNT) {
        return -ENOSPC;
    }
    lines[line_count].handler = handler;
    lines[line_count].context = context;
    int error = ioapic_route(gsi, (uint8_t)(VECTOR_IRQ_BASE + line_count), level, active_low);
    if (error == 0) {
        line_count++;
    }
    return error;
}

int interrupt_install_isa(unsigned irq, interrupt_handler *handler, void *context)
{
    const struct acpi_line *line = &acpi.isa[irq];
    return interrupt_install(line->gsi, line->level, line->active_low, handler, context);
}

void platform_interrupt(struct regs *regs)
{
    uint64_t vector = regs->vector;
    switch (vector) {
    case VECTOR_TIMER:
        apic_eoi();
        if (hal_this_cpu()->id == 0) {
            clock_refine();
        }
        core_timer_expired();
        return;
    case VECTOR_KICK:
        apic_eoi();
        core_kicked();
        return;
    case VECTOR_TLB:
        apic_eoi();
        tlb_flush_handler();
        return;
    case VECTOR_ALIVE:
        apic_eoi();
        return;
    case VECTOR_STOP:
        apic_eoi();
        smp_stop_self();
    case VECTOR_SPURIOUS:
        return; /* without EOI: Intel SDM 3A 11.9 */
    default:
        break;
    }
    if (vector >= VECTOR_IRQ_BASE && vector < VECTOR_IRQ_BASE + VECTOR_IRQ_COUNT) {
        unsigned line = (unsigned)(vector - VECTOR_IRQ_BASE);
        if (lines[line].handler != NULL) {
            lines[line].handler(lines[line].context);
        }
    }
    apic_eoi(); /* after the handler, or a level-triggered line would fire again */
}
