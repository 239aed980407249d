/* SPDX-License-Identifier: MIT */
/* What a part of the kernel needs that has files in /proc: a tree of constant nodes, and the text
 * that a file's function makes each time the file is read from its beginning. */
#pragma once

#include <linux/stat.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct proc_node;

struct text {
    char *bytes;
    size_t used, size;
    bool failed;                  /* no memory */
    const struct proc_node *node; /* whose text it is */
};

/* Appends to the text; the same format as log_info. Thread context. */
void text_put(struct text *text, const char *how, ...) __attribute__((format(printf, 2, 3)));
void text_put_bytes(struct text *text, const void *bytes, size_t length);

struct file;

#define PROC_NAME_MAX 32

/* What a directory has besides its `children`: things with a number, which come and go. */
struct proc_names {
    /* The first whose number is not below *number, and its name; false: there are no more. */
    bool (*next)(long *number, char name[PROC_NAME_MAX]);
    /* The number of what has the name. */
    bool (*find)(const struct proc_names *names, const char *name, size_t length, long *number);
    const struct proc_node *entry; /* what each of them is; its argument is the number */
};

struct proc_node {
    const char *name;
    uint32_t mode;
    uint32_t detail; /* for a `show` that makes several files */
    const struct proc_node *children;
    unsigned count;
    void (*show)(struct text *text, long argument);
    int (*store)(const char *bytes, size_t length);
    long (*link)(char *to, size_t size, long argument);
    const struct proc_names *names;
    int (*follow)(long argument, struct file **out); /* a link to an open file: a reference to it */
    const struct proc_node *alias;                   /* all but the name is there */
    int64_t (*modified)(void); /* when its text last changed; absent: not known */
};

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

#define PROC_DIRECTORY(name_, children_)                                                           \
    {                                                                                              \
        .name = name_, .mode = S_IFDIR | 0555, .children = children_, .count = COUNT(children_)    \
    }
#define PROC_FILE(name_, show_)                                                                    \
    {                                                                                              \
        .name = name_, .mode = S_IFREG | 0444, .show = show_                                       \
    }
#define PROC_DETAIL(name_, show_, detail_)                                                         \
    {                                                                                              \
        .name = name_, .mode = S_IFREG | 0444, .show = show_, .detail = detail_                    \
    }
#define PROC_LINK(name_, link_)                                                                    \
    {                                                                                              \
        .name = name_, .mode = S_IFLNK | 0777, .link = link_                                       \
    }

/* The two trees: proc_nodes.c and sysfs_nodes.c, or in the kernel without files absent.c. */
extern const struct proc_node proc_root, sysfs_root;

/* A proc_names.find that goes through all of them. */
bool proc_find(const struct proc_names *names, const char *name, size_t length, long *number);

/* What the program was started with (fs_set_process). */
extern struct process_view process_view;

/* Of both trees, since Go's runtime reads these in every program. */
void proc_show_cgroup(struct text *text, long argument);
void proc_show_huge_page_size(struct text *text, long argument);
long proc_link_self(char *to, size_t size, long argument);
long proc_link_exe(char *to, size_t size, long argument);

/* Copies a link's text, as much as has room; its whole length. */
long proc_link_text(char *to, size_t size, const char *from);
