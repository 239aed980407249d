/* SPDX-License-Identifier: MIT */
/* Boot information from PVH (Xen's public/arch-x86/hvm/start_info.h) or multiboot2 (its
 * specification, section 3.6), made into struct boot_info. All of it comes from outside: it is
 * checked, sorted, merged and copied, since the memory it lies in is given to the allocator. Runs
 * once on the boot CPU before there is an allocator; no lock. */
#include "kvm_internal.h"

#include "core/lib/log.h"
#include "core/lib/string.h"

#define COMMAND_LINE_SIZE 4096
#define MODULE_NAME_SIZE 128
#define WORK_RANGES 256
#define MAX_RESERVED 32
#define LOW_MEMORY_END 0xa0000u
#define MEMORY_RAM 1

/* Work area: disjoint ranges [base, base + size), ascending. */
struct range_set {
    unsigned count;
    struct boot_range range[WORK_RANGES];
};

static struct boot_info boot;
static char command_line[COMMAND_LINE_SIZE];
static char module_names[BOOT_MAX_MODULES][MODULE_NAME_SIZE];
static struct range_set ram;
static struct range_set usable;
static struct boot_range reserved[MAX_RESERVED];
static unsigned reserved_count;
static uint8_t rsdp[36];
static size_t rsdp_size;
static uint64_t trampoline;
static uint64_t physical_limit;

const struct boot_info *hal_boot_info(void)
{
    return &boot;
}

const void *boot_info_rsdp(size_t *size)
{
    *size = rsdp_size;
    return rsdp_size != 0 ? rsdp : NULL;
}

uint64_t boot_info_trampoline(void)
{
    return trampoline;
}

/* The log has no clock and no CPU yet, hence the console itself. */
static void boot_line(const char *prefix, const char *message)
{
    hal_console_write(HAL_STREAM_ERR, prefix, strlen(prefix));
    hal_console_write(HAL_STREAM_ERR, message, strlen(message));
    hal_console_write(HAL_STREAM_ERR, "\n", 1);
}

static _Noreturn void boot_fail(const char *message)
{
    boot_line("unigornel: cannot boot: ", message);
    hal_shutdown(HAL_SHUTDOWN_PANIC, 1);
}

static void boot_warn(const char *message)
{
    boot_line("unigornel: boot: ", message);
}

/* --- range sets ------------------------------------------------------------------------------- */

static void remove_at(struct range_set *set, unsigned index, unsigned count)
{
    memmove(&set->range[index], &set->range[index + count],
            (set->count - index - count) * sizeof(set->range[0]));
    set->count -= count;
}

static bool insert_at(struct range_set *set, unsigned index, uint64_t base, uint64_t size)
{
    if (set->count == WORK_RANGES) {
        boot_warn("the memory map has too many pieces; some memory is left unused");
        return false;
    }
    memmove(&set->range[index + 1], &set->range[index],
            (set->count - index) * sizeof(set->range[0]));
    set->range[index] = (struct boot_range){base, size};
    set->count++;
    return true;
}

/* Adds a range, merging it with those it overlaps or touches. */
static void range_add(struct range_set *set, uint64_t base, uint64_t end)
{
    unsigned first = 0;
    while (first < set->count && set->range[first].base + set->range[first].size < base) {
        first++;
    }
    unsigned last = first;
    while (last < set->count && set->range[last].base <= end) {
        struct boot_range *r = &set->range[last++];
        base = r->base < base ? r->base : base;
        end = r->base + r->size > end ? r->base + r->size : end;
    }
    if (last == first) {
        insert_at(set, first, base, end - base);
        return;
    }
    set->range[first] = (struct boot_range){base, end - base};
    remove_at(set, first + 1, last - first - 1);
}

static void range_subtract(struct range_set *set, uint64_t base, uint64_t end)
{
    for (unsigned i = 0; i < set->count;) {
        struct boot_range *r = &set->range[i];
        uint64_t r_end = r->base + r->size;
        if (r_end <= base) {
            i++;
        } else if (r->base >= end) {
            break;
        } else if (r->base >= base && r_end <= end) {
            remove_at(set, i, 1);
        } else if (r->base < base) {
            r->size = base - r->base;
            i++;
            if (r_end > end) {
                insert_at(set, i, end, r_end - end);
                break;
            }
        } else {
            r->base = end;
            r->size = r_end - end;
            break;
        }
    }
}

/* --- the loader's memory map, RAM first, then everything else, which wins where they overlap -- */

