/* SPDX-License-Identifier: MIT */
/* `unigornel xen`: the domain configuration (xl.cfg(5)) that boots an image under Xen. Takes the
 * options of `unigornel run`, as far as they mean something there. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tools/commands.h"
#include "tools/link.h"
#include "tools/mkfs.h"
#include "tools/run.h"

enum {
    XEN_OUTPUT,
    XEN_NAME,
    XEN_TYPE,
    XEN_MEMORY,
    XEN_CPUS,
    XEN_ENV,
    XEN_LOG,
    XEN_HOSTNAME,
    XEN_APPEND,
    XEN_FS,
    XEN_DISK,
    XEN_NET,
    XEN_IP,
    XEN_OPTIONS
};

static const struct option_spec xen_specs[XEN_OPTIONS] = {
    [XEN_OUTPUT] = {"-o", "FILE", "the file to write (default: IMAGE.cfg here)", NULL},
    [XEN_NAME] = {"--name", "NAME", "the domain's name (default: the image's)", NULL},
    [XEN_TYPE] = {"--type", "TYPE", "pv (default) or pvh", NULL},
    [XEN_MEMORY] = {"-m", "SIZE", "memory, such as 64M or 2G (default: 128M)", NULL},
    [XEN_CPUS] = {"--smp", "N", "number of CPUs (default: 1)", NULL},
    [XEN_ENV] = {"--env", "NAME=VALUE", "a variable of the program's environment", NULL},
    [XEN_LOG] = {"--log", "LEVEL", "kernel messages: error, warn, info, debug or strace", NULL},
    [XEN_HOSTNAME] = {"--hostname", "NAME", "the guest's name", NULL},
    [XEN_APPEND] = {"--append", "WORDS", "more words for the kernel's command line", NULL},
    [XEN_FS] = {"--fs", "DIR",
                "a folder as the root file system, made into a file beside the "
                "configuration",
                NULL},
    [XEN_DISK] = {"--disk", "FILE[,ro]", "a disk: /dev/xvda, ...; with ,ro read-only", NULL},
    [XEN_NET] = {"--net", "KIND",
                 "bridge (default where the program has sockets: xl's own bridge), bridge=NAME or "
                 "none",
                 NULL},
    [XEN_IP] = {"--ip", "ADDRESS",
                "dhcp (default), none or ADDRESS/LENGTH[,GATEWAY], of IPv4 or IPv6", NULL},
};

const struct option_table xen_options = {
    .usage = "xen [OPTIONS] IMAGE.elf [-- ARGS]",
    .about = "Writes the xl.cfg that boots an image as a domain of Xen: xl create FILE.\n"
             "When the program ends its exit status is in xenstore, data/exit-status of the "
             "domain; a panic of\nthe kernel is a crash of the domain.",
    .specs = xen_specs,
    .count = XEN_OPTIONS,
};

#define MEMORY_MIN_MIB 8
#define DISKS_MAX 16
#define CPUS_MAX 64      /* HAL_MAX_CPUS */
#define PV_LINE_MAX 1023 /* xen/include/public/xen.h, MAX_GUEST_CMDLINE; xl cuts the rest off */

struct domain {
    const char *output, *name, *type, *files;
    const char *bridge; /* NULL: no network; "": the toolstack's default */
    bool network_chosen;
    struct machine machine; /* what it has in common with QEMU's */
};

/* A string of the configuration's language. */
static void append_quoted(struct buffer *out, const char *text)
{
    buffer_append_string(out, "\"");
    for (; *text; text++) {
        if (strchr("\"\\", *text))
            buffer_append_string(out, "\\");
        buffer_append(out, text, 1);
    }
    buffer_append_string(out, "\"");
}

static void append_setting(struct buffer *out, const char *name, const char *text)
{
    buffer_append_format(out, "%s = ", name);
    append_quoted(out, text);
    buffer_append_string(out, "\n");
}

/* NAME = "ABSOLUTE PATH". */
static int append_path(struct buffer *out, const char *name, const char *path)
{
    char *absolute = realpath(path, NULL);
    if (!absolute)
        return fail("%s: cannot be found", path);
    append_setting(out, name, absolute);
    free(absolute);
    return 0;
}

