/* SPDX-License-Identifier: MIT */
/* /sys/class/net: interfaces as prometheus/procfs and others read them, each a link into
 * /sys/devices, as on Linux. Owns nothing: everything is read from interface.h when a file is. */
#include "core/fs/fs_internal.h"
#include "core/fs/inode.h"
#include "core/net/interface.h"
#include "core/net/net.h"

typedef unsigned long long ull;

#define IFF_LOOPBACK_BIT 8u /* IFF_LOOPBACK, IFF_LOWER_UP of netdevice(7) */
#define IFF_LOWER_UP_BIT 0x10000u

static bool is_loopback(const struct interface *interface)
{
    return (interface->flags & IFF_LOOPBACK_BIT) != 0;
}

/* --- files ------------------------------------------------------------------------------------ */

enum detail {
    NUMBER_ZERO,
    NUMBER_ZERO_HEX,
    NUMBER_INDEX,
    NUMBER_MTU,
    NUMBER_QUEUE_LENGTH,
    NUMBER_TYPE,
    NUMBER_ADDRESS_LENGTH,
    NUMBER_FLAGS,
    NUMBER_CARRIER,
    NUMBER_CARRIER_CHANGES,
    NUMBER_CARRIER_UP,
    NUMBER_CARRIER_DOWN,
    NUMBER_SPEED,
    NUMBER_NAME_ASSIGN,
};

static void show_number(struct text *text, long index)
{
    struct interface interface;
    if (!interface_next((int)index, &interface) || interface.index != index) {
        return;
    }
    long value = 0;
    bool hex = false;
    switch ((enum detail)text->node->detail) {
    case NUMBER_ZERO:
        break;
    case NUMBER_ZERO_HEX:
        hex = true;
        break;
    case NUMBER_INDEX:
        value = interface.index;
        break;
    case NUMBER_MTU:
        value = interface.mtu;
        break;
    case NUMBER_QUEUE_LENGTH:
        value = interface.queue_length;
        break;
    case NUMBER_TYPE:
        value = interface.hardware;
        break;
    case NUMBER_ADDRESS_LENGTH:
        value = sizeof(interface.mac);
        break;
    case NUMBER_FLAGS: /* the upper half is not shown on Linux either */
        value = interface.flags & 0xffff;
        hex = true;
        break;
    case NUMBER_CARRIER:
        value = (interface.flags & IFF_LOWER_UP_BIT) != 0;
        break;
    case NUMBER_CARRIER_CHANGES:
        value = (long)interface.carrier_up + interface.carrier_down;
        break;
    case NUMBER_CARRIER_UP:
        value = interface.carrier_up;
        break;
    case NUMBER_CARRIER_DOWN:
        value = interface.carrier_down;
        break;
    case NUMBER_SPEED: /* not known, as of a virtual device on Linux */
        value = -1;
        break;
    case NUMBER_NAME_ASSIGN: /* NET_NAME_PREDICTABLE: the kernel has numbered it */
        value = 1;
        break;
    }
    text_put(text, hex ? "0x%lx\n" : "%ld\n", value);
}

static void put_mac(struct text *text, const uint8_t mac[6])
{
    text_put(text, "%02x:%02x:%02x:%02x:%02x:%02x\n", mac[0], mac[1], mac[2], mac[3], mac[4],
             mac[5]);
}

static void show_address(struct text *text, long index)
{
    struct interface interface;
    if (interface_next((int)index, &interface)) {
        put_mac(text, interface.mac);
    }
}

static void show_broadcast(struct text *text, long index)
{
    static const uint8_t all[6] = {0xff, 0xff, 0xff, 0xff, 0xff, 0xff}, none[6];
    struct interface interface;
    if (interface_next((int)index, &interface)) {
        put_mac(text, is_loopback(&interface) ? none : all);
    }
}

/* RFC 2863; on Linux that of lo is not known. */
static void show_state(struct text *text, long index)
{
    struct interface interface;
    if (interface_next((int)index, &interface)) {
        bool up = (interface.flags & IFF_LOWER_UP_BIT) != 0;
        text_put(text, "%s\n", is_loopback(&interface) ? "unknown" : up ? "up" : "down");
    }
}

