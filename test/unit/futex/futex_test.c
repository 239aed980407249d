/* SPDX-License-Identifier: MIT */
/* core/sched/futex.c with host threads as waiters and wakers. The program's memory is the test's
 * own; a page at UNMAPPED is not there until somebody copies from it. */
#include <errno.h>
#include <string.h>

#include "core/sched/futex.h"
#include "core/signal/restart.h"
#include "core/syscall/syscall.h"
#include "core/time/clock.h"
#include "fakes/check.h"
#include "fakes/fake_sched.h"

enum { WAIT, WAKE, FD, REQUEUE, CMP_REQUEUE, WAKE_OP, WAIT_BITSET = 9, WAKE_BITSET };

#define BAD_ADDRESS 0x1000u

long sys_futex(struct syscall_args *a);

static uint32_t lazy_word;
static bool lazy_mapped;

/* --- fakes
 * ----------------------------------------------------------------------------------------------------------
 */

int load_user_u32_nofault(uint32_t *value, uintptr_t from)
{
    if (from == BAD_ADDRESS || (from == (uintptr_t)&lazy_word && !lazy_mapped)) {
        return -EFAULT;
    }
    *value = __atomic_load_n((uint32_t *)from, __ATOMIC_SEQ_CST);
    return 0;
}

int copy_from_user(void *to, uintptr_t from, size_t size)
{
    if (from == BAD_ADDRESS) {
        return -EFAULT;
    }
    lazy_mapped = lazy_mapped || from == (uintptr_t)&lazy_word;
    memcpy(to, (const void *)from, size);
    return 0;
}

int cmpxchg_user_u32(uintptr_t address, uint32_t *old, uint32_t new_value)
{
    __atomic_compare_exchange_n((uint32_t *)address, old, new_value, false, __ATOMIC_SEQ_CST,
                                __ATOMIC_SEQ_CST);
    return 0;
}

uint64_t hal_clock_wall_offset(void)
{
    return 1000000000000000000ull;
}

uint64_t deadline_after(uint64_t ns)
{
    return hal_clock_monotonic() + ns;
}

int timespec_from_user(uintptr_t address, uint64_t *ns)
{
    const struct timespec64 *time = (const struct timespec64 *)address;
    *ns = (uint64_t)time->seconds * NS_PER_SECOND + (uint64_t)time->nanoseconds;
    return 0;
}

static _Thread_local struct restart_block restart_block;

long restart_later(long (*resume)(const struct restart_block *), uint64_t a, uint64_t b, uint64_t c,
                   uint64_t d)
{
    restart_block = (struct restart_block){resume, {a, b, c, d}};
    return -ERESTART_RESTARTBLOCK;
}

void sched_update_timer(void)
{
}

/* --- helpers
 * --------------------------------------------------------------------------------------------------------
 */

static long futex(uint32_t *word, unsigned operation, uint32_t value, const void *timeout,
                  uint32_t *second, uint32_t third)
{
    struct syscall_args a = {
        .arg = {(uintptr_t)word, operation, value, (uintptr_t)timeout, (uintptr_t)second, third}};
    return sys_futex(&a);
}

static long futex_counts(uint32_t *word, unsigned operation, uint32_t wake, uint64_t move,
                         uint32_t *second, uint32_t third)
{
    return futex(word, operation, wake, (const void *)move, second, third);
}

struct waiter {
    uint32_t *word;
    uint32_t bitset;
    struct timespec64 *timeout;
    unsigned operation;
    long result;
    uint32_t done;
    struct fake_thread *thread;
};

static void wait_in_thread(void *argument)
{
    struct waiter *waiter = argument;
    waiter->result =
        futex(waiter->word, waiter->operation, 0, waiter->timeout, NULL, waiter->bitset);
    __atomic_store_n(&waiter->done, 1, __ATOMIC_SEQ_CST);
}

static void start_waiter(struct waiter *waiter, uint32_t *word, uint32_t bitset)
{
    *waiter = (struct waiter){.word = word, .bitset = bitset, .operation = WAIT_BITSET};
    waiter->thread = fake_sched_start(2, wait_in_thread, waiter);
    fake_sched_await_sleep(waiter->thread);
}

