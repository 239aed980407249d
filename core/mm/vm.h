/* SPDX-License-Identifier: MIT */
/* The program's address space: a tree of VMAs under one sleeping reader-writer lock (faults read,
 * changes write), filled on first touch. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct file;

/* Sets the tree up with the kernel image and the program's segments (goruntime/image_info.h) in it.
 */
void vm_init(void);

/* mmap and friends as Linux has them; addresses and errors likewise (mmap(2), mprotect(2),
 * madvise(2), mincore(2), mremap(2)). vm_mmap returns the address or -errno. A mapping that is
 * writable and executable at once is refused with -EACCES. */
long vm_mmap(uintptr_t address, size_t length, unsigned prot, unsigned flags, struct file *file,
             uint64_t offset);
int vm_munmap(uintptr_t address, size_t length);
int vm_mprotect(uintptr_t address, size_t length, unsigned prot);
int vm_madvise(uintptr_t address, size_t length, int advice);
long vm_mremap(uintptr_t address, size_t old_length, size_t new_length, unsigned flags,
               uintptr_t new_address);
int vm_mincore(uintptr_t address, size_t length, uintptr_t vector);

/* A mapping of kernel-owned pages into the program's view, for the vDSO and such: not to be
 * unmapped. */
int vm_map_fixed_pages(uintptr_t address, uint64_t physical, size_t size, unsigned prot,
                       const char *name);

/* Takes what mappings of a file have of its bytes [first, last], in whole pages, away from them:
 * they fault again. `copies`: private copies too, as when the file has become shorter. The caller
 * has made sure that map_page gives nothing old any more. Thread context, no spinlock held. */
struct inode;
void vm_unmap_file(const struct inode *inode, uint64_t first, uint64_t last, bool copies);

/* When there is no memory left: takes the pages of files away from all mappings, and asks for what
 * can be given back now. Returns about how many pages that were. */
size_t vm_reclaim(void);

/* Resolves a fault of kernel or program code at `address`. 0: retry the instruction. -EFAULT: no
 * mapping (SEGV_MAPERR), -EACCES: mapping does not allow it (SEGV_ACCERR), -EIO: file behind it
 * ended or cannot be read (SIGBUS), -ENOMEM: no memory left. */
int vm_fault(uintptr_t address, bool write, bool execute);

/* Sizes in bytes for /proc: all mappings and the most that there were, memory in use by them and
 * the most that was, and what of the mappings is private and writable, and code. */
struct vm_usage {
    uint64_t mapped, mapped_peak, resident, peak, data, text;
};
void vm_usage(struct vm_usage *usage);

/* RLIMIT_AS: how many bytes mappings may have together; UINT64_MAX: any number. */
void vm_limit_addresses(uint64_t bytes);

/* Calls `fn` for each VMA in ascending order, under the read lock, until it returns false. `name`
 * is "" or a name such as "[stack]" or a path. For /proc/self/maps. */
struct vm_area_info {
    uintptr_t start, end;
    unsigned prot;
    bool shared;
    uint64_t offset;
    uint64_t inode;
    bool program; /* a segment of the program, from its file */
    const char *name;
};
void vm_for_each(bool (*fn)(const struct vm_area_info *, void *), void *context);
