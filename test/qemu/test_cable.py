# SPDX-License-Identifier: MIT
"""The network through a tap device and a cable that the test holds (cable.py): bad, cut, or slow;
and the servers that a network has."""

import concurrent.futures
import contextlib
import hashlib
import http.client
import os
import queue
import random
import resource
import select
import socket
import struct
import threading
import time

import pytest

import cable as cables
import guest
from cable import GUEST4, GUEST6, HOST4

pytestmark = [
    pytest.mark.skipif(os.getuid() != 0, reason="a network namespace needs root"),
    pytest.mark.kvm_only("QEMU's tap device is the cable"),
]

STATIC = ("--ip", f"{GUEST4}/24,{HOST4}", "--ip", f"{GUEST6}/64")


def run(cable, app, *args, options=STATIC):
    """`unigornel run --net tap=` to its end."""
    words = (*cables.tool(cable), "run", "--net", "tap=guest0", *options, app, "--", *args)
    return guest.result(*words)


def serve(cable, app):
    """The web server of the program, once it listens."""
    words = (*cables.tool(cable), "run", "--smp", "2", "--net", "tap=guest0", *STATIC, app, "--", "serve")
    process = guest.start(*words)
    assert process.stdout.readline() == b"serving\n"
    return process


def ask(address, method, path, body=None):
    connection = http.client.HTTPConnection(address, 8080, timeout=guest.TIMEOUT)
    connection.request(method, path, body)
    answer = connection.getresponse().read()
    connection.close()
    return answer


def transfer(address, blocks, body):
    """Bytes in both directions, each checked by its sum."""
    block = b"0123456789abcdef" * 4096
    out = ask(address, "GET", f"/bytes?blocks={blocks}")
    assert len(out) == blocks * len(block) and out == block * blocks
    assert ask(address, "PUT", "/sum", body).decode() == f"{len(body)} <nil> {hashlib.sha256(body).hexdigest()}"


@pytest.mark.parametrize(
    "faults",
    (
        {"loss": 0.02, "delay": 0.002},
        {"jitter": 0.01, "twice": 0.05},
        {"damage": 0.02},
        {"loss": 0.01, "twice": 0.02, "damage": 0.01, "delay": 0.005, "jitter": 0.005},
    ),
    ids=("loss", "disorder", "damage", "all"),
)
def test_bad_cable(image, faults):
    """All bytes arrive and are right, over IPv4 and IPv6, whatever the cable does."""
    app = image("network")
    with cables.plugged() as cable:
        serve(cable, app)
        for name, value in faults.items():
            setattr(cable, name, value)
        body = random.Random(1).randbytes(2 << 20)
        for address in (GUEST4, GUEST6):
            transfer(address, 32, body)
        assert min(cable.carried.values()) > 100


def test_large_segments(image):
    """Trap 26: the host's segments of up to 64 KiB come in merged receive buffers, for a while; and the
    guest's own go out."""
    app = image("network")
    with cables.plugged(large=True) as cable:
        serve(cable, app)
        body = random.Random(1).randbytes(16 << 20)
        for address in (GUEST4, GUEST6):
            for _ in range(3):
                transfer(address, 256, body)
        frames = sum(cable.carried.values())
        assert frames < 192 * (1 << 20) / 5000, f"{frames} frames: the segments were small"


