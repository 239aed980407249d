/* SPDX-License-Identifier: MIT */
/* Dispatch of interrupts. Devices get vectors in the order in which they are connected, one vector
 * space for all CPUs. A connection is made by one thread at boot and never undone; it is whole
 * before its interrupt can come, so the table needs no lock. */
#include <linux/errno.h>

#include "core/mm/kmalloc.h"
#include "kvm_internal.h"

#define PIC1_DATA 0x21
#define PIC2_DATA 0xa1

#define MESSAGE_ADDRESS 0xfee00000u /* Intel SDM 3A 11.11.1 */
#define MESSAGE_MAX_APIC_ID 254

#define NO_LINE UINT32_MAX

static struct connection {
    hal_interrupt_fn *handler;
    void *context;
    uint32_t gsi;
    struct connection *next; /* the same line */
} connections[VECTOR_IRQ_COUNT];
static unsigned connection_count;

void interrupt_init(void)
{
    port_write8(PIC1_DATA, 0xff);
    port_write8(PIC2_DATA, 0xff);
}

/* The vector, or -ENOSPC. */
static int connect(uint32_t gsi, hal_interrupt_fn *handler, void *context)
{
    if (connection_count == VECTOR_IRQ_COUNT) {
        return -ENOSPC;
    }
    connections[connection_count] =
        (struct connection){.handler = handler, .context = context, .gsi = gsi};
    return VECTOR_IRQ_BASE + (int)connection_count++;
}

int hal_line_connect(const struct hal_line *line, hal_interrupt_fn *handler, void *context)
{
    for (unsigned i = 0; i < connection_count; i++) {
        struct connection *first = &connections[i];
        if (first->gsi == line->gsi) {
            struct connection *other = kmalloc(sizeof(*other));
            if (other == NULL) {
                return -ENOMEM;
            }
            *other = (struct connection){handler, context, line->gsi, first->next};
            __atomic_store_n(&first->next, other, __ATOMIC_RELEASE);
            return 0;
        }
    }
    int vector = connect(line->gsi, handler, context);
    if (vector < 0) {
        return vector;
    }
    int error = ioapic_route(line->gsi, (uint8_t)vector, line->level, line->active_low);
    if (error != 0) {
        connection_count--;
    }
    return error;
}

int interrupt_install_isa(unsigned irq, hal_interrupt_fn *handler, void *context)
{
    return hal_line_connect(&acpi.isa[irq], handler, context);
}

int interrupt_install_message(unsigned cpu, hal_interrupt_fn *handler, void *context,
                              uint32_t *address, uint32_t *data)
{
    int vector = connect(NO_LINE, handler, context);
    if (vector < 0) {
        return vector;
    }
    /* A message has room for 8 bits of the id. */
    uint32_t apic_id = acpi.apic_ids[cpu];
    if (apic_id > MESSAGE_MAX_APIC_ID) {
        apic_id = acpi.apic_ids[0];
    }
    *address = MESSAGE_ADDRESS | apic_id << 12;
    *data = (uint32_t)vector;
    return 0;
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
    case VECTOR_XEN:
        xen_pvh_interrupt();
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
        for (struct connection *c = &connections[vector - VECTOR_IRQ_BASE]; c != NULL;
             c = c->next) {
            if (c->handler != NULL) {
                c->handler(c->context);
            }
        }
    }
    apic_eoi(); /* after the handler, or a level-triggered line would fire again */
}
