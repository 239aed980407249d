/* SPDX-License-Identifier: MIT */
/* Time. The clock is the TSC, scaled by what kvmclock, CPUID or a measurement against the PIT or
 * the ACPI PM timer says. A measurement starts with the first instructions of the boot, so that its
 * window costs nothing, and is repeated over longer and longer times, which changes the rate but
 * never the current value. vvar_page holds the parameters, for us and for the program's vDSO: a
 * sequence lock with the boot CPU as the only writer. */
#include "core/lib/log.h"
#include "kvm_internal.h"

#define NS_PER_SECOND 1000000000ull

struct vvar vvar_page __attribute__((aligned(PAGE_SIZE), section(".bss.page_aligned")));

static uint64_t tsc_hz;
static uint64_t tsc_per_ns; /* << 30: 8 GHz fit */
static uint64_t start_tsc;
#define TSC_PER_NS_SHIFT 30

/* --- reference clocks ------------------------------------------------------------------------- */

/* 8254 data sheet; port 0x61 as on the PC/AT. */
#define PIT_HZ 1193182
#define PIT_CHANNEL2 0x42
#define PIT_COMMAND 0x43
/* Low byte, high byte, mode 0: OUT rises at the end, the count goes on. */
#define PIT_CHANNEL2_ONE_SHOT 0xb0
#define PIT_LATCH_ALL_CHANNEL2 0xc8 /* read back status and count */
#define PIT_STATUS_MODE 0x3f
#define PIT_STATUS_OUT 0x80
#define SPEAKER_PORT 0x61
#define SPEAKER_GATE 1
#define SPEAKER_ON 2

#define PM_TIMER_HZ 3579545 /* ACPI 6.5, 4.8.3.3 */
#define PM_TIMER_MASK 0xffffff

#define SAMPLE_TRIES 3
#define FIRST_WINDOW_NS 2000000ull

struct sample {
    uint64_t tsc;
    uint32_t count; /* of the reference, counting up; only the bits of its mask are valid */
    bool wrapped;   /* PIT only: the first 65,535 ticks are over */
};

struct reference {
    const char *name;
    uint32_t hz, mask;
    void (*read)(struct sample *sample);
};

static void pit_read(struct sample *sample)
{
    uint64_t before = tsc_read();
    port_write8(PIT_COMMAND, PIT_LATCH_ALL_CHANNEL2);
    uint64_t after = tsc_read();
    uint8_t status = port_read8(PIT_CHANNEL2);
    uint32_t low = port_read8(PIT_CHANNEL2);
    uint32_t high = port_read8(PIT_CHANNEL2);
    sample->tsc = before + (after - before) / 2;
    sample->count = 0xffff - (high << 8 | low);
    sample->wrapped = (status & PIT_STATUS_OUT) != 0;
}

static void pm_timer_read(struct sample *sample)
{
    uint64_t before = tsc_read();
    sample->count = port_read32(acpi.pm_timer);
    sample->tsc = before + (tsc_read() - before) / 2;
}

static void apic_timer_read(struct sample *sample)
{
    uint64_t before = tsc_read();
    sample->count = UINT32_MAX - apic_timer_read_raw();
    sample->tsc = before + (tsc_read() - before) / 2;
}

static const struct reference pit = {"PIT", PIT_HZ, 0xffff, pit_read};
static const struct reference pm_timer = {"PM timer", PM_TIMER_HZ, PM_TIMER_MASK, pm_timer_read};
/* The last resort; the rate is that of KVM and QEMU. */
static const struct reference apic_timer = {"APIC timer", 1000000000 / APIC_TIMER_DIVIDER,
                                            UINT32_MAX, apic_timer_read};

static const struct reference *reference;
static struct sample reference_start;

/* One sample between two TSC readings that are close together: a host may take the CPU away in
 * between. */
static struct sample take_sample(const struct reference *from)
{
    struct sample best = {0};
    uint64_t best_cost = UINT64_MAX;
    for (unsigned i = 0; i < SAMPLE_TRIES; i++) {
        struct sample sample = {0};
        uint64_t before = tsc_read();
        from->read(&sample);
        uint64_t cost = tsc_read() - before;
        if (cost < best_cost) {
            best = sample;
            best_cost = cost;
        }
    }
    return best;
}

