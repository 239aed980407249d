/* SPDX-License-Identifier: MIT */
/* Virtual CPUs (xen/include/public/vcpu.h): set-up, start, kick, idle and stop. Starting is serial
 * and the boot CPU's work. */
#include <linux/errno.h>

#include "core/lib/log.h"
#include "core/lib/string.h"
#include "core/mm/kmalloc.h"
#include "core/mm/page.h"
#include "core/sched/sched.h"
#include "xen_internal.h"

#define TRAP_COUNT 20
#define BREAKPOINT 3
#define OVERFLOW 4

#define START_PATIENCE_NS 10000000000ull

static struct xen_cpu boot_xen_cpu;

static unsigned cpu_count;
static unsigned running = 1;              /* CPUs that run; the boot CPU's */
static uint32_t started;                  /* set by the new CPU; atomic */
static uint32_t kick_ports[HAL_MAX_CPUS]; /* event channels */
static bool has_fsgsbase;

void xen_interrupt(struct regs *regs);

void xen_interrupt(struct regs *regs)
{
    (void)regs;
    events_dispatch(&this_xen_cpu()->info);
}

/* CPUs begin in kernel mode, with events masked. */
static void set_vcpu_info(unsigned id, struct xen_cpu *cpu, uint64_t frame)
{
    struct vcpu_register_vcpu_info where = {
        .mfn = frame,
        .offset = (uint32_t)((uintptr_t)&cpu->info & (PAGE_SIZE - 1)),
    };
    long error = vcpu_op(VCPUOP_REGISTER_VCPU_INFO, id, &where);
    if (error != 0) {
        panic("xen: no vcpu_info for CPU %u: %ld", id, error);
    }
    cpu->info.evtchn_upcall_mask = 1;
    cpu->kernel_mode = 1;
}

static uint64_t stack_top(const struct xen_cpu *cpu)
{
    return (uint64_t)cpu->stack + sizeof(cpu->stack);
}

static void fill_traps(struct trap_info *traps)
{
    for (unsigned vector = 0; vector < TRAP_COUNT; vector++) {
        unsigned privilege = vector == BREAKPOINT || vector == OVERFLOW ? 3 : 0;
        traps[vector] = (struct trap_info){
            .vector = (uint8_t)vector,
            .flags = (uint8_t)(privilege | TRAP_MASK_EVENTS),
            .cs = FLAT_KERNEL_CS,
            .address = (uint64_t)xen_trap_stubs + vector * 16ul,
        };
    }
}

static void set_callback(uint16_t type, uint16_t flags, const char *entry)
{
    struct callback_register callback = {type, flags, (uint64_t)entry};
    long error = hypercall2(HYPERCALL_CALLBACK_OP, CALLBACKOP_REGISTER, (uint64_t)&callback);
    if (error != 0) {
        panic("xen: callback %u: %ld", type, error);
    }
}

void cpu_init_boot(const uint64_t *frames)
{
    struct hal_cpu *cpu = &cpu_by_id(0)->hal;
    cpu->self = cpu;
    cpu->platform = &boot_xen_cpu;
    hypercall2(HYPERCALL_SET_SEGMENT_BASE, SEGBASE_GS_KERNEL, (uint64_t)cpu);
    hypercall2(HYPERCALL_SET_SEGMENT_BASE, SEGBASE_GS_USER, (uint64_t)cpu);
    set_vcpu_info(0, &boot_xen_cpu, frames[(uintptr_t)&boot_xen_cpu >> PAGE_SHIFT]);
    hypercall2(HYPERCALL_STACK_SWITCH, FLAT_KERNEL_SS, stack_top(&boot_xen_cpu));
    struct trap_info traps[TRAP_COUNT + 1];
    memset(traps, 0, sizeof(traps)); /* the last one, with no address, ends the table */
    fill_traps(traps);
    hypercall2(HYPERCALL_SET_TRAP_TABLE, (uint64_t)traps, 0);
    set_callback(CALLBACKTYPE_EVENT, 0, xen_event_entry);
    set_callback(CALLBACKTYPE_FAILSAFE, CALLBACKF_MASK_EVENTS, xen_failsafe_entry);
    set_callback(CALLBACKTYPE_SYSCALL, CALLBACKF_MASK_EVENTS, xen_syscall_callback);
    has_fsgsbase = cpuid(0, 0).eax >= 7 && (cpuid(7, 0).ebx & 1) != 0;
    x86_xstate_init();
}

void xen_set_fs_base(uint64_t base)
{
    if (has_fsgsbase) {
        __asm__ volatile("wrfsbase %0" ::"r"(base));
    } else {
        hypercall2(HYPERCALL_SET_SEGMENT_BASE, SEGBASE_FS, base);
    }
}

/* --- other CPUs ------------------------------------------------------------------------------- */

unsigned xen_cpu_count(void)
{
    return cpu_count;
}

static void kicked(void *context)
{
    (void)context;
    core_kicked();
}

