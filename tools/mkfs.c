/* SPDX-License-Identifier: MIT */
/* `unigornel mkfs`, and the use of mkfs.erofs that other commands share. */
#include "tools/mkfs.h"

#include <stdlib.h>
#include <string.h>

#include "tools/commands.h"
#include "tools/tool.h"

const struct option_table mkfs_options = {
    .usage = "mkfs DIR FILE",
    .about = "Makes a file system image (EROFS) of a folder, for run --disk FILE, and for the "
             "kernel word root=.",
};

int make_file_system(const char *directory, const char *image, bool attributes)
{
    /* Without a UUID of its own the same files make the same image. */
    char *words[] = {"mkfs.erofs",
                     "--quiet",
                     "--preserve-mtime",
                     "-U00000000-0000-0000-0000-000000000000",
                     attributes ? "-x2" : "-x-1",
                     (char *)image,
                     (char *)directory,
                     NULL};
    struct buffer output = {0}, errors = {0};
    if (!is_directory(directory))
        return fail("%s: not a folder", directory);
    if (!command_exists(words[0]))
        return fail("mkfs.erofs is not in PATH: install Debian's erofs-utils (scripts/setup does)");
    int status =
        run_command(&(struct command){.words = words, .output = &output, .errors = &errors});
    if (status > 0) {
        if (errors.size)
            errors.bytes[strcspn(errors.bytes, "\n")] = '\0';
        fail("mkfs.erofs: %s", errors.size ? errors.bytes : "failed");
    }
    buffer_free(&output);
    buffer_free(&errors);
    return status == 0 ? 0 : -1;
}

int command_mkfs(char **words)
{
    struct option_cursor cursor = {.table = &mkfs_options, .words = words};
    int option = option_next(&cursor);
    if (option == OPTION_HELP)
        return 0;
    if (option == OPTION_ERROR)
        return STATUS_USAGE;
    char **operands = words + cursor.at;
    if (!operands[0] || !operands[1] || operands[2]) {
        fail("mkfs: give a folder and the file to write: unigornel mkfs DIR FILE");
        return STATUS_USAGE;
    }
    return make_file_system(operands[0], operands[1], true) == 0 ? 0 : STATUS_FAILED;
}
