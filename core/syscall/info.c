/* SPDX-License-Identifier: MIT */
/* What the program asks about itself and the machine: ids, names, limits, affinity, random bytes.
 * The process is pid 1 in a session of its own. `limits` is guarded by limits_lock.
 */
#include <asm/prctl.h>
#include <linux/errno.h>
#include <linux/prctl.h>
#include <linux/random.h>
#include <linux/resource.h>
#include <linux/sysinfo.h>
#include <linux/utsname.h>

#include "core/fs/file.h"
#include "core/fs/fs.h"
#include "core/lib/random.h"
#include "core/lib/string.h"
#include "core/mm/page.h"
#include "core/mm/vm.h"
#include "core/sched/load.h"
#include "core/sched/sched.h"
#include "core/syscall/process.h"
#include "core/syscall/syscall.h"
#include "core/time/clock.h"
#include "hal.h"

#define PARENT_PROCESS_ID 0

/* --- ids
 * ------------------------------------------------------------------------------------------------------------
 */

long sys_getpid(struct syscall_args *a)
{
    (void)a;
    return PROCESS_ID;
}

long sys_getppid(struct syscall_args *a)
{
    (void)a;
    return PARENT_PROCESS_ID;
}

long sys_gettid(struct syscall_args *a)
{
    (void)a;
    return current_thread()->tid;
}

long sys_getpgrp(struct syscall_args *a)
{
    (void)a;
    return PROCESS_ID;
}

static long group_of(uint64_t argument)
{
    int32_t pid = (int32_t)argument;
    return pid == 0 || pid == PROCESS_ID ? PROCESS_ID : -ESRCH;
}

long sys_getpgid(struct syscall_args *a)
{
    return group_of(a->arg[0]);
}

long sys_getsid(struct syscall_args *a)
{
    return group_of(a->arg[0]);
}

/* A session leader can neither move to another group nor start a session (setpgid(2), setsid(2)).
 */
long sys_setpgid(struct syscall_args *a)
{
    long group = group_of(a->arg[0]);
    return group < 0 ? group : (int32_t)a->arg[1] < 0 ? -EINVAL : -EPERM;
}

long sys_setsid(struct syscall_args *a)
{
    (void)a;
    return -EPERM;
}

/* --- the machine
 * ----------------------------------------------------------------------------------------------------
 */

long sys_uname(struct syscall_args *a)
{
    struct new_utsname name;
    memset(&name, 0, sizeof(name));
    strncpy(name.sysname, "Linux", sizeof(name.sysname) - 1);
    strncpy(name.nodename, fs_host_name(), sizeof(name.nodename) - 1);
    strncpy(name.release, "6.6.0-unigornel", sizeof(name.release) - 1);
    strncpy(name.version, "#1 SMP", sizeof(name.version) - 1);
    strncpy(name.machine, "x86_64", sizeof(name.machine) - 1);
    strncpy(name.domainname, "(none)", sizeof(name.domainname) - 1);
    return copy_to_user(a->arg[0], &name, sizeof(name));
}

long sys_sethostname(struct syscall_args *a)
{
    char name[__NEW_UTS_LEN];
    if (a->arg[1] > sizeof(name)) {
        return -EINVAL;
    }
    if (copy_from_user(name, a->arg[0], a->arg[1]) != 0) {
        return -EFAULT;
    }
    fs_set_host_name(name, a->arg[1]);
    return 0;
}

long sys_sysinfo(struct syscall_args *a)
{
    struct sysinfo info;
    memset(&info, 0, sizeof(info));
    info.uptime = (long)(hal_clock_monotonic() / NS_PER_SECOND);
    info.totalram = page_total() * PAGE_SIZE;
    info.freeram = page_free_count() * PAGE_SIZE;
    info.procs = (uint16_t)thread_count();
    info.mem_unit = 1;
    uint64_t loads[3];
    load_averages(loads);
    for (unsigned i = 0; i < 3; i++) {
        info.loads[i] = loads[i]; /* SI_LOAD_SHIFT is 16 */
    }
    return copy_to_user(a->arg[0], &info, sizeof(info));
}

/* --- limits
 * ---------------------------------------------------------------------------------------------------------
 */

#define STACK_LIMIT (8ull << 20)
#define UNLIMITED (~0ull)
#define NO_LIMIT                                                                                   \
    {                                                                                              \
        UNLIMITED, UNLIMITED                                                                       \
    }

static struct spinlock limits_lock = SPINLOCK_INIT(LOCK_CLASS_NONE);
static struct rlimit64 limits[RLIM_NLIMITS] = {
    [RLIMIT_CPU] = NO_LIMIT,        [RLIMIT_FSIZE] = NO_LIMIT,
    [RLIMIT_DATA] = NO_LIMIT,       [RLIMIT_STACK] = {STACK_LIMIT, UNLIMITED},
    [RLIMIT_CORE] = {0, UNLIMITED}, [RLIMIT_RSS] = NO_LIMIT,
    [RLIMIT_NPROC] = NO_LIMIT,      [RLIMIT_NOFILE] = {0, FD_MAX}, /* the soft limit is fd_limit */
    [RLIMIT_MEMLOCK] = NO_LIMIT,    [RLIMIT_AS] = NO_LIMIT,
    [RLIMIT_LOCKS] = NO_LIMIT,      [RLIMIT_SIGPENDING] = NO_LIMIT,
    [RLIMIT_RTTIME] = NO_LIMIT,
};