static void show_duplex(struct text *text, long index)
{
    (void)index;
    text_put(text, "unknown\n");
}

static void show_alias(struct text *text, long index)
{
    (void)text;
    (void)index;
}

static void show_event(struct text *text, long index)
{
    struct interface interface;
    if (interface_next((int)index, &interface)) {
        text_put(text, "INTERFACE=%s\nIFINDEX=%d\n", interface.name, interface.index);
    }
}

/* `detail`: where it is in the interface's statistics; STATISTICS_NONE: of what there is not. */
#define STATISTICS_NONE UINT32_MAX
#define STATISTIC(field) offsetof(struct interface, statistics.field)

static void show_statistic(struct text *text, long index)
{
    struct interface interface;
    uint64_t value = 0;
    if (!interface_next((int)index, &interface)) {
        return;
    }
    if (text->node->detail != STATISTICS_NONE) {
        memcpy(&value, (const char *)&interface + text->node->detail, sizeof(value));
    }
    text_put(text, "%llu\n", (ull)value);
}

static const struct proc_node statistics_files[] = {
    PROC_DETAIL("collisions", show_statistic, STATISTICS_NONE),
    PROC_DETAIL("multicast", show_statistic, STATISTICS_NONE),
    PROC_DETAIL("rx_bytes", show_statistic, STATISTIC(rx_bytes)),
    PROC_DETAIL("rx_compressed", show_statistic, STATISTICS_NONE),
    PROC_DETAIL("rx_crc_errors", show_statistic, STATISTICS_NONE),
    PROC_DETAIL("rx_dropped", show_statistic, STATISTIC(rx_dropped)),
    PROC_DETAIL("rx_errors", show_statistic, STATISTIC(rx_errors)),
    PROC_DETAIL("rx_fifo_errors", show_statistic, STATISTICS_NONE),
    PROC_DETAIL("rx_frame_errors", show_statistic, STATISTICS_NONE),
    PROC_DETAIL("rx_length_errors", show_statistic, STATISTICS_NONE),
    PROC_DETAIL("rx_missed_errors", show_statistic, STATISTICS_NONE),
    PROC_DETAIL("rx_nohandler", show_statistic, STATISTICS_NONE),
    PROC_DETAIL("rx_over_errors", show_statistic, STATISTICS_NONE),
    PROC_DETAIL("rx_packets", show_statistic, STATISTIC(rx_frames)),
    PROC_DETAIL("tx_aborted_errors", show_statistic, STATISTICS_NONE),
    PROC_DETAIL("tx_bytes", show_statistic, STATISTIC(tx_bytes)),
    PROC_DETAIL("tx_carrier_errors", show_statistic, STATISTICS_NONE),
    PROC_DETAIL("tx_compressed", show_statistic, STATISTICS_NONE),
    PROC_DETAIL("tx_dropped", show_statistic, STATISTIC(tx_dropped)),
    PROC_DETAIL("tx_errors", show_statistic, STATISTIC(tx_errors)),
    PROC_DETAIL("tx_fifo_errors", show_statistic, STATISTICS_NONE),
    PROC_DETAIL("tx_heartbeat_errors", show_statistic, STATISTICS_NONE),
    PROC_DETAIL("tx_packets", show_statistic, STATISTIC(tx_frames)),
    PROC_DETAIL("tx_window_errors", show_statistic, STATISTICS_NONE),
};