static int append_disk(struct buffer *out, const char *disk, size_t index)
{
    bool read_only;
    char *path = disk_file(disk, &read_only);
    char *absolute = realpath(path, NULL);
    int result = 0;
    if (!absolute) {
        result = fail("--disk %s: cannot be found", path);
    } else if (strchr(absolute, ',')) {
        result = fail("--disk %s: xl.cfg has no way to write a comma", absolute);
    } else {
        char *text =
            format_string("%s,raw,xvd%c,%c", absolute, (int)('a' + index), read_only ? 'r' : 'w');
        append_quoted(out, text);
        free(text);
    }
    free(absolute);
    free(path);
    return result;
}

static int append_disks(struct buffer *out, const struct arguments *disks)
{
    buffer_append_string(out, "disk = [");
    for (size_t i = 0; i < disks->count; i++) {
        buffer_append_string(out, i ? ", " : "");
        if (append_disk(out, disks->items[i], i) < 0)
            return -1;
    }
    buffer_append_string(out, "]\n");
    return 0;
}

static int append_domain(struct buffer *out, const struct domain *domain)
{
    const struct machine *machine = &domain->machine;
    append_setting(out, "name", domain->name);
    append_setting(out, "type", domain->type);
    if (append_path(out, "kernel", machine->image) < 0 ||
        (machine->initrd && append_path(out, "ramdisk", machine->initrd) < 0))
        return -1;
    char *line = guest_command_line(machine);
    size_t length = strlen(line);
    if (length)
        append_setting(out, "cmdline", line);
    free(line);
    if (length > PV_LINE_MAX && strcmp(domain->type, "pv") == 0)
        return fail("xen: the command line has %zu bytes, and a domain of the type pv gets %d",
                    length, PV_LINE_MAX);
    buffer_append_format(out, "memory = %lu\nvcpus = %ld\n",
                         (unsigned long)(memory_size(machine->memory) >> 20), machine->cpus);
    if (machine->disks.count && append_disks(out, &machine->disks) < 0)
        return -1;
    if (domain->bridge) {
        char *interface =
            *domain->bridge ? format_string("bridge=%s", domain->bridge) : copy_string("");
        buffer_append_string(out, "vif = [");
        append_quoted(out, interface);
        buffer_append_string(out, "]\n");
        free(interface);
    }
    /* A panic of the kernel is a crash: the domain stays for a look at it. */
    buffer_append_string(out, "on_poweroff = \"destroy\"\non_reboot = \"restart\"\n"
                              "on_crash = \"preserve\"\n");
    return 0;
}

static int set_net(struct domain *domain, const char *value)
{
    domain->network_chosen = true;
    if (strcmp(value, "none") == 0)
        domain->bridge = NULL;
    else if (strcmp(value, "bridge") == 0)
        domain->bridge = "";
    else if (strncmp(value, "bridge=", 7) == 0 && value[7])
        domain->bridge = value + 7;
    else
        return fail("--net %s: give bridge, bridge=NAME or none", value);
    return 0;
}

/* 0, or -1 after a message. */
static int set_option(struct domain *domain, int option, const char *value)
{
    struct machine *machine = &domain->machine;
    switch (option) {
    case XEN_OUTPUT:
        domain->output = value;
        return 0;
    case XEN_NAME:
        domain->name = value;
        return 0;
    case XEN_TYPE:
        domain->type = value;
        return strcmp(value, "pv") == 0 || strcmp(value, "pvh") == 0
                   ? 0
                   : fail("--type %s: give pv or pvh", value);
    case XEN_MEMORY:
        machine->memory = value;
        if (check_memory(value) < 0)
            return -1;
        return memory_size(value) >= MEMORY_MIN_MIB << 20
                   ? 0
                   : fail("-m %s: give at least %dM", value, MEMORY_MIN_MIB);
    case XEN_CPUS:
        machine->cpus = parse_number("--smp", value, 1, CPUS_MAX);
        return machine->cpus < 0 ? -1 : 0;
    case XEN_ENV:
        return machine_environment(machine, value);
    case XEN_LOG:
        arguments_addf(&machine->kernel_words, "log=%s", value);
        return 0;
    case XEN_HOSTNAME:
        arguments_addf(&machine->kernel_words, "hostname=%s", value);
        return 0;
    case XEN_APPEND:
        return parse_guest_line(value, &machine->kernel_words, &machine->program_words);
    case XEN_FS:
        domain->files = value;
        return is_directory(value) ? 0 : fail("--fs %s: not a folder", value);
    case XEN_DISK:
        if (machine->disks.count == DISKS_MAX)
            return fail("--disk: more than %d disks", DISKS_MAX);
        arguments_add(&machine->disks, value);
        return 0;
    case XEN_NET:
        return set_net(domain, value);
    default:
        return network_parse_ip(&machine->network, value, &machine->kernel_words);
    }
}

