/* SPDX-License-Identifier: MIT */
/* The files of /proc that are about the machine: CPUs, memory, load, disks, and what /proc/sys says
 * and lets be set. Owns a few settings; the texts are made under procfs.c's show_lock. */
#include "core/block/block.h"
#include "core/fs/fs.h"
#include "core/fs/fs_internal.h"
#include "core/fs/inode.h"
#include "core/fs/notify.h"
#include "core/fs/proc_nodes.h"
#include "core/lib/random.h"
#include "core/mm/page.h"
#include "core/mm/vm.h"
#include "core/sched/load.h"
#include "core/syscall/process.h"
#include "core/time/clock.h"

#define NS_PER_MS 1000000u

typedef unsigned long long ull;

void proc_show_cpuinfo(struct text *text, long argument)
{
    char name[64];
    uint64_t hz;
    (void)argument;
    hal_cpu_describe(name, &hz);
    for (unsigned cpu = 0; cpu < hal_cpu_count(); cpu++) {
        text_put(text,
                 "processor\t: %u\nmodel name\t: %s\ncpu MHz\t\t: %llu.%03llu\ncpu cores\t: "
                 "1\nsiblings\t: 1\ncore id\t\t: %u\nphysical id\t: %u\n\n",
                 cpu, name, (ull)(hz / 1000000), (ull)(hz / 1000 % 1000), cpu, cpu);
    }
}

void proc_show_meminfo(struct text *text, long argument)
{
    struct vm_usage usage;
    ull total = page_total() * (PAGE_SIZE >> 10), unused = page_free_count() * (PAGE_SIZE >> 10);
    ull cached = cache_pages() * (PAGE_SIZE >> 10);
    (void)argument;
    vm_usage(&usage);
    text_put(
        text,
        "MemTotal:       %8llu kB\nMemFree:        %8llu kB\nMemAvailable:   %8llu kB\nBuffers:    "
        "           0 kB\n",
        total, unused, unused + cached);
    text_put(text,
             "Cached:         %8llu kB\nSwapCached:            0 kB\nActive:         %8llu "
             "kB\nInactive:       %8llu kB\n",
             cached, total - unused - cached, cached);
    text_put(
        text,
        "SwapTotal:             0 kB\nSwapFree:              0 kB\nAnonPages:      %8llu "
        "kB\nHugePages_Total:       0\nHugePages_Free:        0\nHugepagesize:       2048 kB\n",
        (ull)usage.resident >> 10);
}

/* The time of one CPU or of all. What others took from the machine is not the program's. */
static void put_cpu_time(struct text *text, const char *name, uint64_t now, uint64_t idle,
                         uint64_t stolen)
{
    uint64_t busy = now - MIN(idle, now);
    text_put(text, "%s %llu 0 0 %llu 0 0 0 %llu 0 0\n", name,
             (ull)((busy - MIN(stolen, busy)) / TICKS_NS), (ull)(idle / TICKS_NS),
             (ull)(stolen / TICKS_NS));
}

static uint64_t stolen_from(const struct cpu *cpu)
{
    return __atomic_load_n(&cpu->stolen_ns, __ATOMIC_RELAXED) + cpu_stolen_lately(cpu);
}

void proc_show_stat(struct text *text, long argument)
{
    uint64_t now = hal_clock_monotonic(), idle = 0, stolen = 0, switches = 0, interrupts = 0;
    unsigned cpus = hal_cpu_count();
    (void)argument;
    for (unsigned id = 0; id < cpus; id++) {
        const struct cpu *cpu = cpu_by_id(id);
        idle += cpu_idle_time(id, now);
        stolen += stolen_from(cpu);
        switches += cpu->counts.switches;
        interrupts += cpu->counts.interrupts;
    }
    put_cpu_time(text, "cpu ", now * cpus, idle, stolen);
    for (unsigned id = 0; id < cpus; id++) {
        char name[16];
        format(name, sizeof(name), "cpu%u", id);
        put_cpu_time(text, name, now, cpu_idle_time(id, now), stolen_from(cpu_by_id(id)));
    }
    text_put(text, "intr %llu\nctxt %llu\nbtime %llu\nprocesses %u\n", (ull)interrupts,
             (ull)switches, (ull)(hal_clock_wall_offset() / NS_PER_SECOND), threads_started());
    text_put(text, "procs_running %u\nprocs_blocked 0\n", cpu_active_threads());
}

void proc_show_uptime(struct text *text, long argument)
{
    uint64_t now = hal_clock_monotonic(), idle = 0;
    (void)argument;
    for (unsigned id = 0; id < hal_cpu_count(); id++) {
        idle += cpu_idle_time(id, now) / TICKS_NS;
    }
    now /= TICKS_NS;
    text_put(text, "%llu.%02llu %llu.%02llu\n", (ull)(now / 100), (ull)(now % 100),
             (ull)(idle / 100), (ull)(idle % 100));
}

