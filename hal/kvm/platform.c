/* SPDX-License-Identifier: MIT */
/* The order in which the parts of this platform are set up, and what the CPU is called. */
#include "core/lib/string.h"
#include "kvm_internal.h"

void kvm_init(void)
{
    physical_can_map = true;
    interrupt_init();
    uint32_t boot_apic_id = apic_detect();
    acpi_init(boot_apic_id, apic_x2apic);
    hal_this_cpu()->apic_id = boot_apic_id;
    apic_init();
    clock_init();
    apic_init_timer();
}

void hal_late_init(void)
{
    power_late_init();
    devices_init();
}

/* Intel SDM 2A, CPUID: the brand string of leaves 0x80000002-4, else the vendor of leaf 0. */
void hal_cpu_describe(char name[64], uint64_t *tsc_hz)
{
    uint32_t words[13] = {0};
    if (cpuid(0x80000000, 0).eax >= 0x80000004) {
        for (uint32_t i = 0; i < 3; i++) {
            struct cpuid c = cpuid(0x80000002 + i, 0);
            uint32_t part[4] = {c.eax, c.ebx, c.ecx, c.edx};
            memcpy(&words[i * 4], part, sizeof(part));
        }
    } else {
        struct cpuid c = cpuid(0, 0);
        words[0] = c.ebx;
        words[1] = c.edx;
        words[2] = c.ecx;
    }
    const char *text = (const char *)words;
    while (*text == ' ') {
        text++;
    }
    size_t length = strlen(text);
    memcpy(name, text, length);
    memset(name + length, 0, 64 - length);
    *tsc_hz = clock_tsc_hz();
}
