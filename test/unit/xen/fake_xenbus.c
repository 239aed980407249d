/* SPDX-License-Identifier: MIT */
/* fake_xenbus.h */
#include "fake_xenbus.h"

#include <string.h>

#include "core/mm/page.h"
#include "fakes/check.h"
#include "hal/xen/xen_internal.h"
#include "hal/xen/xenbus.h"
#include "hal/xen/xenstore.h"

__asm__(".globl xen_hypercall\nxen_hypercall: xorl %eax, %eax\nret");

bool xen_is_pvh;
char fake_pages[FAKE_PAGES * PAGE_SIZE] __attribute__((aligned(PAGE_SIZE)));
char *fake_memory = fake_pages;
static unsigned next_page, page_limit;

void fake_pages_reset(unsigned count)
{
    next_page = 1;
    page_limit = count;
}

uint64_t page_alloc(unsigned order, unsigned flags)
{
    (void)flags;
    CHECK(order == 0 && next_page < page_limit);
    memset(fake_pages + next_page * PAGE_SIZE, 0, PAGE_SIZE);
    return next_page++ * PAGE_SIZE;
}

int xenbus_write(const struct xenbus_device *device, const char *name, const char *text)
{
    (void)device;
    (void)name;
    (void)text;
    return 0;
}

int xenbus_watch_backend(const struct xenbus_device *device, void (*changed)(void *context),
                         void *context)
{
    (void)device;
    (void)changed;
    (void)context;
    return 0;
}

bool xenbus_wait_backend(const struct xenbus_device *device, unsigned state)
{
    (void)device;
    (void)state;
    return true;
}

int xenbus_alloc_channel(const struct xenbus_device *device, uint32_t *port)
{
    (void)device;
    *port = 1;
    return 0;
}

int event_bind(uint32_t port, unsigned cpu, event_handler *handler, void *context)
{
    (void)port;
    (void)cpu;
    (void)handler;
    (void)context;
    return 0;
}

int xenstore_transaction_begin(void)
{
    return 0;
}

int xenstore_transaction_end(void)
{
    return 0;
}
