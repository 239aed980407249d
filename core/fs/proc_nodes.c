/* SPDX-License-Identifier: MIT */
/* The trees of /proc and /sys and what makes their texts. Owns nothing but a few settings; the
 * texts are made under procfs.c's show_lock. */
#include <linux/errno.h>
#include <linux/resource.h>

#include "core/block/block.h"
#include "core/fs/fs.h"
#include "core/fs/fs_internal.h"
#include "core/fs/inode.h"
#include "core/fs/notify.h"
#include "core/fs/procfs.h"
#include "core/lib/random.h"
#include "core/mm/page.h"
#include "core/mm/vm.h"
#include "core/net/net.h"
#include "core/signal/signal.h"
#include "core/syscall/process.h"
#include "core/time/clock.h"
#include "goruntime/image_info.h"

#define TICKS_NS 10000000ull /* a tick of /proc: 1/100 s (USER_HZ) */

extern const struct image_info image_info;

typedef unsigned long long ull;

/* --- threads
 * --------------------------------------------------------------------------------------------------------
 */

struct thread_view {
    int32_t tid;
    char name[16];
    uint64_t run_ns;
    uint32_t cpu;
    char state;
    struct credentials credentials;
};

static int view_thread(struct thread *thread, void *context)
{
    struct thread_view *out = context;
    uint32_t state = __atomic_load_n(&thread->state, __ATOMIC_RELAXED);
    out->tid = thread->tid;
    memcpy(out->name, thread->name, sizeof(out->name));
    out->name[sizeof(out->name) - 1] = '\0';
    out->run_ns = thread->run_ns;
    out->cpu = thread->cpu;
    out->state = state == THREAD_RUNNABLE ? 'R' : 'S';
    out->credentials = thread->credentials;
    return 0;
}

static bool next_thread_visit(struct thread *thread, void *context)
{
    long *range = context; /* from, the lowest found */
    if (thread->tid >= range[0] && thread->tid < range[1]) {
        range[1] = thread->tid;
    }
    return true;
}

static bool next_thread(long *next)
{
    long range[2] = {*next, INT32_MAX};
    thread_for_each(next_thread_visit, range);
    *next = range[1];
    return range[1] != INT32_MAX;
}

static bool next_fd(long *next)
{
    *next = *next > INT32_MAX ? -1 : fd_next((int)*next);
    return *next >= 0;
}

static int visit_nothing(struct thread *thread, void *context)
{
    (void)thread;
    (void)context;
    return 0;
}

static bool has_thread(long tid)
{
    return thread_with((int32_t)tid, visit_nothing, NULL) == 0;
}

static int follow_fd(long fd, struct file **out)
{
    return fd_lookup_any((int)fd, out) != 0 ? -ENOENT : 0;
}

static bool has_fd(long fd)
{
    struct file *file;
    if (follow_fd(fd, &file) != 0) {
        return false;
    }
    file_put(file);
    return true;
}

/* argument 0: the process. */
static void view_of(long tid, struct thread_view *out)
{
    memset(out, 0, sizeof(*out));
    (void)thread_with(tid == 0 ? PROCESS_ID : (int32_t)tid, view_thread, out);
    if (tid == 0) {
        out->tid = PROCESS_ID;
        out->state = 'R';
        (void)clock_get(2 /* CLOCK_PROCESS_CPUTIME_ID */, &out->run_ns);
    }
}

static void show_comm(struct text *text, long tid)
{
    struct thread_view thread;
    view_of(tid, &thread);
    text_put(text, "%s\n", thread.name);
}

static void show_stat_of(struct text *text, long tid)
{
    struct thread_view thread;
    struct vm_usage usage;
    view_of(tid, &thread);
    vm_usage(&usage);
    /* proc(5), /proc/pid/stat: the 52 fields in order. All time counts as the program's, none as
     * the system's. */
    text_put(text,
             "%d (%s) %c 0 1 1 0 -1 4194304 0 0 0 0 %llu 0 0 0 20 0 %u 0 0 %llu %llu "
             "18446744073709551615 ",
             thread.tid, thread.name, thread.state, (ull)(thread.run_ns / TICKS_NS), thread_count(),
             (ull)usage.mapped, (ull)(usage.resident / PAGE_SIZE));
    text_put(text, "%llu %llu 0 0 0 0 0 0 0 0 0 0 17 %u 0 0 0 0 0 0 0 0 0 0 0 0 0\n",
             (ull)image_info.segments[0].address,
             (ull)image_info.segments[0].address + image_info.segments[0].size, thread.cpu);
}