void proc_show_loadavg(struct text *text, long argument)
{
    uint64_t averages[3];
    (void)argument;
    load_averages(averages);
    for (unsigned i = 0; i < 3; i++) {
        uint64_t hundredths = (averages[i] * 100 + LOAD_ONE / 2) / LOAD_ONE;
        text_put(text, "%llu.%02llu ", (ull)(hundredths / 100), (ull)(hundredths % 100));
    }
    text_put(text, "%u/%u %d\n", cpu_active_threads(), thread_count(), PROCESS_ID);
}

uint64_t proc_faults(uint64_t *major)
{
    uint64_t faults = *major = 0;
    for (unsigned id = 0; id < hal_cpu_count(); id++) {
        faults += cpu_by_id(id)->counts.faults;
        *major += cpu_by_id(id)->counts.major_faults;
    }
    return faults;
}

void proc_show_vmstat(struct text *text, long argument)
{
    struct vm_usage usage;
    uint64_t major_faults, faults = proc_faults(&major_faults), sectors[2] = {0};
    (void)argument;
    vm_usage(&usage);
    for (struct block_device *device = block_devices; device != NULL; device = device->next) {
        struct block_stats stats;
        block_stats(device, &stats);
        sectors[0] += stats.of[BLOCK_READ].sectors;
        sectors[1] += stats.of[BLOCK_WRITE].sectors;
    }
    /* Of what Linux has, what there is here: pages, KiB (pgpgin, pgpgout), and events. */
    text_put(text, "nr_free_pages %llu\nnr_file_pages %llu\nnr_anon_pages %llu\n",
             (ull)page_free_count(), (ull)cache_pages(), (ull)(usage.resident / PAGE_SIZE));
    text_put(text, "pgpgin %llu\npgpgout %llu\npswpin 0\npswpout 0\n", (ull)(sectors[0] / 2),
             (ull)(sectors[1] / 2));
    text_put(text, "pgfault %llu\npgmajfault %llu\noom_kill 0\n", (ull)faults, (ull)major_faults);
}

void proc_put_disk_counts(struct text *text, const struct block_device *device)
{
    static const enum block_operation order[] = {BLOCK_READ, BLOCK_WRITE, BLOCK_DISCARD};
    struct block_stats stats;
    uint64_t waited = 0; /* by all requests together */
    block_stats(device, &stats);
    for (unsigned i = 0; i < COUNT(stats.of); i++) {
        waited += stats.of[i].ns;
    }
    /* Requests ended, merged, sectors, ms. */
    for (unsigned i = 0; i < COUNT(order); i++) {
        if (order[i] == BLOCK_DISCARD) {
            text_put(text, "%llu %llu %llu ", (ull)stats.in_flight, (ull)stats.busy_ms,
                     (ull)(waited / NS_PER_MS));
        }
        text_put(text, "%llu 0 %llu %llu ", (ull)stats.of[order[i]].requests,
                 (ull)stats.of[order[i]].sectors, (ull)(stats.of[order[i]].ns / NS_PER_MS));
    }
    text_put(text, "%llu %llu\n", (ull)stats.of[BLOCK_FLUSH].requests,
             (ull)(stats.of[BLOCK_FLUSH].ns / NS_PER_MS));
}

void proc_show_disk_counts(struct text *text, long argument)
{
    (void)argument;
    for (struct block_device *device = block_devices; device != NULL; device = device->next) {
        if (block_size(device) != 0) {
            text_put(text, "%4u %7u %s ", proc_device_major(device->number),
                     proc_device_minor(device->number), device->hardware->name);
            proc_put_disk_counts(text, device);
        }
    }
}

void proc_show_version(struct text *text, long argument)
{
    (void)argument;
    text_put(text, SYSTEM_NAME " version " SYSTEM_RELEASE " (unigornel) " SYSTEM_VERSION "\n");
}

void proc_show_file_systems(struct text *text, long argument)
{
    (void)argument;
    text_put(text, "nodev\tsysfs\nnodev\ttmpfs\nnodev\tproc\nnodev\tdevtmpfs\nnodev\toverlay\nnodev"
                   "\t9p\n\terofs\n");
}

static void show_host_name(struct text *text, long argument)
{
    (void)argument;
    text_put(text, "%s\n", fs_host_name());
}

static int store_host_name(const char *bytes, size_t length)
{
    const char *end = memchr(bytes, '\n', length);
    fs_set_host_name(bytes, end == NULL ? length : (size_t)(end - bytes));
    return 0;
}