static void find_physical_limit(void)
{
    unsigned bits = cpuid(0x80000000, 0).eax >= 0x80000008 ? cpuid(0x80000008, 0).eax & 0xff : 36;
    uint64_t limit = bits >= 52 ? 1ull << 52 : 1ull << bits;
    uint64_t mapped = KERNEL_MAP_BASE - DIRECT_MAP_BASE;
    physical_limit = limit < mapped ? limit : mapped;
}

static void map_entry(uint64_t base, uint64_t size, bool is_ram, bool ram_pass)
{
    if (size == 0 || base >= physical_limit || is_ram != ram_pass) {
        return;
    }
    if (base + size < base) {
        if (is_ram) {
            boot_warn("an entry of the memory map wraps around; ignored");
            return;
        }
        size = physical_limit - base;
    }
    uint64_t end = base + size < physical_limit ? base + size : physical_limit;
    if (is_ram) {
        range_add(&ram, base, end);
    } else {
        range_subtract(&ram, base, end);
    }
}

void boot_info_reserve(uint64_t base, uint64_t size)
{
    if (size == 0) {
        return;
    }
    if (reserved_count == MAX_RESERVED) {
        boot_fail("too many reserved ranges");
    }
    if (base + size < base) {
        size = ~base;
    }
    reserved[reserved_count++] = (struct boot_range){base, size};
}

/* Copies a NUL-terminated string; false when it does not end within `size` bytes or is out of
 * reach. */
static bool copy_string(char *to, size_t size, uint64_t physical)
{
    for (size_t done = 0; done < size;) {
        size_t chunk = PAGE_SIZE - (physical + done) % PAGE_SIZE;
        chunk = chunk < size - done ? chunk : size - done;
        const char *from = physical_view(physical + done, chunk);
        if (from == NULL) {
            return false;
        }
        size_t length = strnlen(from, chunk);
        memcpy(to + done, from, length);
        done += length;
        if (length < chunk) {
            to[done] = '\0';
            return true;
        }
    }
    return false;
}

static void set_command_line(const char *text, size_t size)
{
    size_t length = strnlen(text, size);
    if (length >= COMMAND_LINE_SIZE) {
        boot_fail("the command line is longer than 4095 bytes");
    }
    memcpy(command_line, text, length);
    command_line[length] = '\0';
}

/* The module's name, to be filled in, or NULL when the module is not taken. */
static char *add_module(uint64_t base, uint64_t size)
{
    if (size == 0 || base == 0 || base + size < base || base + size > physical_limit) {
        boot_warn("a boot module has no valid address; ignored");
        return NULL;
    }
    if (boot.module_count == BOOT_MAX_MODULES) {
        boot_warn("more than 8 boot modules; the others are ignored");
        return NULL;
    }
    char *name = module_names[boot.module_count];
    name[0] = '\0';
    boot.modules[boot.module_count++] = (struct boot_module){base, size, name};
    boot_info_reserve(base, size);
    return name;
}

static void begin(const char *loader)
{
    boot.loader = loader;
    boot.command_line = command_line;
    find_physical_limit();
}

/* --- Xen's paravirtual guests: pages from 0 on, all RAM -----------------------------------------
 */

void boot_info_from_xen(uint64_t memory, const char *text, size_t text_size)
{
    begin("xen-pv");
    map_entry(0, memory, true, true);
    set_command_line(text, text_size);
}

void boot_info_module(uint64_t base, uint64_t size)
{
    add_module(base, size);
}

/* --- PVH -------------------------------------------------------------------------------------- */

#define PVH_MAGIC 0x336ec578u

struct pvh_start_info {
    uint32_t magic, version, flags, module_count;
    uint64_t modules, command_line, rsdp;
    uint64_t memory_map; /* version 1 and later */
    uint32_t memory_map_entries, reserved;
};

struct pvh_module {
    uint64_t base, size, command_line, reserved;
};

struct pvh_memory {
    uint64_t base, size;
    uint32_t type, reserved;
};

