/* SPDX-License-Identifier: MIT */
/* See xenstore.h. Two byte rings carry messages of a header and a payload. What the daemon writes
 * is read once and checked: indices that are not of this ring, or a message longer than the
 * protocol allows, end the connection (`broken`), and from then on all requests fail. */
#include <linux/errno.h>
#include <stdbool.h>

#include "core/lib/list.h"
#include "core/lib/log.h"
#include "core/lib/string.h"
#include "core/mm/kmalloc.h"
#include "core/sched/sched.h"
#include "xen_internal.h"
#include "xenstore.h"

#define PAYLOAD_MAX 4096
#define TOKEN_MAX 16
#define LAST_PATIENCE_NS 1000000000ull

enum {
    XS_DIRECTORY = 1,
    XS_READ = 2,
    XS_WATCH = 4,
    XS_UNWATCH = 5,
    XS_TRANSACTION_START = 6,
    XS_TRANSACTION_END = 7,
    XS_WRITE = 11,
    XS_WATCH_EVENT = 15,
    XS_ERROR = 16,
};

struct message {
    uint32_t type, request, transaction, length;
};

struct watch {
    struct list node;
    bool fired;
    xenstore_watch_fn *changed;
    void *context;
    char path[]; /* NUL-terminated */
};

static struct {
    struct xenstore_interface *ring;
    uint32_t port;
    uint32_t req_prod, rsp_cons; /* ours, whatever the page says */
    uint32_t request;            /* number of the last one */
    uint32_t transaction;        /* 0: none */
    bool broken;
    bool sending; /* a part of a request may be in the ring */
    struct thread *thread;
    struct thread *starter; /* waits for `started`; atomic */
    bool started;
    void (*first)(void);
    void (*deferred)(void); /* NULL: nothing is */
    struct list watches;
    char payload[PAYLOAD_MAX + 1]; /* of the last message */
} store;

static int fail(const char *why)
{
    if (!store.broken) {
        store.broken = true;
        log_error("xenstore: %s: no more requests", why);
    }
    return -EIO;
}

/* Sleeps until `ready` says more than 0 (its value), or an error, or `deadline`: -ETIMEDOUT. */
static long wait_ring(long (*ready)(void), uint64_t deadline)
{
    for (;;) {
        thread_prepare_sleep(THREAD_SLEEPING);
        long value = ready();
        if (value != 0) {
            thread_cancel_sleep();
            return value;
        }
        if (thread_sleep(deadline) == -ETIMEDOUT) {
            return -ETIMEDOUT;
        }
    }
}

static long request_room(void)
{
    uint32_t used = store.req_prod - __atomic_load_n(&store.ring->req_cons, __ATOMIC_ACQUIRE);
    return used > XENSTORE_RING_SIZE ? fail("the ring's indices are damaged")
                                     : (long)(XENSTORE_RING_SIZE - used);
}

static long response_bytes(void)
{
    uint32_t filled = __atomic_load_n(&store.ring->rsp_prod, __ATOMIC_ACQUIRE) - store.rsp_cons;
    return filled > XENSTORE_RING_SIZE ? fail("the ring's indices are damaged") : (long)filled;
}

static void put(const void *bytes, size_t size)
{
    for (const char *from = bytes; size != 0; size--) {
        store.ring->req[store.req_prod++ % XENSTORE_RING_SIZE] = *from++;
    }
}

static int send(const void *bytes, size_t size)
{
    const char *from = bytes;
    while (size != 0) {
        long room = wait_ring(request_room, hal_clock_monotonic() + XENSTORE_PATIENCE_NS);
        if (room < 0) {
            return fail("no answer");
        }
        size_t piece = size < (size_t)room ? size : (size_t)room;
        put(from, piece);
        from += piece;
        size -= piece;
        __atomic_store_n(&store.ring->req_prod, store.req_prod, __ATOMIC_RELEASE);
        event_send(store.port);
    }
    return 0;
}

/* What follows the first byte of a message comes at once, or never. */
static int receive(void *bytes, size_t size)
{
    char *to = bytes;
    uint64_t deadline = hal_clock_monotonic() + XENSTORE_PATIENCE_NS;
    while (size != 0) {
        long filled = wait_ring(response_bytes, deadline);
        if (filled < 0) {
            return fail("a message is not complete");
        }
        for (; filled != 0 && size != 0; filled--, size--) {
            *to++ = store.ring->rsp[store.rsp_cons++ % XENSTORE_RING_SIZE];
        }
        __atomic_store_n(&store.ring->rsp_cons, store.rsp_cons, __ATOMIC_RELEASE);
        event_send(store.port);
    }
    return 0;
}

/* A watch's event: the path and the token, which is the address of our structure in hexadecimal
 * digits, compared and never used as an address. */
static void watch_event(const char *payload, uint32_t length)
{
    const char *token = memchr(payload, 0, length);
    if (token == NULL) {
        return;
    }
    token++;
    list_for_each (node, &store.watches) {
        struct watch *watch = list_entry(node, struct watch, node);
        char own[TOKEN_MAX + 1];
        format(own, sizeof(own), "%lx", (unsigned long)watch);
        if (strcmp(token, own) == 0) {
            watch->fired = true;
        }
    }
}

