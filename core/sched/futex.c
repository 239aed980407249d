/* SPDX-License-Identifier: MIT */
/* Futexes (futex(2)): queues of threads that wait for a word to change, hashed by the word's
 * address (one address space, so PRIVATE means nothing). A waiter lives on its thread's kernel
 * stack. A bucket's lock guards its list, the waiters on it, and the order of "is the value still
 * the expected one" and "wake": a waiter looks and enqueues under the lock, a waker has changed the
 * word before it takes the lock, so either the waiter sees the new value or the waker sees the
 * waiter. */
#include <linux/errno.h>
#include <linux/futex.h>

#include "core/lib/errno.h"
#include "core/sched/futex.h"
#include "core/sched/sched.h"
#include "core/sched/wake_ticket.h"
#include "core/signal/restart.h"
#include "core/syscall/syscall.h"
#include "core/time/clock.h"

#define BUCKET_BITS 8
#define BUCKET_COUNT (1u << BUCKET_BITS)

struct futex_bucket {
    struct spinlock lock;
    struct list waiters; /* all zero until the first waiter; lock */
} __attribute__((aligned(64)));

struct futex_waiter {
    struct list node;  /* lock of `bucket` */
    uintptr_t address; /* lock of `bucket` */
    uint32_t bitset;
    struct futex_bucket *bucket; /* atomic; changed by requeue under the locks of both */
    struct wake_ticket ticket;
};

/* Those to be woken once the locks are dropped. */
struct wake_list {
    struct list waiters;
    uint32_t count;
};

static struct futex_bucket buckets[BUCKET_COUNT];

static struct futex_bucket *bucket_of(uintptr_t address)
{
    return &buckets[((address >> 2) * 0x9e3779b97f4a7c15ull) >> (64 - BUCKET_BITS)];
}

static void lock_bucket(struct futex_bucket *bucket)
{
    spin_lock(&bucket->lock);
    if (bucket->waiters.next == NULL) {
        list_init(&bucket->waiters);
    }
}

static void lock_two(struct futex_bucket *a, struct futex_bucket *b)
{
    struct futex_bucket *low = a < b ? a : b;
    struct futex_bucket *high = a < b ? b : a;
    lock_bucket(low);
    if (high != low) {
        lock_bucket(high);
    }
}

static void unlock_two(struct futex_bucket *a, struct futex_bucket *b)
{
    spin_unlock(&a->lock);
    if (b != a) {
        spin_unlock(&b->lock);
    }
}

/* The word's value without faults, for use under a lock; on -EFAULT the caller drops its locks and
 * calls fault_in. */
static int fault_in(uintptr_t address)
{
    uint32_t value;
    return copy_from_user(&value, address, sizeof(value));
}

/* --- waking
 * -------------------------------------------------------------------------------------------------------
 */

/* Takes up to `count` waiters of `address` off the bucket. Its lock is held. */
static void collect(struct wake_list *wake, struct futex_bucket *bucket, uintptr_t address,
                    uint32_t count, uint32_t bitset)
{
    list_for_each_safe (node, &bucket->waiters) {
        struct futex_waiter *waiter = list_entry(node, struct futex_waiter, node);
        if (count == 0) {
            break;
        }
        if (waiter->address == address && (waiter->bitset & bitset) != 0) {
            list_remove(node);
            list_push_back(&wake->waiters, node);
            wake_ticket_call(&waiter->ticket);
            wake->count++;
            count--;
        }
    }
}

/* No lock held. The number woken. */
static long wake_all(struct wake_list *wake)
{
    struct list *node;
    while ((node = list_pop_front(&wake->waiters)) != NULL) {
        wake_ticket_finish(&list_entry(node, struct futex_waiter, node)->ticket);
    }
    return wake->count;
}

long futex_wake(uintptr_t address, uint32_t count, uint32_t bitset)
{
    if (bitset == 0 || address % 4 != 0) {
        return -EINVAL;
    }
    struct futex_bucket *bucket = bucket_of(address);
    struct wake_list wake = {.waiters = LIST_INIT(wake.waiters)};
    lock_bucket(bucket);
    collect(&wake, bucket, address, count, bitset);
    spin_unlock(&bucket->lock);
    return wake_all(&wake);
}

