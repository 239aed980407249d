#!/bin/sh
# SPDX-License-Identifier: MIT
# What connects a domain's device to dom0, in place of Xen's own scripts, which take bash and seconds: a disk's file by a
# loop device, a network interface by the bridge. XENBUS_PATH is the device's back end in xenstore. For as long as it is a
# disk the file is in dom0's memory: by 9P each block would take a message, and holes could not be punched.
copy=/run/disks/$(echo "$XENBUS_PATH" | tr / _)
case ${0##*/}-$1 in
block-add)
    mkdir -p /run/disks
    cp "$(xenstore-read "$XENBUS_PATH/params")" "$copy" || exit 1
    until mkdir /run/disks/lock 2> /dev/null; do # the toolstack adds several at once
        usleep 10000
    done
    device=$(losetup -f)
    losetup "$device" "$copy"
    status=$?
    rmdir /run/disks/lock
    [ $status = 0 ] || exit 1
    xenstore-write "$XENBUS_PATH/node" "$device" "$XENBUS_PATH/physical-device" "$(stat -L -c %t:%T "$device")" \
        "$XENBUS_PATH/physical-device-path" "$device" "$XENBUS_PATH/hotplug-status" connected
    ;;
block-remove)
    losetup -d "$(xenstore-read "$XENBUS_PATH/node")"
    if [ "$(xenstore-read "$XENBUS_PATH/mode")" = w ]; then
        cp "$copy" "$(xenstore-read "$XENBUS_PATH/params")"
    fi
    rm -f "$copy"
    ;;
vif-bridge-online)
    # shellcheck disable=SC2154 # set by xl
    ip link set "$vif" address fe:ff:ff:ff:ff:ff up
    brctl addif "$(xenstore-read "$XENBUS_PATH/bridge")" "$vif"
    xenstore-write "$XENBUS_PATH/hotplug-status" connected
    ;;
esac
exit 0
