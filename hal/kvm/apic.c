/* SPDX-License-Identifier: MIT */
/* Local APIC (Intel SDM 3A, chapter 11; x2APIC: 11.12) and IOAPIC (82093AA data sheet): messages
 * between CPUs, the one-shot timer, routing of device lines. Each CPU touches its own local APIC,
 * interrupts masked; IOAPIC registers are written by the boot CPU alone. */
#include <linux/errno.h>

#include "core/lib/log.h"
#include "kvm_internal.h"

#define MSR_APIC_BASE 0x1b
#define APIC_BASE_X2APIC (1ull << 10)
#define APIC_BASE_ENABLE (1ull << 11)
#define APIC_BASE_ADDRESS 0xffffff000ull
#define MSR_X2APIC 0x800
#define MSR_TSC_DEADLINE 0x6e0

/* Register offsets of the xAPIC; divided by 16 they are those of the x2APIC's MSRs. */
enum {
    APIC_ID = 0x20,
    APIC_TPR = 0x80,
    APIC_EOI = 0xb0,
    APIC_SVR = 0xf0,
    APIC_ICR = 0x300,
    APIC_ICR_HIGH = 0x310,
    APIC_LVT_TIMER = 0x320,
    APIC_LVT_LINT0 = 0x350,
    APIC_LVT_LINT1 = 0x360,
    APIC_LVT_ERROR = 0x370,
    APIC_TIMER_INITIAL = 0x380,
    APIC_TIMER_CURRENT = 0x390,
    APIC_TIMER_DIVIDE = 0x3e0,
};

#define SVR_ENABLE 0x100
#define LVT_MASKED 0x10000
#define LVT_NMI 0x400
#define LVT_TSC_DEADLINE 0x40000
#define ICR_FIXED 0
#define ICR_NMI 0x400
#define ICR_INIT 0x500
#define ICR_STARTUP 0x600
#define ICR_PENDING 0x1000
#define ICR_ASSERT 0x4000
#define ICR_ALL_BUT_SELF 0xc0000
#define TIMER_DIVIDE_BY_4 1

#define HAVE_APIC (1u << 9)          /* CPUID 1 EDX */
#define HAVE_X2APIC (1u << 21)       /* CPUID 1 ECX */
#define HAVE_TSC_DEADLINE (1u << 24) /* CPUID 1 ECX */

/* How long the timer is watched to find its rate. Hypervisors have round rates, which a short look
 * tells apart. */
#define TIMER_WINDOW_NS 2000000
#define TIMER_WINDOW_VIRTUAL_NS 100000

bool apic_x2apic;
static volatile uint32_t *xapic;
static bool tsc_deadline;
static uint64_t ticks_per_ns; /* << 32 */
static uint64_t longest_ns;   /* what the counter can hold */

static void apic_write(unsigned reg, uint32_t value)
{
    if (apic_x2apic) {
        wrmsr(MSR_X2APIC + reg / 16, value);
    } else {
        xapic[reg / 4] = value;
    }
}

static uint32_t apic_read(unsigned reg)
{
    return apic_x2apic ? (uint32_t)rdmsr(MSR_X2APIC + reg / 16) : xapic[reg / 4];
}

uint32_t apic_detect(void)
{
    struct cpuid features = cpuid(1, 0);
    if ((features.edx & HAVE_APIC) == 0) {
        panic("this CPU has no local APIC");
    }
    apic_x2apic = (features.ecx & HAVE_X2APIC) != 0;
    tsc_deadline = (features.ecx & HAVE_TSC_DEADLINE) != 0;
    /* Leaf 0xb has all 32 bits of the id (Intel SDM 3A 11.12.5.1). */
    bool wide = apic_x2apic && cpuid(0, 0).eax >= 0xb && cpuid(0xb, 0).ebx != 0;
    return wide ? cpuid(0xb, 0).edx : features.ebx >> 24;
}

void apic_init(void)
{
    if (!apic_x2apic) {
        xapic = hal_map_device(rdmsr(MSR_APIC_BASE) & APIC_BASE_ADDRESS, PAGE_SIZE);
        if (xapic == NULL) {
            panic("no memory to map the local APIC");
        }
    }
    apic_init_cpu();
}

