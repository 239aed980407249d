/* SPDX-License-Identifier: MIT */
/* PCI configuration space (by the ports of the host bridge, or in memory where the MCFG table says
 * so and there are no ports), the search for functions, BARs and MSI-X. The firmware has numbered
 * the buses and placed the BARs. One thread at boot; no lock. */
#include <linux/errno.h>

#include "core/lib/string.h"
#include "kvm_internal.h"

/* PCI 3.0, 3.2.2.3.2 */
#define CONFIG_ADDRESS 0xcf8
#define CONFIG_DATA 0xcfc
#define CONFIG_ENABLE (1u << 31)

/* PCI 3.0, 6.1 and 6.2 */
enum {
    PCI_COMMAND = 0x04,
    PCI_HEADER_TYPE = 0x0e,
    PCI_BAR0 = 0x10,
    PCI_SECONDARY_BUS = 0x19,
    PCI_CAPABILITIES = 0x34,
    PCI_INTERRUPT_LINE = 0x3c,
    PCI_INTERRUPT_PIN = 0x3d,
};

#define COMMAND_IO 1u
#define COMMAND_MEMORY 2u
#define COMMAND_MASTER 4u
#define COMMAND_NO_LINE 0x400u
#define STATUS_CAPABILITIES (1u << 20) /* as seen from PCI_COMMAND */
#define HEADER_BRIDGE 1
#define HEADER_MANY_FUNCTIONS 0x80
#define BAR_IO 1u
#define BAR_64 4u
#define MAX_CAPABILITIES 48

#define CAP_ID_MSIX 0x11
#define MSIX_CONTROL 2
#define MSIX_TABLE 4
#define MSIX_COUNT 0x7ffu
#define MSIX_ENABLE 0x8000u
#define MSIX_MASK_ALL 0x4000u

#define DEVICES 32
#define FUNCTIONS 8
#define BUSES 256
#define FUNCTION_SPACE 4096 /* in memory */
#define REGION_MAX 0x10000u

struct pci_msix_entry {
    uint32_t address_low, address_high, data, control;
};
#define MSIX_ENTRY_MASKED 1u

/* --- configuration space ---------------------------------------------------------------------- */

static uint32_t read_register(const struct pci_device *device, unsigned offset)
{
    if (device->config != NULL) {
        return device->config[offset / 4];
    }
    port_write32(CONFIG_ADDRESS, CONFIG_ENABLE | (uint32_t)device->address << 8 | (offset & ~3u));
    return port_read32(CONFIG_DATA);
}

void pci_write(const struct pci_device *device, unsigned offset, uint32_t value)
{
    if (device->config != NULL) {
        device->config[offset / 4] = value;
        return;
    }
    port_write32(CONFIG_ADDRESS, CONFIG_ENABLE | (uint32_t)device->address << 8 | (offset & ~3u));
    port_write32(CONFIG_DATA, value);
}

uint32_t pci_read(const struct pci_device *device, unsigned offset, unsigned width)
{
    uint32_t value = read_register(device, offset) >> (offset % 4 * 8);
    return width == 4 ? value : value & ((1u << width * 8) - 1);
}

/* The status bits in the upper half are cleared by ones, so zeroes leave them alone. */
static void write_command(const struct pci_device *device, uint32_t set)
{
    pci_write(device, PCI_COMMAND, pci_read(device, PCI_COMMAND, 2) | set);
}

unsigned pci_find_capability(const struct pci_device *device, uint8_t id, unsigned after)
{
    if ((read_register(device, PCI_COMMAND) & STATUS_CAPABILITIES) == 0) {
        return 0;
    }
    unsigned at = pci_read(device, after != 0 ? after + 1 : PCI_CAPABILITIES, 1) & ~3u;
    for (unsigned i = 0; at >= 0x40 && i < MAX_CAPABILITIES; i++) {
        uint32_t header = read_register(device, at);
        if ((header & 0xff) == id) {
            return at;
        }
        at = header >> 8 & 0xfc;
    }
    return 0;
}

void pci_enable(const struct pci_device *device)
{
    write_command(device, COMMAND_IO | COMMAND_MEMORY | COMMAND_MASTER);
}

/* --- BARs (PCI 3.0, 6.2.5.1) ------------------------------------------------------------------ */

/* The size of a BAR, found by writing ones to it while the function answers to none; 0: it has no
 * such BAR. */