static unsigned fd_count(void)
{
    unsigned count = 0;
    for (int fd = fd_next(0); fd >= 0; fd = fd_next(fd + 1)) {
        count++;
    }
    return count;
}

static void show_ids(struct text *text, const char *name, const struct id_set *ids)
{
    text_put(text, "%s:\t%u\t%u\t%u\t%u\n", name, ids->real, ids->effective, ids->saved, ids->fs);
}

static void show_status(struct text *text, long tid)
{
    struct thread_view thread;
    struct vm_usage usage;
    uint64_t cpus = sched_online_cpus();
    view_of(tid, &thread);
    vm_usage(&usage);
    text_put(text,
             "Name:\t%s\nUmask:\t%04o\nState:\t%c "
             "(%s)\nTgid:\t%d\nNgid:\t0\nPid:\t%d\nPPid:\t0\nTracerPid:\t0\n",
             thread.name, fs_umask(), thread.state, thread.state == 'R' ? "running" : "sleeping",
             PROCESS_ID, thread.tid);
    show_ids(text, "Uid", &thread.credentials.uid);
    show_ids(text, "Gid", &thread.credentials.gid);
    text_put(text, "FDSize:\t%u\nGroups:\t", (fd_count() + 63) & ~63u);
    for (uint32_t i = 0; i < thread.credentials.group_count; i++) {
        text_put(text, "%u ", thread.credentials.groups[i]);
    }
    text_put(text, "\n");
    text_put(
        text,
        "VmPeak:\t%8llu kB\nVmSize:\t%8llu kB\nVmHWM:\t%8llu kB\nVmRSS:\t%8llu kB\nVmData:\t%8llu "
        "kB\nVmExe:\t%8llu kB\nVmSwap:\t       0 kB\n",
        (ull)usage.mapped >> 10, (ull)usage.mapped >> 10, (ull)usage.peak >> 10,
        (ull)usage.resident >> 10, (ull)usage.data >> 10, (ull)usage.text >> 10);
    text_put(text, "Threads:\t%u\nCpus_allowed:\t%llx\nMems_allowed:\t1\nMems_allowed_list:\t0\n",
             thread_count(), (ull)cpus);
}

static void show_statm(struct text *text, long argument)
{
    struct vm_usage usage;
    (void)argument;
    vm_usage(&usage);
    text_put(text, "%llu %llu 0 %llu 0 %llu 0\n", (ull)(usage.mapped / PAGE_SIZE),
             (ull)(usage.resident / PAGE_SIZE), (ull)(usage.text / PAGE_SIZE),
             (ull)(usage.data / PAGE_SIZE));
}

/* --- the process
 * ----------------------------------------------------------------------------------------------------
 */

static bool put_area(const struct vm_area_info *area, void *context)
{
    struct text *text = context;
    const char *name = area->program ? process_view.program : area->name;
    size_t before = text->used;
    text_put(text, "%08llx-%08llx %c%c%c%c %08llx %s %llu ", (ull)area->start, (ull)area->end,
             (area->prot & PROT_R) != 0 ? 'r' : '-', (area->prot & PROT_W) != 0 ? 'w' : '-',
             (area->prot & PROT_X) != 0 ? 'x' : '-', area->shared ? 's' : 'p', (ull)area->offset,
             area->inode != 0 ? "00:15" : "00:00", (ull)area->inode);
    if (name[0] != '\0') {
        text_put(text, "%*s%s", (int)MAX(73 - (long)(text->used - before), 0l), "", name);
    }
    text_put_bytes(text, "\n", 1);
    return !text->failed;
}

static void show_maps(struct text *text, long argument)
{
    (void)argument;
    vm_for_each(put_area, text);
}

static void show_command_line(struct text *text, long argument)
{
    (void)argument;
    text_put_bytes(text, process_view.arguments, process_view.arguments_size);
}

static void show_environment(struct text *text, long argument)
{
    (void)argument;
    text_put_bytes(text, process_view.environment, process_view.environment_size);
}

static void show_auxv(struct text *text, long argument)
{
    (void)argument;
    text_put_bytes(text, process_view.auxv, process_view.auxv_size);
}

static void put_limit(struct text *text, uint64_t value)
{
    char number[24] = "unlimited";
    if (value != UINT64_MAX) {
        format(number, sizeof(number), "%llu", (ull)value);
    }
    text_put(text, " %-20s", number);
}

