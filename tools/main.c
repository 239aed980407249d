/* SPDX-License-Identifier: MIT */
/* The host command `unigornel`: chooses the subcommand. */
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "tools/commands.h"

static const struct subcommand {
    const char *name;
    int (*run)(char **words);
    const struct option_table *options;
    const char *about;
} subcommands[] = {
    {"build", command_build, &build_options,
     "build a Go package, or link a prebuilt program, into an image"},
    {"run", command_run, &run_options, "boot a package or an image in QEMU"},
    {"exec", command_exec, &exec_options,
     "boot a program built by Go, for go test -exec and go run -exec"},
    {"test", command_test, &test_options, "go test, with the tests running inside"},
    {"image", command_image, &image_options, "make an ISO or a disk that boots by BIOS and UEFI"},
    {"xen", command_xen, &xen_options, "write the xl.cfg that boots an image under Xen"},
    {"mkfs", command_mkfs, &mkfs_options, "make a file system from a folder"},
};
#define SUBCOMMANDS (sizeof(subcommands) / sizeof(*subcommands))

static void print_overview(FILE *out)
{
    fputs("usage: unigornel COMMAND [OPTIONS] ...\n\nRuns Go programs as bootable images.\n\n",
          out);
    for (size_t i = 0; i < SUBCOMMANDS; i++)
        fprintf(out, "  %-8s %s\n", subcommands[i].name, subcommands[i].about);
    fputs("\nunigornel COMMAND --help tells more.\n", out);
}

int main(int count, char **words)
{
    /* Whoever started us with a standard stream closed must not get one of our own files there. */
    int descriptor;
    while ((descriptor = open("/dev/null", O_RDWR | O_CLOEXEC)) >= 0 && descriptor <= 2)
        fcntl(descriptor, F_SETFD, 0);
    if (descriptor > 2)
        close(descriptor);
    if (count < 2) {
        print_overview(stderr);
        return STATUS_USAGE;
    }
    const char *name = words[1];
    if (strcmp(name, "--help") == 0 || strcmp(name, "-h") == 0 || strcmp(name, "help") == 0) {
        print_overview(stdout);
        return 0;
    }
    for (size_t i = 0; i < SUBCOMMANDS; i++) {
        const struct subcommand *command = &subcommands[i];
        if (strcmp(command->name, name) != 0)
            continue;
        return command->run(words + 2);
    }
    fail("%s: unknown command: see unigornel --help", name);
    return STATUS_USAGE;
}
