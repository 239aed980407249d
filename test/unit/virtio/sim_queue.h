/* SPDX-License-Identifier: MIT */
/* The device's side of a virtqueue, split or packed, written from the specification
 * (virtio 1.2, 2.7 and 2.8). It reads and writes the ring's memory and nothing else. */
#pragma once

#include "drivers/virtio/virtio_internal.h"

#define SIM_MAX_CHAIN 32

struct sim_chain {
    uint16_t id;
    unsigned descriptors; /* in the ring */
    unsigned count;
    struct {
        uint8_t *data;
        uint32_t length;
        bool write;
    } buffers[SIM_MAX_CHAIN];
};

struct sim_queue {
    struct virtqueue *queue;
    uint16_t taken, used; /* split: counts; packed: positions */
    bool taken_wrap, used_wrap;
    struct sim_chain held[1024]; /* taken, not yet used */
    unsigned held_count;
    unsigned interrupts;
};

/* As both rings have it. */
struct sim_descriptor {
    uint64_t address;
    uint32_t length;
    uint16_t id_or_flags, next_or_flags; /* split: flags, next; packed: id, flags */
};

void sim_start(struct sim_queue *sim, struct virtqueue *queue);

/* Part 0, 1 or 2 of the ring's memory. */
void *sim_part(struct sim_queue *sim, unsigned index);

/* Takes all that is available; then wants to be told of more. */
void sim_take(struct sim_queue *sim);

/* Gives back the chain at `index` of those that are held, as if it were `id`. */
void sim_use_as(struct sim_queue *sim, unsigned index, uint32_t id, uint32_t written);
