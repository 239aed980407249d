/* SPDX-License-Identifier: MIT */
/* Checked access to the program's memory: addresses are looked at here, faults are caught in
 * usercopy.asm. */
#include <linux/errno.h>

#include "core/lib/string.h"
#include "hal.h"

int user_copy(void *to, const void *from, size_t size);
int user_clear(void *to, size_t size);
int user_load_u32(uint32_t *value, const void *from);
extern const char user_load_u32_load[];
int user_cmpxchg_u32(void *address, uint32_t *old, uint32_t new_value);
long user_string_length(const char *text, size_t size);

struct fixup {
    uintptr_t instruction, landing;
};
extern const struct fixup fixup_table_start[], fixup_table_end[];

bool hal_fixup_fault(struct regs *regs)
{
    for (const struct fixup *fixup = fixup_table_start; fixup < fixup_table_end; fixup++) {
        if (fixup->instruction == regs->rip) {
            regs->rip = fixup->landing;
            return true;
        }
    }
    return false;
}

bool hal_fixup_nofault(struct regs *regs)
{
    return regs->rip == (uintptr_t)user_load_u32_load && hal_fixup_fault(regs);
}

/* The clock page and the vDSO are the program's to read; the rest of 1-4 MiB is the kernel's. */
static bool is_user_range(uintptr_t address, size_t size)
{
    if (address < USER_MIN || address >= USER_END || size > USER_END - address) {
        return false;
    }
    return address >= PROGRAM_MIN || address + size <= KERNEL_IMAGE_BASE;
}

int copy_from_user(void *to, uintptr_t from, size_t size)
{
    if (size == 0) {
        return 0;
    }
    return is_user_range(from, size) ? user_copy(to, (const void *)from, size) : -EFAULT;
}

int copy_to_user(uintptr_t to, const void *from, size_t size)
{
    if (size == 0) {
        return 0;
    }
    return is_user_range(to, size) ? user_copy((void *)to, from, size) : -EFAULT;
}

int clear_user(uintptr_t to, size_t size)
{
    return is_user_range(to, size) ? user_clear((void *)to, size) : -EFAULT;
}

long copy_string_from_user(char *to, uintptr_t from, size_t size)
{
    if (!is_user_range(from, 1)) {
        return -EFAULT;
    }
    size_t most = size < USER_END - from ? size : USER_END - from;
    long length = user_string_length((const char *)from, most);
    if (length < 0) {
        return length;
    }
    if ((size_t)length == size) {
        return -ENAMETOOLONG;
    }
    int error = user_copy(to, (const void *)from, (size_t)length);
    to[length] = 0;
    return error != 0 ? error : length;
}

int load_user_u32_nofault(uint32_t *value, uintptr_t from)
{
    return is_user_range(from, sizeof(*value)) ? user_load_u32(value, (const void *)from) : -EFAULT;
}

int cmpxchg_user_u32(uintptr_t address, uint32_t *old, uint32_t new_value)
{
    return is_user_range(address, sizeof(*old)) ? user_cmpxchg_u32((void *)address, old, new_value)
                                                : -EFAULT;
}
