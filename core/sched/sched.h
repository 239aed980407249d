/* SPDX-License-Identifier: MIT */
/* Threads on CPUs. Every CPU has a run queue of its own, guarded by its lock; an idle CPU steals
 * from the longest. Kernel code is never preempted: a thread gives its CPU up when it sleeps, or on
 * its way back to the program when its time slice is over. No tick: the one-shot timer is armed for
 * the earliest of the CPU's timers and, while others wait in its queue, the end of the slice. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "core/lib/list.h"
#include "core/lib/spinlock.h"
#include "core/sched/credentials.h"
#include "core/time/timer.h"
#include "hal.h"

enum thread_state {
    THREAD_RUNNABLE,        /* running or in a run queue */
    THREAD_SLEEPING,        /* about to sleep until thread_wake */
    THREAD_SLEEPING_SIGNAL, /* about to sleep until thread_wake or a signal for it */
    THREAD_PARKED,          /* asleep: it has given its CPU up, after THREAD_SLEEPING */
    THREAD_PARKED_SIGNAL,   /* asleep, after THREAD_SLEEPING_SIGNAL */
    THREAD_DEAD,
};

/* Bits of thread->work: what core_return_to_user must look at. Set atomically by anybody. */
enum {
    WORK_SIGNAL = 1,     /* a signal may be deliverable */
    WORK_RESCHEDULE = 2, /* somebody else should run */
    WORK_FRAME = 4,      /* nothing but to leave the kernel by its whole frame; the HAL's own */
    WORK_STOP = 8,       /* the process is ending: the thread stops for good */
};

struct signal_thread;

struct thread {
    struct hal_thread hal; /* first */
    uint32_t work;         /* WORK_ bits, atomic; its offset is known to the assembly */
    int32_t tid;
    uint32_t state;       /* enum thread_state; atomic, changed by compare-and-swap */
    uint32_t on_cpu;      /* 1 while a CPU uses its stack; cleared after the switch away; atomic */
    uint32_t cpu;         /* the CPU it runs on or ran on last */
    uint64_t affinity;    /* bit per CPU it may run on */
    struct list run_node; /* in a run queue; run-queue lock */
    struct list all_node; /* in the list of all threads; thread-list lock */
    uint64_t run_ns;      /* CPU time used up to `started_ns` */
    uint64_t started_ns;  /* when it last got its CPU, or was last accounted on it */
    uint64_t created_ns;
    uint64_t switches[2]; /* how often it gave its CPU up: slept, and let others run first */
    uint64_t disk_waits;  /* how often it slept until a disk had read or written something */
    struct cpu_timer *cpu_timers; /* armed on this thread's CPU time; core/time/cpu_timer.c */
    uint64_t timed_ns;            /* CPU time that timers on the process's time have counted;
                                     core/time/cpu_timer.c */
    bool kernel;                  /* never runs the program */
    bool in_syscall;              /* the frame is that of a system call that may be restarted */
    uintptr_t clear_tid;          /* CLONE_CHILD_CLEARTID, set_tid_address; 0: none */
    uintptr_t robust_list;
    struct credentials credentials;
    struct signal_thread *signal; /* core/signal; NULL for kernel threads */
    char name[16];                /* comm */
};

struct cpu {
    struct hal_cpu hal; /* first */
    struct spinlock run_lock;
    struct list run_queue; /* of struct thread by run_node; run_lock */
    uint32_t run_count;    /* length of run_queue; written under run_lock, read by anybody */
    struct thread *idle;
    struct thread *previous; /* whom we switched away from, until its on_cpu is cleared */
    bool requeue;            /* `previous` is still runnable */
    bool update_timer;    /* the switch that is under way changes what the timer is to wait for */
    bool polling;         /* looks at its bit of idle_cpus by itself: needs no kick; atomic */
    uint64_t switched_ns; /* when the running thread got the CPU */
    uint64_t slice_end;   /* monotonic ns, or UINT64_MAX: nobody waits */
    uint64_t timer_armed; /* what the one-shot timer is set to; UINT64_MAX: not set */
    struct timer_queue timers;
    uint64_t idle_ns;     /* up to `idle_since`; both atomic */
    uint64_t idle_since;  /* monotonic ns; 0: it does not idle */
    uint64_t stolen_ns;   /* that others have had, as accounted: neither idle nor any thread's */
    uint64_t stolen_seen; /* of hal.stolen_ns */
    bool resched_kick;    /* a kick is on its way */
    struct {              /* for /proc; written by the CPU itself */
        uint64_t switches, interrupts;
        uint64_t faults, major_faults; /* the latter waited for a disk */
    } counts;
};

static inline struct thread *current_thread(void)
{
    return (struct thread *)hal_current_thread();
}

static inline struct cpu *this_cpu(void)
{
    return (struct cpu *)hal_this_cpu();
}

struct cpu *cpu_by_id(unsigned id);

/* The time that others have taken from the CPU and that is not accounted yet; ns. The platform's
 * count begins anew when the machine has been restored. */
static inline uint64_t cpu_stolen_lately(const struct cpu *cpu)
{
    const volatile uint64_t *count = cpu->hal.stolen_ns;
    if (count == NULL) {
        return 0;
    }
    uint64_t now = *count, seen = __atomic_load_n(&cpu->stolen_seen, __ATOMIC_RELAXED);
    return now > seen ? now - seen : 0;
}