/* A limit that we would not keep is not taken, unless it says what is so anyway. */
static bool can_be_set(unsigned resource, const struct rlimit64 *new)
{
    switch (resource) {
    case RLIMIT_NOFILE:
        return new->rlim_max <= FD_MAX;
    case RLIMIT_STACK:
    case RLIMIT_CORE:
    case RLIMIT_AS:
        return true;
    default:
        return new->rlim_cur == limits[resource].rlim_cur;
    }
}

static int set_limit(unsigned resource, const struct rlimit64 *new)
{
    if (new->rlim_cur > new->rlim_max) {
        return -EINVAL;
    }
    if (!can_be_set(resource, new)) {
        return -EPERM;
    }
    limits[resource] = *new;
    if (resource == RLIMIT_NOFILE) {
        __atomic_store_n(&fd_limit, (uint32_t) new->rlim_cur, __ATOMIC_RELAXED);
    } else if (resource == RLIMIT_AS) {
        vm_limit_addresses(new->rlim_cur);
    }
    return 0;
}

static int exchange_limit(unsigned resource, const struct rlimit64 *new, struct rlimit64 *old)
{
    if (resource >= RLIM_NLIMITS) {
        return -EINVAL;
    }
    spin_lock(&limits_lock);
    *old = limits[resource];
    if (resource == RLIMIT_NOFILE) {
        old->rlim_cur = __atomic_load_n(&fd_limit, __ATOMIC_RELAXED);
    }
    int error = new != NULL ? set_limit(resource, new) : 0;
    spin_unlock(&limits_lock);
    return error;
}

void process_limit(unsigned resource, uint64_t *soft, uint64_t *hard)
{
    struct rlimit64 limit = NO_LIMIT;
    (void)exchange_limit(resource, NULL, &limit);
    *soft = limit.rlim_cur;
    *hard = limit.rlim_max;
}

long sys_prlimit64(struct syscall_args *a)
{
    struct rlimit64 new, old;
    if (group_of(a->arg[0]) < 0) {
        return -ESRCH;
    }
    if (a->arg[2] != 0 && copy_from_user(&new, a->arg[2], sizeof(new)) != 0) {
        return -EFAULT;
    }
    int error = exchange_limit((unsigned)a->arg[1], a->arg[2] != 0 ? &new : NULL, &old);
    if (error != 0 || a->arg[3] == 0) {
        return error;
    }
    return copy_to_user(a->arg[3], &old, sizeof(old));
}

long sys_getrlimit(struct syscall_args *a)
{
    struct rlimit64 old;
    int error = exchange_limit((unsigned)a->arg[0], NULL, &old);
    return error != 0 ? error : copy_to_user(a->arg[1], &old, sizeof(old));
}

long sys_setrlimit(struct syscall_args *a)
{
    struct rlimit64 new, old;
    if (copy_from_user(&new, a->arg[1], sizeof(new)) != 0) {
        return -EFAULT;
    }
    return exchange_limit((unsigned)a->arg[0], &new, &old);
}

/* --- the thread
 * -----------------------------------------------------------------------------------------------------
 */

/* PR_SET_VMA among what is refused: a runtime that is told it works would call it for every
 * mapping. */
long sys_prctl(struct syscall_args *a)
{
    struct thread *thread = current_thread();
    char name[sizeof(thread->name)];
    switch ((int)a->arg[0]) {
    case PR_SET_NAME: {
        memset(name, 0, sizeof(name));
        long length = copy_string_from_user(name, a->arg[1], sizeof(name));
        if (length == -ENAMETOOLONG) {
            length = copy_from_user(name, a->arg[1], sizeof(name) - 1);
        }
        if (length < 0) {
            return length;
        }
        name[sizeof(name) - 1] = 0;
        memcpy(thread->name, name, sizeof(name));
        return 0;
    }
    case PR_GET_NAME:
        return copy_to_user(a->arg[1], thread->name, sizeof(thread->name));
    case PR_SET_KEEPCAPS:
        if (a->arg[1] > 1) {
            return -EINVAL;
        }
        thread->credentials.keep_capabilities = a->arg[1] != 0;
        return 0;
    case PR_GET_KEEPCAPS:
        return thread->credentials.keep_capabilities;
    default:
        return -EINVAL;
    }
}

/* GS is the kernel's. */
long sys_arch_prctl(struct syscall_args *a)
{
    struct thread *thread = current_thread();
    switch ((int)a->arg[0]) {
    case ARCH_SET_FS: {
        if (a->arg[1] >= USER_END) {
            return -EPERM;
        }
        bool irq = hal_irq_save();
        thread->hal.fs_base = a->arg[1];
        hal_set_fs_base(a->arg[1]);
        hal_irq_restore(irq);
        return 0;
    }
    case ARCH_GET_FS:
        return copy_to_user(a->arg[1], &thread->hal.fs_base, sizeof(thread->hal.fs_base));
    case ARCH_SET_GS:
    case ARCH_GET_GS:
        return -EPERM;
    default:
        return -EINVAL;
    }
}

