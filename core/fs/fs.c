/* SPDX-License-Identifier: MIT */
/* Setting the file systems up: which root, what is mounted where. Owns the host's name. */
#include "core/fs/fs.h"

#include <linux/magic.h>

#include "core/block/block.h"
#include "core/fs/erofs.h"
#include "core/fs/fs_internal.h"
#include "core/fs/inode.h"
#include "core/fs/ninep.h"
#include "core/mm/page.h"
#include "goruntime/image_info.h"

extern const struct image_info image_info;

static char host_name[65] = "unigornel";

const char *fs_host_name(void)
{
    return host_name;
}

void fs_set_host_name(const char *name, size_t length)
{
    length = MIN(length, sizeof(host_name) - 1);
    memcpy(host_name, name, length);
    memset(host_name + length, 0, sizeof(host_name) - length);
}

/* Whether `word` can only mean a disk or a folder of the host, of which the kernel for programs
 * that open no files has none: who starts the machine need not know the program. */
static bool is_left_out(const char *word)
{
    if (ninep_find != NULL || strcmp(word, "initrd") == 0) {
        return false;
    }
    log_info("%s: not mounted: the program was found to open no files", word);
    return true;
}

/* Finds the read-only image that `word` means: 0, or 1 when there is none. */
static int find_image(const char *word, struct erofs *image)
{
    const struct boot_info *info = hal_boot_info();
    struct block_device *device;
    if (word == NULL) {
        image->image = direct_map(hal_image_physical(image_info.file_system));
        image->size = image_info.file_system_size;
        return image->size == 0;
    }
    if (strcmp(word, "none") == 0) {
        return 1;
    }
    if (strcmp(word, "initrd") == 0) {
        if (info->module_count == 0) {
            log_error("root=initrd: the boot loader gave no module");
            return -ENOENT;
        }
        image->image = direct_map(info->modules[0].base);
        image->size = info->modules[0].size;
        return 0;
    }
    if (is_left_out(word)) {
        return 1;
    }
    device = block_find(word);
    if (device == NULL) {
        log_error("%s: no such disk", word);
        return -ENOENT;
    }
    image->device = device;
    image->size = block_size(device);
    return 0;
}

/* A file system over the image that `word` means, or over nothing. */
static int create_over(const char *word, bool writable, struct filesystem **out)
{
    struct erofs *image = kzalloc(sizeof(*image));
    const char *reason;
    int result = image == NULL ? -ENOMEM : find_image(word, image);
    if (result == 0) {
        result = erofs_open(image, &reason);
        if (result != 0) {
            log_error("%s: %s", word != NULL ? word : "files of the image", reason);
        }
    } else if (result > 0) {
        kfree(image);
        image = NULL;
        result = 0;
    }
    if (result == 0) {
        result = tmpfs_create(out, image, page_total() / 2);
    }
    if (result != 0) {
        kfree(image);
        return result;
    }
    if (!writable) {
        (*out)->read_only = true;
        (*out)->type = "erofs";
        (*out)->options = "ro";
        (*out)->magic = EROFS_SUPER_MAGIC_V1;
    }
    if (image != NULL && image->device != NULL) {
        (*out)->source = image->device->hardware->name;
    }
    return 0;
}

/* Makes a directory of a fresh system that is not there yet. */
static int need_directory(const char *path, uint32_t mode)
{
    struct walk walk;
    struct dentry *dentry;
    int result = walk_path(root_dentry, path, WALK_PARENT | WALK_FOLLOW, &walk);
    if (result != 0) {
        return result == -ENOENT || result == -ENOTDIR ? 0 : result;
    }
    if (walk.dentry == NULL) {
        struct inode_request request = {
            .mode = S_IFDIR | mode, .name = walk.name, .length = walk.length};
        struct mutex *change_lock = &walk.parent->inode->filesystem->change_lock;
        mutex_lock(change_lock);
        result = dentry_create(walk.parent, &request, &dentry);
        mutex_unlock(change_lock);
        if (result == 0) {
            dentry_put(dentry);
        }
    }
    walk_end(&walk);
    return result;
}

int fs_init(const char *root_word)
{
    static const struct {
        const char *path;
        uint32_t mode;
    } directories[] = {
        {"/dev", 0755},      {"/proc", 0555}, {"/sys", 0555},     {"/tmp", 01777},
        {"/etc", 0755},      {"/root", 0700}, {"/run", 0755},     {"/var", 0755},
        {"/var/tmp", 01777}, {"/home", 0755}, {"/var/log", 0755},
    };
    struct filesystem *root;
    int result = create_over(root_word, true, &root);
    if (result == 0) {
        result = filesystem_mount(root, "/");
    }
    for (size_t i = 0; i < sizeof(directories) / sizeof(directories[0]) && result == 0; i++) {
        result = need_directory(directories[i].path, directories[i].mode);
    }
    if (result == 0) {
        result = devfs_mount();
    }
    return result != 0 ? result : procfs_mount();
}

/* What a mount word names: a folder of the host or a disk; NULL for what is left out. */
static int find_mounted(const char *name, bool writable, struct filesystem **out)
{
    struct ninep_channel *channel = ninep_find != NULL ? ninep_find(name) : NULL;
    if (channel != NULL) {
        return ninep_create(out, channel, writable);
    }
    if (is_left_out(name)) {
        *out = NULL;
        return 0;
    }
    return create_over(name, writable, out);
}

int fs_mount(const char *word)
{
    char name[32];
    struct filesystem *filesystem;
    const char *path = strchr(word, ':');
    size_t length = path != NULL ? (size_t)(path - word) : 0;
    if (length == 0 || length >= sizeof(name) || path[1] != '/') {
        return -EINVAL;
    }
    memcpy(name, word, length);
    name[length] = '\0';
    path++;
    const char *end = strchr(path, ':');
    bool writable = end != NULL && strcmp(end, ":rw") == 0;
    length = end != NULL ? (size_t)(end - path) : strlen(path);
    if (length >= PATH_MAX || (end != NULL && !writable && strcmp(end, ":ro") != 0)) {
        return -EINVAL;
    }
    char *directory = kzalloc(length + 1);
    int result = directory == NULL ? -ENOMEM : find_mounted(name, writable, &filesystem);
    for (size_t i = 0; i < length && result == 0; i++) {
        if (i != 0 && path[i] == '/') {
            result = need_directory(directory, 0755);
        }
        directory[i] = path[i];
    }
    if (result == 0) {
        result = need_directory(directory, 0755);
    }
    if (result == 0 && filesystem != NULL) {
        result = filesystem_mount(filesystem, directory);
    }
    kfree(directory);
    return result;
}
