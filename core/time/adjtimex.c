/* SPDX-License-Identifier: MIT */
/* adjtimex(2): what is known of how good the clock is. The time comes from the host and is not the
 * program's to set. */
#include <linux/errno.h>
#include <linux/time.h>
#include <linux/timex.h>

#include "core/lib/string.h"
#include "core/syscall/syscall.h"
#include "core/time/clock.h"
#include "hal.h"

#define MICROSECONDS_MAX                                                                           \
    16000000          /* an error that is not known: NTP_PHASE_LIMIT of Linux's timex.h */
#define TICK_US 10000 /* of USER_HZ */
#define FREQUENCY_MAX (500 << 16) /* the tolerance of 500 ppm */

static long read_clock(uintptr_t address)
{
    struct __kernel_timex timex;
    if (copy_from_user(&timex, address, sizeof(timex)) != 0) {
        return -EFAULT;
    }
    if (timex.modes != 0 && timex.modes != ADJ_OFFSET_SS_READ) {
        return -EPERM;
    }
    uint64_t now = clock_wall();
    memset(&timex, 0, sizeof(timex));
    timex.maxerror = timex.esterror = MICROSECONDS_MAX;
    timex.status = STA_UNSYNC; /* nobody here compares it with a reference */
    timex.constant = 2;
    timex.precision = 1;
    timex.tolerance = FREQUENCY_MAX;
    timex.tick = TICK_US;
    timex.time.tv_sec = (long long)(now / NS_PER_SECOND);
    timex.time.tv_usec = (long long)(now % NS_PER_SECOND / 1000);
    return copy_to_user(address, &timex, sizeof(timex)) != 0 ? -EFAULT : TIME_ERROR;
}

long sys_adjtimex(struct syscall_args *a)
{
    return read_clock(a->arg[0]);
}

long sys_clock_adjtime(struct syscall_args *a)
{
    uint64_t ns;
    int id = (int)a->arg[0];
    if (id != CLOCK_REALTIME) {
        return clock_get(id, &ns) != 0 ? -EINVAL : -EOPNOTSUPP;
    }
    return read_clock(a->arg[1]);
}
