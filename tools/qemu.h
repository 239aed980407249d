/* SPDX-License-Identifier: MIT */
/* The QEMU machine: its options, the accelerator, the guest's command line. */
#pragma once

#include "tools/network.h"
#include "tools/tool.h"

struct machine {
    const char *kind;   /* "microvm", "q35", "pc" */
    const char *accel;  /* "auto", "kvm", "tcg" */
    const char *cpu;    /* NULL: the best the accelerator has */
    const char *memory; /* as for QEMU's -m */
    long cpus;
    const char *image;
    const char *initrd;             /* NULL: none */
    struct arguments kernel_words;  /* before "--" */
    struct arguments program_words; /* after it */
    struct arguments extra;         /* more QEMU arguments, as given */
    struct arguments disks;         /* FILE or FILE,ro */
    struct network network;         /* network_check has passed */
    struct arguments shares;        /* HOSTDIR:DIR or HOSTDIR:DIR:rw */
    bool hostlink;                  /* the channels are a relay's (goruntime/hostlink.h) */
    bool merged;                    /* standard output comes by the debug channel, too */
    bool wait_for_debugger;
};

/* How the guest's two channels are connected: by the named pipes CHANNEL_* in `folder`, or (NULL)
 * to QEMU's own standard input, output and error. */
struct channels {
    char *folder;
};
#define CHANNEL_SERIAL "serial" /* QEMU puts .in and .out behind it */
#define CHANNEL_SERIAL_IN CHANNEL_SERIAL ".in"
#define CHANNEL_SERIAL_OUT CHANNEL_SERIAL ".out"
#define CHANNEL_DEBUG "debug"

/* The guest's command line, quoted as core/options.c reads it back. */
char *guest_command_line(const struct machine *machine);

/* Checks memory, kind and accelerator names, and settles "auto": 0, or -1 after a message. */
int machine_check(struct machine *machine);

/* Whether the text is an amount of memory, such as 128M: 0, or -1 after a message. */
int check_memory(const char *memory);

/* Bytes; the text has passed check_memory. */
uint64_t memory_size(const char *memory);

/* Adds NAME=VALUE to the program's environment: 0, or -1 after a message. */
int machine_environment(struct machine *machine, const char *variable);

/* The file of --disk's FILE[,ro], and whether it is read-only. */
char *disk_file(const char *disk, bool *read_only);

/* Adds a folder to share, HOSTDIR:DIR[:rw]: 0, or -1 after a message. */
int machine_share(struct machine *machine, const char *share);

/* Whether the image can be loaded into so little memory; 0, or -1 after a message. Otherwise nobody
 * would be there to complain. */
int machine_check_memory(const struct machine *machine);

/* QEMU's whole command line. */
void qemu_arguments(const struct machine *machine, const struct channels *channels,
                    struct arguments *words);

/* Whether the kernel really runs under KVM here, found out by trying. The answer is kept in the
 * build folder until the next boot of the host. */
bool kvm_works(void);
