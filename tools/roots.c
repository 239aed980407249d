/* SPDX-License-Identifier: MIT */
/* CA certificates for the guest. The places are those of crypto/x509 (root_linux.go). */
#define _GNU_SOURCE
#include "tools/roots.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "tools/tool.h"

static const char *const bundles[] = {
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/pki/tls/cacert.pem",
    "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem",
    "/etc/ssl/cert.pem",
    NULL,
};

static const char *const folders[] = {"/etc/ssl/certs", "/etc/pki/tls/certs", NULL};

static bool has_entries(const char *path)
{
    unsigned count = 0;
    DIR *directory = opendir(path);
    while (directory && count <= 2 && readdir(directory)) /* "." and ".." are two */
        count++;
    if (directory)
        closedir(directory);
    return count > 2;
}

bool roots_present(const char *folder)
{
    bool found = false;
    for (const char *const *place = bundles; *place && !found; place++) {
        char *path = format_string("%s%s", folder, *place);
        found = is_file(path);
        free(path);
    }
    for (const char *const *place = folders; *place && !found; place++) {
        char *path = format_string("%s%s", folder, *place);
        found = has_entries(path);
        free(path);
    }
    return found;
}

/* The build machine's bundle, or NULL. */
static const char *find_bundle(void)
{
    const char *given = getenv("SSL_CERT_FILE");
    if (given && *given)
        return is_file(given) ? given : NULL;
    const char *const *place = bundles;
    while (*place && !is_file(*place))
        place++;
    return *place;
}

int roots_add(const char *folder)
{
    const char *bundle = find_bundle();
    struct stat status;
    if (!bundle || stat(bundle, &status) < 0) {
        verbose("this machine has no CA certificates: none are in the image");
        return 0;
    }
    struct buffer contents = {0};
    char *path = format_string("%s%s", folder, bundles[0]);
    char *slash = strrchr(path, '/');
    *slash = '\0';
    int result = make_directories(path);
    *slash = '/';
    if (result == 0 && read_file(bundle, &contents) < 0)
        result = fail("%s: cannot read", bundle);
    if (result == 0)
        result = write_file(path, contents.bytes, contents.size, 0644);
    verbose("CA certificates: %s", bundle);
    /* The same bundle makes the same image. */
    struct timespec times[2] = {status.st_mtim, status.st_mtim};
    for (size_t end = strlen(folder); result == 0 && strlen(path) > end; *strrchr(path, '/') = '\0')
        utimensat(AT_FDCWD, path, times, 0);
    buffer_free(&contents);
    free(path);
    return result;
}

char *roots_stage(const char *files)
{
    char *stage = temporary_directory();
    int result = stage ? 0 : -1;
    if (result == 0 && files) {
        char *from = format_string("%s/.", files);
        char *words[] = {"cp", "-a", "--reflink=auto", from, stage, NULL};
        result = run_command(&(struct command){.words = words}) == 0 ? 0 : -1;
        free(from);
    } else if (result == 0) {
        chmod(stage, 0755);
    }
    struct stat status;
    if (result == 0 && stat(stage, &status) == 0) {
        struct timespec times[2] = {{0}, files ? status.st_mtim : (struct timespec){0}};
        result = roots_add(stage);
        utimensat(AT_FDCWD, stage, times, 0);
    }
    if (result == 0)
        return stage;
    free(stage);
    return NULL;
}
