/* SPDX-License-Identifier: MIT */
/* poll, ppoll, select and pselect6 over one scan: a waiter for each file hangs on its queue while
 * the thread sleeps. Owns nothing beyond the call. */
#include "core/fs/fs_internal.h"
#include "core/signal/restart.h"
#include "core/signal/signal.h"
#include "core/time/clock.h"

/* What poll counts for select's three sets. */
#define SELECT_IN (POLLIN | POLLRDNORM | POLLHUP | POLLERR)
#define SELECT_OUT (POLLOUT | POLLWRNORM | POLLERR)
#define SELECT_PRI POLLPRI

struct poll_slot {
    struct thread_waiter waiter;
    struct file *file; /* NULL: not to be looked at */
    uint32_t events;   /* asked for */
    uint32_t found;
};

enum { STACK_SLOTS = 8 };

static struct poll_slot *slots_alloc(struct poll_slot *few, size_t count)
{
    struct poll_slot *slots = count <= STACK_SLOTS ? few : kmalloc(count * sizeof(*slots));
    for (size_t i = 0; slots != NULL && i < count; i++) {
        slots[i].file = NULL;
        slots[i].events = slots[i].found = 0;
        thread_waiter_init(&slots[i].waiter);
    }
    return slots;
}

static void slots_free(struct poll_slot *few, struct poll_slot *slots, size_t count)
{
    for (size_t i = 0; slots != NULL && i < count; i++) {
        if (slots[i].file != NULL) {
            file_put(slots[i].file);
        }
    }
    if (slots != few) {
        kfree(slots);
    }
}

static int scan(struct poll_slot *slots, size_t count, bool enqueue)
{
    int found = 0;
    for (size_t i = 0; i < count; i++) {
        struct poll_slot *slot = &slots[i];
        if (slot->file != NULL) {
            uint32_t (*poll)(struct file *, struct wait_entry *) = slot->file->operations->poll;
            uint32_t now =
                poll == NULL ? POLLIN | POLLRDNORM | POLLOUT | POLLWRNORM
                             : poll(slot->file, enqueue && found == 0 ? &slot->waiter.entry : NULL);
            slot->found = now & slot->events;
        }
        found += slot->found != 0;
    }
    return found;
}

/* Waits until a slot has something, the deadline (0: do not wait) or a signal: how many have, or
 * -EINTR. */
static int wait_for_slots(struct poll_slot *slots, size_t count, uint64_t deadline)
{
    int found = scan(slots, count, deadline != 0);
    int result = 0;
    if (found == 0 && deadline != 0) {
        while (result == 0) {
            thread_prepare_sleep(THREAD_SLEEPING_SIGNAL);
            found = scan(slots, count, false);
            if (found != 0) {
                thread_cancel_sleep();
                break;
            }
            result = thread_sleep(deadline);
        }
        if (result == -ETIMEDOUT) {
            found = scan(slots, count, false);
        }
    }
    for (size_t i = 0; deadline != 0 && i < count; i++) {
        if (slots[i].waiter.entry.queue != NULL) {
            wait_queue_remove(&slots[i].waiter.entry);
        }
    }
    return found == 0 && result == -EINTR ? -EINTR : found;
}

static long poll_until(uintptr_t address, size_t count, uint64_t deadline)
{
    struct poll_slot few[STACK_SLOTS];
    struct pollfd *fds;
    if (count > fd_limit) {
        return -EINVAL;
    }
    fds = kmalloc(MAX(count, 1ul) * sizeof(*fds));
    struct poll_slot *slots = slots_alloc(few, count);
    long result = -ENOMEM;
    if (fds == NULL || slots == NULL) {
        goto out;
    }
    result = copy_from_user(fds, address, count * sizeof(*fds));
    if (result != 0) {
        goto out;
    }
    for (size_t i = 0; i < count; i++) {
        slots[i].events = (uint16_t)fds[i].events | POLLERR | POLLHUP;
        if (fds[i].fd >= 0 && fd_lookup(fds[i].fd, &slots[i].file) != 0) {
            slots[i].file = NULL;
            slots[i].found = POLLNVAL;
        }
    }
    result = wait_for_slots(slots, count, deadline);
    if (result >= 0) {
        for (size_t i = 0; i < count; i++) {
            fds[i].revents = (short)slots[i].found;
        }
        if (copy_to_user(address, fds, count * sizeof(*fds)) != 0) {
            result = -EFAULT;
        }
    }
out:
    slots_free(few, slots, slots == NULL ? 0 : count);
    kfree(fds);
    return result;
}

static long poll_restartable(uintptr_t address, size_t count, uint64_t deadline);

static long poll_resume(const struct restart_block *restart)
{
    return poll_restartable(restart->argument[0], restart->argument[1], restart->argument[2]);
}

static long poll_restartable(uintptr_t address, size_t count, uint64_t deadline)
{
    long done = poll_until(address, count, deadline);
    return done == -EINTR ? restart_later(poll_resume, address, count, deadline, 0) : done;
}

long sys_poll(struct syscall_args *a)
{
    int timeout = (int)a->arg[2];
    uint64_t deadline = timeout < 0    ? UINT64_MAX
                        : timeout == 0 ? 0
                                       : deadline_after((uint64_t)timeout * 1000000);
    return poll_restartable(a->arg[0], (unsigned)a->arg[1], deadline);
}

static int deadline_from_user(uintptr_t address, uint64_t *deadline)
{
    uint64_t ns;
    *deadline = UINT64_MAX;
    if (address == 0) {
        return 0;
    }
    int result = timespec_from_user(address, &ns);
    if (result == 0) {
        *deadline = ns == 0 ? 0 : deadline_after(ns);
    }
    return result;
}