void apic_init_cpu(void)
{
    uint64_t base = rdmsr(MSR_APIC_BASE) | APIC_BASE_ENABLE;
    wrmsr(MSR_APIC_BASE, base); /* from off to x2APIC only by way of xAPIC */
    if (apic_x2apic) {
        wrmsr(MSR_APIC_BASE, base | APIC_BASE_X2APIC);
    }
    apic_write(APIC_SVR, SVR_ENABLE | VECTOR_SPURIOUS);
    apic_write(APIC_TPR, 0);
    apic_write(APIC_LVT_LINT0, LVT_MASKED); /* the legacy PIC */
    apic_write(APIC_LVT_LINT1, LVT_NMI);
    apic_write(APIC_LVT_ERROR, LVT_MASKED);
    if (tsc_deadline) {
        apic_write(APIC_LVT_TIMER, LVT_TSC_DEADLINE | VECTOR_TIMER);
        __asm__ volatile("mfence" ::: "memory"); /* before the MSR: Intel SDM 3A 11.5.4.1 */
    } else {
        apic_write(APIC_TIMER_DIVIDE, TIMER_DIVIDE_BY_4);
        apic_write(APIC_LVT_TIMER, VECTOR_TIMER);
    }
}

void apic_eoi(void)
{
    apic_write(APIC_EOI, 0);
}

/* --- messages --------------------------------------------------------------------------------- */

static void send(uint32_t apic_id, uint32_t command)
{
    if (apic_x2apic) {
        /* Unlike a store to the xAPIC, the MSR write is not ordered behind earlier stores. */
        __asm__ volatile("mfence; lfence" ::: "memory");
        wrmsr(MSR_X2APIC + APIC_ICR / 16, (uint64_t)apic_id << 32 | command);
        return;
    }
    bool irq = hal_irq_save();
    while ((xapic[APIC_ICR / 4] & ICR_PENDING) != 0) {
        hal_spin_hint();
    }
    xapic[APIC_ICR_HIGH / 4] = apic_id << 24;
    xapic[APIC_ICR / 4] = command;
    hal_irq_restore(irq);
}

void apic_send_ipi(unsigned cpu_id, uint8_t vector)
{
    send(acpi.apic_ids[cpu_id], ICR_FIXED | ICR_ASSERT | vector);
}

void apic_send_nmi(unsigned cpu_id)
{
    send(acpi.apic_ids[cpu_id], ICR_NMI | ICR_ASSERT);
}

void apic_send_ipi_all_but_self(uint8_t vector)
{
    send(0, ICR_ALL_BUT_SELF | ICR_FIXED | ICR_ASSERT | vector);
}

void apic_send_init(uint32_t apic_id)
{
    send(apic_id, ICR_INIT | ICR_ASSERT);
}

void apic_send_startup(uint32_t apic_id, uint8_t page)
{
    send(apic_id, ICR_STARTUP | ICR_ASSERT | page);
}

/* --- timer ------------------------------------------------------------------------------------ */

void apic_timer_start_raw(void)
{
    apic_write(APIC_LVT_TIMER, LVT_MASKED | VECTOR_TIMER);
    apic_write(APIC_TIMER_DIVIDE, TIMER_DIVIDE_BY_4);
    apic_write(APIC_TIMER_INITIAL, UINT32_MAX);
}

uint32_t apic_timer_read_raw(void)
{
    return apic_read(APIC_TIMER_CURRENT);
}

/* The exact rate behind a measured one: KVM and QEMU count at 1 GHz, Hyper-V at 200 MHz, Xen at 100
 * MHz. */
static uint64_t round_rate(uint64_t hz)
{
    static const uint32_t rates[] = {1000000000, 200000000, 100000000};
    for (unsigned i = 0; i < sizeof(rates) / sizeof(rates[0]); i++) {
        uint64_t slack = rates[i] / 50;
        if (hz > rates[i] - slack && hz < rates[i] + slack) {
            return rates[i];
        }
    }
    return hz;
}

