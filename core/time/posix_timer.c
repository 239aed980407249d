/* SPDX-License-Identifier: MIT */
/* Timers that send signals: those of timer_create and the three of setitimer. `calls` serialises
 * the system calls; `table_lock` guards the table of timers for those who come without it. A
 * callback reads only what its timer's owner set before arming, and arms again only while `active`.
 */
#include <asm/siginfo.h>
#include <asm/signal.h>
#include <linux/errno.h>
#include <linux/time.h>

#include "core/time/posix_timer.h"

#include "core/lib/string.h"
#include "core/mm/kmalloc.h"
#include "core/sched/sched.h"
#include "core/signal/signal.h"
#include "core/syscall/syscall.h"
#include "core/time/clock.h"
#include "core/time/cpu_clock.h"
#include "core/time/cpu_timer.h"
#include "hal.h"

#define SIGNAL_MAX 64

enum timer_base { BASE_MONOTONIC, BASE_WALL, BASE_BOOT, BASE_THREAD, BASE_PROCESS };

struct posix_timer {
    int32_t id; /* -1: an interval timer */
    enum timer_base base;
    int32_t base_tid; /* BASE_THREAD: whose time */
    int32_t notify;   /* SIGEV_ */
    int32_t notify_tid;
    int32_t signal;
    uint64_t value;              /* for the handler */
    int32_t overrun;             /* of the signal delivered last; table_lock */
    bool active;                 /* may arm itself again; atomic */
    uint64_t deadline, interval; /* monotonic ns; written by the callback while active */
    struct timer timer;
    struct cpu_timer cpu;
};

/* sigev_notify; SIGEV_THREAD_ID may come alone or with SIGEV_SIGNAL, which is 0. */
struct signal_event {
    uint64_t value;
    int32_t signal, notify, tid, padding[11];
};
_Static_assert(sizeof(struct signal_event) == 64, "struct sigevent");

static struct mutex calls = MUTEX_INIT(calls);
static struct spinlock table_lock = SPINLOCK_INIT(LOCK_TIMER);
static struct posix_timer **table; /* by id, NULL: free; written under both locks */
static int32_t table_size;

/* --- expiring
 * -----------------------------------------------------------------------------------------------------
 */

static int send_to(struct thread *thread, void *info)
{
    signal_send_thread(thread, info);
    return 0;
}

static void send(struct posix_timer *timer, uint32_t overrun)
{
    struct signal_info info = {.signo = timer->signal, .code = SI_KERNEL};
    if (timer->id >= 0) {
        info.code = SI_TIMER;
        info.timer.timer_id = timer->id;
        info.timer.overrun = (int32_t)overrun;
        info.timer.value = timer->value;
    }
    if ((timer->notify & SIGEV_THREAD_ID) != 0) {
        thread_with(timer->notify_tid, send_to, &info);
    } else if (timer->notify != SIGEV_NONE) {
        signal_send_process(&info);
    }
}

static void clock_expired(struct timer *clock)
{
    struct posix_timer *timer = container_of(clock, struct posix_timer, timer);
    uint32_t overrun = 0;
    if (!__atomic_load_n(&timer->active, __ATOMIC_ACQUIRE)) {
        return;
    }
    if (timer->interval != 0) {
        timer->deadline =
            interval_next(timer->deadline, hal_clock_monotonic(), timer->interval, &overrun);
        timer_arm(clock, timer->deadline);
    } else {
        __atomic_store_n(&timer->active, false, __ATOMIC_RELEASE);
    }
    send(timer, overrun);
}

static void cpu_expired(struct cpu_timer *cpu, uint32_t overrun)
{
    send(container_of(cpu, struct posix_timer, cpu), overrun);
}

/* --- setting, under `calls`
 * --------------------------------------------------------------------------------------- */

static void timer_setup(struct posix_timer *timer)
{
    timer_init(&timer->timer, clock_expired);
    cpu_timer_init(&timer->cpu, cpu_expired);
}

static bool on_cpu_time(const struct posix_timer *timer)
{
    return timer->base == BASE_THREAD || timer->base == BASE_PROCESS;
}

static void stop(struct posix_timer *timer)
{
    if (on_cpu_time(timer)) {
        cpu_timer_cancel(&timer->cpu);
        return;
    }
    __atomic_store_n(&timer->active, false, __ATOMIC_SEQ_CST);
    timer_cancel(&timer->timer);
    timer_cancel(&timer->timer); /* a callback that ran meanwhile may have armed it once more */
}

