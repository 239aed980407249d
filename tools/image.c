/* SPDX-License-Identifier: MIT */
/* `unigornel image`: an ISO or a disk with GRUB that boots the image, unchanged, by BIOS and by
 * UEFI. The disk is the same hybrid that grub-mkrescue makes: it has a boot sector for BIOS and an
 * EFI system partition. */
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tools/commands.h"
#include "tools/link.h"
#include "tools/run.h"

enum { IMAGE_FORMAT, IMAGE_OUTPUT, IMAGE_APPEND, IMAGE_VERBOSE, IMAGE_OPTIONS };

static const struct option_spec image_specs[IMAGE_OPTIONS] = {
    [IMAGE_FORMAT] = {"--format", "FORMAT", "iso, raw or qcow2", NULL},
    [IMAGE_OUTPUT] = {"-o", "FILE", "the file to write (default: IMAGE.iso, .raw or .qcow2 here)",
                      NULL},
    [IMAGE_APPEND] = {"--append", "LINE", "the guest's command line: kernel words -- arguments",
                      NULL},
    [IMAGE_VERBOSE] = {"-v", NULL, "say what is done", NULL},
};

const struct option_table image_options = {
    .usage = "image --format iso|raw|qcow2 [-o FILE] [--append LINE] IMAGE.elf",
    .about = "Makes an ISO or a disk that boots the image by BIOS and by UEFI.",
    .specs = image_specs,
    .count = IMAGE_OPTIONS,
};

/* Those of partition tables are not needed, but GRUB complains on the console about each that its
 * own script names in vain. */
#define GRUB_MODULES                                                                               \
    "--install-modules=multiboot2 normal iso9660 boot part_acorn part_amiga part_apple part_bsd "  \
    "part_dfly part_dvh "                                                                          \
    "part_gpt part_msdos part_plan part_sun part_sunpc"

/* What has to be there, and the Debian package that brings it. */
static const struct requirement {
    const char *path; /* a command, or a folder when it begins with a slash */
    const char *package;
    const char *format; /* NULL: for every format */
} requirements[] = {
    {"grub-mkrescue", "grub-common", NULL},
    {"/usr/lib/grub/i386-pc", "grub-pc-bin", NULL},
    {"/usr/lib/grub/x86_64-efi", "grub-efi-amd64-bin", NULL},
    {"xorriso", "xorriso", NULL},
    {"mformat", "mtools", NULL},
    {"qemu-img", "qemu-utils", "qcow2"},
};

static int check_requirements(const char *format)
{
    for (size_t i = 0; i < sizeof(requirements) / sizeof(*requirements); i++) {
        const struct requirement *need = &requirements[i];
        if (need->format && strcmp(need->format, format) != 0)
            continue;
        if (*need->path == '/' ? !is_directory(need->path) : !command_exists(need->path))
            return fail("image: %s is missing: install Debian's %s", need->path, need->package);
    }
    return 0;
}

/* A word for GRUB's script language: everything in single quotes is literal. */
static void append_grub_word(struct buffer *script, const char *word)
{
    buffer_append_string(script, " '");
    for (; *word; word++)
        *word == '\'' ? buffer_append_string(script, "'\"'\"'") : buffer_append(script, word, 1);
    buffer_append_string(script, "'");
}

static int write_grub_script(const char *path, const char *line)
{
    struct arguments kernel_words = {0}, program_words = {0};
    struct buffer script = {0};
    int result = line ? parse_guest_line(line, &kernel_words, &program_words) : 0;
    buffer_append_string(&script, "set timeout=0\nmultiboot2 /boot/image.elf");
    for (size_t i = 0; i < kernel_words.count; i++)
        append_grub_word(&script, kernel_words.items[i]);
    if (program_words.count)
        append_grub_word(&script, "--");
    for (size_t i = 0; i < program_words.count; i++)
        append_grub_word(&script, program_words.items[i]);
    buffer_append_string(&script, "\nboot\n");
    if (result == 0)
        result = write_file(path, script.bytes, script.size, 0644);
    buffer_free(&script);
    arguments_free(&kernel_words);
    arguments_free(&program_words);
    return result;
}

