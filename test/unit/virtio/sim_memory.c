/* SPDX-License-Identifier: MIT */
/* The allocators, so that the sanitizer sees each object by itself. Physical addresses are
 * pointers, a page lower. */
#include <stdlib.h>
#include <string.h>

#include "core/mm/kmalloc.h"
#include "core/mm/page.h"
#include "hal.h"

char *fake_memory = (char *)PAGE_SIZE;

void *kmalloc(size_t size)
{
    return malloc(size);
}

void *kzalloc(size_t size)
{
    return calloc(1, size);
}

void kfree(void *pointer)
{
    free(pointer);
}

uint64_t page_alloc(unsigned order, unsigned flags)
{
    (void)flags;
    void *pages = aligned_alloc(PAGE_SIZE, PAGE_SIZE << order);
    memset(pages, 0, PAGE_SIZE << order);
    return (uintptr_t)pages - (uintptr_t)fake_memory; /* a pointer difference would not be one */
}

void page_free(uint64_t physical, unsigned order)
{
    (void)order;
    free(direct_map(physical));
}
