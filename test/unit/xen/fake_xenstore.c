/* SPDX-License-Identifier: MIT */
/* fake_xenstore.h */
#include "fake_xenstore.h"

#include <sanitizer/asan_interface.h>
#include <string.h>

#include "fakes/check.h"
#include "hal/xen/front_end.c"
#include "hal/xen/grant.h"
#include "hal/xen/xenstore.c"

__asm__(".globl xen_hypercall\nxen_hypercall: xorl %eax, %eax\nret");

/* --- memory and grants ------------------------------------------------------------------------ */

bool xen_is_pvh;
char fake_pages[FAKE_PAGES * PAGE_SIZE] __attribute__((aligned(PAGE_SIZE)));
char *fake_memory = fake_pages;
struct fake_grant fake_grants[FAKE_GRANTS];
static unsigned next_page, next_grant;
static void *allocated[4096];
static unsigned allocated_count;

/* Leaves a page between any two, which nobody may touch. */
uint64_t page_alloc(unsigned order, unsigned flags)
{
    (void)flags;
    if (next_page + (1u << order) > FAKE_PAGES) {
        return 0;
    }
    uint64_t page = next_page * PAGE_SIZE;
    next_page += (1u << order) + 1;
    ASAN_UNPOISON_MEMORY_REGION(fake_pages + page, PAGE_SIZE << order);
    memset(fake_pages + page, 0xa5, PAGE_SIZE << order);
    return page;
}

void page_free(uint64_t page, unsigned order)
{
    (void)page;
    (void)order;
}

uint64_t page_total(void)
{
    return FAKE_PAGES;
}

void *kzalloc(size_t size)
{
    CHECK(allocated_count < sizeof(allocated) / sizeof(allocated[0]));
    return allocated[allocated_count++] = calloc(1, size);
}

void kfree(void *pointer)
{
    for (unsigned i = 0; pointer != NULL; i++) {
        CHECK(i < allocated_count);
        if (allocated[i] == pointer) {
            allocated[i] = allocated[--allocated_count];
            free(pointer);
            return;
        }
    }
}

int grant_alloc(uint32_t *reference)
{
    *reference = next_grant++;
    return next_grant < FAKE_GRANTS ? 0 : -ENOSPC;
}

void grant_give(uint32_t reference, uint16_t domain, const void *page, bool read_only)
{
    struct fake_grant *grant = &fake_grants[reference];
    CHECK((uintptr_t)page % PAGE_SIZE == 0 && grant->page == NULL);
    *grant = (struct fake_grant){.page = (char *)page, .domain = domain, .read_only = read_only};
}

bool grant_take_back(uint32_t reference)
{
    struct fake_grant *grant = &fake_grants[reference];
    if (grant->kept) {
        return false;
    }
    grant->page = NULL;
    return true;
}

unsigned fake_granted_count(void)
{
    unsigned count = 0;
    for (unsigned i = 0; i < next_grant; i++) {
        count += fake_grants[i].page != NULL;
    }
    return count;
}

/* --- the tree --------------------------------------------------------------------------------- */

#define NODES 128
#define WATCHES 16

static struct {
    char path[160], value[64];
} nodes[NODES];
static struct {
    char path[160], token[TOKEN_MAX + 1];
    bool fired;
} watches[WATCHES];
bool (*fake_back_end)(void);
fake_store_spoil_fn *fake_store_spoil;

static int find(const char *path)
{
    int i = 0;
    while (i < NODES && strcmp(nodes[i].path, path) != 0) {
        i++;
    }
    return i < NODES ? i : -1;
}

void fake_store_set(const char *path, const char *value)
{
    int at = find(path);
    if (at < 0) {
        at = find("");
        CHECK(at >= 0);
    }
    snprintf(nodes[at].path, sizeof(nodes[at].path), "%s", value != NULL ? path : "");
    snprintf(nodes[at].value, sizeof(nodes[at].value), "%s", value != NULL ? value : "");
    for (unsigned i = 0; i < WATCHES; i++) {
        size_t length = strlen(watches[i].path);
        if (length != 0 && strncmp(path, watches[i].path, length) == 0) {
            watches[i].fired = true;
        }
    }
}

void fake_store_set_number(const char *path, uint64_t value)
{
    char text[24];
    snprintf(text, sizeof(text), "%lu", (unsigned long)value);
    fake_store_set(path, text);
}

const char *fake_store_get(const char *path)
{
    int at = find(path);
    return at < 0 ? NULL : nodes[at].value;
}

uint64_t fake_store_number(const char *path)
{
    const char *value = fake_store_get(path);
    return value != NULL ? strtoull(value, NULL, 10) : 0;
}

/* --- the daemon: it has its turn whenever the client sleeps ----------------------------------- */

static struct xenstore_interface interface;
static uint64_t now;

