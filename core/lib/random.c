/* SPDX-License-Identifier: MIT */
/* ChaCha20 with fast key erasure: each request makes one block from the CPU's key, takes a new key
 * from its first half and gives out the second; long requests get a key of their own that way. A
 * key is touched only by its CPU with interrupts masked. `pool` mixes what hal_entropy gives,
 * guarded by pool.lock; each CPU takes a new key from it when RESEED_NS have passed. */
#include "core/lib/random.h"

#include "core/lib/chacha20.h"
#include "core/lib/spinlock.h"
#include "core/lib/string.h"
#include "hal.h"

#define RESEED_NS 300000000000ull
#define SEED_SIZE 64
#define HALF (CHACHA20_BLOCK_SIZE / 2)
_Static_assert(HALF == CHACHA20_KEY_SIZE, "half a block is a key");

struct generator {
    uint32_t key[8];
    uint64_t reseed_at; /* monotonic ns; 0: never seeded */
    uint32_t epoch;     /* of the pool when it was seeded */
} __attribute__((aligned(64)));

static struct generator generators[HAL_MAX_CPUS];

static struct {
    struct spinlock lock;
    uint32_t key[8];
    uint32_t epoch;       /* changes with random_mix; atomic */
    void (*source)(void); /* atomic; NULL: there is none */
} pool = {.lock = SPINLOCK_INIT(LOCK_CLASS_NONE)};

static void erase(void *bytes, size_t size)
{
    memset(bytes, 0, size);
    __asm__ volatile("" ::"r"(bytes) : "memory");
}

/* One block from `key` and `counter`, then a new key in its place. */
static void next_block(uint32_t key[8], uint8_t half[HALF])
{
    static const uint32_t nonce[3];
    uint8_t block[CHACHA20_BLOCK_SIZE];
    chacha20_block(key, 0, nonce, block);
    memcpy(key, block, CHACHA20_KEY_SIZE);
    memcpy(half, block + HALF, HALF);
    erase(block, sizeof(block));
}

/* The pool's key becomes a function of itself and the seed: each half of the seed is added to the
 * key before a block. */
static void pool_mix(const uint8_t seed[SEED_SIZE])
{
    uint8_t unused[HALF];
    for (unsigned part = 0; part < SEED_SIZE / CHACHA20_KEY_SIZE; part++) {
        uint32_t words[8];
        memcpy(words, seed + part * CHACHA20_KEY_SIZE, sizeof(words));
        for (unsigned i = 0; i < 8; i++) {
            pool.key[i] ^= words[i];
        }
        next_block(pool.key, unused);
        erase(words, sizeof(words));
    }
    erase(unused, sizeof(unused));
}

/* Interrupts masked. */
static void reseed(struct generator *generator, uint64_t now)
{
    uint8_t seed[SEED_SIZE], fresh[HALF];
    memset(seed, 0, sizeof(seed));
    (void)hal_entropy(seed, sizeof(seed));
    spin_lock(&pool.lock);
    pool_mix(seed);
    next_block(pool.key, fresh);
    generator->epoch = pool.epoch;
    spin_unlock(&pool.lock);
    uint32_t words[8];
    memcpy(words, fresh, sizeof(words));
    for (unsigned i = 0; i < 8; i++) {
        generator->key[i] ^= words[i];
    }
    generator->reseed_at = now + RESEED_NS;
    erase(words, sizeof(words));
    erase(fresh, sizeof(fresh));
    erase(seed, sizeof(seed));
}

void random_init(void)
{
    bool irq = hal_irq_save();
    reseed(&generators[hal_this_cpu()->id], hal_clock_monotonic());
    hal_irq_restore(irq);
}

void random_mix(const void *bytes, size_t size)
{
    uint8_t seed[SEED_SIZE];
    bool irq = spin_lock_irqsave(&pool.lock);
    for (size_t at = 0; at < size; at += SEED_SIZE) {
        memset(seed, 0, sizeof(seed));
        memcpy(seed, (const uint8_t *)bytes + at, size - at < SEED_SIZE ? size - at : SEED_SIZE);
        pool_mix(seed);
    }
    __atomic_store_n(&pool.epoch, pool.epoch + 1, __ATOMIC_RELAXED);
    spin_unlock_irqrestore(&pool.lock, irq);
    erase(seed, sizeof(seed));
}

void random_set_source(void (*request)(void))
{
    __atomic_store_n(&pool.source, request, __ATOMIC_RELEASE);
}

/* A half block from this CPU's generator. */
static void take(uint8_t half[HALF])
{
    bool irq = hal_irq_save();
    struct generator *generator = &generators[hal_this_cpu()->id];
    uint64_t now = hal_clock_monotonic();
    if (now >= generator->reseed_at) {
        void (*request)(void) = __atomic_load_n(&pool.source, __ATOMIC_ACQUIRE);
        if (request != NULL) {
            request();
        }
        reseed(generator, now);
    } else if (generator->epoch != __atomic_load_n(&pool.epoch, __ATOMIC_RELAXED)) {
        reseed(generator, now);
    }
    next_block(generator->key, half);
    hal_irq_restore(irq);
}

void random_bytes(void *to, size_t size)
{
    static const uint32_t nonce[3];
    uint8_t half[HALF];
    take(half);
    if (size <= HALF) {
        memcpy(to, half, size);
        erase(half, sizeof(half));
        return;
    }
    uint32_t key[8];
    uint8_t block[CHACHA20_BLOCK_SIZE];
    uint8_t *at = to;
    memcpy(key, half, sizeof(key));
    for (uint32_t counter = 0; size != 0; counter++) {
        size_t piece = size < sizeof(block) ? size : sizeof(block);
        chacha20_block(key, counter, nonce, block);
        memcpy(at, block, piece);
        at += piece;
        size -= piece;
    }
    erase(block, sizeof(block));
    erase(key, sizeof(key));
    erase(half, sizeof(half));
}

uint64_t random_u64(void)
{
    uint64_t value;
    random_bytes(&value, sizeof(value));
    return value;
}
