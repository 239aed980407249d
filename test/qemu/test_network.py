# SPDX-License-Identifier: MIT
"""The network: programs that talk to themselves over loopback, and a web server that is asked from
outside through virtio-net."""

import concurrent.futures
import hashlib
import http.client
import socket
import subprocess

import pytest

import guest


def test_loopback(run):
    """TCP, UDP, ICMP, TLS and epoll by Go's own packages, IPv4 and IPv6; among them traps 17 to 22."""
    done = run("network", options=("-m", "256M", "--smp", "2", "--net", "none"))
    lines = done.stdout.splitlines()
    assert done.status == 0, done.stderr
    assert len(lines) == 23 and all(line.endswith(" ok") for line in lines), done.stdout


@pytest.mark.kvm_only("the network of QEMU")
def test_neighbours(run):
    """The link-layer address of who was talked to, by rtnetlink and /proc/net/arp."""
    for address, table in (("10.0.2.2", "true"), ("fec0::2", "true")):
        done = run("neighbours", "eth0", address, options=("--net", "user"))
        assert done.stdout.splitlines() == [
            "before: false",
            "after: true 6 true",
            "any family: true",
            f"in the table: {table}",
        ], done.stderr


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def connect(port):
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=guest.TIMEOUT)
    assert ask(connection, "GET", "/first") == b"hello /first"
    return connection


def ask(connection, method, path, body=None):
    connection.request(method, path, body)
    return connection.getresponse().read()


@pytest.mark.parametrize(
    "device, words",
    (
        ("virtio-net-device", "ip=dhcp"),
        ("virtio-net-device", "ip=10.0.2.15/24,10.0.2.2 ip6=none dns=10.0.2.3"),
    ),
    ids=("dhcp", "static"),
)
def test_served(image, device, words):
    port = free_port()
    command = [guest.UNIGORNEL, "run", "--accel", "tcg", "--timeout", "120", "--log", "info"]
    for argument in (
        "-netdev",
        f"user,id=n0,hostfwd=tcp:127.0.0.1:{port}-:8080",
        "-device",
        f"{device},netdev=n0",
    ):
        command += ["--qemu-arg", argument]
    command += ["--append", words, image("network"), "--", "serve"]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as process:
        try:
            said = []
            for line in process.stdout:
                said.append(line)
                if line == "serving\n":
                    break
            assert any("eth0: address 10.0.2.15" in line for line in said), said
            first = connect(port)
            block = b"0123456789abcdef" * 4096
            assert ask(first, "GET", "/bytes") == block * 256
            body = block * 128
            reply = ask(first, "PUT", "/sum", body).decode()
            assert reply == f"{len(body)} <nil> {hashlib.sha256(body).hexdigest()}"
            # QEMU listens with a queue of one, and the host loses what comes faster: one after the other.
            connections = [connect(port) for _ in range(32)]
            with concurrent.futures.ThreadPoolExecutor(32) as pool:
                replies = pool.map(lambda c: [ask(c, "GET", f"/{i}") for i in range(10)], connections)
            assert list(replies) == [[f"hello /{i}".encode() for i in range(10)]] * 32
            with pytest.raises((http.client.HTTPException, OSError)):
                ask(first, "GET", "/end")
            process.stdout.read()
            assert process.wait(30) == 0
        finally:
            if process.poll() is None:
                process.terminate()
                process.wait()


@pytest.mark.kvm_only("test_xen.py has it for domains")
def test_a_serial_line_that_nobody_reads(boot):
    """Whoever writes more than fits waits, and nobody else, with the only CPU."""
    port = free_port()
    network = ("-netdev", f"user,id=n0,hostfwd=tcp:127.0.0.1:{port}-:8080")
    device = ("-device", "virtio-net-device,netdev=n0")
    machine = boot("network", words="ip=dhcp", args=("serve",), extra=(*network, *device))
    machine.expect("serving")
    for _ in range(3):
        connection = connect(port)
        ask(connection, "GET", "/print")
        assert ask(connection, "GET", "/here") == b"hello /here"
    for _ in range(3):
        assert machine.expect("(again and ){5000}printed")
    with pytest.raises((http.client.HTTPException, OSError)):
        ask(connect(port), "GET", "/end")
    assert machine.status() == 0
