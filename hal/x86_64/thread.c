/* SPDX-License-Identifier: MIT */
/* Threads as the CPU sees them: stack, TLS base, extended state. The kernel itself uses no vector
 * registers, so the CPU's belong to the running thread for as long as it runs; a switch inside a
 * call through the gate keeps only what the Go ABI keeps there: the control words, and X15 = 0 (Go
 * internal ABI specification, amd64). Everything else is saved whole. */
#include <linux/errno.h>

#include "core/lib/string.h"
#include "core/sched/sched.h"
#include "hal.h"
#include "x86.h"

_Static_assert(sizeof(struct regs) == 176, "frame.inc: REGS_SIZE");
_Static_assert(offsetof(struct regs, rdi) == 72, "frame.inc: REGS_RDI");
_Static_assert(offsetof(struct regs, vector) == 120, "frame.inc: REGS_VECTOR");
_Static_assert(offsetof(struct regs, rip) == 136, "frame.inc: REGS_RIP");
_Static_assert(offsetof(struct regs, rsp) == 160, "frame.inc: REGS_RSP");
_Static_assert(offsetof(struct hal_cpu, current) == 8, "frame.inc: CPU_CURRENT");
_Static_assert(offsetof(struct hal_thread, saved_rsp) == 8, "frame.inc: THREAD_SAVED_RSP");
_Static_assert(offsetof(struct hal_thread, xstate_live) == 32, "frame.inc: THREAD_XSTATE_LIVE");
_Static_assert(offsetof(struct thread, work) == 48, "frame.inc: THREAD_WORK");
_Static_assert(WORK_FRAME == 4, "frame.inc: WORK_FRAME");

/* XCR0: x87, SSE, AVX and the three parts of AVX-512 (Intel SDM 1, 13.1). */
#define XSTATE_WANTED 0xe7ul
#define XSTATE_SSE_AND_X87 0x3ul
#define MXCSR_DEFAULT 0x1f80u
#define X87_CONTROL_DEFAULT 0x37f

/* The software-reserved bytes of a signal frame's FXSAVE area
 * (arch/x86/include/uapi/asm/sigcontext.h). */
#define FP_XSTATE_MAGIC1 0x46505853u
#define FP_XSTATE_MAGIC2 0x46505845u
struct fpx_sw_bytes {
    uint32_t magic1, extended_size;
    uint64_t xfeatures;
    uint32_t xstate_size, padding[7];
};

#define FXSAVE_SIZE 512
#define FXSAVE_MXCSR 24
#define FXSAVE_SOFTWARE 464
#define XSAVE_HEADER 512
#define XSAVE_MIN_SIZE 576

static struct {
    bool xsave, fsgsbase;
    uint64_t features;
    size_t size;
    uint32_t mxcsr_mask;
} xstate;

extern const char thread_entry[];
void thread_first_run(void);

void x86_xstate_init(void)
{
    xstate.size = FXSAVE_SIZE;
    xstate.features = XSTATE_SSE_AND_X87;
    xstate.fsgsbase = cpuid(0, 0).eax >= 7 && (cpuid(7, 0).ebx & 1) != 0;
    if ((cpuid(1, 0).ecx >> 26 & 1) != 0) {
        struct cpuid leaf = cpuid(0xd, 0);
        xstate.xsave = true;
        xstate.features = leaf.eax & XSTATE_WANTED;
        if ((xstate.features & 0xe0) != 0xe0) {
            xstate.features &= ~0xe0ul; /* AVX-512 only as a whole */
        }
    }
    x86_xstate_enable();
    if (xstate.xsave) {
        xstate.size = cpuid(0xd, 0).ebx;
    }
    uint8_t area[FXSAVE_SIZE] __attribute__((aligned(16)));
    memset(area, 0, sizeof(area));
    __asm__ volatile("fxsave64 %0" : "=m"(area));
    memcpy(&xstate.mxcsr_mask, area + 28, sizeof(xstate.mxcsr_mask));
    if (xstate.mxcsr_mask == 0) {
        xstate.mxcsr_mask = 0xffbf; /* Intel SDM 1, 11.6.6 */
    }
}

REPLACEABLE void x86_control_registers(void)
{
    write_cr0((read_cr0() & ~(CR0_EM | CR0_TS)) | CR0_MP | CR0_NE | CR0_WP);
    write_cr4(read_cr4() | CR4_OSFXSR | CR4_OSXMMEXCPT | (xstate.xsave ? CR4_OSXSAVE : 0) |
              (xstate.fsgsbase ? CR4_FSGSBASE : 0));
}

void x86_xstate_enable(void)
{
    x86_control_registers();
    if (xstate.xsave) {
        __asm__ volatile("xsetbv" ::"c"(0), "a"((uint32_t)xstate.features), "d"(0));
    }
    hal_xstate_reset();
}

size_t hal_xstate_size(void)
{
    return xstate.size;
}

size_t hal_xstate_frame_size(void)
{
    return xstate.xsave ? xstate.size + sizeof(uint32_t) : FXSAVE_SIZE;
}

static void save(void *area)
{
    if (xstate.xsave) {
        /* XSAVE leaves the header's reserved words alone. */
        memset((char *)area + XSAVE_HEADER, 0, 64);
        __asm__ volatile("xsave64 (%0)" ::"r"(area), "a"(~0u), "d"(~0u) : "memory");
    } else {
        __asm__ volatile("fxsave64 (%0)" ::"r"(area) : "memory");
    }
}

