# SPDX-License-Identifier: MIT
"""A network namespace with a cable in it: QEMU's end is the tap device `guest0`, the host's end
`host0`, and between them a thread carries the frames, badly if it is told to. What `tc netem` does,
for kernels that do not have it, and the same each time for the same seed. Needs root."""

import contextlib
import ctypes
import fcntl
import heapq
import itertools
import os
import random
import select
import socket
import struct
import subprocess
import threading
import time

import guest

HOST4, GUEST4 = "10.9.0.1", "10.9.0.2"
HOST6, GUEST6 = "fd09::1", "fd09::2"

CLONE_NEWNET = 0x40000000
TUNSETIFF, TUNSETOFFLOAD, TUNSETVNETHDRSZ = 0x400454CA, 0x400454D0, 0x400454D8
IFF_TAP, IFF_NO_PI, IFF_VNET_HDR = 2, 0x1000, 0x4000
TUN_F_CSUM, TUN_F_TSO4, TUN_F_TSO6 = 1, 2, 4
ETH_P_ALL, PACKET_OUTGOING, SOL_PACKET, PACKET_VNET_HDR = 3, 4, 263, 15
SO_RCVBUFFORCE = 33
HEADER = 10  # struct virtio_net_hdr before each frame, so that large segments pass as they are
FRAME_MAX = HEADER + 70000

_libc = ctypes.CDLL(None, use_errno=True)
_numbers = itertools.count()


def enter(namespace):
    """Moves this thread into the namespace of an open file."""
    if _libc.setns(namespace.fileno(), CLONE_NEWNET) != 0:
        raise OSError(ctypes.get_errno(), f"setns {namespace.name}")


def command(*words):
    subprocess.run(words, check=True)


def _ip(*words):
    command("ip", *words)


class Cable:
    """`loss`, `twice`, `damage` (of what the guest receives): shares of the frames. `delay` and
    `jitter` in seconds: with the second, frames overtake each other. `drop`: a function that says
    of a frame whether it is lost, and is called with it and whether it goes to the guest."""

    def __init__(self, seed=1, large=False):
        self.loss = self.twice = self.damage = self.delay = self.jitter = 0
        self.drop = lambda frame, to_guest: False
        self.random = random.Random(seed)
        self.carried = {True: 0, False: 0}
        self.host = os.open("/dev/net/tun", os.O_RDWR)
        request = struct.pack("16sH22x", b"host0", IFF_TAP | IFF_NO_PI | IFF_VNET_HDR)
        fcntl.ioctl(self.host, TUNSETIFF, request)
        if large:
            fcntl.ioctl(self.host, TUNSETOFFLOAD, TUN_F_CSUM | TUN_F_TSO4 | TUN_F_TSO6)
        self.guest = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
        self.guest.setsockopt(SOL_PACKET, PACKET_VNET_HDR, 1)
        self.guest.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, 16 << 20)
        self.guest.bind(("guest0", ETH_P_ALL))
        self.wake, self.woken = os.pipe()
        self.waiting = []  # heap of (time, number, to the guest?, frame)
        self.numbers = itertools.count()
        self.thread = threading.Thread(target=self.carry)
        self.thread.start()

    def take(self, frame, to_guest):
        chance = self.random.random
        if chance() < self.loss or self.drop(frame[HEADER:], to_guest):
            return
        for _ in range(2 if chance() < self.twice else 1):
            copy = frame
            if to_guest and chance() < self.damage:
                at = self.random.randrange(HEADER + 14, len(frame))
                copy = frame[:at] + bytes([frame[at] ^ 1 << self.random.randrange(8)]) + frame[at + 1 :]
            due = time.monotonic() + self.delay + self.jitter * chance()
            heapq.heappush(self.waiting, (due, next(self.numbers), to_guest, copy))

    def deliver(self):
        while self.waiting and self.waiting[0][0] <= time.monotonic():
            _, _, to_guest, frame = heapq.heappop(self.waiting)
            with contextlib.suppress(OSError):  # a device that is down or full loses it
                if to_guest:
                    self.guest.send(frame)
                else:
                    os.write(self.host, frame)
                self.carried[to_guest] += 1

    def carry(self):
        while True:
            due = max(self.waiting[0][0] - time.monotonic(), 0) if self.waiting else None
            ready, _, _ = select.select([self.guest, self.host, self.wake], [], [], due)
            if self.wake in ready:
                return
            if self.host in ready:
                self.take(os.read(self.host, FRAME_MAX), True)
            if self.guest in ready:
                frame, address = self.guest.recvfrom(FRAME_MAX)
                if address[2] != PACKET_OUTGOING:
                    self.take(frame, False)
            self.deliver()

    def close(self):
        os.write(self.woken, b"x")
        self.thread.join()
        os.close(self.host)
        os.close(self.wake)
        os.close(self.woken)
        self.guest.close()


@contextlib.contextmanager
def plugged(queues=False, **options):
    """Inside, this thread is in the namespace, and so are the processes that it starts. The tool is
    to be run by `tool`, since it looks for its tap device in /sys. `queues`: the tap device has
    several."""
    name = f"unigornel-{os.getpid()}-{next(_numbers)}"
    _ip("netns", "add", name)
    with open("/proc/thread-self/ns/net") as home:
        cable = None
        try:
            with open(f"/run/netns/{name}") as namespace:
                enter(namespace)
            _ip("link", "set", "lo", "up")
            _ip("tuntap", "add", "guest0", "mode", "tap", *(("multi_queue",) if queues else ()))
            command("sysctl", "-q", "net.ipv6.conf.guest0.disable_ipv6=1", "net.ipv4.ip_forward=1")
            _ip("link", "set", "guest0", "arp", "off", "up")
            cable = Cable(**options)
            cable.namespace = name
            _ip("address", "add", f"{HOST4}/24", "dev", "host0")
            _ip("address", "add", f"{HOST6}/64", "dev", "host0", "nodad")
            _ip("link", "set", "host0", "up")
            yield cable
        finally:
            guest.end_all()
            if cable:
                cable.close()
            enter(home)
            _ip("netns", "delete", name)


def tool(cable):
    return ("ip", "netns", "exec", cable.namespace, guest.UNIGORNEL)