static bool pit_start(void)
{
    uint8_t speaker = port_read8(SPEAKER_PORT) & (uint8_t)~SPEAKER_ON;
    port_write8(SPEAKER_PORT, speaker | SPEAKER_GATE);
    port_write8(PIT_COMMAND, PIT_CHANNEL2_ONE_SHOT);
    port_write8(PIT_CHANNEL2, 0xff);
    port_write8(PIT_CHANNEL2, 0xff);
    port_write8(PIT_COMMAND, PIT_LATCH_ALL_CHANNEL2);
    uint8_t status = port_read8(PIT_CHANNEL2);
    (void)port_read8(PIT_CHANNEL2);
    (void)port_read8(PIT_CHANNEL2);
    if ((status & PIT_STATUS_MODE) != (PIT_CHANNEL2_ONE_SHOT & PIT_STATUS_MODE)) {
        return false;
    }
    reference = &pit;
    reference_start = take_sample(&pit);
    return true;
}

void clock_begin_calibration(void)
{
    if (start_tsc == 0) {
        start_tsc = tsc_read();
        pit_start();
    }
}

/* Waits until the window is long enough and returns the TSC's rate. Few instructions: each round
 * waits for a device. */
static uint64_t measure(void)
{
    uint32_t window = (uint32_t)(reference->hz * FIRST_WINDOW_NS / NS_PER_SECOND);
    for (;;) {
        struct sample now;
        reference->read(&now);
        uint32_t ticks = (now.count - reference_start.count) & reference->mask;
        if (now.wrapped) {
            pit_start(); /* the boot took longer than the PIT counts: once more, watching */
        } else if (ticks >= window) {
            now = take_sample(reference);
            ticks = (now.count - reference_start.count) & reference->mask;
            if (!now.wrapped) {
                return (now.tsc - reference_start.tsc) * reference->hz / ticks;
            }
        }
    }
}

static bool pm_timer_works(void)
{
    if (acpi.pm_timer == 0) {
        return false;
    }
    uint32_t first = port_read32(acpi.pm_timer);
    for (unsigned i = 0; i < 1000; i++) { /* a tick is 279 ns, an access to a port about 1 us */
        if (((port_read32(acpi.pm_timer) ^ first) & PM_TIMER_MASK) != 0) {
            return true;
        }
    }
    return false;
}

uint64_t clock_measure_apic_timer(uint64_t window_ns)
{
    apic_timer_start_raw();
    struct sample first = take_sample(&apic_timer), last;
    uint64_t window = window_ns * (tsc_hz / 1000) / 1000000;
    do {
        hal_spin_hint();
        last = take_sample(&apic_timer);
    } while (last.tsc - first.tsc < window);
    return (uint64_t)(last.count - first.count) * (tsc_hz / APIC_TIMER_DIVIDER) /
           (last.tsc - first.tsc) * APIC_TIMER_DIVIDER * APIC_TIMER_DIVIDER;
}

static uint64_t measured_hz(void)
{
    if (reference == NULL && pm_timer_works()) {
        reference = &pm_timer;
        reference_start = take_sample(reference);
    }
    if (reference != NULL) {
        return measure();
    }
    apic_timer_start_raw();
    reference = &apic_timer;
    reference_start = take_sample(reference);
    uint64_t hz = measure();
    reference = NULL; /* nothing to refine with: the timer is needed as a timer */
    log_warn("clock: no PIT and no PM timer: the rate of the TSC is a guess");
    return hz;
}

/* --- the parameters --------------------------------------------------------------------------- */

static uint64_t scale(const struct vvar *v, uint64_t tsc)
{
    return v->base_ns + multiply_shift32(tsc - v->tsc_base, v->mult);
}

