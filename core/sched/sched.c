/* SPDX-License-Identifier: MIT */
/* The scheduler: run queues, switching, sleeping, waking, stealing, idling. A thread's state
 * changes from sleeping to runnable under the run-queue lock of thread->cpu; the waker then waits
 * until the CPU that put it to sleep is off its stack (on_cpu). */
#include "core/sched/sched.h"

#include <linux/errno.h>

#include "core/lib/log.h"
#include "core/lib/string.h"
#include "core/mm/kmalloc.h"
#include "core/sched/sched_internal.h"
#include "core/time/cpu_timer.h"

#define SLICE_NS 5000000ull

/* How long a CPU with nothing to do looks out for work before it halts: a wake-up within that time
 * costs no interrupt. It does so only while its last idle period was a short one. */
#define IDLE_POLL_NS 50000ull
#define IDLE_SHORT_NS 100000ull

static struct cpu boot_cpu;
static struct thread boot_thread; /* becomes CPU 0's idle thread */
static struct cpu *cpus[HAL_MAX_CPUS] = {&boot_cpu};
static uint64_t idle_cpus; /* bit per CPU that idles; atomic */
static uint64_t online_cpus = 1;

extern char boot_stack_top[];

struct cpu *cpu_by_id(unsigned id)
{
    return cpus[id];
}

uint64_t sched_online_cpus(void)
{
    return __atomic_load_n(&online_cpus, __ATOMIC_RELAXED);
}

static void cpu_init(struct cpu *cpu, unsigned id, struct thread *idle)
{
    cpu->hal.self = &cpu->hal;
    cpu->hal.id = id;
    cpu->hal.current = &idle->hal;
    spinlock_init(&cpu->run_lock, LOCK_RUN_QUEUE);
    list_init(&cpu->run_queue);
    cpu->idle = idle;
    cpu->slice_end = UINT64_MAX;
    cpu->timer_armed = UINT64_MAX;
    timer_queue_init(&cpu->timers, id);
    idle->cpu = id;
    idle->affinity = 1ull << id;
    idle->on_cpu = 1;
    idle->kernel = true;
    list_init(&idle->run_node);
    list_init(&idle->all_node);
}

void sched_boot_cpu_init(void)
{
    boot_thread.hal.kernel_stack_top = (uint64_t)boot_stack_top;
    cpu_init(&boot_cpu, 0, &boot_thread);
}

/* --- run queues
 * -------------------------------------------------------------------------------------------------
 */

/* Makes `cpu` look at its run queue. Interrupts masked. */
static void kick(struct cpu *cpu)
{
    if (cpu == this_cpu()) {
        return;
    }
    if (!__atomic_exchange_n(&cpu->resched_kick, true, __ATOMIC_ACQ_REL)) {
        hal_cpu_kick(cpu->hal.id);
    }
}

static void set_reschedule(struct thread *thread)
{
    __atomic_or_fetch(&thread->work, WORK_RESCHEDULE, __ATOMIC_RELEASE);
}

/* Arms the one-shot timer for what comes first. Interrupts masked. */
void sched_update_timer(void)
{
    struct cpu *cpu = this_cpu();
    struct thread *thread = current_thread();
    uint64_t next = timer_next(&cpu->timers);
    if (cpu->slice_end < next) {
        next = cpu->slice_end;
    }
    if (cpu_timer_active(thread) && thread != cpu->idle) {
        uint64_t cpu_time_end = cpu_timer_next(thread, hal_clock_monotonic());
        next = cpu_time_end < next ? cpu_time_end : next;
    }
    /* A timer that is armed for an earlier time is left alone: setting one may cost an exit to the
     * hypervisor, and what it is wanted for has often changed again by then. It will be set when it
     * expires. */
    if (next < cpu->timer_armed) {
        cpu->timer_armed = next;
        hal_timer_set(next);
    }
}

/* Someone waits for this CPU: the running thread's slice begins. Interrupts masked. */
static void start_slice(struct cpu *cpu)
{
    if (cpu->slice_end == UINT64_MAX && current_thread() != cpu->idle) {
        cpu->slice_end = hal_clock_monotonic() + SLICE_NS;
        sched_update_timer();
    }
}

