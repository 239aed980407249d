/* SPDX-License-Identifier: MIT */
/* Devices on buses, as a platform that has such buses hands them to drivers/: interrupts, PCI
 * functions, and devices that are just registers in memory. Finding and setting up devices is one
 * thread's work, before the program runs; interrupt handlers run masked on the CPU that they were
 * connected to. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef void hal_interrupt_fn(void *context);

/* A wired interrupt: its global system interrupt number (ACPI 6.5, 5.2.13). */
struct hal_line {
    uint32_t gsi;
    bool level, active_low;
};

/* From now on `handler` is called, on the boot CPU, for each interrupt of the line, which other
 * devices may share: they are called too. -ENOSPC: no vector is left. -ENODEV: no such line.
 * -ENOMEM. */
int hal_line_connect(const struct hal_line *line, hal_interrupt_fn *handler, void *context);

/* A device that is registers in memory and a line. */
struct hal_mmio_device {
    uint64_t base; /* physical */
    uint64_t size;
    struct hal_line line;
};

/* --- PCI (PCI local bus specification 3.0) -------------------------------------------------------
 */

#define PCI_BAR_COUNT 6

enum {
    PCI_VENDOR_ID = 0x00,
    PCI_DEVICE_ID = 0x02,
    PCI_REVISION_ID = 0x08,
    PCI_SUBSYSTEM_ID = 0x2e,
    PCI_CAP_ID_VENDOR = 0x09,
};

struct pci_msix_entry; /* the platform's */

/* A function of a device. What a driver keeps it copies. */
struct pci_device {
    uint16_t address;          /* bus << 8 | device << 3 | function */
    volatile uint32_t *config; /* its configuration space, where that is in memory; else NULL */
    uint64_t bar_size[PCI_BAR_COUNT]; /* 0: not asked yet */
    volatile struct pci_msix_entry *msix;
    unsigned msix_count;
};

/* Part of a BAR: memory, mapped uncached, or ports. */
struct pci_region {
    volatile uint8_t *memory; /* NULL: ports */
    uint16_t port;
    uint32_t length;
};

/* Configuration space: `offset` below 256 and aligned to `width` (1, 2 or 4 bytes). */
uint32_t pci_read(const struct pci_device *device, unsigned offset, unsigned width);

/* The offset of the next capability with this id behind `after` (0: from the start); 0: none. */
unsigned pci_find_capability(const struct pci_device *device, uint8_t id, unsigned after);

/* Lets the function answer to its BARs and read and write memory by itself. */
void pci_enable(const struct pci_device *device);

/* Makes [offset, offset + length) of a BAR usable; length 0 means all of it up to 64 KiB. -EINVAL:
 * it is not all inside. -ENODEV: there is no such BAR or nobody gave it an address. -ENOMEM. */
int pci_map(struct pci_device *device, unsigned bar, uint64_t offset, uint32_t length,
            struct pci_region *region);

/* Registers of 1, 2 or 4 bytes; the caller keeps to the region's length. Any context. */
uint32_t pci_region_read(const struct pci_region *region, unsigned offset, unsigned width);
void pci_region_write(const struct pci_region *region, unsigned offset, unsigned width,
                      uint32_t value);

/* Switches the function from its line to MSI-X (PCI 3.0, 6.8.2), all messages masked; msix_count
 * tells how many it has. -ENODEV: it has none. -ENOMEM, -EINVAL. */
int pci_msix_enable(struct pci_device *device);

/* Has message `index` call `handler` on `cpu`. -ENOSPC: no vector is left. */
int pci_msix_connect(struct pci_device *device, unsigned index, unsigned cpu,
                     hal_interrupt_fn *handler, void *context);

/* The line of a function without MSI-X, as the firmware has wired it. -ENODEV: it has none. */
int pci_line_connect(const struct pci_device *device, hal_interrupt_fn *handler, void *context);