static void time_left(struct posix_timer *timer, uint64_t *left, uint64_t *interval)
{
    if (on_cpu_time(timer)) {
        *left = cpu_timer_left(&timer->cpu, interval);
        return;
    }
    uint64_t now = hal_clock_monotonic();
    uint64_t deadline = timer->deadline;
    bool active = __atomic_load_n(&timer->active, __ATOMIC_ACQUIRE);
    *interval = timer->interval;
    *left = !active ? 0 : deadline > now ? deadline - now : 1;
}

struct cpu_start {
    struct posix_timer *timer;
    uint64_t value, interval;
    bool absolute;
};

static int start_on_thread(struct thread *thread, void *context)
{
    const struct cpu_start *start = context;
    uint64_t time = cpu_timer_time(thread);
    uint64_t expires = start->absolute ? start->value : time + start->value;
    cpu_timer_arm(&start->timer->cpu, thread, expires, start->interval);
    return 0;
}

static void start_on_cpu_time(struct posix_timer *timer, uint64_t value, uint64_t interval,
                              bool absolute)
{
    struct cpu_start start = {timer, value, interval, absolute};
    if (timer->base == BASE_THREAD) {
        thread_with(timer->base_tid, start_on_thread,
                    &start); /* a thread that has ended uses no time */
        return;
    }
    if (absolute) {
        uint64_t time = process_cpu_time();
        value = value > time ? value - time : 0;
    }
    cpu_timer_arm(&timer->cpu, NULL, cpu_timer_time(NULL) + value, interval);
}

/* Stops the timer and starts it anew unless `value` is 0. */
static void set(struct posix_timer *timer, uint64_t value, uint64_t interval, bool absolute)
{
    stop(timer);
    timer->interval = interval;
    if (value == 0) {
        return;
    }
    if (on_cpu_time(timer)) {
        start_on_cpu_time(timer, value, interval, absolute);
        return;
    }
    if (!absolute) {
        timer->deadline = deadline_after(value);
    } else {
        uint64_t zero = timer->base == BASE_WALL   ? hal_clock_wall_offset()
                        : timer->base == BASE_BOOT ? hal_clock_boot_offset()
                                                   : 0;
        timer->deadline = value == UINT64_MAX ? value : value > zero ? value - zero : 0;
    }
    __atomic_store_n(&timer->active, true, __ATOMIC_RELEASE);
    if (timer->notify != SIGEV_NONE) {
        timer_arm(&timer->timer, timer->deadline);
    }
}

/* --- timer_create and its family
 * ---------------------------------------------------------------------------------- */

static int parse_clock(int clock_id, struct posix_timer *timer)
{
    struct cpu_clock clock;
    switch (clock_id) {
    case CLOCK_REALTIME:
    case CLOCK_TAI:
        timer->base = BASE_WALL;
        return 0;
    case CLOCK_BOOTTIME:
        timer->base = BASE_BOOT;
        return 0;
    case CLOCK_MONOTONIC:
        timer->base = BASE_MONOTONIC;
        return 0;
    case CLOCK_MONOTONIC_RAW:
    case CLOCK_REALTIME_COARSE:
    case CLOCK_MONOTONIC_COARSE:
        return -EOPNOTSUPP;
    default:
        break;
    }
    int error = cpu_clock_parse(clock_id, &clock);
    timer->base = clock.of_thread ? BASE_THREAD : BASE_PROCESS;
    timer->base_tid = clock.tid;
    return error;
}

static int exists(struct thread *thread, void *unused)
{
    (void)thread;
    (void)unused;
    return 0;
}

static int parse_event(const struct signal_event *event, struct posix_timer *timer)
{
    timer->notify = event->notify;
    timer->notify_tid = event->tid;
    timer->signal = event->signal;
    timer->value = event->value;
    switch (event->notify) {
    case SIGEV_SIGNAL | SIGEV_THREAD_ID:
        if (thread_with(event->tid, exists, NULL) != 0) {
            return -EINVAL;
        }
        __attribute__((fallthrough));
    case SIGEV_SIGNAL:
    case SIGEV_THREAD:
        return event->signal >= 1 && event->signal <= SIGNAL_MAX ? 0 : -EINVAL;
    case SIGEV_NONE:
        return 0;
    default:
        return -EINVAL;
    }
}

