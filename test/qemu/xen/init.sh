#!/bin/sh
# SPDX-License-Identifier: MIT
# dom0: the toolstack's daemons, then commands from the host. Each line on the second serial port names a script in /job, a
# folder of the host; its output goes to a file beside it, its status back as a line.
export PATH=/bin:/usr/sbin:/usr/bin
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t devtmpfs dev /dev
mkdir -p /dev/pts /dev/shm
mount -t devpts devpts /dev/pts
mount -t tmpfs run /run
ln -s /run /var/run
mkdir -p /run/xen /run/xenstored /run/lock /var/lib/xen/dump
for module in xen-evtchn xen-privcmd xen-gntdev xen-gntalloc xenfs bridge loop virtio_pci virtio_net 9p 9pnet_virtio; do
    modprobe $module
done
# As many as a dom0 with four CPUs would offer.
modprobe xen-netback max_queues=4
modprobe xen-blkback max_queues=4
mount -t xenfs xenfs /proc/xen
mount -t 9p -o trans=virtio,version=9p2000.L,cache=none,msize=262144 job /job
xenstored --pid-file /run/xen/xenstored.pid
xen-init-dom0
xenconsoled --log=guest --log-dir=/job/console --pid-file=/run/xenconsoled.pid
# Tests wait for what dom0 does for a domain, as copying its memory: it gets eight times a busy domain's share of the CPU.
xl sched-credit2 -d Domain-0 -w 2048
brctl addbr xenbr0
brctl addif xenbr0 eth0
ip link set lo up
ip link set eth0 up
ip addr add 10.0.0.1/24 dev xenbr0
ip addr add fd00::1/64 dev xenbr0
ip link set xenbr0 up
stty -F /dev/ttyS1 raw -echo
exec < /dev/ttyS1 > /dev/ttyS1
echo ready
while read -r job; do
    sh "/job/$job" > "/job/$job.out" 2>&1 < /dev/null
    echo "$job $?"
done
