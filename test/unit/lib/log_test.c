/* SPDX-License-Identifier: MIT */
/* core/lib/log.c: what is shown at which level, and that the ring gives back whole last lines. */
#include <string.h>

#include "core/lib/log.h"
#include "fakes/check.h"
#include "hal.h"

static char shown[20000];
static size_t length;

void hal_console_write(enum hal_stream stream, const char *bytes, size_t size)
{
    CHECK(stream == HAL_STREAM_ERR && length + size < sizeof(shown));
    memcpy(shown + length, bytes, size);
    length += size;
    shown[length] = 0;
}

static void clear(void)
{
    length = 0;
    shown[0] = 0;
}

int main(void)
{
    CHECK(log_set_level("loud") != 0);
    CHECK(log_set_level("info") == 0);
    log_info("one %d", 1);
    log_debug("two");
    CHECK(strcmp(shown, "unigornel: one 1\n") == 0);
    clear();
    log_replay();
    CHECK(strcmp(shown, "unigornel: one 1\nunigornel: two\n") == 0);
    char long_text[1000];
    memset(long_text, 'x', sizeof(long_text) - 1);
    long_text[sizeof(long_text) - 1] = 0;
    clear();
    log_info("%s", long_text);
    CHECK(length < 300 && shown[length - 1] == '\n');
    CHECK(log_set_level("error") == 0);
    for (int i = 0; i < 5000; i++) {
        log_info("line %d", i);
    }
    clear();
    log_replay();
    CHECK(length > 6000 && length <= 8192);
    CHECK(strncmp(shown, "unigornel: line 4", 17) == 0);
    CHECK(strstr(shown, "unigornel: line 4999\n") == shown + length - 21);
    return 0;
}