/* Linux writes the time left back, and does not mind when it cannot. */
static void write_time_left(uintptr_t address, uint64_t deadline)
{
    if (address != 0) {
        uint64_t now = hal_clock_monotonic();
        (void)timespec_to_user(address, deadline > now ? deadline - now : 0);
    }
}

/* The end of ppoll and pselect6. They start again with the time that is left. */
static long timed_end(long done, uintptr_t address, uint64_t deadline)
{
    signal_mask_restore(done == -EINTR);
    write_time_left(address, deadline);
    return done == -EINTR ? -ERESTARTNOHAND : done;
}

long sys_ppoll(struct syscall_args *a)
{
    uint64_t deadline;
    int result = deadline_from_user(a->arg[2], &deadline);
    if (result == 0) {
        result = signal_mask_during(a->arg[3], a->arg[4]);
    }
    if (result != 0) {
        return result;
    }
    long done = poll_until(a->arg[0], (unsigned)a->arg[1], deadline);
    return timed_end(done, a->arg[2], deadline);
}

static long select_until(int count, const uint64_t *addresses, uint64_t deadline)
{
    static const uint32_t wanted[3] = {SELECT_IN, SELECT_OUT, SELECT_PRI};
    struct poll_slot few[STACK_SLOTS];
    struct poll_slot *slots = NULL;
    if (count < 0) {
        return -EINVAL;
    }
    count = MIN(count, (int)fd_limit);
    size_t words = ((size_t)count + 63) / 64, used = 0;
    uint64_t *sets = kzalloc(MAX(words, 1ul) * 3 * sizeof(*sets));
    if (sets == NULL) {
        return -ENOMEM;
    }
    long result = 0;
    for (int set = 0; set < 3 && result == 0; set++) {
        if (addresses[set] != 0) {
            result =
                copy_from_user(sets + (size_t)set * words, addresses[set], words * sizeof(*sets));
        }
    }
    if (result != 0) {
        goto out;
    }
    for (int pass = 0; pass < 2; pass++) {
        used = 0;
        for (int fd = 0; fd < count; fd++) {
            uint32_t events = 0;
            for (size_t set = 0; set < 3; set++) {
                events |= (sets[set * words + (size_t)fd / 64] >> (fd % 64)) & 1 ? wanted[set] : 0;
            }
            if (events == 0) {
                continue;
            }
            if (pass == 1) {
                slots[used].events = events;
                result = fd_lookup(fd, &slots[used].file);
                if (result != 0) {
                    slots[used].file = NULL;
                    goto out;
                }
            }
            used++;
        }
        if (pass == 0) {
            slots = slots_alloc(few, used);
            if (slots == NULL) {
                result = -ENOMEM;
                goto out;
            }
        }
    }
    result = wait_for_slots(slots, used, deadline);
    if (result >= 0) {
        result = 0;
        size_t next = 0;
        for (int fd = 0; fd < count; fd++) {
            uint64_t bit = 1ull << (fd % 64);
            bool asked = false;
            for (size_t set = 0; set < 3; set++) {
                uint64_t *word = &sets[set * words + (size_t)fd / 64];
                if ((*word & bit) != 0) {
                    asked = true;
                    if ((slots[next].found & wanted[set]) != 0) {
                        result++;
                    } else {
                        *word &= ~bit;
                    }
                }
            }
            next += asked;
        }
        for (int set = 0; set < 3; set++) {
            if (addresses[set] != 0 && copy_to_user(addresses[set], sets + (size_t)set * words,
                                                    words * sizeof(*sets)) != 0) {
                result = -EFAULT;
            }
        }
    }
out:
    slots_free(few, slots, slots == NULL ? 0 : used);
    kfree(sets);
    return result;
}

long sys_select(struct syscall_args *a)
{
    int64_t time[2] = {0, 0};
    uint64_t deadline = UINT64_MAX;
    if (a->arg[4] != 0) {
        if (copy_from_user(time, a->arg[4], sizeof(time)) != 0) {
            return -EFAULT;
        }
        uint64_t ns;
        if (time[0] < 0 || time[1] < 0) {
            return -EINVAL;
        }
        if (__builtin_mul_overflow((uint64_t)time[0], NS_PER_SECOND, &ns) ||
            __builtin_add_overflow(ns, (uint64_t)time[1] * 1000, &ns)) {
            ns = UINT64_MAX;
        }
        deadline = ns == 0 ? 0 : deadline_after(ns);
    }
    long result = select_until((int)a->arg[0], &a->arg[1], deadline);
    if (a->arg[4] != 0) {
        uint64_t now = hal_clock_monotonic();
        uint64_t left = deadline > now ? deadline - now : 0;
        time[0] = (int64_t)(left / NS_PER_SECOND);
        time[1] = (int64_t)(left % NS_PER_SECOND / 1000);
        (void)copy_to_user(a->arg[4], time, sizeof(time));
    }
    return result == -EINTR ? -ERESTARTNOHAND : result;
}

long sys_pselect6(struct syscall_args *a)
{
    uint64_t deadline, mask[2] = {0, 0};
    int result = deadline_from_user(a->arg[4], &deadline);
    if (result == 0 && a->arg[5] != 0) {
        result = copy_from_user(mask, a->arg[5], sizeof(mask));
    }
    if (result == 0) {
        result = signal_mask_during(mask[0], mask[1]);
    }
    if (result != 0) {
        return result;
    }
    long done = select_until((int)a->arg[0], &a->arg[1], deadline);
    return timed_end(done, a->arg[4], deadline);
}