static void show_limits(struct text *text, long argument)
{
    static const struct {
        const char *name, *unit;
    } rows[] = {
        [RLIMIT_CPU] = {"Max cpu time", "seconds"},
        [RLIMIT_FSIZE] = {"Max file size", "bytes"},
        [RLIMIT_DATA] = {"Max data size", "bytes"},
        [RLIMIT_STACK] = {"Max stack size", "bytes"},
        [RLIMIT_CORE] = {"Max core file size", "bytes"},
        [RLIMIT_RSS] = {"Max resident set", "bytes"},
        [RLIMIT_NPROC] = {"Max processes", "processes"},
        [RLIMIT_NOFILE] = {"Max open files", "files"},
        [RLIMIT_MEMLOCK] = {"Max locked memory", "bytes"},
        [RLIMIT_AS] = {"Max address space", "bytes"},
        [RLIMIT_LOCKS] = {"Max file locks", "locks"},
        [RLIMIT_SIGPENDING] = {"Max pending signals", "signals"},
        [RLIMIT_MSGQUEUE] = {"Max msgqueue size", "bytes"},
        [RLIMIT_NICE] = {"Max nice priority", ""},
        [RLIMIT_RTPRIO] = {"Max realtime priority", ""},
        [RLIMIT_RTTIME] = {"Max realtime timeout", "us"},
    };
    (void)argument;
    text_put(text, "%-25s %-20s %-20s %-10s\n", "Limit", "Soft Limit", "Hard Limit", "Units");
    for (unsigned i = 0; i < COUNT(rows); i++) {
        uint64_t soft, hard;
        process_limit(i, &soft, &hard);
        text_put(text, "%-25s", rows[i].name);
        put_limit(text, soft);
        put_limit(text, hard);
        text_put(text, " %-10s\n", rows[i].unit);
    }
}

static int oom_score_adjust;

static void show_oom_score_adjust(struct text *text, long argument)
{
    (void)argument;
    text_put(text, "%d\n", oom_score_adjust);
}

static int store_oom_score_adjust(const char *bytes, size_t length)
{
    bool negative = length != 0 && bytes[0] == '-';
    int value = 0;
    size_t i = negative;
    for (; i < length && bytes[i] >= '0' && bytes[i] <= '9' && value <= 1000; i++) {
        value = value * 10 + bytes[i] - '0';
    }
    if (i == negative || value > 1000 || (i < length && bytes[i] != '\n')) {
        return -EINVAL;
    }
    oom_score_adjust = negative ? -value : value;
    return 0;
}

static void show_mounts(struct text *text, long argument)
{
    char path[256];
    (void)argument;
    for (struct filesystem *fs = filesystems; fs != NULL; fs = fs->next) {
        char *at = fs->covered == NULL ? "/" : dentry_path(fs->covered, path, sizeof(path), NULL);
        text_put(text, "%s %s %s %s 0 0\n", fs->source, at == NULL ? "?" : at, fs->type,
                 fs->options);
    }
}

static void show_mount_info(struct text *text, long argument)
{
    char path[256];
    (void)argument;
    for (struct filesystem *fs = filesystems; fs != NULL; fs = fs->next) {
        char *at = fs->covered == NULL ? "/" : dentry_path(fs->covered, path, sizeof(path), NULL);
        text_put(text, "%llu %llu 0:%llu / %s %s - %s %s %s\n", (ull)fs->device,
                 (ull)(fs->covered == NULL ? 0 : fs->covered->inode->filesystem->device),
                 (ull)fs->device, at == NULL ? "?" : at, fs->options, fs->type, fs->source,
                 fs->options);
    }
}

static long link_dentry(char *to, size_t size, struct dentry *dentry)
{
    char *buffer = kmalloc(PATH_MAX);
    bool deleted;
    char *path = buffer == NULL ? NULL : dentry_path(dentry, buffer, PATH_MAX, &deleted);
    long length = buffer == NULL ? -ENOMEM
                  : path == NULL ? -ENAMETOOLONG
                                 : proc_link_text(to, size, path);
    if (length > 0 && deleted && (size_t)length < size) {
        length += proc_link_text(to + length, size - (size_t)length, " (deleted)");
    }
    kfree(buffer);
    return length;
}

static long link_cwd(char *to, size_t size, long argument)
{
    struct dentry *cwd = cwd_get();
    (void)argument;
    long length = link_dentry(to, size, cwd);
    dentry_put(cwd);
    return length;
}