/* The next message, its payload in store.payload and NUL-terminated. -ETIMEDOUT: none has begun
 * before the deadline. */
static int next_message(struct message *message, uint64_t deadline)
{
    long filled = wait_ring(response_bytes, deadline);
    int error = filled < 0 ? (int)filled : receive(message, sizeof(*message));
    if (error != 0) {
        return error;
    }
    if (message->length > PAYLOAD_MAX) {
        return fail("a message is too long");
    }
    error = receive(store.payload, message->length);
    store.payload[message->length] = '\0';
    if (error == 0 && message->type == XS_WATCH_EVENT) {
        watch_event(store.payload, message->length);
    }
    return error;
}

/* The errors that the store's clients may meet, by the names that it sends. */
static int error_number(const char *name)
{
    static const struct {
        const char *name;
        int number;
    } errors[] = {{"ENOENT", ENOENT}, {"EACCES", EACCES}, {"EAGAIN", EAGAIN}, {"ENOSPC", ENOSPC}};
    for (unsigned i = 0; i < sizeof(errors) / sizeof(errors[0]); i++) {
        if (strcmp(errors[i].name, name) == 0) {
            return -errors[i].number;
        }
    }
    return -EINVAL;
}

/* Sends `first` with its NUL and then `second`; the reply is in store.payload: its length. */
static long request(uint32_t type, const char *first, const char *second, size_t second_size)
{
    size_t first_size = strlen(first) + 1;
    struct message message = {
        .type = type,
        .request = ++store.request,
        .transaction = type == XS_WATCH || type == XS_UNWATCH ? 0 : store.transaction,
        .length = (uint32_t)(first_size + second_size),
    };
    if (store.broken || message.length > PAYLOAD_MAX) {
        return store.broken ? -EIO : -E2BIG;
    }
    store.sending = true;
    int error = send(&message, sizeof(message));
    if (error == 0) {
        error = send(first, first_size);
    }
    if (error == 0) {
        error = send(second, second_size);
    }
    store.sending = false;
    uint64_t asked = hal_clock_monotonic();
    bool warned = false;
    while (error == 0) {
        error =
            next_message(&message, asked + (warned ? XENSTORE_PATIENCE_NS : XENSTORE_WARNING_NS));
        if (error == -ETIMEDOUT && warned) {
            return fail("no answer");
        }
        if (error == -ETIMEDOUT) {
            log_warn("xenstore: no answer yet");
            warned = true;
            error = 0;
            continue;
        }
        if (error == 0 && message.type != XS_WATCH_EVENT && message.request == store.request) {
            if (message.type == XS_ERROR) {
                return error_number(store.payload);
            }
            return message.type == type ? (long)message.length : fail("not what was asked for");
        }
    }
    return error;
}

/* --- requests --------------------------------------------------------------------------------- */

static long copy_reply(long length, char *to, size_t size)
{
    if (length >= 0 && (size_t)length >= size) {
        return -E2BIG;
    }
    if (length >= 0) {
        memcpy(to, store.payload, (size_t)length + 1);
    }
    return length;
}

long xenstore_read(const char *path, char *value, size_t size)
{
    return copy_reply(request(XS_READ, path, NULL, 0), value, size);
}

long xenstore_directory(const char *path, char *names, size_t size)
{
    return copy_reply(request(XS_DIRECTORY, path, NULL, 0), names, size);
}

int xenstore_read_number(const char *path, uint64_t max, uint64_t *value)
{
    char text[24];
    long length = xenstore_read(path, text, sizeof(text));
    if (length < 0) {
        return (int)length;
    }
    uint64_t number = 0;
    for (const char *digit = text; *digit != '\0'; digit++) {
        if (*digit < '0' || *digit > '9' || number > (UINT64_MAX - 9) / 10) {
            return -EINVAL;
        }
        number = number * 10 + (uint64_t)(*digit - '0');
    }
    if (length == 0 || number > max) {
        return -EINVAL;
    }
    *value = number;
    return 0;
}

int xenstore_write(const char *path, const char *value)
{
    long length = request(XS_WRITE, path, value, strlen(value));
    return length < 0 ? (int)length : 0;
}

void xenstore_write_last(const char *path, const char *value)
{
    size_t path_size = strlen(path) + 1, value_size = strlen(value);
    struct message message = {
        .type = XS_WRITE,
        .request = store.request + 1,
        .length = (uint32_t)(path_size + value_size),
    };
    if (store.ring == NULL || store.broken || store.sending ||
        request_room() < (long)(sizeof(message) + message.length)) {
        return;
    }
    put(&message, sizeof(message));
    put(path, path_size);
    put(value, value_size);
    __atomic_store_n(&store.ring->req_prod, store.req_prod, __ATOMIC_RELEASE);
    event_send(store.port);
    uint64_t deadline = hal_clock_monotonic() + LAST_PATIENCE_NS;
    while (!store.broken && request_room() < XENSTORE_RING_SIZE &&
           hal_clock_monotonic() < deadline) {
        sched_op(SCHEDOP_YIELD, NULL);
    }
}

