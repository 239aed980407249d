/* SPDX-License-Identifier: MIT */
/* The tree of /sys: CPUs, disks and network interfaces (core/net/sysfs.c) where Go programs look
 * for them. Owns nothing; the texts are made under procfs.c's show_lock. */
#include "core/fs/fs_internal.h"
#include "core/fs/proc_nodes.h"
#include "core/mm/page.h"
#include "core/net/net.h"

typedef unsigned long long ull;

static void show_thp_enabled(struct text *text, long argument)
{
    (void)argument;
    text_put(text, "[always] madvise never\n");
}

/* --- CPUs ------------------------------------------------------------------------------------- */

static void show_nothing(struct text *text, long argument)
{
    (void)argument;
    text_put_bytes(text, "\n", 1);
}

static void show_last_cpu(struct text *text, long argument)
{
    (void)argument;
    text_put(text, "%d\n", HAL_MAX_CPUS - 1);
}

static void show_one(struct text *text, long argument)
{
    (void)argument;
    text_put(text, "1\n");
}

/* Each is a package of its own, as /proc/cpuinfo has it, and so its only sibling. */
static void show_cpu_number(struct text *text, long cpu)
{
    text_put(text, "%ld\n", cpu);
}

static bool next_cpu(long *number, char name[PROC_NAME_MAX])
{
    format(name, PROC_NAME_MAX, "cpu%ld", *number);
    return *number < (long)hal_cpu_count();
}

static const struct proc_node topology_files[] = {
    PROC_FILE("physical_package_id", show_cpu_number),
    PROC_FILE("core_id", show_cpu_number),
    PROC_FILE("core_cpus_list", show_cpu_number),
    PROC_FILE("core_siblings_list", show_cpu_number),
    PROC_FILE("package_cpus_list", show_cpu_number),
    PROC_FILE("thread_siblings_list", show_cpu_number),
};
static const struct proc_node cpu_files[] = {
    PROC_FILE("online", show_one),
    PROC_DIRECTORY("topology", topology_files),
};
static const struct proc_node cpu_node = PROC_DIRECTORY("", cpu_files);
static const struct proc_names cpu_names = {next_cpu, proc_find, &cpu_node};

static const struct proc_node cpus_files[] = {
    PROC_FILE("online", proc_show_cpus),  PROC_FILE("possible", proc_show_cpus),
    PROC_FILE("present", proc_show_cpus), PROC_FILE("offline", show_nothing),
    PROC_FILE("isolated", show_nothing),  PROC_FILE("kernel_max", show_last_cpu),
};

/* --- disks ------------------------------------------------------------------------------------ */

static struct block_device *disk(long number)
{
    struct block_device *device = block_devices;
    while (device != NULL && number-- != 0) {
        device = device->next;
    }
    return device;
}

/* One that is gone keeps its number, and has no name any more. */
static bool next_disk(long *number, char name[PROC_NAME_MAX])
{
    struct block_device *device = disk(*number);
    while (device != NULL && block_size(device) == 0) {
        device = device->next;
        ++*number;
    }
    if (device != NULL) {
        format(name, PROC_NAME_MAX, "%s", device->hardware->name);
    }
    return device != NULL;
}

enum disk_detail {
    DISK_SECTORS,
    DISK_READ_ONLY,
    DISK_ZERO,
    DISK_BLOCK_SIZE,
    DISK_REQUEST_KIB,
    DISK_READ_AHEAD_KIB,
    DISK_DISCARD_BYTES,
    DISK_DISCARD_UNIT,
};

static void show_disk_number(struct text *text, long number)
{
    struct block_device *device = disk(number);
    const struct blockdev *hardware = device->hardware;
    ull value = 0;
    switch ((enum disk_detail)text->node->detail) {
    case DISK_SECTORS:
        value = block_size(device) >> SECTOR_SHIFT;
        break;
    case DISK_READ_ONLY:
        value = hardware->read_only;
        break;
    case DISK_ZERO:
        break;
    case DISK_BLOCK_SIZE:
        value = hardware->block_size;
        break;
    case DISK_REQUEST_KIB:
        value = hardware->request_max >> 10;
        break;
    case DISK_READ_AHEAD_KIB:
        value = READ_AHEAD_MAX * (PAGE_SIZE >> 10);
        break;
    case DISK_DISCARD_BYTES:
        value = (ull)hardware->discard_max << SECTOR_SHIFT;
        break;
    case DISK_DISCARD_UNIT:
        value = hardware->discard_max != 0 ? hardware->block_size : 0;
        break;
    }
    text_put(text, "%llu\n", value);
}

