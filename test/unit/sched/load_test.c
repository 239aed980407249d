/* SPDX-License-Identifier: MIT */
/* core/sched/load.c: averages of a load that comes and goes, against the formula, and looks that
 * come late. */
#include "core/sched/load.h"

#include <math.h>

#include "core/sched/sched.h"
#include "core/time/clock.h"
#include "fakes/check.h"

static uint64_t now;
static struct cpu cpus[2];
static struct timer *armed;

uint64_t hal_clock_monotonic(void)
{
    return now;
}

unsigned hal_cpu_count(void)
{
    return 2;
}

struct cpu *cpu_by_id(unsigned id)
{
    return &cpus[id];
}

void timer_init(struct timer *timer, void (*expired)(struct timer *))
{
    timer->expired = expired;
}

void timer_arm(struct timer *timer, uint64_t deadline)
{
    timer->deadline = deadline;
    armed = timer;
}

/* Seconds in which `busy` of the CPUs run and `waiting` threads wait; the look comes when it is due
 * or `late` seconds after. */
static void pass(unsigned seconds, unsigned busy, unsigned waiting, unsigned late)
{
    for (unsigned id = 0; id < 2; id++) {
        cpus[id].run_count = id == 0 ? waiting : 0;
        cpus[id].idle_since = id < busy ? 0 : now + 1;
    }
    for (uint64_t end = now + seconds * NS_PER_SECOND; now < end;) {
        now = armed->deadline + late * NS_PER_SECOND;
        armed->expired(armed);
    }
    for (unsigned id = busy; id < 2; id++) {
        cpus[id].idle_ns += now - cpus[id].idle_since;
        cpus[id].idle_since = 0;
    }
}

static void expect(double one, double five, double fifteen)
{
    const double wanted[3] = {one, five, fifteen};
    uint64_t averages[3];
    load_averages(averages);
    for (unsigned i = 0; i < 3; i++) {
        double value = (double)averages[i] / LOAD_ONE;
        CHECK(fabs(value - wanted[i]) < 0.01, "average %u is %f, not %f", i, value, wanted[i]);
    }
}

int main(void)
{
    now = NS_PER_SECOND;
    load_start();
    expect(0, 0, 0);
    pass(300, 1, 0, 0);
    expect(1 - exp(-5), 1 - exp(-1), 1 - exp(-1. / 3));
    CHECK(cpu_idle_time(0, now) == 0 && cpu_idle_time(1, now) > 299 * NS_PER_SECOND, "idle time");
    pass(3600, 2, 3, 0);
    expect(5, 5, 5 - 4.72 * exp(-4));
    pass(60, 0, 0, 0);
    expect(5 * exp(-1), 5 * exp(-.2), 4.91 * exp(-1. / 15));
    pass(600, 1, 0, 55); /* as when the machine is paused again and again */
    expect(1, 1 + 3.09 * exp(-2), 1 + 3.59 * exp(-2. / 3));
    cpus[0].idle_since = 0;
    CHECK(cpu_active_threads() == 2, "threads that run");
    return 0;
}