static void finish(struct waiter *waiter, long result)
{
    fake_sched_join(waiter->thread);
    CHECK(waiter->result == result, "%ld", waiter->result);
}

/* --- tests
 * ----------------------------------------------------------------------------------------------------------
 */

static void test_errors(void)
{
    uint32_t word = 1;
    struct timespec64 soon = {0, 2000000};
    CHECK(futex(&word, WAIT, 0, NULL, NULL, 0) == -EAGAIN);
    CHECK(futex((uint32_t *)((char *)&word + 1), WAIT, 0, NULL, NULL, 0) == -EINVAL);
    CHECK(futex((uint32_t *)(uintptr_t)BAD_ADDRESS, WAIT, 0, NULL, NULL, 0) == -EFAULT);
    CHECK(futex(&word, WAIT_BITSET, 1, NULL, NULL, 0) == -EINVAL);
    CHECK(futex(&word, WAKE_BITSET, 1, NULL, NULL, 0) == -EINVAL);
    CHECK(futex(&word, WAKE, 1, NULL, NULL, 0) == 0);
    CHECK(futex(&word, WAIT, 1, &soon, NULL, 0) == -ETIMEDOUT);
    CHECK(futex(&word, WAIT | 128, 1, &soon, NULL, 0) == -ETIMEDOUT);
    CHECK(futex(&word, WAKE | 256, 1, NULL, NULL, 0) == -ENOSYS);
    CHECK(futex(&word, 12, 1, NULL, NULL, 0) == -ENOSYS);
    CHECK(futex_counts(&word, CMP_REQUEUE, 1, 1, &word, 2) == -EAGAIN);
    CHECK(futex_counts(&word, REQUEUE, (uint32_t)-1, 1, &word, 2) == -EINVAL);
    struct timespec64 past = {0, 1}, wall = {1000000000, 1};
    CHECK(futex(&word, WAIT_BITSET, 1, &past, NULL, 1) == -ETIMEDOUT);
    CHECK(futex(&word, WAIT_BITSET | 256, 1, &wall, NULL, 1) == -ETIMEDOUT);
}

static void test_faults_word_in(void)
{
    struct timespec64 soon = {0, 2000000};
    lazy_mapped = false;
    CHECK(futex(&lazy_word, WAIT, 0, &soon, NULL, 0) == -ETIMEDOUT);
    CHECK(lazy_mapped);
}

static void test_bitsets(void)
{
    uint32_t word = 0;
    struct waiter one, two;
    start_waiter(&one, &word, 1);
    start_waiter(&two, &word, 2);
    CHECK(futex(&word, WAKE_BITSET, 10, NULL, NULL, 4) == 0);
    CHECK(futex(&word, WAKE_BITSET, 10, NULL, NULL, 2) == 1);
    finish(&two, 0);
    CHECK(one.done == 0);
    CHECK(futex(&word, WAKE, 10, NULL, NULL, 0) == 1);
    finish(&one, 0);
}

static void test_requeue(void)
{
    uint32_t first = 0, second = 5;
    struct waiter waiters[4];
    for (unsigned i = 0; i < 4; i++) {
        start_waiter(&waiters[i], &first, ~0u);
    }
    CHECK(futex_counts(&first, CMP_REQUEUE, 1, 2, &second, 0) == 3);
    CHECK(futex(&first, WAKE, 10, NULL, NULL, 0) == 1);
    CHECK(futex(&second, WAKE, 1, NULL, NULL, 0) == 1);
    /* A requeued waiter leaves its new bucket when a signal comes. */
    fake_sched_signal(waiters[2].thread, true);
    finish(&waiters[0], 0);
    finish(&waiters[3], 0);
    finish(&waiters[1], 0);
    finish(&waiters[2], -ERESTARTSYS);
    CHECK(futex(&second, WAKE, 10, NULL, NULL, 0) == 0);
}

