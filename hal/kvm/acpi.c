/* SPDX-License-Identifier: MIT */
/* The ACPI tables that a kernel without an AML interpreter can use (ACPI 6.5, chapter 5): MADT for
 * CPUs and interrupt lines, FADT for power, and constants looked up in the DSDT's byte code.
 * Tables may be missing, truncated or wrong: what does not check out is left at its default. `acpi`
 * is written once, by the boot CPU. */
#include "core/lib/log.h"
#include "core/lib/string.h"
#include "kvm_internal.h"

#define HEADER_SIZE 36
#define TABLE_MAX_SIZE (1u << 20)
#define MAX_TABLES 256

#define DEFAULT_IOAPIC 0xfec00000u

struct acpi_facts acpi;

static uint16_t load16(const uint8_t *at)
{
    uint16_t value;
    memcpy(&value, at, sizeof(value));
    return value;
}

static uint32_t load32(const uint8_t *at)
{
    uint32_t value;
    memcpy(&value, at, sizeof(value));
    return value;
}

static uint64_t load64(const uint8_t *at)
{
    uint64_t value;
    memcpy(&value, at, sizeof(value));
    return value;
}

static bool checksum_ok(const uint8_t *bytes, size_t size)
{
    uint8_t sum = 0;
    for (size_t i = 0; i < size; i++) {
        sum = (uint8_t)(sum + bytes[i]);
    }
    return sum == 0;
}

/* --- finding tables --------------------------------------------------------------------------- */

static bool rsdp_ok(const uint8_t *rsdp)
{
    return memcmp(rsdp, "RSD PTR ", 8) == 0 && checksum_ok(rsdp, 20);
}

static const uint8_t *scan_for_rsdp(uint64_t base, uint64_t size)
{
    const uint8_t *area = physical_view(base, size);
    for (uint64_t at = 0; area != NULL && at + 36 <= size; at += 16) {
        if (area[at] == 'R' && rsdp_ok(area + at)) {
            return area + at;
        }
    }
    return NULL;
}

/* What the loader named, else where BIOSes put it (ACPI 6.5, 5.2.5.1). */
static const uint8_t *find_rsdp(size_t *size)
{
    const uint8_t *rsdp = boot_info_rsdp(size);
    if (rsdp != NULL && rsdp_ok(rsdp)) {
        return rsdp;
    }
    *size = 36;
    const uint8_t *ebda = physical_view(0x40e, 2);
    uint64_t segment = ebda != NULL ? (uint64_t)load16(ebda) << 4 : 0;
    if (segment >= 0x80000 && segment < 0xa0000) {
        rsdp = scan_for_rsdp(segment, 1024);
    } else {
        rsdp = NULL;
    }
    return rsdp != NULL ? rsdp : scan_for_rsdp(0xe0000, 0x20000);
}

/* The whole table, if its length is sane and (for all but the DSDT, which nothing reads at boot)
 * its sum right. */
static const uint8_t *view_table(uint64_t physical, const char *signature, size_t *size)
{
    const uint8_t *header = physical_view(physical, HEADER_SIZE);
    if (header == NULL || memcmp(header, signature, 4) != 0) {
        return NULL;
    }
    uint32_t length = load32(header + 4);
    if (length < HEADER_SIZE || length > TABLE_MAX_SIZE) {
        return NULL;
    }
    const uint8_t *table = physical_view(physical, length);
    if (table != NULL && memcmp(signature, "DSDT", 4) != 0 && !checksum_ok(table, length)) {
        log_warn("acpi: the checksum of %.4s is wrong", signature);
        return NULL;
    }
    *size = length;
    return table;
}

static uint64_t root_entry(const uint8_t *root, size_t entry_size, size_t index)
{
    const uint8_t *at = root + HEADER_SIZE + index * entry_size;
    return entry_size == 8 ? load64(at) : load32(at);
}

static const uint8_t *find_table(const uint8_t *root, size_t root_size, size_t entry_size,
                                 const char *signature, size_t *size)
{
    size_t count = (root_size - HEADER_SIZE) / entry_size;
    for (size_t i = 0; i < count && i < MAX_TABLES; i++) {
        const uint8_t *table = view_table(root_entry(root, entry_size, i), signature, size);
        if (table != NULL) {
            return table;
        }
    }
    return NULL;
}