static void show_disk_device(struct text *text, long number)
{
    struct block_device *device = disk(number);
    text_put(text, "%u:%u\n", proc_device_major(device->number), proc_device_minor(device->number));
}

static void show_disk_serial(struct text *text, long number)
{
    text_put(text, "%s\n", disk(number)->hardware->serial);
}

static void show_disk_stat(struct text *text, long number)
{
    proc_put_disk_counts(text, disk(number));
}

static long link_disk(char *to, size_t size, long number)
{
    char path[64];
    format(path, sizeof(path), "../../devices/platform/block/%s", disk(number)->hardware->name);
    return proc_link_text(to, size, path);
}

static long link_block(char *to, size_t size, long argument)
{
    (void)argument;
    return proc_link_text(to, size, "class/block");
}

static const struct proc_node queue_files[] = {
    PROC_DETAIL("logical_block_size", show_disk_number, DISK_BLOCK_SIZE),
    PROC_DETAIL("physical_block_size", show_disk_number, DISK_BLOCK_SIZE),
    PROC_DETAIL("hw_sector_size", show_disk_number, DISK_BLOCK_SIZE),
    PROC_DETAIL("minimum_io_size", show_disk_number, DISK_BLOCK_SIZE),
    PROC_DETAIL("rotational", show_disk_number, DISK_ZERO),
    PROC_DETAIL("max_sectors_kb", show_disk_number, DISK_REQUEST_KIB),
    PROC_DETAIL("max_hw_sectors_kb", show_disk_number, DISK_REQUEST_KIB),
    PROC_DETAIL("read_ahead_kb", show_disk_number, DISK_READ_AHEAD_KIB),
    PROC_DETAIL("discard_max_bytes", show_disk_number, DISK_DISCARD_BYTES),
    PROC_DETAIL("discard_granularity", show_disk_number, DISK_DISCARD_UNIT),
};
static const struct proc_node disk_files[] = {
    PROC_FILE("dev", show_disk_device),
    PROC_DETAIL("size", show_disk_number, DISK_SECTORS),
    PROC_DETAIL("ro", show_disk_number, DISK_READ_ONLY),
    PROC_DETAIL("removable", show_disk_number, DISK_ZERO),
    PROC_FILE("serial", show_disk_serial),
    PROC_FILE("stat", show_disk_stat),
    PROC_DIRECTORY("queue", queue_files),
};
static const struct proc_node disk_node = PROC_DIRECTORY("", disk_files);
static const struct proc_node disk_link_node = PROC_LINK("", link_disk);
static const struct proc_names disk_names = {next_disk, proc_find, &disk_node};
static const struct proc_names disk_link_names = {next_disk, proc_find, &disk_link_node};

/* --- the tree --------------------------------------------------------------------------------- */

static const struct proc_node huge_files[] = {
    PROC_FILE("enabled", show_thp_enabled), PROC_FILE("hpage_pmd_size", proc_show_huge_page_size)};
static const struct proc_node mm_files[] = {PROC_DIRECTORY("transparent_hugepage", huge_files)};
static const struct proc_node kernel_files[] = {PROC_DIRECTORY("mm", mm_files)};

static const struct proc_node system_files[] = {{.name = "cpu",
                                                 .mode = S_IFDIR | 0555,
                                                 .children = cpus_files,
                                                 .count = COUNT(cpus_files),
                                                 .names = &cpu_names}};
static const struct proc_node platform_files[] = {
    {.name = "block", .mode = S_IFDIR | 0555, .names = &disk_names},
    {.name = "net", .mode = S_IFDIR | 0555, .alias = &net_sysfs_devices}};
static const struct proc_node virtual_files[] = {
    {.name = "net", .mode = S_IFDIR | 0555, .alias = &net_sysfs_virtual}};
static const struct proc_node devices_files[] = {PROC_DIRECTORY("platform", platform_files),
                                                 PROC_DIRECTORY("system", system_files),
                                                 PROC_DIRECTORY("virtual", virtual_files)};
static const struct proc_node class_files[] = {
    {.name = "block", .mode = S_IFDIR | 0555, .names = &disk_link_names},
    {.name = "net", .mode = S_IFDIR | 0555, .alias = &net_sysfs_class}};
static const struct proc_node sysfs_files[] = {
    PROC_LINK("block", link_block),
    PROC_DIRECTORY("class", class_files),
    PROC_DIRECTORY("devices", devices_files),
    PROC_DIRECTORY("kernel", kernel_files),
};
const struct proc_node sysfs_root = PROC_DIRECTORY("", sysfs_files);
