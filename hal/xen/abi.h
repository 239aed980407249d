/* SPDX-License-Identifier: MIT */
/* What Xen and its guests agree on: numbers and structures of the hypercalls that are used here.
 * Names and values are those of xen/include/public, the header is named at each part. */
#pragma once

#include <stddef.h>
#include <stdint.h>

#define DOMID_SELF 0x7ff0u /* xen.h */

/* --- hypercalls (xen.h) ----------------------------------------------------------------------- */

#define HYPERCALL_SET_TRAP_TABLE 0
#define HYPERCALL_MMU_UPDATE 1
#define HYPERCALL_STACK_SWITCH 3
#define HYPERCALL_MEMORY_OP 12
#define HYPERCALL_MULTICALL 13
#define HYPERCALL_UPDATE_VA_MAPPING 14
#define HYPERCALL_SET_TIMER_OP 15
#define HYPERCALL_XEN_VERSION 17
#define HYPERCALL_GRANT_TABLE_OP 20
#define HYPERCALL_VCPU_OP 24
#define HYPERCALL_SET_SEGMENT_BASE 25
#define HYPERCALL_MMUEXT_OP 26
#define HYPERCALL_SCHED_OP 29
#define HYPERCALL_CALLBACK_OP 30
#define HYPERCALL_EVENT_CHANNEL_OP 32
#define HYPERCALL_HVM_OP 34

struct multicall {
    uint64_t op;
    int64_t result;
    uint64_t arguments[6];
};

/* --- start of the day (xen.h) ----------------------------------------------------------------- */

struct start_info {
    char magic[32];
    uint64_t nr_pages;
    uint64_t shared_info; /* machine address */
    uint32_t flags;
    uint64_t store_mfn;
    uint32_t store_evtchn;
    uint64_t console_mfn;
    uint32_t console_evtchn;
    uint64_t pt_base; /* virtual */
    uint64_t nr_pt_frames;
    uint64_t mfn_list;  /* virtual: machine frame of each page */
    uint64_t mod_start; /* virtual */
    uint64_t mod_len;
    char cmd_line[1024];
    uint64_t first_p2m_pfn, nr_p2m_frames;
};
_Static_assert(offsetof(struct start_info, cmd_line) == 128, "struct start_info");

/* --- time, CPUs and events (xen.h) ------------------------------------------------------------ */

struct vcpu_time_info {
    uint32_t version, pad;
    uint64_t tsc_timestamp, system_time;
    uint32_t tsc_to_system_mul;
    int8_t tsc_shift;
    uint8_t flags, pad2[2];
};
#define PVCLOCK_TSC_STABLE_BIT 1

struct vcpu_info {
    uint8_t evtchn_upcall_pending;
    uint8_t evtchn_upcall_mask;
    uint64_t evtchn_pending_sel;
    uint64_t cr2, pad;
    struct vcpu_time_info time;
};
_Static_assert(sizeof(struct vcpu_info) == 64, "struct vcpu_info");

#define XEN_LEGACY_MAX_VCPUS 32
#define EVENT_CHANNELS 4096 /* 2-level ABI */

struct shared_info {
    struct vcpu_info vcpu_info[XEN_LEGACY_MAX_VCPUS];
    uint64_t evtchn_pending[64];
    uint64_t evtchn_mask[64];
    uint32_t wc_version, wc_sec, wc_nsec, wc_sec_hi; /* the wall clock when system time was 0 */
    /* struct arch_shared_info (arch-x86/xen.h): where the toolstack finds a paravirtual guest's
     * table of frames */
    uint64_t max_pfn; /* entries */
    uint64_t frame_list_list, nmi_reason;
    uint64_t p2m_cr3;   /* machine address of page tables (Xen 4.6); 0: see frame_list_list */
    uint64_t p2m_vaddr; /* where they map the table */
    uint64_t p2m_generation;
};
_Static_assert(offsetof(struct shared_info, max_pfn) == 3088, "struct shared_info");

/* --- page tables (xen.h, arch-x86/xen-x86_64.h) ----------------------------------------------- */

#define MACHINE_TO_PHYS 0xffff800000000000ul

struct mmu_update {
    uint64_t ptr; /* machine address of the entry; the low bits 0: MMU_NORMAL_PT_UPDATE */
    uint64_t val;
};

#define UVMF_INVLPG_ALL 6 /* UVMF_INVLPG | UVMF_ALL: on all CPUs */

#define MMUEXT_TLB_FLUSH_ALL 10
#define MMUEXT_INVLPG_ALL 11
#define MMUEXT_NEW_USER_BASEPTR 15
struct mmuext_op {
    uint32_t cmd;
    uint64_t linear_addr; /* or a frame */
    uint64_t vcpu_mask;
};

