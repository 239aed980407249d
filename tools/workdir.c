/* SPDX-License-Identifier: MIT */
/* Collects the files for `unigornel exec`: copies them into a staging folder with the same absolute
 * paths, since mkfs.erofs takes one folder as it is. */
#define _GNU_SOURCE
#include "tools/workdir.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tools/mkfs.h"
#include "tools/tool.h"

#define LIMIT (64l << 20)
#define DEPTH_LIMIT 64

/* --- sizes
 * -------------------------------------------------------------------------------------------------------------
 */

static bool is_skipped(const char *name)
{
    return strcmp(name, ".") == 0 || strcmp(name, "..") == 0 || strcmp(name, ".git") == 0;
}

/* Bytes of the regular files in a folder, and below it with `deep`; stops counting past LIMIT. */
static off_t folder_size(const char *path, bool deep, unsigned depth)
{
    off_t total = 0;
    DIR *directory = opendir(path);
    struct dirent *entry;
    while (directory && total <= LIMIT && (entry = readdir(directory))) {
        struct stat status;
        if (is_skipped(entry->d_name) ||
            fstatat(dirfd(directory), entry->d_name, &status, AT_SYMLINK_NOFOLLOW) < 0)
            continue;
        /* An empty file costs as well; a million of them is no working folder to copy. */
        total += 64;
        if (S_ISREG(status.st_mode)) {
            total += status.st_size;
        } else if (S_ISDIR(status.st_mode) && deep && depth < DEPTH_LIMIT) {
            char *below = format_string("%s/%s", path, entry->d_name);
            total += folder_size(below, true, depth + 1);
            free(below);
        }
    }
    if (directory)
        closedir(directory);
    return total;
}

/* --- copies
 * -------------------------------------------------------------------------------------------------------------
 */

static void copy_times(int fd, const char *path, const struct stat *status)
{
    struct timespec times[2] = {status->st_atim, status->st_mtim};
    if (fd >= 0)
        futimens(fd, times);
    else
        utimensat(AT_FDCWD, path, times, AT_SYMLINK_NOFOLLOW);
}

