/* SPDX-License-Identifier: MIT */
/* The grant table against a Xen that gives it few frames: references are each other's equals and
 * differ, pages are granted and taken back, the table comes back after a suspend, and a machine
 * with frames that do not fit gets none. */
#include "hal/xen/grant.c"

#include <stdlib.h>

#include "fakes/check.h"

#define OFFERED 3 /* frames */

bool xen_is_pvh = true;
static char memory[32 * PAGE_SIZE] __attribute__((aligned(PAGE_SIZE)));
char *fake_memory = memory;
static unsigned next_page = 1;
static long last_machine_frame = 1 << 20;
static const void *shared[FRAMES_MAX]; /* Xen's frames, as they are mapped */

uint64_t page_alloc(unsigned order, unsigned flags)
{
    (void)flags;
    CHECK(order == 0 && next_page < 32);
    return next_page++ * PAGE_SIZE;
}

void page_free(uint64_t physical, unsigned order)
{
    CHECK(physical == --next_page * PAGE_SIZE && order == 0);
}

uint64_t mmu_frame(uint64_t physical)
{
    return physical / PAGE_SIZE + 1000;
}

int mmu_map_table(uintptr_t address, uint64_t frame)
{
    (void)address;
    (void)frame;
    abort(); /* of a paravirtual guest */
}

int xen_unmap(uintptr_t address, size_t size, hal_release_fn *release, void *context)
{
    (void)address;
    (void)size;
    (void)release;
    (void)context;
    abort();
}

int xen_pvh_share(unsigned space, uint64_t index, const void *page)
{
    CHECK(space == XENMAPSPACE_GRANT_TABLE && index < FRAMES_MAX);
    if (index >= OFFERED) {
        return -EINVAL;
    }
    shared[index] = page;
    return 0;
}

long fake_hypercall(uint64_t operation);
__asm__(".globl xen_hypercall\nxen_hypercall: pushq %rbp\nmovq %rsp, %rbp\nandq $-16, %rsp\n"
        "call fake_hypercall\nleave\nret");

long fake_hypercall(uint64_t operation)
{
    CHECK(operation == XENMEM_MAXIMUM_RAM_PAGE);
    return last_machine_frame;
}

static const struct grant_entry *xen_entry(uint32_t reference)
{
    return (const struct grant_entry *)shared[reference / PER_FRAME] + reference % PER_FRAME;
}

static void test_references(void)
{
    static bool seen[OFFERED * PER_FRAME];
    uint32_t reference;
    for (unsigned i = 0; i < OFFERED * PER_FRAME - GRANTS_RESERVED; i++) {
        CHECK(grant_alloc(&reference) == 0);
        CHECK(reference >= GRANTS_RESERVED && reference < OFFERED * PER_FRAME && !seen[reference]);
        seen[reference] = true;
    }
    CHECK(grant_alloc(&reference) != 0);
}

static void test_granting(void)
{
    const uint32_t reference = PER_FRAME + 5;
    const void *page = direct_map(7 * PAGE_SIZE);
    grant_give(reference, 3, page, true);
    struct grant_entry *entry = (struct grant_entry *)(uintptr_t)xen_entry(reference);
    CHECK(entry->frame == 1007 && entry->domid == 3);
    CHECK(entry->flags == (GTF_PERMIT_ACCESS | GTF_READONLY));
    entry->flags |= GTF_READING;
    CHECK(!grant_take_back(reference) && (entry->flags & GTF_PERMIT_ACCESS) != 0);
    entry->flags &= (uint16_t)~GTF_READING;
    CHECK(grant_take_back(reference) && entry->flags == 0);
}

static void test_resume(void)
{
    const void *before[OFFERED];
    for (unsigned i = 0; i < OFFERED; i++) {
        before[i] = shared[i];
        shared[i] = NULL;
    }
    grants_resume();
    for (unsigned i = 0; i < OFFERED; i++) {
        CHECK(shared[i] == before[i]);
    }
}

int main(void)
{
    uint32_t reference;
    xen_is_pvh = false;
    last_machine_frame = 1l << 32;
    CHECK(grant_alloc(&reference) == -EOPNOTSUPP && next_page == 1);
    xen_is_pvh = true; /* whose frames are numbered by the domain */
    test_references();
    test_granting();
    test_resume();
    return 0;
}
