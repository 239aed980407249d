/* SPDX-License-Identifier: MIT */
/* Where interrupt.asm and gate.asm come to in C: tells exceptions from interrupts and program from
 * kernel, and does what is due before the program goes on. */
#include "core/lib/log.h"
#include "core/sched/sched.h"
#include "hal.h"
#include "x86.h"

extern const char gate_entry[], gate_fixed_jump[], gate_full[], gate_exit[], gate_exit_jump[];
extern const char text_start[], text_end[], vdso_start[], vdso_end[];

/* Called by the assembly. */
void x86_interrupt(struct regs *regs);
_Noreturn void x86_fatal(struct regs *regs);
void return_work(struct regs *regs);

bool hal_is_kernel_text(uintptr_t address)
{
    bool kernel = address >= (uintptr_t)text_start && address < (uintptr_t)text_end;
    return kernel && !(address >= (uintptr_t)vdso_start && address < (uintptr_t)vdso_end);
}

void return_work(struct regs *regs)
{
    struct thread *thread = current_thread();
    hal_irq_disable();
    while (__atomic_load_n(&thread->work, __ATOMIC_ACQUIRE) != 0) {
        core_return_to_user(regs);
    }
    thread->hal.xstate_live = false;
}

void x86_interrupt(struct regs *regs)
{
    bool entering = false;
    if (regs->rip == (uintptr_t)gate_exit_jump || regs->rip == (uintptr_t)gate_fixed_jump) {
        regs->rip = regs->r11; /* the gate's last instruction: the program's registers are whole */
    } else if (regs->rip >= (uintptr_t)gate_entry && regs->rip < (uintptr_t)gate_full) {
        regs->rip = (uintptr_t)gate_entry; /* nothing has changed yet */
        entering = true;
    }
    bool user = entering || !hal_is_kernel_text(regs->rip);
    if (user) {
        current_thread()->hal.xstate_live = true;
    }
    if (regs->vector >= FIRST_INTERRUPT_VECTOR) {
        this_cpu()->counts.interrupts++;
        platform_interrupt(regs);
    } else {
        uintptr_t address = read_cr2();
        if ((regs->rflags & RFLAGS_IF) != 0) {
            hal_irq_enable();
        }
        if (regs->vector == EXCEPTION_PAGE_FAULT) {
            core_page_fault(regs, address, user);
        } else {
            core_exception(regs, user);
        }
        hal_irq_disable();
    }
    if (user) {
        return_work(regs);
    } else if (regs->rip >= (uintptr_t)gate_exit && regs->rip < (uintptr_t)gate_exit_jump) {
        regs->rip = (uintptr_t)gate_exit; /* check `work` again: this interrupt may have set it */
    }
}

_Noreturn void x86_fatal(struct regs *regs)
{
    if (regs->vector == EXCEPTION_NMI) {
        platform_nmi();
    }
    static const char *const names[] = {
        [EXCEPTION_NMI] = "NMI", [8] = "double fault", [18] = "machine check"};
    panic_regs(regs, "%s", names[regs->vector]);
}
