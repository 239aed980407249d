/* SPDX-License-Identifier: MIT */
/* See physical_fake.h. */
#include "physical_fake.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/lib/log.h"
#include "hal/kvm/kvm_internal.h"

#define MAX_AREAS 16
#define MAX_VIEWS 4096

static struct {
    uint64_t physical;
    size_t size;
    uint8_t *bytes;
} areas[MAX_AREAS];
static unsigned area_count;
static void *views[MAX_VIEWS];
static unsigned view_count;

jmp_buf machine_end;
static char console_text[65536]; /* always ends in NUL */
static size_t console_length;

bool console_has(const char *text)
{
    return strstr(console_text, text) != NULL;
}

void check_failed(const char *file, int line, const char *condition)
{
    fprintf(stderr, "%s:%d: %s\nconsole: %s\n", file, line, condition, console_text);
    exit(1);
}

void physical_reset(void)
{
    for (unsigned i = 0; i < area_count; i++) {
        free(areas[i].bytes);
    }
    for (unsigned i = 0; i < view_count; i++) {
        free(views[i]);
    }
    area_count = view_count = 0;
    memset(console_text, 0, console_length);
    console_length = 0;
}

void physical_put(uint64_t physical, const void *bytes, size_t size)
{
    CHECK(area_count < MAX_AREAS);
    areas[area_count].physical = physical;
    areas[area_count].size = size;
    areas[area_count].bytes = malloc(size);
    memcpy(areas[area_count++].bytes, bytes, size);
}

void *physical_at(uint64_t physical)
{
    for (unsigned i = 0; i < area_count; i++) {
        if (physical >= areas[i].physical && physical - areas[i].physical < areas[i].size) {
            return areas[i].bytes + (physical - areas[i].physical);
        }
    }
    return NULL;
}

const void *physical_view(uint64_t physical, size_t size)
{
    for (unsigned i = 0; i < area_count; i++) {
        uint64_t offset = physical - areas[i].physical;
        if (physical >= areas[i].physical && offset < areas[i].size &&
            size <= areas[i].size - offset) {
            CHECK(view_count < MAX_VIEWS);
            views[view_count] = malloc(size);
            memcpy(views[view_count], areas[i].bytes + offset, size);
            return views[view_count++];
        }
    }
    return NULL;
}

void hal_console_write(enum hal_stream stream, const char *bytes, size_t length)
{
    (void)stream;
    if (length < sizeof(console_text) - console_length) {
        memcpy(console_text + console_length, bytes, length);
        console_length += length;
    }
}

void hal_shutdown(enum hal_shutdown_reason reason, int status)
{
    (void)reason;
    (void)status;
    longjmp(machine_end, 1);
}

void clock_begin_calibration(void)
{
}

void log_write(enum log_level level, const char *text, ...)
{
    (void)level;
    char line[256];
    va_list arguments;
    va_start(arguments, text);
    vsnprintf(line, sizeof(line), text, arguments);
    va_end(arguments);
    hal_console_write(HAL_STREAM_ERR, line, strlen(line));
}

uint32_t test_random(void)
{
    static uint32_t state = 2463534242u;
    state ^= state << 13;
    state ^= state >> 17;
    state ^= state << 5;
    return state;
}
