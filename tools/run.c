/* SPDX-License-Identifier: MIT */
/* `unigornel run`: builds the image when a package is given, and boots it in QEMU. */
#include "tools/run.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tools/build.h"
#include "tools/commands.h"
#include "tools/link.h"
#include "tools/mkfs.h"
#include "tools/relay.h"

enum {
    RUN_MEMORY,
    RUN_CPUS,
    RUN_MACHINE,
    RUN_ACCEL,
    RUN_CPU,
    RUN_ENV,
    RUN_LOG,
    RUN_HOSTNAME,
    RUN_APPEND,
    RUN_TIMEOUT,
    RUN_GDB,
    RUN_DRY_RUN,
    RUN_QEMU_ARGUMENT,
    RUN_VERBOSE,
    RUN_PORT,
    RUN_NET,
    RUN_IP,
    RUN_FS,
    RUN_DISK,
    RUN_MOUNT,
    RUN_OPTIONS
};

const struct option_spec run_specs[RUN_OPTIONS] = {
    [RUN_MEMORY] = {"-m", "SIZE", "memory, such as 64M or 2G", NULL},
    [RUN_CPUS] = {"--smp", "N", "number of CPUs", NULL},
    [RUN_MACHINE] = {"--machine", "KIND", "microvm (default), q35 or pc", NULL},
    [RUN_ACCEL] = {"--accel", "NAME", "auto (default: kvm where it works), kvm or tcg", NULL},
    [RUN_CPU] = {"--cpu", "MODEL", "QEMU's CPU model (default: max)", NULL},
    [RUN_ENV] = {"--env", "NAME=VALUE", "a variable of the program's environment", NULL},
    [RUN_LOG] = {"--log", "LEVEL", "kernel messages: error, warn, info, debug or strace", NULL},
    [RUN_HOSTNAME] = {"--hostname", "NAME", "the guest's name", NULL},
    [RUN_APPEND] = {"--append", "WORDS", "more words for the kernel's command line", NULL},
    [RUN_TIMEOUT] = {"--timeout", "SECONDS", "end it after this time, with status 124", NULL},
    [RUN_GDB] = {"--gdb", NULL, "wait for gdb at the first instruction, and start it on a terminal",
                 NULL},
    [RUN_DRY_RUN] = {"--dry-run", NULL, "print the QEMU command, do not run it", NULL},
    [RUN_QEMU_ARGUMENT] = {"--qemu-arg", "ARG", "one more argument for QEMU", NULL},
    [RUN_VERBOSE] = {"-v", NULL, "say what is done", NULL},
    [RUN_PORT] =
        {"-p", "HOST:GUEST",
         "forward a port of the host's 127.0.0.1, or of ADDRESS:HOST:GUEST; /udp behind it", NULL},
    [RUN_NET] = {"--net", "KIND",
                 "user (default where the program has sockets), tap=INTERFACE[,queues=N] or none",
                 NULL},
    [RUN_IP] = {"--ip", "ADDRESS",
                "dhcp (default), none or ADDRESS/LENGTH[,GATEWAY], of IPv4 or IPv6", NULL},
    [RUN_FS] = {"--fs", "DIR", "a folder as the root file system", NULL},
    [RUN_DISK] = {"--disk", "FILE[,ro]",
                  "a disk: /dev/vda, ...; with ,ro read-only (more than once: more disks)", NULL},
    [RUN_MOUNT] = {"--mount", "HOSTDIR:DIR[:rw]",
                   "share a folder of the host, for reading or with :rw for writing too", NULL},
};
_Static_assert(RUN_OPTIONS == RUN_OPTION_COUNT, "run.h says how many there are");

const struct option_table run_options = {
    .usage = "run [OPTIONS] (PACKAGE | IMAGE.elf) [-- ARGS]",
    .about = "Boots a Go package or an image in QEMU. Standard input, output, error and the exit "
             "status are the program's;\n"
             "70: the kernel panicked, 71: QEMU failed, 124: --timeout.",
    .specs = run_specs,
    .count = RUN_OPTIONS,
};