/* --- MADT (ACPI 6.5, 5.2.12) ------------------------------------------------------------------ */

enum {
    MADT_LOCAL_APIC = 0,
    MADT_IOAPIC = 1,
    MADT_INTERRUPT_OVERRIDE = 2,
    MADT_LOCAL_X2APIC = 9,
};

#define MADT_CPU_ENABLED 1u

static void add_cpu(uint32_t apic_id, uint32_t flags, bool x2apic)
{
    if ((flags & MADT_CPU_ENABLED) == 0 || (apic_id >= 255 && !x2apic)) {
        return;
    }
    for (unsigned i = 0; i < acpi.cpu_count; i++) {
        if (acpi.apic_ids[i] == apic_id) {
            return;
        }
    }
    if (acpi.cpu_count == HAL_MAX_CPUS) {
        log_warn("acpi: more than %u CPUs; CPU with APIC id %u is left alone", HAL_MAX_CPUS,
                 apic_id);
        return;
    }
    acpi.apic_ids[acpi.cpu_count++] = apic_id;
}

static void add_override(const uint8_t *entry)
{
    uint8_t source = entry[3];
    uint16_t flags = load16(entry + 8);
    if (entry[2] != 0 || source >= ISA_IRQ_COUNT) {
        return;
    }
    /* Polarity in bits 0-1, trigger in bits 2-3; 0 means as on the ISA bus. */
    acpi.isa[source] = (struct hal_line){
        .gsi = load32(entry + 4),
        .active_low = (flags & 3) == 3,
        .level = (flags >> 2 & 3) == 3,
    };
    acpi.isa_overridden[source] = true;
}

static void parse_madt(const uint8_t *madt, size_t size, bool x2apic)
{
    if (size < HEADER_SIZE + 8) {
        return;
    }
    acpi.ioapic_count = 0;
    for (size_t at = HEADER_SIZE + 8; at + 2 <= size;) {
        const uint8_t *entry = madt + at;
        uint8_t length = entry[1];
        if (length < 2 || length > size - at) {
            log_warn("acpi: the MADT is damaged at byte %zu", at);
            return;
        }
        if (entry[0] == MADT_LOCAL_APIC && length >= 8) {
            if (entry[3] != 255) { /* the broadcast id: an empty slot */
                add_cpu(entry[3], load32(entry + 4), x2apic);
            }
        } else if (entry[0] == MADT_LOCAL_X2APIC && length >= 16) {
            add_cpu(load32(entry + 4), load32(entry + 8), x2apic);
        } else if (entry[0] == MADT_IOAPIC && length >= 12) {
            if (acpi.ioapic_count < ACPI_MAX_IOAPICS) {
                acpi.ioapics[acpi.ioapic_count++] = (struct acpi_ioapic){
                    .address = load32(entry + 4), .gsi_base = load32(entry + 8)};
            }
        } else if (entry[0] == MADT_INTERRUPT_OVERRIDE && length >= 10) {
            add_override(entry);
        }
        at += length;
    }
}

/* --- MCFG (PCI firmware specification 3.3, 4.1.2) --------------------------------------------- */

static void parse_mcfg(const uint8_t *mcfg, size_t size)
{
    for (size_t at = HEADER_SIZE + 8; at + 16 <= size; at += 16) {
        uint8_t first = mcfg[at + 10], last = mcfg[at + 11];
        if (load16(mcfg + at + 8) == 0 && first <= last) { /* segment group 0 */
            acpi.ecam = load64(mcfg + at);
            acpi.ecam_first_bus = first;
            acpi.ecam_last_bus = last;
            return;
        }
    }
}

/* --- FADT (ACPI 6.5, 5.2.9) ------------------------------------------------------------------- */

