/* SPDX-License-Identifier: MIT */
/* Running the user's Go toolchain. A toolchain that Go has downloaded lies in the module cache,
 * where -overlay is refused; it is then used through a link in our build folder. */
#define _GNU_SOURCE
#include "tools/go.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static int run_go(const char *command, const char *directory, char *const *words,
                  struct buffer *output, struct buffer *errors)
{
    struct arguments all = {0};
    arguments_add(&all, command);
    for (size_t i = 0; words[i]; i++)
        arguments_add(&all, words[i]);
    struct command run = {
        .words = all.items, .directory = directory, .output = output, .errors = errors};
    int status = run_command(&run);
    arguments_free(&all);
    return status;
}

int go_query(const struct go_toolchain *go, char *const *words, struct buffer *output)
{
    struct buffer errors = {0};
    int status = run_go(go->command, go->directory, words, output, &errors);
    if (status != 0) {
        if (errors.size)
            errors.bytes[strcspn(errors.bytes, "\n")] = '\0';
        fail("go %s: %s", words[0],
             errors.size ? errors.bytes : "failed: check the Go installation");
    }
    buffer_free(&errors);
    return status == 0 ? 0 : -1;
}

int go_run(const struct go_toolchain *go, char *const *words)
{
    return run_go(go->command, go->directory, words, NULL, NULL);
}

int go_run_quietly(const struct go_toolchain *go, char *const *words)
{
    struct buffer output = {0}, errors = {0};
    int status = run_go(go->command, go->directory, words, &output, &errors);
    if (status != 0) {
        buffer_append(&output, errors.bytes, errors.size);
        /* One line is an error like ours; a compiler's list stays as it is. */
        size_t first = output.size ? strcspn(output.bytes, "\n") : 0;
        if (!first)
            fail("go %s failed: check the Go installation", words[0]);
        else if (first + 1 >= output.size)
            fail("go %s: %.*s", words[0], (int)first, output.bytes);
        else
            fputs(output.bytes, stderr);
    }
    buffer_free(&output);
    buffer_free(&errors);
    return status == 0 ? 0 : -1;
}

/* Makes or finds a link to the toolchain. It must have a lasting name, because Go writes GOROOT
 * into programs. */
static char *link_toolchain(const char *root, const char *version)
{
    char *folder = build_folder_path("goroot");
    if (access(folder, W_OK) < 0) {
        char *parent = build_folder_path(".");
        bool writable = access(parent, W_OK) == 0;
        free(parent);
        if (!writable) {
            free(folder);
            folder = temporary_directory();
        }
    }
    char *link = NULL;
    if (folder && make_directories(folder) == 0) {
        link = format_string("%s/%s", folder, version);
        char *temporary = format_string("%s.%d", link, (int)getpid());
        char *target = real_path(link), *wanted = real_path(root);
        bool good = target && wanted && strcmp(target, wanted) == 0;
        if (!good && (symlink(root, temporary) < 0 || rename(temporary, link) < 0)) {
            fail("%s: cannot make a link: %s", link, strerror(errno));
            free(link);
            link = NULL;
        }
        free(temporary);
        free(target);
        free(wanted);
    }
    free(folder);
    return link;
}

int go_find(struct go_toolchain *go, const char *directory)
{
    *go = (struct go_toolchain){.command = copy_string("go"),
                                .directory = directory ? copy_string(directory) : NULL};
    setenv("GOOS", "linux", 1);
    setenv("GOARCH", "amd64", 1);
    setenv("CGO_ENABLED", "0", 1);
    if (!command_exists("go"))
        return fail(
            "go is not in PATH: install Go (scripts/setup does), or add its bin folder to PATH");
    char *words[] = {"env", "GOVERSION", "GOROOT", "GOMODCACHE", NULL};
    struct buffer output = {0};
    if (go_query(go, words, &output) < 0) {
        buffer_free(&output);
        return -1;
    }
    char *state = NULL;
    const char *version = strtok_r(output.bytes, "\n", &state);
    const char *root = strtok_r(NULL, "\n", &state);
    const char *cache = strtok_r(NULL, "\n", &state);
    int result = version && root ? 0 : fail("go env: gives no GOROOT: check the Go installation");
    if (result == 0) {
        char *word_end = strchr(version, ' '); /* "go1.26.0 X:experiment" */
        go->version = word_end ? format_string("%.*s", (int)(word_end - version), version)
                               : copy_string(version);
        go->real_root = copy_string(root);
        go->root = cache && path_is_below(root, cache) ? link_toolchain(root, go->version)
                                                       : copy_string(root);
        if (!go->root)
            result = -1;
    }
    if (result == 0 && strcmp(go->root, go->real_root) != 0) {
        free(go->command);
        go->command = format_string("%s/bin/go", go->root);
        setenv("GOROOT", go->root, 1);
        setenv("GOTOOLCHAIN", "local", 1);
    }
    buffer_free(&output);
    return result;
}

void go_free(struct go_toolchain *go)
{
    free(go->version);
    free(go->root);
    free(go->real_root);
    free(go->command);
    free(go->directory);
    *go = (struct go_toolchain){0};
}