def test_many_connections(image):
    """10,000 connections at once in 256 MiB, each of which is used after all are there."""
    count = 10_000
    app = image("network")
    resource.setrlimit(resource.RLIMIT_NOFILE, (count + 2000, max(count + 2000, resource.getrlimit(resource.RLIMIT_NOFILE)[1])))
    with cables.plugged() as cable, contextlib.ExitStack() as stack:
        words = (*cables.tool(cable), "run", "-m", "256M", "--net", "tap=guest0", *STATIC, app, "--", "echo")
        assert guest.start(*words).stdout.readline() == b"serving\n"
        connections = []
        while len(connections) < count:  # many at a time: on a busy machine each takes a while
            fresh = [stack.enter_context(socket.socket()) for _ in range(500)]
            for connection in fresh:
                connection.setblocking(False)
                connection.connect_ex((GUEST4, 7))
            for connection in fresh:
                made = select.poll()
                made.register(connection, select.POLLOUT)
                assert made.poll(guest.TIMEOUT * 1000) == [(connection.fileno(), select.POLLOUT)]
                connection.settimeout(guest.TIMEOUT)
            connections += fresh
        for i, connection in enumerate(connections):
            connection.sendall(b"%08d" % i)
        for i, connection in enumerate(connections):
            assert connection.recv(8, socket.MSG_WAITALL) == b"%08d" % i


def test_queues(boot):
    """A device with several pairs of queues, as many of which are used as there are CPUs."""
    tap = "tap,id=net0,ifname=guest0,script=no,downscript=no,queues=3"
    with cables.plugged(queues=True):
        machine = boot(
            "network",
            machine="q35",
            cpus=2,
            memory=256,
            words=f"log=info ip={GUEST4}/24 ip6={GUEST6}/64",
            args=["serve"],
            extra=("-netdev", tap, "-device", "virtio-net-pci,netdev=net0,mq=on,vectors=8"),
        )
        machine.expect("MTU 1500, 2 queues")
        machine.expect("serving")
        body = random.Random(1).randbytes(1 << 20)
        with concurrent.futures.ThreadPoolExecutor(8) as pool:
            namespace = open("/proc/thread-self/ns/net")
            work = lambda i: cables.enter(namespace) or transfer((GUEST4, GUEST6)[i % 2], 16, body)
            list(pool.map(work, range(8)))


def test_errors(image):
    """Go's words for what goes wrong on the way."""
    app = image("network")
    with cables.plugged() as cable:
        guest.succeed(guest.result("ip", "route", "add", "unreachable", "198.51.100.0/24"))
        addresses = {
            f"{HOST4}:9": "connect: connection refused",
            "198.51.100.1:9": "connect: no route to host",  # a router says so
            "10.9.0.77:9": "connect: no route to host",  # nobody answers ARP
            "[fd09::77]:9": "connect: no route to host",  # nor a neighbour solicitation
            "[fd0a::1]:9": "connect: network is unreachable",
        }
        done = run(cable, app, "dial", "20s", *addresses)
        lines = done.stdout.splitlines()
        assert len(lines) == len(addresses) and done.status == 0, done.stderr
        for line, (address, words) in zip(lines, addresses.items()):
            assert line == f"dial tcp {address}: {words}", done.stdout


def test_silent_peer(image):
    """TCP_USER_TIMEOUT ends a connection whose peer is gone, a dial ends by its own deadline, and close
    waits as long as SO_LINGER says."""
    app = image("network")
    with cables.plugged() as cable, socket.create_server((HOST4, 9000)):
        cable.drop = lambda frame, to_guest: not to_guest and b"lost" in frame
        words = (*cables.tool(cable), "run", "--net", "tap=guest0", *STATIC, app, "--", "silence")
        process = guest.start(*words, f"{HOST4}:9000")
        assert process.stdout.readline().endswith(f"{HOST4}:9000: read: connection timed out\n".encode())
        assert process.stdout.readline() == b"closed\n"
        cable.drop = lambda frame, to_guest: False  # else the machine waits for 10 s before it goes off
        assert process.wait(guest.TIMEOUT) == 0
        cable.drop = lambda frame, to_guest: not to_guest and frame[23] == 6
        done = run(cable, app, "dial", "1s", f"{HOST4}:9000")
        assert done.stdout == f"dial tcp {HOST4}:9000: i/o timeout\n", done.stdout


