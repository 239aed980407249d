/* SPDX-License-Identifier: MIT */
/* core/signal: queues, who is told, the frame of a handler and the way back from it, restarts. The
 * test moves from thread to thread by hand. */
#include "core/signal/signal.h"

#include <linux/errno.h>
#include <stdlib.h>

#include "core/lib/string.h"
#include "core/sched/sched.h"
#include "core/signal/signal_internal.h"
#include "core/syscall/syscall.h"
#include "core/time/cpu_timer.h"
#include "fakes/check.h"

#define THREADS 3
#define GATE_CALL 14
#define RIP 0x400100

long sys_rt_sigreturn(struct syscall_args *a);

static struct thread threads[THREADS];
static struct cpu cpu;
static unsigned notified[THREADS];
static int killed_by;
static struct regs user_regs;
static char xstate = 'a';
static _Alignas(64) char program_stack[8192], other_stack[8192];

/* --- fakes
 * ----------------------------------------------------------------------------------------------------------
 */

bool cpu_timer_process_active;

void cpu_timer_thread_end(struct thread *thread)
{
    (void)thread;
}

void posix_timer_delivered(int32_t id, int32_t overrun)
{
    (void)id;
    (void)overrun;
}

void *kmalloc(size_t size)
{
    return malloc(size);
}

void *kzalloc(size_t size)
{
    return calloc(1, size);
}

void kfree(void *pointer)
{
    free(pointer);
}

void thread_notify_signal(struct thread *thread)
{
    notified[thread - threads]++;
}

/* deliver.c goes on after this in the test, which the real one never lets it. */
_Noreturn void process_kill(int signal)
{
    extern void fake_end(void) __attribute__((noreturn));
    killed_by = signal;
    fake_end();
}

static void *escape[5];

void fake_end(void)
{
    __builtin_longjmp(escape, 1);
}

struct regs *hal_user_regs(struct hal_thread *thread)
{
    (void)thread;
    return &user_regs;
}

int copy_from_user(void *to, uintptr_t from, size_t size)
{
    if (from < 0x10000) {
        return -EFAULT;
    }
    memcpy(to, (const void *)from, size);
    return 0;
}

int copy_to_user(uintptr_t to, const void *from, size_t size)
{
    if (to < 0x10000) {
        return -EFAULT;
    }
    memcpy((void *)to, from, size);
    return 0;
}

size_t hal_xstate_frame_size(void)
{
    return 512;
}

void hal_xstate_save(void *area)
{
    memset(area, xstate, 512);
}

int hal_xstate_restore(const void *area)
{
    xstate = *(const char *)area;
    return 0;
}

void hal_xstate_reset(void)
{
    xstate = 0;
}

bool signal_on_stack(const struct signal_thread *thread, uint64_t rsp)
{
    return rsp > thread->stack.base && rsp - thread->stack.base <= thread->stack.size;
}

int signal_set_stack(const struct signal_stack *stack, uint64_t rsp, uint64_t minimum)
{
    (void)stack;
    (void)rsp;
    (void)minimum;
    return 0;
}

/* --- helpers
 * --------------------------------------------------------------------------------------------------------
 */

static void become(unsigned index)
{
    cpu.hal.current = &threads[index].hal;
    fake_cpu = &cpu.hal;
}

static bool alerted(unsigned index)
{
    return (threads[index].work & WORK_SIGNAL) != 0;
}

static void reset(void)
{
    become(0);
    for (unsigned i = 0; i < THREADS; i++) {
        struct signal_info info;
        bool irq = spin_lock_irqsave(&signals.lock);
        while (signal_dequeue(threads[i].signal, ~0ull, &info) != 0) {
        }
        spin_unlock_irqrestore(&signals.lock, irq);
        become(i);
        signal_set_mask(0);
        threads[i].work = 0;
        notified[i] = 0;
    }
    memset(signals.actions, 0, sizeof(signals.actions));
    become(0);
    user_regs = (struct regs){.vector = 32,
                              .rip = RIP,
                              .rsp = (uintptr_t)program_stack + 8000,
                              .rax = 5,
                              .rbx = 6,
                              .rflags = 0x202};
    killed_by = 0;
}

static void set_handler(int number, uint64_t flags, uint64_t mask)
{
    struct signal_action action = {
        .handler = 0x401000, .flags = flags | SA_RESTORER, .restorer = 0x402000, .mask = mask};
    bool irq = spin_lock_irqsave(&signals.lock);
    signal_set_action(number, &action);
    spin_unlock_irqrestore(&signals.lock, irq);
}

static void send(unsigned index, int number)
{
    struct signal_info info = {.signo = number, .code = SI_TKILL};
    signal_send_thread(&threads[index], &info);
}

