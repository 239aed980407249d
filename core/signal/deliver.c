/* SPDX-License-Identifier: MIT */
/* Signals on their way into the program and back: what happens to an interrupted system call, the
 * frame that a handler finds, and rt_sigreturn. The frame is Linux's for x86_64
 * (arch/x86/include/asm/sigframe.h, uapi/asm/{ucontext,sigcontext}.h). Runs on the thread itself;
 * signals.lock is held only to choose. */
#include <linux/errno.h>
#include <stddef.h>

#include "core/lib/log.h"
#include "core/lib/string.h"
#include "core/sched/sched.h"
#include "core/signal/signal_internal.h"
#include "core/syscall/process.h"
#include "core/syscall/syscall.h"
#include "core/time/posix_timer.h"

#define NR_restart_syscall 219

/* How far back from its return address a system call begins: the gate's sequence
 * (goruntime/gate.h), SYSCALL. */
#define GATE_CALL_SIZE 14
#define SYSCALL_INSTRUCTION_SIZE 2

#define RFLAGS_TF 0x100u
#define RFLAGS_DF 0x400u
/* What a program may set: OF, DF, SF, ZF, AF, PF, CF. Not TF and AC: they would act on the kernel
 * as well, in the same ring. */
#define RFLAGS_PROGRAM_MAY_SET 0xcd5u

#define RED_ZONE 128
#define XSTATE_ALIGNMENT 64
#define XSTATE_FRAME_MAX 8192

#define UC_FP_XSTATE 1
#define UC_SIGCONTEXT_SS 2
#define UC_STRICT_RESTORE_SS 4

/* What Linux programs see as selectors; ignored on the way back. */
#define LINUX_USER_CS 0x33
#define LINUX_USER_SS 0x2b

#define FP_XSTATE_MAGIC1_OFFSET 464 /* struct _fpx_sw_bytes in the FXSAVE area */
#define FP_XSTATE_MAGIC1_VALUE 0x46505853u
#define FP_XSTATE_MAGIC2_VALUE 0x46505845u
#define FXSAVE_AREA_SIZE 512
#define XSAVE_HEADER_SIZE 64

struct sigcontext64 {
    uint64_t r8, r9, r10, r11, r12, r13, r14, r15;
    uint64_t di, si, bp, bx, dx, ax, cx, sp, ip, flags;
    uint16_t cs, gs, fs, ss;
    uint64_t error, vector, old_mask, cr2;
    uint64_t fpstate;
    uint64_t reserved[8];
};

struct ucontext64 {
    uint64_t flags, link;
    struct signal_stack stack;
    struct sigcontext64 machine;
    uint64_t mask;
};

struct signal_frame {
    uint64_t return_address;
    struct ucontext64 context;
    struct signal_info info;
};

_Static_assert(sizeof(struct sigcontext64) == 256, "struct sigcontext_64");
_Static_assert(sizeof(struct ucontext64) == 304, "struct ucontext");
_Static_assert(sizeof(struct signal_frame) == 440, "struct rt_sigframe");

/* --- the interrupted system call
 * ---------------------------------------------------------------------------------- */

static void make_again(struct regs *regs, uint64_t number)
{
    regs->rax = number;
    regs->rip -= regs->vector == VECTOR_SYSCALL ? GATE_CALL_SIZE : SYSCALL_INSTRUCTION_SIZE;
}

/* Turns a restart code into another attempt or -EINTR, once. `action` is the handler's that runs
 * first, NULL: none runs. */
static void resolve_restart(struct regs *regs, const struct signal_action *action)
{
    if (regs->vector < VECTOR_SYSCALL || (int64_t)regs->error < 0) {
        return;
    }
    uint64_t number = regs->error;
    bool again = false;
    switch (-(int64_t)regs->rax) {
    case ERESTARTNOINTR:
        again = true;
        break;
    case ERESTARTSYS:
        again = action == NULL || (action->flags & SA_RESTART) != 0;
        break;
    case ERESTARTNOHAND:
        again = action == NULL;
        break;
    case ERESTART_RESTARTBLOCK:
        again = action == NULL;
        number = NR_restart_syscall;
        break;
    default:
        return;
    }
    if (again) {
        make_again(regs, number);
    } else {
        regs->rax = (uint64_t)-EINTR;
    }
    regs->error = (uint64_t)-1;
}

long sys_restart_syscall(struct syscall_args *a)
{
    (void)a;
    const struct restart_block *restart = &signal_current()->restart;
    return restart->resume != NULL ? restart->resume(restart) : -EINTR;
}

/* --- building a frame
 * -----------------------------------------------------------------------------------------------
 */

