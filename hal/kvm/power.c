/* SPDX-License-Identifier: MIT */
/* The power button, and the end of the machine: isa-debug-exit for `unigornel run`, then ACPI's S5,
 * then a reset. ACPI 6.5, chapters 4 (fixed hardware) and 5.6.9 (event device). Boot CPU for
 * set-up; hal_shutdown on any CPU, once the others stand still. */
#include "core/lib/log.h"
#include "goruntime/hostlink.h"
#include "kvm_internal.h"

#define PM1_POWER_BUTTON 0x100
#define PM1_SCI_ENABLE 1
#define PM1_SLEEP_TYPE_SHIFT 10
#define PM1_SLEEP_ENABLE 0x2000
#define SLEEP_CONTROL_TYPE_SHIFT 2
#define SLEEP_CONTROL_ENABLE 0x20

#define ACPI_ENABLE_TRIES 3000 /* about 1 us each */

#define KEYBOARD_COMMAND 0x64
#define KEYBOARD_BUSY 2
#define KEYBOARD_PULSE_RESET 0xfe
#define RESET_CONTROL 0xcf9 /* of PCI chipsets since the PIIX3 */

/* How long the machine may take to go off. */
#define OFF_PATIENCE 1000000

/* --- power button ----------------------------------------------------------------------------- */

static struct acpi_event_device event_device;
static volatile void *event_register;

static void fixed_event(void *context)
{
    (void)context;
    if ((port_read16(acpi.pm1a_event) & PM1_POWER_BUTTON) != 0) {
        port_write16(acpi.pm1a_event, PM1_POWER_BUTTON); /* write 1 to clear */
        core_power_button();
    }
}

static void device_event(void *context)
{
    (void)context;
    /* Reading clears the register. */
    uint32_t events = event_device.wide ? *(volatile uint32_t *)event_register
                                        : *(volatile uint8_t *)event_register;
    if ((events & event_device.power_button) != 0) {
        core_power_button();
    }
}

static void enter_acpi_mode(void)
{
    uint16_t port = acpi.pm1a_control;
    if (port == 0 || (port_read16(port) & PM1_SCI_ENABLE) != 0 || acpi.smi_command == 0 ||
        acpi.acpi_enable == 0) {
        return;
    }
    port_write8(acpi.smi_command, acpi.acpi_enable);
    for (unsigned i = 0; i < ACPI_ENABLE_TRIES && (port_read16(port) & PM1_SCI_ENABLE) == 0; i++) {
        hal_spin_hint();
    }
}

/* Level-triggered and active low unless the firmware says otherwise (ACPI 6.5, 5.2.9). */
struct hal_line acpi_sci_line(void)
{
    unsigned irq = acpi.sci_irq;
    return irq < ISA_IRQ_COUNT && acpi.isa_overridden[irq]
               ? acpi.isa[irq]
               : (struct hal_line){.gsi = irq, .level = true, .active_low = true};
}

static void enable_fixed_button(void)
{
    struct hal_line line = acpi_sci_line();
    uint16_t enable = (uint16_t)(acpi.pm1a_event + acpi.pm1_event_length / 2);
    port_write16(enable, 0);
    port_write16(acpi.pm1a_event, PM1_POWER_BUTTON);
    if (hal_line_connect(&line, fixed_event, NULL) == 0) {
        port_write16(enable, PM1_POWER_BUTTON);
    }
}

void power_late_init(void)
{
    if (!acpi.have_fadt) {
        return;
    }
    if (!acpi.reduced_hardware) {
        enter_acpi_mode();
        if (acpi.fixed_power_button && acpi.pm1a_event != 0 && acpi.pm1_event_length >= 4) {
            enable_fixed_button();
        }
    } else if (acpi_find_event_device(acpi.dsdt, acpi.dsdt_size, &event_device)) {
        event_register = hal_map_device(event_device.address, sizeof(uint32_t));
        if (event_register != NULL) {
            hal_line_connect(&event_device.line, device_event, NULL);
        }
    }
}

/* --- the end ---------------------------------------------------------------------------------- */

static void write_register(const struct acpi_register *r, uint8_t value)
{
    if (r->space == 1) {
        port_write8((uint16_t)r->address, value);
    } else if (hal_query((uintptr_t)direct_map(r->address), NULL, NULL, NULL) != 0) {
        *(volatile uint8_t *)direct_map(r->address) = value;
    }
}

static void wait_to_die(void)
{
    for (unsigned i = 0; i < OFF_PATIENCE; i++) {
        hal_spin_hint();
    }
}

static void power_off(void)
{
    uint8_t type_a, type_b;
    if (!acpi.have_fadt || !acpi_find_s5(acpi.dsdt, acpi.dsdt_size, &type_a, &type_b)) {
        return;
    }
    if (acpi.sleep_control.address != 0 && acpi.reduced_hardware) {
        write_register(&acpi.sleep_control,
                       (uint8_t)(type_a << SLEEP_CONTROL_TYPE_SHIFT | SLEEP_CONTROL_ENABLE));
        wait_to_die();
    }
    if (acpi.pm1a_control != 0) {
        uint16_t keep = port_read16(acpi.pm1a_control) & PM1_SCI_ENABLE;
        port_write16(acpi.pm1a_control,
                     (uint16_t)(keep | type_a << PM1_SLEEP_TYPE_SHIFT | PM1_SLEEP_ENABLE));
        if (acpi.pm1b_control != 0) {
            port_write16(acpi.pm1b_control,
                         (uint16_t)(keep | type_b << PM1_SLEEP_TYPE_SHIFT | PM1_SLEEP_ENABLE));
        }
        wait_to_die();
    }
}

static void reset(void)
{
    if (acpi.reset.address != 0) {
        write_register(&acpi.reset, acpi.reset_value);
        wait_to_die();
    }
    if ((port_read8(KEYBOARD_COMMAND) & KEYBOARD_BUSY) == 0) {
        port_write8(KEYBOARD_COMMAND, KEYBOARD_PULSE_RESET);
        wait_to_die();
    }
    port_write8(RESET_CONTROL, 0x02);
    port_write8(RESET_CONTROL, 0x06);
    wait_to_die();
    /* No handler for the exception: the CPU shuts down, which resets the machine. */
    struct {
        uint16_t limit;
        uint64_t base;
    } __attribute__((packed)) none = {0, 0};
    __asm__ volatile("lidt %0; int3" ::"m"(none));
}

_Noreturn void hal_shutdown(enum hal_shutdown_reason reason, int status)
{
    hal_irq_disable();
    hal_cpu_stop_others();
    console_flush();
    uint8_t code =
        status >= 0 && status < DEBUG_EXIT_CLIPPED ? (uint8_t)status : DEBUG_EXIT_CLIPPED;
    if (reason == HAL_SHUTDOWN_PANIC) {
        code = DEBUG_EXIT_PANIC;
    } else if (reason == HAL_SHUTDOWN_REBOOT) {
        code = DEBUG_EXIT_REBOOT;
    }
    port_write8(DEBUG_EXIT_PORT, code);
    if (reason != HAL_SHUTDOWN_REBOOT) {
        power_off();
    }
    /* A machine that cannot even read its boot information would only do so again. */
    if (acpi.cpu_count != 0) {
        reset();
    }
    for (;;) {
        __asm__ volatile("cli; hlt" ::: "memory");
    }
}
