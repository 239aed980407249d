/* SPDX-License-Identifier: MIT */
/* The console: a 16550 at COM1 for standard output and input, and the debug console at port 0xE9,
 * where there is one, for the error stream and the records to `unigornel run`
 * (goruntime/hostlink.h). console.lock guards output on both, input_lock keeps received bytes in
 * order. */
#include <linux/errno.h>

#include "core/lib/spinlock.h"
#include "core/sched/sched.h"
#include "goruntime/hostlink.h"
#include "kvm_internal.h"

/* 16550D data sheet, table 2; DLAB is never left set. */
#define COM1 0x3f8
#define COM1_IRQ 4
#define UART_DATA (COM1 + 0)
#define UART_DIVISOR_LOW (COM1 + 0)
#define UART_IER (COM1 + 1)
#define UART_DIVISOR_HIGH (COM1 + 1)
#define UART_FCR (COM1 + 2)
#define UART_IIR (COM1 + 2)
#define UART_LCR (COM1 + 3)
#define UART_MCR (COM1 + 4)
#define UART_LSR (COM1 + 5)

#define IER_RECEIVE 0x01
#define FCR_ENABLE_TRIGGER_14 0xc1 /* the receive timeout delivers the rest */
#define LCR_8N1 0x03
#define LCR_DLAB 0x80
#define MCR_DTR_RTS_OUT2 0x0b /* OUT2 gates the interrupt line */
#define LSR_DATA_READY 0x01
#define LSR_THR_EMPTY 0x20
#define LSR_TRANSMITTER_EMPTY 0x40
#define UART_FIFO 16

#define ABSENT 0xff /* what a port without a device reads */

/* No device takes this many status reads for 16 bytes, at 9600 baud and 1 us a read, times ten. */
#define UART_PATIENCE 200000

/* How long a writer sleeps when the host does not read. */
#define READER_PAUSE_NS 1000000

static struct {
    struct spinlock lock;
    bool lock_broken;
    bool have_uart, have_debug, hostlink;
    uint8_t early_length; /* input that was there before the FIFO was turned on */
    char early[1];
} console = {.lock = SPINLOCK_INIT(LOCK_CONSOLE)};

static struct spinlock input_lock = SPINLOCK_INIT(LOCK_CLASS_NONE);

void console_early_init(void)
{
    console.have_debug = port_read8(DEBUG_CONSOLE_PORT) == DEBUG_CONSOLE_PORT;
    uint8_t status = port_read8(UART_LSR);
    if (status == ABSENT) {
        return;
    }
    console.have_uart = true;
    port_write8(UART_IER, 0);
    port_write8(UART_LCR, LCR_DLAB);
    port_write8(UART_DIVISOR_LOW, 1); /* 115200 baud */
    port_write8(UART_DIVISOR_HIGH, 0);
    port_write8(UART_LCR, LCR_8N1);
    port_write8(UART_MCR, MCR_DTR_RTS_OUT2);
    /* Turning the FIFO on clears it, and a byte of piped input may be there already. */
    if ((port_read8(UART_LSR) & LSR_DATA_READY) != 0) {
        console.early[0] = (char)port_read8(UART_DATA);
        console.early_length = 1;
    }
    port_write8(UART_FCR, FCR_ENABLE_TRIGGER_14);
}

void console_set_hostlink(bool on)
{
    console.hostlink = on;
}

static void uart_wait(uint8_t bits)
{
    for (unsigned i = 0; i < UART_PATIENCE; i++) {
        if ((port_read8(UART_LSR) & bits) != 0) {
            return;
        }
        hal_spin_hint();
    }
}

/* As much as there is room for: bytes. */
static size_t uart_write_some(const char *bytes, size_t length)
{
    size_t done = 0;
    while (done < length && (port_read8(UART_LSR) & LSR_THR_EMPTY) != 0) {
        size_t chunk = length - done < UART_FIFO ? length - done : UART_FIFO;
        port_write_bytes(UART_DATA, bytes + done, chunk);
        done += chunk;
    }
    return done;
}

static void uart_write(const char *bytes, size_t length)
{
    for (size_t done = 0; done < length;) {
        done += uart_write_some(bytes + done, length - done);
        hal_spin_hint(); /* whoever reads the host's end decides how long */
    }
}

static void debug_write(const char *bytes, size_t length)
{
    port_write_bytes(DEBUG_CONSOLE_PORT, bytes, length);
}

void hal_console_write(enum hal_stream stream, const char *bytes, size_t length)
{
    bool irq = hal_irq_save();
    bool locked = !console.lock_broken;
    if (locked) {
        spin_lock(&console.lock);
    }
    if (stream == HAL_STREAM_CONTROL) {
        if (console.hostlink && console.have_debug) {
            debug_write(bytes, length);
        }
    } else if (stream == HAL_STREAM_ERR && console.have_debug) {
        if (console.hostlink) {
            hostlink_write_escaped(bytes, length, debug_write);
        } else {
            debug_write(bytes, length);
        }
    } else if (console.have_uart) {
        uart_write(bytes, length);
    }
    if (locked) {
        spin_unlock(&console.lock);
    }
    hal_irq_restore(irq);
}

long hal_console_write_some(enum hal_stream stream, const char *bytes, size_t length)
{
    if (!console.have_uart || (stream == HAL_STREAM_ERR && console.have_debug)) {
        hal_console_write(stream, bytes, length);
        return (long)length;
    }
    for (;;) {
        bool irq = spin_lock_irqsave(&console.lock);
        size_t done = uart_write_some(bytes, length);
        spin_unlock_irqrestore(&console.lock, irq);
        if (done != 0) {
            return (long)done;
        }
        thread_prepare_sleep(THREAD_SLEEPING_SIGNAL);
        if (thread_sleep(hal_clock_monotonic() + READER_PAUSE_NS) == -EINTR) {
            return -EINTR;
        }
    }
}

void console_break_lock(void)
{
    console.lock_broken = true;
}

void console_flush(void)
{
    if (console.have_uart) {
        uart_wait(LSR_TRANSMITTER_EMPTY);
    }
}

/* input_lock is held. */
static void receive(void)
{
    char buffer[64];
    size_t length = 0;
    (void)port_read8(UART_IIR);
    while ((port_read8(UART_LSR) & LSR_DATA_READY) != 0) {
        buffer[length++] = (char)port_read8(UART_DATA);
        if (length == sizeof(buffer)) {
            core_console_input(buffer, length);
            length = 0;
        }
    }
    if (length != 0) {
        core_console_input(buffer, length);
    }
}

static void uart_interrupt(void *context)
{
    (void)context;
    spin_lock(&input_lock);
    receive();
    spin_unlock(&input_lock);
}

void hal_console_enable_input(void)
{
    if (!console.have_uart || interrupt_install_isa(COM1_IRQ, uart_interrupt, NULL) != 0) {
        return;
    }
    bool irq = spin_lock_irqsave(&input_lock);
    if (console.early_length != 0) {
        core_console_input(console.early, console.early_length);
    }
    port_write8(UART_IER, IER_RECEIVE);
    receive(); /* what came before: the line is edge-triggered */
    spin_unlock_irqrestore(&input_lock, irq);
}