static void show_os_release(struct text *text, long argument)
{
    (void)argument;
    text_put(text, SYSTEM_RELEASE "\n");
}

static void show_os_type(struct text *text, long argument)
{
    (void)argument;
    text_put(text, SYSTEM_NAME "\n");
}

static void show_pid_max(struct text *text, long argument)
{
    (void)argument;
    text_put(text, "4194304\n");
}

/* In use, free (always 0, as on Linux), and the most that there may be. */
static void show_file_count(struct text *text, long argument)
{
    (void)argument;
    text_put(text, "%u\t0\t%d\n", file_count, FD_MAX);
}

/* The generator's key has as many bits as Linux's pool (ChaCha20), and is full from boot on. */
static void show_entropy(struct text *text, long argument)
{
    (void)argument;
    text_put(text, "256\n");
}

static void show_file_max(struct text *text, long argument)
{
    (void)argument;
    text_put(text, "%d\n", FD_MAX);
}

static void put_uuid(struct text *text, uint8_t uuid[16])
{
    uuid[6] = (uuid[6] & 0x0f) | 0x40; /* RFC 4122, 4.4 */
    uuid[8] = (uuid[8] & 0x3f) | 0x80;
    for (int i = 0; i < 16; i++) {
        text_put(text, i == 4 || i == 6 || i == 8 || i == 10 ? "-%02x" : "%02x", uuid[i]);
    }
    text_put_bytes(text, "\n", 1);
}

static void show_uuid(struct text *text, long argument)
{
    uint8_t uuid[16];
    (void)argument;
    random_bytes(uuid, sizeof(uuid));
    put_uuid(text, uuid);
}

static void show_boot_id(struct text *text, long argument)
{
    static uint8_t boot_id[16];
    (void)argument;
    if (boot_id[8] == 0) {
        random_bytes(boot_id, sizeof(boot_id));
    }
    put_uuid(text, boot_id);
}

static void show_one(struct text *text, long argument)
{
    (void)argument;
    text_put(text, "1\n");
}

static void show_somaxconn(struct text *text, long argument)
{
    (void)argument;
    text_put(text, "4096\n");
}

static void show_inotify_events(struct text *text, long argument)
{
    (void)argument;
    text_put(text, "%u\n", INOTIFY_EVENTS_MAX);
}

static void show_inotify_groups(struct text *text, long argument)
{
    (void)argument;
    text_put(text, "%u\n", INOTIFY_GROUPS_MAX);
}

static void show_inotify_watches(struct text *text, long argument)
{
    (void)argument;
    text_put(text, "%u\n", INOTIFY_WATCHES_MAX);
}

void proc_show_cpus(struct text *text, long argument)
{
    unsigned last = hal_cpu_count() - 1;
    (void)argument;
    text_put(text, last == 0 ? "0\n" : "0-%u\n", last);
}

/* --- the trees -------------------------------------------------------------------------------- */

static const struct proc_node random_files[] = {
    PROC_FILE("uuid", show_uuid),
    PROC_FILE("boot_id", show_boot_id),
    PROC_FILE("entropy_avail", show_entropy),
    PROC_FILE("poolsize", show_entropy),
};
static const struct proc_node kernel_files[] = {
    {.name = "hostname", .mode = S_IFREG | 0644, .show = show_host_name, .store = store_host_name},
    PROC_FILE("osrelease", show_os_release),
    PROC_FILE("ostype", show_os_type),
    PROC_FILE("pid_max", show_pid_max),
    PROC_DIRECTORY("random", random_files),
};
static const struct proc_node vm_files[] = {PROC_FILE("overcommit_memory", show_one)};
static const struct proc_node net_core_files[] = {PROC_FILE("somaxconn", show_somaxconn)};
static const struct proc_node sys_net_files[] = {PROC_DIRECTORY("core", net_core_files)};
static const struct proc_node inotify_files[] = {
    PROC_FILE("max_queued_events", show_inotify_events),
    PROC_FILE("max_user_instances", show_inotify_groups),
    PROC_FILE("max_user_watches", show_inotify_watches)};
static const struct proc_node sys_fs_files[] = {
    PROC_DIRECTORY("inotify", inotify_files), PROC_FILE("file-nr", show_file_count),
    PROC_FILE("file-max", show_file_max), PROC_FILE("nr_open", show_file_max)};
static const struct proc_node sys_files[] = {
    PROC_DIRECTORY("kernel", kernel_files),
    PROC_DIRECTORY("vm", vm_files),
    PROC_DIRECTORY("net", sys_net_files),
    PROC_DIRECTORY("fs", sys_fs_files),
};
const struct proc_node proc_sys_directory = PROC_DIRECTORY("sys", sys_files);
