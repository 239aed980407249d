# SPDX-License-Identifier: MIT
"""The same programs as domains of a real Xen (xen/lab.py), paravirtual and with hardware
virtualisation, with what is particular to them."""

import hashlib
import random
import re
import subprocess

import guest
import pytest
from xen.lab import Domain, Lab

pytestmark = pytest.mark.xdist_group("xen")  # one laboratory for all


@pytest.fixture(scope="session")
def lab():
    made = Lab(guest.BUILD / "xen")
    yield made
    made.close()


@pytest.fixture(params=["pv", "pvh"])
def domain(request, lab, image):
    """domain(NAME, ...): the program's image as a domain of both kinds; see Lab.create."""
    return lambda name, **options: lab.create(image(name), kind=request.param, **options)


def test_functions_have_room_for_a_jump():
    """hal/xen/replace.c writes five bytes over them."""
    names = re.findall(
        r"X\((\w+)\)", (guest.ROOT / "hal/xen/xen_internal.h").read_text().replace("X(name)", "")
    )
    table = (guest.ROOT / "hal/xen/replace.c").read_text()
    names = {f"hal_{n}" for n in names} | set(re.findall(r"^    \{(\w+), \w+\},$", table, re.M))
    assert {"hal_idle", "hal_map_page", "platform_interrupt", "switch_stacks"} <= names
    text = subprocess.run(["nm", "-n", guest.KERNEL], capture_output=True, text=True, check=True)
    symbols = [line.split() for line in text.stdout.splitlines()]
    symbols = [(int(s[0], 16), s[2]) for s in symbols if len(s) == 3]
    seen = set()
    for address, name in symbols:
        if name in names:
            seen.add(name)
            assert min(a for a, _ in symbols if a > address) - address >= 5, name
    assert seen == names


def test_hello_in_16_mib(domain):
    d = domain("hello", memory=16)
    assert d.end() == "poweroff"
    assert d.text() == "Hello from Go, and nothing but Go.\n"


def test_words_and_arguments(domain):
    d = domain("args", extra="env.COLOUR=blue -- one two")
    assert d.end() == "poweroff"
    assert "one" in d.text() and "two" in d.text()


@pytest.mark.parametrize("cpus", [1, 4])
def test_collector_under_load(domain, cpus):
    d = domain("gc", memory=128, vcpus=cpus)
    assert d.end() == "poweroff"
    assert "ok, " in d.text()


def test_all_cpus_are_used(domain):
    d = domain("cpus", memory=128, vcpus=4)
    assert d.end() == "poweroff"
    assert "4 CPUs, 4 used" in d.text()


def test_vector_registers_survive(domain):
    d = domain("floats", memory=128, vcpus=2)
    assert d.end() == "poweroff"
    assert "all sums equal" in d.text()


def test_clocks_and_timers(domain):
    d = domain("timers", memory=64, vcpus=2)
    assert d.end() == "poweroff"
    assert "clocks ok" in d.text()


def test_go_panics_are_recovered(domain):
    d = domain("panics")
    assert d.end() == "poweroff"
    assert "invalid memory address or nil pointer dereference" in d.text()
    assert "still here" in d.text()


def test_no_page_is_writable_and_executable(domain):
    d = domain("wx")
    assert d.end() == "poweroff"
    assert "mmap rwx: true permission denied" in d.text()
    assert "run code: <nil>" in d.text()


def test_every_call_of_the_benchmark(domain):
    """Pages, threads and pipes of all kinds, for as long as it takes."""
    d = domain("sysbench", memory=128)
    assert d.end() == "poweroff"
    assert "sha256_8k" in d.text()


@pytest.mark.parametrize("kind", ["pv", "pvh"])
def test_a_prebuilt_program(lab, binary, kind):
    """Its SYSCALL instructions are not hypercalls."""
    built = guest.once(
        "hello-prebuilt.elf",
        lambda to: guest.tool("build", "--from", binary("hello"), "-o", to),
    )
    d = lab.create(built, kind=kind)
    assert d.end() == "poweroff"
    assert d.text() == "Hello from Go, and nothing but Go.\n"


def test_a_kernel_panic_is_a_crash_of_the_domain(domain):
    d = domain("hello", extra="crash=panic")
    assert d.end() == "crash"
    assert "asked for by crash=panic" in d.text()


def test_console_input(domain):
    d = domain("cat")
    d.write("typed on the console\n\x04")
    assert d.end() == "poweroff"
    assert "typed on the console" in d.text()


@pytest.mark.parametrize("how", ["poweroff", "reboot"])
def test_the_toolstack_asks_for_the_end(domain, how):
    d = domain("sigterm")
    d.expect("ready")
    d.shutdown(how)
    assert d.end() == how
    assert "got terminated" in d.text()


def test_disk(lab, domain):
    """Read by many at once, written, and as dom0 finds it afterwards."""
    disk = lab.folder / "disk.img"
    contents = bytearray(random.Random(1).randbytes(4 << 20))
    disk.write_bytes(contents)
    d = domain(
        "readdisk",
        memory=128,
        vcpus=2,
        extra="-- xvda written",
        more='disk=["/job/disk.img,raw,xvda,w"]',
    )
    assert d.end() == "poweroff"
    contents[1 << 20 : (1 << 20) + 7] = b"written"
    assert f"{4 << 20} bytes, {hashlib.sha256(contents).hexdigest()}" in d.text()
    assert disk.read_bytes() == contents


def test_the_configuration_that_the_tool_writes(lab, image, tmp_path):
    copy = lab.folder / "tool.elf"
    copy.write_bytes(image("args").read_bytes())
    words = ("-m", "64", "--smp", "2", "--name", "written", "--append", 'env.A="b" -- one')
    guest.tool("xen", *words, "-o", tmp_path / "c.cfg", copy)
    text = (tmp_path / "c.cfg").read_text().replace(str(lab.folder), "/job")
    (lab.folder / "written.cfg").write_text(text.replace('"destroy"', '"preserve"'))
    lab.command("xl create -e /job/written.cfg")
    d = Domain(lab, "written")
    assert d.end() == "poweroff"
    assert 'env "A=b"' in d.text() and "cpus 2" in d.text()
