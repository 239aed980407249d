/* SPDX-License-Identifier: MIT */
/* The vDSO: what the runtime calls instead of the kernel. It reads the clock page that the platform
 * keeps. Compiled as a shared object of its own and carried inside the kernel's text
 * (vdso_image.asm). */
#include <linux/errno.h>
#include <linux/mman.h>
#include <stddef.h>
#include <stdint.h>

#include "goruntime/gate.h"
#include "hal.h"

#define CLOCK_REALTIME 0
#define CLOCK_MONOTONIC 1
#define CLOCK_BOOTTIME 7
#define SYS_clock_gettime 228
#define SYS_gettimeofday 96
#define SYS_getrandom 318
#define NS_PER_SECOND 1000000000ull

struct vdso_timespec {
    int64_t seconds, nanoseconds;
};

struct vdso_timeval {
    int64_t seconds, microseconds;
};

/* include/uapi/linux/random.h */
struct vgetrandom_opaque_params {
    uint32_t size_of_opaque_state, mmap_prot, mmap_flags, reserved[13];
};

int __vdso_clock_gettime(int clock, struct vdso_timespec *out);
int __vdso_gettimeofday(struct vdso_timeval *out, void *zone);
long __vdso_getrandom(void *buffer, size_t length, unsigned flags, void *state, size_t state_size);

static inline long system_call(long number, long first, long second, long third)
{
    long result;
    __asm__ volatile("leaq 1f(%%rip), %%r11; movl %5, %%ecx; jmp *%%rcx; 1:"
                     : "=a"(result)
                     : "a"(number), "D"(first), "S"(second), "d"(third), "i"(GATE_ADDRESS)
                     : "rcx", "r11", "memory");
    return result;
}

/* Monotonic ns and the wall-clock offset, consistent with each other; 0 when the page says to ask
 * the kernel. */
static inline uint64_t read_clock(uint64_t *wall_offset)
{
    const volatile struct vvar *vvar = (const volatile struct vvar *)VVAR_ADDRESS;
    for (;;) {
        uint32_t sequence = vvar->sequence;
        if ((sequence & 1) != 0) {
            continue;
        }
        if (vvar->mode == 0) {
            return 0;
        }
        uint32_t low, high;
        __asm__ volatile("lfence; rdtsc" : "=a"(low), "=d"(high)::"memory");
        uint64_t now = (uint64_t)high << 32 | low, base = vvar->tsc_base;
        uint64_t ticks = now > base ? now - base : 0;
        uint64_t ns = vvar->base_ns + (uint64_t)((unsigned __int128)ticks * vvar->mult >> 32);
        *wall_offset = vvar->wall_offset;
        __asm__ volatile("" ::: "memory");
        if (vvar->sequence == sequence) {
            return ns;
        }
    }
}

int __vdso_clock_gettime(int clock, struct vdso_timespec *out)
{
    uint64_t wall_offset = 0, ns = 0;
    if (clock == CLOCK_REALTIME || clock == CLOCK_MONOTONIC || clock == CLOCK_BOOTTIME) {
        ns = read_clock(&wall_offset);
    }
    if (ns == 0) {
        return (int)system_call(SYS_clock_gettime, clock, (long)out, 0);
    }
    if (clock != CLOCK_MONOTONIC) {
        const volatile struct vvar *vvar = (const volatile struct vvar *)VVAR_ADDRESS;
        ns += clock == CLOCK_REALTIME ? wall_offset : vvar->boot_offset;
    }
    out->seconds = (int64_t)(ns / NS_PER_SECOND);
    out->nanoseconds = (int64_t)(ns % NS_PER_SECOND);
    return 0;
}

int __vdso_gettimeofday(struct vdso_timeval *out, void *zone)
{
    uint64_t wall_offset = 0;
    uint64_t ns = zone == NULL && out != NULL ? read_clock(&wall_offset) : 0;
    if (ns == 0) {
        return (int)system_call(SYS_gettimeofday, (long)out, (long)zone, 0);
    }
    ns += wall_offset;
    out->seconds = (int64_t)(ns / NS_PER_SECOND);
    out->microseconds = (int64_t)(ns % NS_PER_SECOND / 1000);
    return 0;
}

/* A call into the kernel is a jump here, so there is nothing to gain from state on the program's
 * side: the opaque state is asked for with the least size and not used. */
long __vdso_getrandom(void *buffer, size_t length, unsigned flags, void *state, size_t state_size)
{
    if (state_size == ~0ul && length == 0 && buffer == NULL && flags == 0) {
        struct vgetrandom_opaque_params *params = state;
        params->size_of_opaque_state = 64;
        params->mmap_prot = PROT_R | PROT_W;
        params->mmap_flags = MAP_PRIVATE | MAP_ANONYMOUS;
        for (unsigned i = 0; i < 13; i++) {
            params->reserved[i] = 0;
        }
        return 0;
    }
    return system_call(SYS_getrandom, (long)buffer, (long)length, (long)flags);
}
