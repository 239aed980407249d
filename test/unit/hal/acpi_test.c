/* SPDX-License-Identifier: MIT */
/* ACPI tables: CPUs, IOAPICs, overrides and power registers found; tables that are missing,
 * truncated or changed do no harm; the two look-ups in byte code. */
#include "hal/kvm/acpi.c"

#include <stdlib.h>

#include "physical_fake.h"

#define RSDP 0xf5000u
#define XSDT 0x7fe0000u
#define MADT 0x7fe1000u
#define FADT 0x7fe2000u
#define DSDT 0x7fe3000u

static uint8_t rsdp_copy[36];
static size_t rsdp_copy_size;

const void *boot_info_rsdp(size_t *size)
{
    *size = rsdp_copy_size;
    return rsdp_copy_size != 0 ? rsdp_copy : NULL;
}

static void put32(uint8_t *at, uint32_t value)
{
    memcpy(at, &value, 4);
}

static void put64(uint8_t *at, uint64_t value)
{
    memcpy(at, &value, 8);
}

static void fix_checksum(uint8_t *bytes, size_t size, size_t at)
{
    uint8_t sum = 0;
    bytes[at] = 0;
    for (size_t i = 0; i < size; i++) {
        sum = (uint8_t)(sum + bytes[i]);
    }
    bytes[at] = (uint8_t)-sum;
}

static void put_table(uint64_t physical, const char *signature, uint8_t *table, size_t size)
{
    memcpy(table, signature, 4);
    put32(table + 4, (uint32_t)size);
    fix_checksum(table, size, 9);
    physical_put(physical, table, size);
}

/* Name (_S5, Package (4) {5, Zero, ...}) and an event device as QEMU's microvm has it. */
static const uint8_t aml[] = {
    0x10, 0x20, '_',  'S',  'B',  '_',  0x08, 'X',  '_',  'S',  '5',  '_',  0x08, '_',  'S',  '5',
    '_',  0x12, 0x06, 0x04, 0x0a, 0x05, 0x00, 0x00, 0x00, 0x08, '_',  'H',  'I',  'D',  0x0d, 'A',
    'C',  'P',  'I',  '0',  '0',  '1',  '3',  0,    0x08, '_',  'C',  'R',  'S',  0x11, 0x0e, 0x0a,
    0x0b, 0x89, 0x06, 0x00, 0x03, 0x01, 0x09, 0x00, 0x00, 0x00, 0x79, 0x00, 0x5b, 0x80, 'E',  'R',
    'E',  'G',  0x00, 0x0c, 0x00, 0x00, 0xa0, 0xfe, 0x0a, 0x04, 0xa0, 0x10, 0x93, 0x7b, 0x60, 0x0a,
    0x02, 0x00, 0x0a, 0x02, 0x86, 'P',  'W',  'R',  'B',  0x0a, 0x80};

static uint8_t madt[512];
static size_t madt_size;

static void madt_entry(const uint8_t *entry)
{
    memcpy(madt + madt_size, entry, entry[1]);
    madt_size += entry[1];
}

static void put_madt(unsigned cpus)
{
    memset(madt, 0, sizeof(madt));
    madt_size = 44;
    for (unsigned i = 0; i < cpus; i++) {
        madt_entry((uint8_t[]){0, 8, (uint8_t)i, (uint8_t)(i * 2), 1, 0, 0, 0});
    }
    madt_entry((uint8_t[]){0, 8, 9, 255, 1, 0, 0, 0});                         /* empty slot */
    madt_entry((uint8_t[]){0, 8, 9, 99, 2, 0, 0, 0});                          /* not there yet */
    madt_entry((uint8_t[]){9, 16, 0, 0, 44, 1, 0, 0, 1, 0, 0, 0, 7, 0, 0, 0}); /* x2APIC 300 */
    madt_entry((uint8_t[]){1, 12, 0, 0, 0, 0, 0xc0, 0xfe, 0, 0, 0, 0});        /* IOAPIC */
    madt_entry((uint8_t[]){1, 12, 1, 0, 0, 0, 0xc1, 0xfe, 24, 0, 0, 0});       /* IOAPIC */
    madt_entry((uint8_t[]){2, 10, 0, 0, 2, 0, 0, 0, 0, 0});                    /* 0 -> 2 */
    madt_entry((uint8_t[]){2, 10, 0, 9, 9, 0, 0, 0, 0x0f, 0});                 /* level, low */
    madt_entry((uint8_t[]){2, 10, 0, 200, 9, 0, 0, 0, 0x0f, 0});               /* no such line */
    put_table(MADT, "APIC", madt, madt_size);
}

