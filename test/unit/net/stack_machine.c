/* SPDX-License-Identifier: MIT */
/* The kernel around lwIP and core/net, for tests of the whole of them. */
#include "stack_machine.h"

#include <linux/errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "check.h"
#include "core/lib/log.h"
#include "core/net/config.h"
#include "core/net/families.h"
#include "core/net/inet.h"
#include "core/net/interface.h"
#include "core/options.h"
#include "core/sched/sched.h"
#include "core/time/timer.h"

struct net_config net_config = {
    .ip = {NET_STATIC, {AF_INET, {10, 0, 2, 15}}, {AF_INET, {10, 0, 2, 2}}, 24}};
struct options options = {.hostname = "test"};
uint64_t stack_now = 1000000000;
uint64_t stack_random = 1;
unsigned stack_memory_fails;
static struct timer *armed[8];

void *kmalloc(size_t size)
{
    bool fails = stack_memory_fails != 0 && test_random(&stack_random) % stack_memory_fails == 0;
    return fails ? NULL : malloc(size);
}

void *kzalloc(size_t size)
{
    return calloc(1, size);
}

void kfree(void *pointer)
{
    free(pointer);
}

uint64_t page_total(void)
{
    return 65536;
}

bool page_is_plentiful(uint64_t pages)
{
    (void)pages;
    return true;
}

uint64_t page_free_count(void)
{
    return 32768;
}

uint64_t random_u64(void)
{
    return test_random(&stack_random);
}

void random_bytes(void *to, size_t size)
{
    memset(to, 7, size);
}

uint64_t hal_clock_monotonic(void)
{
    return stack_now;
}

uint64_t deadline_after(uint64_t ns)
{
    return stack_now + ns;
}

void timer_init(struct timer *timer, void (*expired)(struct timer *))
{
    timer->expired = expired;
}

void timer_arm(struct timer *timer, uint64_t deadline)
{
    unsigned i = 0;
    while (armed[i] != NULL && armed[i] != timer) {
        i++;
    }
    armed[i] = timer;
    timer->deadline = deadline;
    timer->armed = true;
}

void stack_pass_time(uint64_t ns)
{
    uint64_t end = stack_now + ns;
    for (;;) {
        struct timer *first = NULL;
        for (unsigned i = 0; i < 8; i++) {
            if (armed[i] != NULL && armed[i]->armed &&
                (first == NULL || armed[i]->deadline < first->deadline)) {
                first = armed[i];
            }
        }
        if (first == NULL || first->deadline > end) {
            break;
        }
        stack_now = first->deadline > stack_now ? first->deadline : stack_now;
        first->armed = false;
        first->expired(first);
    }
    stack_now = end;
}

void log_write(enum log_level level, const char *text, ...)
{
    (void)level;
    (void)text;
}

enum log_level log_level;

void mutex_init(struct mutex *mutex)
{
    mutex->state = 0;
}

void mutex_lock(struct mutex *mutex)
{
    CHECK(mutex->state++ == 0);
}

void mutex_unlock(struct mutex *mutex)
{
    CHECK(--mutex->state == 0);
}

void wait_queue_init(struct wait_queue *queue)
{
    (void)queue;
}

void wait_queue_notify(struct wait_queue *queue, uint32_t events)
{
    (void)queue;
    (void)events;
}

void wait_queue_add(struct wait_queue *queue, struct wait_entry *entry)
{
    (void)queue;
    (void)entry;
}

void wait_queue_remove(struct wait_entry *entry)
{
    (void)entry;
}

void thread_waiter_init(struct thread_waiter *waiter)
{
    (void)waiter;
}

void thread_prepare_sleep(enum thread_state thread_state)
{
    (void)thread_state;
}

void thread_cancel_sleep(void)
{
}

int thread_sleep(uint64_t deadline)
{
    uint64_t second = stack_now + 1000000000;
    stack_pass_time((deadline < second ? deadline : second) - stack_now);
    return -ETIMEDOUT;
}

void thread_wake(struct thread *thread)
{
    CHECK(thread == current_thread());
}

int copy_from_user(void *to, uintptr_t from, size_t size)
{
    (void)to;
    (void)from;
    return size == 0 ? 0 : -EFAULT;
}

void interface_register(const struct interface_source *source)
{
    (void)source;
}

void resolver_update(int interface, int family, const struct net_address *servers, unsigned count)
{
    (void)interface;
    (void)family;
    (void)servers;
    CHECK(count <= 3);
}

void socket_register(const struct socket_family *family)
{
    (void)family;
}

void socket_init(struct socket *socket, const struct socket_operations *operations, int domain,
                 int type, int protocol)
{
    socket->operations = operations;
    socket->domain = (uint16_t)domain;
    socket->type = (uint16_t)type;
    socket->protocol = protocol;
    socket->options.receive_buffer = socket->options.send_buffer = 212992;
    socket->options.linger = -1;
}

void socket_init_accepted(struct socket *socket, const struct socket *listener)
{
    socket->options = listener->options;
}

const struct control_header *control_next(const struct socket_message *message,
                                          const struct control_header *at, int *result)
{
    (void)message;
    (void)at;
    *result = 0;
    return NULL;
}

bool control_put(struct socket_message *message, int level, int type, const void *data, size_t size)
{
    (void)message;
    (void)level;
    (void)type;
    (void)data;
    return size != 0;
}

static uint8_t program_memory[65536];

int io_copy_to(struct io_vector *io, const void *from, size_t size)
{
    CHECK(size <= io->remaining);
    memcpy(program_memory, from, size < sizeof(program_memory) ? size : sizeof(program_memory));
    io->remaining -= size;
    return 0;
}

int io_copy_from(struct io_vector *io, void *to, size_t size)
{
    CHECK(size <= io->remaining);
    static uint32_t written;
    for (size_t i = 0; i < size; i++) {
        ((uint8_t *)to)[i] = (uint8_t)(written++ * 2654435761u >> 24);
    }
    io->remaining -= size;
    return 0;
}

int copy_to_user(uintptr_t to, const void *from, size_t size)
{
    memcpy((void *)to, from, size);
    return 0;
}

_Noreturn void core_net_assert(const char *message, const char *file, int line)
{
    CHECK(false, "%s:%d: %s", file, line, message);
    abort();
}
