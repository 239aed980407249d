/* SPDX-License-Identifier: MIT */
/* What the files of hal/kvm share: interrupt vectors, port and MSR access, and the calls between
 * boot information, ACPI, APIC, SMP start, clock, console and power. Everything runs on the boot
 * CPU with interrupts masked until core_main enables them, unless it says otherwise. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "cpu.h"
#include "hal.h"
#include "hal/x86_64/x86.h"
#include "hal_device.h"

/* --- vectors: 0-31 are exceptions ------------------------------------------------------------- */

#define VECTOR_IRQ_BASE 0x30 /* devices, in the order in which they are connected */
#define VECTOR_IRQ_COUNT (VECTOR_TIMER - VECTOR_IRQ_BASE)
#define VECTOR_TIMER 0xf0
#define VECTOR_KICK 0xf1
#define VECTOR_TLB 0xf2
#define VECTOR_STOP 0xf3
#define VECTOR_ALIVE 0xf4 /* a new CPU wakes the one that waits for it */
#define VECTOR_XEN 0xf5   /* Xen's event channels; no EOI */
#define VECTOR_SPURIOUS 0xff

/* --- instructions ----------------------------------------------------------------------------- */

static inline void port_write8(uint16_t port, uint8_t value)
{
    __asm__ volatile("outb %0, %1" ::"a"(value), "Nd"(port) : "memory");
}

static inline void port_write16(uint16_t port, uint16_t value)
{
    __asm__ volatile("outw %0, %1" ::"a"(value), "Nd"(port) : "memory");
}

static inline void port_write32(uint16_t port, uint32_t value)
{
    __asm__ volatile("outl %0, %1" ::"a"(value), "Nd"(port) : "memory");
}

static inline uint8_t port_read8(uint16_t port)
{
    uint8_t value;
    __asm__ volatile("inb %1, %0" : "=a"(value) : "Nd"(port) : "memory");
    return value;
}

static inline uint16_t port_read16(uint16_t port)
{
    uint16_t value;
    __asm__ volatile("inw %1, %0" : "=a"(value) : "Nd"(port) : "memory");
    return value;
}

static inline uint32_t port_read32(uint16_t port)
{
    uint32_t value;
    __asm__ volatile("inl %1, %0" : "=a"(value) : "Nd"(port) : "memory");
    return value;
}

static inline void port_write_bytes(uint16_t port, const char *bytes, size_t length)
{
    __asm__ volatile("rep outsb" : "+S"(bytes), "+c"(length) : "d"(port) : "memory");
}

/* The time stamp counter, not read before the loads that precede it. */
static inline uint64_t tsc_read(void)
{
    uint32_t low, high;
    __asm__ volatile("lfence; rdtsc" : "=a"(low), "=d"(high)::"memory");
    return (uint64_t)high << 32 | low;
}

/* (a * b) >> 32 without overflow in between. */
static inline uint64_t multiply_shift32(uint64_t a, uint64_t b)
{
    return (uint64_t)(((unsigned __int128)a * b) >> 32);
}

/* --- physical.c ------------------------------------------------------------------------------- */

/* Set by kvm_init: hal_map_device works. */
extern bool physical_can_map;

/* A readable view of physical memory that a loader or firmware table points at: through the direct
 * map where that is mapped, else (once kvm_init runs) mapped as a device. NULL: out of reach. Every
 * pointer found in a table goes through here. */
const void *physical_view(uint64_t physical, size_t size);

/* --- boot_info.c ------------------------------------------------------------------------------ */

/* Called by start.c in this order: one of from_*, reserve for the image, finish. All from_* reads
 * is copied. Input that cannot be used ends the machine with one line on the console. Needs
 * console_early_init, and a page table that hal_query can walk. */
void boot_info_from_pvh(uint64_t start_info_physical);
void boot_info_from_multiboot2(uint64_t info_physical);

void boot_info_from_xen(uint64_t memory, const char *text, size_t text_size);
void boot_info_module(uint64_t base, uint64_t size);

/* The image's own memory, which was loaded `offset` bytes above its virtual addresses. */
void boot_info_reserve_image(uint64_t offset);

/* Ends the machine with a line that says so when [base, base + size) is not all RAM. */
void boot_info_require(uint64_t base, uint64_t size);

/* Keeps [base, base + size) out of the free ranges. */
void boot_info_reserve(uint64_t base, uint64_t size);
void boot_info_finish(void);