static void fill_machine(struct sigcontext64 *machine, const struct regs *regs,
                         const struct signal_thread *thread, uint64_t mask)
{
    *machine = (struct sigcontext64){
        .r8 = regs->r8,
        .r9 = regs->r9,
        .r10 = regs->r10,
        .r11 = regs->r11,
        .r12 = regs->r12,
        .r13 = regs->r13,
        .r14 = regs->r14,
        .r15 = regs->r15,
        .di = regs->rdi,
        .si = regs->rsi,
        .bp = regs->rbp,
        .bx = regs->rbx,
        .dx = regs->rdx,
        .ax = regs->rax,
        .cx = regs->rcx,
        .sp = regs->rsp,
        .ip = regs->rip,
        .flags = regs->rflags,
        .cs = LINUX_USER_CS,
        .ss = LINUX_USER_SS,
        .error = thread->fault_error,
        .vector = thread->fault_vector,
        .old_mask = mask,
        .cr2 = thread->fault_address,
    };
}

/* Puts the extended state below `top`; its address, or 0 when that memory cannot be written. */
static uintptr_t push_xstate(uintptr_t top)
{
    size_t size = hal_xstate_frame_size();
    assert(size <= XSTATE_FRAME_MAX);
    uint8_t *raw = __builtin_alloca(size + XSTATE_ALIGNMENT);
    uint8_t *area = raw + (-(uintptr_t)raw % XSTATE_ALIGNMENT);
    hal_xstate_save(area);
    uintptr_t address = (top - size) & -(uintptr_t)XSTATE_ALIGNMENT;
    return copy_to_user(address, area, size) == 0 ? address : 0;
}

/* The handler's frame and registers. False: the stack cannot hold it. */
static bool build_frame(struct regs *regs, struct signal_thread *thread,
                        const struct signal_action *action, const struct signal_info *info,
                        uint64_t mask)
{
    struct signal_frame frame = {.return_address = action->restorer, .info = *info};
    bool was_on_stack = signal_on_stack(thread, regs->rsp);
    bool switches = (action->flags & SA_ONSTACK) != 0 && thread->stack.size != 0 && !was_on_stack;
    uintptr_t top = switches ? thread->stack.base + thread->stack.size : regs->rsp - RED_ZONE;
    uintptr_t fpstate = push_xstate(top);
    uintptr_t address = ((fpstate - sizeof(frame)) & -16ul) - 8;
    if (fpstate == 0 || (action->flags & SA_RESTORER) == 0) {
        return false;
    }
    if ((switches || was_on_stack) && address - thread->stack.base >= thread->stack.size) {
        return false; /* would run over the end of the alternate stack */
    }
    frame.context.flags = UC_SIGCONTEXT_SS | UC_STRICT_RESTORE_SS;
    if (hal_xstate_frame_size() > FXSAVE_AREA_SIZE) {
        frame.context.flags |= UC_FP_XSTATE;
    }
    frame.context.stack = thread->stack;
    fill_machine(&frame.context.machine, regs, thread, mask);
    frame.context.machine.fpstate = fpstate;
    frame.context.mask = mask;
    if (copy_to_user(address, &frame, sizeof(frame)) != 0) {
        return false;
    }
    if ((thread->stack.flags & (int32_t)SS_AUTODISARM) != 0) {
        thread->stack = (struct signal_stack){.flags = SS_DISABLE};
    }
    regs->rdi = (uint64_t)info->signo;
    regs->rsi = address + offsetof(struct signal_frame, info);
    regs->rdx = address + offsetof(struct signal_frame, context);
    regs->rax = 0;
    regs->rip = action->handler;
    regs->rsp = address;
    regs->rflags &= ~(uint64_t)(RFLAGS_DF | RFLAGS_TF);
    hal_xstate_reset();
    return true;
}

/* --- delivery
 * --------------------------------------------------------------------------------------------------------
 */

enum choice { CHOICE_NONE, CHOICE_HANDLER, CHOICE_END };

/* Takes signals off until one has a consequence. */
static enum choice choose(struct signal_thread *thread, struct signal_info *info,
                          struct signal_action *action)
{
    enum choice choice = CHOICE_NONE;
    bool irq = spin_lock_irqsave(&signals.lock);
    while (choice == CHOICE_NONE) {
        int number = signal_dequeue(thread, ~thread->blocked, info);
        if (number == 0) {
            break;
        }
        *action = signals.actions[number - 1];
        if (signal_is_ignored(number)) {
            continue;
        }
        if (action->handler == (uint64_t)SIG_DFL) {
            choice = CHOICE_END;
            break;
        }
        choice = CHOICE_HANDLER;
        if ((action->flags & SA_RESETHAND) != 0) {
            signals.actions[number - 1].handler = (uint64_t)SIG_DFL;
        }
    }
    signal_recalculate(thread);
    spin_unlock_irqrestore(&signals.lock, irq);
    return choice;
}

void signal_deliver(struct regs *regs)
{
    struct signal_thread *thread = signal_current();
    struct signal_info info;
    struct signal_action action;
    switch (choose(thread, &info, &action)) {
    case CHOICE_END:
        process_kill(info.signo);
    case CHOICE_NONE:
        resolve_restart(regs, NULL);
        if (thread->restore_mask) {
            thread->restore_mask = false;
            signal_set_mask(thread->saved_mask);
        }
        return;
    case CHOICE_HANDLER:
        break;
    }
    if (info.code == SI_TIMER) {
        posix_timer_delivered(info.timer.timer_id, info.timer.overrun);
    }
    resolve_restart(regs, &action);
    uint64_t mask = thread->restore_mask ? thread->saved_mask : thread->blocked;
    if (!build_frame(regs, thread, &action, &info, mask)) {
        signal_force_broken_frame(info.signo);
        return;
    }
    if (regs->vector >= VECTOR_SYSCALL) {
        regs->error = (uint64_t)-1; /* the frame is no longer that of a system call */
    }
    thread->restore_mask = false;
    uint64_t blocked = thread->blocked | action.mask;
    if ((action.flags & SA_NODEFER) == 0) {
        blocked |= SIGNAL_BIT(info.signo);
    }
    signal_set_mask(blocked);
}