enum {
    FADT_DSDT = 40,
    FADT_SCI_INT = 46,
    FADT_SMI_CMD = 48,
    FADT_ACPI_ENABLE = 52,
    FADT_PM1A_EVT_BLK = 56,
    FADT_PM1B_EVT_BLK = 60,
    FADT_PM1A_CNT_BLK = 64,
    FADT_PM1B_CNT_BLK = 68,
    FADT_PM_TMR_BLK = 76,
    FADT_GPE0_BLK = 80,
    FADT_PM1_EVT_LEN = 88,
    FADT_PM_TMR_LEN = 91,
    FADT_GPE0_BLK_LEN = 92,
    FADT_CENTURY = 108,
    FADT_FLAGS = 112,
    FADT_RESET_REG = 116,
    FADT_RESET_VALUE = 128,
    FADT_X_DSDT = 140,
    FADT_SLEEP_CONTROL_REG = 244,
};

#define FADT_MIN_SIZE 116              /* ACPI 1.0 */
#define FADT_FLAG_PWR_BUTTON (1u << 4) /* set: the button is a device of the DSDT */
#define FADT_FLAG_RESET_REG_SUP (1u << 10)
#define FADT_FLAG_HW_REDUCED (1u << 20)

static uint16_t fadt_port(const uint8_t *fadt, size_t offset)
{
    uint32_t port = load32(fadt + offset);
    return port <= 0xfff0 ? (uint16_t)port : 0;
}

static struct acpi_register fadt_register(const uint8_t *fadt, size_t size, size_t offset)
{
    struct acpi_register none = {0, 0};
    if (size < offset + 12) {
        return none;
    }
    struct acpi_register r = {.space = fadt[offset], .address = load64(fadt + offset + 4)};
    return r.space <= 1 && (r.space == 0 || r.address <= 0xffff) ? r : none;
}

static void parse_fadt(const uint8_t *fadt, size_t size)
{
    if (size < FADT_MIN_SIZE) {
        return;
    }
    uint32_t flags = load32(fadt + FADT_FLAGS);
    acpi.have_fadt = true;
    acpi.reduced_hardware = (flags & FADT_FLAG_HW_REDUCED) != 0;
    acpi.century_register = fadt[FADT_CENTURY];
    if (!acpi.reduced_hardware) {
        acpi.sci_irq = load16(fadt + FADT_SCI_INT);
        acpi.smi_command = fadt_port(fadt, FADT_SMI_CMD);
        acpi.acpi_enable = fadt[FADT_ACPI_ENABLE];
        acpi.pm1a_event = fadt_port(fadt, FADT_PM1A_EVT_BLK);
        acpi.pm1b_event = fadt_port(fadt, FADT_PM1B_EVT_BLK);
        acpi.pm1a_control = fadt_port(fadt, FADT_PM1A_CNT_BLK);
        acpi.pm1b_control = fadt_port(fadt, FADT_PM1B_CNT_BLK);
        acpi.pm1_event_length = fadt[FADT_PM1_EVT_LEN];
        acpi.pm_timer = fadt[FADT_PM_TMR_LEN] >= 4 ? fadt_port(fadt, FADT_PM_TMR_BLK) : 0;
        acpi.gpe0 = fadt_port(fadt, FADT_GPE0_BLK);
        acpi.gpe0_length = fadt[FADT_GPE0_BLK_LEN];
        acpi.fixed_power_button = (flags & FADT_FLAG_PWR_BUTTON) == 0;
    }
    if ((flags & FADT_FLAG_RESET_REG_SUP) != 0 && size > FADT_RESET_VALUE) {
        acpi.reset = fadt_register(fadt, size, FADT_RESET_REG);
        acpi.reset_value = fadt[FADT_RESET_VALUE];
    }
    acpi.sleep_control = fadt_register(fadt, size, FADT_SLEEP_CONTROL_REG);

    uint64_t dsdt = size >= FADT_X_DSDT + 8 ? load64(fadt + FADT_X_DSDT) : 0;
    size_t dsdt_size = 0;
    const uint8_t *table =
        view_table(dsdt != 0 ? dsdt : load32(fadt + FADT_DSDT), "DSDT", &dsdt_size);
    if (table != NULL) {
        acpi.dsdt = table + HEADER_SIZE;
        acpi.dsdt_size = dsdt_size - HEADER_SIZE;
    }
}