int xenstore_transaction_begin(void)
{
    long length = request(XS_TRANSACTION_START, "", NULL, 0);
    if (length < 0) {
        return (int)length;
    }
    uint32_t number = 0;
    for (const char *digit = store.payload; *digit >= '0' && *digit <= '9'; digit++) {
        number = number * 10 + (uint32_t)(*digit - '0');
    }
    store.transaction = number;
    return number != 0 ? 0 : -EIO;
}

int xenstore_transaction_end(void)
{
    long length = request(XS_TRANSACTION_END, "T", NULL, 0);
    store.transaction = 0;
    return length < 0 ? (int)length : 0;
}

/* Asks for a watch, or takes it back. */
static int watch_request(uint32_t type, const struct watch *watch)
{
    char token[TOKEN_MAX + 1];
    int length = format(token, sizeof(token), "%lx", (unsigned long)watch);
    long result = request(type, watch->path, token, (size_t)length + 1);
    return result < 0 ? (int)result : 0;
}

int xenstore_watch(const char *path, xenstore_watch_fn *changed, void *context)
{
    size_t path_size = strlen(path) + 1;
    struct watch *watch = kzalloc(sizeof(*watch) + path_size);
    if (watch == NULL) {
        return -ENOMEM;
    }
    watch->changed = changed;
    watch->context = context;
    memcpy(watch->path, path, path_size);
    list_push_back(&store.watches, &watch->node);
    int error = watch_request(XS_WATCH, watch);
    if (error != 0) {
        list_remove(&watch->node);
        kfree(watch);
    }
    return error;
}

void xenstore_unwatch(xenstore_watch_fn *changed, void *context)
{
    list_for_each (node, &store.watches) {
        struct watch *watch = list_entry(node, struct watch, node);
        if (watch->changed == changed && watch->context == context) {
            watch_request(XS_UNWATCH, watch);
            list_remove(&watch->node);
            kfree(watch);
            return;
        }
    }
}

/* --- the thread ------------------------------------------------------------------------------- */

/* Runs the watches that have fired: whether there were any. */
static bool run_watches(void)
{
    bool any = false;
    list_for_each (node, &store.watches) {
        struct watch *watch = list_entry(node, struct watch, node);
        if (watch->fired) {
            watch->fired = false;
            any = true;
            watch->changed(watch->context);
        }
    }
    return any;
}

bool xenstore_wait(bool (*condition)(void *context), void *context, uint64_t patience_ns)
{
    uint64_t deadline = hal_clock_monotonic() + patience_ns;
    struct message message;
    while (!condition(context)) {
        if (!run_watches() && next_message(&message, deadline) != 0) {
            return condition(context);
        }
    }
    return true;
}

static bool is_disturbed(void *context)
{
    (void)context;
    return store.broken || store.deferred != NULL;
}

void xenstore_defer(void (*work)(void))
{
    store.deferred = work;
}

static void xenbus_main(void *unused)
{
    (void)unused;
    store.first();
    __atomic_store_n(&store.started, true, __ATOMIC_RELEASE);
    thread_wake(store.starter);
    while (!store.broken) {
        xenstore_wait(is_disturbed, NULL, UINT64_MAX / 2);
        void (*work)(void) = store.deferred;
        store.deferred = NULL;
        if (work != NULL && !store.broken) {
            work();
        }
    }
    thread_exit();
}

static void ring_event(void *context)
{
    thread_wake(context);
}

void xenstore_attach(struct xenstore_interface *ring, uint32_t port)
{
    store.ring = ring;
    store.port = port;
    store.req_prod = ring->req_prod;
    store.rsp_cons = ring->rsp_cons;
}

int xenstore_resume(void)
{
    /* Nothing was asked. What the ring still holds, a part of an event perhaps, is the old
     * daemon's. */
    store.rsp_cons = store.ring->rsp_prod;
    store.ring->rsp_cons = store.rsp_cons;
    return event_bind(store.port, 0, ring_event, store.thread);
}

void xenstore_watch_again(void)
{
    list_for_each (node, &store.watches) {
        const struct watch *watch = list_entry(node, struct watch, node);
        if (watch_request(XS_WATCH, watch) != 0) {
            log_warn("xen: %s is not watched any more", watch->path);
        }
    }
}

int xenstore_start(void (*first)(void))
{
    if (store.ring == NULL) {
        return -ENODEV;
    }
    store.first = first;
    store.starter = current_thread();
    list_init(&store.watches);
    int error = thread_create(&store.thread, "xenbus", xenbus_main, NULL);
    if (error != 0) {
        return error;
    }
    store.thread->kernel = true;
    error = event_bind(store.port, 0, ring_event, store.thread);
    if (error != 0) {
        thread_discard(store.thread);
        return error;
    }
    thread_start(store.thread);
    thread_prepare_sleep(THREAD_SLEEPING);
    while (!__atomic_load_n(&store.started, __ATOMIC_ACQUIRE)) {
        thread_sleep(UINT64_MAX);
        thread_prepare_sleep(THREAD_SLEEPING);
    }
    thread_cancel_sleep();
    return 0;
}
