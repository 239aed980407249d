/* SPDX-License-Identifier: MIT */
/* Exceptions of the CPU as signals (all but page faults), and the power button as one. The vectors
 * are those of the Intel SDM 3A, table 6-1; the codes Linux's (arch/x86/kernel/traps.c,
 * sigaction(2)). */

#include "core/lib/log.h"
#include "core/sched/sched.h"
#include "core/signal/signal_internal.h"

enum {
    VECTOR_DIVIDE = 0,
    VECTOR_DEBUG = 1,
    VECTOR_BREAKPOINT = 3,
    VECTOR_OVERFLOW = 4,
    VECTOR_BOUND = 5,
    VECTOR_INVALID_OPCODE = 6,
    VECTOR_SEGMENT_NOT_PRESENT = 11,
    VECTOR_STACK = 12,
    VECTOR_GENERAL_PROTECTION = 13,
    VECTOR_X87 = 16,
    VECTOR_ALIGNMENT = 17,
    VECTOR_SIMD = 19,
};

/* The unmasked exception of highest rank: `status` has the flags, `masked` the mask bits at the
 * same places. */
static int float_code(uint32_t status, uint32_t masked)
{
    uint32_t raised = status & ~masked;
    if ((raised & 1) != 0) {
        return FPE_FLTINV;
    }
    if ((raised & 4) != 0) {
        return FPE_FLTDIV;
    }
    if ((raised & 8) != 0) {
        return FPE_FLTOVF;
    }
    if ((raised & 0x12) != 0) {
        return FPE_FLTUND; /* underflow and denormal */
    }
    return (raised & 0x20) != 0 ? FPE_FLTRES : 0;
}

static int simd_code(void)
{
    uint32_t mxcsr;
    __asm__ volatile("stmxcsr %0" : "=m"(mxcsr));
    return float_code(mxcsr & 0x3f, mxcsr >> 7 & 0x3f);
}

static int x87_code(void)
{
    uint16_t control, status;
    __asm__ volatile("fnstcw %0" : "=m"(control));
    __asm__ volatile("fnstsw %0" : "=m"(status));
    __asm__ volatile("fnclex"); /* or it comes again when the handler touches the x87 */
    return float_code(status & 0x3f, control & 0x3f);
}

void core_exception(struct regs *regs, bool user)
{
    struct signal_info info = {.code = SI_KERNEL};
    if (!user) {
        if (hal_fixup_fault(regs)) {
            return;
        }
        panic_regs(regs, "exception %lu in the kernel", (unsigned long)regs->vector);
    }
    switch (regs->vector) {
    case VECTOR_DIVIDE:
        info.signo = SIGFPE;
        info.code = FPE_INTDIV;
        info.fault.address = regs->rip;
        break;
    case VECTOR_DEBUG:
        info.signo = SIGTRAP;
        info.code = TRAP_BRKPT;
        info.fault.address = regs->rip;
        break;
    case VECTOR_BREAKPOINT:
        info.signo = SIGTRAP;
        break;
    case VECTOR_INVALID_OPCODE:
        info.signo = SIGILL;
        info.code = ILL_ILLOPN;
        info.fault.address = regs->rip;
        break;
    case VECTOR_SEGMENT_NOT_PRESENT:
    case VECTOR_STACK:
        info.signo = SIGBUS;
        break;
    case VECTOR_X87:
        info.signo = SIGFPE;
        info.code = x87_code();
        info.fault.address = regs->rip;
        break;
    case VECTOR_SIMD:
        info.signo = SIGFPE;
        info.code = simd_code();
        info.fault.address = regs->rip;
        break;
    case VECTOR_ALIGNMENT:
        info.signo = SIGBUS;
        info.code = BUS_ADRALN;
        break;
    case VECTOR_OVERFLOW:
    case VECTOR_BOUND:
    case VECTOR_GENERAL_PROTECTION:
    default:
        info.signo = SIGSEGV;
        break;
    }
    signal_force(&info);
}

void core_power_button(void)
{
    struct signal_info info = {.signo = SIGTERM, .code = SI_KERNEL};
    signal_send_process(&info);
}