static int copy_file(const char *from, const char *to, const struct stat *status)
{
    int in = open(from, O_RDONLY | O_CLOEXEC);
    if (in < 0) {
        verbose("%s: left out: %s", from, strerror(errno));
        return 0;
    }
    int out = open(to, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    ssize_t moved = out < 0 ? -1 : 1;
    while (moved > 0)
        moved = copy_file_range(in, NULL, out, NULL, 1 << 30, 0);
    if (moved < 0 && out >= 0 &&
        (errno == EXDEV || errno == EINVAL || errno == ENOSYS || errno == EOPNOTSUPP)) {
        char bytes[65536];
        while ((moved = read(in, bytes, sizeof(bytes))) > 0) {
            if (write(out, bytes, (size_t)moved) != moved) {
                moved = -1;
                break;
            }
        }
    }
    int result = moved < 0 ? fail("%s: cannot copy to %s: %s", from, to, strerror(errno)) : 0;
    if (out >= 0) {
        fchmod(out, status->st_mode & 07777);
        copy_times(out, to, status);
        close(out);
    }
    close(in);
    return result;
}

static int copy_entry(const char *from, const char *to, unsigned depth);

/* `deep`: with the folders below; otherwise only testdata of them. */
static int copy_folder(const char *from, const char *to, bool deep, unsigned depth)
{
    int result = make_directories(to);
    DIR *directory = opendir(from);
    struct dirent *entry;
    while (directory && result == 0 && (entry = readdir(directory))) {
        if (is_skipped(entry->d_name))
            continue;
        char *source = format_string("%s/%s", from, entry->d_name),
             *target = format_string("%s/%s", to, entry->d_name);
        struct stat status;
        bool folder = lstat(source, &status) == 0 && S_ISDIR(status.st_mode);
        if (deep || !folder || strcmp(entry->d_name, "testdata") == 0)
            result = copy_entry(source, target, depth + 1);
        free(source);
        free(target);
    }
    if (directory)
        closedir(directory);
    return result;
}

static int copy_entry(const char *from, const char *to, unsigned depth)
{
    struct stat status;
    char link[4096];
    if (depth > DEPTH_LIMIT || lstat(from, &status) < 0)
        return 0;
    if (S_ISDIR(status.st_mode)) {
        int result = copy_folder(from, to, true, depth);
        chmod(to, status.st_mode & 07777);
        copy_times(-1, to, &status);
        return result;
    }
    if (S_ISLNK(status.st_mode)) {
        ssize_t length = readlink(from, link, sizeof(link) - 1);
        if (length < 0)
            return 0;
        link[length] = '\0';
        if (symlink(link, to) < 0 && errno != EEXIST)
            return fail("%s: cannot copy to %s: %s", from, to, strerror(errno));
        return 0;
    }
    return S_ISREG(status.st_mode) ? copy_file(from, to, &status) : 0;
}

int workdir_copy(const char *path, const char *stage)
{
    char *target = format_string("%s%s", stage, path), *parent = copy_string(target);
    *strrchr(parent, '/') = '\0';
    int result = make_directories(parent) < 0 ? -1 : copy_entry(path, target, 0);
    free(target);
    free(parent);
    return result;
}

/* --- what is collected
 * ------------------------------------------------------------------------------------------------------
 */

static int collect_parents(const char *directory, const char *stage)
{
    char *path = copy_string(directory);
    bool root = false;
    int result = 0;
    /* `root` also says that the current folder itself is the module's: nothing above it is wanted
     * then. */
    char *file = format_string("%s/go.mod", path);
    root = is_file(file);
    free(file);
    struct arguments found = {0};
    while (!root && strrchr(path, '/') && *path) {
        *strrchr(path, '/') = '\0';
        char *mod = format_string("%s/go.mod", path), *data = format_string("%s/testdata", path);
        root = is_file(mod);
        if (is_directory(data))
            arguments_add(&found, data);
        free(mod);
        free(data);
    }
    /* Without a module there is no telling whose the folders above are. */
    for (size_t i = 0; root && i < found.count && result == 0; i++) {
        if (folder_size(found.items[i], true, 0) <= LIMIT)
            result = workdir_copy(found.items[i], stage);
    }
    arguments_free(&found);
    free(path);
    return result;
}

/* Go's time zones below one folder that may be a GOROOT. Returns 1 when they are there, or -1 after
 * a message. */
static int collect_zones(const char *goroot, const char *stage)
{
    char *source = format_string("%s/lib/time/zoneinfo.zip", goroot);
    char *folder = format_string("%s%s/lib/time", stage, goroot),
         *target = format_string("%s/zoneinfo.zip", folder);
    struct stat status;
    int result = 0;
    if (*goroot == '/' && stat(source, &status) == 0 && S_ISREG(status.st_mode))
        result = make_directories(folder) < 0 || copy_file(source, target, &status) < 0 ? -1 : 1;
    free(source);
    free(folder);
    free(target);
    return result;
}

/* GOROOT is named by the environment, or is above the current folder, or above the `go` in PATH. */
static int collect_time_zones(const char *directory, const char *stage)
{
    const char *root = getenv("GOROOT"), *path = getenv("PATH");
    int result = root ? collect_zones(root, stage) : 0;
    char *above = copy_string(directory);
    while (result == 0 && *above) {
        result = collect_zones(above, stage);
        *strrchr(above, '/') = '\0';
    }
    free(above);
    char *folders = copy_string(path ? path : ""), *state = NULL;
    for (char *folder = strtok_r(folders, ":", &state); folder && result == 0;
         folder = strtok_r(NULL, ":", &state)) {
        char *command = format_string("%s/go", folder), *real = real_path(command);
        for (int level = 0; real && level < 2 && strrchr(real, '/'); level++)
            *strrchr(real, '/') = '\0';
        if (real)
            result = collect_zones(real, stage);
        free(command);
        free(real);
    }
    free(folders);
    return result < 0 ? -1 : 0;
}

static int collect(const char *directory, const char *stage)
{
    char *target = format_string("%s%s", stage, directory);
    int result = make_directories(target);
    if (result == 0 && directory[1]) {
        bool deep = folder_size(directory, true, 0) <= LIMIT;
        if (!deep)
            verbose("%s: more than 64 MiB: only its own files and testdata are passed on",
                    directory);
        if (deep || folder_size(directory, false, 0) <= LIMIT)
            result = copy_folder(directory, target, deep, 0);
    }
    free(target);
    if (result == 0)
        result = collect_parents(directory, stage);
    return result == 0 ? collect_time_zones(directory, stage) : result;
}

char *workdir_image(const char *directory)
{
    char *folder = temporary_directory();
    if (!folder)
        return NULL;
    char *stage = format_string("%s/stage", folder),
         *image = format_string("%s/files.erofs", folder);
    bool made = make_directories(stage) == 0 && collect(directory, stage) == 0 &&
                make_file_system(stage, image, false) == 0;
    remove_tree(stage);
    free(stage);
    free(folder);
    if (made)
        return image;
    free(image);
    return NULL;
}
