/* SPDX-License-Identifier: MIT */
/* Seed material: RDSEED or RDRAND where the CPU has them and they pass a sanity check, always mixed
 * with timing jitter. Without them the jitter alone has to do, claimed at a quarter of a bit for a
 * sample that differs from the one before. Any CPU; the state is the caller's. */
#include "core/lib/string.h"
#include "kvm_internal.h"

#define PIT_CHANNEL0 0x40
#define RDRAND_TRIES 10 /* Intel SDM 1, 7.3.17 */
#define RDSEED_TRIES 64
#define SAMPLES_WITH_HARDWARE 16
#define SAMPLES_WITHOUT 1024 /* for a word, at most */
#define SAMPLES_PER_BIT 4

#define HAVE_RDRAND (1u << 30) /* CPUID 1 ECX */
#define HAVE_RDSEED (1u << 18) /* CPUID 7 EBX */

static bool rdseed(uint64_t *value)
{
    for (unsigned i = 0; i < RDSEED_TRIES; i++) {
        bool ok;
        __asm__ volatile("rdseed %0" : "=r"(*value), "=@ccc"(ok));
        if (ok) {
            return true;
        }
        hal_spin_hint();
    }
    return false;
}

static bool rdrand(uint64_t *value)
{
    for (unsigned i = 0; i < RDRAND_TRIES; i++) {
        bool ok;
        __asm__ volatile("rdrand %0" : "=r"(*value), "=@ccc"(ok));
        if (ok) {
            return true;
        }
    }
    return false;
}

/* One word from the CPU. Broken ones return a constant with the carry flag set. */
static bool hardware_word(bool have_rdseed, bool have_rdrand, uint64_t *last, uint64_t *value)
{
    bool ok = (have_rdseed && rdseed(value)) || (have_rdrand && rdrand(value));
    if (!ok || *value == 0 || *value == UINT64_MAX || *value == *last) {
        return false;
    }
    *last = *value;
    return true;
}

REPLACEABLE uint64_t time_of_slow_access(void)
{
    (void)port_read8(PIT_CHANNEL0);
    return tsc_read();
}

/* Times accesses to a slow device and stirs the results into `*pool`, until `wanted` of them have
 * differed from the one before, as they do not in an emulator that counts instructions. Returns how
 * many did. */
static unsigned jitter(uint64_t *pool, unsigned wanted, unsigned most)
{
    uint64_t stirred = *pool, last_time = tsc_read(), last_delta = 0;
    unsigned fresh = 0;
    for (unsigned i = 0; i < most && fresh < wanted; i++) {
        uint64_t now = time_of_slow_access();
        uint64_t delta = now - last_time;
        fresh += delta != last_delta;
        last_time = now;
        last_delta = delta;
        /* A bijection of the pool for each delta: odd multiplier, rotation. */
        stirred = (stirred ^ delta) * 0xd1342543de82ef95u;
        stirred = stirred << 29 | stirred >> 35;
    }
    *pool = stirred;
    return fresh;
}

unsigned hal_entropy(uint8_t *bytes, size_t size)
{
    bool have_rdrand = (cpuid(1, 0).ecx & HAVE_RDRAND) != 0;
    bool have_rdseed = cpuid(0, 0).eax >= 7 && (cpuid(7, 0).ebx & HAVE_RDSEED) != 0;
    uint64_t pool = tsc_read() ^ hal_clock_wall_offset(), last = 0;
    unsigned bits = 0;
    for (size_t done = 0; done < size; done += sizeof(uint64_t)) {
        size_t chunk = size - done < sizeof(uint64_t) ? size - done : sizeof(uint64_t);
        unsigned most = (unsigned)chunk * 8;
        uint64_t word = 0;
        bool hardware = hardware_word(have_rdseed, have_rdrand, &last, &word);
        unsigned samples = hardware ? SAMPLES_WITH_HARDWARE : SAMPLES_WITHOUT;
        unsigned fresh = jitter(&pool, most * SAMPLES_PER_BIT, samples) / SAMPLES_PER_BIT;
        word ^= pool;
        memcpy(bytes + done, &word, chunk);
        bits += hardware ? most : fresh;
    }
    return bits;
}