/* Linux takes a count below 1 for 1. */
static uint32_t wake_count(uint64_t argument)
{
    int32_t count = (int32_t)argument;
    return count > 0 ? (uint32_t)count : 1;
}

/* --- waiting
 * ------------------------------------------------------------------------------------------------------
 */

/* Takes a waiter off its list unless it has been called meanwhile. */
static void leave(struct futex_waiter *waiter)
{
    for (;;) {
        struct futex_bucket *bucket = __atomic_load_n(&waiter->bucket, __ATOMIC_ACQUIRE);
        spin_lock(&bucket->lock);
        bool right = __atomic_load_n(&waiter->bucket, __ATOMIC_RELAXED) == bucket;
        if (right && __atomic_load_n(&waiter->ticket.state, __ATOMIC_RELAXED) == TICKET_WAITING) {
            list_remove(&waiter->node);
        }
        spin_unlock(&bucket->lock);
        if (right) {
            return;
        }
    }
}

static long futex_wait(uintptr_t address, uint32_t expected, uint32_t bitset, uint64_t deadline);

static long restart_wait(const struct restart_block *restart)
{
    return futex_wait(restart->argument[0], (uint32_t)restart->argument[1],
                      (uint32_t)restart->argument[2], restart->argument[3]);
}

static long futex_wait(uintptr_t address, uint32_t expected, uint32_t bitset, uint64_t deadline)
{
    if (bitset == 0 || address % 4 != 0) {
        return -EINVAL;
    }
    struct futex_bucket *bucket = bucket_of(address);
    struct futex_waiter waiter;
    waiter.address = address;
    waiter.bitset = bitset;
    waiter.bucket = bucket;
    wake_ticket_init(&waiter.ticket);
    uint32_t value;
    lock_bucket(bucket);
    while (load_user_u32_nofault(&value, address) != 0) {
        spin_unlock(&bucket->lock);
        int error = fault_in(address);
        if (error != 0) {
            return error;
        }
        lock_bucket(bucket);
    }
    if (value != expected) {
        spin_unlock(&bucket->lock);
        return -EAGAIN;
    }
    list_push_back(&bucket->waiters, &waiter.node);
    spin_unlock(&bucket->lock);

    int result = wake_ticket_wait(&waiter.ticket, THREAD_SLEEPING_SIGNAL, deadline);
    if (result == 0) {
        return 0;
    }
    leave(&waiter);
    if (wake_ticket_called(&waiter.ticket)) {
        return 0;
    }
    if (result == -ETIMEDOUT) {
        return -ETIMEDOUT;
    }
    if (deadline == UINT64_MAX) {
        return -ERESTARTSYS;
    }
    return restart_later(restart_wait, address, expected, bitset, deadline);
}

/* --- requeueing and wake-op
 * --------------------------------------------------------------------------------------- */

static long futex_requeue(uintptr_t from, uintptr_t to, uint64_t wake_argument,
                          uint64_t move_argument, const uint32_t *expected)
{
    int32_t wake_most = (int32_t)wake_argument, move_most = (int32_t)move_argument;
    if (from % 4 != 0 || to % 4 != 0 || wake_most < 0 || move_most < 0) {
        return -EINVAL;
    }
    struct futex_bucket *source = bucket_of(from), *target = bucket_of(to);
    struct wake_list wake = {.waiters = LIST_INIT(wake.waiters)};
    uint32_t value;
    lock_two(source, target);
    while (expected != NULL && load_user_u32_nofault(&value, from) != 0) {
        unlock_two(source, target);
        int error = fault_in(from);
        if (error != 0) {
            return error;
        }
        lock_two(source, target);
    }
    if (expected != NULL && value != *expected) {
        unlock_two(source, target);
        return -EAGAIN;
    }
    collect(&wake, source, from, (uint32_t)wake_most, FUTEX_BITSET_MATCH_ANY);
    long moved = 0;
    struct list moving = LIST_INIT(moving);
    list_for_each_safe (node, &source->waiters) {
        struct futex_waiter *waiter = list_entry(node, struct futex_waiter, node);
        if (moved == move_most) {
            break;
        }
        if (waiter->address == from) {
            list_remove(node);
            list_push_back(&moving, node);
            waiter->address = to;
            __atomic_store_n(&waiter->bucket, target, __ATOMIC_RELEASE);
            moved++;
        }
    }
    struct list *node;
    while ((node = list_pop_front(&moving)) != NULL) {
        list_push_back(&target->waiters, node);
    }
    unlock_two(source, target);
    /* FUTEX_REQUEUE and FUTEX_CMP_REQUEUE both count those that were moved. */
    return wake_all(&wake) + moved;
}

