/* SPDX-License-Identifier: MIT */
/* The probe functions of the drivers, for the table in virtio.c. */
#pragma once

#include "drivers/virtio/virtio.h"

virtio_probe_fn virtio_blk_probe;
virtio_probe_fn virtio_9p_probe __attribute__((weak)); /* not in the kernel without files */
virtio_probe_fn virtio_entropy_probe;
virtio_probe_fn virtio_net_probe __attribute__((weak)); /* not in the kernel without network */