static void set_defaults(uint32_t boot_apic_id)
{
    memset(&acpi, 0, sizeof(acpi));
    acpi.cpu_count = 1;
    acpi.apic_ids[0] = boot_apic_id;
    acpi.ioapic_count = 1;
    acpi.ioapics[0] = (struct acpi_ioapic){.address = DEFAULT_IOAPIC, .gsi_base = 0};
    for (unsigned i = 0; i < ISA_IRQ_COUNT; i++) {
        acpi.isa[i] = (struct hal_line){.gsi = i};
    }
}

void acpi_init(uint32_t boot_apic_id, bool x2apic)
{
    set_defaults(boot_apic_id);
    size_t rsdp_size, root_size = 0, size;
    const uint8_t *rsdp = find_rsdp(&rsdp_size);
    const uint8_t *root = NULL;
    size_t entry_size = 4;
    if (rsdp != NULL && rsdp[15] >= 2 && rsdp_size >= 36 && checksum_ok(rsdp, 36)) {
        root = view_table(load64(rsdp + 24), "XSDT", &root_size);
        entry_size = 8;
    }
    if (rsdp != NULL && root == NULL) {
        root = view_table(load32(rsdp + 16), "RSDT", &root_size);
        entry_size = 4;
    }
    if (root == NULL) {
        log_warn("acpi: no tables found: one CPU, interrupts as on a PC, no power control");
        return;
    }
    const uint8_t *table = find_table(root, root_size, entry_size, "APIC", &size);
    if (table != NULL) {
        parse_madt(table, size, x2apic);
    } else {
        log_warn("acpi: no MADT: one CPU, interrupts as on a PC");
    }
    table = find_table(root, root_size, entry_size, "MCFG", &size);
    if (table != NULL) {
        parse_mcfg(table, size);
    }
    table = find_table(root, root_size, entry_size, "FACP", &size);
    if (table != NULL) {
        parse_fadt(table, size);
    } else {
        log_warn("acpi: no FADT: no power control");
    }
}

/* --- byte code (ACPI 6.5, chapter 20) --------------------------------------------------------- */

/* The offset just behind the next `pattern` at or after `from`; 0: none. */
static size_t find_bytes(const uint8_t *aml, size_t size, size_t from, const void *pattern,
                         size_t length)
{
    while (from + length <= size) {
        const uint8_t *hit =
            memchr(aml + from, *(const uint8_t *)pattern, size - from - length + 1);
        if (hit == NULL) {
            return 0;
        }
        if (memcmp(hit, pattern, length) == 0) {
            return (size_t)(hit - aml) + length;
        }
        from = (size_t)(hit - aml) + 1;
    }
    return 0;
}

/* An integer constant (ACPI 6.5, 20.2.3); moves `*at` behind it. */
static bool aml_integer(const uint8_t *aml, size_t size, size_t *at, uint64_t *value)
{
    if (*at >= size) {
        return false;
    }
    uint8_t op = aml[(*at)++];
    size_t bytes;
    switch (op) {
    case 0x00:
    case 0x01:
        *value = op;
        return true;
    case 0xff:
        *value = UINT64_MAX;
        return true;
    case 0x0a:
        bytes = 1;
        break;
    case 0x0b:
        bytes = 2;
        break;
    case 0x0c:
        bytes = 4;
        break;
    case 0x0e:
        bytes = 8;
        break;
    default:
        return false;
    }
    if (size - *at < bytes) {
        return false;
    }
    *value = 0;
    memcpy(value, aml + *at, bytes);
    *at += bytes;
    return true;
}

bool acpi_find_s5(const uint8_t *aml, size_t size, uint8_t *type_a, uint8_t *type_b)
{
    if (aml == NULL) {
        return false;
    }
    /* Name (_S5, Package (n) {SLP_TYPa, SLP_TYPb, ...}) */
    for (size_t at = 0; (at = find_bytes(aml, size, at, "_S5_", 4)) != 0;) {
        size_t p = at;
        if (p + 2 > size || aml[p] != 0x12) {
            continue;
        }
        p += 2 + (aml[p + 1] >> 6);      /* PackageOp, PkgLength */
        if (p >= size || aml[p++] < 1) { /* NumElements */
            continue;
        }
        uint64_t a, b;
        if (!aml_integer(aml, size, &p, &a)) {
            continue;
        }
        if (!aml_integer(aml, size, &p, &b)) {
            b = 0;
        }
        *type_a = a & 7;
        *type_b = b & 7;
        return true;
    }
    return false;
}