/* From now on the clock runs at `hz`; its value goes on from where it is. */
static void set_rate(uint64_t hz)
{
    struct vvar *v = &vvar_page;
    bool irq = hal_irq_save();
    __atomic_store_n(&v->sequence, v->sequence + 1, __ATOMIC_RELAXED);
    __atomic_thread_fence(__ATOMIC_SEQ_CST);
    /* Read while nobody can use the old rate any more. */
    uint64_t tsc = v->mult == 0 ? start_tsc : tsc_read();
    v->base_ns = scale(v, tsc);
    v->tsc_base = tsc;
    v->mult = (NS_PER_SECOND << 32) / hz;
    tsc_hz = hz;
    tsc_per_ns = (hz << TSC_PER_NS_SHIFT) / NS_PER_SECOND;
    __atomic_store_n(&v->sequence, v->sequence + 1, __ATOMIC_RELEASE);
    hal_irq_restore(irq);
}

void clock_go_on(uint64_t monotonic)
{
    struct vvar *v = &vvar_page;
    __atomic_store_n(&v->sequence, v->sequence + 1, __ATOMIC_SEQ_CST);
    v->base_ns = monotonic;
    v->tsc_base = tsc_read();
    __atomic_store_n(&v->sequence, v->sequence + 1, __ATOMIC_RELEASE);
}

uint64_t clock_tsc_hz(void)
{
    return tsc_hz;
}

/* --- TSCs that differ between CPUs ------------------------------------------------------------ */

/* Set once and for good when TSCs turn out to differ. Then the program's clock is the system call,
 * each CPU corrects its TSC (or reads its own kvmclock), and no reading is below one that any CPU
 * has returned. */
static bool guarded;
static uint64_t guard_last;
static int64_t tsc_offset[HAL_MAX_CPUS];

/* Linux, Documentation/virt/kvm/x86/msr.rst: struct pvclock_vcpu_time_info. */
struct kvmclock {
    uint32_t version, pad;
    uint64_t tsc_timestamp, system_time;
    uint32_t tsc_to_system_mul;
    int8_t tsc_shift;
    uint8_t flags, pad2[2];
};

static bool kvmclock_per_cpu; /* the host says that TSCs are not stable */
static uint64_t kvmclock_zero;
static struct kvmclock kvmclocks[HAL_MAX_CPUS] __attribute__((aligned(64)));

static uint64_t kvmclock_read(const volatile struct kvmclock *k)
{
    uint32_t version;
    uint64_t ns;
    do {
        version = k->version & ~1u;
        uint64_t delta = tsc_read() - k->tsc_timestamp;
        delta = k->tsc_shift >= 0 ? delta << k->tsc_shift : delta >> -k->tsc_shift;
        ns = k->system_time + multiply_shift32(delta, k->tsc_to_system_mul);
        __asm__ volatile("" ::: "memory");
    } while (k->version != version);
    return ns;
}

static __attribute__((noinline)) uint64_t guarded_monotonic(void)
{
    unsigned cpu = hal_this_cpu()->id;
    uint64_t ns;
    if (kvmclock_per_cpu) {
        ns = kvmclock_read(&kvmclocks[cpu]) - kvmclock_zero;
    } else {
        uint32_t sequence;
        do {
            sequence = __atomic_load_n(&vvar_page.sequence, __ATOMIC_ACQUIRE) & ~1u;
            ns = scale(&vvar_page, tsc_read() + (uint64_t)tsc_offset[cpu]);
            __atomic_thread_fence(__ATOMIC_ACQUIRE);
        } while (__atomic_load_n(&vvar_page.sequence, __ATOMIC_RELAXED) != sequence);
    }
    uint64_t last = __atomic_load_n(&guard_last, __ATOMIC_RELAXED);
    while (ns > last) {
        if (__atomic_compare_exchange_n(&guard_last, &last, ns, true, __ATOMIC_ACQ_REL,
                                        __ATOMIC_RELAXED)) {
            return ns;
        }
    }
    return last;
}

static void use_guard(void)
{
    vvar_page.mode = 0;
    __atomic_store_n(&guarded, true, __ATOMIC_SEQ_CST);
}

uint64_t hal_clock_monotonic(void)
{
    const struct vvar *v = &vvar_page;
    if (__builtin_expect(guarded, 0)) {
        return guarded_monotonic();
    }
    uint32_t sequence;
    uint64_t ns;
    do {
        sequence = __atomic_load_n(&v->sequence, __ATOMIC_ACQUIRE) & ~1u;
        ns = scale(v, tsc_read());
        __atomic_thread_fence(__ATOMIC_ACQUIRE);
    } while (__builtin_expect(__atomic_load_n(&v->sequence, __ATOMIC_RELAXED) != sequence, 0));
    return ns;
}

