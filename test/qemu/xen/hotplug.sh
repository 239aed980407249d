#!/bin/sh
# SPDX-License-Identifier: MIT
# What connects a domain's device to dom0, in place of Xen's own scripts, which take bash and seconds: a disk's file by a
# loop device, a network interface by the bridge. XENBUS_PATH is the device's back end in xenstore.
case ${0##*/}-$1 in
block-add)
    file=$(xenstore-read "$XENBUS_PATH/params")
    device=$(losetup -f)
    losetup "$device" "$file" || exit 1
    xenstore-write "$XENBUS_PATH/node" "$device" "$XENBUS_PATH/physical-device" "$(stat -L -c %t:%T "$device")" \
        "$XENBUS_PATH/physical-device-path" "$device" "$XENBUS_PATH/hotplug-status" connected
    ;;
block-remove)
    losetup -d "$(xenstore-read "$XENBUS_PATH/node")"
    ;;
vif-bridge-online)
    # shellcheck disable=SC2154 # set by xl
    ip link set "$vif" address fe:ff:ff:ff:ff:ff up
    brctl addif "$(xenstore-read "$XENBUS_PATH/bridge")" "$vif"
    xenstore-write "$XENBUS_PATH/hotplug-status" connected
    ;;
esac
exit 0
