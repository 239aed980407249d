/* SPDX-License-Identifier: MIT */
/* Clock ids, conversions, and the system calls that read clocks. Owns no state: the clocks are the
 * platform's. */
#include "core/time/clock.h"

#include <linux/errno.h>
#include <linux/time.h>

#include "core/lib/string.h"
#include "core/mm/vm.h"
#include "core/sched/sched.h"
#include "core/syscall/process.h"
#include "core/syscall/syscall.h"
#include "core/time/cpu_clock.h"
#include "core/time/cpu_timer.h"
#include "hal.h"

#define USER_TICKS_PER_SECOND 100 /* AT_CLKTCK */

uint64_t clock_offset(int clock_id)
{
    switch (clock_id) {
    case CLOCK_REALTIME:
    case CLOCK_REALTIME_ALARM:
    case CLOCK_TAI:
        return hal_clock_wall_offset();
    case CLOCK_BOOTTIME:
    case CLOCK_BOOTTIME_ALARM:
        return hal_clock_boot_offset();
    default:
        return 0;
    }
}

uint64_t clock_wall(void)
{
    return hal_clock_monotonic() + hal_clock_wall_offset();
}

uint64_t deadline_after(uint64_t ns)
{
    uint64_t now = hal_clock_monotonic();
    return ns < UINT64_MAX - now ? now + ns : UINT64_MAX;
}

int timespec_from_user(uintptr_t address, uint64_t *ns)
{
    struct timespec64 time;
    if (copy_from_user(&time, address, sizeof(time)) != 0) {
        return -EFAULT;
    }
    if (time.seconds < 0 || time.nanoseconds < 0 || time.nanoseconds >= (int64_t)NS_PER_SECOND) {
        return -EINVAL;
    }
    if ((uint64_t)time.seconds >= UINT64_MAX / NS_PER_SECOND) {
        *ns = UINT64_MAX;
    } else {
        *ns = (uint64_t)time.seconds * NS_PER_SECOND + (uint64_t)time.nanoseconds;
    }
    return 0;
}

int timespec_to_user(uintptr_t address, uint64_t ns)
{
    struct timespec64 time = {(int64_t)(ns / NS_PER_SECOND), (int64_t)(ns % NS_PER_SECOND)};
    return copy_to_user(address, &time, sizeof(time));
}

/* --- CPU-time clocks
 * -------------------------------------------------------------------------------------------------
 */

int cpu_clock_parse(int clock_id, struct cpu_clock *clock)
{
    *clock = (struct cpu_clock){0};
    if (clock_id == CLOCK_PROCESS_CPUTIME_ID) {
        return 0;
    }
    if (clock_id == CLOCK_THREAD_CPUTIME_ID) {
        clock->of_thread = true;
        clock->tid = current_thread()->tid;
        return 0;
    }
    /* A negative id has the complement of a pid or tid above three bits: 4 says thread, the rest
     * which time. */
    if (clock_id >= 0 || (clock_id & 3) == 3) {
        return -EINVAL;
    }
    int32_t id = ~(clock_id >> 3);
    clock->of_thread = (clock_id & 4) != 0;
    if (!clock->of_thread) {
        return id == 0 || id == PROCESS_ID ? 0 : -EINVAL;
    }
    clock->tid = id != 0 ? id : current_thread()->tid;
    return 0;
}

static int read_thread_time(struct thread *thread, void *ns)
{
    *(uint64_t *)ns = thread_cpu_time(thread);
    return 0;
}

static int cpu_clock_get(int clock_id, uint64_t *ns)
{
    struct cpu_clock clock;
    int error = cpu_clock_parse(clock_id, &clock);
    if (error != 0) {
        return error;
    }
    if (!clock.of_thread) {
        *ns = process_cpu_time();
        return 0;
    }
    if (clock.tid == current_thread()->tid) {
        *ns = thread_cpu_time(current_thread());
        return 0;
    }
    return thread_with(clock.tid, read_thread_time, ns) != 0 ? -EINVAL : 0;
}

