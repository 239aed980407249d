/* SPDX-License-Identifier: MIT */
/* CPU time and timers on it. Each thread brings what it has used to the process's counter when it
 * gives its CPU up and when the one-shot timer looks, so with n busy CPUs a process timer expires n
 * times as often and each time on a CPU that has used its share: that is what a profiler wants.
 * `lock` guards the lists and every struct cpu_timer. */
#include "core/time/cpu_timer.h"

#include "core/time/posix_timer.h"
#include "hal.h"

static struct spinlock lock = SPINLOCK_INIT(LOCK_TIMER);
static struct cpu_timer *process_timers; /* lock */
static uint64_t process_counted; /* CPU time counted while process timers were armed; atomic */
static uint64_t ended_ns;        /* CPU time of threads that are no more; atomic */
bool cpu_timer_process_active;

/* --- CPU time
 * -------------------------------------------------------------------------------------------------------
 */

uint64_t thread_cpu_time(const struct thread *thread)
{
    uint64_t used = __atomic_load_n(&thread->run_ns, __ATOMIC_RELAXED);
    if (__atomic_load_n(&thread->on_cpu, __ATOMIC_ACQUIRE) != 0) {
        used += thread_ran_lately(thread, hal_clock_monotonic());
    }
    return used;
}

static bool add_time(struct thread *thread, void *sum)
{
    *(uint64_t *)sum += thread_cpu_time(thread);
    return true;
}

uint64_t process_cpu_time(void)
{
    uint64_t sum = __atomic_load_n(&ended_ns, __ATOMIC_RELAXED);
    thread_for_each(add_time, &sum);
    /* What is taken from a CPU is known when it runs again; until then it is counted here. */
    static uint64_t told;
    uint64_t before = __atomic_load_n(&told, __ATOMIC_RELAXED);
    while (before < sum && !__atomic_compare_exchange_n(&told, &before, sum, true, __ATOMIC_RELAXED,
                                                        __ATOMIC_RELAXED)) {
    }
    return before < sum ? sum : before;
}

uint64_t cpu_timer_time(struct thread *thread)
{
    return thread != NULL ? thread_cpu_time(thread)
                          : __atomic_load_n(&process_counted, __ATOMIC_RELAXED);
}

/* --- arming
 * -------------------------------------------------------------------------------------------------------
 */

void cpu_timer_init(struct cpu_timer *timer, void (*expired)(struct cpu_timer *, uint32_t))
{
    *timer = (struct cpu_timer){.expired = expired};
}

static bool start_counting(struct thread *thread, void *unused)
{
    (void)unused;
    thread->timed_ns = thread_cpu_time(thread);
    return true;
}

static struct cpu_timer **list_of(const struct cpu_timer *timer)
{
    return timer->thread != NULL ? &timer->thread->cpu_timers : &process_timers;
}

/* Lock held. */
static void unlink_timer(struct cpu_timer *timer)
{
    struct cpu_timer **link = list_of(timer);
    while (*link != timer) {
        link = &(*link)->next;
    }
    *link = timer->next;
    timer->armed = false;
    if (process_timers == NULL) {
        __atomic_store_n(&cpu_timer_process_active, false, __ATOMIC_RELAXED);
    }
}

/* Makes the CPUs that are concerned set their one-shot timers again. */
static void announce(const struct thread *thread)
{
    bool irq = hal_irq_save();
    for (unsigned id = 0; id < hal_cpu_count(); id++) {
        struct cpu *cpu = cpu_by_id(id);
        if (cpu == NULL || (thread != NULL && thread->cpu != id)) {
            continue;
        }
        if (cpu == this_cpu()) {
            sched_update_timer();
        } else {
            hal_cpu_kick(id);
        }
    }
    hal_irq_restore(irq);
}

void cpu_timer_arm(struct cpu_timer *timer, struct thread *thread, uint64_t expires,
                   uint64_t interval)
{
    if (thread == NULL && !__atomic_load_n(&cpu_timer_process_active, __ATOMIC_RELAXED)) {
        thread_for_each(start_counting, NULL);
    }
    bool irq = spin_lock_irqsave(&lock);
    timer->thread = thread;
    timer->expires = expires;
    timer->interval = interval;
    struct cpu_timer **list = list_of(timer);
    timer->next = *list;
    timer->armed = true;
    __atomic_store_n(list, timer, __ATOMIC_RELEASE);
    if (thread == NULL) {
        __atomic_store_n(&cpu_timer_process_active, true, __ATOMIC_RELEASE);
    }
    spin_unlock_irqrestore(&lock, irq);
    announce(thread);
}