uint64_t hal_clock_wall_offset(void)
{
    return vvar_page.wall_offset;
}

uint64_t hal_clock_boot_offset(void)
{
    return vvar_page.boot_offset;
}

uint64_t clock_deadline_tsc(uint64_t deadline)
{
    uint64_t now = hal_clock_monotonic(), tsc = tsc_read();
    uint64_t delta = deadline > now ? deadline - now : 0;
    delta = delta < 1ull << 50 ? delta : 1ull << 50; /* 13 days */
    return tsc + (uint64_t)((unsigned __int128)delta * tsc_per_ns >> TSC_PER_NS_SHIFT) + 1;
}

#define WARP_TURNS 16
#define WARP_PATIENCE_NS 20000

/* Two CPUs read their TSC in turns, the boot CPU first, each after it has seen the other's turn: a
 * value below the one before is a step back that the program could see as well. Between real CPUs a
 * turn takes some 100 ns; a virtual one may be off its host's CPU, and then the boot CPU ends the
 * check early. */
static struct {
    uint32_t turn;    /* from WARP_TURNS * the new CPU's id, for that many turns; atomic */
    uint64_t last;    /* belongs to whose turn it is */
    uint64_t seen[2]; /* the longest step back, by the boot CPU and by the new one; likewise */
} warp;

static void warp_turn(uint32_t turn, bool is_new)
{
    uint64_t now = tsc_read();
    if (now < warp.last && warp.last - now > warp.seen[is_new]) {
        warp.seen[is_new] = warp.last - now;
    }
    warp.last = now;
    /* Fails when the boot CPU has ended the check meanwhile. */
    __atomic_compare_exchange_n(&warp.turn, &turn, turn + 1, false, __ATOMIC_RELEASE,
                                __ATOMIC_RELAXED);
}

static void warp_check_new(uint32_t base)
{
    uint32_t turn;
    while ((turn = __atomic_load_n(&warp.turn, __ATOMIC_ACQUIRE)) != base + WARP_TURNS) {
        if (turn > base && turn % 2 == 1) {
            warp_turn(turn, true);
        }
        hal_spin_hint();
    }
}

/* Returns whose TSC is behind by how much, as an offset for the new CPU. */
static int64_t warp_check_boot(uint32_t base)
{
    uint64_t patience = WARP_PATIENCE_NS * (tsc_hz / 1000) / 1000000;
    uint64_t start = tsc_read();
    __atomic_store_n(&warp.turn, base, __ATOMIC_RELEASE);
    uint32_t turn;
    while ((turn = __atomic_load_n(&warp.turn, __ATOMIC_ACQUIRE)) != base + WARP_TURNS - 2) {
        if (turn % 2 == 0) {
            warp_turn(turn, false);
            start = tsc_read();
        } else if (tsc_read() - start > patience &&
                   __atomic_compare_exchange_n(&warp.turn, &turn, turn + 1, false, __ATOMIC_ACQUIRE,
                                               __ATOMIC_RELAXED)) {
            break; /* taken away from the new CPU: it is the boot CPU's turn again */
        }
        hal_spin_hint();
    }
    return warp.seen[1] != 0 ? (int64_t)warp.seen[1] : -(int64_t)warp.seen[0];
}

static void kvmclock_register(unsigned cpu);

void clock_check_cpu(unsigned new_cpu, bool is_new)
{
    if (kvmclock_per_cpu) {
        if (is_new) {
            kvmclock_register(new_cpu);
        }
        return;
    }
    uint32_t base = new_cpu * WARP_TURNS;
    if (is_new) {
        warp_check_new(base);
        return;
    }
    tsc_offset[new_cpu] = warp_check_boot(base);
    if (tsc_offset[new_cpu] != 0) {
        log_warn("clock: the TSC of CPU %u is off by %lld", new_cpu,
                 (long long)-tsc_offset[new_cpu]);
        use_guard();
    }
    warp.last = warp.seen[0] = warp.seen[1] = 0;
    __atomic_store_n(&warp.turn, base + WARP_TURNS, __ATOMIC_RELEASE);
}