static int bind_kick(unsigned id)
{
    struct evtchn_bind_ipi bind = {.vcpu = id};
    long error = event_channel_op(EVTCHNOP_BIND_IPI, &bind);
    kick_ports[id] = bind.port;
    return error != 0 ? (int)error : event_bind(bind.port, id, kicked, NULL);
}

void cpus_init(void)
{
    while (cpu_count < HAL_MAX_CPUS && vcpu_op(VCPUOP_IS_UP, cpu_count, NULL) >= 0) {
        cpu_count++;
    }
    events_init(cpu_count);
    if (bind_kick(0) != 0) {
        panic("xen: no event channel for CPU 0");
    }
}

void cpu_resume(void)
{
    struct xen_cpu *cpu = this_xen_cpu();
    uint64_t physical = cpu == &boot_xen_cpu ? (uintptr_t)cpu : direct_map_physical(cpu);
    set_vcpu_info(hal_this_cpu()->id, cpu, mmu_frame(physical));
}

void cpus_resume(void)
{
    for (unsigned id = 0; id < cpu_count; id++) {
        if (cpu_by_id(id) != NULL && (bind_kick(id) != 0 || clock_bind_timer(id) != 0)) {
            panic("xen: no event channels for CPU %u after the restore", id);
        }
    }
}

void xen_cpu_kick(unsigned id)
{
    event_send(kick_ports[id]);
}

void xen_idle(void)
{
    sched_op(SCHEDOP_BLOCK, NULL); /* enables events */
}

/* On the new CPU, on its idle thread's stack, events masked. */
static _Noreturn void cpu_entry(void)
{
    x86_xstate_enable();
    __atomic_store_n(&started, 1, __ATOMIC_RELEASE);
    core_cpu_entry();
}

static int initialise(unsigned id, struct hal_cpu *cpu, const struct hal_thread *idle)
{
    struct vcpu_guest_context *context = kmalloc(sizeof(*context));
    if (context == NULL) {
        return -ENOMEM;
    }
    memset(context, 0, sizeof(*context));
    context->flags = VGCF_IN_KERNEL | VGCF_FAILSAFE_DISABLES_EVENTS | VGCF_SYSCALL_DISABLES_EVENTS;
    context->user_regs.rip = (uint64_t)cpu_entry;
    context->user_regs.rsp = idle->kernel_stack_top - sizeof(uint64_t); /* as after a call */
    context->user_regs.cs = FLAT_KERNEL_CS;
    context->user_regs.ss = FLAT_KERNEL_SS;
    context->kernel_ss = FLAT_KERNEL_SS;
    context->kernel_sp = stack_top(cpu->platform);
    fill_traps(context->trap_ctxt);
    context->ctrlreg[1] = mmu_root_frame() << PAGE_SHIFT; /* of user mode */
    context->ctrlreg[3] = mmu_root_frame() << PAGE_SHIFT;
    context->event_callback_eip = (uint64_t)xen_event_entry;
    context->failsafe_callback_eip = (uint64_t)xen_failsafe_entry;
    context->syscall_callback_eip = (uint64_t)xen_syscall_callback;
    context->gs_base_kernel = (uint64_t)cpu;
    context->gs_base_user = (uint64_t)cpu;
    long error = vcpu_op(VCPUOP_INITIALISE, id, context);
    kfree(context);
    return (int)error;
}

int xen_cpu_start(unsigned id, struct hal_cpu *cpu, struct hal_thread *idle)
{
    uint64_t page = page_alloc(0, PAGE_ZERO);
    if (page == 0) {
        return -ENOMEM;
    }
    cpu->self = cpu;
    cpu->id = id;
    cpu->current = idle;
    cpu->platform = direct_map(page);
    set_vcpu_info(id, cpu->platform, mmu_frame(page));
    int error = bind_kick(id);
    if (error == 0) {
        error = clock_bind_timer(id);
    }
    if (error == 0) {
        error = initialise(id, cpu, idle);
    }
    if (error == 0) {
        started = 0;
        error = (int)vcpu_op(VCPUOP_UP, id, NULL);
    }
    uint64_t deadline = xen_clock_monotonic() + START_PATIENCE_NS;
    while (error == 0 && __atomic_load_n(&started, __ATOMIC_ACQUIRE) == 0) {
        if (xen_clock_monotonic() > deadline) {
            error = -ETIMEDOUT;
        }
        sched_op(SCHEDOP_YIELD, NULL);
    }
    if (error != 0) {
        log_warn("smp: CPU %u did not start: %d", id, error);
        return error;
    }
    running++;
    return 0;
}

void xen_cpu_stop_others(void)
{
    for (unsigned id = 0; running > 1 && id < cpu_count; id++) {
        if (id != hal_this_cpu()->id) {
            vcpu_op(VCPUOP_DOWN, id, NULL);
        }
    }
    xen_console_break_lock();
}
