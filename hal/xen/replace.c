/* SPDX-License-Identifier: MIT */
/* The choice of the platform. hal/kvm's functions are plain functions, and instructions of ring 0
 * are what the compiler has put there; a paravirtual guest writes a jump over the first
 * instructions of each function that it has another one for, and a call over each such instruction.
 * So the choice costs nothing where it is not made. Once, at the entry, on the only CPU, before the
 * text is write-protected. */
#include "core/lib/log.h"
#include "core/lib/string.h"
#include "hal/kvm/kvm_internal.h"
#include "xen_internal.h"

#define CALL 0xe8
#define JUMP 0xe9
#define SITE_SIZE 5

void xen_irq_save(void);
void xen_irq_disable(void);
void xen_irq_enable(void);
void xen_cpuid(void);
void xen_read_cr2(void);
void xen_return_from_frame(void);
void xen_interrupt(struct regs *regs);
uint64_t xen_time_of_slow_access(void);
void xen_switch_stacks(struct hal_thread *from, struct hal_thread *to);
void return_from_frame(void); /* jumped to, with the frame's address in RSP */
extern uint8_t xen_hypercall[];

extern const int32_t ring0_sites_start[], ring0_sites_end[]; /* each relative to itself */

struct replacement {
    const void *function, *by;
};

#define XEN_REPLACE(name) {hal_##name, xen_##name},
static const struct replacement replacements[] = {
    XEN_FUNCTIONS(XEN_REPLACE) /* */
    {hal_tlb_lazy, xen_nothing},
    {platform_interrupt, xen_interrupt},
    {x86_control_registers, xen_nothing},
    {time_of_slow_access, xen_time_of_slow_access},
    {clock_tsc_hz, xen_clock_tsc_hz},
    {console_set_hostlink, xen_set_hostlink},
    {return_from_frame, xen_return_from_frame},
    {switch_stacks, xen_switch_stacks},
};
#undef XEN_REPLACE

/* Under PVH, where all else is hal/kvm's. */
static const struct replacement pvh_replacements[] = {
    {hal_console_write, xen_console_write},
    {hal_console_write_some, xen_console_write_some},
    {hal_console_enable_input, xen_console_enable_input},
    {console_set_hostlink, xen_set_hostlink},
    {console_break_lock, xen_console_break_lock},
    {console_early_init, xen_pvh_console},
    {hal_shutdown, xen_shutdown},
    {hal_late_init, xen_pvh_late_init},
    {hal_kernel_word, xen_kernel_word},
};

/* What stands for an instruction, told by its first or its last byte. */
static const struct ring0_instruction {
    bool last;
    uint8_t byte;
    void (*by)(void);
} ring0_instructions[] = {
    {false, 0x9c, xen_irq_save}, /* PUSHF, POP RAX, CLI */
    {true, 0xfa, xen_irq_disable}, {true, 0xfb, xen_irq_enable},
    {true, 0xa2, xen_cpuid},    /* 0F A2 */
    {true, 0xd0, xen_read_cr2}, /* 0F 20 D0 */
};

static void put(uint8_t *site, uint8_t opcode, const void *target)
{
    int32_t distance = (int32_t)((const uint8_t *)target - (site + SITE_SIZE));
    site[0] = opcode;
    memcpy(site + 1, &distance, sizeof(distance));
}

static void replace_instruction(uint8_t *site)
{
    for (unsigned i = 0; i < sizeof(ring0_instructions) / sizeof(ring0_instructions[0]); i++) {
        const struct ring0_instruction *instruction = &ring0_instructions[i];
        if (site[instruction->last ? SITE_SIZE - 1 : 0] == instruction->byte) {
            put(site, CALL, (const void *)instruction->by);
            return;
        }
    }
    panic("an instruction that nothing stands for at %p", (void *)site);
}

static void replace_functions(const struct replacement *table, unsigned count)
{
    for (unsigned i = 0; i < count; i++) {
        put((uint8_t *)table[i].function, JUMP, table[i].by);
    }
}

void replace_all(void)
{
    for (const int32_t *site = ring0_sites_start; site < ring0_sites_end; site++) {
        replace_instruction((uint8_t *)site + *site);
    }
    replace_functions(replacements, sizeof(replacements) / sizeof(replacements[0]));
}

void replace_for_pvh(bool intel)
{
    static const uint8_t vmcall_ret[] = {0x0f, 0x01, 0xc1, 0xc3};
    static const uint8_t vmmcall_ret[] = {0x0f, 0x01, 0xd9, 0xc3};
    memcpy(xen_hypercall, intel ? vmcall_ret : vmmcall_ret, sizeof(vmcall_ret));
    replace_functions(pvh_replacements, sizeof(pvh_replacements) / sizeof(pvh_replacements[0]));
}