static uint64_t find_bar_size(const struct pci_device *device, unsigned bar)
{
    unsigned offset = PCI_BAR0 + bar * 4;
    uint32_t command = pci_read(device, PCI_COMMAND, 2);
    pci_write(device, PCI_COMMAND, command & ~(COMMAND_IO | COMMAND_MEMORY));
    uint32_t low = read_register(device, offset);
    pci_write(device, offset, UINT32_MAX);
    uint64_t mask = read_register(device, offset);
    pci_write(device, offset, low);
    if ((low & BAR_IO) != 0) {
        mask = mask == 0 ? 0 : mask | 0xffff0000u; /* the upper half need not be there */
        mask &= ~3ull;
    } else {
        mask &= ~15ull;
    }
    if ((low & (BAR_IO | BAR_64)) == BAR_64 && bar + 1 < PCI_BAR_COUNT) {
        uint32_t high = read_register(device, offset + 4);
        pci_write(device, offset + 4, UINT32_MAX);
        mask |= (uint64_t)read_register(device, offset + 4) << 32;
        pci_write(device, offset + 4, high);
    } else if (mask != 0) {
        mask |= 0xffffffffull << 32;
    }
    pci_write(device, PCI_COMMAND, command);
    return mask & -mask;
}

int pci_map(struct pci_device *device, unsigned bar, uint64_t offset, uint32_t length,
            struct pci_region *region)
{
    if (bar >= PCI_BAR_COUNT) {
        return -ENODEV;
    }
    if (device->bar_size[bar] == 0) {
        device->bar_size[bar] = find_bar_size(device, bar);
    }
    uint64_t size = device->bar_size[bar];
    uint32_t low = read_register(device, PCI_BAR0 + bar * 4);
    bool io = (low & BAR_IO) != 0;
    uint64_t base = low & (io ? ~3u : ~15u);
    if ((low & (BAR_IO | BAR_64)) == BAR_64 && bar + 1 < PCI_BAR_COUNT) {
        base |= (uint64_t)read_register(device, PCI_BAR0 + bar * 4 + 4) << 32;
    }
    if (base == 0 || size == 0) {
        return -ENODEV;
    }
    if (length == 0 && offset < size) {
        length = size - offset < REGION_MAX ? (uint32_t)(size - offset) : REGION_MAX;
    }
    if (length == 0 || offset > size || length > size - offset) {
        return -EINVAL;
    }
    *region = (struct pci_region){.length = length};
    if (io) {
        region->port = (uint16_t)(base + offset);
        return base + offset + length <= 0x10000 ? 0 : -EINVAL;
    }
    region->memory = hal_map_device(base + offset, length);
    return region->memory != NULL ? 0 : -ENOMEM;
}

uint32_t pci_region_read(const struct pci_region *region, unsigned offset, unsigned width)
{
    volatile uint8_t *at = region->memory + offset;
    uint16_t port = (uint16_t)(region->port + offset);
    bool memory = region->memory != NULL;
    switch (width) {
    case 1:
        return memory ? *at : port_read8(port);
    case 2:
        return memory ? *(volatile uint16_t *)at : port_read16(port);
    default:
        return memory ? *(volatile uint32_t *)at : port_read32(port);
    }
}

void pci_region_write(const struct pci_region *region, unsigned offset, unsigned width,
                      uint32_t value)
{
    volatile uint8_t *at = region->memory + offset;
    uint16_t port = (uint16_t)(region->port + offset);
    if (region->memory == NULL) {
        if (width == 1) {
            port_write8(port, (uint8_t)value);
        } else if (width == 2) {
            port_write16(port, (uint16_t)value);
        } else {
            port_write32(port, value);
        }
    } else if (width == 1) {
        *at = (uint8_t)value;
    } else if (width == 2) {
        *(volatile uint16_t *)at = (uint16_t)value;
    } else {
        *(volatile uint32_t *)at = value;
    }
}

/* --- interrupts ------------------------------------------------------------------------------- */

