/* SPDX-License-Identifier: MIT */
/* The place that `unigornel build` fills in. */
#include "goruntime/image_info.h"

extern const struct image_info image_info;

/* Not const to the compiler's eyes: its values are not those written here. */
__attribute__((section(IMAGE_INFO_SECTION), used)) const struct image_info image_info = {
    .magic = IMAGE_INFO_MAGIC,
    .version = IMAGE_INFO_VERSION,
};
