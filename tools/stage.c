/* SPDX-License-Identifier: MIT */
/* Copies files into a staging folder with the same absolute paths, since mkfs.erofs takes one
 * folder as it is. */
#define _GNU_SOURCE
#include "tools/stage.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tools/tool.h"

#define DEPTH_LIMIT 64

static bool is_skipped(const char *name)
{
    return strcmp(name, ".") == 0 || strcmp(name, "..") == 0 || strcmp(name, ".git") == 0;
}

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

static int copy_folder(const char *from, const char *to, unsigned depth)
{
    int result = make_directories(to);
    DIR *directory = opendir(from);
    struct dirent *entry;
    while (directory && result == 0 && (entry = readdir(directory))) {
        if (is_skipped(entry->d_name))
            continue;
        char *source = format_string("%s/%s", from, entry->d_name),
             *target = format_string("%s/%s", to, entry->d_name);
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
        int result = copy_folder(from, to, depth);
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

int stage_copy(const char *path, const char *stage)
{
    char *target = format_string("%s%s", stage, path), *parent = copy_string(target);
    *strrchr(parent, '/') = '\0';
    int result = make_directories(parent) < 0 ? -1 : copy_entry(path, target, 0);
    free(target);
    free(parent);
    return result;
}
