/* SPDX-License-Identifier: MIT */
/* 9P requests: tags, fids, and waiting. A call is in `calls` from when it has a tag until somebody
 * takes it out, by exchange: the one who does completes it, so that an answer and the end of the
 * channel may race. No lock is held while a request is under way. */
#include "core/fs/ninep_client.h"

#include <stdarg.h>

#include "core/fs/fs_internal.h"

#define NO_FID UINT32_MAX
#define NO_TAG UINT16_MAX /* of Tversion */
#define VERSION "9P2000.L"
#define IO_HEADER 24u /* of the longest message with data: P9_IOHDRSZ */
#define NO_UID UINT32_MAX

static struct ninep_channel *channels;

void core_ninep_found(struct ninep_channel *channel)
{
    channel->next = channels;
    channels = channel;
    log_info("9p: %s", channel->tag);
}

struct ninep_channel *ninep_find(const char *tag)
{
    struct ninep_channel *channel = channels;
    while (channel != NULL && (channel->core != NULL || strcmp(channel->tag, tag) != 0)) {
        channel = channel->next;
    }
    return channel;
}

/* --- requests --------------------------------------------------------------------------------- */

static void free_fid(struct ninep_fid *fid)
{
    struct ninep_client *client = fid->client;
    bool irq = spin_lock_irqsave(&client->fid_lock);
    fid->next = client->free_fids;
    client->free_fids = fid;
    spin_unlock_irqrestore(&client->fid_lock, irq);
}

/* Takes the call out of the table and ends it, unless somebody else did. */
static void complete(struct ninep_client *client, unsigned slot, struct ninep_call *call,
                     int32_t state)
{
    if (!__atomic_compare_exchange_n(&client->calls[slot], &call, NULL, false, __ATOMIC_ACQ_REL,
                                     __ATOMIC_RELAXED)) {
        return;
    }
    if (call->clunked != NULL) {
        free_fid(call->clunked);
    } else {
        call->state = state;
        __atomic_store_n(&call->done, true, __ATOMIC_RELEASE);
    }
    wait_queue_notify(&client->waiters, 0);
}

void core_ninep_answered(struct ninep_channel *channel, void *token, uint32_t length)
{
    struct ninep_client *client = channel->core;
    struct ninep_call *call = token;
    complete(client, call->slot, call, (int32_t)MIN(length, INT32_MAX));
}

void core_ninep_gone(struct ninep_channel *channel)
{
    struct ninep_client *client = channel->core;
    if (client == NULL) {
        return;
    }
    __atomic_store_n(&client->gone, true, __ATOMIC_SEQ_CST);
    for (unsigned i = 0; i < NINEP_REQUESTS_MAX; i++) {
        struct ninep_call *call = __atomic_load_n(&client->calls[i], __ATOMIC_SEQ_CST);
        if (call != NULL) {
            complete(client, i, call, -EIO);
        }
    }
}

/* Puts the call into the table; false: there is no room now. */
static bool take_slot(struct ninep_client *client, struct ninep_call *call)
{
    for (unsigned i = 0; i < MIN(client->channel->capacity, NINEP_REQUESTS_MAX); i++) {
        struct ninep_call *expected = NULL;
        if (__atomic_compare_exchange_n(&client->calls[i], &expected, call, false, __ATOMIC_SEQ_CST,
                                        __ATOMIC_RELAXED)) {
            call->slot = (uint16_t)i;
            return true;
        }
    }
    return false;
}

static bool is_done(struct ninep_client *client, struct ninep_call *call)
{
    (void)client;
    return __atomic_load_n(&call->done, __ATOMIC_ACQUIRE);
}

static void wait_until(bool (*condition)(struct ninep_client *, struct ninep_call *),
                       struct ninep_client *client, struct ninep_call *call)
{
    struct thread_waiter waiter;
    if (condition(client, call)) {
        return;
    }
    thread_waiter_init(&waiter);
    wait_queue_add(&client->waiters, &waiter.entry);
    for (;;) {
        thread_prepare_sleep(THREAD_SLEEPING);
        if (condition(client, call)) {
            break;
        }
        thread_sleep(UINT64_MAX);
    }
    thread_cancel_sleep();
    wait_queue_remove(&waiter.entry);
}