void boot_info_from_pvh(uint64_t start_info_physical)
{
    begin("pvh");
    const struct pvh_start_info *view = physical_view(start_info_physical, sizeof(*view));
    if (view == NULL) {
        boot_fail("the PVH start information is out of reach");
    }
    struct pvh_start_info info = *view;
    if (info.magic != PVH_MAGIC) {
        boot_fail("the PVH start information has a wrong magic number");
    }
    if (info.version < 1 || info.memory_map_entries == 0) {
        boot_fail("the PVH loader gave no memory map");
    }
    const struct pvh_memory *map = NULL;
    if (info.memory_map_entries <= 4096) {
        map = physical_view(info.memory_map, info.memory_map_entries * sizeof(*map));
    }
    if (map == NULL) {
        boot_fail("the PVH memory map is out of reach");
    }
    for (int ram_pass = 1; ram_pass >= 0; ram_pass--) {
        for (uint32_t i = 0; i < info.memory_map_entries; i++) {
            map_entry(map[i].base, map[i].size, map[i].type == MEMORY_RAM, ram_pass != 0);
        }
    }
    if (info.command_line != 0 &&
        !copy_string(command_line, sizeof(command_line), info.command_line)) {
        boot_fail("the command line is out of reach or longer than 4095 bytes");
    }
    const struct pvh_module *modules = NULL;
    if (info.module_count != 0) {
        modules = info.module_count <= 64
                      ? physical_view(info.modules, info.module_count * sizeof(*modules))
                      : NULL;
        if (modules == NULL) {
            boot_fail("the PVH module list is out of reach");
        }
    }
    for (uint32_t i = 0; i < info.module_count; i++) {
        char *name = add_module(modules[i].base, modules[i].size);
        if (name != NULL && modules[i].command_line != 0 &&
            !copy_string(name, MODULE_NAME_SIZE, modules[i].command_line)) {
            boot_warn("the name of a boot module is out of reach or too long; ignored");
            name[0] = '\0';
        }
    }
    const void *table = info.rsdp != 0 ? physical_view(info.rsdp, sizeof(rsdp)) : NULL;
    if (table != NULL) {
        rsdp_size = sizeof(rsdp);
        memcpy(rsdp, table, rsdp_size);
    }
}

/* --- multiboot2 ------------------------------------------------------------------------------- */

enum {
    TAG_END = 0,
    TAG_COMMAND_LINE = 1,
    TAG_MODULE = 3,
    TAG_BASIC_MEMORY = 4,
    TAG_MEMORY_MAP = 6,
    TAG_RSDP_OLD = 14,
    TAG_RSDP_NEW = 15,
};

struct tag {
    uint32_t type, size;
};

struct tag_memory {
    uint64_t base, size;
    uint32_t type, reserved;
};

#define INFO_MAX_SIZE (1u << 20)

static uint32_t load32(const uint8_t *at)
{
    uint32_t value;
    memcpy(&value, at, sizeof(value));
    return value;
}

static void tag_memory_map(const uint8_t *body, size_t size)
{
    uint32_t entry_size = size >= 8 ? load32(body) : 0;
    if (entry_size < sizeof(struct tag_memory) || entry_size > size) {
        boot_fail("the multiboot2 memory map is damaged");
    }
    for (int ram_pass = 1; ram_pass >= 0; ram_pass--) {
        for (size_t at = 8; at + entry_size <= size; at += entry_size) {
            struct tag_memory entry;
            memcpy(&entry, body + at, sizeof(entry));
            map_entry(entry.base, entry.size, entry.type == MEMORY_RAM, ram_pass != 0);
        }
    }
}

static void tag_module(const uint8_t *body, size_t size)
{
    if (size < 8) {
        boot_fail("a multiboot2 module tag is damaged");
    }
    uint32_t start = load32(body), end = load32(body + 4);
    char *name = add_module(start, end > start ? end - start : 0);
    if (name != NULL) {
        size_t length = strnlen((const char *)body + 8, size - 8);
        if (length < MODULE_NAME_SIZE) {
            memcpy(name, body + 8, length);
            name[length] = '\0';
        } else {
            boot_warn("the name of a boot module is too long; ignored");
        }
    }
}

static void tag_rsdp(const uint8_t *body, size_t size, bool new)
{
    size_t want = new ? 36 : 20;
    if (size >= want && (new || rsdp_size == 0)) {
        memcpy(rsdp, body, want);
        rsdp_size = want;
    }
}