static int run_quietly(char **words)
{
    struct buffer output = {0}, errors = {0};
    int status =
        run_command(&(struct command){.words = words, .output = &output, .errors = &errors});
    if (status > 0) {
        /* The reason is in the last line that is not empty. */
        while (errors.size && strchr("\n ", errors.bytes[errors.size - 1]))
            errors.bytes[--errors.size] = '\0';
        const char *line = errors.size ? strrchr(errors.bytes, '\n') : NULL;
        fail("%s failed: %s", words[0],
             line          ? line + 1
             : errors.size ? errors.bytes
                           : "no message");
    }
    buffer_free(&output);
    buffer_free(&errors);
    return status == 0 ? 0 : -1;
}

/* The ISO in `folder`, from the image and GRUB's few modules that boot it. */
static int make_iso(const char *folder, const char *image, const char *line, const char *iso)
{
    char *tree = format_string("%s/tree", folder), *boot = format_string("%s/boot/grub", tree);
    char *target = format_string("%s/boot/image.elf", tree),
         *script = format_string("%s/grub.cfg", boot);
    struct buffer bytes = {0};
    int result = make_directories(boot);
    if (result == 0)
        result = read_file(image, &bytes) < 0 ? fail("%s: cannot read", image)
                                              : write_file(target, bytes.bytes, bytes.size, 0644);
    if (result == 0)
        result = write_grub_script(script, line);
    char *words[] = {"grub-mkrescue", "-o",         (char *)iso, "--locales=", "--fonts=",
                     "--themes=",     GRUB_MODULES, tree,        NULL};
    if (result == 0)
        result = run_quietly(words);
    buffer_free(&bytes);
    free(tree);
    free(boot);
    free(target);
    free(script);
    return result;
}

static int convert(const char *format, const char *iso, const char *output)
{
    /* Disks come in whole mebibytes. */
    struct stat status;
    if (stat(iso, &status) < 0 || truncate(iso, (status.st_size + 0xfffff) & ~0xfffffl) < 0)
        return fail("%s: cannot be made larger", iso);
    if (strcmp(format, "qcow2") == 0) {
        char *words[] = {"qemu-img", "convert",   "-f",           "raw", "-O",
                         "qcow2",    (char *)iso, (char *)output, NULL};
        return run_quietly(words);
    }
    struct buffer bytes = {0};
    int result = read_file(iso, &bytes) < 0 ? fail("%s: cannot read", iso)
                                            : write_file(output, bytes.bytes, bytes.size, 0644);
    buffer_free(&bytes);
    return result;
}

static int make_image(const char *format, const char *image, const char *line, const char *output)
{
    char *folder = temporary_directory();
    if (!folder)
        return -1;
    char *iso =
        strcmp(format, "iso") == 0 ? copy_string(output) : format_string("%s/image.iso", folder);
    int result = make_iso(folder, image, line, iso);
    if (result == 0 && strcmp(format, "iso") != 0)
        result = convert(format, iso, output);
    free(iso);
    free(folder);
    return result;
}

int command_image(char **words)
{
    struct option_cursor cursor = {.table = &image_options, .words = words};
    const char *format = NULL, *output = NULL, *line = NULL, *operand = NULL;
    for (;;) {
        int option = option_next(&cursor);
        if (option == OPTION_HELP)
            return 0;
        if (option == OPTION_ERROR)
            return STATUS_USAGE;
        if (option == OPTION_END) {
            if (!words[cursor.at])
                break;
            if (operand) {
                fail("image: %s: give one image", words[cursor.at]);
                return STATUS_USAGE;
            }
            operand = words[cursor.at++];
        } else if (option == IMAGE_FORMAT) {
            format = cursor.value;
        } else if (option == IMAGE_OUTPUT) {
            output = cursor.value;
        } else if (option == IMAGE_APPEND) {
            line = cursor.value;
        } else {
            verbose_enabled = true;
        }
    }
    if (!format || (strcmp(format, "iso") != 0 && strcmp(format, "raw") != 0 &&
                    strcmp(format, "qcow2") != 0)) {
        fail("image: give --format iso, raw or qcow2");
        return STATUS_USAGE;
    }
    if (!operand) {
        fail("image: give an image: unigornel image --format %s IMAGE.elf", format);
        return STATUS_USAGE;
    }
    const char *name = base_name(operand), *dot = strrchr(name, '.');
    char *path = output ? copy_string(output)
                        : format_string("%.*s.%s", (int)(dot ? dot - name : (long)strlen(name)),
                                        name, format);
    int result = check_image(operand) < 0 || check_requirements(format) < 0
                     ? -1
                     : make_image(format, operand, line, path);
    free(path);
    return result == 0 ? 0 : STATUS_FAILED;
}