/* Takes an idle CPU among `allowed`, `preferred` first, so that no other waker chooses it too.
 * NULL: none idles. */
static struct cpu *claim_idle(uint64_t allowed, unsigned preferred)
{
    uint64_t idle = __atomic_load_n(&idle_cpus, __ATOMIC_RELAXED) & allowed;
    while (idle != 0) {
        unsigned id = (idle >> preferred & 1) != 0 ? preferred : (unsigned)__builtin_ctzll(idle);
        uint64_t before = __atomic_fetch_and(&idle_cpus, ~(1ull << id), __ATOMIC_ACQ_REL);
        if ((before >> id & 1) != 0) {
            return cpus[id];
        }
        idle = before & allowed;
    }
    return NULL;
}

static uint64_t allowed_cpus(const struct thread *thread)
{
    uint64_t online = sched_online_cpus();
    uint64_t allowed = thread->affinity & online;
    return allowed != 0 ? allowed : online;
}

static void push(struct cpu *cpu, struct thread *thread)
{
    spin_lock(&cpu->run_lock);
    thread->cpu = cpu->hal.id;
    list_push_back(&cpu->run_queue, &thread->run_node);
    __atomic_store_n(&cpu->run_count, cpu->run_count + 1, __ATOMIC_SEQ_CST);
    spin_unlock(&cpu->run_lock);
}

/* Makes `cpu` look at its queue, or at all queues when it was claimed. One that polls does so by
 * itself. */
static void rouse(struct cpu *cpu)
{
    if (!__atomic_load_n(&cpu->polling, __ATOMIC_SEQ_CST)) {
        kick(cpu);
    }
}

/* After a push to a CPU that is busy: an idle one among `allowed` is to come and take the thread.
 * The thread itself may have run and ended by now. */
static void call_idle(uint64_t allowed, unsigned preferred)
{
    struct cpu *cpu = claim_idle(allowed, preferred);
    if (cpu != NULL) {
        rouse(cpu);
    }
}

/* Puts the thread where it runs soonest: on an idle CPU, else on its last. Interrupts masked; it is
 * runnable, on no queue and off every CPU. */
static void enqueue(struct thread *thread)
{
    uint64_t allowed = allowed_cpus(thread);
    unsigned last = thread->cpu;
    struct cpu *cpu = claim_idle(allowed, last);
    if (cpu != NULL) {
        push(cpu, thread);
        rouse(cpu);
        return;
    }
    cpu = cpus[(allowed >> last & 1) != 0 ? last : (unsigned)__builtin_ctzll(allowed)];
    push(cpu, thread);
    if (cpu == this_cpu()) {
        start_slice(cpu);
    } else {
        rouse(cpu);
    }
    call_idle(allowed, last);
}

static struct thread *take_from(struct cpu *cpu, unsigned for_cpu)
{
    list_for_each (node, &cpu->run_queue) {
        struct thread *thread = list_entry(node, struct thread, run_node);
        if ((thread->affinity >> for_cpu & 1) != 0) {
            list_remove(node);
            cpu->run_count--;
            thread->cpu = for_cpu;
            return thread;
        }
    }
    return NULL;
}

/* Takes a thread that waits for another CPU, of the next one that has any. Interrupts masked. */
static struct thread *steal(struct cpu *self)
{
    unsigned count = hal_cpu_count();
    for (unsigned step = 1; step < count; step++) {
        struct cpu *cpu = cpus[(self->hal.id + step) % count];
        if (cpu == NULL || __atomic_load_n(&cpu->run_count, __ATOMIC_SEQ_CST) == 0) {
            continue;
        }
        spin_lock(&cpu->run_lock);
        struct thread *thread = take_from(cpu, self->hal.id);
        spin_unlock(&cpu->run_lock);
        if (thread != NULL) {
            return thread;
        }
    }
    return NULL;
}

