# SPDX-License-Identifier: MIT
"""Sockets and the network: local sockets, servers and clients, what goes wrong on the way."""

import socket

import pytest

import guest


@pytest.mark.parametrize("cpus", ("1", "4"))
def test_unix_sockets(run, cpus):
    done = run("unixsockets", options=("--smp", cpus))
    names = "transfer http rpc datagrams rights failures edges"
    assert (done.status, done.stdout.split()) == (0, names.split()), done.stderr


def dry_run(app, *options):
    return guest.tool_result("run", "--accel", "tcg", "--dry-run", *options, app)


def test_network_options(image):
    """What QEMU is told, and what is refused before it starts."""
    app = image("unixsockets")
    text = dry_run(app, "-p", "1:80", "-p", "0.0.0.0:53:54/udp", "--ip", "10.0.2.20/24").stdout
    assert (
        "user,id=net0,hostfwd=tcp:127.0.0.1:1-10.0.2.20:80,hostfwd=udp:0.0.0.0:53-10.0.2.20:54 "
        "-device virtio-net-device,netdev=net0" in text
    )
    assert "ip=10.0.2.20/24" in text
    for kind in ("pc", "q35"):
        assert "virtio-net-pci,netdev=net0" in dry_run(app, "--machine", kind).stdout
    assert "ip6=fd00::2/64,fe80::1" in dry_run(app, "--ip", "fd00::2/64,fe80::1").stdout
    assert "netdev" not in dry_run(app, "--net", "none").stdout
    assert "netdev" not in dry_run(image("hello")).stdout
    with socket.socket() as busy:
        busy.bind(("127.0.0.1", 0))
        busy.listen()
        port = busy.getsockname()[1]
        refused = (
            ((app, "-p", f"{port}:80"), f"port {port} of 127.0.0.1 cannot be had: Address already"),
            ((app, "-p", "80"), "give [ADDRESS:]HOST:GUEST"),
            ((app, "-p", "0:80"), "give [ADDRESS:]HOST:GUEST"),
            ((app, "-p", "80:80/sctp"), "give [ADDRESS:]HOST:GUEST"),
            ((app, "-p", "host:80:80"), "give [ADDRESS:]HOST:GUEST"),
            ((app, "--net", "bridge"), "give user, none or tap="),
            ((app, "--net", "tap=nosuchtap"), "ip tuntap add nosuchtap mode tap"),
            ((app, "--net", "none", "-p", "1:80"), "only --net user forwards ports"),
            ((app, "--ip", "10.0.0.1"), "ADDRESS/LENGTH"),
            ((image("hello"), "-p", "1:80"), "no network: build it with --network always"),
        )
        for words, message in refused:
            done = dry_run(*words)
            assert done.status == 2 and message in done.stderr, (words, done.stderr)
