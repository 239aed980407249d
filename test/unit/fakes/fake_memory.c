/* SPDX-License-Identifier: MIT */
/* Physical memory on the host: a large reservation, of which only what is touched costs anything.
 */
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>

#include "fakes/fake_memory.h"
#include "hal.h"

char *fake_memory;
struct boot_info fake_boot_info = {.loader = "test", .command_line = ""};
unsigned fake_cpu_count = 1;

void fake_memory_reset(void)
{
    if (fake_memory != NULL) {
        munmap(fake_memory, FAKE_MEMORY_SIZE);
    }
    fake_memory = mmap(NULL, FAKE_MEMORY_SIZE, PROT_READ | PROT_WRITE,
                       MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (fake_memory == MAP_FAILED) {
        perror("mmap");
        exit(1);
    }
    fake_boot_info.range_count = 0;
}

void fake_memory_add(uint64_t base, uint64_t size)
{
    fake_boot_info.ranges[fake_boot_info.range_count++] = (struct boot_range){base, size};
}

const struct boot_info *hal_boot_info(void)
{
    return &fake_boot_info;
}

unsigned hal_cpu_count(void)
{
    return fake_cpu_count;
}