static long link_root(char *to, size_t size, long argument)
{
    (void)argument;
    return proc_link_text(to, size, "/");
}

static long link_thread_self(char *to, size_t size, long argument)
{
    char path[32];
    (void)argument;
    format(path, sizeof(path), "1/task/%d", current_thread()->tid);
    return proc_link_text(to, size, path);
}

static long link_mounts(char *to, size_t size, long argument)
{
    (void)argument;
    return proc_link_text(to, size, "self/mounts");
}

static long link_net(char *to, size_t size, long argument)
{
    (void)argument;
    return proc_link_text(to, size, "self/net");
}

static long link_fd(char *to, size_t size, long fd)
{
    struct file *file;
    struct stat stat;
    char name[48];
    int result = fd_lookup_any((int)fd, &file);
    if (result != 0) {
        return -ENOENT;
    }
    long length;
    if (file->dentry != NULL) {
        length = link_dentry(to, size, file->dentry);
    } else if (file->operations->stat != NULL && file->operations->stat(file, &stat) == 0) {
        const char *kind = S_ISFIFO(stat.st_mode)   ? "pipe"
                           : S_ISSOCK(stat.st_mode) ? "socket"
                                                    : NULL;
        format(name, sizeof(name), "%s:[%llu]", kind == NULL ? "" : kind, (ull)stat.st_ino);
        length = proc_link_text(to, size, kind == NULL ? "/dev/console" : name);
    } else {
        length = proc_link_text(to, size, "anon_inode:[event]");
    }
    file_put(file);
    return length;
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

/* --- the system
 * -----------------------------------------------------------------------------------------------------
 */

static void show_cpuinfo(struct text *text, long argument)
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

static void show_meminfo(struct text *text, long argument)
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

static void show_stat(struct text *text, long argument)
{
    uint64_t now = hal_clock_monotonic(), idle = 0;
    unsigned cpus = hal_cpu_count();
    (void)argument;
    for (int pass = 0; pass < 2; pass++) {
        for (unsigned cpu = 0; cpu < cpus; cpu++) {
            uint64_t its_idle = MIN(cpu_by_id(cpu)->idle_ns, now);
            if (pass == 0) {
                idle += its_idle;
            } else {
                text_put(text, "cpu%u %llu 0 0 %llu 0 0 0 0 0 0\n", cpu,
                         (ull)((now - its_idle) / TICKS_NS), (ull)(its_idle / TICKS_NS));
            }
        }
        if (pass == 0) {
            text_put(text, "cpu  %llu 0 0 %llu 0 0 0 0 0 0\n",
                     (ull)((now * cpus - idle) / TICKS_NS), (ull)(idle / TICKS_NS));
        }
    }
    text_put(text, "btime %llu\nprocesses 1\nprocs_running 1\nprocs_blocked 0\n",
             (ull)(hal_clock_wall_offset() / NS_PER_SECOND));
}

static void show_uptime(struct text *text, long argument)
{
    uint64_t now = hal_clock_monotonic() / TICKS_NS, idle = 0;
    (void)argument;
    for (unsigned cpu = 0; cpu < hal_cpu_count(); cpu++) {
        idle += cpu_by_id(cpu)->idle_ns / TICKS_NS;
    }
    text_put(text, "%llu.%02llu %llu.%02llu\n", (ull)(now / 100), (ull)(now % 100),
             (ull)(idle / 100), (ull)(idle % 100));
}

/* No average is kept: all three numbers are what runs or waits for a CPU now. */
static void show_loadavg(struct text *text, long argument)
{
    unsigned running = 1;
    (void)argument;
    for (unsigned cpu = 0; cpu < hal_cpu_count(); cpu++) {
        running += cpu_by_id(cpu)->run_count;
    }
    text_put(text, "%u.00 %u.00 %u.00 %u/%u %d\n", running, running, running, running,
             thread_count(), PROCESS_ID);
}

static void show_version(struct text *text, long argument)
{
    (void)argument;
    text_put(text, SYSTEM_NAME " version " SYSTEM_RELEASE " (unigornel) " SYSTEM_VERSION "\n");
}

static void show_file_systems(struct text *text, long argument)
{
    (void)argument;
    text_put(text,
             "nodev\tsysfs\nnodev\ttmpfs\nnodev\tproc\nnodev\tdevtmpfs\nnodev\toverlay\n\terofs\n");
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

static void show_thp_enabled(struct text *text, long argument)
{
    (void)argument;
    text_put(text, "[always] madvise never\n");
}

static void show_cpu_range(struct text *text, long argument)
{
    unsigned last = hal_cpu_count() - 1;
    (void)argument;
    text_put(text, last == 0 ? "0\n" : "0-%u\n", last);
}

/* --- the trees
 * ------------------------------------------------------------------------------------------------------
 */

static const struct proc_node fd_node = {
    .name = "", .mode = S_IFLNK | 0700, .link = link_fd, .follow = follow_fd};

static const struct proc_node task_files[] = {
    PROC_FILE("comm", show_comm),
    PROC_FILE("stat", show_stat_of),
    PROC_FILE("status", show_status),
};
static const struct proc_node task_node = PROC_DIRECTORY("", task_files);

static const struct proc_node process_files[] = {
    PROC_LINK("exe", proc_link_exe),
    PROC_LINK("cwd", link_cwd),
    PROC_LINK("root", link_root),
    PROC_FILE("maps", show_maps),
    PROC_FILE("stat", show_stat_of),
    PROC_FILE("status", show_status),
    PROC_FILE("statm", show_statm),
    PROC_FILE("cmdline", show_command_line),
    PROC_FILE("environ", show_environment),
    PROC_FILE("auxv", show_auxv),
    PROC_FILE("comm", show_comm),
    PROC_FILE("limits", show_limits),
    PROC_FILE("cgroup", proc_show_cgroup),
    PROC_FILE("mounts", show_mounts),
    PROC_FILE("mountinfo", show_mount_info),
    {.name = "oom_score_adj",
     .mode = S_IFREG | 0644,
     .show = show_oom_score_adjust,
     .store = store_oom_score_adjust},
    {.name = "fd", .mode = S_IFDIR | 0500, .list = next_fd, .has = has_fd, .entry = &fd_node},
    {.name = "net", .mode = S_IFDIR | 0555, .alias = &net_proc_directory},
    {.name = "task",
     .mode = S_IFDIR | 0555,
     .list = next_thread,
     .has = has_thread,
     .entry = &task_node},
};

static const struct proc_node random_files[] = {PROC_FILE("uuid", show_uuid),
                                                PROC_FILE("boot_id", show_boot_id)};
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
static const struct proc_node sys_fs_files[] = {PROC_DIRECTORY("inotify", inotify_files),
                                                PROC_FILE("file-max", show_file_max),
                                                PROC_FILE("nr_open", show_file_max)};
static const struct proc_node sys_files[] = {
    PROC_DIRECTORY("kernel", kernel_files),
    PROC_DIRECTORY("vm", vm_files),
    PROC_DIRECTORY("net", sys_net_files),
    PROC_DIRECTORY("fs", sys_fs_files),
};

static const struct proc_node proc_files[] = {
    PROC_LINK("self", proc_link_self),  PROC_LINK("thread-self", link_thread_self),
    PROC_LINK("mounts", link_mounts),   PROC_LINK("net", link_net),
    PROC_DIRECTORY("1", process_files), PROC_FILE("cpuinfo", show_cpuinfo),
    PROC_FILE("meminfo", show_meminfo), PROC_FILE("stat", show_stat),
    PROC_FILE("uptime", show_uptime),   PROC_FILE("loadavg", show_loadavg),
    PROC_FILE("version", show_version), PROC_FILE("filesystems", show_file_systems),
    PROC_DIRECTORY("sys", sys_files),
};
const struct proc_node proc_root = PROC_DIRECTORY("", proc_files);

static const struct proc_node huge_files[] = {
    PROC_FILE("enabled", show_thp_enabled), PROC_FILE("hpage_pmd_size", proc_show_huge_page_size)};
static const struct proc_node mm_files[] = {PROC_DIRECTORY("transparent_hugepage", huge_files)};
static const struct proc_node sysfs_kernel_files[] = {PROC_DIRECTORY("mm", mm_files)};
static const struct proc_node cpu_files[] = {
    PROC_FILE("online", show_cpu_range),
    PROC_FILE("possible", show_cpu_range),
    PROC_FILE("present", show_cpu_range),
};
static const struct proc_node system_files[] = {PROC_DIRECTORY("cpu", cpu_files)};
static const struct proc_node devices_files[] = {PROC_DIRECTORY("system", system_files)};
static const struct proc_node sysfs_files[] = {PROC_DIRECTORY("kernel", sysfs_kernel_files),
                                               PROC_DIRECTORY("devices", devices_files)};
const struct proc_node sysfs_root = PROC_DIRECTORY("", sysfs_files);