static void put_tables(size_t fadt_size)
{
    physical_reset();
    put_madt(4);

    static uint8_t fadt[268];
    memset(fadt, 0, sizeof(fadt));
    put32(fadt + FADT_DSDT, DSDT);
    fadt[FADT_SCI_INT] = 9;
    put32(fadt + FADT_SMI_CMD, 0xb2);
    fadt[FADT_ACPI_ENABLE] = 0xf1;
    put32(fadt + FADT_PM1A_EVT_BLK, 0x600);
    put32(fadt + FADT_PM1A_CNT_BLK, 0x604);
    put32(fadt + FADT_PM_TMR_BLK, 0x608);
    fadt[FADT_PM1_EVT_LEN] = 4;
    fadt[FADT_PM_TMR_LEN] = 4;
    fadt[FADT_CENTURY] = 0x32;
    put32(fadt + FADT_FLAGS, FADT_FLAG_RESET_REG_SUP);
    fadt[FADT_RESET_REG] = 1;
    put64(fadt + FADT_RESET_REG + 4, 0xcf9);
    fadt[FADT_RESET_VALUE] = 0xf;
    put64(fadt + FADT_X_DSDT, DSDT);
    put64(fadt + FADT_SLEEP_CONTROL_REG + 4, 0xfea00200);
    put_table(FADT, "FACP", fadt, fadt_size);

    uint8_t dsdt[HEADER_SIZE + sizeof(aml)] = {0};
    memcpy(dsdt + HEADER_SIZE, aml, sizeof(aml));
    put_table(DSDT, "DSDT", dsdt, sizeof(dsdt));

    uint8_t xsdt[HEADER_SIZE + 24] = {0};
    put64(xsdt + HEADER_SIZE, 0xdeadbeef000); /* nothing there */
    put64(xsdt + HEADER_SIZE + 8, FADT);
    put64(xsdt + HEADER_SIZE + 16, MADT);
    put_table(XSDT, "XSDT", xsdt, sizeof(xsdt));

    memset(rsdp_copy, 0, sizeof(rsdp_copy));
    memcpy(rsdp_copy, "RSD PTR ", 8);
    rsdp_copy[15] = 2;
    put32(rsdp_copy + 20, 36);
    put64(rsdp_copy + 24, XSDT);
    fix_checksum(rsdp_copy, 20, 8);
    fix_checksum(rsdp_copy, 36, 32);
    rsdp_copy_size = 36;
}

static void check_sane(void)
{
    CHECK(acpi.cpu_count >= 1 && acpi.cpu_count <= HAL_MAX_CPUS);
    CHECK(acpi.ioapic_count <= ACPI_MAX_IOAPICS);
    for (unsigned i = 0; i < acpi.cpu_count; i++) {
        for (unsigned k = 0; k < i; k++) {
            CHECK(acpi.apic_ids[i] != acpi.apic_ids[k]);
        }
    }
}

static void test_tables(void)
{
    put_tables(268);
    acpi_init(4, false);
    check_sane();
    CHECK(acpi.cpu_count == 4 && acpi.apic_ids[0] == 4 && acpi.apic_ids[1] == 0 &&
          acpi.apic_ids[2] == 2);
    CHECK(acpi.ioapic_count == 2 && acpi.ioapics[1].gsi_base == 24);
    CHECK(acpi.isa[0].gsi == 2 && !acpi.isa[0].level && acpi.isa_overridden[0] &&
          !acpi.isa_overridden[4]);
    CHECK(acpi.isa[9].level && acpi.isa[9].active_low && acpi.isa[4].gsi == 4);
    CHECK(acpi.have_fadt && acpi.pm1a_control == 0x604 && acpi.pm_timer == 0x608 &&
          acpi.fixed_power_button);
    CHECK(acpi.reset.space == 1 && acpi.reset.address == 0xcf9 && acpi.reset_value == 0xf);
    CHECK(acpi.dsdt_size == sizeof(aml));
    acpi_init(4, true);
    CHECK(acpi.cpu_count == 5 && acpi.apic_ids[4] == 300);
}

