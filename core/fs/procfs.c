/* SPDX-License-Identifier: MIT */
/* /proc and /sys: static trees of nodes (proc_nodes.c, sysfs_nodes.c) whose text is made when a
 * file is read from its beginning. Names that come and go are looked up afresh each time. show_lock
 * guards the text of all open files. */
#include "core/fs/procfs.h"

#include <linux/magic.h>

#include "core/fs/fs.h"
#include "core/fs/fs_internal.h"
#include "core/fs/inode.h"
#include "core/mm/page.h"
#include "core/sched/load.h"

/* --- text
 * -----------------------------------------------------------------------------------------------------------
 */

static bool text_need(struct text *text, size_t more)
{
    if (text->size - text->used < more && !text->failed) {
        size_t size = MAX(text->size * 2, MAX(text->used + more, 512ul));
        char *bytes = krealloc(text->bytes, size);
        text->failed = bytes == NULL;
        if (bytes != NULL) {
            text->bytes = bytes;
            text->size = size;
        }
    }
    return !text->failed;
}

void text_put_bytes(struct text *text, const void *bytes, size_t length)
{
    if (length != 0 && text_need(text, length)) {
        memcpy(text->bytes + text->used, bytes, length);
        text->used += length;
    }
}

void text_put(struct text *text, const char *how, ...)
{
    va_list arguments;
    /* Twice at most: when it does not fit the first time the length is known. */
    for (size_t room = 160; text_need(text, room);) {
        va_start(arguments, how);
        size_t length =
            (size_t)vformat(text->bytes + text->used, text->size - text->used, how, arguments);
        va_end(arguments);
        if (length < text->size - text->used) {
            text->used += length;
            return;
        }
        room = length + 1;
    }
}

/* --- nodes
 * ----------------------------------------------------------------------------------------------------------
 */

struct proc_inode {
    struct inode inode; /* first */
    const struct proc_node *node;
    long argument; /* descriptor or thread */
};

struct process_view process_view;

void fs_set_process(const struct process_view *new_view)
{
    process_view = *new_view;
}

/* --- what Go's runtime reads in every program
 * -----------------------------------------------------------------------------------
 */

/* As on a Linux where nobody has mounted a cgroup hierarchy: then Go's runtime, which reads this
 * before main, looks no further. */
void proc_show_cgroup(struct text *text, long argument)
{
    (void)text;
    (void)argument;
}

void proc_show_huge_page_size(struct text *text, long argument)
{
    (void)argument;
    text_put(text, "%lu\n", HUGE_PAGE_SIZE);
}

long proc_link_text(char *to, size_t size, const char *from)
{
    size_t length = strlen(from);
    memcpy(to, from, MIN(length, size));
    return (long)length;
}

long proc_link_exe(char *to, size_t size, long argument)
{
    (void)argument;
    return proc_link_text(to, size, process_view.program);
}

long proc_link_self(char *to, size_t size, long argument)
{
    (void)argument;
    return proc_link_text(to, size, "1");
}

/* --- inodes
 * ---------------------------------------------------------------------------------------------------------
 */

static const struct inode_operations proc_operations, proc_link_operations, proc_fd_operations;

static struct proc_inode *proc_of(struct inode *inode)
{
    return (struct proc_inode *)inode;
}

static uint64_t number_of(const struct proc_node *node, long argument)
{
    return (((uintptr_t)node >> 3) & 0xffffff) | ((uint64_t)(uint32_t)argument << 24);
}

static int proc_inode_new(struct filesystem *fs, const struct proc_node *node, long argument,
                          struct inode **out)
{
    struct proc_inode *proc = kzalloc(sizeof(*proc));
    if (proc == NULL) {
        return -ENOMEM;
    }
    node = node->alias != NULL ? node->alias : node;
    inode_init(&proc->inode,
               node->follow != NULL  ? &proc_fd_operations
               : S_ISLNK(node->mode) ? &proc_link_operations
                                     : &proc_operations,
               fs, node->mode);
    proc->inode.number = number_of(node, argument);
    proc->node = node;
    proc->argument = argument;
    if (node->modified != NULL) {
        proc->inode.flags |= INODE_VOLATILE;
        proc->inode.mtime = proc->inode.ctime = node->modified();
    }
    *out = &proc->inode;
    return 0;
}

static int proc_lookup(struct inode *inode, const char *name, size_t length, struct inode **out)
{
    struct proc_inode *directory = proc_of(inode);
    const struct proc_node *node = directory->node;
    long number;
    for (unsigned i = 0; i < node->count; i++) {
        const struct proc_node *child = &node->children[i];
        if (strlen(child->name) == length && memcmp(child->name, name, length) == 0) {
            return proc_inode_new(inode->filesystem, child, directory->argument, out);
        }
    }
    if (node->names == NULL || !node->names->find(node->names, name, length, &number)) {
        return -ENOENT;
    }
    int result = proc_inode_new(inode->filesystem, node->names->entry, number, out);
    if (result == 0) {
        (*out)->flags |= INODE_VOLATILE;
    }
    return result;
}

