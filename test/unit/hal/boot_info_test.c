/* SPDX-License-Identifier: MIT */
/* Boot information: memory maps with holes, overlaps, regions above 4 GiB and garbage; strings and
 * modules; damaged structures of both loaders, also with random bytes changed. */
#include "hal/kvm/boot_info.c"

#include <stdio.h>
#include <stdlib.h>

#include "physical_fake.h"

#define INFO 0x9000u
#define MAP 0xa000u
#define TEXT 0xb000u
#define MODULES 0xe000u
#define MIB 0x100000ull
#define GIB 0x40000000ull

static void reset_all(void)
{
    physical_reset();
    memset(&boot, 0, sizeof(boot));
    memset(command_line, 0, sizeof(command_line));
    ram.count = usable.count = reserved_count = 0;
    rsdp_size = 0;
    trampoline = 0;
}

/* Puts a PVH start_info with this map and command line. */
static void put_pvh(const struct pvh_memory *map, uint32_t count, const char *text)
{
    reset_all();
    struct pvh_start_info info = {
        .magic = PVH_MAGIC, .version = 1, .memory_map = MAP, .memory_map_entries = count};
    if (text != NULL) {
        info.command_line = TEXT;
        uint8_t pages[2 * PAGE_SIZE] = {0}; /* strings are viewed up to the end of their page */
        memcpy(pages, text, strlen(text) + 1);
        physical_put(TEXT, pages, sizeof(pages));
    }
    physical_put(INFO, &info, sizeof(info));
    physical_put(MAP, map, count * sizeof(*map));
}

/* Whether the machine goes on after reading. */
static bool read_pvh(void)
{
    if (setjmp(machine_end) != 0) {
        return false;
    }
    boot_info_from_pvh(INFO);
    boot_info_finish();
    return true;
}

static void check_ranges(const struct boot_range *want, unsigned count)
{
    if (boot.range_count != count) {
        for (unsigned i = 0; i < boot.range_count; i++) {
            fprintf(stderr, "%#lx +%#lx\n", boot.ranges[i].base, boot.ranges[i].size);
        }
    }
    CHECK(boot.range_count == count);
    for (unsigned i = 0; i < count; i++) {
        CHECK(boot.ranges[i].base == want[i].base && boot.ranges[i].size == want[i].size);
    }
}

static void check_invariants(void)
{
    uint64_t end = PAGE_SIZE;
    CHECK(boot.range_count >= 1 && boot.range_count <= BOOT_MAX_RANGES);
    for (unsigned i = 0; i < boot.range_count; i++) {
        const struct boot_range *r = &boot.ranges[i];
        CHECK(r->base % PAGE_SIZE == 0 && r->size % PAGE_SIZE == 0 && r->size != 0);
        CHECK(r->base >= end);
        end = r->base + r->size;
        CHECK(end > r->base && end <= physical_limit);
        for (unsigned k = 0; k < reserved_count; k++) {
            CHECK(reserved[k].base >= end || reserved[k].base + reserved[k].size <= r->base);
        }
    }
}

static void test_plain(void)
{
    static const struct pvh_memory map[] = {{0, 0x9fc00, 1, 0},
                                            {0x9fc00, 0x400, 2, 0},
                                            {0xf0000, 0x10000, 2, 0},
                                            {MIB, 63 * MIB, 1, 0}};
    put_pvh(map, 4, "ip=dhcp -- a b");
    CHECK(read_pvh());
    CHECK(strcmp(boot.command_line, "ip=dhcp -- a b") == 0 && strcmp(boot.loader, "pvh") == 0);
    CHECK(boot.memory_total == 63 * MIB + 0x9fc00);
    CHECK(boot_info_trampoline() == 0x9e000);
    check_ranges((struct boot_range[]){{0x1000, 0x9d000}, {MIB, 63 * MIB}}, 2);
    check_invariants();
}

static void test_overlaps_and_holes(void)
{
    /* Unsorted, overlapping, touching, odd sizes, empty, above 4 GiB, wrapped; reserved memory
     * wins. */
    static const struct pvh_memory map[] = {{4 * GIB, 2 * GIB, 1, 0},
                                            {2 * MIB, 2 * MIB + 100, 1, 0},
                                            {MIB, MIB + 0x800, 1, 0},
                                            {3 * MIB, 4 * MIB, 1, 0},
                                            {5 * MIB + 1, 10, 2, 0},
                                            {16 * MIB, 0, 1, 0},
                                            {20 * MIB + 1, 0xffe, 1, 0},
                                            {UINT64_MAX - 5, 100, 1, 0},
                                            {5 * GIB, MIB, 3, 0},
                                            {1ull << 60, 1ull << 40, 1, 0},
                                            {6 * GIB - MIB, UINT64_MAX, 2, 0},
                                            {7 * GIB, UINT64_MAX - GIB, 1, 0}};
    put_pvh(map, sizeof(map) / sizeof(map[0]), NULL);
    CHECK(read_pvh());
    check_ranges((struct boot_range[]){{MIB, 4 * MIB},
                                       {5 * MIB + 0x1000, 2 * MIB - 0x1000},
                                       {4 * GIB, GIB},
                                       {5 * GIB + MIB, GIB - 2 * MIB}},
                 4);
    CHECK(console_has("wraps around"));
    CHECK(boot_info_trampoline() == 0);
    check_invariants();
}