/* --- the way back
 * ----------------------------------------------------------------------------------------------------
 */

/* Whether the area is a whole XSAVE area as hal_xstate_save makes it, by the marks at both ends. */
static bool is_whole_xstate(const uint8_t *area, size_t size)
{
    struct {
        uint32_t magic1, extended_size;
    } software;
    uint32_t magic2;
    memcpy(&software, area + FP_XSTATE_MAGIC1_OFFSET, sizeof(software));
    memcpy(&magic2, area + size - sizeof(magic2), sizeof(magic2));
    return software.magic1 == FP_XSTATE_MAGIC1_VALUE && software.extended_size == size &&
           magic2 == FP_XSTATE_MAGIC2_VALUE;
}

static int pop_xstate(uintptr_t address)
{
    struct hal_thread *hal = &current_thread()->hal;
    size_t size = hal_xstate_frame_size();
    uint8_t *raw = __builtin_alloca(size + XSTATE_ALIGNMENT);
    uint8_t *area = raw + (-(uintptr_t)raw % XSTATE_ALIGNMENT);
    memset(area, 0, size);
    if (address != 0) {
        int error = copy_from_user(area, address, FXSAVE_AREA_SIZE);
        if (error == 0 && size > FXSAVE_AREA_SIZE) {
            error = copy_from_user(area + FXSAVE_AREA_SIZE, address + FXSAVE_AREA_SIZE,
                                   size - FXSAVE_AREA_SIZE);
            if (error != 0 || !is_whole_xstate(area, size)) {
                memset(area + FXSAVE_AREA_SIZE, 0, size - FXSAVE_AREA_SIZE);
                area[FXSAVE_AREA_SIZE] = 3; /* XSTATE_BV: x87 and SSE (Intel SDM 1, 13.4.2) */
                error = 0;
            }
        }
        if (error != 0) {
            return error;
        }
    }
    /* From here on the registers are the program's, also across a switch. */
    bool irq = hal_irq_save();
    int error = 0;
    hal->xstate_live = true;
    if (address != 0) {
        error = hal_xstate_restore(area);
    } else {
        hal_xstate_reset();
    }
    hal_irq_restore(irq);
    return error;
}

static void pop_machine(struct regs *regs, const struct sigcontext64 *machine)
{
    regs->r8 = machine->r8;
    regs->r9 = machine->r9;
    regs->r10 = machine->r10;
    regs->r11 = machine->r11;
    regs->r12 = machine->r12;
    regs->r13 = machine->r13;
    regs->r14 = machine->r14;
    regs->r15 = machine->r15;
    regs->rdi = machine->di;
    regs->rsi = machine->si;
    regs->rbp = machine->bp;
    regs->rbx = machine->bx;
    regs->rdx = machine->dx;
    regs->rax = machine->ax;
    regs->rcx = machine->cx;
    regs->rsp = machine->sp;
    regs->rip = machine->ip;
    regs->rflags = (regs->rflags & ~(uint64_t)RFLAGS_PROGRAM_MAY_SET) |
                   (machine->flags & RFLAGS_PROGRAM_MAY_SET);
}

long sys_rt_sigreturn(struct syscall_args *a)
{
    struct regs *regs = syscall_regs(a);
    struct signal_thread *thread = signal_current();
    struct ucontext64 context;
    uintptr_t frame = regs->rsp - sizeof(uint64_t); /* the handler's RET took the return address */
    int error =
        copy_from_user(&context, frame + offsetof(struct signal_frame, context), sizeof(context));
    if (error == 0) {
        signal_set_mask(context.mask);
        pop_machine(regs, &context.machine);
        error = pop_xstate(context.machine.fpstate);
    }
    if (error != 0 || regs->rip >= USER_END || regs->rsp >= USER_END) {
        regs->rip = regs->rip >= USER_END ? 0 : regs->rip;
        regs->rsp = regs->rsp >= USER_END ? 0 : regs->rsp;
        signal_force_broken_frame(0);
    }
    context.stack.flags &= (int32_t)(SS_AUTODISARM | SS_DISABLE);
    (void)signal_set_stack(&context.stack, regs->rsp, MINSIGSTKSZ);

    /* RAX is the program's, not a result; and all registers must come back, which only the slow way
     * out does. */
    regs->error = (uint64_t)-1;
    __atomic_or_fetch(&thread->thread->work, WORK_SIGNAL, __ATOMIC_SEQ_CST);
    return (long)regs->rax;
}
