/* SPDX-License-Identifier: MIT */
/* Finds the devices and hands them to their drivers: those in memory, which the command line or the
 * DSDT names, and those on PCI. The boot thread, before the program runs; no lock. */
#include "core/lib/log.h"
#include "core/lib/string.h"
#include "drivers/virtio/virtio.h"
#include "kvm_internal.h"

#define PCI_VENDOR_VIRTIO 0x1af4
#define MAX_MMIO_DEVICES 64

static struct hal_mmio_device mmio_devices[MAX_MMIO_DEVICES];
static unsigned mmio_count;

static void add_mmio(const struct hal_mmio_device *device)
{
    for (unsigned i = 0; i < mmio_count; i++) {
        if (mmio_devices[i].base == device->base) {
            return;
        }
    }
    if (mmio_count == MAX_MMIO_DEVICES) {
        log_warn("virtio: more than %u devices in memory", MAX_MMIO_DEVICES);
        return;
    }
    mmio_devices[mmio_count++] = *device;
}

/* A decimal or 0x number at `*at`, with K, M or G behind it; moves `*at` behind it. */
static bool parse_number(const char **at, uint64_t *value)
{
    const char *p = *at;
    unsigned base = 10;
    if (p[0] == '0' && (p[1] | 0x20) == 'x') {
        base = 16;
        p += 2;
    }
    const char *first = p;
    for (*value = 0; *value <= UINT64_MAX >> 5; p++) {
        unsigned digit = (unsigned)(*p - '0'), letter = (unsigned)((*p | 0x20) - 'a');
        if (digit > 9) {
            digit = letter < 6 ? letter + 10 : base;
        }
        if (digit >= base) {
            break;
        }
        *value = *value * base + digit;
    }
    bool any = p != first;
    static const char suffixes[] = "KMG";
    const char *suffix = *p != 0 ? strchr(suffixes, *p) : NULL;
    if (suffix != NULL) {
        unsigned shift = 10 * (unsigned)(suffix - suffixes + 1);
        any = any && *value <= UINT64_MAX >> shift;
        *value <<= shift;
        p++;
    }
    *at = p;
    return any;
}

/* Linux's words: virtio_mmio.device=SIZE@BASE:LINE[:ID] */
bool hal_kernel_word(const char *word)
{
    static const char name[] = "virtio_mmio.device=";
    struct hal_mmio_device device;
    uint64_t gsi, id;
    if (strncmp(word, name, sizeof(name) - 1) != 0) {
        return false;
    }
    const char *at = word + sizeof(name) - 1;
    if (!parse_number(&at, &device.size) || *at++ != '@' || !parse_number(&at, &device.base) ||
        *at++ != ':' || !parse_number(&at, &gsi) || gsi > UINT32_MAX ||
        (*at == ':' && (at++, !parse_number(&at, &id))) || *at != 0) {
        return false;
    }
    device.line = gsi < ISA_IRQ_COUNT ? acpi.isa[gsi] : (struct hal_line){.gsi = (uint32_t)gsi};
    add_mmio(&device);
    return true;
}

static void found_pci(const struct pci_device *device)
{
    if (pci_is_bridge(device)) {
        if (hotplug_bridge != NULL) {
            hotplug_bridge(device);
        }
    } else if (pci_read(device, PCI_VENDOR_ID, 2) == PCI_VENDOR_VIRTIO) {
        virtio_pci_found(device);
    }
}

void devices_init(void)
{
    struct hal_mmio_device device;
    /* Machines with such devices have no other ACPI hardware; the DSDT of a PC is long. */
    for (size_t at = 0;
         acpi.reduced_hardware && acpi_next_virtio_mmio(acpi.dsdt, acpi.dsdt_size, &at, &device);) {
        add_mmio(&device);
    }
    for (unsigned i = 0; i < mmio_count; i++) {
        virtio_mmio_found(&mmio_devices[i]);
    }
    pci_search(found_pci);
    if (hotplug_init != NULL) {
        hotplug_init();
    }
}