/* Gives the timer the lowest free id. */
static int enter(struct posix_timer *timer)
{
    int32_t id = 0;
    while (id < table_size && table[id] != NULL) {
        id++;
    }
    struct posix_timer **old = NULL, **larger = NULL;
    int32_t larger_size = table_size != 0 ? 2 * table_size : 16;
    if (id == table_size) {
        larger = kzalloc((size_t)larger_size * sizeof(struct posix_timer *));
        if (larger == NULL) {
            return -EAGAIN;
        }
        if (table_size != 0) {
            memcpy(larger, table, (size_t)table_size * sizeof(struct posix_timer *));
        }
    }
    timer->id = id;
    bool irq = spin_lock_irqsave(&table_lock);
    if (larger != NULL) {
        old = table;
        table = larger;
        table_size = larger_size;
    }
    table[id] = timer;
    spin_unlock_irqrestore(&table_lock, irq);
    kfree(old);
    return 0;
}

static void leave(struct posix_timer *timer)
{
    bool irq = spin_lock_irqsave(&table_lock);
    table[timer->id] = NULL;
    spin_unlock_irqrestore(&table_lock, irq);
}

static struct posix_timer *find(uint64_t argument)
{
    int32_t id = (int32_t)argument;
    return id >= 0 && id < table_size ? table[id] : NULL;
}

long sys_timer_create(struct syscall_args *a)
{
    struct signal_event event = {.signal = SIGALRM, .notify = SIGEV_SIGNAL};
    if (a->arg[1] != 0 && copy_from_user(&event, a->arg[1], sizeof(event)) != 0) {
        return -EFAULT;
    }
    struct posix_timer *timer = kzalloc(sizeof(*timer));
    if (timer == NULL) {
        return -EAGAIN;
    }
    timer_setup(timer);
    int error = parse_clock((int)a->arg[0], timer);
    if (error == 0) {
        error = parse_event(&event, timer);
    }
    mutex_lock(&calls);
    if (error == 0) {
        error = enter(timer);
    }
    if (error == 0) {
        if (a->arg[1] == 0) {
            timer->value = (uint64_t)timer->id;
        }
        error = copy_to_user(a->arg[2], &timer->id, sizeof(timer->id));
        if (error != 0) {
            leave(timer);
        }
    }
    mutex_unlock(&calls);
    if (error != 0) {
        kfree(timer);
    }
    return error;
}

/* struct itimerspec: the interval, then the time to the next expiry. */
static int write_times(uintptr_t to, uint64_t left, uint64_t interval)
{
    int error = timespec_to_user(to, interval);
    return error != 0 ? error : timespec_to_user(to + sizeof(struct timespec64), left);
}

long sys_timer_settime(struct syscall_args *a)
{
    uint64_t value, interval, old_left, old_interval;
    if (a->arg[2] == 0) {
        return -EINVAL;
    }
    int error = timespec_from_user(a->arg[2], &interval);
    if (error == 0) {
        error = timespec_from_user(a->arg[2] + sizeof(struct timespec64), &value);
    }
    if (error != 0) {
        return error;
    }
    mutex_lock(&calls);
    struct posix_timer *timer = find(a->arg[0]);
    if (timer != NULL) {
        time_left(timer, &old_left, &old_interval);
        set(timer, value, interval, (a->arg[1] & TIMER_ABSTIME) != 0);
    }
    mutex_unlock(&calls);
    if (timer == NULL) {
        return -EINVAL;
    }
    return a->arg[3] != 0 ? write_times(a->arg[3], old_left, old_interval) : 0;
}

long sys_timer_gettime(struct syscall_args *a)
{
    uint64_t left, interval;
    mutex_lock(&calls);
    struct posix_timer *timer = find(a->arg[0]);
    if (timer != NULL) {
        time_left(timer, &left, &interval);
    }
    mutex_unlock(&calls);
    return timer != NULL ? write_times(a->arg[1], left, interval) : -EINVAL;
}

long sys_timer_getoverrun(struct syscall_args *a)
{
    mutex_lock(&calls);
    struct posix_timer *timer = find(a->arg[0]);
    long overrun = timer != NULL ? __atomic_load_n(&timer->overrun, __ATOMIC_RELAXED) : -EINVAL;
    mutex_unlock(&calls);
    return overrun;
}

long sys_timer_delete(struct syscall_args *a)
{
    mutex_lock(&calls);
    struct posix_timer *timer = find(a->arg[0]);
    if (timer != NULL) {
        leave(timer);
        stop(timer);
    }
    mutex_unlock(&calls);
    kfree(timer);
    return timer != NULL ? 0 : -EINVAL;
}

