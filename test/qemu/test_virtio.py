# SPDX-License-Identifier: MIT
"""Virtio devices on every machine, by every transport and interface: found, and giving interrupts
in whatever way there is."""

import random
import socket
import threading

import pytest

import guest

pytestmark = pytest.mark.kvm_only("virtio devices")

RNG = ("-object", "rng-random,filename=/dev/urandom,id=rng", "-device")
MODERN_MMIO = ("-global", "virtio-mmio.force-legacy=false")
ROOT_PORT = ("-device", "pcie-root-port,id=port0")


@pytest.mark.parametrize(
    "machine, options, device, where",
    (
        ("microvm,acpi=on", (), "device", "mmio"),
        ("microvm,acpi=on", MODERN_MMIO, "device", "mmio"),
        ("microvm,acpi=off", MODERN_MMIO, "device", "mmio"),
        ("pc", (), "pci", "pci 00"),
        ("pc", (), "pci,disable-modern=on", "pci 00"),
        ("pc", (), "pci,disable-modern=on,vectors=0", "pci 00"),
        ("pc", (), "pci,disable-legacy=on,packed=on", "pci 00"),
        ("q35", (), "pci,vectors=0", "pci 00"),
        ("q35", (), "pci,vectors=1", "pci 00"),
        ("q35", ROOT_PORT, "pci,bus=port0,packed=on", "pci 01"),
    ),
)
def test_found(boot, machine, options, device, where):
    """The entropy device, which the kernel asks at boot; its answer comes some time while the program
    runs, so the program is one that stays. With ACPI off the devices are named at the end of the
    command line, behind the program's words."""
    settings = {
        "machine": machine,
        "words": "log=debug",
        "extra": (*options, *RNG, f"virtio-rng-{device},rng=rng"),
    }
    waiting = boot("cat", **settings)
    waiting.expect(f"virtio: {where}.*type 4, features 0x[0-9a-f]+")
    waiting.expect("entropy: 64 bytes")
    if machine == "microvm,acpi=off":
        args = boot("args", args=["-x"], **settings)
        args.expect(r'argv.1. "-x"\s+env "HOME=/root"\s+cwd')
        assert args.status() == 0


@pytest.mark.parametrize(
    "machine, options, device",
    (
        ("microvm,acpi=on", (), "device"),
        ("microvm,acpi=on", MODERN_MMIO, "device,packed=on"),
        ("pc", (), "pci"),
        ("pc", (), "pci,disable-modern=on"),
        ("pc", (), "pci,disable-modern=on,vectors=0,mrg_rxbuf=off,any_layout=off"),
        ("q35", (), "pci,packed=on,vectors=1"),
        ("q35", (), "pci,event_idx=off,indirect_desc=off,mrg_rxbuf=off"),
        ("q35", ROOT_PORT, "pci,bus=port0,event_idx=off,packed=on"),
    ),
)
def test_network(boot, machine, options, device):
    """Bytes both ways through the network device."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    user = f"user,id=net,restrict=on,hostfwd=tcp:127.0.0.1:{port}-:7"
    echo = boot(
        "echo",
        machine=machine,
        cpus=2,
        extra=(*options, "-netdev", user, "-device", f"virtio-net-{device},netdev=net"),
    )
    echo.expect("listening")
    sent = random.Random(machine + device).randbytes(3 << 20)
    with socket.create_connection(("127.0.0.1", port), guest.TIMEOUT) as connection:
        sender = threading.Thread(
            target=lambda: (connection.sendall(sent), connection.shutdown(socket.SHUT_WR))
        )
        sender.start()
        received = b"".join(iter(lambda: connection.recv(1 << 16), b""))
        sender.join()
    assert received == sent
    assert echo.status() == 0


@pytest.mark.parametrize("machine, options, bus", (("pc", (), "pci.0"), ("q35", ROOT_PORT, "port0")))
def test_network_that_goes_away(boot, machine, options, bus):
    """device_del, which shares its interrupt with the power button: a line, and the program goes on."""
    echo = boot(
        "echo",
        machine=machine,
        cpus=2,
        extra=(
            *(*options, "-netdev", "user,id=net,restrict=on"),
            *("-device", f"virtio-net-pci,netdev=net,id=leaver,bus={bus}"),
        ),
    )
    echo.expect("listening")
    echo.command("device_del", id="leaver")
    echo.expect("type 1.: it was taken out; it is closed")
    echo.command("system_powerdown")
    assert echo.status() == 125  # 128 + SIGTERM is more than isa-debug-exit can say
