/* SPDX-License-Identifier: MIT */
/* Time: each CPU's TSC, scaled by the parameters that Xen keeps in its struct vcpu_info, and the
 * wall clock of the shared page (xen/include/public/xen.h). Where the TSCs are not stable no
 * reading is below one that any CPU has returned, and the program's vDSO asks the kernel. */
#include "core/lib/log.h"
#include "hal/kvm/kvm_internal.h"
#include "xen_internal.h"

#define NS_PER_SECOND 1000000000ull

static uint64_t zero; /* system time at our zero */
static bool stable;
static uint64_t last; /* the latest reading of any CPU; atomic, when not stable */
static uint64_t tsc_hz;

uint64_t xen_system_time(const volatile struct vcpu_time_info *t, uint64_t *tsc)
{
    uint32_t version;
    uint64_t ns;
    do {
        version = t->version & ~1u;
        __asm__ volatile("" ::: "memory");
        *tsc = tsc_read();
        uint64_t delta = *tsc - t->tsc_timestamp;
        delta = t->tsc_shift >= 0 ? delta << t->tsc_shift : delta >> -t->tsc_shift;
        ns = t->system_time + multiply_shift32(delta, t->tsc_to_system_mul);
        __asm__ volatile("" ::: "memory");
    } while (t->version != version);
    return ns;
}

static const volatile struct vcpu_time_info *own_time(void)
{
    return &this_xen_cpu()->info.time;
}

uint64_t xen_clock_monotonic(void)
{
    uint64_t tsc, ns = xen_system_time(own_time(), &tsc) - zero;
    if (stable) {
        return ns;
    }
    uint64_t seen = __atomic_load_n(&last, __ATOMIC_RELAXED);
    while (ns > seen) {
        if (__atomic_compare_exchange_n(&last, &seen, ns, true, __ATOMIC_ACQ_REL,
                                        __ATOMIC_RELAXED)) {
            return ns;
        }
    }
    return seen;
}

uint64_t xen_clock_wall_offset(void)
{
    return vvar_page.wall_offset;
}

uint64_t xen_clock_tsc_hz(void)
{
    return tsc_hz;
}

void xen_timer_set(uint64_t deadline)
{
    hypercall2(HYPERCALL_SET_TIMER_OP, deadline == UINT64_MAX ? 0 : deadline + zero, 0);
}

static void timer_expired(void *context)
{
    (void)context;
    core_timer_expired();
}

int clock_bind_timer(unsigned cpu)
{
    vcpu_op(VCPUOP_STOP_PERIODIC_TIMER, cpu, NULL);
    struct evtchn_bind_virq bind = {.virq = VIRQ_TIMER, .vcpu = cpu};
    long error = event_channel_op(EVTCHNOP_BIND_VIRQ, &bind);
    return error != 0 ? (int)error : event_bind(bind.port, cpu, timer_expired, NULL);
}

uint64_t xen_wall_clock(void)
{
    const volatile struct shared_info *s = shared_info;
    uint32_t version;
    uint64_t ns;
    do {
        version = s->wc_version & ~1u;
        __asm__ volatile("" ::: "memory");
        ns = ((uint64_t)s->wc_sec_hi << 32 | s->wc_sec) * NS_PER_SECOND + s->wc_nsec;
        __asm__ volatile("" ::: "memory");
    } while (s->wc_version != version);
    return ns;
}

uint64_t xen_wall_offset(void)
{
    uint64_t tsc;
    const volatile struct vcpu_time_info *t =
        xen_is_pvh ? &shared_info->vcpu_info[0].time : own_time();
    return xen_wall_clock() + xen_system_time(t, &tsc) - hal_clock_monotonic();
}

/* The monotonic clock is `now`, and goes on at the rate that Xen says. Where the TSCs are stable
 * the program reads its own; `mult` has the shift in it. */
static void set_clock(uint64_t now)
{
    const volatile struct vcpu_time_info *t = own_time();
    if (t->tsc_to_system_mul == 0 || t->tsc_shift < -31 || t->tsc_shift > 31) {
        panic("clock: Xen gives no rate of the TSC");
    }
    uint64_t hz = (NS_PER_SECOND << 32) / t->tsc_to_system_mul;
    tsc_hz = t->tsc_shift >= 0 ? hz >> t->tsc_shift : hz << -t->tsc_shift;
    stable = (t->flags & PVCLOCK_TSC_STABLE_BIT) != 0;
    struct vvar *v = &vvar_page;
    v->base_ns = now;
    zero = xen_system_time(t, &v->tsc_base) - now;
    v->mult = t->tsc_shift >= 0 ? (uint64_t)t->tsc_to_system_mul << t->tsc_shift
                                : (uint64_t)t->tsc_to_system_mul >> -t->tsc_shift;
    v->mode = stable ? 1 : 0;
}

void clock_resume(uint64_t monotonic, uint64_t wall)
{
    struct vvar *v = &vvar_page;
    if (xen_is_pvh) {
        clock_go_on(monotonic);
    } else {
        __atomic_store_n(&v->sequence, v->sequence + 1, __ATOMIC_SEQ_CST);
        set_clock(monotonic);
        __atomic_store_n(&v->sequence, v->sequence + 1, __ATOMIC_RELEASE);
    }
    v->wall_offset = xen_wall_offset();
    uint64_t now = hal_clock_monotonic() + v->wall_offset;
    v->boot_offset += now > wall ? now - wall : 0;
}

void clock_start(void)
{
    set_clock(1);
    vvar_page.wall_offset = xen_wall_offset();
    if (clock_bind_timer(0) != 0) {
        panic("clock: no event channel for the timer");
    }
    log_debug("clock: TSC at %llu kHz, %sstable", (unsigned long long)tsc_hz / 1000,
              stable ? "" : "not ");
}
