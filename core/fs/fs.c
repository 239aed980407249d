/* SPDX-License-Identifier: MIT */
/* Setting the file systems up: which root, what is mounted where. Owns the host's name. */
#include "core/fs/fs.h"

#include "core/fs/erofs.h"
#include "core/fs/fs_internal.h"
#include "core/fs/inode.h"
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

/* Where the read-only image is, in the direct map: 0, or 1 when there is none. */
static int find_image(const char *word, const void **image, uint64_t *size)
{
    const struct boot_info *info = hal_boot_info();
    if (word != NULL && strcmp(word, "initrd") == 0) {
        if (info->module_count == 0) {
            log_error("root=initrd: the boot loader gave no module");
            return -ENOENT;
        }
        *image = direct_map(info->modules[0].base);
        *size = info->modules[0].size;
        return 0;
    }
    if (word != NULL && strcmp(word, "none") != 0) {
        log_error("root=%s: only initrd and none are known", word);
        return -EINVAL;
    }
    if (word != NULL || image_info.file_system_size == 0) {
        return 1;
    }
    *image = direct_map(hal_image_physical(image_info.file_system));
    *size = image_info.file_system_size;
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
    static struct erofs image_fs;
    struct erofs *lower = NULL;
    const void *image;
    const char *reason;
    uint64_t size;
    struct filesystem *root;
    int result = find_image(root_word, &image, &size);
    if (result == 0) {
        result = erofs_open(&image_fs, image, size, &reason);
        if (result != 0) {
            log_error("root file system: %s", reason);
        }
        lower = &image_fs;
    }
    if (result < 0) {
        return result;
    }
    result = tmpfs_create(&root, lower, page_total() / 2);
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
