/* SPDX-License-Identifier: MIT */
/* core/time/timer.c: the order of expiry against a plain array, and arming, moving and cancelling
 * from several CPUs at once, each a host thread with a clock that all share. */
#include <pthread.h>
#include <string.h>

#include "core/sched/sched.h"
#include "core/time/posix_timer.h"
#include "core/time/timer.h"
#include "fakes/check.h"

#define TIMERS 300
#define CPUS 4
#define ROUNDS 30000

static uint64_t now;
static unsigned hardware_updates;

uint64_t hal_clock_monotonic(void)
{
    return __atomic_load_n(&now, __ATOMIC_SEQ_CST);
}

void sched_update_timer(void)
{
    __atomic_add_fetch(&hardware_updates, 1, __ATOMIC_RELAXED);
}

struct test_timer {
    struct timer timer;
    uint64_t expected; /* deadline, or 0: not armed */
    unsigned expiries;
    uint32_t inside; /* the callback runs */
    bool again;
};

static struct cpu cpus[CPUS];
static struct test_timer timers[TIMERS];
static uint64_t last_deadline;

static void become(unsigned id)
{
    cpus[id].hal.id = id;
    fake_cpu = &cpus[id].hal;
}

static void expired_in_order(struct timer *timer)
{
    struct test_timer *self = container_of(timer, struct test_timer, timer);
    CHECK(self->expected != 0 && self->expected == timer->deadline);
    CHECK(timer->deadline >= last_deadline && timer->deadline <= now);
    last_deadline = timer->deadline;
    self->expected = 0;
    self->expiries++;
    if (self->again) {
        self->expected = now + 50;
        timer_arm(timer, self->expected);
    }
}

static uint64_t earliest(void)
{
    uint64_t first = UINT64_MAX;
    for (unsigned i = 0; i < TIMERS; i++) {
        if (timers[i].expected != 0 && timers[i].expected < first) {
            first = timers[i].expected;
        }
    }
    return first;
}

static void test_order(void)
{
    uint64_t random = 1;
    struct timer_queue *queue = &cpus[0].timers;
    become(0);
    timer_queue_init(queue, 0);
    for (unsigned i = 0; i < TIMERS; i++) {
        timer_init(&timers[i].timer, expired_in_order);
        CHECK(!timer_cancel(&timers[i].timer));
        timers[i].again = i % 10 == 0;
    }
    now = 1;
    for (unsigned round = 0; round < ROUNDS; round++) {
        struct test_timer *timer = &timers[test_random(&random) % TIMERS];
        switch (test_random(&random) % 4) {
        case 0:
        case 1:
            timer->expected = now + 1 + test_random(&random) % 500;
            timer_arm(&timer->timer, timer->expected);
            break;
        case 2:
            CHECK(timer_cancel(&timer->timer) == (timer->expected != 0));
            timer->expected = 0;
            break;
        default:
            now += test_random(&random) % 20;
            last_deadline = 0;
            timer_run(queue);
            CHECK(earliest() > now);
        }
        CHECK(timer_next(queue) == earliest());
    }
    for (unsigned i = 0; i < TIMERS; i++) {
        timer_cancel(&timers[i].timer);
    }
    CHECK(timer_next(queue) == UINT64_MAX);
}

/* --- several CPUs
 * ---------------------------------------------------------------------------------------------------
 */

#define SHARED 8

static struct test_timer shared[SHARED];
static pthread_mutex_t
    owner[SHARED]; /* arming is serialised by whoever owns a timer, cancelling is not */
static uint32_t stop;

static void expired_shared(struct timer *timer)
{
    struct test_timer *self = container_of(timer, struct test_timer, timer);
    CHECK(__atomic_exchange_n(&self->inside, 1, __ATOMIC_SEQ_CST) == 0);
    __atomic_add_fetch(&self->expiries, 1, __ATOMIC_RELAXED);
    for (volatile int i = 0; i < 200; i++) {
    }
    if (self->again && __atomic_load_n(&stop, __ATOMIC_RELAXED) == 0) {
        timer_arm(timer, hal_clock_monotonic() + 3);
    }
    __atomic_store_n(&self->inside, 0, __ATOMIC_SEQ_CST);
}

static void *cpu_main(void *argument)
{
    unsigned id = (unsigned)(uintptr_t)argument;
    uint64_t random = id + 1;
    become(id);
    for (unsigned round = 0; round < ROUNDS; round++) {
        unsigned index = (unsigned)(test_random(&random) % SHARED);
        struct test_timer *timer = &shared[index];
        switch (test_random(&random) % 4) {
        case 0:
            pthread_mutex_lock(&owner[index]);
            timer_arm(&timer->timer, hal_clock_monotonic() + test_random(&random) % 10);
            pthread_mutex_unlock(&owner[index]);
            break;
        case 1:
            pthread_mutex_lock(&owner[index]);
            timer_cancel(&timer->timer);
            if (!timer->again) {
                CHECK(__atomic_load_n(&timer->inside, __ATOMIC_SEQ_CST) == 0);
            }
            pthread_mutex_unlock(&owner[index]);
            break;
        case 2:
            timer_disarm(&timer->timer);
            break;
        default:
            __atomic_add_fetch(&now, 1, __ATOMIC_SEQ_CST);
            timer_run(&cpus[id].timers);
        }
    }
    return NULL;
}

static void test_many_cpus(void)
{
    pthread_t threads[CPUS];
    unsigned expiries = 0;
    for (unsigned i = 0; i < CPUS; i++) {
        timer_queue_init(&cpus[i].timers, i);
    }
    for (unsigned i = 0; i < SHARED; i++) {
        pthread_mutex_init(&owner[i], NULL);
        timer_init(&shared[i].timer, expired_shared);
        shared[i].again = i % 2 == 0;
    }
    for (uintptr_t i = 0; i < CPUS; i++) {
        CHECK(pthread_create(&threads[i], NULL, cpu_main, (void *)i) == 0);
    }
    for (unsigned i = 0; i < CPUS; i++) {
        pthread_join(threads[i], NULL);
    }
    stop = 1;
    for (unsigned i = 0; i < SHARED; i++) {
        timer_cancel(&shared[i].timer);
        expiries += shared[i].expiries;
    }
    CHECK(expiries != 0);
    for (unsigned i = 0; i < CPUS; i++) {
        CHECK(timer_next(&cpus[i].timers) == UINT64_MAX);
    }
}

static void test_intervals(void)
{
    uint32_t overrun;
    CHECK(interval_next(1000000, 1000000, 1000000, &overrun) == 2000000 && overrun == 0);
    CHECK(interval_next(1000000, 3500000, 1000000, &overrun) == 4000000 && overrun == 2);
    CHECK(interval_next(1000, 1000, 1, &overrun) >= 1000 + INTERVAL_MIN_NS &&
          overrun == INTERVAL_MIN_NS);
}

int main(void)
{
    test_order();
    test_many_cpus();
    test_intervals();
    return 0;
}
