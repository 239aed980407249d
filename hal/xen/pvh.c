/* SPDX-License-Identifier: MIT */
/* A guest of Xen with hardware virtualisation (`type = "pvh"`): hal/kvm runs it, with the CPU's own
 * page tables, APIC and timer. What it has in place of a PC's devices is here: hypercalls by the
 * instruction of the CPU's maker, the rate of the TSC and the wall clock, the pages that Xen
 * shares, and event channels, which arrive on the CPU that they are bound to by one vector. */
#include "core/lib/log.h"
#include "core/lib/string.h"
#include "core/mm/page.h"
#include "event_internal.h"
#include "hal/kvm/kvm_internal.h"
#include "xenstore.h"

#define NS_PER_SECOND 1000000000ull

/* CPUID leaves after the one with the signature (arch-x86/cpuid.h). */
#define LEAF_TIME 3

#define VIA_VECTOR (2ull << 56)

bool xen_is_pvh;

static uint32_t signature_leaf;

static uint64_t get_parameter(uint32_t index)
{
    struct hvm_param parameter = {.domid = DOMID_SELF, .index = index};
    return hypercall2(HYPERCALL_HVM_OP, HVMOP_GET_PARAM, (uint64_t)&parameter) == 0
               ? parameter.value
               : 0;
}

bool xen_pvh_find(void)
{
    for (uint32_t leaf = 0x40000000; leaf < 0x40010000; leaf += 0x100) {
        struct cpuid c = cpuid(leaf, 0);
        if (c.ebx == 0x566e6558 && c.ecx == 0x65584d4d && c.edx == 0x4d4d566e) { /* XenVMMXenVMM */
            signature_leaf = leaf;
            xen_is_pvh = true;
            replace_for_pvh(cpuid(0, 0).ecx == 0x6c65746e); /* "ntel" */
            return true;
        }
        if (c.eax < leaf) {
            break;
        }
    }
    return false;
}

void xen_pvh_console(void)
{
    uint64_t page = get_parameter(HVM_PARAM_CONSOLE_PFN) << PAGE_SHIFT;
    if (page != 0) {
        xen_console_init(direct_map(page), (uint32_t)get_parameter(HVM_PARAM_CONSOLE_EVTCHN));
    }
}

uint64_t xen_pvh_tsc_hz(void)
{
    return xen_is_pvh ? cpuid(signature_leaf + LEAF_TIME, 0).ecx * 1000ull : 0;
}

/* The page becomes Xen's; the memory that was there goes back to it. */
int xen_pvh_share(unsigned space, uint64_t index, const void *page)
{
    struct xen_add_to_physmap add = {
        .domid = DOMID_SELF,
        .space = space,
        .idx = index,
        .gpfn = mmu_frame(page >= (const void *)DIRECT_MAP_BASE ? direct_map_physical(page)
                                                                : image_physical(page)),
    };
    return (int)hypercall2(HYPERCALL_MEMORY_OP, XENMEM_ADD_TO_PHYSMAP, (uint64_t)&add);
}

int xen_pvh_connect(void)
{
    /* Also tells Xen that we are in 64-bit mode, which decides the layout of the shared page. */
    struct hvm_param callback = {
        .domid = DOMID_SELF,
        .index = HVM_PARAM_CALLBACK_IRQ,
        .value = VIA_VECTOR | VECTOR_XEN,
    };
    int error = (int)hypercall2(HYPERCALL_HVM_OP, HVMOP_SET_PARAM, (uint64_t)&callback);
    if (error == 0) {
        error = xen_shared_info_map();
    }
    uint64_t store = get_parameter(HVM_PARAM_STORE_PFN) << PAGE_SHIFT;
    if (error == 0 && store != 0) {
        xenstore_attach(direct_map(store), (uint32_t)get_parameter(HVM_PARAM_STORE_EVTCHN));
    }
    return error;
}

uint64_t xen_pvh_wall_offset(void)
{
    return xen_is_pvh && xen_pvh_connect() == 0 ? xen_wall_offset() : 0;
}

void xen_pvh_interrupt(void)
{
    unsigned vcpu = event_vcpu(hal_this_cpu()->id);
    if (vcpu < XEN_LEGACY_MAX_VCPUS) {
        events_dispatch(&shared_info->vcpu_info[vcpu]);
    }
}

void xen_pvh_late_init(void)
{
    if (shared_info == NULL) {
        log_error("xen: no event channels: no devices");
        return;
    }
    events_init(hal_cpu_count());
    xen_bus_init();
}
