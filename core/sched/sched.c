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
static uint64_t idle_cpus; /* bit per CPU that idles and that nobody has claimed; atomic */
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

static void clear_reschedule(struct thread *thread)
{
    if ((__atomic_load_n(&thread->work, __ATOMIC_RELAXED) & WORK_RESCHEDULE) != 0) {
        __atomic_and_fetch(&thread->work, ~(uint32_t)WORK_RESCHEDULE, __ATOMIC_RELAXED);
    }
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

/* Someone waits for this CPU: the running thread's slice ends SLICE_NS after it got the CPU.
 * Interrupts masked. */
static void start_slice(struct cpu *cpu)
{
    struct thread *thread = current_thread();
    if (cpu->slice_end != UINT64_MAX || thread == cpu->idle) {
        return;
    }
    uint64_t end = cpu->switched_ns + SLICE_NS;
    if (end < cpu->timer_armed && end <= hal_clock_monotonic()) {
        set_reschedule(thread);
        return;
    }
    cpu->slice_end = end;
    if (end < cpu->timer_armed) {
        sched_update_timer();
    }
}

/* The CPUs that a thread may run on. */
static uint64_t allowed_cpus(const struct thread *thread)
{
    uint64_t allowed = __atomic_load_n(&thread->affinity, __ATOMIC_RELAXED) & sched_online_cpus();
    return allowed != 0 ? allowed : sched_online_cpus();
}

static uint32_t queue_length(const struct cpu *cpu)
{
    return __atomic_load_n(&cpu->run_count, __ATOMIC_SEQ_CST);
}

/* Makes an idle CPU look at all queues; false: it does not idle, or is going to look already. */
static bool wake_idle_cpu(struct cpu *cpu)
{
    uint64_t bit = 1ull << cpu->hal.id;
    if ((__atomic_load_n(&idle_cpus, __ATOMIC_SEQ_CST) & bit) == 0 ||
        (__atomic_fetch_and(&idle_cpus, ~bit, __ATOMIC_SEQ_CST) & bit) == 0) {
        return false;
    }
    if (!__atomic_load_n(&cpu->polling, __ATOMIC_SEQ_CST)) {
        kick(cpu);
    }
    return true;
}

/* Makes one of the idle CPUs in `allowed` look at all queues. */
static void wake_idle_among(uint64_t allowed)
{
    uint64_t idle;
    while ((idle = __atomic_load_n(&idle_cpus, __ATOMIC_SEQ_CST) & allowed) != 0 &&
           !wake_idle_cpu(cpus[__builtin_ctzll(idle)])) {
    }
}

/* Where a woken thread runs soonest: its last CPU if that idles, else another idle one; when none
 * does, its last, or this one if fewer wait here. */
static struct cpu *choose_cpu(const struct thread *thread, uint64_t allowed)
{
    struct cpu *last = cpus[thread->cpu];
    uint64_t last_bit = 1ull << thread->cpu;
    uint64_t idle = __atomic_load_n(&idle_cpus, __ATOMIC_RELAXED) & allowed;
    if (idle != 0) {
        return (idle & last_bit) != 0 ? last : cpus[__builtin_ctzll(idle)];
    }
    if ((allowed & last_bit) == 0) {
        return cpus[__builtin_ctzll(allowed)];
    }
    struct cpu *self = this_cpu();
    bool shorter = (allowed >> self->hal.id & 1) != 0 && queue_length(self) < queue_length(last);
    return shorter ? self : last;
}

/* Puts the thread into the queue and finds it a CPU. Interrupts masked; the thread is runnable, on
 * no queue and off every CPU. */
static void push(struct cpu *cpu, struct thread *thread)
{
    uint64_t allowed = allowed_cpus(thread); /* once it is in the queue, it may run and end */
    spin_lock(&cpu->run_lock);
    thread->cpu = cpu->hal.id;
    list_push_back(&cpu->run_queue, &thread->run_node);
    bool first = cpu->run_count == 0;
    __atomic_store_n(&cpu->run_count, cpu->run_count + 1, __ATOMIC_SEQ_CST);
    spin_unlock(&cpu->run_lock);
    if (wake_idle_cpu(cpu)) {
        return;
    }
    wake_idle_among(allowed);
    if (cpu == this_cpu()) {
        start_slice(cpu);
    } else if (first) { /* a slice has begun, or a kick is on its way, when others wait already */
        kick(cpu);
    }
}

static void enqueue(struct thread *thread)
{
    push(choose_cpu(thread, allowed_cpus(thread)), thread);
}

/* For a thread whose slice is over: this CPU's queue, or one with fewer waiting. */
static void requeue(struct cpu *self, struct thread *thread)
{
    uint64_t allowed = allowed_cpus(thread);
    struct cpu *best = (allowed >> self->hal.id & 1) != 0 ? self : NULL;
    for (; allowed != 0 && (best == NULL || queue_length(best) != 0); allowed &= allowed - 1) {
        struct cpu *cpu = cpus[__builtin_ctzll(allowed)];
        if (best == NULL || queue_length(cpu) < queue_length(best)) {
            best = cpu;
        }
    }
    push(best, thread);
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

/* Takes a thread from the CPU with the most waiting that has one for us. Interrupts masked. */
static struct thread *steal(struct cpu *self)
{
    uint64_t candidates = sched_online_cpus() & ~(1ull << self->hal.id);
    for (;;) {
        struct cpu *busiest = NULL;
        uint32_t most = 0;
        for (uint64_t left = candidates; left != 0; left &= left - 1) {
            struct cpu *cpu = cpus[__builtin_ctzll(left)];
            uint32_t length = queue_length(cpu);
            if (length > most) {
                most = length;
                busiest = cpu;
            }
        }
        if (busiest == NULL) {
            return NULL;
        }
        spin_lock(&busiest->run_lock);
        struct thread *thread = take_from(busiest, self->hal.id);
        spin_unlock(&busiest->run_lock);
        if (thread != NULL) {
            return thread;
        }
        candidates &= ~(1ull << busiest->hal.id);
    }
}

static struct thread *pick_next(struct cpu *cpu)
{
    struct thread *thread = NULL;
    if (queue_length(cpu) != 0) {
        spin_lock(&cpu->run_lock);
        thread = take_from(cpu, cpu->hal.id);
        if (thread == NULL && !list_empty(&cpu->run_queue)) {
            /* Its affinity has changed while it waited here; it moves when it is next queued. */
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
        requeue(cpu, previous);
    }
}

/* Accounts what others have taken from this CPU: ns, as much as is new. */
static uint64_t take_stolen(struct cpu *cpu)
{
    if (cpu->hal.stolen_ns == NULL) {
        return 0;
    }
    uint64_t now = *cpu->hal.stolen_ns, seen = cpu->stolen_seen;
    uint64_t stolen = now > seen ? now - seen : 0;
    __atomic_store_n(&cpu->stolen_seen, now, __ATOMIC_RELAXED);
    __atomic_store_n(&cpu->stolen_ns, cpu->stolen_ns + stolen, __ATOMIC_RELAXED);
    return stolen;
}

static void account(struct thread *thread, uint64_t now)
{
    uint64_t since = thread->started_ns + take_stolen(this_cpu());
    thread->run_ns += now > since ? now - since : 0;
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
    cpu->switched_ns = now;
    cpu->counts.switches++;
    previous->switches[requeue]++;
    next->on_cpu = 1;
    next->cpu = cpu->hal.id;
    clear_reschedule(next);
    bool others_wait = requeue || queue_length(cpu) != 0;
    uint64_t slice_end = others_wait && next != cpu->idle ? now + SLICE_NS : UINT64_MAX;
    bool update =
        slice_end < cpu->timer_armed || cpu_timer_active(previous) || cpu_timer_active(next);
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
    clear_reschedule(current_thread());
    struct thread *next = pick_next(cpu);
    if (next == NULL && (allowed_cpus(current_thread()) >> cpu->hal.id & 1) == 0) {
        next = cpu->idle;
    }
    if (next != NULL) {
        switch_to(cpu, next, true);
    } else {
        cpu->slice_end = UINT64_MAX;
    }
    hal_irq_restore(irq);
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
    uint32_t expired; /* atomic; once set, nobody else needs this or the thread */
};

static void sleep_expired(struct timer *timer)
{
    struct sleep_timer *sleep = container_of(timer, struct sleep_timer, timer);
    thread_wake_telling(sleep->thread, &sleep->expired, true);
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

/* As park, but not longer than until `deadline`; returns whether that has come. */
static bool park_until(uint32_t state, uint64_t deadline)
{
    struct sleep_timer sleep = {.thread = current_thread()};
    timer_init(&sleep.timer, sleep_expired);
    timer_arm(&sleep.timer, deadline);
    park(state);
    if (__atomic_load_n(&sleep.expired, __ATOMIC_ACQUIRE) == 0) {
        timer_cancel(&sleep.timer);
    }
    return sleep.expired != 0;
}

int thread_sleep(uint64_t deadline)
{
    struct thread *thread = current_thread();
    uint32_t state = __atomic_load_n(&thread->state, __ATOMIC_RELAXED);
    bool by_signal = state == THREAD_SLEEPING_SIGNAL;
    bool expired = false;
    if (by_signal && thread_signal_pending()) {
        thread_cancel_sleep();
        return -EINTR;
    }
    if (state != THREAD_RUNNABLE && deadline != UINT64_MAX) {
        expired = park_until(state, deadline);
    } else if (state != THREAD_RUNNABLE) {
        park(state);
    }
    if (by_signal && thread_signal_pending()) {
        return -EINTR;
    }
    return expired ? -ETIMEDOUT : 0;
}

static bool change_state(struct thread *thread, uint32_t from)
{
    return __atomic_compare_exchange_n(&thread->state, &from, THREAD_RUNNABLE, false,
                                       __ATOMIC_SEQ_CST, __ATOMIC_RELAXED);
}

static void tell(uint32_t *told, uint32_t value)
{
    if (told != NULL) {
        __atomic_store_n(told, value, __ATOMIC_RELEASE);
    }
}

/* A thread that has not parked yet just goes on; one that has is put into a queue, once its CPU is
 * off its stack. */
static bool wake_from(struct thread *thread, uint32_t sleeping, uint32_t parked, uint32_t *told,
                      uint32_t value)
{
    bool was_parked = false;
    if (!change_state(thread, sleeping)) {
        was_parked = change_state(thread, parked);
        if (!was_parked && !change_state(thread, sleeping)) {
            return false;
        }
    }
    if (!was_parked) {
        tell(told, value);
        return true;
    }
    bool irq = hal_irq_save();
    while (__atomic_load_n(&thread->on_cpu, __ATOMIC_ACQUIRE) != 0) {
        hal_spin_hint();
    }
    tell(told, value); /* it may be gone as soon as it is in a queue */
    enqueue(thread);
    hal_irq_restore(irq);
    return true;
}

void thread_wake_telling(struct thread *thread, uint32_t *told, uint32_t value)
{
    if (!wake_from(thread, THREAD_SLEEPING_SIGNAL, THREAD_PARKED_SIGNAL, told, value) &&
        !wake_from(thread, THREAD_SLEEPING, THREAD_PARKED, told, value)) {
        tell(told, value);
    }
}

void thread_wake(struct thread *thread)
{
    thread_wake_telling(thread, NULL, 0);
}

void thread_notify_signal(struct thread *thread)
{
    if (wake_from(thread, THREAD_SLEEPING_SIGNAL, THREAD_PARKED_SIGNAL, NULL, 0)) {
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
    if (queue_length(cpu) != 0) {
        start_slice(cpu);
    }
    if (cpu_timer_active(current_thread())) {
        sched_update_timer(); /* a timer on its CPU time may be new */
    }
}

/* --- idling
 * ------------------------------------------------------------------------------------------------------------
 */

static bool claimed(uint64_t bit)
{
    return (__atomic_load_n(&idle_cpus, __ATOMIC_SEQ_CST) & bit) == 0;
}

/* Halts until there may be work, looking out for it for a short time before that if `poll`. Called
 * with interrupts masked and `polling` set, and returns so. */
static void wait_for_work(struct cpu *cpu, uint64_t bit, bool poll)
{
    hal_tlb_lazy(true);
    if (poll) {
        uint64_t end = hal_clock_monotonic() + IDLE_POLL_NS;
        hal_irq_enable();
        while (!claimed(bit) && hal_clock_monotonic() < end) {
            hal_spin_hint();
        }
        hal_irq_disable();
    }
    __atomic_store_n(&cpu->polling, false, __ATOMIC_SEQ_CST);
    if (!claimed(bit)) {
        hal_idle();
        hal_irq_disable();
    }
    hal_tlb_lazy(false);
}

/* For each queue that is not empty, makes an idle CPU that can help look. */
static void pass_on(void)
{
    for (uint64_t left = sched_online_cpus(); left != 0; left &= left - 1) {
        struct cpu *cpu = cpus[__builtin_ctzll(left)];
        if (queue_length(cpu) == 0) {
            continue;
        }
        uint64_t allowed = 0;
        spin_lock(&cpu->run_lock);
        list_for_each (node, &cpu->run_queue) {
            allowed |= allowed_cpus(list_entry(node, struct thread, run_node));
        }
        spin_unlock(&cpu->run_lock);
        wake_idle_among(allowed);
    }
}

/* docs/locking.md has the argument why no thread waits while a CPU idles that may run it. */
_Noreturn static void idle_loop(void)
{
    struct cpu *cpu = this_cpu();
    uint64_t bit = 1ull << cpu->hal.id;
    bool poll = false;
    uint64_t stolen_before = 0;
    for (;;) {
        hal_irq_disable();
        __atomic_store_n(&cpu->polling, true, __ATOMIC_SEQ_CST);
        __atomic_or_fetch(&idle_cpus, bit, __ATOMIC_SEQ_CST);
        struct thread *next = pick_next(cpu);
        if (next == NULL) {
            (void)take_stolen(cpu);
            uint64_t before = hal_clock_monotonic();
            __atomic_store_n(&cpu->idle_since, before, __ATOMIC_RELEASE);
            wait_for_work(cpu, bit, poll);
            uint64_t waited = hal_clock_monotonic() - before, stolen = take_stolen(cpu);
            uint64_t idle_ns = waited > stolen ? waited - stolen : 0;
            /* Where CPUs are scarce, what looks out for work takes from who has some. */
            bool scarce = cpu->stolen_ns - stolen_before > IDLE_POLL_NS;
            stolen_before = cpu->stolen_ns;
            poll = idle_ns < IDLE_SHORT_NS && hal_cpu_count() > 1 && !scarce;
            __atomic_store_n(&cpu->idle_since, 0, __ATOMIC_RELEASE);
            __atomic_store_n(&cpu->idle_ns, cpu->idle_ns + idle_ns, __ATOMIC_RELEASE);
            next = pick_next(cpu);
        }
        bool was_claimed = (__atomic_fetch_and(&idle_cpus, ~bit, __ATOMIC_SEQ_CST) & bit) == 0;
        if (was_claimed && hal_cpu_count() > 1) {
            pass_on();
        }
        if (next != NULL) {
            switch_to(cpu, next, false);
        }
    }
}

void sched_set_affinity(struct thread *thread, uint64_t cpus_allowed)
{
    bool irq = hal_irq_save();
    __atomic_store_n(&thread->affinity, cpus_allowed, __ATOMIC_SEQ_CST);
    pass_on(); /* it may wait in a queue */
    if ((cpus_allowed >> thread->cpu & 1) == 0) {
        set_reschedule(thread);
        kick(cpus[thread->cpu]);
    }
    hal_irq_restore(irq);
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