int parse_guest_line(const char *line, struct arguments *kernel_words,
                     struct arguments *program_words)
{
    bool program = false;
    while (*(line += strspn(line, " \t\n"))) {
        struct buffer word = {0};
        bool quoted = false, plain = true;
        buffer_append_string(&word, "");
        for (; *line && (quoted || !strchr(" \t\n", *line)); line++) {
            if (*line == '"') {
                quoted = !quoted;
                plain = false;
            } else {
                line += *line == '\\' && line[1];
                buffer_append(&word, line, 1);
            }
        }
        if (quoted) {
            buffer_free(&word);
            return fail("--append: a quote does not end");
        }
        if (!program && plain && strcmp(word.bytes, "--") == 0)
            program = true;
        else
            arguments_add(program ? program_words : kernel_words, word.bytes);
        buffer_free(&word);
    }
    return 0;
}

static int apply_option(int option, const char *value, struct run_settings *settings)
{
    struct machine *machine = &settings->machine;
    long number;
    switch (option) {
    case RUN_MEMORY:
        machine->memory = value;
        return 0;
    case RUN_CPUS:
        number = parse_number("--smp", value, 1, 255);
        machine->cpus = number;
        return number < 0 ? -1 : 0;
    case RUN_MACHINE:
        machine->kind = value;
        return 0;
    case RUN_ACCEL:
        machine->accel = value;
        return 0;
    case RUN_CPU:
        machine->cpu = value;
        return 0;
    case RUN_ENV:
        return machine_environment(machine, value);
    case RUN_LOG:
        arguments_addf(&machine->kernel_words, "log=%s", value);
        return 0;
    case RUN_HOSTNAME:
        arguments_addf(&machine->kernel_words, "hostname=%s", value);
        return 0;
    case RUN_APPEND:
        return parse_guest_line(value, &machine->kernel_words, &machine->program_words);
    case RUN_TIMEOUT:
        settings->timeout = parse_number("--timeout", value, 1, 1000000);
        return settings->timeout < 0 ? -1 : 0;
    case RUN_GDB:
        settings->debugger = true;
        return 0;
    case RUN_DRY_RUN:
        settings->dry_run = true;
        return 0;
    case RUN_QEMU_ARGUMENT:
        arguments_add(&machine->extra, value);
        return 0;
    case RUN_VERBOSE:
        verbose_enabled = true;
        return 0;
    case RUN_FS:
        settings->files = value;
        return is_directory(value) ? 0 : fail("--fs %s: not a folder", value);
    case RUN_DISK:
        arguments_add(&machine->disks, value);
        return 0;
    case RUN_MOUNT:
        return machine_share(machine, value);
    case RUN_NET:
        return network_parse_kind(&machine->network, value);
    case RUN_PORT:
        return network_parse_port(&machine->network, value);
    case RUN_IP:
        return network_parse_ip(&machine->network, value, &machine->kernel_words);
    default:
        return fail("internal error: option %d", option);
    }
}

int run_options_parse(struct option_cursor *cursor, struct run_settings *settings)
{
    for (;;) {
        int option = option_next(cursor);
        if (option < 0)
            return option;
        if (apply_option(option, cursor->value, settings) < 0)
            return OPTION_ERROR;
    }
}

static bool image_has_network(const char *image)
{
    struct elf_file file;
    bool network = elf_file_open(&file, image) == 0 && has_network(&file);
    elf_file_close(&file);
    return network;
}

static bool image_has_files(const char *image)
{
    struct elf_file file;
    bool files = elf_file_open(&file, image) == 0 && has_files(&file);
    elf_file_close(&file);
    return files;
}

/* gdb with the symbols of both and stopped at the kernel's entry. */
static void gdb_command(const char *image, struct arguments *words)
{
    char *kernel = kernel_path(image_has_network(image), image_has_files(image));
    static const char *const options[] = {
        "gdb", "-q", "-iex", "set confirm off", "-ex", "target remote :1234", "-ex"};
    for (size_t i = 0; i < sizeof(options) / sizeof(*options); i++)
        arguments_add(words, options[i]);
    arguments_addf(words, "add-symbol-file %s", kernel);
    static const char *const stop[] = {"-ex", "thbreak *pvh_entry", "-ex", "continue"};
    for (size_t i = 0; i < sizeof(stop) / sizeof(*stop); i++)
        arguments_add(words, stop[i]);
    arguments_add(words, image);
    free(kernel);
}

/* Whether our standard output and error are one file, in which order matters. */
static bool same_output(void)
{
    struct stat output, error;
    return fstat(STDOUT_FILENO, &output) == 0 && fstat(STDERR_FILENO, &error) == 0 &&
           output.st_dev == error.st_dev && output.st_ino == error.st_ino;
}