#define COMMON_FILES                                                                               \
    PROC_DETAIL("addr_assign_type", show_number, NUMBER_ZERO),                                     \
        PROC_DETAIL("addr_len", show_number, NUMBER_ADDRESS_LENGTH),                               \
        PROC_FILE("address", show_address), PROC_FILE("broadcast", show_broadcast),                \
        PROC_DETAIL("carrier", show_number, NUMBER_CARRIER),                                       \
        PROC_DETAIL("carrier_changes", show_number, NUMBER_CARRIER_CHANGES),                       \
        PROC_DETAIL("carrier_up_count", show_number, NUMBER_CARRIER_UP),                           \
        PROC_DETAIL("carrier_down_count", show_number, NUMBER_CARRIER_DOWN),                       \
        PROC_DETAIL("dev_id", show_number, NUMBER_ZERO_HEX),                                       \
        PROC_DETAIL("dev_port", show_number, NUMBER_ZERO),                                         \
        PROC_DETAIL("dormant", show_number, NUMBER_ZERO),                                          \
        PROC_DETAIL("flags", show_number, NUMBER_FLAGS), PROC_FILE("ifalias", show_alias),         \
        PROC_DETAIL("ifindex", show_number, NUMBER_INDEX),                                         \
        PROC_DETAIL("iflink", show_number, NUMBER_INDEX),                                          \
        PROC_DETAIL("link_mode", show_number, NUMBER_ZERO),                                        \
        PROC_DETAIL("mtu", show_number, NUMBER_MTU),                                               \
        PROC_DETAIL("netdev_group", show_number, NUMBER_ZERO), PROC_FILE("operstate", show_state), \
        PROC_DIRECTORY("statistics", statistics_files),                                            \
        PROC_DETAIL("tx_queue_len", show_number, NUMBER_QUEUE_LENGTH),                             \
        PROC_DETAIL("type", show_number, NUMBER_TYPE), PROC_FILE("uevent", show_event)

static const struct proc_node loopback_files[] = {COMMON_FILES};
static const struct proc_node device_files[] = {
    COMMON_FILES,
    PROC_FILE("duplex", show_duplex),
    PROC_DETAIL("name_assign_type", show_number, NUMBER_NAME_ASSIGN),
    PROC_DETAIL("speed", show_number, NUMBER_SPEED),
};

/* --- directories ------------------------------------------------------------------------------ */

static bool next_interface(long *index, char name[PROC_NAME_MAX])
{
    struct interface interface;
    if (!interface_next((int)*index, &interface)) {
        return false;
    }
    *index = interface.index;
    format(name, PROC_NAME_MAX, "%s", interface.name);
    return true;
}

/* The first from *index on that is loopback, or that is not. */
static bool next_of_kind(long *index, char name[PROC_NAME_MAX], bool loopback)
{
    struct interface interface;
    for (int at = (int)*index; interface_next(at, &interface); at = interface.index + 1) {
        if (is_loopback(&interface) == loopback) {
            *index = interface.index;
            format(name, PROC_NAME_MAX, "%s", interface.name);
            return true;
        }
    }
    return false;
}

static bool next_device(long *index, char name[PROC_NAME_MAX])
{
    return next_of_kind(index, name, false);
}

static bool next_loopback(long *index, char name[PROC_NAME_MAX])
{
    return next_of_kind(index, name, true);
}

static long link_interface(char *to, size_t size, long index)
{
    struct interface interface;
    char path[64];
    if (!interface_next((int)index, &interface)) {
        return -ENOENT;
    }
    format(path, sizeof(path), "../../devices/%s/net/%s",
           is_loopback(&interface) ? "virtual" : "platform", interface.name);
    return proc_link_text(to, size, path);
}

static const struct proc_node device_node = PROC_DIRECTORY("", device_files);
static const struct proc_node loopback_node = PROC_DIRECTORY("", loopback_files);
static const struct proc_node link_node = PROC_LINK("", link_interface);
static const struct proc_names device_names = {next_device, proc_find, &device_node};
static const struct proc_names loopback_names = {next_loopback, proc_find, &loopback_node};
static const struct proc_names link_names = {next_interface, proc_find, &link_node};

const struct proc_node net_sysfs_class = {
    .name = "net", .mode = S_IFDIR | 0555, .names = &link_names};
const struct proc_node net_sysfs_devices = {
    .name = "net", .mode = S_IFDIR | 0555, .names = &device_names};
const struct proc_node net_sysfs_virtual = {
    .name = "net", .mode = S_IFDIR | 0555, .names = &loopback_names};