int pci_msix_enable(struct pci_device *device)
{
    unsigned at = pci_find_capability(device, CAP_ID_MSIX, 0);
    if (at == 0) {
        return -ENODEV;
    }
    uint32_t header = read_register(device, at), table = read_register(device, at + MSIX_TABLE);
    unsigned count = (header >> 16 & MSIX_COUNT) + 1;
    struct pci_region region;
    int error = pci_map(device, table & 7, table & ~7u,
                        count * (uint32_t)sizeof(struct pci_msix_entry), &region);
    if (error != 0) {
        return error;
    }
    if (region.memory == NULL) {
        return -EINVAL;
    }
    device->msix = (volatile struct pci_msix_entry *)region.memory;
    device->msix_count = count;
    for (unsigned i = 0; i < count; i++) {
        device->msix[i].control = MSIX_ENTRY_MASKED;
    }
    pci_write(device, at, (header & ~(MSIX_MASK_ALL << 16)) | MSIX_ENABLE << 16);
    write_command(device, COMMAND_NO_LINE);
    return 0;
}

int pci_msix_connect(struct pci_device *device, unsigned index, unsigned cpu,
                     hal_interrupt_fn *handler, void *context)
{
    uint32_t address, data;
    int error = interrupt_install_message(cpu, handler, context, &address, &data);
    if (error == 0) {
        volatile struct pci_msix_entry *entry = &device->msix[index];
        entry->address_low = address;
        entry->address_high = 0;
        entry->data = data;
        entry->control = 0;
    }
    return error;
}

/* Without an AML interpreter: firmware has wired each pin to an ISA line of the legacy PIC, which
 * the IOAPIC has too. */
int pci_line_connect(const struct pci_device *device, hal_interrupt_fn *handler, void *context)
{
    unsigned irq = pci_read(device, PCI_INTERRUPT_LINE, 1);
    if (pci_read(device, PCI_INTERRUPT_PIN, 1) == 0 || irq == 0 || irq >= ISA_IRQ_COUNT) {
        return -ENODEV;
    }
    /* Pins are level-triggered whatever the table leaves out. */
    struct hal_line line = {.gsi = acpi.isa[irq].gsi, .level = true};
    line.active_low = acpi.isa_overridden[irq] && acpi.isa[irq].active_low;
    return hal_line_connect(&line, handler, context);
}

/* --- the search ------------------------------------------------------------------------------- */

/* Whether there is a function, which is then ready for pci_read. */
static bool open_function(struct pci_device *device, bool ports, unsigned bus, unsigned slot,
                          unsigned function)
{
    *device = (struct pci_device){.address = (uint16_t)(bus << 8 | slot << 3 | function)};
    if (!ports) {
        uint64_t offset = (uint64_t)(device->address - (acpi.ecam_first_bus << 8)) * FUNCTION_SPACE;
        device->config = hal_map_device(acpi.ecam + offset, FUNCTION_SPACE);
        if (device->config == NULL) {
            return false;
        }
    }
    return pci_read(device, PCI_VENDOR_ID, 2) != 0xffff;
}

bool pci_is_bridge(const struct pci_device *device)
{
    return (pci_read(device, PCI_HEADER_TYPE, 1) & ~HEADER_MANY_FUNCTIONS) == HEADER_BRIDGE;
}

void pci_search(void (*found)(const struct pci_device *device))
{
    bool wanted[BUSES] = {false};
    port_write32(CONFIG_ADDRESS, CONFIG_ENABLE);
    bool ports = port_read32(CONFIG_ADDRESS) == CONFIG_ENABLE;
    unsigned first = ports ? 0 : acpi.ecam_first_bus;
    unsigned last = ports ? BUSES - 1 : acpi.ecam_last_bus;
    if (!ports && acpi.ecam == 0) {
        return;
    }
    wanted[first] = true;
    /* Buses behind a bridge have higher numbers than the bridge's own. */
    for (unsigned bus = first; bus <= last; bus++) {
        for (unsigned slot = 0; wanted[bus] && slot < DEVICES; slot++) {
            unsigned functions = 1;
            for (unsigned function = 0; function < functions; function++) {
                struct pci_device device;
                if (!open_function(&device, ports, bus, slot, function)) {
                    continue;
                }
                uint32_t type = pci_read(&device, PCI_HEADER_TYPE, 1);
                if (function == 0 && (type & HEADER_MANY_FUNCTIONS) != 0) {
                    functions = FUNCTIONS;
                }
                if (pci_is_bridge(&device)) {
                    unsigned behind = pci_read(&device, PCI_SECONDARY_BUS, 1);
                    wanted[behind] |= behind > bus;
                }
                found(&device);
            }
        }
    }
}
