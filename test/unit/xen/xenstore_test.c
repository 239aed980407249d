/* SPDX-License-Identifier: MIT */
/* The client of xenstore against a daemon that answers properly, wrongly, or with random bytes and
 * indices. The daemon has its turn whenever the client sleeps. An argument is the number of changed
 * scripts. */
#include "hal/xen/xenstore.c"

#include <stdlib.h>

#include "fakes/check.h"
#include "script.h"

__asm__(".globl xen_hypercall\nxen_hypercall: xorl %eax, %eax\nret");

static struct xenstore_interface ring;
static uint64_t now;
static bool (*daemon_turn)(void); /* whether it has done something */
static unsigned changes;

/* --- the kernel around it --------------------------------------------------------------------- */

uint64_t hal_clock_monotonic(void)
{
    return now += 1000000; /* it waits for seconds, and the test does not */
}

int thread_sleep(uint64_t deadline)
{
    (void)deadline;
    return daemon_turn() ? 0 : -ETIMEDOUT;
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

/* --- scripts (xenstore.txt) ------------------------------------------------------------------- */

static char answers[96][SCRIPT_WORD_MAX]; /* that the daemon has still to give */
static unsigned answer_count;
static struct message next; /* what is different in it, and `cut`, bytes that it lacks */
static int64_t next_id, next_length, next_type, next_cut;

static void play_begin(void)
{
    begin(NULL);
    answer_count = 0;
    next_id = next_length = next_type = next_cut = 0;
    snprintf(token, sizeof(token), "%x", 1);
}

/* TYPE:PAYLOAD, as bytes. */
static void give_answer(uint32_t type, const char *text)
{
    char payload[SCRIPT_WORD_MAX + TOKEN_MAX];
    uint32_t length = 0;
    for (; *text != '\0' && length < SCRIPT_WORD_MAX; text++) {
        if (*text == '@') {
            memcpy(payload + length, token, strlen(token));
            length += (uint32_t)strlen(token);
        } else {
            payload[length++] = *text == '_' ? '\0' : *text;
        }
    }
    next = (struct message){.type = next_type != 0 ? (uint32_t)next_type : type,
                            .request = store.request + (uint32_t)next_id,
                            .length = next_length != 0 ? (uint32_t)next_length : length};
    size_t sizes[] = {sizeof(next), length};
    const char *parts[] = {(const char *)&next, payload};
    size_t left = sizeof(next) + length - (size_t)(next_cut < 16 ? next_cut : 16);
    for (unsigned part = 0; part < 2; part++) {
        for (size_t i = 0; i < sizes[part] && left != 0; i++, left--) {
            ring.rsp[ring.rsp_prod++ % XENSTORE_RING_SIZE] = parts[part][i];
        }
    }
    next_id = next_length = next_type = next_cut = 0;
}

/* Sees what has been asked, whatever it is: the token of a watch is remembered. */
static void look_at_request(void)
{
    char bytes[XENSTORE_RING_SIZE];
    uint32_t size = ring.req_prod - ring.req_cons;
    for (uint32_t i = 0; i < size && i < sizeof(bytes); i++) {
        bytes[i] = ring.req[ring.req_cons++ % XENSTORE_RING_SIZE];
    }
    struct message message;
    if (size > sizeof(message) + 5 && size <= sizeof(bytes)) {
        memcpy(&message, bytes, sizeof(message));
        if (message.type == XS_WATCH) {
            const char *there = bytes + sizeof(message) + 5; /* behind "path" */
            memcpy(token, there, strnlen(there, TOKEN_MAX) + 1);
            token[TOKEN_MAX] = '\0';
        }
    }
}

static bool script_turn(void)
{
    if (ring.req_prod - ring.req_cons <= XENSTORE_RING_SIZE) {
        look_at_request();
    }
    while (answer_count != 0) {
        char word[SCRIPT_WORD_MAX];
        memcpy(word, answers[0], sizeof(word));
        memmove(answers[0], answers[1], --answer_count * sizeof(answers[0]));
        int64_t number;
        if (script_number(word, "id:", &next_id) || script_number(word, "length:", &next_length) ||
            script_number(word, "type:", &next_type)) {
            continue;
        }
        if (script_number(word, "cut:", &number)) {
            next_cut = number < 0 ? 0 : number;
            continue;
        }
        if (script_number(word, "prod:", &number)) {
            ring.rsp_prod += (uint32_t)number;
        } else if (script_number(word, "cons:", &number)) {
            ring.req_cons += (uint32_t)number;
        } else {
            const char *payload = strchr(word, ':');
            give_answer((uint32_t)strtoul(word, NULL, 10), payload != NULL ? payload + 1 : "");
        }
        return true;
    }
    return false;
}

static void check_read(long length, const char *text, size_t size)
{
    CHECK(length < (long)size && (length < 0 || text[length] == '\0'));
}

static void play_step(const char *word)
{
    char text[32];
    uint64_t number;
    daemon_turn = script_turn;
    if (strcmp(word, "read") == 0) {
        check_read(xenstore_read("path", text, sizeof(text)), text, sizeof(text));
    } else if (strcmp(word, "number") == 0) {
        CHECK(xenstore_read_number("path", 4711, &number) != 0 || number <= 4711);
    } else if (strcmp(word, "list") == 0) {
        check_read(xenstore_directory("path", text, sizeof(text)), text, sizeof(text));
    } else if (strcmp(word, "write") == 0) {
        xenstore_write("path", "value");
    } else if (strcmp(word, "begin") == 0) {
        CHECK(xenstore_transaction_begin() != 0 || store.transaction != 0);
    } else if (strcmp(word, "end") == 0) {
        xenstore_transaction_end();
        CHECK(store.transaction == 0);
    } else if (strcmp(word, "watch") == 0) {
        xenstore_watch("path", changed, NULL);
    } else if (strcmp(word, "unwatch") == 0) {
        xenstore_unwatch(changed, NULL);
    } else if (strcmp(word, "wait") == 0) {
        changes = 0;
        xenstore_wait(has_changed, NULL, 10);
    } else if (strcmp(word, "last") == 0) {
        xenstore_write_last("path", "value");
    } else if (answer_count < sizeof(answers) / sizeof(answers[0])) {
        memcpy(answers[answer_count++], word, SCRIPT_WORD_MAX);
    }
}

static void play_end(void)
{
    char text[32];
    bool was_broken = store.broken;
    daemon_turn = script_turn;
    answer_count = 0;
    CHECK(!was_broken || xenstore_read("path", text, sizeof(text)) == -EIO);
}

int main(int count, char **arguments)
{
    uint64_t seed = 1;
    check_values();
    check_watches();
    check_resume();
    check_damage();
    script_play_all(SCRIPTS, &(struct script_player){play_begin, play_step, play_end},
                    count > 1 ? (unsigned)strtoul(arguments[1], NULL, 10) : 20000, &seed);
    begin(random_turn);
    return 0;
}
