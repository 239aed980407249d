/* SPDX-License-Identifier: MIT */
/* The probe functions of the drivers, for the table in virtio.c. */
#pragma once

#include "drivers/virtio/virtio.h"

virtio_probe_fn virtio_entropy_probe;
/* Not in the kernel for programs that open no files: */
virtio_probe_fn virtio_blk_probe __attribute__((weak));
virtio_probe_fn virtio_9p_probe __attribute__((weak));
/* Not in the kernels without network: */
virtio_probe_fn virtio_net_probe __attribute__((weak));
