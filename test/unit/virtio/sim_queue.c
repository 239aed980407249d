/* SPDX-License-Identifier: MIT */
/* sim_queue.h */
#include "sim_queue.h"

#include <string.h>

#include "fakes/check.h"
#include "hal.h"

void *sim_part(struct sim_queue *sim, unsigned index)
{
    return direct_map(sim->queue->parts[index]);
}

void sim_start(struct sim_queue *sim, struct virtqueue *queue)
{
    memset(sim, 0, sizeof(*sim));
    sim->queue = queue;
    sim->taken_wrap = sim->used_wrap = true;
}

static void chain_add(struct sim_chain *chain, const struct sim_descriptor *d, bool write)
{
    CHECK(chain->count < SIM_MAX_CHAIN);
    chain->buffers[chain->count].data = direct_map(d->address);
    chain->buffers[chain->count].length = d->length;
    chain->buffers[chain->count++].write = write;
}

static bool take_split(struct sim_queue *sim, struct sim_chain *chain)
{
    struct sim_descriptor *table = sim_part(sim, 0);
    uint16_t *available = sim_part(sim, 1);
    unsigned size = sim->queue->size;
    if (sim->taken == available[1]) {
        return false;
    }
    chain->id = available[2 + sim->taken++ % size];
    CHECK(chain->id < size);
    struct sim_descriptor *d = &table[chain->id];
    if ((d->id_or_flags & DESCRIPTOR_INDIRECT) != 0) {
        table = direct_map(d->address);
        size = d->length / 16;
        CHECK(d->length % 16 == 0 && size >= 1 && size <= SIM_MAX_CHAIN);
        d = table;
    }
    for (;;) {
        chain_add(chain, d, (d->id_or_flags & DESCRIPTOR_WRITE) != 0);
        if ((d->id_or_flags & DESCRIPTOR_NEXT) == 0) {
            break;
        }
        CHECK(d->next_or_flags < size);
        d = &table[d->next_or_flags];
    }
    return true;
}

static bool take_packed(struct sim_queue *sim, struct sim_chain *chain)
{
    struct sim_descriptor *ring = sim_part(sim, 0);
    struct sim_descriptor *d = &ring[sim->taken];
    if (((d->next_or_flags & 0x80) != 0) != sim->taken_wrap ||
        ((d->next_or_flags & 0x8000) != 0) == sim->taken_wrap) {
        return false;
    }
    for (bool more = true; more;) {
        d = &ring[sim->taken];
        more = (d->next_or_flags & DESCRIPTOR_NEXT) != 0;
        chain->id = d->id_or_flags;
        chain->descriptors++;
        if ((d->next_or_flags & DESCRIPTOR_INDIRECT) != 0) {
            struct sim_descriptor *table = direct_map(d->address);
            CHECK(!more && d->length / 16 <= SIM_MAX_CHAIN);
            for (unsigned i = 0; i < d->length / 16; i++) {
                chain_add(chain, &table[i], (table[i].next_or_flags & DESCRIPTOR_WRITE) != 0);
            }
        } else {
            chain_add(chain, d, (d->next_or_flags & DESCRIPTOR_WRITE) != 0);
        }
        if (++sim->taken == sim->queue->size) {
            sim->taken = 0;
            sim->taken_wrap = !sim->taken_wrap;
        }
    }
    return true;
}

void sim_take(struct sim_queue *sim)
{
    struct virtqueue *queue = sim->queue;
    for (;;) {
        struct sim_chain *chain = &sim->held[sim->held_count];
        memset(chain, 0, sizeof(*chain));
        if (queue->is_packed ? !take_packed(sim, chain) : !take_split(sim, chain)) {
            break;
        }
        sim->held_count++;
    }
    if (!queue->event_index) {
        return;
    }
    if (queue->is_packed) {
        *(uint32_t *)sim_part(sim, 2) = 2u << 16 | (sim->taken_wrap ? 0x8000u : 0) | sim->taken;
    } else {
        ((uint16_t *)sim_part(sim, 2))[2 + 4 * queue->size] = sim->taken;
    }
}

static void interrupt_split(struct sim_queue *sim, uint16_t old)
{
    uint16_t *available = sim_part(sim, 1);
    uint16_t event = available[2 + sim->queue->size];
    if (sim->queue->event_index ? event_passed(event, sim->used, old) : (available[0] & 1) == 0) {
        sim->interrupts++;
    }
}

static void interrupt_packed(struct sim_queue *sim, unsigned old)
{
    uint32_t event = *(uint32_t *)sim_part(sim, 1);
    unsigned flags = event >> 16 & 3;
    CHECK(flags != 3 && (flags != 2 || sim->queue->event_index));
    bool hit = flags == 0;
    if (flags == 2) {
        uint16_t position = event & 0x7fff;
        if (((event & 0x8000) != 0) != sim->used_wrap) {
            position = (uint16_t)(position - sim->queue->size);
        }
        hit = event_passed(position, sim->used, (uint16_t)old);
    }
    sim->interrupts += hit;
}

void sim_use_as(struct sim_queue *sim, unsigned index, uint32_t id, uint32_t written)
{
    struct virtqueue *queue = sim->queue;
    unsigned descriptors = sim->held[index].descriptors;
    memmove(&sim->held[index], &sim->held[index + 1],
            (--sim->held_count - index) * sizeof(sim->held[0]));
    if (!queue->is_packed) {
        uint16_t *used = sim_part(sim, 2);
        uint32_t *element = (uint32_t *)(used + 2) + sim->used % queue->size * 2;
        element[0] = id;
        element[1] = written;
        used[1] = ++sim->used;
        interrupt_split(sim, (uint16_t)(sim->used - 1));
        return;
    }
    struct sim_descriptor *d = (struct sim_descriptor *)sim_part(sim, 0) + sim->used;
    d->id_or_flags = (uint16_t)id;
    d->length = written;
    d->next_or_flags = sim->used_wrap ? 0x8080 : 0;
    int old = sim->used;
    sim->used = (uint16_t)(sim->used + descriptors);
    if (sim->used >= queue->size) {
        sim->used = (uint16_t)(sim->used - queue->size);
        sim->used_wrap = !sim->used_wrap;
        old -= queue->size;
    }
    interrupt_packed(sim, (unsigned)old);
}
