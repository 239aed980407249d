/* SPDX-License-Identifier: MIT */
/* The console: two byte rings in a page that is shared with the toolstack's console daemon
 * (xen/include/public/io/console.h). Both streams go there, told apart only with the word
 * `hostlink` (goruntime/hostlink.h). console.lock guards output, input_lock keeps received bytes in
 * order. The daemon's indices are read once and checked. It takes so many events a second and no
 * more, so there is none that tells it nothing. */
#include <linux/errno.h>
#include <linux/poll.h>

#include "core/lib/spinlock.h"
#include "core/lib/string.h"
#include "core/sched/sched.h"
#include "core/sched/wait.h"
#include "goruntime/hostlink.h"
#include "xen_internal.h"

#define FLUSH_PATIENCE_NS 1000000000ull

static struct {
    struct spinlock lock;
    bool lock_broken, hostlink;
    bool bound, input;              /* events are listened to; bytes are taken; input_lock */
    enum hal_stream stream;         /* with hostlink: whose bytes come now */
    struct xencons_interface *ring; /* NULL: there is none */
    uint32_t port;
    uint32_t out_prod; /* ours, whatever the page says */
} console = {.lock = SPINLOCK_INIT(LOCK_CONSOLE)};

static struct spinlock input_lock = SPINLOCK_INIT(LOCK_CLASS_NONE);
static struct wait_queue writers = {SPINLOCK_INIT(LOCK_WAIT_QUEUE), LIST_INIT(writers.entries)};

void xen_console_init(struct xencons_interface *ring, uint32_t port)
{
    console.ring = ring;
    console.port = port;
    console.out_prod = ring->out_prod;
}

void xen_set_hostlink(bool on)
{
    console.hostlink = on;
    console.stream = HAL_STREAM_ERR;
}

/* Bytes that are still to be read. */
static uint32_t unread(void)
{
    uint32_t used = console.out_prod - __atomic_load_n(&console.ring->out_cons, __ATOMIC_ACQUIRE);
    return used <= sizeof(console.ring->out) ? used : sizeof(console.ring->out);
}

static void write_bytes(const char *bytes, size_t length)
{
    struct xencons_interface *ring = console.ring;
    while (length > 0) {
        size_t room = sizeof(ring->out) - unread();
        size_t chunk = length < room ? length : room;
        for (size_t i = 0; i < chunk; i++) {
            ring->out[console.out_prod++ % sizeof(ring->out)] = bytes[i];
        }
        __atomic_store_n(&ring->out_prod, console.out_prod, __ATOMIC_RELEASE);
        if (chunk != 0) {
            event_send(console.port);
        }
        bytes += chunk;
        length -= chunk;
        if (length != 0) {
            sched_op(SCHEDOP_YIELD, NULL); /* whoever reads the other end decides how long */
        }
    }
}

/* The bytes of a stream, with a mark before them when the last ones were the other's. */
static void write_stream(enum hal_stream stream, const char *bytes, size_t length)
{
    if (stream != console.stream) {
        const char change[] = {HOSTLINK_ESCAPE,
                               stream == HAL_STREAM_OUT ? HOSTLINK_OUT : HOSTLINK_ERR};
        write_bytes(change, sizeof(change));
        console.stream = stream;
    }
    hostlink_write_escaped(bytes, length, write_bytes);
}

void xen_console_write(enum hal_stream stream, const char *bytes, size_t length)
{
    if (console.ring == NULL || (stream == HAL_STREAM_CONTROL && !console.hostlink)) {
        return;
    }
    bool irq = hal_irq_save();
    bool locked = !console.lock_broken;
    if (locked) {
        spin_lock(&console.lock);
    }
    if (console.hostlink && stream != HAL_STREAM_CONTROL) {
        write_stream(stream, bytes, length);
    } else {
        write_bytes(bytes, length);
    }
    if (locked) {
        spin_unlock(&console.lock);
    }
    hal_irq_restore(irq);
}

void xen_console_break_lock(void)
{
    console.lock_broken = true;
}

void xen_console_flush(void)
{
    uint64_t deadline = hal_clock_monotonic() + FLUSH_PATIENCE_NS;
    while (console.ring != NULL && unread() != 0 && hal_clock_monotonic() < deadline) {
        sched_op(SCHEDOP_YIELD, NULL);
    }
}

/* input_lock is held. */
static void receive(void)
{
    struct xencons_interface *ring = console.ring;
    uint32_t cons = ring->in_cons;
    uint32_t count = __atomic_load_n(&ring->in_prod, __ATOMIC_ACQUIRE) - cons;
    if (count == 0 || count > sizeof(ring->in)) { /* the latter are no indices of this ring */
        return;
    }
    while (count != 0) {
        char buffer[64];
        size_t length = 0;
        while (length < sizeof(buffer) && count != 0) {
            buffer[length++] = ring->in[cons++ % sizeof(ring->in)];
            count--;
        }
        core_console_input(buffer, length);
    }
    __atomic_store_n(&ring->in_cons, cons, __ATOMIC_RELEASE);
    event_send(console.port);
}

/* The daemon has taken or put something. */
static void interrupt(void *context)
{
    (void)context;
    spin_lock(&input_lock);
    if (console.input) {
        receive();
    }
    spin_unlock(&input_lock);
    wait_queue_notify(&writers, POLLOUT);
}

static void listen(bool input)
{
    bool irq = spin_lock_irqsave(&input_lock);
    if (!console.bound) {
        console.bound = event_bind(console.port, 0, interrupt, NULL) == 0;
    }
    console.input |= input;
    if (console.input) {
        receive(); /* what came before */
    }
    spin_unlock_irqrestore(&input_lock, irq);
}

static bool is_read(void)
{
    return unread() <= sizeof(console.ring->out) / 2;
}

long xen_console_write_some(enum hal_stream stream, const char *bytes, size_t length)
{
    if (console.ring != NULL && !is_read()) {
        listen(false);
        if (console.bound && wait_event(&writers, UINT64_MAX, is_read()) != 0) {
            return -EINTR;
        }
    }
    size_t done = length < sizeof(console.ring->out) / 2 ? length : sizeof(console.ring->out) / 2;
    xen_console_write(stream, bytes, done);
    return (long)done;
}

void xen_console_enable_input(void)
{
    if (console.ring != NULL) {
        listen(true);
    }
}

void console_resume(void)
{
    if (console.bound) {
        console.bound = false;
        listen(false);
        event_send(console.port);
        wait_queue_notify(&writers, POLLOUT);
    }
}