static void test_old_tables(void)
{
    put_tables(116);
    uint8_t rsdt[HEADER_SIZE + 8] = {0};
    put32(rsdt + HEADER_SIZE, FADT);
    put32(rsdt + HEADER_SIZE + 4, MADT);
    put_table(0x7fe4000, "RSDT", rsdt, sizeof(rsdt));
    rsdp_copy[15] = 0;
    put32(rsdp_copy + 16, 0x7fe4000);
    fix_checksum(rsdp_copy, 20, 8);
    rsdp_copy_size = 20;
    acpi_init(0, false);
    CHECK(acpi.cpu_count == 4 && acpi.have_fadt && acpi.reset.address == 0 && acpi.dsdt != NULL);
}

static void test_scan(void)
{
    put_tables(268);
    uint8_t area[0x20000] = {0};
    memcpy(area + 0x15000, rsdp_copy, 36);
    memcpy(area + 0x14000, "RSD PTR bad", 11);
    physical_put(0xe0000, area, sizeof(area));
    rsdp_copy_size = 0;
    acpi_init(0, false);
    CHECK(acpi.cpu_count == 4);
    physical_reset();
    acpi_init(7, false);
    CHECK(acpi.cpu_count == 1 && acpi.apic_ids[0] == 7 &&
          acpi.ioapics[0].address == DEFAULT_IOAPIC);
    CHECK(!acpi.have_fadt && console_has("no tables"));
}

static void test_many_cpus(void)
{
    static uint8_t many[44 + 100 * 8];
    put_tables(268);
    memcpy(many, madt, 44);
    for (unsigned i = 0; i < 100; i++) {
        memcpy(many + 44 + i * 8, (uint8_t[]){0, 8, (uint8_t)i, (uint8_t)i, 1, 0, 0, 0}, 8);
    }
    memset(physical_at(MADT), 0, 4);
    put_table(0x7fe8000, "APIC", many, sizeof(many));
    put64((uint8_t *)physical_at(XSDT) + HEADER_SIZE + 16, 0x7fe8000);
    fix_checksum(physical_at(XSDT), HEADER_SIZE + 24, 9);
    acpi_init(99, false);
    check_sane();
    CHECK(acpi.cpu_count == HAL_MAX_CPUS && acpi.apic_ids[0] == 99 && acpi.apic_ids[63] == 62);
}

/* A device in memory as QEMU's microvm has it, with its line on an IOAPIC of its own. */
static const uint8_t mmio_aml[] = {
    0x5b, 0x82, 0x3d, 'V',  'R',  '0',  '7',  0x08, '_',  'H',  'I',  'D',  0x0d, 'L',  'N',  'R',
    'O',  '0',  '0',  '0',  '5',  0x00, 0x08, '_',  'U',  'I',  'D',  0x0a, 0x07, 0x08, '_',  'C',
    'R',  'S',  0x11, 0x1a, 0x0a, 0x17, 0x86, 0x09, 0x00, 0x01, 0x00, 0x0e, 0xb0, 0xfe, 0x00, 0x02,
    0x00, 0x00, 0x89, 0x06, 0x00, 0x01, 0x01, 0x1f, 0x00, 0x00, 0x00, 0x79, 0x00};

static unsigned count_mmio(const uint8_t *bytes, size_t size, struct hal_mmio_device *device)
{
    size_t at = 0;
    unsigned count = 0;
    while (acpi_next_virtio_mmio(bytes, size, &at, device)) {
        count++;
    }
    return count;
}

static void test_virtio_mmio(void)
{
    struct hal_mmio_device device;
    CHECK(count_mmio(aml, sizeof(aml), &device) == 0);
    CHECK(count_mmio(mmio_aml, sizeof(mmio_aml), &device) == 1);
    CHECK(device.base == 0xfeb00e00 && device.size == 512);
    CHECK(device.line.gsi == 31 && device.line.level && !device.line.active_low);
    uint8_t two[2 * sizeof(mmio_aml)];
    memcpy(two, mmio_aml, sizeof(mmio_aml));
    memcpy(two + sizeof(mmio_aml), mmio_aml, sizeof(mmio_aml));
    CHECK(count_mmio(two, sizeof(two), &device) == 2);
    for (unsigned i = 0; i < 50000; i++) {
        size_t size = test_random() % (sizeof(two) + 1);
        uint8_t *changed = malloc(size != 0 ? size : 1);
        memcpy(changed, two, size);
        for (unsigned k = test_random() % 4; k > 0 && size > 0; k--) {
            changed[test_random() % size] = (uint8_t)test_random();
        }
        count_mmio(changed, size, &device);
        free(changed);
    }
}

