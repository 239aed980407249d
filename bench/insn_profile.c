/* SPDX-License-Identifier: MIT */
/* A TCG plugin that keeps, in a file that others map, how many guest instructions each translated
 * block has executed, so that a benchmark can tell what ran where between two moments. Arguments:
 * counts=PATH[,start=ADDRESS]: all counts begin at zero again when `start` is first executed. The
 * file is a hash table of pairs (address, instructions), 8 bytes each, address 0 meaning none; its
 * size is SLOTS of them. Blocks are counted whole, by one CPU only: with several, counts are lost.
 */
#include "qemu_plugin.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define SLOTS (1ul << 18)

struct slot {
    uint64_t address, instructions;
};

int qemu_plugin_version = 1;
static struct slot *slots;
static uint64_t start_address;
static bool started;

static void start_reached(unsigned cpu, void *context)
{
    (void)cpu;
    (void)context;
    for (size_t i = 0; !started && i < SLOTS; i++) {
        slots[i].instructions = 0;
    }
    started = true;
}

static struct slot *slot_of(uint64_t address)
{
    size_t at = (address * 0x9e3779b97f4a7c15u) >> 46;
    for (size_t i = 0; i < SLOTS; i++, at = (at + 1) % SLOTS) {
        if (slots[at].address == address || slots[at].address == 0) {
            slots[at].address = address;
            return &slots[at];
        }
    }
    fprintf(stderr, "insn_profile: the table is full\n");
    abort();
}

static void translated(qemu_plugin_id_t id, struct qemu_plugin_tb *tb)
{
    (void)id;
    struct slot *slot = slot_of(qemu_plugin_tb_vaddr(tb));
    qemu_plugin_register_vcpu_tb_exec_inline(tb, QEMU_PLUGIN_INLINE_ADD_U64, &slot->instructions,
                                             qemu_plugin_tb_n_insns(tb));
    for (size_t i = 0; i < qemu_plugin_tb_n_insns(tb); i++) {
        struct qemu_plugin_insn *insn = qemu_plugin_tb_get_insn(tb, i);
        if (qemu_plugin_insn_vaddr(insn) == start_address) {
            qemu_plugin_register_vcpu_insn_exec_cb(insn, start_reached, QEMU_PLUGIN_CB_NO_REGS,
                                                   NULL);
        }
    }
}

int qemu_plugin_install(qemu_plugin_id_t id, const void *info, int argc, char **argv)
{
    (void)info;
    const char *path = NULL;
    for (int i = 0; i < argc; i++) {
        if (strncmp(argv[i], "counts=", 7) == 0) {
            path = argv[i] + 7;
        } else if (strncmp(argv[i], "start=", 6) == 0) {
            start_address = strtoull(argv[i] + 6, NULL, 0);
        } else {
            fprintf(stderr, "insn_profile: unknown argument %s\n", argv[i]);
            return -1;
        }
    }
    int fd = path != NULL ? open(path, O_RDWR | O_CREAT | O_TRUNC, 0666) : -1;
    if (fd < 0 || ftruncate(fd, SLOTS * sizeof(*slots)) != 0) {
        perror("insn_profile: counts");
        return -1;
    }
    slots = mmap(NULL, SLOTS * sizeof(*slots), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    close(fd);
    if (slots == MAP_FAILED) {
        perror("insn_profile: mmap");
        return -1;
    }
    qemu_plugin_register_vcpu_tb_trans_cb(id, translated);
    return 0;
}