static struct thread *pick_next(struct cpu *cpu)
{
    struct thread *thread = NULL;
    if (__atomic_load_n(&cpu->run_count, __ATOMIC_SEQ_CST) != 0) {
        spin_lock(&cpu->run_lock);
        thread = take_from(cpu, cpu->hal.id);
        if (thread == NULL && !list_empty(&cpu->run_queue)) {
            /* Its affinity has changed while it waited here; it moves when it is next woken. */
            thread = list_entry(list_pop_front(&cpu->run_queue), struct thread, run_node);
            cpu->run_count--;
        }
        spin_unlock(&cpu->run_lock);
    }
    return thread != NULL ? thread : steal(cpu);
}

/* --- switching
 * ------------------------------------------------------------------------------------------------------
 */

/* What the thread that got the CPU does for the one that gave it up. Interrupts masked. */
void sched_finish_switch(void)
{
    struct cpu *cpu = this_cpu();
    struct thread *previous = cpu->previous;
    bool dead = previous->state == THREAD_DEAD;
    __atomic_store_n(&previous->on_cpu, 0, __ATOMIC_RELEASE);
    if (cpu->update_timer) {
        sched_update_timer();
    }
    if (dead) {
        thread_free(previous);
    } else if (cpu->requeue) {
        uint64_t allowed = allowed_cpus(previous);
        push(cpu, previous);
        call_idle(allowed, cpu->hal.id);
    }
}

static void account(struct thread *thread, uint64_t now)
{
    thread->run_ns += now - thread->started_ns;
    thread->started_ns = now;
    cpu_timer_account(thread);
}

/* Interrupts masked; `next` is off every run queue. `requeue`: the current thread is still
 * runnable. */
static void switch_to(struct cpu *cpu, struct thread *next, bool requeue)
{
    struct thread *previous = current_thread();
    uint64_t now = hal_clock_monotonic();
    account(previous, now);
    next->started_ns = now;
    next->on_cpu = 1;
    next->cpu = cpu->hal.id;
    __atomic_and_fetch(&next->work, ~(uint32_t)WORK_RESCHEDULE, __ATOMIC_RELAXED);
    bool others_wait = requeue || __atomic_load_n(&cpu->run_count, __ATOMIC_RELAXED) != 0;
    uint64_t slice_end = others_wait && next != cpu->idle ? now + SLICE_NS : UINT64_MAX;
    bool update =
        slice_end != cpu->slice_end || cpu_timer_active(previous) || cpu_timer_active(next);
    cpu->slice_end = slice_end;
    cpu->previous = previous;
    cpu->requeue = requeue;
    cpu->update_timer = update;
    hal_switch(&previous->hal, &next->hal);
    sched_finish_switch();
}

/* Gives the CPU to another thread, to idle if there is none. Interrupts masked; the caller has
 * parked itself. */
static void schedule(void)
{
    struct cpu *cpu = this_cpu();
    struct thread *next = pick_next(cpu);
    switch_to(cpu, next != NULL ? next : cpu->idle, false);
}

_Noreturn void sched_exit(void)
{
    __atomic_store_n(&current_thread()->state, THREAD_DEAD, __ATOMIC_RELAXED);
    schedule();
    panic("a dead thread runs");
}

void thread_yield(void)
{
    bool irq = hal_irq_save();
    struct cpu *cpu = this_cpu();
    __atomic_and_fetch(&current_thread()->work, ~(uint32_t)WORK_RESCHEDULE, __ATOMIC_RELAXED);
    struct thread *next = pick_next(cpu);
    if (next != NULL) {
        switch_to(cpu, next, current_thread() != cpu->idle);
    } else {
        cpu->slice_end = UINT64_MAX;
    }
    hal_irq_restore(irq);
}

void sched_reschedule(void)
{
    if ((current_thread()->work & WORK_RESCHEDULE) != 0) {
        thread_yield();
    }
}

/* --- sleeping and waking
 * ---------------------------------------------------------------------------------------------- */

void thread_prepare_sleep(enum thread_state state)
{
    __atomic_store_n(&current_thread()->state, state, __ATOMIC_SEQ_CST);
}

