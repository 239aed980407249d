/* SPDX-License-Identifier: MIT */
/* The contract between core and a platform: what core may ask, and (at the end) the few calls a
 * platform makes into core. A platform is a folder beside this one that implements every function
 * here; the entry point chooses it. Functions return 0 or -errno unless they say otherwise. "Any
 * context" includes interrupt handlers. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "hal_cpu.h"
#include "hal_irq.h"
#include "regs.h"

#define PAGE_SHIFT 12
#define PAGE_SIZE 4096ul
#define HUGE_PAGE_SHIFT 21
#define HUGE_PAGE_SIZE (1ul << HUGE_PAGE_SHIFT)
#define HUGE_PAGE_ORDER (HUGE_PAGE_SHIFT - PAGE_SHIFT)

/* Virtual addresses (docs/architecture.md has the whole map). The high half begins above the range
 * that Xen keeps. */
#define KERNEL_IMAGE_BASE 0x100000ul
#define PROGRAM_MIN 0x400000ul
#define USER_MIN 0x10000ul
#define USER_END 0x7ffffffff000ul
#define VVAR_ADDRESS 0x3ff000ul /* the clock page that the vDSO reads */
#define DIRECT_MAP_BASE 0xffff880000000000ul
#define KERNEL_MAP_BASE 0xffffc80000000000ul /* kernel stacks and MMIO */
#define KERNEL_MAP_END 0xffffd80000000000ul

/* Physical memory is always reachable here, read-write and never executable; pages of the image
 * that are not writable are not. */
static inline void *direct_map(uint64_t physical)
{
    return (void *)(DIRECT_MAP_BASE + physical);
}

static inline uint64_t direct_map_physical(const void *address)
{
    return (uint64_t)address - DIRECT_MAP_BASE;
}

/* --- boot.c: what the loader told us
 * ----------------------------------------------------------------------------- */

struct boot_range {
    uint64_t base, size; /* physical, bytes; usable RAM, sorted, not overlapping, page-aligned */
};

struct boot_module {
    uint64_t base, size; /* physical; inside RAM but left out of the ranges */
    const char *name;    /* the loader's command line for it, or "" */
};

#define BOOT_MAX_RANGES 64
#define BOOT_MAX_MODULES 8

struct boot_info {
    const char *loader;       /* "pvh", "multiboot2", "xen-pv" */
    const char *command_line; /* whole, as the loader gave it; never NULL */
    unsigned range_count;
    struct boot_range
        ranges[BOOT_MAX_RANGES]; /* free RAM: the image, modules, tables and page 0 are left out */
    unsigned module_count;
    struct boot_module modules[BOOT_MAX_MODULES];
    uint64_t memory_total; /* bytes of RAM the loader reported, ours included */
};

/* Valid from the first call into core on, never changes. */
const struct boot_info *hal_boot_info(void);

/* Where the loader put the byte of the image that was linked for `address`; segments stay in one
 * piece. */
uint64_t hal_image_physical(uintptr_t address);

/* --- console.c
 * ----------------------------------------------------------------------------------------------------
 */

enum hal_stream {
    HAL_STREAM_OUT, /* standard output */
    HAL_STREAM_ERR, /* standard error and the kernel's log; the same device as OUT where there is
                       only one */
    HAL_STREAM_CONTROL, /* records for `unigornel run` (goruntime/hostlink.h); dropped where nobody
                           listens */
};

/* Writes all bytes, waiting for the device. Serialised inside; any context, also from a panic. */
void hal_console_write(enum hal_stream stream, const char *bytes, size_t length);

/* Writes as many of the bytes as the device has room for, and sleeps while it has none: how many,
 * or -EINTR as thread_sleep. Thread context, one thread at a time. */
long hal_console_write_some(enum hal_stream stream, const char *bytes, size_t length);

/* The kernel word `hostlink` was given: whoever reads the console tells the streams apart and takes
 * records (goruntime/hostlink.h). */
void console_set_hostlink(bool on);

/* From now on received bytes go to core_console_input. Thread context, once. */
void hal_console_enable_input(void);

/* --- cpu.c: other CPUs
 * --------------------------------------------------------------------------------------------- */

unsigned hal_cpu_count(void);

/* Starts CPU `id` (1 ..); it sets itself up and calls core_cpu_entry on the kernel stack of `idle`.
 * Returns when the CPU runs. `cpu` stays in use for ever. -ETIMEDOUT: it did not come up. */
int hal_cpu_start(unsigned id, struct hal_cpu *cpu, struct hal_thread *idle);

/* Makes CPU `id` leave hal_idle or enter the kernel soon: core_kicked runs there. Any context. */
void hal_cpu_kick(unsigned id);

/* Stops all other CPUs for good; for panic and shutdown. */
void hal_cpu_stop_others(void);

/* Waits for an interrupt. Called with interrupts masked, returns with interrupts enabled; an
 * interrupt that came after the masking ends the wait at once. */
void hal_idle(void);

/* --- clock.c
 * --------------------------------------------------------------------------------------------------------
 */