static void send_answer(uint32_t type, uint32_t number, const void *payload, size_t length)
{
    struct message message = {.type = type, .request = number, .length = (uint32_t)length};
    CHECK(sizeof(message) + length <=
          XENSTORE_RING_SIZE - (interface.rsp_prod - interface.rsp_cons));
    const char *parts[] = {(const char *)&message, payload};
    size_t sizes[] = {sizeof(message), length};
    for (unsigned part = 0; part < 2; part++) {
        for (size_t i = 0; i < sizes[part]; i++) {
            interface.rsp[interface.rsp_prod++ % XENSTORE_RING_SIZE] = parts[part][i];
        }
    }
}

static void send_error(const struct message *asked, const char *name)
{
    send_answer(XS_ERROR, asked->request, name, strlen(name) + 1);
}

static void answer_read(const struct message *asked, const char *path)
{
    char value[64] = "";
    const char *there = fake_store_get(path);
    bool known = there != NULL;
    snprintf(value, sizeof(value), "%s", known ? there : "");
    if (fake_store_spoil != NULL) {
        known = fake_store_spoil(path, value, known);
    }
    if (known) {
        send_answer(XS_READ, asked->request, value, strlen(value));
    } else {
        send_error(asked, "ENOENT");
    }
}

static void answer_watch(const struct message *asked, const char *path, const char *token)
{
    bool add = asked->type == XS_WATCH;
    unsigned i = 0;
    while (i < WATCHES && strcmp(watches[i].token, add ? "" : token) != 0) {
        i++;
    }
    CHECK(i < WATCHES);
    CHECK(strlen(path) < sizeof(watches[i].path) && strlen(token) <= TOKEN_MAX);
    strcpy(watches[i].path, add ? path : "");
    strcpy(watches[i].token, add ? token : "");
    watches[i].fired = add;
    send_answer(asked->type, asked->request, "OK", 3);
}

static void answer_request(void)
{
    struct message asked;
    char payload[XENSTORE_RING_SIZE + 1], value[64];
    char *parts[] = {(char *)&asked, payload};
    for (unsigned part = 0; part < 2; part++) {
        size_t size = part == 0 ? sizeof(asked) : asked.length;
        CHECK(size <= interface.req_prod - interface.req_cons);
        for (size_t i = 0; i < size; i++) {
            parts[part][i] = interface.req[interface.req_cons++ % XENSTORE_RING_SIZE];
        }
    }
    payload[asked.length] = '\0';
    const char *second = payload + strlen(payload) + 1;
    switch (asked.type) {
    case XS_READ:
        answer_read(&asked, payload);
        break;
    case XS_WRITE:
        snprintf(value, sizeof(value), "%s", second);
        fake_store_set(payload, value);
        send_answer(asked.type, asked.request, "OK", 3);
        break;
    case XS_WATCH:
    case XS_UNWATCH:
        answer_watch(&asked, payload, second);
        break;
    case XS_TRANSACTION_START:
        send_answer(asked.type, asked.request, "7", 2);
        break;
    default:
        send_answer(asked.type, asked.request, "OK", 3);
        break;
    }
}

static bool tell_watch(void)
{
    for (unsigned i = 0; i < WATCHES; i++) {
        if (watches[i].fired) {
            char event[sizeof(watches[i].path) + sizeof(watches[i].token)];
            int length = snprintf(event, sizeof(event), "%s", watches[i].path) + 1;
            length +=
                snprintf(event + length, sizeof(event) - (size_t)length, "%s", watches[i].token) +
                1;
            watches[i].fired = false;
            send_answer(XS_WATCH_EVENT, 0, event, (size_t)length);
            return true;
        }
    }
    return false;
}

int thread_sleep(uint64_t deadline)
{
    (void)deadline;
    if (interface.req_prod != interface.req_cons) {
        answer_request();
    } else if (!tell_watch() && (fake_back_end == NULL || !fake_back_end())) {
        return -ETIMEDOUT;
    }
    return 0;
}

uint64_t hal_clock_monotonic(void)
{
    return ++now;
}

static bool is_never(void *context)
{
    (void)context;
    return false;
}

void fake_store_run(void)
{
    xenstore_wait(is_never, NULL, 1);
}

bool fake_suspend_step(const char *word, bool *asleep)
{
    bool cancelled = strcmp(word, "cancelled") == 0;
    if (!*asleep && strcmp(word, "suspend") == 0) {
        xenbus_suspend();
    } else if (*asleep && (cancelled || strcmp(word, "restore") == 0)) {
        if (!cancelled) {
            memset(fake_grants, 0, sizeof(fake_grants));
        }
        xenbus_resume(cancelled);
        if (!cancelled) {
            fake_store_run();
        }
    } else {
        return false;
    }
    *asleep = !*asleep;
    return true;
}

void fake_reset(void)
{
    next_page = 1;
    next_grant = 8;
    ASAN_POISON_MEMORY_REGION(fake_pages, sizeof(fake_pages));
    memset(fake_grants, 0, sizeof(fake_grants));
    memset(nodes, 0, sizeof(nodes));
    memset(watches, 0, sizeof(watches));
    memset(&interface, 0, sizeof(interface));
    while (allocated_count != 0) {
        free(allocated[--allocated_count]);
    }
    list_init(&devices);
    memset(&store, 0, sizeof(store));
    list_init(&store.watches);
    store.ring = &interface;
}