static void test_reserved(void)
{
    static const struct pvh_memory map[] = {{0, 0xa0000, 1, 0}, {MIB, 127 * MIB, 1, 0}};
    put_pvh(map, 2, NULL);
    CHECK(setjmp(machine_end) == 0);
    boot_info_from_pvh(INFO);
    boot_info_reserve(MIB, 2 * MIB + 5);
    boot_info_reserve(4 * MIB, MIB);
    boot_info_reserve(127 * MIB, UINT64_MAX);
    boot_info_reserve(0x9f000, 1);
    boot_info_finish();
    check_ranges((struct boot_range[]){{0x1000, 0x9d000},
                                       {3 * MIB + 0x1000, MIB - 0x1000},
                                       {5 * MIB, 122 * MIB}},
                 3);
    CHECK(boot_info_trampoline() == 0x9e000);
}

static void test_many_pieces(void)
{
    struct pvh_memory map[400];
    for (unsigned i = 0; i < 400; i++) {
        map[i] = (struct pvh_memory){MIB * (400 - i), (i % 7 + 1) * 0x1000, 1, 0};
    }
    put_pvh(map, 400, NULL);
    CHECK(read_pvh());
    CHECK(boot.range_count == BOOT_MAX_RANGES);
    check_invariants();
    /* The largest ones were kept. */
    CHECK(boot.ranges[0].size >= 0x5000 && boot.ranges[BOOT_MAX_RANGES - 1].size >= 0x5000);
}

static void test_pvh_errors(void)
{
    static const struct pvh_memory map[] = {{MIB, 63 * MIB, 1, 0}};
    static const struct pvh_memory none[] = {{MIB, 63 * MIB, 2, 0}, {0x100, 0xe00, 1, 0}};
    put_pvh(none, 2, NULL);
    CHECK(!read_pvh() && console_has("no free memory"));
    put_pvh(map, 1, NULL);
    *(uint32_t *)physical_at(INFO) = 1;
    CHECK(!read_pvh() && console_has("magic"));
    put_pvh(map, 1, NULL);
    ((struct pvh_start_info *)physical_at(INFO))->version = 0;
    CHECK(!read_pvh() && console_has("no memory map"));
    put_pvh(map, 1, NULL);
    ((struct pvh_start_info *)physical_at(INFO))->memory_map_entries = 2;
    CHECK(!read_pvh() && console_has("out of reach"));
    put_pvh(map, 1, NULL);
    ((struct pvh_start_info *)physical_at(INFO))->memory_map_entries = UINT32_MAX;
    CHECK(!read_pvh() && console_has("out of reach"));
    put_pvh(map, 1, NULL);
    ((struct pvh_start_info *)physical_at(INFO))->command_line = 0xdead0000;
    CHECK(!read_pvh() && console_has("command line"));
    put_pvh(map, 1, NULL);
    ((struct pvh_start_info *)physical_at(INFO))->module_count = 3;
    CHECK(!read_pvh() && console_has("module list"));

    char text[COMMAND_LINE_SIZE + 1];
    memset(text, 'x', sizeof(text));
    text[COMMAND_LINE_SIZE] = '\0';
    put_pvh(map, 1, text);
    CHECK(!read_pvh() && console_has("4095"));
    text[COMMAND_LINE_SIZE - 1] = '\0';
    put_pvh(map, 1, text);
    CHECK(read_pvh() && strlen(boot.command_line) == 4095);
}

static void test_pvh_modules(void)
{
    static const struct pvh_memory map[] = {{MIB, 63 * MIB, 1, 0}};
    struct pvh_module modules[] = {
        {8 * MIB, 0x1234, TEXT, 0}, {0, 55, 0, 0}, {9 * MIB, 1, 0xdead0000, 0}};
    put_pvh(map, 1, "root.erofs");
    ((struct pvh_start_info *)physical_at(INFO))->module_count = 3;
    ((struct pvh_start_info *)physical_at(INFO))->modules = MODULES;
    physical_put(MODULES, modules, sizeof(modules));
    CHECK(read_pvh());
    CHECK(boot.module_count == 2 && strcmp(boot.modules[0].name, "root.erofs") == 0);
    CHECK(boot.modules[1].base == 9 * MIB && boot.modules[1].name[0] == '\0');
    check_ranges((struct boot_range[]){{MIB, 7 * MIB},
                                       {8 * MIB + 0x2000, MIB - 0x2000},
                                       {9 * MIB + 0x1000, 55 * MIB - 0x1000}},
                 3);
}

