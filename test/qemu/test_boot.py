# SPDX-License-Identifier: MIT
"""Every way in: machines, loaders, CPU models, CPU counts, memory sizes; and what the kernel says
when it cannot go on."""

import re

import pytest

import guest

HELLO = "Hello from Go"
OVMF = "/usr/share/OVMF/OVMF_CODE.fd"


@pytest.mark.kvm_only("QEMU's machines and CPU models")
@pytest.mark.parametrize("cpus", (1, 4))
@pytest.mark.parametrize("cpu", ("qemu64", "max"))
@pytest.mark.parametrize("machine", ("microvm", "pc", "q35"))
def test_pvh(boot, machine, cpu, cpus):
    hello = boot("hello", machine=machine, cpu=cpu, cpus=cpus)
    hello.expect(HELLO)
    assert hello.status() == 0


@pytest.mark.kvm_only("QEMU's machines and CPU models")
@pytest.mark.parametrize(
    "features",
    (
        "x2apic",
        "rdrand,rdseed",
        "xsave",
        "avx2",
        "rdtscp",
        "fsgsbase",
        "pdpe1gb",
        "pcid",
        "tsc-deadline",
    ),
)
def test_cpu_without(boot, features):
    """A poorer CPU is slower, not broken."""
    flags = ",".join(f"{feature}=off" for feature in features.split(","))
    hello = boot("hello", cpu=f"max,{flags}", machine="q35", cpus=2)
    hello.expect(HELLO)
    assert hello.status() == 0


@pytest.mark.kvm_only("QEMU's machines and CPU models")
def test_microvm_without_acpi(boot):
    hello = boot("hello", machine="microvm,acpi=off")
    hello.expect(HELLO)
    assert hello.status() == 0


@pytest.mark.kvm_only("QEMU's machines and CPU models")
def test_no_devices(boot):
    """Without isa-debug-exit and ACPI the machine still ends, by a reset."""
    hello = boot("hello", machine="microvm,acpi=off", debug_exit=False)
    hello.expect(HELLO)
    assert hello.status() == "off"


@pytest.mark.kvm_only("QEMU's machines and CPU models")
@pytest.mark.parametrize("machine", ("pc", "q35"))
def test_acpi_power_off(boot, machine):
    hello = boot("hello", machine=machine, debug_exit=False)
    hello.expect(HELLO)
    assert hello.status() == "off"


def test_hello(boot):
    hello = boot("hello", cpus=4)
    hello.expect(HELLO)
    assert hello.status() == 0


@pytest.mark.parametrize("memory", ("64M", "1G"))
def test_memory_sizes(boot, memory):
    gc = boot("gc", memory=memory, args=["14"])
    gc.expect("ok, [0-9]+ collections")
    assert gc.status() == 0


@pytest.mark.kvm_only("the hole below 4 GiB is a PC's")
def test_memory_on_both_sides_of_the_hole(boot):
    gc = boot("gc", machine="q35", memory="5G", args=["14"])
    gc.expect("ok, [0-9]+ collections")
    assert gc.status() == 0


@pytest.mark.kvm_only("QEMU's q35; Xen has test_32_cpus")
def test_64_cpus(boot):
    hello = boot("args", machine="q35", cpus=64, memory="512M")
    hello.expect("cpus 64 gomaxprocs 64", timeout=2 * guest.TIMEOUT)
    assert hello.status() == 0


@pytest.mark.kvm_only("under Xen the domain builder says so")
@pytest.mark.parametrize("machine", ("microvm", "pc"))
def test_too_little_memory(boot, machine):
    """One clear line, no triple fault."""
    hello = boot("hello", machine=machine, memory="4M")
    assert hello.status() not in (0, "off")
    lines = [line for line in hello.text().splitlines() if "unigornel" in line or "memory" in line]
    assert len(lines) == 1 and "memory" in lines[0], hello.text()


@pytest.mark.parametrize(
    "words, complaint",
    (
        ("frobnicate", 'unknown kernel word "frobnicate"'),
        ("log=loud", "log=loud"),
        ("crash=gently", "crash=gently"),
        ("env.=x", "unknown kernel word"),
        ('hostname="x', "quote"),
    ),
)
def test_bad_kernel_words(boot, words, complaint):
    hello = boot("hello", words=words)
    assert hello.status() == 64
    lines = hello.text().strip().splitlines()
    assert len(lines) == 1 and complaint in lines[0], lines


@pytest.mark.parametrize(
    "how, cause", (("panic", "asked for by crash=panic"), ("fault", "page fault|exception|fault"))
)
def test_kernel_panic_report(boot, how, cause):
    """The cause, a trace with names, the last messages, and a status of its own."""
    hello = boot("hello", words=f"crash={how}", cpus=2)
    hello.expect(f"kernel panic on CPU [0-9]+: .*({cause})")
    assert hello.status() == 127
    text = hello.text()
    assert re.search(r"trace:\r?\n +[0-9a-f]{16} \S+", text)
    assert re.search(r"[0-9a-f]{16} core_main\+?", text)
    assert "last messages:" in text
    if how == "fault":
        assert re.search(r"rip [0-9a-f]{16}", text)


def test_log_levels(boot):
    quiet = boot("hello")
    assert quiet.status() == 0
    assert quiet.text().strip().splitlines() == ["Hello from Go, and nothing but Go."]
    debug = boot("hello", words="log=debug")
    assert debug.status() == 0
    assert len(debug.text().strip().splitlines()) > 1


def test_strace(boot):
    traced = boot("hello", words="log=strace")
    assert traced.status() == 0
    assert re.search(r'write\(1, "Hello from Go.*\) += 3', traced.text())
    assert re.search(r"exit_group\(0", traced.text())


@pytest.fixture(scope="session")
def iso(image):
    return lambda name: guest.once(
        f"{name}.iso", lambda to: guest.tool("image", "--format", "iso", "-o", to, image(name))
    )


@pytest.mark.kvm_only("GRUB on QEMU's machines")
@pytest.mark.parametrize("machine", ("pc", "q35"))
def test_grub_bios(boot, iso, machine):
    hello = boot("hello", machine=machine, iso=iso("hello"), cpus=2, memory="256M")
    hello.expect(HELLO)
    assert hello.status() == 0


@pytest.mark.kvm_only("GRUB on QEMU's machines")
def test_grub_uefi(boot, iso):
    hello = boot("hello", machine="q35", iso=iso("hello"), firmware=OVMF, cpus=2, memory="256M")
    hello.expect(HELLO)
    assert hello.status() == 0


@pytest.mark.kvm_only("GRUB on QEMU's machines")
def test_grub_runs_programs(boot, iso):
    """More than one line through the other entry: memory map, CPUs and clocks all come from
    elsewhere here."""
    gc = boot("gc", machine="q35", iso=iso("gc"), firmware=OVMF, cpus=2, memory="512M")
    gc.expect("ok, [0-9]+ collections")
    assert gc.status() == 0