def test_last_words(image):
    """What is sent just before the end arrives: datagrams that still wait for the neighbour's address."""
    app = image("network")
    with cables.plugged() as cable, socket.socket(type=socket.SOCK_DGRAM) as receiver:
        receiver.bind((HOST4, 9000))
        receiver.settimeout(guest.TIMEOUT)
        cable.delay = 0.2
        done = run(cable, app, "send", f"{HOST4}:9000", 20)
        assert (done.status, done.stdout) == (0, "sent\n"), done.stderr
        assert [struct.unpack(">I", receiver.recv(2000)[:4])[0] for _ in range(20)] == list(range(20))


class NameServer(threading.Thread):
    """Knows every name; keeps the types of the questions and when they came."""

    def __init__(self, address):
        super().__init__(daemon=True)
        self.questions = []
        self.socket = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.bind((address, 53))
        self.start()

    def run(self):
        while True:
            question, sender = self.socket.recvfrom(2000)
            end = question.index(b"\0", 12) + 5
            kind = struct.unpack(">H", question[end - 4 : end - 2])[0]
            self.questions.append((time.monotonic(), kind))
            data = bytes([192, 0, 2, 1]) if kind == 1 else bytes(15) + b"\1"
            header = question[:2] + struct.pack(">5H", 0x8180, 1, 1, 0, 0)
            record = struct.pack(">3HIH", 0xC00C, kind, 1, 60, len(data))
            self.socket.sendto(header + question[12:end] + record + data, sender)


def test_name_servers(image):
    """Trap 23: of two questions that are sent back to back while ARP finds the server, none is lost.
    Trap 24: when the first server is dead, the second is asked."""
    app = image("network")
    with cables.plugged() as cable:
        server = NameServer(HOST4)
        cable.delay = 0.3
        done = run(cable, app, "lookup", "example.test", options=(*STATIC, "--append", f"dns={HOST4}"))
        assert done.stdout.startswith("2 <nil> "), done.stdout
        assert sorted(kind for _, kind in server.questions) == [1, 28], server.questions
        assert int(done.stdout.split()[2]) < 4500, "the questions were asked twice"
        cable.delay = 0
        done = run(cable, app, "lookup", "example.test", options=(*STATIC, "--append", f"dns=10.9.0.77,{HOST4}"))
        assert done.stdout.startswith("2 <nil> "), done.stdout


def test_names(image):
    """The words of the command line in the files where Go looks."""
    app = image("network")
    with cables.plugged() as cable:
        words = f"hostname=box.example.test dns=192.0.2.53,{HOST4},2001:db8::53"
        done = run(cable, app, "names", options=(*STATIC, "--append", words))
        assert done.status == 0, done.stderr
        first, *rest = done.stdout.splitlines()
        assert first == "box.example.test [127.0.1.1] [127.0.0.1 ::1]"
        servers = ["nameserver 192.0.2.53", f"nameserver {HOST4}", "nameserver 2001:db8::53"]
        assert rest == [*servers, "hosts: files dns"], rest


