/* SPDX-License-Identifier: MIT */
/* How much the CPUs have to do: their idle time, and the averages of /proc/loadavg, in which what
 * was fades with time. Every 5 seconds they take up how many threads have run since (by the idle
 * time, so nothing between two looks is missed) and how many wait now. load_lock guards them. */
#include "core/sched/load.h"

#include "core/sched/sched.h"
#include "core/time/clock.h"

#define LOOK_NS (5 * NS_PER_SECOND)

static struct spinlock load_lock = SPINLOCK_INIT(LOCK_CLASS_NONE); /* nothing is taken inside */
static struct timer look;
static uint64_t averages[3], looked_ns, busy_ns;

uint64_t cpu_idle_time(unsigned id, uint64_t now)
{
    struct cpu *cpu = cpu_by_id(id);
    for (;;) {
        uint64_t since = __atomic_load_n(&cpu->idle_since, __ATOMIC_ACQUIRE);
        uint64_t idle = __atomic_load_n(&cpu->idle_ns, __ATOMIC_ACQUIRE);
        if (__atomic_load_n(&cpu->idle_since, __ATOMIC_ACQUIRE) == since &&
            __atomic_load_n(&cpu->idle_ns, __ATOMIC_ACQUIRE) == idle) {
            idle += since != 0 && since < now ? now - since : 0;
            return idle < now ? idle : now;
        }
    }
}

static unsigned waiting_threads(void)
{
    unsigned waiting = 0;
    for (unsigned id = 0; id < hal_cpu_count(); id++) {
        waiting += __atomic_load_n(&cpu_by_id(id)->run_count, __ATOMIC_RELAXED);
    }
    return waiting;
}

unsigned cpu_active_threads(void)
{
    unsigned running = 0;
    for (unsigned id = 0; id < hal_cpu_count(); id++) {
        running += __atomic_load_n(&cpu_by_id(id)->idle_since, __ATOMIC_RELAXED) == 0;
    }
    return running + waiting_threads();
}

static uint64_t busy_time(uint64_t now)
{
    uint64_t busy = 0;
    for (unsigned id = 0; id < hal_cpu_count(); id++) {
        busy += now - cpu_idle_time(id, now);
    }
    return busy;
}

void load_step(uint64_t values[3], uint64_t active)
{
    /* What is left of an average after 5 seconds: exp(-5 s / its length). */
    static const uint32_t left[3] = {60296, 64453, 65173};
    for (unsigned i = 0; i < 3; i++) {
        values[i] = (values[i] * left[i] + active * (LOAD_ONE - left[i]) + LOAD_ONE / 2) / LOAD_ONE;
    }
}

/* Interrupt context. When it comes late, as after a pause of the machine, what ran counts for each
 * of the periods that have passed; a day is enough for any average to be forgotten. */
static void take_look(struct timer *timer)
{
    uint64_t now = hal_clock_monotonic(), passed = now - looked_ns;
    uint64_t busy = busy_time(now), more = busy > busy_ns ? busy - busy_ns : 0;
    uint64_t active = more * 1000 / passed * LOAD_ONE / 1000 + waiting_threads() * LOAD_ONE;
    uint64_t periods = passed / LOOK_NS < 86400 / 5 ? passed / LOOK_NS : 86400 / 5;
    spin_lock(&load_lock);
    for (uint64_t i = 0; i < periods; i++) {
        load_step(averages, active);
    }
    spin_unlock(&load_lock);
    looked_ns = now;
    busy_ns = busy;
    timer_arm(timer, now + LOOK_NS);
}

void load_start(void)
{
    looked_ns = hal_clock_monotonic();
    busy_ns = busy_time(looked_ns);
    timer_init(&look, take_look);
    timer_arm(&look, looked_ns + LOOK_NS);
}

void load_averages(uint64_t out[3])
{
    bool irq = spin_lock_irqsave(&load_lock);
    for (unsigned i = 0; i < 3; i++) {
        out[i] = averages[i];
    }
    spin_unlock_irqrestore(&load_lock, irq);
}