/* The bit in: If (... And (x, bit) ...) {Notify (PWRB, ...)}. */
static uint32_t power_button_bit(const uint8_t *aml, size_t size, size_t from)
{
    size_t notify = find_bytes(aml, size, from, "PWRB", 4);
    size_t lowest = notify > from + 32 ? notify - 32 : from;
    for (size_t at = notify; at > lowest; at--) {
        if (aml[at - 1] != 0x7b || at >= size) { /* AndOp */
            continue;
        }
        bool local = aml[at] >= 0x60 && aml[at] <= 0x67;
        size_t operand = at + (local ? 1 : 4);
        uint64_t bit;
        if (aml_integer(aml, notify, &operand, &bit) && bit != 0 && bit <= UINT32_MAX) {
            return (uint32_t)bit;
        }
    }
    return 0;
}

/* An extended interrupt descriptor with one line (ACPI 6.5, 6.4.3.6) at `at`. */
static bool aml_line(const uint8_t *aml, size_t size, size_t at, struct hal_line *line)
{
    if (at + 9 > size || aml[at] != 0x89 || load16(aml + at + 1) != 6 || aml[at + 4] != 1) {
        return false;
    }
    *line = (struct hal_line){
        .gsi = load32(aml + at + 5),
        .level = (aml[at + 3] & 2) == 0,
        .active_low = (aml[at + 3] & 4) != 0,
    };
    return true;
}

bool acpi_next_virtio_mmio(const uint8_t *aml, size_t size, size_t *at,
                           struct hal_mmio_device *device)
{
    size_t start = *at;
    while (aml != NULL && (start = find_bytes(aml, size, start, "LNRO0005", 8)) != 0) {
        *at = start;
        bool have_memory = false, have_line = false;
        /* Its resources: a 32-bit fixed memory range (6.4.3.4), and its line. */
        for (size_t p = start; p < size && p < start + 128 && !(have_memory && have_line); p++) {
            if (!have_memory && p + 12 <= size && aml[p] == 0x86 && load16(aml + p + 1) == 9) {
                device->base = load32(aml + p + 4);
                device->size = load32(aml + p + 8);
                have_memory = device->base != 0;
                p += 11;
            } else if (have_memory && aml_line(aml, size, p, &device->line)) {
                have_line = true;
            }
        }
        if (have_memory && have_line) {
            return true;
        }
    }
    return false;
}

bool acpi_find_event_device(const uint8_t *aml, size_t size, struct acpi_event_device *device)
{
    static const uint8_t region_op[2] = {0x5b, 0x80};
    size_t start = aml != NULL ? find_bytes(aml, size, 0, "ACPI0013", 8) : 0;
    if (start == 0) {
        return false;
    }
    bool have_line = false;
    for (size_t at = start; at < size && at < start + 128 && !have_line; at++) {
        have_line = aml_line(aml, size, at, &device->line);
    }
    /* The region that its _EVT reads: OperationRegion (name, SystemMemory, address, length). */
    size_t at = find_bytes(aml, size, start, region_op, sizeof(region_op));
    if (!have_line || at == 0 || at + 5 > size || aml[at + 4] != 0) {
        return false;
    }
    at += 5;
    uint64_t length;
    if (!aml_integer(aml, size, &at, &device->address) || !aml_integer(aml, size, &at, &length) ||
        device->address == 0) {
        return false;
    }
    device->wide = length >= 4;
    device->power_button = power_button_bit(aml, size, at);
    return device->power_button != 0;
}

uint16_t acpi_find_ports(const uint8_t *aml, size_t size, const char *name)
{
    uint64_t port;
    for (size_t at = 0; aml != NULL && (at = find_bytes(aml, size, at, name, 4)) != 0;) {
        /* OperationRegion (name, SystemIO, port, length) */
        size_t space = at;
        if (at >= 6 && aml[at - 6] == 0x5b && aml[at - 5] == 0x80 && space < size &&
            aml[space++] == 1 && aml_integer(aml, size, &space, &port) && port <= UINT16_MAX) {
            return (uint16_t)port;
        }
    }
    return 0;
}
