/* SPDX-License-Identifier: MIT */
/* `unigornel build`: go build under the overlay, then the image linker. */
#define _GNU_SOURCE
#include "tools/build.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tools/commands.h"

enum {
    BUILD_OUTPUT,
    BUILD_FROM,
    BUILD_FS,
    BUILD_NETWORK,
    BUILD_VERBOSE,
    BUILD_OVERLAY,
    BUILD_OPTIONS
};

static const struct option_spec build_specs[BUILD_OPTIONS] = {
    [BUILD_OUTPUT] = {"-o", "FILE", "the image to write (default: PACKAGE.elf here)", NULL},
    [BUILD_FROM] = {"--from", "BINARY", "link this prebuilt static Go program", NULL},
    [BUILD_FS] = {"--fs", "DIR", "put a folder's files into the image, as its root file system",
                  NULL},
    [BUILD_NETWORK] = {"--network", "WHEN",
                       "a kernel with the network: auto (default: where the program has sockets), "
                       "always or never",
                       NULL},
    [BUILD_VERBOSE] = {"--verbose", NULL, "say what is done", NULL},
    [BUILD_OVERLAY] = {"-overlay", "FILE", "refused: the command needs it for itself", NULL},
};

const struct option_table build_options = {
    .usage = "build [-o app.elf] [--from BINARY] [--fs DIR] [GO BUILD FLAGS] [PACKAGE]",
    .about = "Builds a Go program with the Go toolchain in PATH and links it with the kernel into "
             "one bootable image.\n"
             "Every other flag is given to go build.",
    .specs = build_specs,
    .count = BUILD_OPTIONS,
};

/* --- which module
 * ---------------------------------------------------------------------------------------------------
 */

static char *module_root(const char *folder)
{
    char *path = real_path(folder);
    while (path && *path) {
        char *file = format_string("%s/go.mod", path);
        bool found = is_file(file);
        free(file);
        if (found)
            return path;
        *strrchr(path, '/') = '\0';
    }
    free(path);
    return NULL;
}

char *package_directory(const char *package)
{
    if (!package || !is_directory(package))
        return NULL;
    char *here = module_root("."), *there = module_root(package), *directory = NULL;
    if (there && (!here || strcmp(here, there) != 0))
        directory = real_path(package);
    free(here);
    free(there);
    return directory;
}

/* --- go build
 * -----------------------------------------------------------------------------------------------------------
 */

/* The one program that go build has left in a folder; NULL after a message. */
static char *only_file(const char *folder)
{
    char *name = NULL;
    DIR *directory = opendir(folder);
    struct dirent *entry;
    while (directory && (entry = readdir(directory))) {
        if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0)
            continue;
        if (name) {
            fail("the packages make more than one program: give one of them");
            free(name);
            closedir(directory);
            return NULL;
        }
        name = copy_string(entry->d_name);
    }
    if (directory)
        closedir(directory);
    if (!name)
        fail("the package makes no program: give a package main");
    return name;
}

/* go takes a folder of this module only with "./" in front. */
static void add_package(struct arguments *words, const char *package, bool elsewhere)
{
    if (elsewhere)
        arguments_add(words, ".");
    else if (is_directory(package) && *package != '/' && *package != '.')
        arguments_addf(words, "./%s", package);
    else
        arguments_add(words, package);
}

static int go_build(const struct go_toolchain *go, const struct overlay *overlay,
                    char *const *flags, const char *package, const char *folder)
{
    struct arguments words = {0};
    arguments_add(&words, "build");
    arguments_addf(&words, "-overlay=%s", overlay->path);
    arguments_addf(&words, "-o=%s/", folder);
    for (size_t i = 0; flags && flags[i]; i++)
        arguments_add(&words, flags[i]);
    if (package)
        add_package(&words, package, go->directory != NULL);
    int result = go_run_quietly(go, words.items);
    arguments_free(&words);
    return result;
}