/* Nanoseconds since boot: never steps back, also between CPUs. Any context. */
uint64_t hal_clock_monotonic(void);

/* Nanoseconds between the Unix epoch and the zero of the monotonic clock. */
uint64_t hal_clock_wall_offset(void);

/* Nanoseconds that the monotonic clock has stood still while the machine was suspended. */
uint64_t hal_clock_boot_offset(void);

/* Arms this CPU's one-shot timer: core_timer_expired runs at or soon after `deadline` (monotonic
 * ns). A new call replaces the old deadline; UINT64_MAX disarms. Interrupts masked. */
void hal_timer_set(uint64_t deadline);

/* The parameters of the clock page that the vDSO reads; written by the platform, mapped at
 * VVAR_ADDRESS by hal_start. */
struct vvar {
    uint32_t sequence;    /* odd while being written */
    uint32_t mode;        /* 0: no fast clock, make the system call; 1: TSC */
    uint64_t tsc_base;    /* TSC at `base_ns` */
    uint64_t base_ns;     /* monotonic ns */
    uint64_t mult;        /* ns = base_ns + ((tsc - tsc_base) * mult >> 32), in 128 bits */
    uint64_t wall_offset; /* hal_clock_wall_offset() */
    uint64_t boot_offset; /* hal_clock_boot_offset() */
};

/* --- paging.c
 * -------------------------------------------------------------------------------------------------------
 */

enum {
    PROT_R = 1, /* the values of Linux's PROT_READ, PROT_WRITE and PROT_EXEC */
    PROT_W = 2,
    PROT_X = 4,
    PROT_UNCACHED = 0x100, /* MMIO */
};

/* Maps one page of 4 KiB (order 0) or 2 MiB (order HUGE_PAGE_ORDER) where nothing is mapped. Page
 * tables come from page_alloc. -EEXIST: something is mapped there already (another CPU was first,
 * or, for order 9, a table with pages in it). -ENOMEM. Callers may race with each other, not with
 * the functions below on the same range. */
int hal_map_page(uintptr_t address, uint64_t physical, unsigned order, unsigned prot);

/* Unmaps [address, address + size); huge pages that stick out are split (-ENOMEM when that needs a
 * table and there is none: then nothing has changed). After all CPUs have dropped the range from
 * their TLBs `release` is called for each page that was mapped (order 0 or HUGE_PAGE_ORDER; NULL:
 * nobody owns them), and empty tables are freed. Thread context, interrupts enabled; no spinlock
 * held. */
typedef void hal_release_fn(uint64_t physical, unsigned order, void *context);
int hal_unmap(uintptr_t address, size_t size, hal_release_fn *release, void *context);

/* Changes the protection of what is mapped in the range; prot 0 keeps the pages but faults on any
 * access. Same context and -ENOMEM as hal_unmap. */
int hal_protect(uintptr_t address, size_t size, unsigned prot);

/* Looks `address` up. Returns the mapping's size (PAGE_SIZE or HUGE_PAGE_SIZE) or 0 when nothing is
 * mapped; then for no mapping `*hole` is the size of the aligned unmapped block around it (for
 * skipping). `physical`, `prot` and `hole` may be NULL. */
size_t hal_query(uintptr_t address, uint64_t *physical, unsigned *prot, size_t *hole);

/* Tells that this CPU touches no memory of the program until hal_tlb_lazy(false): it gets no flush
 * requests and catches up then. For idling. Interrupts masked. */
void hal_tlb_lazy(bool lazy);

/* Maps device memory at a free address of the kernel map; never unmapped. NULL when there is no
 * memory. */
void *hal_map_device(uint64_t physical, size_t size);

/* --- hal/x86_64: threads and user memory, shared by all platforms
 * ------------------------------------------------- */

/* Bytes of the extended state (XSAVE area, standard format, or 512 for FXSAVE). */
size_t hal_xstate_size(void);

/* Sets up `thread` so that the first hal_switch to it calls entry(argument) on its kernel stack,
 * interrupts masked. kernel_stack_top and xstate must be set. */
void hal_thread_init(struct hal_thread *thread, void (*entry)(void *), void *argument);

/* Gives a new thread, not yet switched to, the control words of the floating-point units that the
 * program has now in this one. From a system call. */
void hal_thread_inherit(struct hal_thread *child);

/* Switches from `from` to `to` on this CPU: stack, TLS base, extended state as needed. Interrupts
 * masked. Returns when somebody switches back to `from`, perhaps on another CPU. */
void hal_switch(struct hal_thread *from, struct hal_thread *to);

/* The frame of the program at the top of the current thread's kernel stack: what it resumes with.
 */
struct regs *hal_user_regs(struct hal_thread *thread);

/* Leaves the kernel for the program with exactly these registers (IRETQ). Never returns. */
_Noreturn void hal_enter_user(const struct regs *regs);

/* Makes the current thread's `fs_base` the CPU's. */
void hal_set_fs_base(uint64_t base);

