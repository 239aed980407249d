/* SPDX-License-Identifier: MIT */
/* Event channels, the interrupts of a Xen guest (xen/include/public/event_channel.h). A channel is
 * bound to one CPU, which alone takes it. How that is told is the FIFO ABI's business
 * (event_fifo.c), or where Xen has it not the 2-level ABI's: one bit per channel, which all CPUs
 * share. The table of handlers grows by blocks that are never freed; entries are written under
 * event_lock and read without it. */
#include <linux/errno.h>

#include "core/lib/log.h"
#include "core/lib/spinlock.h"
#include "core/lib/string.h"
#include "core/mm/kmalloc.h"
#include "core/sched/sched.h"
#include "event_internal.h"

#define BLOCK 64 /* channels in a word */

struct binding {
    event_handler *handler; /* NULL: not bound */
    void *context;
    unsigned cpu;
};

#define WORD_2LEVEL "events=2level"

struct shared_info *shared_info;

static struct binding *blocks[EVENT_CHANNELS / BLOCK];
static bool fifo;
static struct spinlock event_lock = SPINLOCK_INIT(LOCK_CLASS_NONE);

uint32_t event_vcpu(unsigned cpu)
{
    /* A vCPU's APIC has twice its number (Xen's ABI for firmware tables). */
    return xen_is_pvh ? cpu_by_id(cpu)->hal.apic_id / 2 : cpu;
}

bool xen_kernel_word(const char *word)
{
    return strcmp(word, WORD_2LEVEL) == 0;
}

/* Events are wanted before core takes the command line apart. */
static bool word_given(const char *word)
{
    size_t length = strlen(word);
    for (const char *at = hal_boot_info()->command_line;
         *at != '\0' && strncmp(at, "-- ", 3) != 0;) {
        if (strncmp(at, word, length) == 0 && (at[length] == ' ' || at[length] == '\0')) {
            return true;
        }
        for (; *at != '\0' && *at != ' '; at++) {
        }
        for (; *at == ' '; at++) {
        }
    }
    return false;
}

void events_init(unsigned cpu_count)
{
    fifo = !word_given(WORD_2LEVEL) && fifo_start(cpu_count);
    if (!fifo) {
        memset(shared_info->evtchn_mask, 0xff, sizeof(shared_info->evtchn_mask));
    }
}

void events_resume(unsigned cpu_count)
{
    for (unsigned i = 0; i < sizeof(blocks) / sizeof(blocks[0]); i++) {
        if (blocks[i] != NULL) {
            memset(blocks[i], 0, BLOCK * sizeof(*blocks[i]));
        }
    }
    events_init(cpu_count);
}

static uint64_t bit_of(uint32_t port)
{
    return 1ull << (port % BLOCK);
}

/* The block of `port`, made if it is not there. NULL: no memory. */
static struct binding *make_block(uint32_t port)
{
    struct binding **slot = &blocks[port / BLOCK];
    if (*slot == NULL) {
        struct binding *block = kmalloc(BLOCK * sizeof(*block));
        if (block == NULL) {
            return NULL;
        }
        memset(block, 0, BLOCK * sizeof(*block));
        __atomic_store_n(slot, block, __ATOMIC_RELEASE);
    }
    return *slot;
}

int event_bind(uint32_t port, unsigned cpu, event_handler *handler, void *context)
{
    if (port >= EVENT_CHANNELS) {
        return -ENOSPC;
    }
    if (xen_is_pvh && event_vcpu(cpu) >= XEN_LEGACY_MAX_VCPUS) {
        cpu = 0; /* the shared page has no more vcpu_info */
    }
    bool irq = spin_lock_irqsave(&event_lock);
    int error = fifo ? fifo_expand(port) : 0;
    struct binding *block = error == 0 ? make_block(port) : NULL;
    if (block != NULL) {
        struct binding *binding = &block[port % BLOCK];
        binding->context = context;
        binding->cpu = cpu;
        __atomic_store_n(&binding->handler, handler, __ATOMIC_RELEASE);
    }
    spin_unlock_irqrestore(&event_lock, irq);
    if (block == NULL) {
        return error != 0 ? error : -ENOMEM;
    }
    if (cpu != 0) {
        /* Fails for channels that cannot move: those are where they have to be. */
        struct evtchn_bind_vcpu bind = {.port = port, .vcpu = event_vcpu(cpu)};
        event_channel_op(EVTCHNOP_BIND_VCPU, &bind);
    }
    event_channel_op(EVTCHNOP_UNMASK, &port); /* delivers what has come already */
    return 0;
}

void event_deliver(uint32_t port)
{
    const struct binding *block = __atomic_load_n(&blocks[port / BLOCK], __ATOMIC_ACQUIRE);
    if (block == NULL) {
        return;
    }
    event_handler *handler = __atomic_load_n(&block[port % BLOCK].handler, __ATOMIC_ACQUIRE);
    if (handler != NULL) {
        handler(block[port % BLOCK].context);
    }
}

const char *events_abi(void)
{
    return fifo ? "FIFO" : "2-level";
}

static void dispatch_word(unsigned word, unsigned cpu)
{
    uint64_t pending = __atomic_load_n(&shared_info->evtchn_pending[word], __ATOMIC_ACQUIRE) &
                       ~__atomic_load_n(&shared_info->evtchn_mask[word], __ATOMIC_RELAXED);
    const struct binding *block = __atomic_load_n(&blocks[word], __ATOMIC_ACQUIRE);
    while (pending != 0) {
        unsigned bit = (unsigned)__builtin_ctzll(pending);
        pending &= pending - 1;
        if (block == NULL || block[bit].handler == NULL || block[bit].cpu != cpu) {
            continue;
        }
        __atomic_and_fetch(&shared_info->evtchn_pending[word], ~bit_of(bit), __ATOMIC_ACQ_REL);
        block[bit].handler(block[bit].context);
    }
}

void events_dispatch(struct vcpu_info *info)
{
    unsigned cpu = hal_this_cpu()->id;
    while (__atomic_exchange_n(&info->evtchn_upcall_pending, 0, __ATOMIC_ACQ_REL) != 0) {
        if (fifo) {
            fifo_dispatch(cpu);
            continue;
        }
        uint64_t words = __atomic_exchange_n(&info->evtchn_pending_sel, 0, __ATOMIC_ACQ_REL);
        while (words != 0) {
            dispatch_word((unsigned)__builtin_ctzll(words), cpu);
            words &= words - 1;
        }
    }
}