/* --- KVM -------------------------------------------------------------------------------------- */

/* Linux, Documentation/virt/kvm/x86/{cpuid,msr}.rst */
#define KVM_FEATURES_CLOCKSOURCE2 (1u << 3)
#define KVM_FEATURES_STABLE_BIT (1u << 24)
#define KVM_CLOCK_STABLE 1u
#define MSR_KVM_WALL_CLOCK_NEW 0x4b564d00
#define MSR_KVM_SYSTEM_TIME_NEW 0x4b564d01
#define KVM_CLOCK_ENABLE 1u

static bool is_virtual(void)
{
    return (cpuid(1, 0).ecx & 1u << 31) != 0;
}

/* The leaf that says "KVMKVMKVM", or 0. */
static uint32_t kvm_leaf(void)
{
    for (uint32_t leaf = 0x40000000; is_virtual() && leaf < 0x40001000; leaf += 0x100) {
        struct cpuid c = cpuid(leaf, 0);
        if (c.ebx == 0x4b4d564b && c.ecx == 0x564b4d56 && c.edx == 0x4d) {
            return leaf;
        }
        if (c.eax < leaf || c.eax > leaf + 0xffff) {
            break;
        }
    }
    return 0;
}

static void kvmclock_register(unsigned cpu)
{
    wrmsr(MSR_KVM_SYSTEM_TIME_NEW, image_physical(&kvmclocks[cpu]) | KVM_CLOCK_ENABLE);
}

static void kvmclock_wall(void)
{
    static volatile struct {
        uint32_t version, seconds, nanoseconds;
    } wall __attribute__((aligned(16)));
    wrmsr(MSR_KVM_WALL_CLOCK_NEW, image_physical((const void *)&wall));
    if ((wall.version & 1) != 0 || wall.seconds == 0) {
        return;
    }
    /* What the host's clock was when kvmclock was 0. */
    uint64_t at_zero = wall.seconds * NS_PER_SECOND + wall.nanoseconds;
    vvar_page.wall_offset = at_zero + kvmclock_read(&kvmclocks[0]) - hal_clock_monotonic();
}

/* The TSC's rate by kvmclock, or 0 when there is none. */
static uint64_t kvmclock_hz(uint32_t features)
{
    if ((features & KVM_FEATURES_CLOCKSOURCE2) == 0) {
        return 0;
    }
    kvmclock_register(0);
    const volatile struct kvmclock *k = &kvmclocks[0];
    if (k->tsc_to_system_mul == 0 || k->tsc_shift < -31 || k->tsc_shift > 31) {
        wrmsr(MSR_KVM_SYSTEM_TIME_NEW, 0);
        return 0;
    }
    uint64_t hz = (NS_PER_SECOND << 32) / k->tsc_to_system_mul;
    return k->tsc_shift >= 0 ? hz >> k->tsc_shift : hz << -k->tsc_shift;
}

static void kvmclock_finish(uint32_t features)
{
    kvmclock_wall();
    if ((features & KVM_FEATURES_STABLE_BIT) != 0 && (kvmclocks[0].flags & KVM_CLOCK_STABLE) != 0) {
        wrmsr(MSR_KVM_SYSTEM_TIME_NEW, 0);
        return;
    }
    kvmclock_zero = kvmclock_read(&kvmclocks[0]) - hal_clock_monotonic();
    kvmclock_per_cpu = true;
    use_guard();
    log_info("clock: the host's TSC is not stable: kvmclock on each CPU");
}

/* --- RTC -------------------------------------------------------------------------------------- */

/* MC146818A data sheet */
#define RTC_INDEX 0x70
#define RTC_DATA 0x71
#define RTC_STATUS_A 10
#define RTC_STATUS_B 11
#define RTC_UPDATING 0x80
#define RTC_ABSENT 0xff /* what a port without a device reads as */
#define RTC_BINARY 0x04
#define RTC_24_HOURS 0x02
#define RTC_PM 0x80
#define RTC_READ_TRIES 10 /* and for as long as this: */
/* An update takes 2.2 ms. QEMU lets it end when its main loop runs again, which on a busy host may
 * take long; Linux waits for a second, too. */
