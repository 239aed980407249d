/* SPDX-License-Identifier: MIT */
/* `unigornel xen`: the domain configuration (xl.cfg(5)) that boots an image under Xen. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tools/commands.h"
#include "tools/link.h"

enum {
    XEN_OUTPUT,
    XEN_NAME,
    XEN_TYPE,
    XEN_MEMORY,
    XEN_CPUS,
    XEN_DISK,
    XEN_BRIDGE,
    XEN_APPEND,
    XEN_OPTIONS
};

static const struct option_spec xen_specs[XEN_OPTIONS] = {
    [XEN_OUTPUT] = {"-o", "FILE", "the file to write (default: IMAGE.cfg here)", NULL},
    [XEN_NAME] = {"--name", "NAME", "the domain's name (default: the image's)", NULL},
    [XEN_TYPE] = {"--type", "TYPE", "pv (default) or pvh", NULL},
    [XEN_MEMORY] = {"-m", "MIB", "memory in MiB (default: 128)", NULL},
    [XEN_CPUS] = {"--smp", "N", "number of CPUs (default: 1)", NULL},
    [XEN_DISK] = {"--disk", "FILE", "a disk, xvda and so on; may be given again", NULL},
    [XEN_BRIDGE] = {"--bridge", "NAME", "a network interface on dom0's bridge", NULL},
    [XEN_APPEND] = {"--append", "LINE", "the guest's command line: kernel words -- arguments",
                    NULL},
};

const struct option_table xen_options = {
    .usage = "xen [-o FILE] [--name NAME] [--type pv|pvh] [-m MIB] [--smp N] [--disk FILE]... "
             "[--bridge NAME] [--append LINE] IMAGE.elf",
    .about = "Writes the xl.cfg that boots an image as a domain of Xen: xl create FILE.",
    .specs = xen_specs,
    .count = XEN_OPTIONS,
};

#define DISKS_MAX 16

struct domain {
    const char *name, *type, *bridge, *line;
    const char *disks[DISKS_MAX];
    size_t disk_count;
    long memory, cpus;
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

static int append_path(struct buffer *out, const char *prefix, const char *path, const char *suffix)
{
    char *absolute = realpath(path, NULL);
    if (!absolute)
        return fail("%s: cannot be found", path);
    char *text = format_string("%s%s%s", prefix, absolute, suffix);
    append_quoted(out, text);
    free(text);
    free(absolute);
    return 0;
}

static int append_disks(struct buffer *out, const struct domain *domain)
{
    buffer_append_string(out, "disk = [");
    for (size_t i = 0; i < domain->disk_count; i++) {
        char suffix[32];
        snprintf(suffix, sizeof(suffix), ",raw,xvd%c,w", (int)('a' + i));
        buffer_append_string(out, i ? ", " : "");
        if (append_path(out, "", domain->disks[i], suffix) < 0)
            return -1;
    }
    buffer_append_string(out, "]\n");
    return 0;
}

static int append_domain(struct buffer *out, const struct domain *domain, const char *image)
{
    append_setting(out, "name", domain->name);
    append_setting(out, "type", domain->type);
    buffer_append_string(out, "kernel = ");
    if (append_path(out, "", image, "") < 0)
        return -1;
    buffer_append_string(out, "\n");
    if (domain->line)
        append_setting(out, "cmdline", domain->line);
    buffer_append_format(out, "memory = %ld\nvcpus = %ld\n", domain->memory, domain->cpus);
    if (domain->disk_count && append_disks(out, domain) < 0)
        return -1;
    if (domain->bridge) {
        char *interface = format_string("bridge=%s", domain->bridge);
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

/* 0, or -1 after a message. */
static int set_option(struct domain *domain, const char **output, int option, const char *value)
{
    switch (option) {
    case XEN_OUTPUT:
        *output = value;
        return 0;
    case XEN_NAME:
        domain->name = value;
        return 0;
    case XEN_TYPE:
        domain->type = value;
        return strcmp(value, "pv") == 0 || strcmp(value, "pvh") == 0
                   ? 0
                   : fail("xen: --type %s: pv or pvh", value);
    case XEN_MEMORY:
        domain->memory = parse_number("-m", value, 8, 1l << 24);
        return domain->memory < 0 ? -1 : 0;
    case XEN_CPUS:
        domain->cpus = parse_number("--smp", value, 1, 64);
        return domain->cpus < 0 ? -1 : 0;
    case XEN_DISK:
        if (domain->disk_count == DISKS_MAX)
            return fail("xen: more than %d disks", DISKS_MAX);
        domain->disks[domain->disk_count++] = value;
        return 0;
    case XEN_BRIDGE:
        domain->bridge = value;
        return 0;
    default:
        domain->line = value;
        return 0;
    }
}

int command_xen(char **words)
{
    struct option_cursor cursor = {.table = &xen_options, .words = words};
    struct domain domain = {.type = "pv", .memory = 128, .cpus = 1};
    const char *output = NULL, *image = NULL;
    for (;;) {
        int option = option_next(&cursor);
        if (option == OPTION_HELP)
            return 0;
        if (option == OPTION_ERROR)
            return STATUS_USAGE;
        if (option == OPTION_END && !words[cursor.at])
            break;
        if (option == OPTION_END && !image) {
            image = words[cursor.at++];
        } else if (option == OPTION_END) {
            fail("xen: %s: give one image", words[cursor.at]);
            return STATUS_USAGE;
        } else if (set_option(&domain, &output, option, cursor.value) < 0) {
            return STATUS_USAGE;
        }
    }
    if (!image) {
        fail("xen: give an image: unigornel xen IMAGE.elf");
        return STATUS_USAGE;
    }
    const char *name = base_name(image), *dot = strrchr(name, '.');
    char *stem = format_string("%.*s", (int)(dot ? dot - name : (long)strlen(name)), name);
    char *path = output ? copy_string(output) : format_string("%s.cfg", stem);
    struct buffer text = {0};
    domain.name = domain.name ? domain.name : stem;
    int result = check_image(image);
    if (result == 0)
        result = append_domain(&text, &domain, image);
    if (result == 0)
        result = write_file(path, text.bytes, text.size, 0644);
    buffer_free(&text);
    free(stem);
    free(path);
    return result == 0 ? 0 : STATUS_FAILED;
}