static int32_t sign_extend_12(uint32_t value)
{
    return (int32_t)(value << 20) >> 20;
}

static int apply(uint32_t operation, uint32_t old, uint32_t argument, uint32_t *result)
{
    switch (operation) {
    case FUTEX_OP_SET:
        *result = argument;
        return 0;
    case FUTEX_OP_ADD:
        *result = old + argument;
        return 0;
    case FUTEX_OP_OR:
        *result = old | argument;
        return 0;
    case FUTEX_OP_ANDN:
        *result = old & ~argument;
        return 0;
    case FUTEX_OP_XOR:
        *result = old ^ argument;
        return 0;
    default:
        return -ENOSYS;
    }
}

static int compare(uint32_t comparison, int32_t left, int32_t right, bool *result)
{
    switch (comparison) {
    case FUTEX_OP_CMP_EQ:
        *result = left == right;
        return 0;
    case FUTEX_OP_CMP_NE:
        *result = left != right;
        return 0;
    case FUTEX_OP_CMP_LT:
        *result = left < right;
        return 0;
    case FUTEX_OP_CMP_GE:
        *result = left >= right;
        return 0;
    case FUTEX_OP_CMP_LE:
        *result = left <= right;
        return 0;
    case FUTEX_OP_CMP_GT:
        *result = left > right;
        return 0;
    default:
        return -ENOSYS;
    }
}

/* Changes the second word, wakes waiters of the first, and of the second when its old value
 * compares. The change comes before the locks, as a program's own store would: whoever enqueues on
 * the second word later sees it. */
static long futex_wake_op(uintptr_t first, uintptr_t second, uint32_t wake_first,
                          uint32_t wake_second, uint32_t encoded)
{
    if (first % 4 != 0 || second % 4 != 0) {
        return -EINVAL;
    }
    uint32_t operation = encoded >> 28 & 7, comparison = encoded >> 24 & 15;
    uint32_t argument = (uint32_t)sign_extend_12(encoded >> 12 & 0xfff);
    if ((encoded >> 28 & FUTEX_OP_OPARG_SHIFT) != 0) {
        argument = 1u << (argument & 31);
    }
    uint32_t old;
    int error = copy_from_user(&old, second, sizeof(old));
    while (error == 0) {
        uint32_t changed, expected = old;
        error = apply(operation, old, argument, &changed);
        if (error == 0) {
            error = cmpxchg_user_u32(second, &old, changed);
        }
        if (old == expected) {
            break;
        }
    }
    bool also_second = false;
    if (error == 0) {
        error = compare(comparison, (int32_t)old, sign_extend_12(encoded & 0xfff), &also_second);
    }
    if (error != 0) {
        return error;
    }
    struct futex_bucket *a = bucket_of(first), *b = bucket_of(second);
    struct wake_list wake = {.waiters = LIST_INIT(wake.waiters)};
    lock_two(a, b);
    collect(&wake, a, first, wake_first, FUTEX_BITSET_MATCH_ANY);
    if (also_second) {
        collect(&wake, b, second, wake_second, FUTEX_BITSET_MATCH_ANY);
    }
    unlock_two(a, b);
    return wake_all(&wake);
}

/* --- the system call
 * ---------------------------------------------------------------------------------------------- */