/* --- traps and segments (arch-x86/xen.h, arch-x86/xen-x86_64.h) ------------------------------- */

#define FLAT_KERNEL_CS 0xe033
#define FLAT_KERNEL_SS 0xe02b
#define TRAP_MASK_EVENTS 4

struct trap_info {
    uint8_t vector, flags;
    uint16_t cs;
    uint64_t address;
};

#define SEGBASE_FS 0
#define SEGBASE_GS_USER 1
#define SEGBASE_GS_KERNEL 2

/* callback.h */
#define CALLBACKOP_REGISTER 0
#define CALLBACKTYPE_EVENT 0
#define CALLBACKTYPE_FAILSAFE 1
#define CALLBACKTYPE_SYSCALL 2
#define CALLBACKF_MASK_EVENTS 1
struct callback_register {
    uint16_t type, flags;
    uint64_t address;
};

/* The registers of arch-x86/xen-x86_64.h: struct cpu_user_regs. */
struct cpu_user_regs {
    uint64_t r15, r14, r13, r12, rbp, rbx, r11, r10, r9, r8, rax, rcx, rdx, rsi, rdi;
    uint32_t error_code, entry_vector;
    uint64_t rip;
    uint16_t cs, pad0[1];
    uint8_t saved_upcall_mask, pad1[3];
    uint64_t rflags, rsp;
    uint16_t ss, pad2[3], es, pad3[3], ds, pad4[3], fs, pad5[3], gs, pad6[3];
};

#define VGCF_IN_KERNEL 4
#define VGCF_FAILSAFE_DISABLES_EVENTS 8
#define VGCF_SYSCALL_DISABLES_EVENTS 16

struct vcpu_guest_context {
    char fpu_ctxt[512];
    uint64_t flags;
    struct cpu_user_regs user_regs;
    struct trap_info trap_ctxt[256];
    uint64_t ldt_base, ldt_ents;
    uint64_t gdt_frames[16], gdt_ents;
    uint64_t kernel_ss, kernel_sp;
    uint64_t ctrlreg[8];
    uint64_t debugreg[8];
    uint64_t event_callback_eip, failsafe_callback_eip, syscall_callback_eip;
    uint64_t vm_assist;
    uint64_t fs_base, gs_base_kernel, gs_base_user;
};
_Static_assert(sizeof(struct vcpu_guest_context) == 5168, "struct vcpu_guest_context");

/* --- virtual CPUs (vcpu.h) -------------------------------------------------------------------- */

#define VCPUOP_INITIALISE 0
#define VCPUOP_UP 1
#define VCPUOP_DOWN 2
#define VCPUOP_IS_UP 3
#define VCPUOP_REGISTER_RUNSTATE_MEMORY_AREA 5
struct vcpu_runstate_info {
    uint32_t state, pad;
    uint64_t state_entry_time;
    uint64_t time[4]; /* ns in each state */
};
#define RUNSTATE_RUNNABLE 1 /* wants to run, and does not */
#define VCPUOP_STOP_PERIODIC_TIMER 7
#define VCPUOP_REGISTER_VCPU_INFO 10
struct vcpu_register_vcpu_info {
    uint64_t mfn;
    uint32_t offset, reserved;
};

/* --- scheduling (sched.h) --------------------------------------------------------------------- */

#define SCHEDOP_YIELD 0
#define SCHEDOP_BLOCK 1
#define SCHEDOP_SHUTDOWN 2
#define SHUTDOWN_POWEROFF 0
#define SHUTDOWN_REBOOT 1
#define SHUTDOWN_SUSPEND 2
#define SHUTDOWN_CRASH 3

/* --- event channels (event_channel.h) --------------------------------------------------------- */

#define EVTCHNOP_BIND_VIRQ 1
struct evtchn_bind_virq {
    uint32_t virq, vcpu, port;
};
#define VIRQ_TIMER 0
#define EVTCHNOP_CLOSE 3
#define EVTCHNOP_SEND 4
#define EVTCHNOP_ALLOC_UNBOUND 6
struct evtchn_alloc_unbound {
    uint16_t dom, remote_dom;
    uint32_t port;
};
#define EVTCHNOP_BIND_IPI 7
struct evtchn_bind_ipi {
    uint32_t vcpu, port;
};
#define EVTCHNOP_BIND_VCPU 8
struct evtchn_bind_vcpu {
    uint32_t port, vcpu;
};
#define EVTCHNOP_UNMASK 9
#define EVTCHNOP_INIT_CONTROL 11
struct evtchn_init_control {
    uint64_t frame;
    uint32_t offset, vcpu;
    uint8_t link_bits, pad[7];
};
#define EVTCHNOP_EXPAND_ARRAY 12
struct evtchn_expand_array {
    uint64_t frame;
};

