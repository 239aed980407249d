/* SPDX-License-Identifier: MIT */
/* The domain is stopped, saved and restored, on this host or another (`xl save`, `xl migrate`):
 * docs/architecture.md, "One suspend". All CPUs are brought to where no thread of theirs is in the
 * middle of anything, and CPU 0 makes the call that returns in the restored domain. There Xen has
 * forgotten all but memory and registers: what it was told at boot is told again here. When the
 * toolstack could not save the domain the call returns in the old one, where nothing has changed.
 */
#include "core/lib/log.h"
#include "core/lib/string.h"
#include "core/sched/sched.h"
#include "grant.h"
#include "hal/kvm/kvm_internal.h"
#include "xen_internal.h"
#include "xenbus.h"
#include "xenstore.h"

/* How the CPUs meet. Each adds one to `arrived` at each of three places; `gone_on` is set by
 * CPU 0. */
static struct {
    unsigned cpus;
    uint32_t arrived; /* atomic */
    uint32_t gone_on; /* atomic */
    bool restored;    /* else the suspend was cancelled; before `gone_on` */
    struct thread *waiting;
} meeting;

static bool possible;

void suspend_init(void)
{
    possible = xen_is_pvh || mmu_publish_p2m() == 0;
    xenstore_write("control/feature-suspend", possible ? "1" : "0");
}

static void arrive(void)
{
    __atomic_fetch_add(&meeting.arrived, 1, __ATOMIC_SEQ_CST);
}

/* A CPU that waits may have taken the place of one that it waits for. */
static void wait_for(const uint32_t *count, uint32_t value)
{
    while (__atomic_load_n(count, __ATOMIC_SEQ_CST) < value) {
        sched_op(SCHEDOP_YIELD, NULL);
    }
}

/* Returns 0 in the restored domain. */
static long shut_down(uint64_t start_info_frame)
{
    uint32_t reason = SHUTDOWN_SUSPEND;
    return hypercall3(HYPERCALL_SCHED_OP, SCHEDOP_SHUTDOWN, (uint64_t)&reason, start_info_frame);
}

/* Every machine frame that the toolstack sees must be one of the domain's own pages, in page tables
 * and in start_info, where it wants the numbers of the pages instead
 * (tools/libs/guest/xg_sr_restore_x86_pv.c: process_start_info). */
static long shut_down_paravirtual(void)
{
    struct start_info *info = xen_start_info;
    uint64_t store = mmu_physical(info->store_mfn), console = mmu_physical(info->console_mfn);
    info->store_mfn = store >> PAGE_SHIFT;
    info->console_mfn = console >> PAGE_SHIFT;
    grants_suspend();
    mmu_unmap_frame(shared_info);
    long cancelled = shut_down(mmu_frame(direct_map_physical(info)));
    if (cancelled != 0) {
        info->store_mfn = mmu_frame(store);
        info->console_mfn = mmu_frame(console);
    }
    xen_shared_info_map();
    grants_resume();
    return cancelled;
}

static long shut_down_pvh(void)
{
    long cancelled = shut_down(0);
    if (cancelled == 0) {
        int error = xen_pvh_connect();
        if (error != 0) {
            panic("xen: nothing is shared after the restore: %d", error);
        }
        grants_resume();
    }
    return cancelled;
}

/* On CPU 0 while all others stand still. */
static void suspend(void)
{
    uint64_t monotonic = hal_clock_monotonic(), wall = monotonic + hal_clock_wall_offset();
    meeting.restored = (xen_is_pvh ? shut_down_pvh() : shut_down_paravirtual()) == 0;
    if (!meeting.restored) {
        return;
    }
    if (!xen_is_pvh) {
        cpu_resume();
        xen_attach_rings();
    } else {
        xen_pvh_console();
    }
    clock_resume(monotonic, wall);
    events_resume(hal_cpu_count());
    if (!xen_is_pvh) {
        cpus_resume();
    }
    console_resume();
    if (xenstore_resume() != 0) {
        log_error("xen: no xenstore after the restore: no devices");
    }
}

/* The thread of each CPU. Whatever else ran there has given the CPU up at a place of its own
 * choice, or was on its way to the program: it holds no spinlock and no machine frame. */
static void stand_still(void *unused)
{
    (void)unused;
    bool leader = hal_this_cpu()->id == 0;
    arrive();
    wait_for(&meeting.arrived, meeting.cpus); /* others may need this CPU's answer to get here */
    hal_irq_disable();
    arrive();
    if (leader) {
        wait_for(&meeting.arrived, 2 * meeting.cpus);
        suspend();
        __atomic_store_n(&meeting.gone_on, 1, __ATOMIC_SEQ_CST);
    } else {
        wait_for(&meeting.gone_on, 1);
        if (meeting.restored && !xen_is_pvh) {
            cpu_resume();
        }
    }
    core_kicked(); /* kicks and timers on their way were lost */
    core_timer_expired();
    hal_irq_enable();
    if (__atomic_add_fetch(&meeting.arrived, 1, __ATOMIC_SEQ_CST) == 3 * meeting.cpus) {
        thread_wake(meeting.waiting);
    }
}

static void discard(struct thread **threads)
{
    for (unsigned id = 0; id < HAL_MAX_CPUS; id++) {
        if (threads[id] != NULL) {
            thread_discard(threads[id]);
        }
    }
}

/* A thread for each CPU; -ENOMEM, -EAGAIN. */
static int make_threads(struct thread **threads)
{
    meeting.cpus = meeting.arrived = meeting.gone_on = 0;
    meeting.waiting = current_thread();
    for (uint64_t left = sched_online_cpus(); left != 0; left &= left - 1) {
        unsigned id = (unsigned)__builtin_ctzll(left);
        int error = thread_create(&threads[id], "suspend", stand_still, NULL);
        if (error != 0) {
            return error;
        }
        threads[id]->kernel = true;
        threads[id]->affinity = 1ull << id;
        meeting.cpus++;
    }
    return 0;
}

static void hold_meeting(struct thread **threads)
{
    for (unsigned id = 0; id < HAL_MAX_CPUS; id++) {
        if (threads[id] != NULL) {
            thread_start(threads[id]);
        }
    }
    thread_prepare_sleep(THREAD_SLEEPING);
    while (__atomic_load_n(&meeting.arrived, __ATOMIC_SEQ_CST) < 3 * meeting.cpus) {
        thread_sleep(UINT64_MAX);
        thread_prepare_sleep(THREAD_SLEEPING);
    }
    thread_cancel_sleep();
}

void suspend_domain(void)
{
    struct thread *threads[HAL_MAX_CPUS] = {NULL};
    if (!possible || make_threads(threads) != 0) {
        discard(threads);
        log_error("xen: the domain cannot be suspended: there is no memory");
        return;
    }
    xenbus_suspend();
    hold_meeting(threads);
    if (meeting.restored) {
        xen_account_start();
        if (!xen_is_pvh) {
            mmu_publish_p2m();
        }
        xenstore_watch_again();
    }
    xenbus_resume(!meeting.restored);
    log_info("xen: %s", meeting.restored ? "restored" : "the suspend was cancelled");
}