class Router(threading.Thread):
    """Advertises a prefix, a name server (RFC 4861, RFC 8106), and that there is DHCPv6, whose server it
    is too (RFC 8415): it tells of more name servers."""

    def __init__(self, prefix, by_router, by_dhcp):
        super().__init__(daemon=True)
        self.stopped = threading.Event()
        device = socket.if_nametoindex("host0")
        address = lambda text: socket.inet_pton(socket.AF_INET6, text)
        option = struct.pack(">BBBBII4x", 3, 4, 64, 0xC0, 86400, 14400) + address(prefix)
        option += struct.pack(">BBHI", 25, 3, 0, 600) + address(by_router)
        self.advertisement = struct.pack(">BBHBBHII", 134, 0, 0, 64, 0x40, 1800, 0, 0) + option
        self.servers = b"".join(map(address, by_dhcp))
        self.icmp = socket.socket(socket.AF_INET6, socket.SOCK_RAW, socket.IPPROTO_ICMPV6)
        self.icmp.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_HOPS, 255)
        self.icmp.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_IF, device)
        self.dhcp = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
        self.dhcp.bind(("::", 547))
        group = address("ff02::1:2") + struct.pack("@I", device)
        self.dhcp.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_JOIN_GROUP, group)
        self.dhcp.settimeout(0.3)
        self.start()

    def run(self):
        while not self.stopped.is_set():
            self.icmp.sendto(self.advertisement, ("ff02::1", 0))
            try:
                message, client = self.dhcp.recvfrom(2000)
            except TimeoutError:
                continue
            if message[0] == 11:  # INFORMATION-REQUEST; the reply has its number and its client's identifier
                reply, at = b"\7" + message[1:4] + struct.pack(">HH", 2, 10) + b"\0\3\0\1router", 4
                while at + 4 <= len(message):
                    code, length = struct.unpack(">HH", message[at : at + 4])
                    reply += message[at : at + 4 + length] if code == 1 else b""
                    at += 4 + length
                self.dhcp.sendto(reply + struct.pack(">HH", 23, len(self.servers)) + self.servers, client)


def test_router(image):
    """Addresses by SLAAC, name servers by router advertisements and by DHCPv6, which are asked."""
    app = image("network")
    with cables.plugged() as cable:
        cables.command("ip", "address", "add", "fd0b::1/64", "dev", "host0", "nodad")
        asked = NameServer("fd0b::1")
        router = Router("fd0b::", "2001:db8::1", ("fd0b::1", "2001:db8::2"))
        done = run(cable, app, "configured", 5, "example.test", options=("--append", "ip=none"))
        router.stopped.set()
        assert done.status == 0, done.stderr
        *lines, answer = done.stdout.splitlines()
        addresses = [line for line in lines if line.startswith("address ")]
        assert sum(a.startswith("address fd0b::") and a.endswith("/64") for a in addresses) == 1, lines
        assert sum(a.startswith("address fe80::") for a in addresses) == 1, lines
        servers = {line.split()[1] for line in lines if line.startswith("nameserver ")}
        assert servers == {"2001:db8::1", "fd0b::1", "2001:db8::2"}, lines
        assert answer.startswith("2 <nil> ") and asked.questions, done.stdout


class DhcpServer(threading.Thread):
    """Gives the address `offer` for a short time (RFC 2131); refuses what is not the offer any more."""

    def __init__(self):
        super().__init__(daemon=True)
        self.offer = "10.9.0.50"
        self.requests = queue.Queue()
        self.socket = socket.socket(type=socket.SOCK_DGRAM)
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, b"host0")
        self.socket.bind(("", 67))
        self.start()

    @staticmethod
    def options(message):
        at, found = 240, {}
        while message[at] != 255:
            code, length = message[at], message[at + 1]
            found[code] = message[at + 2 : at + 2 + length]
            at += 2 + length
        return found

    def run(self):
        while True:
            message, _ = self.socket.recvfrom(2000)
            options = self.options(message)
            kind = options[53][0]
            wanted = options.get(50, message[12:16])
            answer = 2 if kind == 1 else 5 if wanted == socket.inet_aton(self.offer) else 6
            given = socket.inet_aton(self.offer) if answer != 6 else bytes(4)
            reply = bytearray(message[:240])
            reply[0] = 2
            reply[16:20] = given
            reply += bytes([53, 1, answer, 54, 4]) + socket.inet_aton(HOST4)
            if answer != 6:
                reply += b"\x01\x04\xff\xff\xff\0" + b"\x33\x04" + struct.pack(">I", 60)
                reply += b"\x3a\x04" + struct.pack(">I", 2) + b"\x3b\x04" + struct.pack(">I", 40)
                reply += b"\x03\x04" + socket.inet_aton(HOST4)
            self.requests.put((kind, answer))
            self.socket.sendto(bytes(reply) + b"\xff", ("255.255.255.255", 68))