void thread_cancel_sleep(void)
{
    __atomic_store_n(&current_thread()->state, THREAD_RUNNABLE, __ATOMIC_SEQ_CST);
}

struct sleep_timer {
    struct timer timer;
    struct thread *thread;
    bool expired;
};

static void sleep_expired(struct timer *timer)
{
    struct sleep_timer *sleep = container_of(timer, struct sleep_timer, timer);
    __atomic_store_n(&sleep->expired, true, __ATOMIC_RELEASE);
    thread_wake(sleep->thread);
}

/* Gives the CPU up unless a wake-up has come since thread_prepare_sleep. */
static void park(uint32_t state)
{
    uint32_t parked = state == THREAD_SLEEPING ? THREAD_PARKED : THREAD_PARKED_SIGNAL;
    bool irq = hal_irq_save();
    if (__atomic_compare_exchange_n(&current_thread()->state, &state, parked, false,
                                    __ATOMIC_SEQ_CST, __ATOMIC_RELAXED)) {
        schedule();
    }
    hal_irq_restore(irq);
}

int thread_sleep(uint64_t deadline)
{
    struct thread *thread = current_thread();
    uint32_t state = __atomic_load_n(&thread->state, __ATOMIC_RELAXED);
    bool by_signal = state == THREAD_SLEEPING_SIGNAL;
    struct sleep_timer sleep = {.thread = thread};
    if (by_signal && thread_signal_pending()) {
        thread_cancel_sleep();
        return -EINTR;
    }
    if (state != THREAD_RUNNABLE && deadline != UINT64_MAX) {
        timer_init(&sleep.timer, sleep_expired);
        timer_arm(&sleep.timer, deadline);
        park(state);
        timer_cancel(&sleep.timer);
    } else if (state != THREAD_RUNNABLE) {
        park(state);
    }
    if (by_signal && thread_signal_pending()) {
        return -EINTR;
    }
    return sleep.expired ? -ETIMEDOUT : 0;
}

static bool change_state(struct thread *thread, uint32_t from)
{
    return __atomic_compare_exchange_n(&thread->state, &from, THREAD_RUNNABLE, false,
                                       __ATOMIC_SEQ_CST, __ATOMIC_RELAXED);
}

/* A thread that has not parked yet just goes on; one that has is put into a queue, once its CPU is
 * off its stack. */
static bool wake_from(struct thread *thread, uint32_t sleeping, uint32_t parked)
{
    if (change_state(thread, sleeping)) {
        return true;
    }
    if (!change_state(thread, parked)) {
        return change_state(thread, sleeping);
    }
    bool irq = hal_irq_save();
    while (__atomic_load_n(&thread->on_cpu, __ATOMIC_ACQUIRE) != 0) {
        hal_spin_hint();
    }
    enqueue(thread);
    hal_irq_restore(irq);
    return true;
}

void thread_wake(struct thread *thread)
{
    if (!wake_from(thread, THREAD_SLEEPING_SIGNAL, THREAD_PARKED_SIGNAL)) {
        wake_from(thread, THREAD_SLEEPING, THREAD_PARKED);
    }
}

void thread_notify_signal(struct thread *thread)
{
    if (wake_from(thread, THREAD_SLEEPING_SIGNAL, THREAD_PARKED_SIGNAL)) {
        return;
    }
    bool irq = hal_irq_save();
    if (thread != current_thread() && __atomic_load_n(&thread->on_cpu, __ATOMIC_ACQUIRE) != 0) {
        kick(cpus[thread->cpu]);
    }
    hal_irq_restore(irq);
}

/* --- interrupts
 * ------------------------------------------------------------------------------------------------------
 */

void core_timer_expired(void)
{
    struct cpu *cpu = this_cpu();
    struct thread *thread = current_thread();
    cpu->timer_armed = UINT64_MAX;
    timer_run(&cpu->timers);
    uint64_t now = hal_clock_monotonic();
    if (thread != cpu->idle) {
        account(thread, now);
        cpu_timer_tick(thread);
    }
    if (cpu->slice_end <= now) {
        cpu->slice_end = UINT64_MAX;
        set_reschedule(thread);
    }
    sched_update_timer();
}