static void test_wake_op(void)
{
    uint32_t first = 0, second = 5;
    struct waiter one, two;
    start_waiter(&one, &first, ~0u);
    second = 0;
    start_waiter(&two, &second, ~0u);
    second = 5;
    /* second += 3; wake the second too if it was 5 */
    CHECK(futex_counts(&first, WAKE_OP, 10, 10, &second, 1u << 28 | 0u << 24 | 3u << 12 | 5) == 2);
    CHECK(second == 8);
    /* second = 1 << 4, was it below -1? */
    CHECK(futex_counts(&first, WAKE_OP, 1, 1, &second, 8u << 28 | 2u << 24 | 4u << 12 | 0xfff) ==
          0);
    CHECK(second == 16);
    CHECK(futex_counts(&first, WAKE_OP, 1, 1, &second, 7u << 28) == -ENOSYS);
    finish(&one, 0);
    finish(&two, 0);
}

static void test_interrupted(void)
{
    uint32_t word = 0;
    struct waiter waiter;
    start_waiter(&waiter, &word, ~0u);
    fake_sched_signal(waiter.thread, true);
    finish(&waiter, -ERESTARTSYS);
    struct timespec64 late = {1000000, 0};
    waiter = (struct waiter){.word = &word, .timeout = &late, .operation = WAIT};
    waiter.thread = fake_sched_start(2, wait_in_thread, &waiter);
    fake_sched_await_sleep(waiter.thread);
    fake_sched_signal(waiter.thread, true);
    finish(&waiter, -ERESTART_RESTARTBLOCK);
    CHECK(futex(&word, WAKE, 10, NULL, NULL, 0) == 0);
}

/* A lock of the kind that futex(7) shows: a lost wake-up hangs it, a double one breaks the count.
 */
#define LOCK_THREADS_COUNT 6
#define LOCK_ROUNDS 4000

static uint32_t lock_word;
static unsigned counter;

static void lock_loop(void *unused)
{
    (void)unused;
    struct timespec64 short_time = {0, 50000};
    for (unsigned i = 0; i < LOCK_ROUNDS; i++) {
        uint32_t expected = 0;
        if (!__atomic_compare_exchange_n(&lock_word, &expected, 1, false, __ATOMIC_SEQ_CST,
                                         __ATOMIC_SEQ_CST)) {
            while (__atomic_exchange_n(&lock_word, 2, __ATOMIC_SEQ_CST) != 0) {
                /* Some waits time out, so that leaving and waking race. */
                futex(&lock_word, WAIT, 2, i % 8 == 0 ? &short_time : NULL, NULL, 0);
            }
        }
        counter++;
        if (__atomic_exchange_n(&lock_word, 0, __ATOMIC_SEQ_CST) == 2) {
            futex(&lock_word, WAKE, 1, NULL, NULL, 0);
        }
    }
}

static void test_no_lost_wakeup(void)
{
    struct fake_thread *threads[LOCK_THREADS_COUNT];
    for (unsigned i = 0; i < LOCK_THREADS_COUNT; i++) {
        threads[i] = fake_sched_start((int32_t)(10 + i), lock_loop, NULL);
    }
    for (unsigned i = 0; i < LOCK_THREADS_COUNT; i++) {
        fake_sched_join(threads[i]);
    }
    CHECK(counter == LOCK_THREADS_COUNT * LOCK_ROUNDS, "%u", counter);
}

static void test_robust_list(void)
{
    struct {
        uint64_t next;
        int64_t offset;
        uint64_t pending;
    } head;
    struct {
        uint64_t next;
        uint32_t word;
    } held = {(uintptr_t)&head, 7 | 0x80000000u}, other = {(uintptr_t)&held, 8};
    head.next = (uintptr_t)&other;
    head.offset = 8;
    head.pending = 0;
    futex_exit_robust_list((uintptr_t)&head, 7);
    CHECK(held.word == (0x80000000u | 0x40000000u), "%x", held.word);
    CHECK(other.word == 8);
}

int main(void)
{
    fake_sched_attach(1);
    test_errors();
    test_faults_word_in();
    test_bitsets();
    test_requeue();
    test_wake_op();
    test_interrupted();
    test_no_lost_wakeup();
    test_robust_list();
    return 0;
}