static int take(unsigned index, uint64_t *value)
{
    struct signal_info info;
    bool irq = spin_lock_irqsave(&signals.lock);
    int number = signal_dequeue(threads[index].signal, ~0ull, &info);
    spin_unlock_irqrestore(&signals.lock, irq);
    *value = info.sender.value;
    return number;
}

/* --- tests
 * ----------------------------------------------------------------------------------------------------------
 */

static void test_queues(void)
{
    uint64_t value;
    reset();
    set_handler(SIGUSR1, 0, 0);
    set_handler(40, 0, 0);
    for (unsigned i = 1; i <= 3; i++) {
        struct signal_info info = {.signo = 40, .code = SI_QUEUE, .sender.value = i};
        signal_send_thread(&threads[0], &info);
        info.signo = SIGUSR1;
        signal_send_thread(&threads[0], &info);
    }
    send(0, SIGSEGV);
    CHECK(alerted(0) && notified[0] != 0);
    CHECK(take(0, &value) == SIGSEGV);               /* before lower numbers */
    CHECK(take(0, &value) == SIGUSR1 && value == 1); /* once */
    for (unsigned i = 1; i <= 3; i++) {
        CHECK(take(0, &value) == 40 && value == i);
    }
    CHECK(take(0, &value) == 0);
}

static void test_ignored(void)
{
    uint64_t value;
    reset();
    send(0, SIGCHLD);
    send(0, SIGURG);
    send(0, SIGWINCH);
    CHECK(!alerted(0) && take(0, &value) == 0);
    signal_set_mask(SIGNAL_BIT(SIGCHLD));
    send(0, SIGCHLD); /* kept while blocked */
    CHECK(!alerted(0) && take(0, &value) == SIGCHLD);
}

static void test_process_signals(void)
{
    struct signal_info info = {.signo = SIGTERM};
    reset();
    become(0);
    signal_set_mask(SIGNAL_BIT(SIGTERM));
    become(1);
    signal_set_mask(SIGNAL_BIT(SIGTERM));
    become(0);
    signal_send_process(&info);
    CHECK(!alerted(0) && !alerted(1) && alerted(2) && notified[2] == 1);
    /* The one that was told no longer takes it: nobody, until somebody does. */
    become(2);
    signal_set_mask(SIGNAL_BIT(SIGTERM));
    become(1);
    CHECK(!signal_pending());
    signal_set_mask(0);
    CHECK(alerted(1) && signal_pending());
    become(2);
    CHECK(!signal_pending());
}

static void test_handler(void)
{
    reset();
    set_handler(SIGUSR1, 0, SIGNAL_BIT(SIGUSR2));
    struct regs before = user_regs;
    send(0, SIGUSR1);
    xstate = 'b';
    signal_deliver(&user_regs);
    CHECK(user_regs.rip == 0x401000 && user_regs.rdi == SIGUSR1);
    CHECK(user_regs.rsp % 16 == 8 && user_regs.rsp < before.rsp - 128 - 512);
    CHECK(*(uint64_t *)user_regs.rsp == 0x402000);
    CHECK(*(int32_t *)user_regs.rsi == SIGUSR1);
    CHECK(*(uint64_t *)(user_regs.rdx + 168) == RIP); /* uc_mcontext.rip */
    CHECK(xstate == 0 && !alerted(0));
    CHECK(threads[0].signal->blocked == (SIGNAL_BIT(SIGUSR1) | SIGNAL_BIT(SIGUSR2)));

    /* The handler changes RIP and RAX, and tries to set TF and IOPL. */
    *(uint64_t *)(user_regs.rdx + 168) = RIP + 1;
    *(uint64_t *)(user_regs.rdx + 144) = (uint64_t)-512;
    *(uint64_t *)(user_regs.rdx + 176) = 0x3d02;
    user_regs.rsp += 8;
    user_regs.vector = VECTOR_SYSCALL;
    user_regs.error = 15;
    user_regs.rbx = 0;
    CHECK(sys_rt_sigreturn((struct syscall_args *)&user_regs.rdi) == -512);
    CHECK(alerted(0)); /* all registers must come back */
    signal_deliver(&user_regs);
    CHECK(user_regs.rip == RIP + 1 && user_regs.rsp == before.rsp && user_regs.rbx == 6);
    CHECK(user_regs.rax == (uint64_t)-512); /* the program's own value is no restart code */
    CHECK(user_regs.rflags == 0xe02, "%lx", user_regs.rflags);
    CHECK(xstate == 'b' && threads[0].signal->blocked == 0);
}

