/* SPDX-License-Identifier: MIT */
/* Event channels by the FIFO ABI against a Xen that appends to the queues as Xen does
 * (xen/common/event_fifo.c): each event that is sent is delivered once, by priority and then in
 * order, whatever is sent meanwhile. */
#include "hal/xen/event_fifo.c"

#include <string.h>

#include "fakes/check.h"

#define CPUS 20 /* more than a page of queues */
#define CHANNELS 3000

bool xen_is_pvh;
static char memory[32 * PAGE_SIZE] __attribute__((aligned(PAGE_SIZE)));
char *fake_memory = memory;
static unsigned next_page = 1;
static bool offered = true;

/* Xen's side. */
static struct queues *controls[CPUS];
static uint32_t *pages[ARRAY_PAGES];
static unsigned page_count;
static uint32_t tails[CPUS][QUEUES];

static uint32_t delivered[1000];
static unsigned delivered_count;
static void (*during_delivery)(uint32_t port);

void panic(const char *text, ...)
{
    CHECK(false, "%s", text);
    abort();
}

uint64_t page_alloc(unsigned order, unsigned flags)
{
    CHECK(order == 0 && flags == 0 && next_page < 32);
    memset(memory + next_page * PAGE_SIZE, 0xa5, PAGE_SIZE);
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

static void *frame_memory(uint64_t frame)
{
    return memory + (frame - 1000) * PAGE_SIZE;
}

uint32_t event_vcpu(unsigned cpu)
{
    return cpu;
}

long fake_hypercall(uint64_t operation, void *argument);
__asm__(".globl xen_hypercall\nxen_hypercall: pushq %rbp\nmovq %rsp, %rbp\nandq $-16, %rsp\n"
        "call fake_hypercall\nleave\nret");

long fake_hypercall(uint64_t operation, void *argument)
{
    if (operation == EVTCHNOP_INIT_CONTROL) {
        const struct evtchn_init_control *control = argument;
        CHECK(control->vcpu < CPUS && control->offset % 8 == 0 &&
              control->offset <= PAGE_SIZE - 72);
        controls[control->vcpu] = (void *)((char *)frame_memory(control->frame) + control->offset);
        return offered ? 0 : -ENOSYS;
    }
    CHECK(operation == EVTCHNOP_EXPAND_ARRAY);
    const struct evtchn_expand_array *expand = argument;
    pages[page_count++] = frame_memory(expand->frame);
    return 0;
}

static uint32_t *xen_word(uint32_t port)
{
    return &pages[port / WORDS_PER_PAGE][port % WORDS_PER_PAGE];
}

static void send(uint32_t port, unsigned cpu, unsigned priority)
{
    uint32_t *word = xen_word(port);
    *word |= WORD_PENDING;
    if ((*word & (WORD_MASKED | WORD_LINKED)) != 0) {
        return;
    }
    uint32_t *tail = &tails[cpu][priority];
    uint32_t *last = *tail != 0 ? xen_word(*tail) : NULL;
    bool append = last != NULL && (*last & WORD_LINKED) != 0 && (*last & WORD_LINK) == 0;
    *word |= WORD_LINKED;
    if (append) {
        *last |= port;
    } else {
        controls[cpu]->shared_head[priority] = port;
        controls[cpu]->ready |= 1u << priority;
    }
    *tail = port;
}

static void unmask(uint32_t port, unsigned cpu, unsigned priority)
{
    *xen_word(port) &= ~WORD_MASKED;
    if ((*xen_word(port) & WORD_PENDING) != 0) {
        send(port, cpu, priority);
    }
}

void event_deliver(uint32_t port)
{
    delivered[delivered_count++] = port;
    if (during_delivery != NULL) {
        during_delivery(port);
    }
}

static void expect(unsigned count, const uint32_t *ports)
{
    CHECK(delivered_count == count, "%u delivered", delivered_count);
    CHECK(count == 0 || memcmp(delivered, ports, count * sizeof(*ports)) == 0);
    delivered_count = 0;
}

static void test_order(void)
{
    for (uint32_t port = 1; port <= 8; port++) {
        unmask(port, 3, 7);
    }
    send(1, 3, 7);
    send(2, 3, 7);
    send(3, 3, 7);
    send(2, 3, 7); /* twice before it is taken: once */
    send(4, 3, 0);
    fifo_dispatch(2);
    expect(0, NULL);
    fifo_dispatch(3);
    expect(4, (uint32_t[]){4, 1, 2, 3});
    fifo_dispatch(3);
    expect(0, NULL);
    send(2, 3, 7);
    fifo_dispatch(3);
    expect(1, (uint32_t[]){2});
}

static void test_masked(void)
{
    send(100, 0, 7); /* bound, not unmasked yet */
    fifo_dispatch(0);
    expect(0, NULL);
    unmask(100, 0, 7);
    *xen_word(100) |= WORD_MASKED; /* masked again while it is in the queue */
    fifo_dispatch(0);
    expect(0, NULL);
    unmask(100, 0, 7);
    fifo_dispatch(0);
    expect(1, (uint32_t[]){100});
}

static void send_more(uint32_t port)
{
    if (port < 205) {
        send(port + 1, 19, 7);
        if (port == 202) {
            send(300, 19, 2);
        }
    }
}

static void test_sent_meanwhile(void)
{
    for (uint32_t port = 200; port <= 300; port++) {
        unmask(port, 19, 7);
    }
    during_delivery = send_more;
    send(200, 19, 7);
    fifo_dispatch(19);
    during_delivery = NULL;
    expect(7, (uint32_t[]){200, 201, 202, 300, 203, 204, 205});
}

static void test_any_order(void)
{
    static bool sent[CHANNELS];
    uint64_t state = 1;
    CHECK(fifo_expand(CHANNELS) == 0 && page_count == CHANNELS / WORDS_PER_PAGE + 1);
    for (uint32_t port = 1; port < CHANNELS; port++) {
        unmask(port, port % CPUS, port % QUEUES);
    }
    for (unsigned round = 0; round < 20000; round++) {
        uint32_t port = 1 + (uint32_t)(test_random(&state) % (CHANNELS - 1));
        send(port, port % CPUS, port % QUEUES);
        sent[port] = true;
        if (round % 50 == 0) {
            unsigned cpu = (unsigned)(test_random(&state) % CPUS);
            fifo_dispatch(cpu);
            for (unsigned i = 0; i < delivered_count; i++) {
                CHECK(sent[delivered[i]] && delivered[i] % CPUS == cpu);
                sent[delivered[i]] = false;
            }
            for (uint32_t other = cpu; other < CHANNELS; other += CPUS) {
                CHECK(!sent[other]);
            }
            delivered_count = 0;
        }
    }
}

/* Another Xen, which knows of nothing, after events had been sent by the old one. */
static void test_resume(void)
{
    send(5, 3, 7);
    send(6, 3, 7);
    unsigned pages_before = next_page;
    page_count = 0;
    memset(tails, 0, sizeof(tails));
    CHECK(fifo_start(CPUS) && page_count == 1 && next_page == pages_before);
    CHECK(fifo_expand(WORDS_PER_PAGE) == 0 && page_count == 2 && next_page == pages_before);
    fifo_dispatch(3);
    expect(0, NULL);
    CHECK(*xen_word(5) == WORD_MASKED && *xen_word(WORDS_PER_PAGE) == WORD_MASKED);
    test_order();
    test_masked();
}

int main(void)
{
    offered = false;
    CHECK(!fifo_start(CPUS) && next_page == 1);
    offered = true;
    CHECK(fifo_start(CPUS) && page_count == 1);
    test_order();
    test_masked();
    test_sent_meanwhile();
    test_any_order();
    test_resume();
    return 0;
}
