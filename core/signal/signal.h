/* SPDX-License-Identifier: MIT */
/* Signals as Linux has them: dispositions and pending signals of the process, mask and pending
 * signals and alternate stack of each thread. One lock guards it all (LOCK_SIGNAL); a thread's
 * `work` bit says that it should look. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "hal.h"

struct thread;

/* Linux's siginfo_t (include/uapi/asm-generic/siginfo.h), the fields that we fill. */
struct signal_info {
    int32_t signo, error, code, pad;
    union {
        struct {
            int32_t pid, uid;
            uint64_t value;
        } sender; /* SI_USER, SI_TKILL, SI_QUEUE */
        struct {
            int32_t timer_id, overrun;
            uint64_t value;
        } timer;
        struct {
            uint64_t address;
        } fault;
        uint8_t size[112];
    };
};
_Static_assert(sizeof(struct signal_info) == 128, "siginfo_t is 128 bytes");

void signal_init(void);

/* The signal part of a new thread: mask inherited from `parent` (NULL: empty), no alternate stack.
 * -ENOMEM. */
int signal_thread_init(struct thread *thread, const struct thread *parent);
void signal_thread_free(struct thread *thread);

/* Queues a signal for one thread or for the process. Any context. */
void signal_send_thread(struct thread *thread, const struct signal_info *info);
void signal_send_process(const struct signal_info *info);

/* A signal caused by the current thread's own instruction: cannot be blocked or ignored (then the
 * process ends with it). */
void signal_force(const struct signal_info *info);

/* Delivers what is pending: builds a frame, or ends the process. Called by core_return_to_user,
 * interrupts enabled. */
void signal_deliver(struct regs *regs);

/* Whether an unblocked, not ignored signal is pending for the current thread. */
bool signal_pending(void);

/* For ppoll, pselect6 and epoll_pwait: the current thread's mask becomes the one at `address` (0:
 * nothing happens) for the rest of the system call: -EFAULT, -EINVAL when `size` is not 8.
 * signal_mask_restore ends that; when the call was `interrupted` the old mask comes back only after
 * a handler has been given its frame, so that the signal that interrupted the call is delivered (as
 * rt_sigsuspend). */
int signal_mask_during(uintptr_t address, size_t size);
void signal_mask_restore(bool interrupted);
