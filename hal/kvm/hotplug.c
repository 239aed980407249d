/* SPDX-License-Identifier: MIT */
/* Devices that are taken out of the running machine, in the two ways that PCI has: QEMU's ACPI
 * registers (docs/specs/acpi_pci_hotplug in its source), which tell it of any slot, and the slot
 * registers of PCI Express ports (PCI Express base specification 5.0, 7.5.3). Either way the
 * machine is told to go on, and what does not answer afterwards is closed. What is put in is left
 * alone. Interrupt handlers of the boot CPU, which has the configuration space to itself by then.
 */
#include "core/lib/log.h"
#include "drivers/virtio/virtio.h"
#include "kvm_internal.h"

/* --- by ACPI ---------------------------------------------------------------------------------- */

#define GPE_PCI_HOTPLUG 2u /* GPE 1 */

/* From the region that the DSDT names PCST on: 32 bits each, with a bit for each slot of the bus
 * that is selected. */
enum { ACPI_LEAVING = 0x04, ACPI_EJECT = 0x08, ACPI_SELECT = 0x10 };
#define ACPI_BUSES 256

static uint16_t acpi_ports;

static void acpi_event(void *context)
{
    (void)context;
    if ((port_read8(acpi.gpe0) & GPE_PCI_HOTPLUG) == 0) {
        return;
    }
    port_write8(acpi.gpe0, GPE_PCI_HOTPLUG); /* write 1 to clear */
    for (uint32_t bus = 0; bus < ACPI_BUSES; bus++) {
        port_write32(acpi_ports + ACPI_SELECT, bus);
        uint32_t slots = port_read32(acpi_ports + ACPI_LEAVING);
        for (; slots != 0; slots &= slots - 1) {
            port_write32(acpi_ports + ACPI_EJECT, slots & -slots);
        }
    }
    virtio_pci_check();
}

static void watch_acpi(void)
{
    struct hal_line line = acpi_sci_line();
    acpi_ports = acpi_find_ports(acpi.dsdt, acpi.dsdt_size, "PCST");
    if (acpi_ports == 0 || acpi.gpe0 == 0 || acpi.gpe0_length < 2) {
        return;
    }
    uint16_t enable = (uint16_t)(acpi.gpe0 + acpi.gpe0_length / 2);
    if (hal_line_connect(&line, acpi_event, NULL) == 0) {
        port_write8(enable, port_read8(enable) | GPE_PCI_HOTPLUG);
    }
}

/* --- by PCI Express --------------------------------------------------------------------------- */

#define CAP_ID_EXPRESS 0x10
enum { EXPRESS_FLAGS = 0x02, SLOT_CAPABILITIES = 0x14, SLOT_CONTROL = 0x18 };
#define FLAGS_SLOT 0x100u /* there is a slot behind the port */
#define FLAGS_MESSAGE_SHIFT 9
#define FLAGS_MESSAGE 31u
#define SLOT_HOT_PLUG 0x40u /* of the slot's capabilities */
/* The control register; its upper half is the slot's status, cleared by ones. */
#define CONTROL_BUTTON 0x001u
#define CONTROL_PRESENCE 0x008u
#define CONTROL_INTERRUPT 0x020u
#define CONTROL_INDICATOR_OFF 0x300u
#define CONTROL_POWER_OFF 0x400u
#define STATUS_BUTTON 0x0001u   /* was pressed */
#define STATUS_PRESENCE 0x0008u /* has changed */
#define STATUS_EVENTS 0x011fu
#define STATUS_SHIFT 16

#define PORTS_MAX 32

static struct express_port {
    struct pci_device device;
    unsigned slot; /* where its capability is in configuration space */
} ports[PORTS_MAX];
static unsigned port_count;

static void slot_event(void *context)
{
    struct express_port *port = context;
    unsigned offset = port->slot + SLOT_CONTROL;
    uint32_t registers = pci_read(&port->device, offset, 4);
    uint32_t control = registers & 0xffff, status = registers >> STATUS_SHIFT;
    if ((status & (STATUS_BUTTON | STATUS_PRESENCE)) == 0) {
        return;
    }
    /* Pressed at a slot without power, the button says that a device has come. */
    if ((status & STATUS_BUTTON) != 0 && (control & CONTROL_POWER_OFF) == 0) {
        control |= CONTROL_POWER_OFF | CONTROL_INDICATOR_OFF;
    }
    pci_write(&port->device, offset, control | (status & STATUS_EVENTS) << STATUS_SHIFT);
    virtio_pci_check();
}

void hotplug_bridge(const struct pci_device *bridge)
{
    unsigned at = pci_find_capability(bridge, CAP_ID_EXPRESS, 0);
    if (at != 0 && (pci_read(bridge, at + EXPRESS_FLAGS, 2) & FLAGS_SLOT) != 0 &&
        (pci_read(bridge, at + SLOT_CAPABILITIES, 4) & SLOT_HOT_PLUG) != 0 &&
        port_count < PORTS_MAX) {
        ports[port_count++] = (struct express_port){.device = *bridge, .slot = at};
    }
}

static void watch_port(struct express_port *port)
{
    struct pci_device *device = &port->device;
    unsigned flags = pci_read(device, port->slot + EXPRESS_FLAGS, 2);
    unsigned message = flags >> FLAGS_MESSAGE_SHIFT & FLAGS_MESSAGE;
    pci_enable(device);
    int error = pci_msix_enable(device);
    if (error == 0 && message < device->msix_count) {
        error = pci_msix_connect(device, message, 0, slot_event, port);
    } else {
        error = pci_line_connect(device, slot_event, port);
    }
    if (error != 0) {
        log_debug("pci %02x:%02x: its slot cannot interrupt", device->address >> 8,
                  device->address >> 3 & 31);
        return;
    }
    uint32_t control = pci_read(device, port->slot + SLOT_CONTROL, 2);
    pci_write(device, port->slot + SLOT_CONTROL,
              control | CONTROL_BUTTON | CONTROL_PRESENCE | CONTROL_INTERRUPT |
                  STATUS_EVENTS << STATUS_SHIFT);
}

void hotplug_init(void)
{
    watch_acpi();
    for (unsigned i = 0; i < port_count; i++) {
        watch_port(&ports[i]);
    }
}