#define RTC_READ_PATIENCE_NS 1000000000
#define RTC_LOOK_NS 50000 /* between two looks, each an exit to the hypervisor */

static uint8_t rtc_read(uint8_t reg)
{
    port_write8(RTC_INDEX, reg);
    return port_read8(RTC_DATA);
}

enum { RTC_SECOND, RTC_MINUTE, RTC_HOUR, RTC_DAY, RTC_MONTH, RTC_YEAR, RTC_CENTURY, RTC_FIELDS };

static void rtc_read_fields(uint8_t fields[RTC_FIELDS])
{
    static const uint8_t registers[RTC_CENTURY] = {0, 2, 4, 7, 8, 9};
    for (unsigned i = 0; i < RTC_CENTURY; i++) {
        fields[i] = rtc_read(registers[i]);
    }
    uint8_t century = acpi.century_register;
    fields[RTC_CENTURY] = century != 0 && century < 128 ? rtc_read(century) : 0;
}

/* Days from 1970-01-01 to the given day of the Gregorian calendar; month 1-12. */
static uint64_t days_since_1970(unsigned year, unsigned month, unsigned day)
{
    static const uint16_t before[12] = {0, 31, 59, 90, 120, 151, 181, 212, 243, 273, 304, 334};
    bool leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    unsigned y = year - 1;
    uint64_t leap_days = y / 4 - y / 100 + y / 400 - (1969 / 4 - 1969 / 100 + 1969 / 400);
    return (year - 1970) * 365ull + leap_days + before[month - 1] + (leap && month > 2 ? 1 : 0) +
           day - 1;
}

/* Seconds since 1970, or 0 when there is no working RTC. */
static uint64_t rtc_seconds(void)
{
    uint8_t f[RTC_FIELDS], again[RTC_FIELDS];
    bool same = false;
    uint64_t deadline = hal_clock_monotonic() + RTC_READ_PATIENCE_NS;
    for (unsigned i = 0; !same && (i < RTC_READ_TRIES || hal_clock_monotonic() < deadline); i++) {
        uint8_t status = rtc_read(RTC_STATUS_A);
        if (status == RTC_ABSENT) {
            return 0;
        }
        if ((status & RTC_UPDATING) != 0) {
            for (uint64_t next = hal_clock_monotonic() + RTC_LOOK_NS;
                 hal_clock_monotonic() < next;) {
                hal_spin_hint();
            }
            continue;
        }
        rtc_read_fields(f);
        rtc_read_fields(again);
        same = __builtin_memcmp(f, again, sizeof(f)) == 0;
    }
    if (!same) {
        return 0;
    }
    uint8_t mode = rtc_read(RTC_STATUS_B);
    bool pm = (mode & RTC_24_HOURS) == 0 && (f[RTC_HOUR] & RTC_PM) != 0;
    f[RTC_HOUR] &= (uint8_t)~RTC_PM;
    if ((mode & RTC_BINARY) == 0) {
        for (unsigned i = 0; i < RTC_FIELDS; i++) {
            f[i] = (uint8_t)((f[i] >> 4) * 10 + (f[i] & 15));
        }
    }
    unsigned hour = f[RTC_HOUR];
    if ((mode & RTC_24_HOURS) == 0) {
        hour = hour % 12 + (pm ? 12 : 0);
    }
    unsigned century = f[RTC_CENTURY] >= 19 && f[RTC_CENTURY] < 30 ? f[RTC_CENTURY] : 20;
    unsigned year = century * 100 + f[RTC_YEAR];
    if (f[RTC_SECOND] > 59 || f[RTC_MINUTE] > 59 || hour > 23 || f[RTC_DAY] < 1 ||
        f[RTC_DAY] > 31 || f[RTC_MONTH] < 1 || f[RTC_MONTH] > 12 || f[RTC_YEAR] > 99 ||
        year < 1970) {
        return 0;
    }
    return ((days_since_1970(year, f[RTC_MONTH], f[RTC_DAY]) * 24 + hour) * 60 + f[RTC_MINUTE]) *
               60 +
           f[RTC_SECOND];
}

/* --- set-up ----------------------------------------------------------------------------------- */