static void restore(const void *area)
{
    if (xstate.xsave) {
        __asm__ volatile("xrstor64 (%0)" ::"r"(area), "a"(~0u), "d"(~0u) : "memory");
    } else {
        __asm__ volatile("fxrstor64 (%0)" ::"r"(area) : "memory");
    }
}

void hal_xstate_save(void *area)
{
    save(area);
    struct fpx_sw_bytes software = {0};
    if (xstate.xsave) {
        software.magic1 = FP_XSTATE_MAGIC1;
        software.extended_size = (uint32_t)hal_xstate_frame_size();
        software.xfeatures = xstate.features;
        software.xstate_size = (uint32_t)xstate.size;
        uint32_t magic2 = FP_XSTATE_MAGIC2;
        memcpy((char *)area + xstate.size, &magic2, sizeof(magic2));
    }
    memcpy((char *)area + FXSAVE_SOFTWARE, &software, sizeof(software));
}

int hal_xstate_restore(const void *area)
{
    uint32_t mxcsr;
    memcpy(&mxcsr, (const char *)area + FXSAVE_MXCSR, sizeof(mxcsr));
    if ((mxcsr & ~xstate.mxcsr_mask) != 0) {
        return -EINVAL;
    }
    if (xstate.xsave) {
        uint64_t header[8];
        memcpy(header, (const char *)area + XSAVE_HEADER, sizeof(header));
        if ((header[0] & ~xstate.features) != 0) {
            return -EINVAL;
        }
        for (unsigned i = 1; i < 8; i++) {
            if (header[i] != 0) {
                return -EINVAL;
            }
        }
    }
    restore(area);
    return 0;
}

void hal_xstate_reset(void)
{
    uint8_t area[FXSAVE_SIZE] __attribute__((aligned(16)));
    uint32_t mxcsr = MXCSR_DEFAULT;
    uint16_t control = X87_CONTROL_DEFAULT;
    memset(area, 0, sizeof(area));
    memcpy(area, &control, sizeof(control));
    memcpy(area + FXSAVE_MXCSR, &mxcsr, sizeof(mxcsr));
    __asm__ volatile("fxrstor64 (%0)" ::"r"(area) : "memory");
}

REPLACEABLE void hal_set_fs_base(uint64_t base)
{
    if (xstate.fsgsbase) {
        __asm__ volatile("wrfsbase %0" ::"r"(base));
    } else {
        wrmsr(MSR_FS_BASE, base);
    }
}

/* What the Go ABI wants back after a call: the control words and a zero X15. */
static void restore_call_state(const struct hal_thread *thread)
{
    uint32_t mxcsr;
    __asm__ volatile("stmxcsr %0" : "=m"(mxcsr));
    if (mxcsr != thread->mxcsr) {
        __asm__ volatile("ldmxcsr %0" ::"m"(thread->mxcsr));
    }
    uint16_t control;
    __asm__ volatile("fnstcw %0" : "=m"(control));
    if (control != thread->x87_control) {
        __asm__ volatile("fninit; fldcw %0" ::"m"(thread->x87_control));
    }
    __asm__ volatile("pxor %xmm15, %xmm15");
}

static void restore_thread(struct hal_thread *to)
{
    if (to->xstate_live) {
        restore(to->xstate);
    } else {
        restore_call_state(to);
    }
}

void hal_switch(struct hal_thread *from, struct hal_thread *to)
{
    if (from->xstate_live) {
        save(from->xstate);
    } else {
        __asm__ volatile("stmxcsr %0" : "=m"(from->mxcsr));
        __asm__ volatile("fnstcw %0" : "=m"(from->x87_control));
    }
    hal_this_cpu()->current = to;
    if (to->fs_base != from->fs_base) {
        hal_set_fs_base(to->fs_base);
    }
    switch_stacks(from, to);
    restore_thread(from); /* now running again, perhaps on another CPU */
}

/* The part of hal_switch after switch_stacks for a thread that has never been there. */
void thread_first_run(void)
{
    restore_thread(hal_current_thread());
}

void hal_thread_init(struct hal_thread *thread, void (*entry)(void *), void *argument)
{
    /* In the order of switch_stacks' pops. The program's frame has its place above. */
    struct {
        uint64_t r15, r14, r13, r12, rbp, rbx, rip;
    } *frame = (void *)(thread->kernel_stack_top - sizeof(struct regs) - 7 * sizeof(uint64_t));
    memset(frame, 0, sizeof(*frame));
    frame->r12 = (uint64_t)entry;
    frame->r13 = (uint64_t)argument;
    frame->rip = (uint64_t)thread_entry;
    thread->saved_rsp = (uint64_t)frame;
    thread->mxcsr = MXCSR_DEFAULT;
    thread->x87_control = X87_CONTROL_DEFAULT;
    thread->xstate_live = false;
}

void hal_thread_inherit(struct hal_thread *child)
{
    __asm__ volatile("stmxcsr %0" : "=m"(child->mxcsr));
    __asm__ volatile("fnstcw %0" : "=m"(child->x87_control));
}

struct regs *hal_user_regs(struct hal_thread *thread)
{
    return (struct regs *)(thread->kernel_stack_top - sizeof(struct regs));
}