/* A copy of the RSDP (ACPI 6.5, 5.2.5.3; 20 or 36 bytes) that the loader named, or NULL. */
const void *boot_info_rsdp(size_t *size);

/* A reserved page of RAM below 640 KiB for smp.c, or 0. */
uint64_t boot_info_trampoline(void);

/* --- start-up --------------------------------------------------------------------------------- */

/* Starts the reference for the TSC calibration, so that its window overlaps with the rest of the
 * boot; port I/O only. The earlier after entry the better; kvm_init does it if nobody has.
 * Monotonic time starts here. */
void clock_begin_calibration(void);

/* ACPI tables, local APIC, clock and timer of the boot CPU. After page_init; GS base is set. */
void kvm_init(void);

/* --- acpi.c ----------------------------------------------------------------------------------- */

/* ACPI 6.5, 5.2.3.2: generic address structure. address 0: not there. */
struct acpi_register {
    uint8_t space; /* 0 memory, 1 ports */
    uint64_t address;
};

struct acpi_ioapic {
    uint32_t address, gsi_base;
};

#define ACPI_MAX_IOAPICS 8
#define ISA_IRQ_COUNT 16

struct acpi_facts {
    unsigned cpu_count; /* enabled CPUs, the boot CPU included and first */
    uint32_t apic_ids[HAL_MAX_CPUS];
    unsigned ioapic_count;
    struct acpi_ioapic ioapics[ACPI_MAX_IOAPICS];
    struct hal_line isa[ISA_IRQ_COUNT]; /* how the ISA lines reach the IOAPICs */
    bool isa_overridden[ISA_IRQ_COUNT];

    bool have_fadt, reduced_hardware;
    uint16_t sci_irq;
    uint16_t smi_command;
    uint8_t acpi_enable;
    uint16_t pm1a_event, pm1b_event, pm1a_control, pm1b_control; /* ports; 0: none */
    uint8_t pm1_event_length;
    uint16_t pm_timer;
    uint16_t gpe0; /* a port: the status registers, then as many that enable; 0: none */
    uint8_t gpe0_length;
    bool fixed_power_button;
    uint8_t century_register;
    struct acpi_register reset, sleep_control;
    uint8_t reset_value;
    uint64_t ecam; /* PCI configuration space of segment 0; 0: not in memory */
    unsigned ecam_first_bus, ecam_last_bus;
    const uint8_t *dsdt; /* the AML after the header; NULL: none */
    size_t dsdt_size;
};

extern struct acpi_facts acpi;

/* Fills `acpi`; what is missing or damaged is left at the defaults of a PC with one CPU.
 * `boot_apic_id`: the running CPU; ids above 254 count only with `x2apic`. */
void acpi_init(uint32_t boot_apic_id, bool x2apic);

/* The SLP_TYPx values of \_S5 (ACPI 6.5, 7.4.2): false when the DSDT has none. */
bool acpi_find_s5(const uint8_t *aml, size_t size, uint8_t *type_a, uint8_t *type_b);

/* The generic event device (ACPI 6.5, 5.6.9), whose register tells which events there were and is
 * cleared by reading. */
struct acpi_event_device {
    uint64_t address;
    bool wide;             /* 32 bits, not 8 */
    uint32_t power_button; /* its bit */
    struct hal_line line;
};

/* False when the DSDT describes none. */
bool acpi_find_event_device(const uint8_t *aml, size_t size, struct acpi_event_device *device);

/* The next virtio device in memory (_HID LNRO0005) that the DSDT describes behind `*at`, which
 * begins at 0: false when there is none. */
bool acpi_next_virtio_mmio(const uint8_t *aml, size_t size, size_t *at,
                           struct hal_mmio_device *device);

/* The port at which a region of this name (four letters) begins: 0 when the DSDT has none. */
uint16_t acpi_find_ports(const uint8_t *aml, size_t size, const char *name);

/* --- apic.c ----------------------------------------------------------------------------------- */

extern bool apic_x2apic;

/* Whether and how the local APIC can be used; before acpi_init. */
uint32_t apic_detect(void);
/* Boot CPU, after acpi_init: maps registers, enables. */
void apic_init(void);
/* Each CPU. */
void apic_init_cpu(void);
/* Calibrates the timer against the TSC; after the TSC's own calibration. */
void apic_init_timer(void);
/* Free-running countdown for the calibration of a TSC that has no other reference. */
void apic_timer_start_raw(void);
uint32_t apic_timer_read_raw(void);
#define APIC_TIMER_DIVIDER 4

