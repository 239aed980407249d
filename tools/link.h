/* SPDX-License-Identifier: MIT */
/* The image linker: one bootable ELF64 file out of the kernel and a static Go program, both at the
 * addresses they were linked for. */
#pragma once

#include "tools/go_binary.h"

/* The bytes of the image go to `image`. 0, or -1 after a message about what cannot be linked.
 * `name` is the program's; `files` (may be empty) a file system image that becomes a segment. */
int link_image(const struct elf_file *kernel, const struct go_binary *program, const char *name,
               const struct buffer *files, struct buffer *image);

/* Which kernel: the one with the network is larger. */
enum network_choice { NETWORK_AUTO /* as the program needs */, NETWORK_ALWAYS, NETWORK_NEVER };

struct link_options {
    enum network_choice network;
    const char *files; /* a folder whose files the image is to have; NULL: none */
};

/* The kernel to link with: $UNIGORNEL_KERNEL, or one in the build folder: kernel-net.elf, which has
 * all, kernel-files.elf, or kernel.elf. */
char *kernel_path(bool network, bool files);

/* Whether a kernel, or the one in an image, has the network. */
bool has_network(const struct elf_file *file);
/* Whether it can mount folders of the host. */
bool has_files(const struct elf_file *file);

/* link_image for files: `binary` and the kernel to `output`, checked as prebuilt programs are. 0 or
 * -1 after a message. */
struct overlay;
int link_files(const char *binary, const char *name, const struct overlay *overlay,
               const struct link_options *options, const char *output);

/* Whether the file is an image that link_image has made. */
bool is_image(const struct elf_file *file);

/* Whether the file at `path` is one: -1 after a message when it is not. */
int check_image(const char *path);