/* QEMU's registers for slots: the name is also that of a field, and of one in memory. */
static void test_ports(void)
{
    static const uint8_t regions[] = {0x5b, 0x81, 0x07, 'P',  'C',  'S',  'T',  0x43,
                                      0x5b, 0x80, 'P',  'C',  'S',  'T',  0x00, 0x0b,
                                      0x34, 0x12, 0x0a, 0x08, 0x5b, 0x80, 'P',  'C',
                                      'S',  'T',  0x01, 0x0b, 0x00, 0xae, 0x0a, 0x08};
    CHECK(acpi_find_ports(regions, sizeof(regions), "PCST") == 0xae00);
    CHECK(acpi_find_ports(regions, sizeof(regions), "PCSU") == 0);
    CHECK(acpi_find_ports(NULL, 0, "PCST") == 0);
    for (unsigned i = 0; i < 50000; i++) {
        size_t size = test_random() % (sizeof(regions) + 1);
        uint8_t *changed = malloc(size != 0 ? size : 1);
        memcpy(changed, regions, size);
        for (unsigned k = test_random() % 3; k > 0 && size > 0; k--) {
            changed[test_random() % size] = (uint8_t)test_random();
        }
        acpi_find_ports(changed, size, "PCST");
        free(changed);
    }
}

static void test_byte_code(void)
{
    uint8_t a, b;
    CHECK(acpi_find_s5(aml, sizeof(aml), &a, &b) && a == 5 && b == 0);
    struct acpi_event_device device;
    CHECK(acpi_find_event_device(aml, sizeof(aml), &device));
    CHECK(device.address == 0xfea00000 && device.line.gsi == 9 && !device.line.level &&
          device.wide);
    CHECK(device.power_button == 2);
    /* Cut off anywhere, in memory of just that size. */
    for (size_t size = 0; size < sizeof(aml); size++) {
        uint8_t *cut = malloc(size + 1);
        memcpy(cut + 1, aml, size);
        acpi_find_s5(cut + 1, size, &a, &b);
        acpi_find_event_device(cut + 1, size, &device);
        free(cut);
    }
    for (unsigned i = 0; i < 50000; i++) {
        uint8_t *changed = malloc(sizeof(aml));
        memcpy(changed, aml, sizeof(aml));
        for (unsigned k = test_random() % 4; k > 0; k--) {
            changed[test_random() % sizeof(aml)] = (uint8_t)test_random();
        }
        acpi_find_s5(changed, sizeof(aml), &a, &b);
        acpi_find_event_device(changed, sizeof(aml), &device);
        free(changed);
    }
}

/* Changed and cut-off tables, with the checksum made right again, so that the parser sees them. */
static void test_mutations(void)
{
    static const uint64_t tables[] = {MADT, FADT, XSDT, DSDT};
    for (unsigned i = 0; i < 20000; i++) {
        put_tables(268);
        uint8_t *table = physical_at(tables[test_random() % 4]);
        uint32_t size;
        memcpy(&size, table + 4, 4);
        for (unsigned k = test_random() % 4; k > 0; k--) {
            table[4 + test_random() % (size - 4)] = (uint8_t)test_random();
        }
        put32(table + 4, test_random() % 4 == 0 ? test_random() % (size + 20) : size);
        uint32_t now;
        memcpy(&now, table + 4, 4);
        fix_checksum(table, now < size && now >= 10 ? now : size, 9);
        acpi_init(0, test_random() % 2 == 0);
        check_sane();
        uint8_t a, b;
        struct acpi_event_device device;
        acpi_find_s5(acpi.dsdt, acpi.dsdt_size, &a, &b);
        acpi_find_event_device(acpi.dsdt, acpi.dsdt_size, &device);
    }
}

int main(void)
{
    test_tables();
    test_old_tables();
    test_scan();
    test_many_cpus();
    test_byte_code();
    test_ports();
    test_virtio_mmio();
    test_mutations();
    physical_reset();
    return 0;
}
