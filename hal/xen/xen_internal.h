/* SPDX-License-Identifier: MIT */
/* What the files of hal/xen share. The functions of hal.h that are different for a paravirtual
 * guest are named xen_ in place of hal_; replace.c puts them in their places at the entry. */
#pragma once

#include <stdbool.h>

#include "hal.h"
#include "hal/x86_64/x86.h"
#include "hypercall.h"

#define XEN_EVENT_VECTOR 0xf8 /* entry.asm */

/* X(name) for each of them. */
#define XEN_FUNCTIONS(X)                                                                           \
    X(console_write)                                                                               \
    X(console_write_some)                                                                          \
    X(console_enable_input)                                                                        \
    X(cpu_count)                                                                                   \
    X(cpu_start)                                                                                   \
    X(cpu_kick)                                                                                    \
    X(cpu_stop_others)                                                                             \
    X(idle)                                                                                        \
    X(clock_monotonic)                                                                             \
    X(clock_wall_offset)                                                                           \
    X(timer_set)                                                                                   \
    X(map_page)                                                                                    \
    X(unmap)                                                                                       \
    X(protect)                                                                                     \
    X(query)                                                                                       \
    X(map_device)                                                                                  \
    X(set_fs_base)                                                                                 \
    X(shutdown)                                                                                    \
    X(kernel_word)                                                                                 \
    X(init)                                                                                        \
    X(late_init)

#define XEN_DECLARE(name) __typeof__(hal_##name) xen_##name;
XEN_FUNCTIONS(XEN_DECLARE)
#undef XEN_DECLARE

/* --- entry.asm -------------------------------------------------------------------------------- */

/* A CPU's own, which hal_cpu.platform points to; the assembly knows it. Does not cross a page. */
struct xen_cpu {
    struct vcpu_info info;
    uint8_t kernel_mode;
    uint8_t unused[63];
    uint8_t stack[384]; /* where traps in user mode arrive; left at once */
} __attribute__((aligned(512)));
_Static_assert(offsetof(struct xen_cpu, kernel_mode) == 64, "entry.asm: KERNEL_MODE");

static inline struct xen_cpu *this_xen_cpu(void)
{
    return hal_this_cpu()->platform;
}

extern const char xen_trap_stubs[], xen_event_entry[], xen_failsafe_entry[];
extern const char xen_syscall_callback[];
void xen_nothing(void);

/* --- replace.c: this platform's functions and instructions take their places ------------------ */

/* First of all, while the text is still writable. */
void replace_all(void);
/* For PVH: the few functions that are Xen's there, and the instruction for hypercalls. */
void replace_for_pvh(bool intel);

/* --- start.c ---------------------------------------------------------------------------------- */

/* Maps the page that Xen shares with us, as `shared_info`. -errno. */
int xen_shared_info_map(void);

/* Paravirtual guests: in the direct map; a restore writes a new one over it. */
extern struct start_info *xen_start_info;
/* Takes the rings of the console and of xenstore from it. */
void xen_attach_rings(void);

/* Xen keeps the account of each CPU in our memory from now on. */
void xen_account_start(void);

/* Starts the thread of xenstore, and with it the devices. Thread context. */
void xen_bus_init(void);

/* --- suspend.c -------------------------------------------------------------------------------- */

/* Tells the toolstack what it wants to know before it saves the domain. On the xenbus thread. */
void suspend_init(void);

/* control/shutdown says "suspend": comes back in the restored domain, or in this one when that was
 * cancelled or cannot be. On the xenbus thread, in no watch. */
void suspend_domain(void);

/* --- pvh.c ------------------------------------------------------------------------------------ */

extern bool xen_is_pvh;

/* Xen's page `index` of `space` takes the place of `page`. -errno. */
int xen_pvh_share(unsigned space, uint64_t index, const void *page);
/* What Xen must know and tell for event channels and xenstore: at boot and in a restored domain.
 * -errno. */
int xen_pvh_connect(void);
void xen_pvh_late_init(void);

/* --- mmu.c: page tables, kept by Xen ---------------------------------------------------------- */

/* What a paravirtual guest maps at fixed addresses of the kernel map. The toolstack wants the table
 * of frames in the first 2 MiB of a block of 1 GiB. */
#define GRANT_TABLE_ADDRESS (KERNEL_MAP_END - (1ul << 39))
#define P2M_ADDRESS (GRANT_TABLE_ADDRESS + (1ul << 30))

