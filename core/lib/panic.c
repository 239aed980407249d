/* SPDX-License-Identifier: MIT */
/* The last report of a kernel whose invariants are broken. Nothing here takes a lock or allocates;
 * the stack is walked with every address looked up first. */
#include "core/lib/log.h"
#include "core/lib/string.h"
#include "core/lib/symbols.h"
#include "hal.h"

#define TRACE_DEPTH 24

static void say(const char *text, ...) __attribute__((format(printf, 1, 2)));

static void say(const char *text, ...)
{
    char line[256];
    va_list arguments;
    va_start(arguments, text);
    int length = vformat(line, sizeof(line), text, arguments);
    va_end(arguments);
    size_t size = length < (int)sizeof(line) ? (size_t)length : sizeof(line) - 1;
    hal_console_write(HAL_STREAM_ERR, line, size);
}

static bool is_readable(uintptr_t address)
{
    unsigned prot;
    return (address & 7) == 0 && hal_query(address, NULL, &prot, NULL) != 0 && (prot & PROT_R) != 0;
}

static void trace(uintptr_t rip, uintptr_t rbp)
{
    char name[128];
    say("trace:\n");
    symbol_name(name, sizeof(name), rip);
    say("  %016lx %s\n", rip, name);
    for (unsigned depth = 0; depth < TRACE_DEPTH && is_readable(rbp) && is_readable(rbp + 8);
         depth++) {
        const uintptr_t *frame = (const uintptr_t *)rbp;
        if (frame[1] == 0) {
            break;
        }
        symbol_name(name, sizeof(name), frame[1]);
        say("  %016lx %s\n", frame[1], name);
        if (frame[0] <= rbp && frame[0] >= DIRECT_MAP_BASE) {
            break; /* frames lie upwards, but for the step from the kernel's stack to the program's
                    */
        }
        rbp = frame[0];
    }
}

static void report_registers(const struct regs *r)
{
    say("rip %016lx  rsp %016lx  rflags %08lx  vector %lu  error %lx\n", r->rip, r->rsp, r->rflags,
        r->vector, r->error);
    say("rax %016lx  rbx %016lx  rcx %016lx  rdx %016lx\n", r->rax, r->rbx, r->rcx, r->rdx);
    say("rsi %016lx  rdi %016lx  rbp %016lx  r8  %016lx\n", r->rsi, r->rdi, r->rbp, r->r8);
    say("r9  %016lx  r10 %016lx  r11 %016lx  r12 %016lx\n", r->r9, r->r10, r->r11, r->r12);
    say("r13 %016lx  r14 %016lx  r15 %016lx\n", r->r13, r->r14, r->r15);
}

_Noreturn static void end(const struct regs *regs, uintptr_t rip, uintptr_t rbp, const char *text,
                          va_list arguments)
{
    static uint32_t panicking;
    char message[200];
    hal_irq_disable();
    if (__atomic_exchange_n(&panicking, 1, __ATOMIC_ACQ_REL) != 0) {
        for (;;) {
            hal_spin_hint(); /* another CPU reports, or this one failed while reporting and its
                                first report stands */
        }
    }
    hal_cpu_stop_others();
    vformat(message, sizeof(message), text, arguments);
    say("\nunigornel: kernel panic on CPU %u: %s\n", hal_this_cpu()->id, message);
    if (regs != NULL) {
        report_registers(regs);
    }
    trace(rip, rbp);
    const struct regs *user = hal_user_regs(hal_current_thread());
    if (is_readable((uintptr_t)user) && user->rip >= PROGRAM_MIN && user->rip < USER_END &&
        regs != user) {
        say("program:\n");
        trace(user->rip, user->rbp);
    }
    say("last messages:\n");
    log_replay();
    hal_shutdown(HAL_SHUTDOWN_PANIC, 0);
}

void panic(const char *text, ...)
{
    va_list arguments;
    va_start(arguments, text);
    end(NULL, (uintptr_t)__builtin_return_address(0), *(uintptr_t *)__builtin_frame_address(0),
        text, arguments);
}

void panic_regs(const struct regs *regs, const char *text, ...)
{
    va_list arguments;
    va_start(arguments, text);
    end(regs, regs->rip, regs->rbp, text, arguments);
}
