/* SPDX-License-Identifier: MIT */
/* The sleeping locks with host threads: what they guard stays whole, and nobody sleeps for ever. */
#include "core/sched/sched.h"
#include "fakes/check.h"
#include "fakes/fake_sched.h"

#define THREADS 6
#define ROUNDS 5000

static struct mutex mutex;
static struct rwlock rwlock;
static unsigned mutex_count;
static volatile unsigned left, right; /* equal whenever no writer is inside */

void sched_update_timer(void)
{
}

static void mutex_loop(void *unused)
{
    (void)unused;
    for (unsigned i = 0; i < ROUNDS; i++) {
        mutex_lock(&mutex);
        mutex_count++;
        mutex_unlock(&mutex);
    }
}

static void rwlock_loop(void *argument)
{
    uintptr_t index = (uintptr_t)argument;
    for (unsigned i = 0; i < ROUNDS; i++) {
        if ((i + index) % 4 == 0) {
            rwlock_write_lock(&rwlock);
            left = left + 1;
            right = right + 1;
            rwlock_write_unlock(&rwlock);
        } else {
            rwlock_read_lock(&rwlock);
            unsigned seen = left;
            CHECK(seen == right);
            rwlock_read_unlock(&rwlock);
        }
    }
}

static void run(void (*loop)(void *))
{
    struct fake_thread *threads[THREADS];
    for (uintptr_t i = 0; i < THREADS; i++) {
        threads[i] = fake_sched_start((int32_t)(2 + i), loop, (void *)i);
    }
    for (unsigned i = 0; i < THREADS; i++) {
        fake_sched_join(threads[i]);
    }
}

int main(void)
{
    fake_sched_attach(1);
    mutex_init(&mutex);
    rwlock_init(&rwlock);
    run(mutex_loop);
    CHECK(mutex_count == THREADS * ROUNDS);
    CHECK(mutex_try_lock(&mutex));
    CHECK(!mutex_try_lock(&mutex));
    run(rwlock_loop);
    CHECK(left == right && left == THREADS * ROUNDS / 4, "%u", left);
    CHECK(rwlock.count == 0 && rwlock.writers_waiting == 0);
    return 0;
}