int run_machine(struct run_settings *settings)
{
    struct machine *machine = &settings->machine;
    if (machine_check_memory(machine) < 0 ||
        network_check(&machine->network, image_has_network(machine->image)) < 0)
        return STATUS_USAGE;
    machine->wait_for_debugger = settings->debugger;
    if (settings->dry_run) {
        struct arguments words = {0};
        qemu_arguments(machine, &(struct channels){0}, &words);
        char *line = shell_quote_all(words.items);
        puts(line);
        free(line);
        arguments_free(&words);
        return 0;
    }
    machine->hostlink = true;
    machine->merged = same_output();
    struct relay_options relay = {.timeout = settings->timeout};
    struct arguments debugger = {0};
    if (settings->debugger) {
        gdb_command(machine->image, &debugger);
        if (isatty(STDIN_FILENO)) {
            relay.debugger = debugger.items;
        } else {
            char *line = shell_quote_all(debugger.items);
            fprintf(stderr, "unigornel: waiting for gdb: %s\n", line);
            free(line);
        }
    }
    int status = relay_run(machine, &relay);
    arguments_free(&debugger);
    return status;
}

/* A finished image gets the files from beside it, as a boot module: 0, or -1 after a message. */
static int add_module(const char *files, struct machine *machine)
{
    char *folder = temporary_directory();
    char *path = folder ? format_string("%s/files.erofs", folder) : NULL;
    free(folder);
    machine->initrd = path;
    arguments_add(&machine->kernel_words, "root=initrd");
    return path ? make_file_system(files, path, true) : -1;
}

/* The image to boot: the file itself, or a new one from a package. NULL after a message. */
static char *find_image(const char *operand, const char *files, struct machine *machine)
{
    size_t length = strlen(operand);
    bool source = length > 3 && strcmp(operand + length - 3, ".go") == 0;
    if (is_file(operand) && !source) {
        struct elf_file file;
        if (elf_file_open(&file, operand) < 0)
            return NULL;
        bool image = is_image(&file);
        elf_file_close(&file);
        if (image)
            return files && add_module(files, machine) < 0 ? NULL : copy_string(operand);
        fail("%s: a program, not an image: use unigornel exec, or unigornel build --from %s",
             operand, operand);
        return NULL;
    }
    if (!source && !is_directory(operand) &&
        strcmp(operand + (length > 4 ? length - 4 : 0), ".elf") == 0) {
        fail("%s: no such image: make it with unigornel build -o %s PACKAGE", operand, operand);
        return NULL;
    }
    char *folder = temporary_directory();
    char *path = folder ? format_string("%s/image.elf", folder) : NULL;
    free(folder);
    if (path && build_package(NULL, operand, &(struct link_options){.files = files}, path) < 0) {
        free(path);
        return NULL;
    }
    return path;
}

int command_run(char **words)
{
    struct option_cursor cursor = {.table = &run_options, .words = words};
    struct run_settings settings = {
        .machine = {.kind = "microvm", .accel = "auto", .memory = "128M", .cpus = 1}};
    int option = run_options_parse(&cursor, &settings);
    if (option == OPTION_HELP)
        return 0;
    const char *operand = NULL;
    if (option == OPTION_END && words[cursor.at] && strcmp(words[cursor.at], "--") != 0) {
        operand = words[cursor.at++];
        option = run_options_parse(&cursor, &settings); /* options after the package work too */
    }
    if (option == OPTION_ERROR)
        return STATUS_USAGE;
    if (option == OPTION_HELP)
        return 0;
    if (!operand) {
        fail("run: give a package or an image: unigornel run PACKAGE");
        return STATUS_USAGE;
    }
    if (words[cursor.at] && strcmp(words[cursor.at], "--") != 0) {
        fail("run: %s: the program's arguments come after --", words[cursor.at]);
        return STATUS_USAGE;
    }
    for (size_t i = cursor.at + (words[cursor.at] != NULL); words[i]; i++)
        arguments_add(&settings.machine.program_words, words[i]);
    if (machine_check(&settings.machine) < 0)
        return STATUS_USAGE;
    char *image = find_image(operand, settings.files, &settings.machine);
    if (!image)
        return STATUS_FAILED;
    settings.machine.image = image;
    int status = run_machine(&settings);
    arguments_free(&settings.machine.kernel_words);
    arguments_free(&settings.machine.program_words);
    arguments_free(&settings.machine.extra);
    arguments_free(&settings.machine.disks);
    network_free(&settings.machine.network);
    arguments_free(&settings.machine.shares);
    free(image);
    return status;
}