int build_package(char *const *flags, const char *package, const struct link_options *options,
                  const char *output)
{
    struct go_toolchain go = {0};
    struct overlay overlay = {0};
    char *program_folder = temporary_directory(), *overlay_folder = temporary_directory();
    char *elsewhere = package_directory(package), *name = NULL;
    int result = program_folder && overlay_folder ? 0 : -1;
    if (result == 0)
        result = go_find(&go, elsewhere);
    if (result == 0)
        result = overlay_create(&overlay, &go, overlay_folder);
    if (result == 0) {
        verbose("%s builds %s", go.version, package ? package : ".");
        result = go_build(&go, &overlay, flags, package, program_folder);
    }
    if (result == 0) {
        name = only_file(program_folder);
        result = name ? 0 : -1;
    }
    if (result == 0) {
        char *binary = format_string("%s/%s", program_folder, name);
        char *image = output ? copy_string(output) : format_string("%s.elf", name);
        result = link_files(binary, name, &overlay, options, image);
        free(binary);
        free(image);
    }
    free(name);
    free(elsewhere);
    free(program_folder);
    free(overlay_folder);
    overlay_free(&overlay);
    go_free(&go);
    return result;
}

/* Go's flags may have a value as a word of its own (-tags x), so only the last word can be told to
 * be the package. */
static const char *take_package(struct arguments *flags)
{
    const char *last = flags->count ? flags->items[flags->count - 1] : NULL;
    if (!last || last[0] == '-')
        return NULL;
    flags->items[--flags->count] = NULL;
    return last;
}

static int parse_network(const char *word, enum network_choice *choice)
{
    static const char *const names[] = {
        [NETWORK_AUTO] = "auto", [NETWORK_ALWAYS] = "always", [NETWORK_NEVER] = "never"};
    for (size_t i = 0; i < sizeof(names) / sizeof(*names); i++) {
        if (strcmp(word, names[i]) == 0) {
            *choice = (enum network_choice)i;
            return 0;
        }
    }
    return fail("--network %s: give auto, always or never", word);
}

int command_build(char **words)
{
    struct option_cursor cursor = {.table = &build_options, .words = words, .pass_unknown = true};
    struct link_options options = {0};
    struct arguments flags = {0};
    const char *output = NULL, *from = NULL;
    for (;;) {
        int option = option_next(&cursor);
        if (option == OPTION_HELP)
            return 0;
        if (option == OPTION_ERROR)
            return STATUS_USAGE;
        if (option == OPTION_END && !words[cursor.at])
            break;
        if (option == BUILD_OUTPUT)
            output = cursor.value;
        else if (option == BUILD_FROM)
            from = cursor.value;
        else if (option == BUILD_FS)
            options.files = cursor.value;
        else if (option == BUILD_VERBOSE)
            verbose_enabled = true;
        else if (option == BUILD_OVERLAY)
            return fail("-overlay: unigornel needs this flag for itself: leave it out"),
                   STATUS_USAGE;
        else if (option == BUILD_NETWORK) {
            if (parse_network(cursor.value, &options.network) < 0)
                return STATUS_USAGE;
        } else
            arguments_add(&flags, option == OPTION_END ? words[cursor.at++] : cursor.value);
    }
    int result;
    if (options.files && !is_directory(options.files)) {
        fail("--fs %s: not a folder", options.files);
        return STATUS_USAGE;
    }
    if (from && flags.count) {
        fail("--from takes a finished program: leave out %s", flags.items[0]);
        return STATUS_USAGE;
    }
    if (from) {
        char *image = output ? copy_string(output) : format_string("%s.elf", base_name(from));
        result = link_files(from, base_name(from), NULL, &options, image);
        free(image);
    } else {
        const char *package = take_package(&flags);
        result = build_package(flags.items, package, &options, output);
    }
    arguments_free(&flags);
    return result == 0 ? 0 : STATUS_FAILED;
}