void boot_info_from_multiboot2(uint64_t info_physical)
{
    begin("multiboot2");
    const uint8_t *header = physical_view(info_physical, 8);
    if (header == NULL || info_physical % 8 != 0) {
        boot_fail("the multiboot2 information is out of reach");
    }
    uint32_t total = load32(header);
    const uint8_t *info = NULL;
    if (total >= 16 && total <= INFO_MAX_SIZE) {
        info = physical_view(info_physical, total);
    }
    if (info == NULL) {
        boot_fail("the multiboot2 information has a wrong size");
    }
    const uint8_t *basic_memory = NULL;
    bool have_map = false, ended = false;
    for (size_t at = 8; !ended;) {
        struct tag tag;
        if (total - at < sizeof(tag)) {
            boot_fail("the multiboot2 information has no end tag");
        }
        memcpy(&tag, info + at, sizeof(tag));
        if (tag.size < sizeof(tag) || tag.size > total - at) {
            boot_fail("a multiboot2 tag has a wrong size");
        }
        const uint8_t *body = info + at + sizeof(tag);
        size_t size = tag.size - sizeof(tag);
        switch (tag.type) {
        case TAG_END:
            ended = true;
            break;
        case TAG_COMMAND_LINE:
            set_command_line((const char *)body, size);
            break;
        case TAG_MODULE:
            tag_module(body, size);
            break;
        case TAG_BASIC_MEMORY:
            basic_memory = size >= 8 ? body : NULL;
            break;
        case TAG_MEMORY_MAP:
            tag_memory_map(body, size);
            have_map = true;
            break;
        case TAG_RSDP_OLD:
        case TAG_RSDP_NEW:
            tag_rsdp(body, size, tag.type == TAG_RSDP_NEW);
            break;
        default:
            break;
        }
        size_t step = ((size_t)tag.size + 7) & ~(size_t)7;
        at = step < total - at ? at + step : total;
    }
    if (!have_map && basic_memory != NULL) {
        map_entry(0, load32(basic_memory) * 1024ull, true, true);
        map_entry(0x100000, load32(basic_memory + 4) * 1024ull, true, true);
    } else if (!have_map) {
        boot_fail("the multiboot2 loader gave no memory map");
    }
}

/* --- the result ------------------------------------------------------------------------------- */

static void align_pages(struct range_set *set)
{
    for (unsigned i = 0; i < set->count;) {
        struct boot_range *r = &set->range[i];
        uint64_t base = (r->base + PAGE_SIZE - 1) & ~(PAGE_SIZE - 1);
        uint64_t end = (r->base + r->size) & ~(PAGE_SIZE - 1);
        if (base >= end) {
            remove_at(set, i, 1);
        } else {
            *r = (struct boot_range){base, end - base};
            i++;
        }
    }
}

void boot_info_require(uint64_t base, uint64_t size)
{
    for (unsigned i = 0; i < ram.count; i++) {
        if (base >= ram.range[i].base && base + size <= ram.range[i].base + ram.range[i].size) {
            return;
        }
    }
    boot_fail("the image does not fit into the memory: give the machine more (-m)");
}

/* SIPI vectors name pages below 1 MiB; the highest page of low memory is the least likely to be in
 * anybody's way. */
static void choose_trampoline(void)
{
    for (unsigned i = 0; i < usable.count && usable.range[i].base < LOW_MEMORY_END; i++) {
        uint64_t end = usable.range[i].base + usable.range[i].size;
        trampoline = (end < LOW_MEMORY_END ? end : LOW_MEMORY_END) - PAGE_SIZE;
    }
    if (trampoline != 0) {
        range_subtract(&usable, trampoline, trampoline + PAGE_SIZE);
    }
}

static void keep_largest(void)
{
    if (usable.count > BOOT_MAX_RANGES) {
        boot_warn("the memory map has more than 64 free pieces; the smallest are left unused");
    }
    while (usable.count > BOOT_MAX_RANGES) {
        unsigned smallest = 0;
        for (unsigned i = 1; i < usable.count; i++) {
            if (usable.range[i].size < usable.range[smallest].size) {
                smallest = i;
            }
        }
        remove_at(&usable, smallest, 1);
    }
}

void boot_info_finish(void)
{
    for (unsigned i = 0; i < ram.count; i++) {
        boot.memory_total += ram.range[i].size;
    }
    usable.count = ram.count;
    memcpy(usable.range, ram.range, ram.count * sizeof(ram.range[0]));
    range_subtract(&usable, 0, PAGE_SIZE);
    for (unsigned i = 0; i < reserved_count; i++) {
        range_subtract(&usable, reserved[i].base, reserved[i].base + reserved[i].size);
    }
    align_pages(&usable);
    choose_trampoline();
    keep_largest();
    if (usable.count == 0) {
        boot_fail("no free memory: give the machine more (-m)");
    }
    boot.range_count = usable.count;
    memcpy(boot.ranges, usable.range, usable.count * sizeof(usable.range[0]));
}
