/* SPDX-License-Identifier: MIT */
/* From the platform's hands to the program's first instruction. */
#include "core/fs/fs.h"
#include "core/lib/log.h"
#include "core/lib/random.h"
#include "core/lib/string.h"
#include "core/mm/kmalloc.h"
#include "core/mm/page.h"
#include "core/mm/vm.h"
#include "core/net/net.h"
#include "core/options.h"
#include "core/sched/sched.h"
#include "core/signal/signal.h"
#include "core/syscall/process.h"
#include "core/syscall/syscall.h"
#include "goruntime/hostlink.h"
#include "goruntime/image_info.h"
#include "goruntime/start.h"
#include "hal.h"

#define PROBE_HALT_NS 1000000ull

extern const struct image_info image_info;

/* Broken on purpose, for the tests of the report (`crash=`). */
static void crash(const char *how)
{
    if (strcmp(how, "panic") == 0) {
        panic("asked for by crash=panic");
    } else if (strcmp(how, "fault") == 0) {
        volatile uintptr_t bad = 0x10;
        *(volatile int *)bad = 1;
    } else {
        options_fail("crash=%s: panic or fault", how);
    }
}

/* What the host's tool wants to know before it trusts KVM (`probe`): that the machine comes up with
 * all its CPUs, and that the timer's interrupt ends a halt. */
static _Noreturn void probe(void)
{
    uint64_t end = hal_clock_monotonic() + PROBE_HALT_NS;
    sched_start_cpus();
    do {
        hal_irq_disable();
        hal_timer_set(end);
        hal_idle();
    } while (hal_clock_monotonic() < end);
    process_exit(PROBE_STATUS);
}

/* The first thread of the program, still in the kernel. */
static void program_main(void *unused)
{
    (void)unused;
    hal_late_init();
    int error = fs_init(options.root);
    if (error != 0) {
        options_fail("no root file system (root=%s): error %d",
                     options.root != NULL ? options.root : "", -error);
    }
    for (unsigned i = 0; i < options.mount_count; i++) {
        error = fs_mount(options.mounts[i]);
        if (error != 0) {
            options_fail("mount=%s: error %d (DISK:DIR or DISK:DIR:rw)", options.mounts[i], -error);
        }
    }
    error = fs_set_cwd(options.cwd);
    if (error != 0) {
        options_fail("cwd=%s: error %d", options.cwd, -error);
    }
    fs_set_host_name(options.hostname, strlen(options.hostname));
    console_init(options.hostlink, options.hostlink_merged);
    net_init();
    program_start();
}

_Noreturn void core_main(void)
{
    const struct boot_info *info = hal_boot_info();
    page_init();
    kmalloc_init();
    hal_init();
    random_init();
    syscall_init();
    options_parse(info->command_line);
    console_set_hostlink(options.hostlink);
    log_info("loader %s, %llu KiB of memory, %u CPUs", info->loader,
             (unsigned long long)(info->memory_total >> 10), hal_cpu_count());
    if (log_level == LOG_STRACE) {
        syscall_trace();
    }
    if (options.crash != NULL) {
        crash(options.crash);
    }
    if (options.probe) {
        probe();
    }
    if (image_info.segment_count == 0) {
        options_fail("there is no program in this image: `unigornel build` links one in");
    }
    vm_init();
    signal_init();

    struct thread *thread;
    int error = thread_create(&thread, image_info.name, program_main, NULL);
    if (error == 0) {
        error = signal_thread_init(thread, NULL);
    }
    if (error != 0) {
        options_fail("not enough memory to start the program");
    }
    thread_register(thread);
    sched_start_cpus();
    thread_start(thread);
    sched_become_idle();
}