/* --- the console's ring (io/console.h) -------------------------------------------------------- */

struct xencons_interface {
    char in[1024], out[2048];
    uint32_t in_cons, in_prod, out_cons, out_prod;
};

/* --- xenstore's ring (io/xs_wire.h) ----------------------------------------------------------- */

#define XENSTORE_RING_SIZE 1024
struct xenstore_interface {
    char req[XENSTORE_RING_SIZE], rsp[XENSTORE_RING_SIZE];
    uint32_t req_cons, req_prod, rsp_cons, rsp_prod;
};

/* --- grant tables (grant_table.h, version 1) -------------------------------------------------- */

#define GNTTABOP_SETUP_TABLE 2
struct gnttab_setup_table {
    uint16_t dom;
    uint32_t nr_frames;
    int16_t status;
    uint64_t *frame_list;
};

struct grant_entry {
    uint16_t flags, domid;
    uint32_t frame;
};
#define GTF_PERMIT_ACCESS 1
#define GTF_READONLY 4
#define GTF_READING 8
#define GTF_WRITING 16
#define GRANTS_RESERVED 8

/* --- devices (io/xenbus.h, io/ring.h) --------------------------------------------------------- */

enum xenbus_state {
    XENBUS_INITIALISING = 1,
    XENBUS_INIT_WAIT,
    XENBUS_INITIALISED,
    XENBUS_CONNECTED,
    XENBUS_CLOSING,
    XENBUS_CLOSED,
};

/* What every ring of requests and responses begins with. */
struct ring_header {
    uint32_t req_prod, req_event, rsp_prod, rsp_event;
    uint8_t pad[48];
};

/* --- block devices (io/blkif.h, x86_64 layout) ------------------------------------------------ */

#define BLKIF_READ 0
#define BLKIF_WRITE 1
#define BLKIF_FLUSH 3
#define BLKIF_DISCARD 5
#define BLKIF_INDIRECT 6
#define BLKIF_DIRECT_SEGMENTS 11
#define BLKIF_OKAY 0
#define BLKIF_UNSUPPORTED (-2)
#define VDISK_READONLY 4

struct blkif_segment {
    uint32_t grant;
    uint8_t first_sector, last_sector;
    uint16_t pad;
};

union blkif_request {
    struct {
        uint8_t operation, segment_count;
        uint16_t handle;
        uint64_t id, sector;
        struct blkif_segment segments[BLKIF_DIRECT_SEGMENTS];
    } direct;
    struct {
        uint8_t operation, flags;
        uint16_t handle;
        uint64_t id, sector, sector_count;
    } discard;
    struct {
        uint8_t operation, indirect_operation;
        uint16_t segment_count;
        uint64_t id, sector;
        uint16_t handle, pad;
        uint32_t grants[8];
    } indirect;
    struct blkif_response {
        uint64_t id;
        uint8_t operation;
        int16_t status;
    } response;
};
_Static_assert(sizeof(union blkif_request) == 112, "union blkif_request");

/* --- guests with hardware virtualisation (hvm/hvm_op.h, hvm/params.h, memory.h) --------------- */

#define HVMOP_SET_PARAM 0
#define HVMOP_GET_PARAM 1
struct hvm_param {
    uint16_t domid, pad;
    uint32_t index;
    uint64_t value;
};
#define HVM_PARAM_CALLBACK_IRQ 0
#define HVM_PARAM_STORE_PFN 1
#define HVM_PARAM_STORE_EVTCHN 2
#define HVM_PARAM_CONSOLE_PFN 17
#define HVM_PARAM_CONSOLE_EVTCHN 18

#define XENMEM_DECREASE_RESERVATION 1
#define XENMEM_MAXIMUM_RAM_PAGE 2 /* returns the machine's last frame */
#define XENMEM_POPULATE_PHYSMAP 6
struct xen_memory_reservation {
    uint64_t extent_start, nr_extents;
    uint32_t extent_order, mem_flags;
    uint16_t domid;
};
#define XENMEM_ADD_TO_PHYSMAP 7
#define XENMAPSPACE_SHARED_INFO 0
#define XENMAPSPACE_GRANT_TABLE 1
struct xen_add_to_physmap {
    uint16_t domid, size;
    uint32_t space;
    uint64_t idx, gpfn;
};