def test_lease(image):
    """A DHCP lease that is renewed, and one that is refused: then there is another address, which
    works."""
    app = image("network")
    with cables.plugged() as cable, socket.socket(type=socket.SOCK_DGRAM) as client:
        server = DhcpServer()
        words = (*cables.tool(cable), "run", "--net", "tap=guest0", "--append", "ip6=none", app)
        process = guest.start(*words, "--", "addresses")
        assert process.stdout.readline() == b"address 10.9.0.50\n"
        seen = [server.requests.get(timeout=guest.TIMEOUT) for _ in range(3)]
        assert seen == [(1, 2), (3, 5), (3, 5)], "discover and offer, request, and renewal"
        server.offer = "10.9.0.51"
        line = process.stdout.readline()
        if line == b"address none\n":
            line = process.stdout.readline()
        assert line == b"address 10.9.0.51\n"
        client.settimeout(guest.TIMEOUT)
        client.sendto(b"end", ("10.9.0.51", 7))
        assert client.recv(10) == b"end"
        assert process.wait(guest.TIMEOUT) == 0


def test_cable_out_and_in(boot):
    """Without a link nothing passes; a connection that was open then goes on when it is back, and
    addresses are asked for again."""
    tap = "tap,id=net0,ifname=guest0,script=no,downscript=no"
    with cables.plugged():
        server = DhcpServer()
        machine = boot(
            "network",
            memory=256,
            words="log=info ip6=none",
            args=["serve"],
            extra=("-netdev", tap, "-device", "virtio-net-device,netdev=net0,id=card"),
        )
        machine.expect("serving")
        connection = http.client.HTTPConnection("10.9.0.50", 8080, timeout=guest.TIMEOUT)
        connection.request("GET", "/before")
        assert connection.getresponse().read() == b"hello /before"
        machine.command("set_link", name="card", up=False)
        machine.expect("eth0: link is down")
        connection.request("GET", "/during")
        while not server.requests.empty():
            server.requests.get()
        machine.command("set_link", name="card", up=True)
        machine.expect("eth0: link is up")
        assert connection.getresponse().read() == b"hello /during"
        assert server.requests.get(timeout=guest.TIMEOUT)[1] in (2, 5)


def test_full_ring(boot):
    """Trap 25: a device that takes no more frames makes the program wait: nothing is lost."""
    count = 3000
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        machine = boot(
            "network",
            words=f"ip={GUEST4}/24 ip6=none",
            args=["flood", f"{HOST4}:9000", str(count)],
            extra=("-netdev", f"socket,id=net0,connect=127.0.0.1:{port}", "-device", "virtio-net-device,netdev=net0"),
        )
        wire, _ = listener.accept()
        with wire:
            wire.settimeout(guest.TIMEOUT)
            stream = wire.makefile("rb")
            numbers = []
            while len(numbers) < count:
                frame = stream.read(struct.unpack(">I", stream.read(4))[0])
                if frame[12:14] == b"\x08\x06" and frame[38:42] == socket.inet_aton(HOST4):
                    mac = bytes.fromhex("525400aabbcc")
                    answer = frame[6:12] + mac + frame[12:20] + b"\0\2" + mac + frame[38:42] + frame[22:32]
                    wire.sendall(struct.pack(">I", len(answer)) + answer)
                elif frame[12:14] == b"\x08\x00" and frame[23] == 17:
                    numbers.append(struct.unpack(">I", frame[42:46])[0])
                    if len(numbers) == 1:
                        back = frame[6:12] + frame[:6] + frame[12:26] + frame[30:34] + frame[26:30]
                        back += frame[36:38] + frame[34:36] + frame[38:]
                        wire.sendall(struct.pack(">I", len(back)) + back)
                        time.sleep(2)  # the program fills the ring, the lists behind it, and waits
            assert numbers == list(range(count))
        assert machine.status() == 0
