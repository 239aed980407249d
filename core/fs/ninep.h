/* SPDX-License-Identifier: MIT */
/* Files of the host by 9P: inodes, open files and pages of mappings over the client. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "core/fs/inode.h"
#include "core/fs/ninep_client.h"

/* A page of a file that is mapped; there are no others. Kernel memory in the direct map. */
struct ninep_page {
    struct ninep_page *next; /* in its bucket; the node's lock, as all here */
    uint64_t offset, physical;
    uint32_t maps;
    bool writable;  /* mapped so that the program may write: holds more than the server, perhaps */
    uint32_t round; /* of ninep_pages_sync, that has written it back last */
    struct ninep_scratch scratch; /* writing back must not need memory; write_back_lock */
};

#define NINEP_PAGE_BUCKETS 256u

struct ninep_node {
    struct inode inode;      /* first */
    struct ninep_node *next; /* in the table of inodes; its lock */
    uint8_t qid_type;
    bool fresh;                /* the attributes have just been read, by the lookup; atomic */
    struct spinlock lock;      /* of the rest; LOCK_FILE */
    struct ninep_fid *fid;     /* of the name that was looked up last */
    struct ninep_fid *created; /* open for reading and writing, since creating it opened it; the
                                  first open takes it */
    struct ninep_fid *writer;  /* what writable pages are written back by */
    struct ninep_page **pages; /* NINEP_PAGE_BUCKETS, once there are any */
    uint32_t writable;         /* pages that are */
    uint32_t round;
    struct mutex write_back_lock; /* held over requests; nothing but `lock` is taken inside */
};

static inline struct ninep_node *ninep_node_of(struct inode *inode)
{
    return (struct ninep_node *)inode;
}

/* A file system over a channel. -EIO, -EPROTONOSUPPORT, -ENOMEM or what the server says. */
int ninep_create(struct filesystem **out, struct ninep_channel *channel, bool writable)
    __attribute__((weak));

/* --- pages (ninep_pages.c): operations of open files, and what reads and writes owe mappings -----
 */

int ninep_map_page(struct file *file, uint64_t offset, bool write, uint64_t *physical);
void ninep_unmap_page(struct file *file, uint64_t offset, uint64_t physical);

/* Writes back what mappings may have changed. The first error. */
int ninep_pages_sync(struct ninep_node *node);

/* New contents (NULL: zeroes), which the server has already, for the pages that are mapped. */
void ninep_pages_update(struct ninep_node *node, uint64_t offset, const char *bytes, size_t size);
