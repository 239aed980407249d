/* SPDX-License-Identifier: MIT */
/* The client of xenstore against a daemon that answers properly, wrongly, or with random bytes and
 * indices. The daemon has its turn whenever the client sleeps. */
#include "hal/xen/xenstore.c"

#include <stdlib.h>

#include "fakes/check.h"

__asm__(".globl xen_hypercall\nxen_hypercall: xorl %eax, %eax\nret");

static struct xenstore_interface ring;
static struct thread own_thread;
static uint64_t now;
static bool (*daemon_turn)(void); /* whether it has done something */
static unsigned changes;

/* --- the kernel around it --------------------------------------------------------------------- */

uint64_t hal_clock_monotonic(void)
{
    return ++now;
}

void thread_prepare_sleep(enum thread_state state)
{
    (void)state;
}

void thread_cancel_sleep(void)
{
}

int thread_sleep(uint64_t deadline)
{
    (void)deadline;
    return daemon_turn() ? 0 : -ETIMEDOUT;
}

void thread_wake(struct thread *thread)
{
    (void)thread;
}

int thread_create(struct thread **out, const char *name, void (*entry)(void *), void *argument)
{
    (void)name;
    (void)entry;
    (void)argument;
    *out = &own_thread;
    return 0;
}

void thread_start(struct thread *thread)
{
    (void)thread;
}

void thread_discard(struct thread *thread)
{
    (void)thread;
}

void thread_exit(void)
{
    abort();
}

int event_bind(uint32_t port, unsigned cpu, event_handler *handler, void *context)
{
    (void)port;
    (void)cpu;
    (void)handler;
    (void)context;
    return 0;
}

void *kzalloc(size_t size)
{
    return calloc(1, size);
}

void kfree(void *pointer)
{
    free(pointer);
}

/* --- the daemon ------------------------------------------------------------------------------- */

static char requested[PAYLOAD_MAX];
static struct message asked;
static char answer[2 * PAYLOAD_MAX];
static size_t answer_size, answer_sent;
static const char *value;         /* of everything */
static char token[TOKEN_MAX + 1]; /* of the last watch */

static void put_answer(uint32_t type, const void *payload, uint32_t length)
{
    struct message message = {type, asked.request, asked.transaction, length};
    memcpy(answer + answer_size, &message, sizeof(message));
    memcpy(answer + answer_size + sizeof(message), payload, length);
    answer_size += sizeof(message) + length;
}

static void take(void *to, size_t size)
{
    for (size_t i = 0; i < size; i++) {
        CHECK(ring.req_cons != ring.req_prod);
        ((char *)to)[i] = ring.req[ring.req_cons++ % XENSTORE_RING_SIZE];
    }
}

static void answer_request(void)
{
    take(&asked, sizeof(asked));
    CHECK(asked.length <= XENSTORE_RING_SIZE - sizeof(asked));
    take(requested, asked.length);
    answer_size = answer_sent = 0;
    if (asked.type == XS_WATCH) {
        const char *text = requested + strlen(requested) + 1;
        CHECK(strlen(text) <= TOKEN_MAX && requested[asked.length - 1] == '\0');
        memcpy(token, text, strlen(text) + 1);
        put_answer(XS_WATCH, "OK", 3);
    } else if (value == NULL) {
        put_answer(XS_ERROR, "ENOENT", 7);
    } else {
        put_answer(asked.type, value, (uint32_t)strlen(value));
    }
}

/* A few bytes at a time, so that both rings wrap around in all places. */
static bool proper_turn(void)
{
    if (answer_sent == answer_size) {
        if (ring.req_cons == ring.req_prod) {
            return false;
        }
        answer_request();
    }
    for (unsigned i = 0; i < 7 && answer_sent < answer_size; i++) {
        ring.rsp[ring.rsp_prod++ % XENSTORE_RING_SIZE] = answer[answer_sent++];
    }
    return true;
}

static uint32_t dice(void)
{
    static uint64_t seed;
    return (uint32_t)test_random(&seed);
}

static bool random_turn(void)
{
    switch (dice() % 16) {
    case 0:
        ring.rsp_prod = dice();
        break;
    case 1:
        ring.req_cons = dice();
        break;
    case 2:
        return false;
    default: { /* a header that is not all wrong */
        struct message message = {dice() % 20, store.request, store.transaction,
                                  dice() % (dice() % 8 == 0 ? 1u << 31 : 64)};
        ring.req_cons = ring.req_prod;
        for (size_t i = 0; i < sizeof(message) + message.length % 64; i++) {
            ring.rsp[ring.rsp_prod++ % XENSTORE_RING_SIZE] =
                i < sizeof(message) ? ((char *)&message)[i] : (char)dice();
        }
    }
    }
    return true;
}

