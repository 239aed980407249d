/* SPDX-License-Identifier: MIT */
/* Event channels by the FIFO ABI (xen/include/public/event_channel.h; Xen 4.4 and later): an array
 * with a word for each channel, and for each CPU a control block with the heads of its queues, one
 * for each priority, which are linked through the words. Xen appends, the CPU takes from the front.
 * Words change by compare-and-swap only; a CPU's queues are its own, masked. Xen is the hypervisor
 * itself, so its links are bounded but not distrusted. */
#include <linux/errno.h>

#include "core/lib/log.h"
#include "core/lib/string.h"
#include "core/mm/page.h"
#include "event_internal.h"

#define WORD_PENDING (1u << 31)
#define WORD_MASKED (1u << 30)
#define WORD_LINKED (1u << 29)
#define WORD_LINK ((1u << 17) - 1)

#define WORDS_PER_PAGE (PAGE_SIZE / sizeof(uint32_t))
#define ARRAY_PAGES (EVENT_CHANNELS / WORDS_PER_PAGE)
#define QUEUES 16

/* struct evtchn_fifo_control_block, and what we have taken from each queue. */
struct queues {
    uint32_t ready; /* a bit for each queue that is not empty */
    uint32_t reserved;
    uint32_t shared_head[QUEUES];
    uint32_t head[QUEUES]; /* ours: the next channel, 0: ask shared_head */
} __attribute__((aligned(256)));
#define QUEUES_PER_PAGE (PAGE_SIZE / sizeof(struct queues))

static struct queues *cpu_queues[HAL_MAX_CPUS / QUEUES_PER_PAGE];
static uint32_t *array[ARRAY_PAGES];
static unsigned array_pages;

static struct queues *queues_of(unsigned cpu)
{
    return &cpu_queues[cpu / QUEUES_PER_PAGE][cpu % QUEUES_PER_PAGE];
}

int fifo_expand(uint32_t port)
{
    while (port / WORDS_PER_PAGE >= array_pages) {
        if (array[array_pages] == NULL) {
            uint64_t page = page_alloc(0, 0);
            if (page == 0) {
                return -ENOMEM;
            }
            array[array_pages] = direct_map(page);
        }
        uint32_t *words = array[array_pages];
        for (unsigned i = 0; i < WORDS_PER_PAGE; i++) {
            words[i] = WORD_MASKED;
        }
        struct evtchn_expand_array expand = {.frame = mmu_frame(direct_map_physical(words))};
        long error = event_channel_op(EVTCHNOP_EXPAND_ARRAY, &expand);
        if (error != 0) {
            return (int)error;
        }
        array_pages++;
    }
    return 0;
}

/* Empty queues for all CPUs; false: there is no memory. */
static bool alloc_queues(unsigned cpu_count)
{
    for (unsigned i = 0; i * QUEUES_PER_PAGE < cpu_count; i++) {
        uint64_t page =
            cpu_queues[i] != NULL ? direct_map_physical(cpu_queues[i]) : page_alloc(0, 0);
        if (page == 0) {
            return false;
        }
        cpu_queues[i] = direct_map(page);
        memset(cpu_queues[i], 0, PAGE_SIZE);
    }
    return true;
}

static void free_queues(void)
{
    for (unsigned i = sizeof(cpu_queues) / sizeof(cpu_queues[0]); i-- > 0;) {
        if (cpu_queues[i] != NULL) {
            page_free(direct_map_physical(cpu_queues[i]), 0);
            cpu_queues[i] = NULL;
        }
    }
}

static long init_control(unsigned cpu)
{
    struct evtchn_init_control control = {
        .frame = mmu_frame(direct_map_physical(cpu_queues[cpu / QUEUES_PER_PAGE])),
        .offset = (uint32_t)(cpu % QUEUES_PER_PAGE * sizeof(struct queues)),
        .vcpu = event_vcpu(cpu),
    };
    return event_channel_op(EVTCHNOP_INIT_CONTROL, &control);
}

bool fifo_start(unsigned cpu_count)
{
    array_pages = 0;
    if (!alloc_queues(cpu_count) || init_control(0) != 0) {
        free_queues();
        return false;
    }
    /* From here on there is no other way. */
    long error = fifo_expand(0);
    for (unsigned cpu = 1; cpu < cpu_count && error == 0; cpu++) {
        error = init_control(cpu);
    }
    if (error != 0) {
        panic("xen: no event channels: %ld", error);
    }
    return true;
}

static uint32_t *word_of(uint32_t port)
{
    return &array[port / WORDS_PER_PAGE][port % WORDS_PER_PAGE];
}

/* Takes the channel off its queue: the next one, 0: there is none. */
static uint32_t unlink_word(uint32_t *word)
{
    uint32_t old = __atomic_load_n(word, __ATOMIC_ACQUIRE);
    while ((old & WORD_LINKED) != 0 &&
           !__atomic_compare_exchange_n(word, &old, old & ~(WORD_LINKED | WORD_LINK), true,
                                        __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE)) {
    }
    return old & WORD_LINK;
}

/* One event of queue `index`: whether there may be more. */
static bool take_one(struct queues *queues, unsigned index)
{
    uint32_t port = queues->head[index];
    if (port == 0) {
        port = __atomic_load_n(&queues->shared_head[index], __ATOMIC_ACQUIRE);
    }
    if (port == 0 || port / WORDS_PER_PAGE >= array_pages) {
        queues->head[index] = 0;
        return false;
    }
    uint32_t *word = word_of(port);
    uint32_t next = unlink_word(word);
    queues->head[index] = next;
    if ((__atomic_load_n(word, __ATOMIC_ACQUIRE) & (WORD_PENDING | WORD_MASKED)) == WORD_PENDING) {
        __atomic_and_fetch(word, ~WORD_PENDING, __ATOMIC_ACQ_REL);
        event_deliver(port);
    }
    return next != 0;
}

void fifo_dispatch(unsigned cpu)
{
    struct queues *queues = queues_of(cpu);
    uint32_t ready = __atomic_exchange_n(&queues->ready, 0, __ATOMIC_ACQ_REL);
    while (ready != 0) {
        unsigned index = (unsigned)__builtin_ctz(ready); /* 0 is the highest priority */
        if (!take_one(queues, index)) {
            ready &= ~(1u << index);
        }
        ready |= __atomic_exchange_n(&queues->ready, 0, __ATOMIC_ACQ_REL);
    }
}
