/* SPDX-License-Identifier: MIT */
/* kmalloc against a model: alignment, contents that survive, pages that come back. */
#include "core/mm/kmalloc.h"

#include <pthread.h>
#include <string.h>

#include "core/mm/page.h"
#include "fakes/check.h"
#include "fakes/fake_memory.h"
#include "hal.h"

#define SLOTS 3000
#define CPUS 4

static void fill(uint8_t *object, size_t size, uint8_t seed)
{
    memset(object, seed, size);
}

static void verify(const uint8_t *object, size_t size, uint8_t seed)
{
    for (size_t i = 0; i < size; i++) {
        CHECK(object[i] == seed, "byte %zu of %zu at %p is %u, not %u", i, size,
              (const void *)object, object[i], seed);
    }
}

static size_t random_size(uint64_t dice)
{
    switch (dice % 16) {
    case 0:
        return 1 + (dice >> 8) % 60000;
    case 1:
        return 1 + (dice >> 8) % 5000;
    case 2:
        return (dice >> 8) % 2 != 0 ? 0 : 4096;
    default:
        return 1 + (dice >> 8) % 500;
    }
}

static void churn(uint64_t seed, unsigned steps)
{
    uint8_t **objects = calloc(SLOTS, sizeof(*objects));
    size_t *sizes = calloc(SLOTS, sizeof(*sizes));
    for (unsigned i = 0; i < steps; i++) {
        uint64_t dice = test_random(&seed);
        unsigned slot = (unsigned)((dice >> 40) % SLOTS);
        uint8_t mark = (uint8_t)(slot * 7 + 1);
        if (objects[slot] == NULL) {
            size_t size = random_size(dice);
            uint8_t *object = (dice >> 32) % 4 == 0 ? kzalloc(size) : kmalloc(size);
            CHECK(object != NULL, "no memory for %zu", size);
            CHECK((uintptr_t)object % (size >= 64 ? 64 : 16) == 0, "%p for %zu bytes",
                  (void *)object, size);
            if ((dice >> 32) % 4 == 0) {
                verify(object, size, 0);
            }
            fill(object, size, mark);
            objects[slot] = object;
            sizes[slot] = size;
        } else if ((dice >> 32) % 8 == 0) {
            size_t size = random_size(dice);
            uint8_t *object = krealloc(objects[slot], size);
            CHECK(object != NULL, "no memory for %zu", size);
            verify(object, size < sizes[slot] ? size : sizes[slot], mark);
            fill(object, size, mark);
            objects[slot] = object;
            sizes[slot] = size;
        } else {
            verify(objects[slot], sizes[slot], mark);
            kfree(objects[slot]);
            objects[slot] = NULL;
        }
    }
    for (unsigned i = 0; i < SLOTS; i++) {
        if (objects[i] != NULL) {
            verify(objects[i], sizes[i], (uint8_t)(i * 7 + 1));
        }
        kfree(objects[i]);
    }
    free(objects);
    free(sizes);
}

static void *churn_thread(void *argument)
{
    struct hal_cpu cpu = {.id = (uint32_t)(uint64_t)argument};
    fake_cpu = &cpu;
    churn((uint64_t)argument + 9, 60000);
    return NULL;
}

static pthread_barrier_t barrier;
static void *handed[2][20000];

/* Objects are freed by another CPU than the one that made them. */
static void *hand_over_thread(void *argument)
{
    uint64_t id = (uint64_t)argument;
    struct hal_cpu cpu = {.id = (uint32_t)id};
    fake_cpu = &cpu;
    for (unsigned round = 0; round < 5; round++) {
        for (unsigned i = 0; i < 20000; i++) {
            handed[id][i] = kmalloc(16 + i % 300);
        }
        pthread_barrier_wait(&barrier);
        for (unsigned i = 0; i < 20000; i++) {
            kfree(handed[1 - id][i]);
        }
        pthread_barrier_wait(&barrier);
    }
    return NULL;
}

static void run_threads(void *(*entry)(void *), unsigned count)
{
    pthread_t threads[CPUS];
    for (uint64_t i = 0; i < count; i++) {
        pthread_create(&threads[i], NULL, entry, (void *)i);
    }
    for (unsigned i = 0; i < count; i++) {
        pthread_join(threads[i], NULL);
    }
}

int main(void)
{
    fake_memory_reset();
    fake_memory_add(0x100000, 512ul << 20);
    fake_cpu_count = CPUS;
    page_init();
    kmalloc_init();
    uint64_t before = page_free_count();
    void *first = kmalloc(24);
    CHECK(before - page_free_count() <= 1, "the first object took %lu pages",
          before - page_free_count());
    kfree(first);
    kfree(NULL);
    CHECK(kmalloc((4ul << 20) + 1) == NULL, "more than the largest block");

    void *odd = kmalloc(5 * PAGE_SIZE); /* no page more than needed, but for the record */
    CHECK(before - page_free_count() <= 7, "five pages took %lu", before - page_free_count());
    kfree(odd);

    churn(3, 400000);
    uint64_t left = before - page_free_count();
    CHECK(left < 64, "%lu pages did not come back", left);

    static void *many[3000];
    for (unsigned i = 0; i < 3000; i++) {
        many[i] = kmalloc(4096);
        CHECK(many[i] != NULL, "page %u", i);
    }
    for (unsigned i = 0; i < 3000; i++) {
        kfree(many[i]);
    }
    CHECK(before - page_free_count() < 80, "%lu pages did not come back",
          before - page_free_count());

    run_threads(churn_thread, CPUS);
    pthread_barrier_init(&barrier, NULL, 2);
    run_threads(hand_over_thread, 2);
    CHECK(before - page_free_count() < 400, "%lu pages did not come back",
          before - page_free_count());
    return 0;
}