/* The TSC's rate by CPUID, or 0: the timing leaf of VMware, which QEMU has for KVM too, else the
 * crystal's rate and its multiplier (Intel SDM 2A, CPUID leaf 0x15). */
static uint64_t cpuid_hz(bool kvm)
{
    uint64_t xen = xen_pvh_tsc_hz();
    if (xen != 0) {
        return xen;
    }
    if (is_virtual()) {
        struct cpuid c = cpuid(0x40000000, 0);
        bool vmware =
            c.ebx == 0x61774d56 && c.ecx == 0x4d566572 && c.edx == 0x65726177; /* VMwareVMware */
        uint64_t khz = (kvm || vmware) && c.eax >= 0x40000010 ? cpuid(0x40000010, 0).eax : 0;
        if (khz != 0) {
            return khz * 1000;
        }
    }
    if (cpuid(0, 0).eax >= 0x15) {
        struct cpuid c = cpuid(0x15, 0);
        if (c.eax != 0 && c.ebx != 0 && c.ecx != 0) {
            return (uint64_t)c.ecx * c.ebx / c.eax;
        }
    }
    return 0;
}

/* Instants (monotonic ns) at which a measured rate is measured again. Each is near enough for the
 * one before to say how often the reference has wrapped around. */
static const uint64_t refine_times[] = {50000000, NS_PER_SECOND, 16 * NS_PER_SECOND, UINT64_MAX};
static unsigned refine_step = sizeof(refine_times) / sizeof(refine_times[0]) - 1;

void clock_init(void)
{
    clock_begin_calibration();
    uint32_t kvm = kvm_leaf();
    uint32_t features = kvm != 0 ? cpuid(kvm + 1, 0).eax : 0;
    const char *source = "kvmclock";
    bool have_kvmclock = true;
    uint64_t hz = kvmclock_hz(features);
    if (hz == 0) {
        have_kvmclock = false;
        source = "CPUID";
        hz = cpuid_hz(kvm != 0);
    }
    if (hz == 0) {
        hz = measured_hz();
        source = reference != NULL ? reference->name : apic_timer.name;
        refine_step = reference != NULL ? 0 : refine_step;
    }
    if (hz < 1000000 || hz >> (64 - TSC_PER_NS_SHIFT) != 0) {
        panic("clock: a TSC of %llu Hz", (unsigned long long)hz);
    }
    set_rate(hz);
    vvar_page.mode = 1;
    if (have_kvmclock) {
        kvmclock_finish(features);
    }
    if (vvar_page.wall_offset == 0) {
        vvar_page.wall_offset = xen_pvh_wall_offset();
    }
    if (vvar_page.wall_offset == 0) {
        uint64_t seconds = rtc_seconds();
        if (seconds == 0) {
            log_warn("clock: no real-time clock: it is 1970");
        } else {
            vvar_page.wall_offset = seconds * NS_PER_SECOND - hal_clock_monotonic();
        }
    }
    log_debug("clock: TSC at %llu kHz by %s", (unsigned long long)hz / 1000, source);
}

uint64_t clock_refine_at(void)
{
    return refine_times[refine_step];
}

void clock_refine(void)
{
    if (refine_times[refine_step] == UINT64_MAX ||
        hal_clock_monotonic() < refine_times[refine_step]) {
        return;
    }
    refine_step++;
    struct sample now = take_sample(reference);
    uint64_t tsc_delta = now.tsc - reference_start.tsc;
    uint64_t period = (uint64_t)reference->mask + 1;
    uint64_t ticks = (now.count - reference_start.count) & reference->mask;
    uint64_t expected = tsc_delta / (tsc_hz / 1000) * reference->hz / 1000;
    if (expected > ticks) {
        ticks += (expected - ticks + period / 2) / period * period;
    }
    uint64_t hz = tsc_delta * reference->hz / ticks;
    uint64_t change = hz > tsc_hz ? hz - tsc_hz : tsc_hz - hz;
    if (change < tsc_hz / 50) { /* else the reference stood still for a while: a paused machine */
        set_rate(hz);
    }
    hal_timer_set(UINT64_MAX); /* for the next time; core sets its own deadline right after */
}