/* FUTEX_WAIT takes a relative time, FUTEX_WAIT_BITSET an absolute one of the clock that the flag
 * names. */
static int read_deadline(uintptr_t timeout, uint32_t command, bool realtime, uint64_t *deadline)
{
    *deadline = UINT64_MAX;
    if (timeout == 0) {
        return 0;
    }
    uint64_t ns;
    int error = timespec_from_user(timeout, &ns);
    if (error != 0) {
        return error;
    }
    if (command == FUTEX_WAIT) {
        *deadline = deadline_after(ns);
    } else {
        uint64_t offset = realtime ? hal_clock_wall_offset() : 0;
        *deadline = ns == UINT64_MAX ? ns : ns > offset ? ns - offset : 0;
    }
    return 0;
}

long sys_futex(struct syscall_args *a)
{
    uintptr_t address = a->arg[0];
    uint32_t command = (uint32_t)a->arg[1] & FUTEX_CMD_MASK;
    bool realtime = (a->arg[1] & FUTEX_CLOCK_REALTIME) != 0;
    uint32_t value = (uint32_t)a->arg[2];
    uint32_t third = (uint32_t)a->arg[5];
    if (realtime && command != FUTEX_WAIT && command != FUTEX_WAIT_BITSET) {
        return -ENOSYS;
    }
    switch (command) {
    case FUTEX_WAIT:
        third = FUTEX_BITSET_MATCH_ANY;
        __attribute__((fallthrough));
    case FUTEX_WAIT_BITSET: {
        uint64_t deadline;
        int error = read_deadline(a->arg[3], command, realtime, &deadline);
        return error != 0 ? error : futex_wait(address, value, third, deadline);
    }
    case FUTEX_WAKE:
        return futex_wake(address, wake_count(value), FUTEX_BITSET_MATCH_ANY);
    case FUTEX_WAKE_BITSET:
        return futex_wake(address, wake_count(value), third);
    case FUTEX_REQUEUE:
        return futex_requeue(address, a->arg[4], value, a->arg[3], NULL);
    case FUTEX_CMP_REQUEUE:
        return futex_requeue(address, a->arg[4], value, a->arg[3], &third);
    case FUTEX_WAKE_OP:
        return futex_wake_op(address, a->arg[4], wake_count(value), wake_count(a->arg[3]), third);
    default:
        return -ENOSYS;
    }
}

/* --- robust lists (Documentation/locking/robust-futex-ABI.rst)
 * ------------------------------------------------------ */

#define ROBUST_LIST_LIMIT 2048

static void release_robust(uintptr_t address, int32_t tid)
{
    uint32_t old;
    if (address % 4 != 0 || copy_from_user(&old, address, sizeof(old)) != 0) {
        return;
    }
    while ((old & FUTEX_TID_MASK) == (uint32_t)tid) {
        uint32_t expected = old;
        if (cmpxchg_user_u32(address, &old, (old & FUTEX_WAITERS) | FUTEX_OWNER_DIED) != 0) {
            return;
        }
        if (old == expected) {
            if ((old & FUTEX_WAITERS) != 0) {
                futex_wake(address, 1, FUTEX_BITSET_MATCH_ANY);
            }
            return;
        }
    }
}

void futex_exit_robust_list(uintptr_t head, int32_t tid)
{
    struct {
        uint64_t next;
        int64_t futex_offset;
        uint64_t pending;
    } list;
    if (head == 0 || copy_from_user(&list, head, sizeof(list)) != 0) {
        return;
    }
    uint64_t entry = list.next;
    for (unsigned i = 0; i < ROBUST_LIST_LIMIT && (entry & ~1ull) != head; i++) {
        uint64_t next;
        int error = copy_from_user(&next, entry & ~1ull, sizeof(next));
        if ((entry & ~1ull) != (list.pending & ~1ull)) {
            release_robust((entry & ~1ull) + (uint64_t)list.futex_offset, tid);
        }
        if (error != 0) {
            return;
        }
        entry = next;
    }
    if (list.pending != 0) {
        release_robust((list.pending & ~1ull) + (uint64_t)list.futex_offset, tid);
    }
}
