/* SPDX-License-Identifier: MIT */
/* From entry.asm to core: the order in which a paravirtual guest is set up, and its end. The domain
 * builder has mapped the image, what it tells us and its page tables at the virtual addresses that
 * equal our physical ones (boot/notes.asm: VIRT_BASE and PADDR_OFFSET are 0). */
#include "core/lib/log.h"
#include "core/lib/string.h"
#include "core/sched/sched.h"
#include "event_internal.h"
#include "goruntime/image_info.h"
#include "hal/kvm/kvm_internal.h"
#include "xenbus.h"
#include "xenstore.h"

static char shared_info_page[PAGE_SIZE]
    __attribute__((aligned(PAGE_SIZE), section(".bss.page_aligned")));
static bool reboot_wanted; /* by the toolstack */

struct start_info *xen_start_info;

#define CONTROL_SHUTDOWN "control/shutdown"

_Noreturn void xen_start(struct start_info *info);
uint64_t xen_time_of_slow_access(void);

static void reserve_page(uint64_t physical)
{
    boot_info_reserve(physical & ~(PAGE_SIZE - 1), PAGE_SIZE);
}

void xen_attach_rings(void)
{
    const struct start_info *info = xen_start_info;
    xen_console_init(direct_map(mmu_physical(info->console_mfn)), info->console_evtchn);
    xenstore_attach(direct_map(mmu_physical(info->store_mfn)), info->store_evtchn);
}

_Noreturn void xen_start(struct start_info *info)
{
    replace_all();
    sched_boot_cpu_init();
    cpu_init_boot((const uint64_t *)info->mfn_list);
    uint64_t console = mmu_physical(info->console_mfn);
    xen_console_init((void *)console, info->console_evtchn);

    boot_info_from_xen(info->nr_pages << PAGE_SHIFT, info->cmd_line, sizeof(info->cmd_line));
    if (info->mod_len != 0) {
        boot_info_module(info->mod_start, info->mod_len);
    }
    boot_info_reserve_image(0);
    reserve_page((uintptr_t)info);
    reserve_page(console);
    reserve_page(mmu_physical(info->store_mfn));
    boot_info_reserve(info->mfn_list, info->nr_pages * sizeof(uint64_t));
    mmu_init(info);
    boot_info_finish();
    xen_start_info = direct_map((uintptr_t)info);
    xen_attach_rings();
    core_main();
}

int xen_shared_info_map(void)
{
    int error = 0;
    if (xen_is_pvh) {
        error = xen_pvh_share(XENMAPSPACE_SHARED_INFO, 0, shared_info_page);
    } else {
        mmu_map_frame(shared_info_page, xen_start_info->shared_info >> PAGE_SHIFT);
    }
    if (error == 0) {
        shared_info = (struct shared_info *)shared_info_page;
    }
    return error;
}

void xen_init(void)
{
    xen_shared_info_map();
    mmu_protect();
    cpus_init();
    clock_start();
}

static void shutdown_wanted(void *unused)
{
    (void)unused;
    char how[16];
    if (xenstore_read(CONTROL_SHUTDOWN, how, sizeof(how)) <= 0) {
        return;
    }
    xenstore_write(CONTROL_SHUTDOWN, ""); /* tells the toolstack that we have seen it */
    if (strcmp(how, "suspend") == 0) {
        xenstore_defer(suspend_domain);
        return;
    }
    if (strcmp(how, "poweroff") != 0 && strcmp(how, "halt") != 0 && strcmp(how, "reboot") != 0) {
        log_warn("xen: asked for \"%s\", which is not supported", how);
        return;
    }
    reboot_wanted = strcmp(how, "reboot") == 0;
    bool irq = hal_irq_save();
    core_power_button();
    hal_irq_restore(irq);
}

static void xenbus_first(void)
{
    if (xenstore_watch(CONTROL_SHUTDOWN, shutdown_wanted, NULL) != 0) {
        log_warn("xen: the toolstack cannot ask for a shutdown");
    }
    suspend_init();
    balloon_start();
    xenbus_probe();
}

void xen_account_start(void)
{
    static struct vcpu_runstate_info accounts[HAL_MAX_CPUS];
    for (unsigned id = 0; id < hal_cpu_count(); id++) {
        uint64_t where = (uint64_t)&accounts[id];
        if (cpu_by_id(id) != NULL &&
            vcpu_op(VCPUOP_REGISTER_RUNSTATE_MEMORY_AREA, event_vcpu(id), &where) == 0) {
            cpu_by_id(id)->hal.stolen_ns = &accounts[id].time[RUNSTATE_RUNNABLE];
        }
    }
}

void xen_bus_init(void)
{
    xen_account_start();
    log_debug("xen: event channels by the %s ABI", events_abi());
    if (xenstore_start(xenbus_first) != 0) {
        log_error("xen: no xenstore: no devices");
    }
}

void xen_late_init(void)
{
    xen_bus_init();
}

uint64_t xen_time_of_slow_access(void)
{
    hypercall2(HYPERCALL_XEN_VERSION, 0, 0);
    return tsc_read();
}

_Noreturn void xen_shutdown(enum hal_shutdown_reason reason, int status)
{
    hal_irq_disable();
    hal_cpu_stop_others();
    if (reason == HAL_SHUTDOWN_EXIT) {
        char text[12];
        format(text, sizeof(text), "%d", status);
        xenstore_write_last("data/exit-status", text);
    }
    xen_console_break_lock();
    xen_console_flush();
    uint32_t why = SHUTDOWN_POWEROFF;
    if (reason == HAL_SHUTDOWN_PANIC) {
        why = SHUTDOWN_CRASH;
    } else if (reason == HAL_SHUTDOWN_REBOOT || reboot_wanted) {
        why = SHUTDOWN_REBOOT;
    }
    for (;;) {
        sched_op(SCHEDOP_SHUTDOWN, &why);
    }
}
