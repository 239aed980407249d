/* SPDX-License-Identifier: MIT */
/* A TCG plugin that counts the guest instructions, of all CPUs, from reset and from the first
 * execution of one address to the first execution of another, and then ends QEMU. Arguments:
 * start=ADDRESS,stop=ADDRESS. It writes one line to standard error: `insn_count total=N counted=N`.
 * Each CPU has its own counter, written by its own thread only. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "qemu_plugin.h"

#define MAX_CPUS 64

int qemu_plugin_version = 1;

static struct {
    uint64_t count;
    char padding[56]; /* a cache line each */
} cpus[MAX_CPUS];
static uint64_t start_address, stop_address;
static uint64_t total_at_start;
static bool started;

static uint64_t total(void)
{
    uint64_t sum = 0;
    for (unsigned i = 0; i < MAX_CPUS; i++) {
        sum += __atomic_load_n(&cpus[i].count, __ATOMIC_RELAXED);
    }
    return sum;
}

static void block_executed(unsigned cpu, void *context)
{
    uint64_t count = cpus[cpu % MAX_CPUS].count + (uintptr_t)context;
    __atomic_store_n(&cpus[cpu % MAX_CPUS].count, count, __ATOMIC_RELAXED);
}

static void start_reached(unsigned cpu, void *context)
{
    (void)cpu;
    (void)context;
    if (!started) {
        started = true;
        total_at_start = total();
    }
}

static void stop_reached(unsigned cpu, void *context)
{
    (void)cpu;
    (void)context;
    uint64_t now = total();
    fprintf(stderr, "insn_count total=%" PRIu64 " counted=%" PRIu64 "\n", now,
            now - total_at_start);
    _exit(0);
}

static void translated(qemu_plugin_id_t id, struct qemu_plugin_tb *tb)
{
    (void)id;
    size_t length = qemu_plugin_tb_n_insns(tb);
    qemu_plugin_register_vcpu_tb_exec_cb(tb, block_executed, QEMU_PLUGIN_CB_NO_REGS,
                                         (void *)length);
    for (size_t i = 0; i < length; i++) {
        struct qemu_plugin_insn *insn = qemu_plugin_tb_get_insn(tb, i);
        uint64_t address = qemu_plugin_insn_vaddr(insn);
        if (address == start_address) {
            qemu_plugin_register_vcpu_insn_exec_cb(insn, start_reached, QEMU_PLUGIN_CB_NO_REGS,
                                                   NULL);
        } else if (address == stop_address) {
            qemu_plugin_register_vcpu_insn_exec_cb(insn, stop_reached, QEMU_PLUGIN_CB_NO_REGS,
                                                   NULL);
        }
    }
}

int qemu_plugin_install(qemu_plugin_id_t id, const void *info, int argc, char **argv)
{
    (void)info;
    for (int i = 0; i < argc; i++) {
        if (strncmp(argv[i], "start=", 6) == 0) {
            start_address = strtoull(argv[i] + 6, NULL, 0);
        } else if (strncmp(argv[i], "stop=", 5) == 0) {
            stop_address = strtoull(argv[i] + 5, NULL, 0);
        } else {
            fprintf(stderr, "insn_count: unknown argument %s\n", argv[i]);
            return -1;
        }
    }
    if (stop_address == 0) {
        fprintf(stderr, "insn_count: stop=ADDRESS is missing\n");
        return -1;
    }
    qemu_plugin_register_vcpu_tb_trans_cb(id, translated);
    return 0;
}