/* --- multiboot2 ------------------------------------------------------------------------------- */

static uint8_t mbi[4096];
static size_t mbi_size;

static void mbi_begin(void)
{
    reset_all();
    memset(mbi, 0, sizeof(mbi));
    mbi_size = 8;
}

static void mbi_tag(uint32_t type, const void *body, size_t size)
{
    struct tag tag = {type, (uint32_t)(size + 8)};
    memcpy(mbi + mbi_size, &tag, 8);
    memcpy(mbi + mbi_size + 8, body, size);
    mbi_size = (mbi_size + 8 + size + 7) & ~7ul;
}

static void mbi_map(void)
{
    struct {
        uint32_t entry_size, version;
        struct tag_memory entries[2];
    } map = {24, 0, {{0, 0x9f000, 1, 0}, {MIB, 31 * MIB, 1, 0}}};
    mbi_tag(TAG_MEMORY_MAP, &map, sizeof(map));
}

static void mbi_end(void)
{
    mbi_tag(TAG_END, "", 0);
    uint32_t size = (uint32_t)mbi_size;
    memcpy(mbi, &size, 4);
    physical_put(INFO, mbi, mbi_size);
}

static bool read_mbi(void)
{
    if (setjmp(machine_end) != 0) {
        return false;
    }
    boot_info_from_multiboot2(INFO);
    boot_info_finish();
    return true;
}

static void mbi_typical(void)
{
    mbi_begin();
    mbi_tag(TAG_COMMAND_LINE, "log=debug", 10);
    uint32_t module[4] = {8 * MIB, 9 * MIB, 0x6f6f66, 0};
    mbi_tag(TAG_MODULE, module, 12);
    uint8_t table[36] = "RSD PTR old";
    mbi_tag(TAG_RSDP_OLD, table, 20);
    memcpy(table, "RSD PTR new", 11);
    mbi_tag(TAG_RSDP_NEW, table, 36);
    mbi_map();
    mbi_tag(77, "unknown", 7);
    mbi_end();
}

static void test_multiboot2(void)
{
    mbi_typical();
    CHECK(read_mbi());
    CHECK(strcmp(boot.command_line, "log=debug") == 0 && strcmp(boot.modules[0].name, "foo") == 0);
    size_t size;
    CHECK(memcmp(boot_info_rsdp(&size), "RSD PTR new", 11) == 0 && size == 36);
    check_ranges((struct boot_range[]){{0x1000, 0x9d000}, {MIB, 7 * MIB}, {9 * MIB, 23 * MIB}}, 3);

    mbi_begin();
    uint32_t basic[2] = {640, 15 * 1024};
    mbi_tag(TAG_BASIC_MEMORY, basic, 8);
    mbi_end();
    CHECK(read_mbi() && boot.ranges[1].base == MIB && boot.ranges[1].size == 15 * MIB);

    mbi_begin();
    mbi_end();
    CHECK(!read_mbi() && console_has("no memory map"));
}

static void test_multiboot2_truncated(void)
{
    mbi_typical();
    uint32_t whole = (uint32_t)mbi_size;
    for (uint32_t size = 0; size < whole; size++) {
        mbi_typical();
        memcpy(physical_at(INFO), &size, 4);
        CHECK(!read_mbi());
    }
}

static void test_mutations(void)
{
    static const struct pvh_memory map[] = {
        {0, 0x9fc00, 1, 0}, {MIB, 63 * MIB, 1, 0}, {4 * GIB, GIB, 1, 0}, {2 * MIB, MIB, 2, 0}};
    for (unsigned i = 0; i < 20000; i++) {
        if (i % 2 == 0) {
            mbi_typical();
        } else {
            put_pvh(map, 4, "text");
        }
        for (unsigned k = test_random() % 4 + 1; k > 0; k--) {
            if (i % 2 == 0) {
                ((uint8_t *)physical_at(INFO))[test_random() % mbi_size] = (uint8_t)test_random();
            } else if (k % 2 == 0) {
                ((uint8_t *)physical_at(INFO))[test_random() % sizeof(struct pvh_start_info)] =
                    (uint8_t)test_random();
            } else {
                ((uint8_t *)physical_at(MAP))[test_random() % sizeof(map)] = (uint8_t)test_random();
            }
        }
        if (i % 2 == 0 ? read_mbi() : read_pvh()) {
            check_invariants();
        } else {
            CHECK(console_has("cannot boot"));
        }
    }
}

int main(void)
{
    test_plain();
    test_overlaps_and_holes();
    test_reserved();
    test_many_pieces();
    test_pvh_errors();
    test_pvh_modules();
    test_multiboot2();
    test_multiboot2_truncated();
    test_mutations();
    physical_reset();
    return 0;
}