static void changed(void *context)
{
    (void)context;
    changes++;
}

static void begin(bool (*turn)(void))
{
    memset(&ring, 0, sizeof(ring));
    while (store.watches.next != NULL && !list_empty(&store.watches)) {
        free(list_entry(list_pop_front(&store.watches), struct watch, node));
    }
    memset(&store, 0, sizeof(store));
    list_init(&store.watches);
    store.ring = &ring;
    answer_size = answer_sent = 0;
    daemon_turn = turn;
}

static void check_values(void)
{
    char text[16];
    uint64_t number;
    begin(proper_turn);
    for (unsigned i = 0; i < 1000; i++) {
        value = "4711";
        CHECK(xenstore_read("some/path", text, sizeof(text)) == 4 && strcmp(text, "4711") == 0);
        CHECK(xenstore_read_number("n", 4711, &number) == 0 && number == 4711);
        CHECK(xenstore_read_number("n", 4710, &number) == -EINVAL);
        value = "";
        CHECK(xenstore_read("some/path", text, sizeof(text)) == 0 && text[0] == '\0');
        CHECK(xenstore_read_number("n", 1, &number) == -EINVAL);
        value = "99999999999999999999999";
        CHECK(xenstore_read_number("n", UINT64_MAX, &number) == -EINVAL);
        value = "12a";
        CHECK(xenstore_read_number("n", UINT64_MAX, &number) == -EINVAL);
        value = "sixteen bytes!!!";
        CHECK(xenstore_read("some/path", text, sizeof(text)) == -E2BIG);
        value = NULL;
        CHECK(xenstore_read("some/path", text, sizeof(text)) == -ENOENT);
    }
}

static bool has_changed(void *context)
{
    (void)context;
    return changes != 0;
}

static void check_watches(void)
{
    begin(proper_turn);
    changes = 0;
    CHECK(xenstore_watch("path", changed, NULL) == 0);
    char event[64] = "path";
    memcpy(event + 5, token, sizeof(token));
    asked.request = 0;
    answer_size = answer_sent = 0;
    put_answer(XS_WATCH_EVENT, event, (uint32_t)(5 + strlen(token) + 1));
    CHECK(xenstore_wait(has_changed, NULL, 1000) && changes == 1);
    changes = 0;
    answer_size = answer_sent = 0;
    put_answer(XS_WATCH_EVENT, "path\0abcdef", 11);
    put_answer(XS_WATCH_EVENT, "no token", 8);
    CHECK(!xenstore_wait(has_changed, NULL, 1000) && changes == 0);
    value = "OK";
    xenstore_unwatch(changed, &changes); /* there is none */
    CHECK(asked.type == XS_WATCH && !list_empty(&store.watches));
    xenstore_unwatch(changed, NULL);
    CHECK(asked.type == XS_UNWATCH && strcmp(requested, "path") == 0 &&
          strcmp(requested + 5, token) == 0 && list_empty(&store.watches));
}

/* A daemon that has never heard of us, behind a ring with the half of an event of the old one's. */
static void check_resume(void)
{
    char text[16];
    begin(proper_turn);
    CHECK(xenstore_watch("first", changed, NULL) == 0);
    CHECK(xenstore_watch("second", changed, NULL) == 0);
    ring.rsp_prod += sizeof(struct message) / 2;
    xenstore_attach(&ring, 7);
    CHECK(xenstore_resume() == 0);
    uint32_t before = store.request;
    xenstore_watch_again();
    CHECK(store.request == before + 2 && asked.type == XS_WATCH);
    CHECK(strcmp(requested, "second") == 0);
    value = "4711";
    CHECK(xenstore_read("some/path", text, sizeof(text)) == 4);
}

static void check_damage(void)
{
    char text[64];
    for (unsigned round = 0; round < 20000; round++) {
        begin(random_turn);
        for (unsigned i = 0; i < 8; i++) {
            long length = xenstore_read("path", text, sizeof(text));
            CHECK(length < (long)sizeof(text));
            xenstore_watch("path", changed, NULL);
            xenstore_wait(has_changed, NULL, 10);
        }
    }
}

int main(void)
{
    check_values();
    check_watches();
    check_resume();
    check_damage();
    begin(random_turn);
    return 0;
}
