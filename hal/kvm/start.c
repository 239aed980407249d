/* SPDX-License-Identifier: MIT */
/* From boot/entry.asm to core: the boot CPU gets its tables, the loader's information is read, and
 * what else needs the allocator waits for hal_init. */
#include "core/sched/sched.h"
#include "cpu.h"
#include "goruntime/image_info.h"
#include "hal.h"
#include "hal/x86_64/x86.h"
#include "kvm_internal.h"

#define MULTIBOOT2_BOOT_MAGIC 0x36d76289

extern const struct image_info image_info;
extern const char image_first_byte[], bss_end[];

_Noreturn void kvm_start(uint32_t magic, uint64_t information, uint64_t offset);

static void claim(uint64_t base, uint64_t size)
{
    boot_info_require(base, size);
    boot_info_reserve(base, size);
}

/* The gaps between the image's segments are free memory. */
void boot_info_reserve_image(uint64_t offset)
{
    claim((uint64_t)image_first_byte + offset, (uint64_t)(bss_end - image_first_byte));
    for (unsigned i = 0; i < image_info.segment_count; i++) {
        const struct image_segment *segment = &image_info.segments[i];
        uint64_t size = (segment->file_size + PAGE_SIZE - 1) & ~(PAGE_SIZE - 1);
        claim(segment->address + offset, size);
    }
    if (image_info.file_system != 0) {
        claim(image_info.file_system + offset, image_info.file_system_size);
    }
}

_Noreturn void kvm_start(uint32_t magic, uint64_t information, uint64_t offset)
{
    paging_early_init(offset);
    sched_boot_cpu_init();
    cpu_setup(&cpu_by_id(0)->hal, NULL);
    x86_xstate_init();
    if (magic != MULTIBOOT2_BOOT_MAGIC) {
        xen_pvh_find();
    }
    console_early_init();
    clock_begin_calibration();
    if (magic == MULTIBOOT2_BOOT_MAGIC) {
        boot_info_from_multiboot2(information);
    } else {
        boot_info_from_pvh(information);
    }
    boot_info_reserve_image(offset);
    boot_info_finish();
    core_main();
}

void hal_init(void)
{
    paging_init();
    kvm_init();
}