/* Extended state of the current thread, for signal frames. Save stores the program's values (live
 * or saved) in `area` in the layout Linux uses in a signal frame (hal_xstate_frame_size() bytes,
 * 64-byte aligned, with the fp_sw_bytes of struct _fpx_sw_bytes filled); restore validates and
 * loads them: -EINVAL for values the CPU would fault on. The user copy is the caller's: `area` is
 * kernel memory. */
size_t hal_xstate_frame_size(void);
void hal_xstate_save(void *area);
int hal_xstate_restore(const void *area);
/* The state a new program or signal handler starts with. */
void hal_xstate_reset(void);

/* Copies that survive bad pointers: -EFAULT when part of the program's memory is not accessible;
 * what was copied before stays. Thread context; may fault pages in, so no spinlock may be held.
 * Addresses outside [USER_MIN, USER_END) or in the kernel image are -EFAULT. */
int copy_from_user(void *to, uintptr_t from, size_t size);
int copy_to_user(uintptr_t to, const void *from, size_t size);
int clear_user(uintptr_t to, size_t size);
/* Length without the NUL, or -EFAULT, or -ENAMETOOLONG when none of `size` bytes is NUL. */
long copy_string_from_user(char *to, uintptr_t from, size_t size);
/* One aligned 32-bit word without faulting pages in: -EFAULT when it is not mapped right now. Any
 * context. */
int load_user_u32_nofault(uint32_t *value, uintptr_t from);
/* Atomic compare-and-swap on a user word, faulting pages in; *old gets what was there. */
int cmpxchg_user_u32(uintptr_t address, uint32_t *old, uint32_t new_value);

/* Called for a fault or exception in kernel code: when it hit one of the copies above, makes `regs`
 * resume at its error return and says true. */
bool hal_fixup_fault(struct regs *regs);

/* As hal_fixup_fault, but only for load_user_u32_nofault: to be asked before the page is looked
 * for. */
bool hal_fixup_nofault(struct regs *regs);

/* Whether `address` is the kernel's own code; the vDSO is not. */
bool hal_is_kernel_text(uintptr_t address);

/* --- entropy.c
 * --------------------------------------------------------------------------------------------------------
 */

/* Fills `bytes` from hardware and timing jitter: seed material for the generator in
 * core/lib/random.c, not for use as it is. Returns the number of bits of entropy that it claims. */
unsigned hal_entropy(uint8_t *bytes, size_t size);

/* --- platform.c
 * ---------------------------------------------------------------------------------------------------------
 */

enum hal_shutdown_reason { HAL_SHUTDOWN_EXIT, HAL_SHUTDOWN_PANIC, HAL_SHUTDOWN_REBOOT };

/* Ends the machine; `status` is the program's exit status (0-255). Console output is flushed first.
 */
_Noreturn void hal_shutdown(enum hal_shutdown_reason reason, int status);

/* The rest of the platform's set-up, once page_alloc works: final page tables, interrupt
 * controllers, clocks. */
void hal_init(void);

/* Late setup that needs the allocator and threads: power button, devices, which are given to core.
 */
void hal_late_init(void);

/* A word of the command line that core does not know: whether it is one that this platform's
 * loaders write, and is taken note of. After hal_init, before hal_late_init. */
bool hal_kernel_word(const char *word);

/* Writes "CPU vendor/brand" facts for /proc/cpuinfo: model name into `name` (NUL-terminated, 64
 * bytes), and the clock rate. */
void hal_cpu_describe(char name[64], uint64_t *tsc_hz);

/* --- what a platform calls in core (core/main.c, core/mm/fault.c, core/sched/)
 * -------------------------------------- */

/* On the boot CPU's first stack, paging as above for the image and direct map, interrupts masked.
 */
_Noreturn void core_main(void);

/* On a new CPU, on its idle thread's stack. */
_Noreturn void core_cpu_entry(void);

/* An exception. `user` says whether the program was interrupted (else kernel code). Interrupts as
 * they were; the thread's kernel stack. core_page_fault gets CR2 and the error code in regs->error
 * (Intel SDM 3A 4.7). */
void core_page_fault(struct regs *regs, uintptr_t address, bool user);
void core_exception(struct regs *regs, bool user);

/* Interrupts; masked, on the interrupted thread's kernel stack. */
void core_timer_expired(void);
void core_kicked(void);
void core_console_input(const char *bytes, size_t length);
void core_power_button(void);

/* The table of system calls: the gate calls the entry of the program's number (the last
 * entry for any number from CORE_SYSCALL_COUNT - 1 on) with the address of the frame's `rdi`, and
 * puts what it returns into RAX. Interrupts enabled. */
#define CORE_SYSCALL_COUNT 512
typedef long core_syscall_fn(uint64_t *arguments);
extern core_syscall_fn *core_syscalls[CORE_SYSCALL_COUNT];

/* The results of calls that always give the same, which the gate returns without calling anybody;
 * -1: not such a call. */
extern int32_t core_fixed_results[CORE_SYSCALL_COUNT];

/* Before every return to the program when thread->work is set; interrupts masked on entry and on
 * return. */
void core_return_to_user(struct regs *regs);