void posix_timer_delivered(int32_t id, int32_t overrun)
{
    bool irq = spin_lock_irqsave(&table_lock);
    if (id >= 0 && id < table_size && table[id] != NULL) {
        __atomic_store_n(&table[id]->overrun, overrun, __ATOMIC_RELAXED);
    }
    spin_unlock_irqrestore(&table_lock, irq);
}

/* --- setitimer
 * ------------------------------------------------------------------------------------------------------
 */

/* User and system time are not told apart, so ITIMER_VIRTUAL counts both. */
static struct posix_timer interval_timers[] = {
    [ITIMER_REAL] = {.id = -1, .base = BASE_MONOTONIC, .signal = SIGALRM},
    [ITIMER_VIRTUAL] = {.id = -1, .base = BASE_PROCESS, .signal = SIGVTALRM},
    [ITIMER_PROF] = {.id = -1, .base = BASE_PROCESS, .signal = SIGPROF},
};

#define INTERVAL_TIMER_COUNT (sizeof(interval_timers) / sizeof(interval_timers[0]))

/* Under `calls`. */
static struct posix_timer *interval_timer(unsigned which)
{
    struct posix_timer *timer = &interval_timers[which];
    if (timer->timer.expired == NULL) {
        timer_setup(timer);
    }
    return timer;
}

/* struct itimerval, in microseconds: interval and value, as seconds and microseconds each. */
static int timevals_from_user(uintptr_t from, uint64_t *interval, uint64_t *value)
{
    int64_t times[4];
    uint64_t *out[2] = {interval, value};
    if (copy_from_user(times, from, sizeof(times)) != 0) {
        return -EFAULT;
    }
    for (unsigned i = 0; i < 2; i++) {
        int64_t seconds = times[2 * i], microseconds = times[2 * i + 1];
        if (seconds < 0 || microseconds < 0 || microseconds >= 1000000) {
            return -EINVAL;
        }
        bool fits = (uint64_t)seconds < UINT64_MAX / NS_PER_SECOND;
        *out[i] =
            fits ? (uint64_t)seconds * NS_PER_SECOND + (uint64_t)microseconds * 1000 : UINT64_MAX;
    }
    return 0;
}

static int timevals_to_user(uintptr_t to, uint64_t interval, uint64_t left)
{
    uint64_t us = left / 1000 + (left % 1000 != 0); /* never 0 while it runs */
    int64_t times[4] = {(int64_t)(interval / NS_PER_SECOND),
                        (int64_t)(interval % NS_PER_SECOND / 1000), (int64_t)(us / 1000000),
                        (int64_t)(us % 1000000)};
    return copy_to_user(to, times, sizeof(times));
}

long sys_setitimer(struct syscall_args *a)
{
    uint64_t value = 0, interval = 0, old_left, old_interval;
    if ((uint32_t)a->arg[0] >= INTERVAL_TIMER_COUNT) {
        return -EINVAL;
    }
    int error = a->arg[1] != 0 ? timevals_from_user(a->arg[1], &interval, &value) : 0;
    if (error != 0) {
        return error;
    }
    mutex_lock(&calls);
    struct posix_timer *timer = interval_timer((uint32_t)a->arg[0]);
    time_left(timer, &old_left, &old_interval);
    set(timer, value, interval, false);
    mutex_unlock(&calls);
    return a->arg[2] != 0 ? timevals_to_user(a->arg[2], old_interval, old_left) : 0;
}

long sys_getitimer(struct syscall_args *a)
{
    uint64_t left, interval;
    if ((uint32_t)a->arg[0] >= INTERVAL_TIMER_COUNT) {
        return -EINVAL;
    }
    mutex_lock(&calls);
    time_left(interval_timer((uint32_t)a->arg[0]), &left, &interval);
    mutex_unlock(&calls);
    return timevals_to_user(a->arg[1], interval, left);
}

long sys_alarm(struct syscall_args *a)
{
    uint64_t left, interval;
    mutex_lock(&calls);
    struct posix_timer *timer = interval_timer(ITIMER_REAL);
    time_left(timer, &left, &interval);
    set(timer, (uint32_t)a->arg[0] * NS_PER_SECOND, 0, false);
    mutex_unlock(&calls);
    return (long)((left + NS_PER_SECOND - 1) / NS_PER_SECOND);
}