void cpu_timer_cancel(struct cpu_timer *timer)
{
    bool irq = spin_lock_irqsave(&lock);
    if (timer->armed) {
        unlink_timer(timer);
    }
    while (timer->running) {
        spin_unlock_irqrestore(&lock, irq);
        hal_spin_hint();
        irq = spin_lock_irqsave(&lock);
    }
    spin_unlock_irqrestore(&lock, irq);
}

uint64_t cpu_timer_left(struct cpu_timer *timer, uint64_t *interval)
{
    uint64_t left = 0;
    bool irq = spin_lock_irqsave(&lock);
    *interval = timer->interval;
    if (timer->armed) {
        uint64_t time = cpu_timer_time(timer->thread);
        left = timer->expires > time ? timer->expires - time : 1;
    }
    spin_unlock_irqrestore(&lock, irq);
    return left;
}

void cpu_timer_thread_end(struct thread *thread)
{
    bool irq = spin_lock_irqsave(&lock);
    while (thread->cpu_timers != NULL) {
        unlink_timer(thread->cpu_timers);
    }
    spin_unlock_irqrestore(&lock, irq);
    if (!thread->kernel) {
        __atomic_add_fetch(&ended_ns, thread_cpu_time(thread), __ATOMIC_RELAXED);
    }
}

/* --- expiring
 * -----------------------------------------------------------------------------------------------------
 */

void cpu_timer_account_process(struct thread *thread)
{
    if (!thread->kernel && cpu_timer_process_active && thread->run_ns > thread->timed_ns) {
        __atomic_add_fetch(&process_counted, thread->run_ns - thread->timed_ns, __ATOMIC_RELAXED);
        thread->timed_ns = thread->run_ns;
    }
}

/* CPU time that may pass until the first of the list is due. Lock held. */
static uint64_t least_left(const struct cpu_timer *first, uint64_t time)
{
    uint64_t least = UINT64_MAX;
    for (const struct cpu_timer *timer = first; timer != NULL; timer = timer->next) {
        uint64_t left = timer->expires > time ? timer->expires - time : 0;
        least = left < least ? left : least;
    }
    return least;
}

uint64_t cpu_timer_deadline(struct thread *thread, uint64_t now)
{
    if (thread->kernel) {
        return UINT64_MAX;
    }
    spin_lock(&lock);
    uint64_t used = thread->run_ns;
    if (thread == current_thread()) {
        used += thread_ran_lately(thread, now);
    }
    uint64_t own = least_left(thread->cpu_timers, used);
    /* What this thread has used since it was last counted is on its way to the counter. */
    uint64_t on_its_way = used > thread->timed_ns ? used - thread->timed_ns : 0;
    uint64_t all = least_left(process_timers, process_counted + on_its_way);
    spin_unlock(&lock);
    uint64_t least = own < all ? own : all;
    return least < UINT64_MAX - now ? now + least : UINT64_MAX;
}

/* The first timer that is due and not being run by another CPU: moved to its next expiry. Lock
 * held. */
static struct cpu_timer *take_due(struct cpu_timer *first, uint64_t time, uint32_t *overrun)
{
    struct cpu_timer *timer = first;
    while (timer != NULL && (timer->expires > time || timer->running)) {
        timer = timer->next;
    }
    *overrun = 0;
    if (timer != NULL && timer->interval == 0) {
        unlink_timer(timer);
    } else if (timer != NULL) {
        if (timer->thread == NULL && time - timer->expires < HAL_MAX_CPUS * timer->interval) {
            timer->expires += timer->interval; /* the rest is due on the CPUs that have used it */
        } else {
            timer->expires = interval_next(timer->expires, time, timer->interval, overrun);
        }
    }
    return timer;
}

void cpu_timer_run(struct thread *thread)
{
    if (thread->kernel) {
        return;
    }
    bool process_done = false;
    spin_lock(&lock);
    for (;;) {
        uint32_t overrun;
        struct cpu_timer *timer = take_due(thread->cpu_timers, thread->run_ns, &overrun);
        if (timer == NULL && !process_done) {
            /* One a time: what else is due belongs to other CPUs, or comes with the next look. */
            process_done = true;
            timer = take_due(process_timers, process_counted, &overrun);
        }
        if (timer == NULL) {
            break;
        }
        timer->running = true;
        spin_unlock(&lock);
        timer->expired(timer, overrun);
        spin_lock(&lock);
        timer->running = false;
    }
    spin_unlock(&lock);
}