/* OPTION_END, OPTION_HELP, or OPTION_ERROR after a message. */
static int parse_options(struct option_cursor *cursor, struct domain *domain)
{
    for (;;) {
        int option = option_next(cursor);
        if (option < 0)
            return option;
        if (set_option(domain, option, cursor->value) < 0)
            return OPTION_ERROR;
    }
}

/* The words of the command: the image and the program's arguments too. */
static int parse_words(char **words, struct domain *domain)
{
    struct option_cursor cursor = {.table = &xen_options, .words = words};
    int option = parse_options(&cursor, domain);
    if (option == OPTION_END && words[cursor.at] && strcmp(words[cursor.at], "--") != 0) {
        domain->machine.image = words[cursor.at++];
        option = parse_options(&cursor, domain);
    }
    if (option != OPTION_END)
        return option;
    if (!domain->machine.image)
        return fail("xen: give an image: unigornel xen IMAGE.elf"), OPTION_ERROR;
    if (words[cursor.at] && strcmp(words[cursor.at++], "--") != 0)
        return fail("xen: %s: the program's arguments come after --", words[cursor.at - 1]),
               OPTION_ERROR;
    for (; words[cursor.at]; cursor.at++)
        arguments_add(&domain->machine.program_words, words[cursor.at]);
    return OPTION_END;
}

/* What the image decides: whether it may be one, and has a network. 0, or -1 after a message. */
static int look_at_image(struct domain *domain)
{
    struct elf_file file;
    int result = check_image(domain->machine.image);
    if (result == 0 && !domain->network_chosen) {
        if (elf_file_open(&file, domain->machine.image) == 0 && has_network(&file))
            domain->bridge = "";
        elf_file_close(&file);
    }
    return result == 0 ? machine_check_memory(&domain->machine) : result;
}

static int write_configuration(struct domain *domain, const char *stem)
{
    struct buffer text = {0};
    char *path = domain->output ? copy_string(domain->output) : format_string("%s.cfg", stem);
    char *files = format_string("%s.erofs", path);
    domain->name = domain->name ? domain->name : stem;
    int result = look_at_image(domain);
    if (result == 0 && domain->files) {
        domain->machine.initrd = files;
        arguments_add(&domain->machine.kernel_words, "root=initrd");
        result = make_file_system(domain->files, files, true);
    }
    if (result == 0)
        result = append_domain(&text, domain);
    if (result == 0)
        result = write_file(path, text.bytes, text.size, 0644);
    buffer_free(&text);
    free(files);
    free(path);
    return result;
}

int command_xen(char **words)
{
    struct domain domain = {.type = "pv", .machine = {.memory = "128M", .cpus = 1}};
    int option = parse_words(words, &domain);
    if (option == OPTION_HELP)
        return 0;
    if (option == OPTION_ERROR)
        return STATUS_USAGE;
    const char *name = base_name(domain.machine.image), *dot = strrchr(name, '.');
    char *stem = format_string("%.*s", (int)(dot ? dot - name : (long)strlen(name)), name);
    int result = write_configuration(&domain, stem);
    arguments_free(&domain.machine.kernel_words);
    arguments_free(&domain.machine.program_words);
    arguments_free(&domain.machine.disks);
    free(stem);
    return result == 0 ? 0 : STATUS_FAILED;
}