void apic_eoi(void);
/* Any context. */
void apic_send_ipi(unsigned cpu_id, uint8_t vector);
void apic_send_nmi(unsigned cpu_id);
void apic_send_ipi_all_but_self(uint8_t vector);
/* The start-up messages of Intel SDM 3A 9.4.4. */
void apic_send_init(uint32_t apic_id);
void apic_send_startup(uint32_t apic_id, uint8_t page);

/* Routes a global system interrupt to the boot CPU and unmasks it. -ENODEV: no IOAPIC has it. */
int ioapic_route(uint32_t gsi, uint8_t vector, bool level, bool active_low);

/* --- interrupt.c ------------------------------------------------------------------------------ */

/* Masks the legacy PIC. */
void interrupt_init(void);
/* hal_line_connect by ISA number, with the overrides of the firmware applied. */
int interrupt_install_isa(unsigned irq, hal_interrupt_fn *handler, void *context);
/* Where a device has to write what, to have `handler` called on `cpu`. -ENOSPC. */
int interrupt_install_message(unsigned cpu, hal_interrupt_fn *handler, void *context,
                              uint32_t *address, uint32_t *data);

/* --- pci.c ------------------------------------------------------------------------------------ */

/* Calls `found` for each function. */
void pci_search(void (*found)(const struct pci_device *device));
bool pci_is_bridge(const struct pci_device *device);
/* Of 4 bytes, as pci_read. */
void pci_write(const struct pci_device *device, unsigned offset, uint32_t value);

/* --- hotplug.c: in the kernels for programs that open files ------------------------------------
 */

/* A bridge, which may be able to tell that the device behind it goes; before hotplug_init. */
void hotplug_bridge(const struct pci_device *bridge) __attribute__((weak));
/* Devices may be taken out from now on. */
void hotplug_init(void) __attribute__((weak));

/* --- devices.c -------------------------------------------------------------------------------- */

/* Finds the devices and hands them to their drivers. */
void devices_init(void);

/* --- clock.c ---------------------------------------------------------------------------------- */

/* Page-aligned; paging.c maps it read-only at VVAR_ADDRESS. */
extern struct vvar vvar_page;

/* Boot CPU; leaves hal_clock_monotonic working. */
void clock_init(void);
uint64_t clock_tsc_hz(void);
/* After a suspend: the monotonic clock goes on from `monotonic`. On CPU 0, all others stand still.
 */
void clock_go_on(uint64_t monotonic);
/* The rate of the local APIC's timer before its divider, from a look of `window_ns` at it. The
 * TSC's must be known. */
uint64_t clock_measure_apic_timer(uint64_t window_ns);
/* Monotonic ns to this CPU's TSC. */
uint64_t clock_deadline_tsc(uint64_t deadline);
/* The boot CPU: the next instant at which its timer has to expire for clock_refine, or UINT64_MAX.
 */
uint64_t clock_refine_at(void);
void clock_refine(void);
/* A new CPU and the boot CPU call this at about the same time: compares their TSCs. */
void clock_check_cpu(unsigned new_cpu, bool is_new);

/* --- hal/xen/pvh.c: a guest of Xen that came by the PVH entry ----------------------------------
 */

/* Before the console, while the text is writable: whether Xen is there; then its console and the
 * end of the machine have taken their places. */
bool xen_pvh_find(void);
void xen_pvh_console(void);
/* 0 when there is no Xen. */
uint64_t xen_pvh_tsc_hz(void);
uint64_t xen_pvh_wall_offset(void);
/* For VECTOR_XEN. */
void xen_pvh_interrupt(void);

/* --- entropy.c ---------------------------------------------------------------------------------
 */

/* The TSC after an access to a slow device, or another way out of this CPU, that takes a time that
 * varies. */
uint64_t time_of_slow_access(void);

/* --- serial.c --------------------------------------------------------------------------------- */

/* First of all; port I/O only. */
void console_early_init(void);
/* The other CPUs are stopped: do not wait for a lock that one of them may hold. */
void console_break_lock(void);
void console_flush(void);

/* --- power.c ---------------------------------------------------------------------------------- */

void power_late_init(void);
/* The line of ACPI's events, where the hardware is not reduced. */
struct hal_line acpi_sci_line(void);

/* --- smp.c ------------------------------------------------------------------------------------ */

/* This CPU stops for good. */
_Noreturn void smp_stop_self(void);