void core_kicked(void)
{
    struct cpu *cpu = this_cpu();
    __atomic_store_n(&cpu->resched_kick, false, __ATOMIC_SEQ_CST);
    if (__atomic_load_n(&cpu->run_count, __ATOMIC_SEQ_CST) != 0) {
        start_slice(cpu);
    }
    if (cpu_timer_active(current_thread())) {
        sched_update_timer(); /* a timer on its CPU time may be new */
    }
}

/* --- idling
 * ------------------------------------------------------------------------------------------------------------
 */

/* Looks out for work for a short time. Interrupts enabled. */
static void poll_for_work(const struct cpu *cpu)
{
    uint64_t bit = 1ull << cpu->hal.id;
    uint64_t end = hal_clock_monotonic() + IDLE_POLL_NS;
    while (__atomic_load_n(&cpu->run_count, __ATOMIC_RELAXED) == 0 &&
           (__atomic_load_n(&idle_cpus, __ATOMIC_RELAXED) & bit) != 0 &&
           hal_clock_monotonic() < end) {
        hal_spin_hint();
    }
}

/* No thread waits while a CPU that it may run on sleeps. Who queues a thread stores run_count and
 * then looks at idle_cpus; who wants to sleep sets its bit there and then looks at every run_count:
 * one of the two sees the other. The bit is set again, with `polling` off, before each halt: while
 * it polled the CPU may have been claimed for a thread that a third one took since. From then on a
 * claim comes with an interrupt, which ends the halt. */
_Noreturn static void idle_loop(void)
{
    struct cpu *cpu = this_cpu();
    uint64_t bit = 1ull << cpu->hal.id;
    bool was_short = false;
    for (;;) {
        hal_irq_disable();
        struct thread *next = pick_next(cpu);
        if (next != NULL) {
            switch_to(cpu, next, false);
            continue;
        }
        uint64_t before = hal_clock_monotonic();
        hal_tlb_lazy(true);
        if (hal_cpu_count() > 1 && was_short) {
            __atomic_store_n(&cpu->polling, true, __ATOMIC_SEQ_CST);
            __atomic_or_fetch(&idle_cpus, bit, __ATOMIC_SEQ_CST);
            hal_irq_enable();
            poll_for_work(cpu);
            hal_irq_disable();
            __atomic_store_n(&cpu->polling, false, __ATOMIC_SEQ_CST);
        }
        __atomic_or_fetch(&idle_cpus, bit, __ATOMIC_SEQ_CST);
        next = pick_next(cpu);
        if (next == NULL) {
            hal_idle();
            hal_irq_disable();
        }
        hal_tlb_lazy(false);
        __atomic_and_fetch(&idle_cpus, ~bit, __ATOMIC_SEQ_CST);
        uint64_t idle_ns = hal_clock_monotonic() - before;
        was_short = idle_ns < IDLE_SHORT_NS;
        cpu->idle_ns += idle_ns;
        if (next != NULL) {
            switch_to(cpu, next, false);
        }
    }
}

_Noreturn void core_cpu_entry(void)
{
    __atomic_or_fetch(&online_cpus, 1ull << hal_this_cpu()->id, __ATOMIC_SEQ_CST);
    idle_loop();
}

_Noreturn void sched_become_idle(void)
{
    idle_loop();
}

static int start_cpu(unsigned id)
{
    struct cpu *cpu = kzalloc(sizeof(*cpu));
    struct thread *idle;
    if (cpu == NULL) {
        return -ENOMEM;
    }
    int error = thread_create(&idle, "idle", NULL, NULL);
    if (error == 0) {
        cpu_init(cpu, id, idle);
        cpus[id] = cpu;
        error = hal_cpu_start(id, &cpu->hal, &idle->hal);
    }
    return error;
}

void sched_start_cpus(void)
{
    for (unsigned id = 1; id < hal_cpu_count(); id++) {
        int error = start_cpu(id);
        if (error != 0) {
            log_error("CPU %u does not start: error %d", id, -error);
        }
    }
}