/* Maps physical memory at DIRECT_MAP_BASE. What the domain builder mapped stays until
 * mmu_protect. */
void mmu_init(const struct start_info *info);

/* The final maps of the image; nothing else stays below the program's addresses. */
void mmu_protect(void);

/* The frame of a page as hypercalls and other domains know it; after mmu_init. */
uint64_t mmu_frame(uint64_t physical);
uint64_t mmu_physical(uint64_t frame);

/* The machine frame of the top-level table. */
uint64_t mmu_root_frame(void);

/* Maps a frame of a table of Xen's at an unused address of the kernel map. PV only. -ENOMEM. */
int mmu_map_table(uintptr_t address, uint64_t frame);

/* Maps a frame that is not ours (Xen's shared_info) over a page of the image, whose own comes back
 * with the other call. */
void mmu_map_frame(void *at, uint64_t frame);
void mmu_unmap_frame(void *at);

/* Tells in shared_info where the toolstack finds the frames of our pages when it saves the domain
 * (tools/libs/guest/xg_sr_save_x86_pv.c). -ENOMEM. Thread context. */
int mmu_publish_p2m(void);

/* Free pages are about to leave the domain, or have not left or have come back: they go out of the
 * direct map, and into it again with the frames that they have now. Fewer than 64 at a time. */
void mmu_release(const uint64_t *pages, uint64_t *frames, unsigned count);
void mmu_restore(const uint64_t *pages, const uint64_t *frames, unsigned count);

/* --- balloon.c -------------------------------------------------------------------------------- */

/* From now on the toolstack's target is kept to. On the xenbus thread. */
void balloon_start(void);

/* --- cpu.c ------------------------------------------------------------------------------------ */

/* The boot CPU: registers, traps, where its events are told. `frames` is the domain builder's. */
void cpu_init_boot(const uint64_t *frames);

/* Counts the CPUs; the boot CPU can be kicked. After page_init; shared_info is mapped. */
void cpus_init(void);

/* In a restored domain. Each CPU of a paravirtual guest for itself, masked: where its events and
 * its time are told. CPU 0 for all: their channels. */
void cpu_resume(void);
void cpus_resume(void);

/* --- clock.c ---------------------------------------------------------------------------------- */

/* Xen's system time, ns, by the parameters of a CPU. `tsc` gets what it was computed from. */
uint64_t xen_system_time(const volatile struct vcpu_time_info *t, uint64_t *tsc);
/* ns from the epoch to the zero of system time. */
uint64_t xen_wall_clock(void);

/* The boot CPU: the clock and its timer work from now on. */
void clock_start(void);
/* In a restored domain, on CPU 0, all others stand still: the monotonic clock of a paravirtual
 * guest goes on from `monotonic`; `wall` is what the wall clock was. */
void clock_resume(uint64_t monotonic, uint64_t wall);
/* The wall clock's offset, by what Xen says now. */
uint64_t xen_wall_offset(void);
/* The timer's event channel of a CPU; an error as of event_bind. */
int clock_bind_timer(unsigned cpu);
uint64_t xen_clock_tsc_hz(void);

/* --- event.c: event channels ------------------------------------------------------------------ */

extern struct shared_info *shared_info;

/* `port` is a channel of ours: from now on `handler` runs for its events on CPU `cpu`, masked.
 * -ENOMEM. Thread context, or the boot CPU before others run. */
typedef void event_handler(void *context);
int event_bind(uint32_t port, unsigned cpu, event_handler *handler, void *context);

static inline void event_send(uint32_t port)
{
    event_channel_op(EVTCHNOP_SEND, &port);
}

/* Chooses the ABI. Once, after page_init, before any channel is bound. */
void events_init(unsigned cpu_count);
/* The same when Xen has closed all channels. All other CPUs stand still. */
void events_resume(unsigned cpu_count);
const char *events_abi(void);

/* Runs what is pending for this CPU. Masked. */
void events_dispatch(struct vcpu_info *info);

/* --- console.c -------------------------------------------------------------------------------- */

void xen_console_init(struct xencons_interface *ring, uint32_t port);
/* The ring has another channel. Masked. */
void console_resume(void);
void xen_set_hostlink(bool on);
void xen_console_flush(void);
void xen_console_break_lock(void);