int clock_get(int clock_id, uint64_t *ns)
{
    switch (clock_id) {
    case CLOCK_REALTIME:
    case CLOCK_REALTIME_COARSE:
    case CLOCK_TAI:
        *ns = clock_wall();
        return 0;
    case CLOCK_MONOTONIC:
    case CLOCK_MONOTONIC_RAW:
    case CLOCK_MONOTONIC_COARSE:
        *ns = hal_clock_monotonic();
        return 0;
    case CLOCK_BOOTTIME:
        *ns = hal_clock_monotonic() + clock_offset(clock_id);
        return 0;
    default:
        return cpu_clock_get(clock_id, ns);
    }
}

/* --- system calls
 * -----------------------------------------------------------------------------------------------------
 */

long sys_clock_gettime(struct syscall_args *a)
{
    uint64_t ns;
    int error = clock_get((int)a->arg[0], &ns);
    return error != 0 ? error : timespec_to_user(a->arg[1], ns);
}

long sys_clock_getres(struct syscall_args *a)
{
    uint64_t ns;
    int error = clock_get((int)a->arg[0], &ns);
    if (error != 0 || a->arg[1] == 0) {
        return error;
    }
    return timespec_to_user(a->arg[1], 1);
}

/* The time comes from the host and is not the program's to set. */
long sys_clock_settime(struct syscall_args *a)
{
    int id = (int)a->arg[0];
    uint64_t ns;
    if (id != CLOCK_REALTIME) {
        return -EINVAL;
    }
    int error = timespec_from_user(a->arg[1], &ns);
    return error != 0 ? error : -EPERM;
}

long sys_settimeofday(struct syscall_args *a)
{
    (void)a;
    return -EPERM;
}

struct timeval64 {
    int64_t seconds, microseconds;
};

static struct timeval64 to_timeval(uint64_t ns)
{
    return (struct timeval64){(int64_t)(ns / NS_PER_SECOND), (int64_t)(ns % NS_PER_SECOND / 1000)};
}

long sys_gettimeofday(struct syscall_args *a)
{
    struct timeval64 now = to_timeval(clock_wall());
    int32_t zone[2] = {0, 0};
    if (a->arg[0] != 0 && copy_to_user(a->arg[0], &now, sizeof(now)) != 0) {
        return -EFAULT;
    }
    return a->arg[1] != 0 ? copy_to_user(a->arg[1], zone, sizeof(zone)) : 0;
}

long sys_time(struct syscall_args *a)
{
    int64_t now = (int64_t)(clock_wall() / NS_PER_SECOND);
    if (a->arg[0] != 0 && copy_to_user(a->arg[0], &now, sizeof(now)) != 0) {
        return -EFAULT;
    }
    return now;
}

static int64_t to_ticks(uint64_t ns)
{
    return (int64_t)(ns / (NS_PER_SECOND / USER_TICKS_PER_SECOND));
}

long sys_times(struct syscall_args *a)
{
    int64_t times[4] = {to_ticks(process_cpu_time()), 0, 0, 0}; /* user, system, and of children */
    if (a->arg[0] != 0 && copy_to_user(a->arg[0], times, sizeof(times)) != 0) {
        return -EFAULT;
    }
    return to_ticks(hal_clock_monotonic());
}

#define RUSAGE_CHILDREN_ID (-1)
#define RUSAGE_SELF_ID 0
#define RUSAGE_THREAD_ID 1

long sys_getrusage(struct syscall_args *a)
{
    struct {
        struct timeval64 user, system;
        int64_t max_resident; /* KiB */
        int64_t others[13];
    } usage;
    _Static_assert(sizeof(usage) == 144, "struct rusage");
    int who = (int)a->arg[0];
    memset(&usage, 0, sizeof(usage));
    if (who == RUSAGE_SELF_ID || who == RUSAGE_THREAD_ID) {
        struct vm_usage memory;
        vm_usage(&memory);
        usage.max_resident = (int64_t)(memory.peak >> 10);
        usage.user = to_timeval(who == RUSAGE_SELF_ID ? process_cpu_time()
                                                      : thread_cpu_time(current_thread()));
    } else if (who != RUSAGE_CHILDREN_ID) {
        return -EINVAL;
    }
    return copy_to_user(a->arg[1], &usage, sizeof(usage));
}