long sys_set_tid_address(struct syscall_args *a)
{
    current_thread()->clear_tid = a->arg[0];
    return current_thread()->tid;
}

#define ROBUST_LIST_HEAD_SIZE 24 /* struct robust_list_head */

long sys_set_robust_list(struct syscall_args *a)
{
    if (a->arg[1] != ROBUST_LIST_HEAD_SIZE) {
        return -EINVAL;
    }
    current_thread()->robust_list = a->arg[0];
    return 0;
}

long sys_personality(struct syscall_args *a)
{
    uint32_t wanted = (uint32_t)a->arg[0];
    return wanted == 0 || wanted == UINT32_MAX ? 0 : -EINVAL;
}

/* --- scheduling
 * -----------------------------------------------------------------------------------------------------
 */

long sys_sched_yield(struct syscall_args *a)
{
    (void)a;
    thread_yield();
    return 0;
}

static int read_affinity(struct thread *thread, void *mask)
{
    *(uint64_t *)mask = thread->affinity;
    return 0;
}

static int write_affinity(struct thread *thread, void *mask)
{
    sched_set_affinity(thread, *(uint64_t *)mask);
    return 0;
}

static int32_t thread_argument(uint64_t argument)
{
    return argument != 0 ? (int32_t)argument : current_thread()->tid;
}

long sys_sched_getaffinity(struct syscall_args *a)
{
    uint64_t mask;
    if (a->arg[1] % sizeof(mask) != 0 || a->arg[1] * 8 < hal_cpu_count()) {
        return -EINVAL;
    }
    int error = thread_with(thread_argument(a->arg[0]), read_affinity, &mask);
    if (error != 0) {
        return error;
    }
    mask &= sched_online_cpus();
    return copy_to_user(a->arg[2], &mask, sizeof(mask)) != 0 ? -EFAULT : (long)sizeof(mask);
}

long sys_sched_setaffinity(struct syscall_args *a)
{
    uint64_t mask = 0;
    size_t size = a->arg[1] < sizeof(mask) ? a->arg[1] : sizeof(mask);
    if (copy_from_user(&mask, a->arg[2], size) != 0) {
        return -EFAULT;
    }
    mask &= sched_online_cpus();
    if (mask == 0) {
        return -EINVAL;
    }
    return thread_with(thread_argument(a->arg[0]), write_affinity, &mask);
}

long sys_getcpu(struct syscall_args *a)
{
    uint32_t cpu = hal_this_cpu()->id, node = 0;
    if (a->arg[0] != 0 && copy_to_user(a->arg[0], &cpu, sizeof(cpu)) != 0) {
        return -EFAULT;
    }
    return a->arg[1] != 0 ? copy_to_user(a->arg[1], &node, sizeof(node)) : 0;
}

/* The nice value 0 of everybody, as the system call gives it: 20 - nice. */
long sys_getpriority(struct syscall_args *a)
{
    int which = (int)a->arg[0];
    if (which != PRIO_PROCESS && which != PRIO_PGRP && which != PRIO_USER) {
        return -EINVAL;
    }
    if (which != PRIO_USER && group_of(a->arg[1]) < 0) {
        return -ESRCH;
    }
    return 20;
}

/* MEMBARRIER_CMD_QUERY is 0: no command is there, and so says the answer. */
long sys_membarrier(struct syscall_args *a)
{
    return a->arg[0] == 0 && a->arg[1] == 0 ? 0 : -EINVAL;
}

/* --- random bytes
 * ---------------------------------------------------------------------------------------------------
 */

#define RANDOM_PIECE 256
#define RANDOM_MAX 0x7ffff000ul /* MAX_RW_COUNT */
#define GRND_KNOWN (GRND_NONBLOCK | GRND_RANDOM | GRND_INSECURE)

long sys_getrandom(struct syscall_args *a)
{
    uint8_t piece[RANDOM_PIECE];
    uint32_t flags = (uint32_t)a->arg[2];
    size_t size = a->arg[1] < RANDOM_MAX ? a->arg[1] : RANDOM_MAX, done = 0;
    if ((flags & ~(uint32_t)GRND_KNOWN) != 0 ||
        (flags & (GRND_RANDOM | GRND_INSECURE)) == (GRND_RANDOM | GRND_INSECURE)) {
        return -EINVAL;
    }
    while (done < size) {
        size_t length = size - done < sizeof(piece) ? size - done : sizeof(piece);
        random_bytes(piece, length);
        if (copy_to_user(a->arg[0] + done, piece, length) != 0) {
            break;
        }
        done += length;
        if (done % PAGE_SIZE == 0 && thread_signal_pending()) {
            break;
        }
    }
    memset(piece, 0, sizeof(piece));
    __asm__ volatile("" ::"r"(piece) : "memory"); /* the clearing is not dead */
    return done == 0 && size != 0 ? -EFAULT : (long)done;
}