void apic_init_timer(void)
{
    if (tsc_deadline) {
        hal_timer_set(UINT64_MAX);
        return;
    }
    bool virtual = (cpuid(1, 0).ecx & 1u << 31) != 0;
    uint64_t window = virtual ? TIMER_WINDOW_VIRTUAL_NS : TIMER_WINDOW_NS;
    uint64_t hz = clock_measure_apic_timer(window);
    hz = virtual ? round_rate(hz) : hz;
    ticks_per_ns = (hz << 32) / (1000000000ull * APIC_TIMER_DIVIDER);
    if (ticks_per_ns == 0 || hz >> 32 != 0) {
        panic("the local APIC's timer does not run");
    }
    longest_ns = (0xf0000000ull << 32) / ticks_per_ns;
    apic_write(APIC_TIMER_INITIAL, 0);
    apic_write(APIC_LVT_TIMER, VECTOR_TIMER);
    hal_timer_set(UINT64_MAX); /* no deadline but that of clock_refine */
    log_debug("apic: timer at %llu Hz", (unsigned long long)hz);
}

void hal_timer_set(uint64_t deadline)
{
    if (hal_this_cpu()->id == 0 && deadline > clock_refine_at()) {
        deadline = clock_refine_at();
    }
    if (tsc_deadline) {
        wrmsr(MSR_TSC_DEADLINE, deadline == UINT64_MAX ? 0 : clock_deadline_tsc(deadline));
        return;
    }
    if (deadline == UINT64_MAX) {
        apic_write(APIC_TIMER_INITIAL, 0);
        return;
    }
    uint64_t now = hal_clock_monotonic();
    uint64_t delta = deadline > now ? deadline - now : 0;
    delta = delta < longest_ns ? delta : longest_ns; /* core arms it again when it expires early */
    apic_write(APIC_TIMER_INITIAL, (uint32_t)multiply_shift32(delta, ticks_per_ns) + 1);
}

/* --- IOAPIC ----------------------------------------------------------------------------------- */

#define IOAPIC_SELECT 0
#define IOAPIC_WINDOW 4
#define IOAPIC_VERSION 1
#define IOAPIC_ENTRY(line) (0x10 + 2 * (line))
#define ENTRY_ACTIVE_LOW 0x2000u
#define ENTRY_LEVEL 0x8000u
#define ENTRY_MASKED 0x10000u

static struct {
    volatile uint32_t *registers; /* NULL: not mapped yet */
    uint32_t lines;
} ioapics[ACPI_MAX_IOAPICS];

static void ioapic_write(volatile uint32_t *registers, uint32_t reg, uint32_t value)
{
    registers[IOAPIC_SELECT] = reg;
    registers[IOAPIC_WINDOW] = value;
}

static int ioapic_open(unsigned index)
{
    if (ioapics[index].registers != NULL) {
        return 0;
    }
    volatile uint32_t *registers = hal_map_device(acpi.ioapics[index].address, PAGE_SIZE);
    if (registers == NULL) {
        return -ENOMEM;
    }
    registers[IOAPIC_SELECT] = IOAPIC_VERSION;
    uint32_t version = registers[IOAPIC_WINDOW];
    uint32_t lines = version == UINT32_MAX ? 0 : (version >> 16 & 0xff) + 1;
    lines = lines <= 240 ? lines : 240;
    for (uint32_t line = 0; line < lines; line++) {
        ioapic_write(registers, IOAPIC_ENTRY(line),
                     ENTRY_MASKED); /* as a boot loader may have left them */
    }
    ioapics[index].registers = registers;
    ioapics[index].lines = lines;
    return 0;
}

int ioapic_route(uint32_t gsi, uint8_t vector, bool level, bool active_low)
{
    for (unsigned i = 0; i < acpi.ioapic_count; i++) {
        uint32_t base = acpi.ioapics[i].gsi_base;
        if (gsi < base || gsi - base >= 240) {
            continue;
        }
        int error = ioapic_open(i);
        if (error != 0) {
            return error;
        }
        uint32_t line = gsi - base;
        if (line < ioapics[i].lines) {
            volatile uint32_t *registers = ioapics[i].registers;
            ioapic_write(registers, IOAPIC_ENTRY(line) + 1, acpi.apic_ids[0] << 24);
            ioapic_write(registers, IOAPIC_ENTRY(line),
                         vector | (level ? ENTRY_LEVEL : 0) | (active_low ? ENTRY_ACTIVE_LOW : 0));
            return 0;
        }
    }
    return -ENODEV;
}