/* The time that a thread has had on its CPU since `started_ns`; ns. */
static inline uint64_t thread_ran_lately(const struct thread *thread, uint64_t now)
{
    uint64_t started = __atomic_load_n(&thread->started_ns, __ATOMIC_RELAXED);
    uint64_t stolen = cpu_stolen_lately(cpu_by_id(__atomic_load_n(&thread->cpu, __ATOMIC_RELAXED)));
    return now > started + stolen ? now - started - stolen : 0;
}

/* Prepares CPU 0's data and its first thread, before anything else (the platform's first call). */
void sched_boot_cpu_init(void);

/* Starts the other CPUs. */
void sched_start_cpus(void);

/* The boot thread's end: it idles. Interrupts in any state. */
_Noreturn void sched_become_idle(void);

/* Bit per running CPU. */
uint64_t sched_online_cpus(void);

/* Sets the CPUs that a thread may run on (bit per CPU, at least one of them online). One that runs
 * elsewhere moves on its way back to the program. The caller makes sure that the thread exists.
 * Any context; no lock of LOCK_RUN_QUEUE's class or a higher one held. */
void sched_set_affinity(struct thread *thread, uint64_t cpus_allowed);

/* Arms this CPU's one-shot timer for its earliest timer or the end of the slice. Interrupts masked.
 */
void sched_update_timer(void);

/* Makes a thread with a kernel stack and extended state, not yet runnable; entry(argument) runs on
 * its stack. -ENOMEM, -EAGAIN (too many threads). */
int thread_create(struct thread **out, const char *name, void (*entry)(void *), void *argument);

/* Gives a new thread of the program its id and makes it findable. */
void thread_register(struct thread *thread);

/* Puts a new thread into a run queue. */
void thread_start(struct thread *thread);

/* Frees a thread that has never been started. */
void thread_discard(struct thread *thread);

/* Ends the calling thread; its stack is freed later. */
_Noreturn void thread_exit(void);

/* For the process's end: the program's other threads, and those that it still starts, run no more
 * of the program, and their sleeps end as by a signal. They stop on their way out of the kernel,
 * some time after this has returned. Thread context, no lock held. */
void thread_stop_others(void);

/* Stops the calling thread for good; it is not freed. */
_Noreturn void thread_stop(void);

/* Finds a thread by its id and calls `fn` with it while it cannot go away. -ESRCH when there is
 * none, else what `fn` returns. `fn` may take LOCK_SIGNAL. */
int thread_with(int32_t tid, int (*fn)(struct thread *, void *), void *context);

/* Calls `fn` for each program thread; stops when it returns false. */
void thread_for_each(bool (*fn)(struct thread *, void *), void *context);
unsigned thread_count(void);
unsigned threads_started(void); /* of the program, since boot */

/* Sleeping goes in three steps, so that a wake-up between the check and the sleep is never lost:
 *     thread_prepare_sleep(THREAD_SLEEPING_SIGNAL);
 *     if (condition()) thread_cancel_sleep(); else result = thread_sleep(deadline);
 * thread_sleep returns 0 after a wake-up (perhaps a spurious one: check again), -ETIMEDOUT at
 * `deadline` (monotonic ns; UINT64_MAX: none), -EINTR when a signal is deliverable and the state
 * was THREAD_SLEEPING_SIGNAL. No spinlock held. */
void thread_prepare_sleep(enum thread_state state);
void thread_cancel_sleep(void);
int thread_sleep(uint64_t deadline);

/* Makes a sleeping thread runnable, on an idle CPU if there is one; does nothing to one that is not
 * asleep. The caller makes sure that the thread exists. Any context. */
void thread_wake(struct thread *thread);

/* The same; `told` becomes `value` (a release) once neither the thread nor `told` is needed any
 * more, which for one that is queued is before it can run. So who waits for that seldom has to. */
void thread_wake_telling(struct thread *thread, uint32_t *told, uint32_t value);

/* As thread_wake, but only when it sleeps in THREAD_SLEEPING_SIGNAL; when it runs the program on
 * another CPU, that CPU is kicked so that it looks at `work`. For signals. */
void thread_notify_signal(struct thread *thread);

/* Lets others run first. */
void thread_yield(void);

/* Whether a deliverable signal is pending for the current thread, or the process is ending
 * (core/signal). */
bool thread_signal_pending(void);

/* Sleeping lock for long sections that may block or fault; not from interrupts. First come, first
 * served. */
struct mutex {
    uint32_t state; /* 0 free, 1 held, 2 held and somebody waits */
    struct spinlock lock;
    struct list waiters; /* struct mutex_waiter, lock */
};

#define MUTEX_INIT(name)                                                                           \
    {                                                                                              \
        0, SPINLOCK_INIT(LOCK_WAIT_QUEUE), LIST_INIT((name).waiters)                               \
    }
void mutex_init(struct mutex *mutex);
void mutex_lock(struct mutex *mutex);
bool mutex_try_lock(struct mutex *mutex);
void mutex_unlock(struct mutex *mutex);

/* Sleeping reader-writer lock: many readers or one writer; a waiting writer keeps new readers out.
 * Not recursive. */
struct rwlock {
    int32_t count; /* readers; -1: a writer; atomic */
    uint32_t
        writers_waiting; /* threads in `waiters`, readers too: they keep new readers out; atomic */
    struct spinlock lock;
    struct list waiters; /* lock */
};

void rwlock_init(struct rwlock *rwlock);
void rwlock_read_lock(struct rwlock *rwlock);
void rwlock_read_unlock(struct rwlock *rwlock);
void rwlock_write_lock(struct rwlock *rwlock);
void rwlock_write_unlock(struct rwlock *rwlock);