/* The position of a name that comes and goes: its number, behind all children. */
static int proc_list(struct inode *inode, uint64_t *position, list_emit_fn *emit, void *context)
{
    const struct proc_node *node = proc_of(inode)->node;
    uint64_t at = *position;
    for (; at < node->count; at++) {
        const struct proc_node *child = &node->children[at];
        if (!emit(context, child->name, strlen(child->name),
                  number_of(child, proc_of(inode)->argument), child->mode >> 12, at + 1)) {
            return 0;
        }
    }
    if (node->names != NULL) {
        const struct proc_node *entry = node->names->entry;
        char name[PROC_NAME_MAX];
        for (long next = (long)(at - node->count); node->names->next(&next, name); next++) {
            if (!emit(context, name, strlen(name), number_of(entry, next), entry->mode >> 12,
                      node->count + (uint64_t)next + 1)) {
                break;
            }
        }
    }
    return 0;
}

static long proc_read_link(struct inode *inode, char *to, size_t size)
{
    struct proc_inode *proc = proc_of(inode);
    return proc->node->link(to, size, proc->argument);
}

static int proc_follow(struct inode *inode, struct file **out)
{
    struct proc_inode *proc = proc_of(inode);
    return proc->node->follow(proc->argument, out);
}

static void proc_release(struct inode *inode)
{
    kfree(inode);
}

/* --- files
 * ----------------------------------------------------------------------------------------------------------
 */

static struct mutex show_lock = MUTEX_INIT(show_lock);

static long proc_read(struct file *file, struct io_vector *io, uint64_t *offset)
{
    struct text *text = file->data;
    struct proc_inode *proc = proc_of(file->inode);
    int result = 0;
    size_t piece = 0;
    mutex_lock(&show_lock);
    if (*offset == 0 || text->bytes == NULL) {
        text->used = 0;
        text->failed = false;
        text->node = proc->node;
        proc->node->show(text, proc->argument);
        result = text->failed ? -ENOMEM : 0;
    }
    if (result == 0 && *offset < text->used) {
        piece = MIN(io->remaining, text->used - *offset);
        result = io_copy_to(io, text->bytes + *offset, piece);
    }
    mutex_unlock(&show_lock);
    if (result == 0) {
        *offset += piece;
    }
    return result != 0 ? result : (long)piece;
}

static long proc_write(struct file *file, struct io_vector *io, uint64_t *offset)
{
    const struct proc_node *node = proc_of(file->inode)->node;
    char bytes[128];
    size_t length = MIN(io->remaining, sizeof(bytes));
    if (node->store == NULL) {
        return -EIO;
    }
    int result = io_copy_from(io, bytes, length);
    if (result == 0) {
        result = node->store(bytes, length);
    }
    if (result == 0) {
        *offset += length;
    }
    return result != 0 ? result : (long)length;
}

static void proc_close(struct file *file)
{
    struct text *text = file->data;
    kfree(text->bytes);
    kfree(text);
}

static const struct file_operations proc_file = {
    .read = proc_read, .write = proc_write, .release = proc_close};

static int proc_open(struct inode *inode, struct file *file)
{
    if (file_writable(file) && proc_of(inode)->node->store == NULL) {
        return -EACCES;
    }
    file->data = kzalloc(sizeof(struct text));
    if (file->data == NULL) {
        return -ENOMEM;
    }
    file->operations = &proc_file;
    file_set_seekable(file);
    return 0;
}

static const struct inode_operations proc_operations = {
    .lookup = proc_lookup, .list = proc_list, .open = proc_open, .release = proc_release};
static const struct inode_operations proc_link_operations = {.read_link = proc_read_link,
                                                             .release = proc_release};
static const struct inode_operations proc_fd_operations = {
    .read_link = proc_read_link, .follow = proc_follow, .release = proc_release};

static int mount_tree(struct filesystem *fs, const char *type, uint32_t magic,
                      const struct proc_node *root, const char *path)
{
    struct inode *inode;
    fs->type = fs->source = type;
    fs->options = "rw";
    fs->magic = magic;
    int result = proc_inode_new(fs, root, 0, &inode);
    if (result == 0) {
        result = filesystem_init(fs, inode);
    }
    return result != 0 ? result : filesystem_mount(fs, path);
}

int procfs_mount(void)
{
    static struct filesystem proc, sys;
    load_start();
    int result = mount_tree(&proc, "proc", PROC_SUPER_MAGIC, &proc_root, "/proc");
    return result != 0 ? result : mount_tree(&sys, "sysfs", SYSFS_MAGIC, &sysfs_root, "/sys");
}