/* Sends the call, whose messages are set up. It is complete one day, perhaps at once. */
static void start(struct ninep_client *client, struct ninep_call *call)
{
    struct ninep_buffer buffers[NINEP_BUFFERS_MAX];
    unsigned out = 1, in = 1;
    call->done = false;
    wait_until(take_slot, client, call);
    call->tag = call->type == NINEP_TVERSION ? NO_TAG : call->slot;
    ninep_finish(&call->request, call->type, call->tag, call->out.length);
    buffers[0] = (struct ninep_buffer){call->request.bytes, (uint32_t)call->request.at};
    if (call->out.length != 0) {
        buffers[out++] = call->out;
    }
    buffers[out] = (struct ninep_buffer){call->answer.bytes, (uint32_t)call->answer.size};
    if (call->in.length != 0) {
        buffers[out + in++] = call->in;
    }
    if (__atomic_load_n(&client->gone, __ATOMIC_SEQ_CST) ||
        client->channel->send(client->channel, buffers, out, in, call) != 0) {
        complete(client, call->slot, call, -EIO);
    }
}

/* Sends it and waits: 0 with fields to be got from call->answer, or -errno. */
static int perform(struct ninep_client *client, struct ninep_call *call)
{
    if (call->request.bad) {
        return -ENAMETOOLONG;
    }
    start(client, call);
    wait_until(is_done, client, call);
    return call->state < 0 ? call->state
                           : ninep_check(&call->answer, (size_t)call->state, call->type, call->tag);
}

int ninep_ask(struct ninep_client *client, struct ninep_message *answer, size_t room, uint8_t type,
              const char *format, ...)
{
    va_list arguments;
    struct ninep_call call = {.type = type};
    ninep_begin(&call.request);
    va_start(arguments, format);
    ninep_vput(&call.request, format, arguments);
    va_end(arguments);
    size_t length = call.request.at;
    /* An error is four bytes. */
    room = NINEP_HEADER + MAX(room, 4ul);
    uint8_t *memory = kmalloc(length + room);
    if (memory == NULL) {
        return -ENOMEM;
    }
    call.request = (struct ninep_message){.bytes = memory, .size = length};
    ninep_begin(&call.request);
    va_start(arguments, format);
    ninep_vput(&call.request, format, arguments);
    va_end(arguments);
    call.answer = (struct ninep_message){.bytes = memory + length, .size = room};
    int result = perform(client, &call);
    if (result == 0 && answer != NULL) {
        /* Freed by its first byte. */
        memmove(memory, call.answer.bytes, call.answer.size);
        *answer = call.answer;
        answer->bytes = memory;
    } else {
        kfree(memory);
    }
    return result;
}

void ninep_answer_free(struct ninep_message *answer)
{
    kfree(answer->bytes);
}

long ninep_transfer(struct ninep_fid *fid, uint8_t type, uint64_t offset, void *data, size_t size,
                    struct ninep_scratch *scratch)
{
    bool write = type == NINEP_TWRITE;
    uint32_t count, length = (uint32_t)MIN(size, fid->client->data_max);
    struct ninep_buffer buffer = {data, length};
    struct ninep_call call = {
        .type = type,
        .request = {.bytes = scratch->request, .size = sizeof(scratch->request)},
        .answer = {.bytes = scratch->answer, .size = NINEP_HEADER + 4},
    };
    if (write) {
        call.out = buffer;
    } else {
        call.in = buffer;
    }
    ninep_begin(&call.request);
    ninep_put(&call.request, "dqd", fid->number, offset, length);
    int result = perform(fid->client, &call);
    if (result != 0) {
        return result;
    }
    /* What the channel says that it has received covers the data. */
    bool good = ninep_get(&call.answer, "d", &count) && count <= length &&
                (write || (size_t)call.state >= NINEP_HEADER + 4 + count);
    return good ? (long)count : -EIO;
}

/* --- fids ------------------------------------------------------------------------------------- */

