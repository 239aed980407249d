/* SPDX-License-Identifier: MIT */
/* nanosleep and clock_nanosleep. No state but the thread's restart block. */
#include <linux/errno.h>
#include <linux/time.h>

#include "core/sched/sched.h"
#include "core/signal/restart.h"
#include "core/syscall/syscall.h"
#include "core/time/clock.h"
#include "hal.h"

/* 0 at the deadline, or -EINTR. */
static int sleep_until(uint64_t deadline)
{
    int result;
    do {
        thread_prepare_sleep(THREAD_SLEEPING_SIGNAL);
        result = thread_sleep(deadline);
    } while (result == 0);
    return result == -ETIMEDOUT ? 0 : result;
}

static long sleep_relative(uint64_t deadline, uintptr_t remaining);

static long resume_sleep(const struct restart_block *restart)
{
    return sleep_relative(restart->argument[0], restart->argument[1]);
}

static long sleep_relative(uint64_t deadline, uintptr_t remaining)
{
    if (sleep_until(deadline) == 0) {
        return 0;
    }
    uint64_t now = hal_clock_monotonic();
    if (now >= deadline) {
        return 0;
    }
    if (remaining != 0 && timespec_to_user(remaining, deadline - now) != 0) {
        return -EFAULT;
    }
    return restart_later(resume_sleep, deadline, remaining, 0, 0);
}

long sys_nanosleep(struct syscall_args *a)
{
    uint64_t ns;
    int error = timespec_from_user(a->arg[0], &ns);
    return error != 0 ? error : sleep_relative(deadline_after(ns), a->arg[1]);
}

long sys_clock_nanosleep(struct syscall_args *a)
{
    int clock = (int)a->arg[0];
    uint64_t ns, offset = clock_offset(clock);
    switch (clock) {
    case CLOCK_REALTIME:
    case CLOCK_TAI:
    case CLOCK_MONOTONIC:
    case CLOCK_BOOTTIME:
        break;
    case CLOCK_PROCESS_CPUTIME_ID:
    case CLOCK_THREAD_CPUTIME_ID:
    case CLOCK_MONOTONIC_RAW:
    case CLOCK_REALTIME_COARSE:
    case CLOCK_MONOTONIC_COARSE:
        return -EOPNOTSUPP;
    default:
        return -EINVAL;
    }
    int error = timespec_from_user(a->arg[2], &ns);
    if (error != 0) {
        return error;
    }
    if ((a->arg[1] & TIMER_ABSTIME) == 0) {
        return sleep_relative(deadline_after(ns), a->arg[3]);
    }
    uint64_t deadline = ns == UINT64_MAX ? ns : ns > offset ? ns - offset : 0;
    return sleep_until(deadline) == 0 ? 0 : -ERESTARTNOHAND;
}