static void test_alternate_stack(void)
{
    reset();
    set_handler(SIGUSR1, SA_ONSTACK | SA_NODEFER, 0);
    threads[0].signal->stack =
        (struct signal_stack){.base = (uintptr_t)other_stack, .size = sizeof(other_stack)};
    send(0, SIGUSR1);
    signal_deliver(&user_regs);
    uint64_t first = user_regs.rsp;
    CHECK(first > (uintptr_t)other_stack && first < (uintptr_t)other_stack + sizeof(other_stack));
    send(0, SIGUSR1);
    signal_deliver(&user_regs); /* on it already: goes on below */
    CHECK(user_regs.rsp < first - 128 && user_regs.rsp > (uintptr_t)other_stack);
    threads[0].signal->stack = (struct signal_stack){.flags = SS_DISABLE};
}

static void test_default_actions(void)
{
    reset();
    send(0, SIGTERM);
    if (__builtin_setjmp(escape) == 0) {
        signal_deliver(&user_regs);
    }
    CHECK(killed_by == SIGTERM);
    reset();
    struct signal_info info = {.signo = SIGSEGV, .code = 1};
    signal_set_mask(SIGNAL_BIT(SIGSEGV));
    set_handler(SIGSEGV, 0, 0);
    signal_force(&info); /* blocked: the handler does not count */
    if (__builtin_setjmp(escape) == 0) {
        signal_deliver(&user_regs);
    }
    CHECK(killed_by == SIGSEGV);
    reset();
    set_handler(SIGSEGV, 0, 0);
    user_regs.rsp = 0x8000; /* no stack to put a frame on */
    signal_force(&info);
    if (__builtin_setjmp(escape) == 0) {
        signal_deliver(&user_regs);
    }
    CHECK(killed_by == SIGSEGV);
}

static void in_call(long result)
{
    user_regs.vector = VECTOR_SYSCALL;
    user_regs.error = 202;
    user_regs.rax = (uint64_t)result;
    user_regs.rip = RIP;
    user_regs.rsp = (uintptr_t)program_stack + 8000;
}

static uint64_t saved(unsigned offset)
{
    return *(uint64_t *)(user_regs.rdx + offset);
}

static void test_restarts(void)
{
    reset();
    in_call(-ERESTARTSYS);
    signal_deliver(&user_regs); /* nothing there any more */
    CHECK(user_regs.rip == RIP - GATE_CALL && user_regs.rax == 202);
    in_call(-ERESTART_RESTARTBLOCK);
    user_regs.vector = VECTOR_SYSCALL_RAW;
    signal_deliver(&user_regs);
    CHECK(user_regs.rip == RIP - 2 && user_regs.rax == 219);
    in_call(-EINTR);
    signal_deliver(&user_regs);
    CHECK(user_regs.rip == RIP && user_regs.rax == (uint64_t)-EINTR);

    static const struct {
        uint64_t flags;
        long result;
        bool again;
    } cases[] = {
        {SA_RESTART, -ERESTARTSYS, true},
        {0, -ERESTARTSYS, false},
        {SA_RESTART, -ERESTARTNOHAND, false},
        {0, -ERESTARTNOINTR, true},
        {SA_RESTART, -ERESTART_RESTARTBLOCK, false},
    };
    for (unsigned i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        reset();
        set_handler(SIGUSR1, cases[i].flags, 0);
        in_call(cases[i].result);
        send(0, SIGUSR1);
        signal_deliver(&user_regs);
        CHECK(saved(168) == (cases[i].again ? RIP - GATE_CALL : RIP), "%u", i);
        CHECK(saved(144) == (cases[i].again ? 202 : (uint64_t)-EINTR), "%u", i);
    }
}

static void test_temporary_mask(void)
{
    uint64_t mask = 0;
    reset();
    set_handler(SIGUSR1, 0, 0);
    signal_set_mask(SIGNAL_BIT(SIGUSR1));
    send(0, SIGUSR1);
    CHECK(!alerted(0));
    CHECK(signal_mask_during((uintptr_t)&mask, 4) == -EINVAL);
    CHECK(signal_mask_during((uintptr_t)&mask, 8) == 0 && alerted(0));
    signal_mask_restore(true);
    in_call(-EINTR);
    signal_deliver(&user_regs);
    CHECK(user_regs.rip == 0x401000 && saved(296) == SIGNAL_BIT(SIGUSR1));
    CHECK(signal_mask_during((uintptr_t)&mask, 8) == 0);
    signal_mask_restore(false);
    CHECK(threads[0].signal->blocked == SIGNAL_BIT(SIGUSR1));
}

int main(void)
{
    for (unsigned i = 0; i < THREADS; i++) {
        CHECK(signal_thread_init(&threads[i], NULL) == 0);
    }
    test_queues();
    test_ignored();
    test_process_signals();
    test_handler();
    test_alternate_stack();
    test_default_actions();
    test_restarts();
    test_temporary_mask();
    reset();
    for (unsigned i = 0; i < THREADS; i++) {
        signal_thread_free(&threads[i]);
    }
    return 0;
}