int ninep_fid_new(struct ninep_client *client, struct ninep_fid **out)
{
    bool irq = spin_lock_irqsave(&client->fid_lock);
    struct ninep_fid *fid = client->free_fids;
    if (fid != NULL) {
        client->free_fids = fid->next;
    }
    spin_unlock_irqrestore(&client->fid_lock, irq);
    if (fid == NULL) {
        fid = kzalloc(sizeof(*fid));
        if (fid == NULL) {
            return -ENOMEM;
        }
        fid->client = client;
        fid->number = __atomic_fetch_add(&client->next_fid, 1, __ATOMIC_RELAXED);
    }
    fid->references = 1;
    *out = fid;
    return 0;
}

struct ninep_fid *ninep_fid_get(struct ninep_fid *fid)
{
    __atomic_add_fetch(&fid->references, 1, __ATOMIC_RELAXED);
    return fid;
}

void ninep_fid_discard(struct ninep_fid *fid)
{
    free_fid(fid);
}

void ninep_fid_put(struct ninep_fid *fid)
{
    if (__atomic_sub_fetch(&fid->references, 1, __ATOMIC_ACQ_REL) != 0) {
        return;
    }
    struct ninep_scratch *scratch = &fid->scratch;
    fid->clunk = (struct ninep_call){
        .type = NINEP_TCLUNK,
        .request = {.bytes = scratch->request, .size = sizeof(scratch->request)},
        .answer = {.bytes = scratch->answer, .size = NINEP_HEADER + 4},
        .clunked = fid,
    };
    ninep_begin(&fid->clunk.request);
    ninep_put(&fid->clunk.request, "d", fid->number);
    start(fid->client, &fid->clunk);
}

int ninep_walk(struct ninep_fid *from, const char *name, size_t length, struct ninep_fid **out,
               struct ninep_qid *qid)
{
    struct ninep_client *client = from->client;
    struct ninep_message answer;
    struct ninep_fid *fid;
    uint16_t count;
    int result = ninep_fid_new(client, &fid);
    if (result != 0) {
        return result;
    }
    result = name == NULL
                 ? ninep_ask(client, &answer, 2, NINEP_TWALK, "ddw", from->number, fid->number, 0)
                 : ninep_ask(client, &answer, 2 + 13, NINEP_TWALK, "ddws", from->number,
                             fid->number, 1, name, length);
    if (result == 0) {
        if (!ninep_get(&answer, "w", &count) || count > (name != NULL)) {
            result = -EIO;
        } else if (name != NULL) {
            result = count == 0 ? -ENOENT : ninep_get(&answer, "Q", qid) ? 0 : -EIO;
        }
        ninep_answer_free(&answer);
    }
    if (result != 0) {
        /* Whatever the server has made of it, the number is not used again. */
        if (result == -EIO) {
            kfree(fid);
        } else {
            free_fid(fid);
        }
        return result;
    }
    *out = fid;
    return 0;
}

int ninep_connect(struct ninep_client *client, struct ninep_channel *channel,
                  struct ninep_fid **root, struct ninep_qid *qid)
{
    struct ninep_message answer;
    const uint32_t most = NINEP_DATA_MAX + IO_HEADER;
    const char *version;
    size_t length;
    uint32_t size;
    client->channel = channel;
    channel->core = client;
    wait_queue_init(&client->waiters);
    spinlock_init(&client->fid_lock, LOCK_MM);
    int result = ninep_ask(client, &answer, 4 + 2 + 32, NINEP_TVERSION, "ds", most, VERSION,
                           sizeof(VERSION) - 1);
    if (result != 0) {
        return result;
    }
    bool good = ninep_get(&answer, "ds", &size, &version, &length) && size >= 4096 &&
                size <= most && length == sizeof(VERSION) - 1 &&
                memcmp(version, VERSION, length) == 0;
    ninep_answer_free(&answer);
    if (!good) {
        return -EPROTONOSUPPORT;
    }
    client->data_max = size - IO_HEADER;
    result = ninep_fid_new(client, root);
    if (result == 0) {
        result = ninep_ask(client, &answer, 13, NINEP_TATTACH, "ddssd", (*root)->number, NO_FID,
                           "root", (size_t)4, "", (size_t)0, NO_UID);
    }
    if (result == 0) {
        result = ninep_get(&answer, "Q", qid) ? 0 : -EIO;
        ninep_answer_free(&answer);
    }
    return result;
}
