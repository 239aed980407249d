/* SPDX-License-Identifier: MIT */
/* The kernel's log. Owns the ring of the last lines, guarded by ring_lock; the console serialises
 * its own writes. */
#include "core/lib/log.h"

#include <linux/errno.h>
#include <stdint.h>

#include "core/lib/spinlock.h"
#include "core/lib/string.h"
#include "hal.h"

#define LOG_LINE_SIZE 256
#define LOG_RING_SIZE 8192 /* a power of two */

enum log_level log_level = LOG_WARN;

static const char *const level_names[] = {
    [LOG_ERROR] = "error", [LOG_WARN] = "warn",     [LOG_INFO] = "info",
    [LOG_DEBUG] = "debug", [LOG_STRACE] = "strace",
};

static struct spinlock ring_lock = SPINLOCK_INIT(LOCK_CLASS_NONE);
static char ring[LOG_RING_SIZE];
static uint64_t ring_written; /* bytes ever; ring_lock */

static void keep(const char *line, size_t length)
{
    bool irq = spin_lock_irqsave(&ring_lock);
    for (size_t i = 0; i < length; i++) {
        ring[(ring_written + i) % LOG_RING_SIZE] = line[i];
    }
    ring_written += length;
    spin_unlock_irqrestore(&ring_lock, irq);
}

void log_write(enum log_level level, const char *text, ...)
{
    static const char prefix[] = "unigornel: ";
    if (level == LOG_STRACE && log_level < LOG_STRACE) {
        return;
    }
    char line[LOG_LINE_SIZE];
    size_t start = sizeof(prefix) - 1;
    size_t room = sizeof(line) - start - 1;
    memcpy(line, prefix, start);
    va_list arguments;
    va_start(arguments, text);
    size_t length = (size_t)vformat(line + start, room, text, arguments);
    va_end(arguments);
    length = start + (length < room ? length : room - 1);
    line[length++] = '\n';
    keep(line, length);
    if (level <= log_level) {
        hal_console_write(HAL_STREAM_ERR, line, length);
    }
}

int log_set_level(const char *name)
{
    for (unsigned i = 0; i < sizeof(level_names) / sizeof(level_names[0]); i++) {
        if (strcmp(name, level_names[i]) == 0) {
            log_level = (enum log_level)i;
            return 0;
        }
    }
    return -EINVAL;
}

void log_replay(void)
{
    /* Without the lock: the CPU that panics may hold it. A line written meanwhile may come out
     * mixed. */
    uint64_t end = __atomic_load_n(&ring_written, __ATOMIC_RELAXED);
    uint64_t start = 0;
    if (end > LOG_RING_SIZE) {
        start = end - LOG_RING_SIZE;
        while (start < end && ring[start++ % LOG_RING_SIZE] != '\n') {
        }
    }
    while (start < end) {
        size_t offset = start % LOG_RING_SIZE;
        size_t piece = LOG_RING_SIZE - offset;
        if (piece > end - start) {
            piece = end - start;
        }
        hal_console_write(HAL_STREAM_ERR, ring + offset, piece);
        start += piece;
    }
}
