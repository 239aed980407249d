/* SPDX-License-Identifier: MIT */
/* The tree of /proc, and the files that are about the process. Owns nothing but a setting; the
 * texts are made under procfs.c's show_lock. */
#include <linux/errno.h>
#include <linux/resource.h>

#include "core/fs/fs.h"
#include "core/fs/fs_internal.h"
#include "core/fs/inode.h"
#include "core/fs/proc_nodes.h"
#include "core/mm/page.h"
#include "core/mm/vm.h"
#include "core/net/net.h"
#include "core/signal/signal.h"
#include "core/syscall/process.h"
#include "core/time/clock.h"
#include "goruntime/image_info.h"

extern const struct image_info image_info;

typedef unsigned long long ull;

/* --- threads
 * --------------------------------------------------------------------------------------------------------
 */

struct thread_view {
    int32_t tid;
    char name[16];
    uint64_t run_ns;
    uint64_t created_ns;
    uint64_t switches[2];
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
    out->created_ns = thread->created_ns;
    memcpy(out->switches, thread->switches, sizeof(out->switches));
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

static bool next_thread(long *number, char name[PROC_NAME_MAX])
{
    long range[2] = {*number, INT32_MAX};
    thread_for_each(next_thread_visit, range);
    *number = range[1];
    format(name, PROC_NAME_MAX, "%ld", range[1]);
    return range[1] != INT32_MAX;
}

static bool next_fd(long *number, char name[PROC_NAME_MAX])
{
    *number = *number > INT32_MAX ? -1 : fd_next((int)*number);
    format(name, PROC_NAME_MAX, "%ld", *number);
    return *number >= 0;
}

/* A decimal number as it is written here. */
static bool parse_number(const char *name, size_t length, long *number)
{
    *number = 0;
    for (size_t i = 0; i < length; i++) {
        if (name[i] < '0' || name[i] > '9' || *number > INT32_MAX / 10 ||
            (i == 0 && name[0] == '0' && length > 1)) {
            return false;
        }
        *number = *number * 10 + name[i] - '0';
    }
    return true;
}

static int visit_nothing(struct thread *thread, void *context)
{
    (void)thread;
    (void)context;
    return 0;
}

static bool find_thread(const struct proc_names *names, const char *name, size_t length,
                        long *number)
{
    (void)names;
    return parse_number(name, length, number) &&
           thread_with((int32_t)*number, visit_nothing, NULL) == 0;
}

static int follow_fd(long fd, struct file **out)
{
    return fd_lookup_any((int)fd, out) != 0 ? -ENOENT : 0;
}

static bool find_fd(const struct proc_names *names, const char *name, size_t length, long *number)
{
    struct file *file;
    (void)names;
    if (!parse_number(name, length, number) || follow_fd(*number, &file) != 0) {
        return false;
    }
    file_put(file);
    return true;
}

bool proc_find(const struct proc_names *names, const char *name, size_t length, long *number)
{
    char its_name[PROC_NAME_MAX];
    for (*number = 0; names->next(number, its_name); ++*number) {
        if (strlen(its_name) == length && memcmp(its_name, name, length) == 0) {
            return true;
        }
    }
    return false;
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
    uint64_t major_faults, faults = proc_faults(&major_faults); /* there is no other process */
    view_of(tid, &thread);
    vm_usage(&usage);
    /* proc(5), /proc/pid/stat: the 52 fields in order. All time counts as the program's, none as
     * the system's. */
    text_put(text,
             "%d (%s) %c 0 1 1 0 -1 4194304 %llu 0 %llu 0 %llu 0 0 0 20 0 %u 0 %llu %llu %llu "
             "18446744073709551615 ",
             thread.tid, thread.name, thread.state, (ull)(faults - major_faults), (ull)major_faults,
             (ull)(thread.run_ns / TICKS_NS), thread_count(), (ull)(thread.created_ns / TICKS_NS),
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
        (ull)usage.mapped_peak >> 10, (ull)usage.mapped >> 10, (ull)usage.peak >> 10,
        (ull)usage.resident >> 10, (ull)usage.data >> 10, (ull)usage.text >> 10);
    text_put(text, "Threads:\t%u\nCpus_allowed:\t%llx\nMems_allowed:\t1\nMems_allowed_list:\t0\n",
             thread_count(), (ull)cpus);
    text_put(text, "Cpus_allowed_list:\t");
    proc_show_cpus(text, 0);
    text_put(text, "voluntary_ctxt_switches:\t%llu\nnonvoluntary_ctxt_switches:\t%llu\n",
             (ull)thread.switches[0], (ull)thread.switches[1]);
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

/* --- the trees
 * ------------------------------------------------------------------------------------------------------
 */

static const struct proc_node fd_node = {
    .name = "", .mode = S_IFLNK | 0700, .link = link_fd, .follow = follow_fd};
static const struct proc_names fd_names = {next_fd, find_fd, &fd_node};

static const struct proc_node task_files[] = {
    PROC_FILE("comm", show_comm),
    PROC_FILE("stat", show_stat_of),
    PROC_FILE("status", show_status),
};
static const struct proc_node task_node = PROC_DIRECTORY("", task_files);
static const struct proc_names task_names = {next_thread, find_thread, &task_node};

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
    {.name = "fd", .mode = S_IFDIR | 0500, .names = &fd_names},
    {.name = "net", .mode = S_IFDIR | 0555, .alias = &net_proc_directory},
    {.name = "task", .mode = S_IFDIR | 0555, .names = &task_names},
};

static const struct proc_node proc_files[] = {
    PROC_LINK("self", proc_link_self),
    PROC_LINK("thread-self", link_thread_self),
    PROC_LINK("mounts", link_mounts),
    PROC_LINK("net", link_net),
    PROC_DIRECTORY("1", process_files),
    PROC_FILE("cpuinfo", proc_show_cpuinfo),
    PROC_FILE("meminfo", proc_show_meminfo),
    PROC_FILE("stat", proc_show_stat),
    PROC_FILE("uptime", proc_show_uptime),
    PROC_FILE("loadavg", proc_show_loadavg),
    PROC_FILE("vmstat", proc_show_vmstat),
    PROC_FILE("diskstats", proc_show_disk_counts),
    PROC_FILE("version", proc_show_version),
    PROC_FILE("filesystems", proc_show_file_systems),
    {.name = "sys", .mode = S_IFDIR | 0555, .alias = &proc_sys_directory},
};
const struct proc_node proc_root = PROC_DIRECTORY("", proc_files);
