# SPDX-License-Identifier: MIT
"""The machine seen from the host: the power button, an idle guest, gdb."""

import os
import re
import time

import pexpect
import pytest

import guest


@pytest.mark.kvm_only("ACPI's power button; Xen has control/shutdown, see test_xen.py")
@pytest.mark.parametrize("machine", ("pc", "q35"))
def test_power_button(boot, machine):
    """SIGTERM reaches the program, which decides how it ends."""
    program = boot("sigterm", machine=machine, cpus=2)
    program.expect("ready")
    program.command("system_powerdown")
    program.expect("got terminated")
    assert program.status() == 7


@pytest.mark.kvm_only("ACPI's power button; Xen has control/shutdown, see test_xen.py")
def test_power_button_ends_a_program_that_does_not_care(boot):
    program = boot("cat", machine="q35")
    time.sleep(2)  # cat says nothing when it starts
    program.command("system_powerdown")
    assert program.status() == 125  # 128 + SIGTERM is more than isa-debug-exit can say


def test_kernel_panic_has_a_status_of_its_own(run):
    done = run("hello", options=("--append", "crash=panic"))
    assert done.status == 70
    assert "kernel panic" in done.stderr and done.stdout == ""


@pytest.mark.kvm_only("QEMU's own CPU time; for Xen see test_xen.py")
@pytest.mark.parametrize("cpus", (1, 4))
def test_idle_guest_sleeps(boot, cpus):
    """With nothing to run every CPU halts and no tick comes; bench/ holds it to 2 %."""
    program = boot("sigterm", machine="q35", cpus=cpus)
    program.expect("ready")
    time.sleep(2)
    before = program.cpu_seconds()
    time.sleep(5)
    assert program.cpu_seconds() - before < 0.2 * 5


@pytest.mark.kvm_only("a 16550; for Xen's console see test_xen.py")
def test_serial_input(boot):
    """Lines typed at a plain serial console reach the program."""
    program = boot("cat", machine="pc", words="log=info")
    program.expect("cat enters")  # the firmware loses what is typed before
    for _ in range(guest.TIMEOUT // 5):  # what comes before the line is set up is lost
        program.serial.send("typed\r\n")
        if program.serial.expect(["typed", pexpect.TIMEOUT], timeout=5) == 0:
            return
    raise AssertionError("nothing came back")


@pytest.mark.kvm_only("QEMU's gdb server")
def test_gdb(image, boot):
    """gdb finds the kernel's and the program's symbols in the image, and stops in both."""
    gate = guest.BUILD / f"gdb-{time.monotonic_ns()}"
    boot("hello", machine="q35", extra=("-S", "-gdb", f"unix:{gate.name},server=on,wait=off"))
    deadline = time.monotonic() + guest.TIMEOUT
    while not gate.exists() and time.monotonic() < deadline:
        time.sleep(0.1)
    done = guest.result(
        "gdb",
        "-batch",
        "-nx",
        "-ex",
        "set architecture i386:x86-64",
        "-ex",
        f"target remote {gate}",
        "-ex",
        "hbreak core_main",
        "-ex",
        "hbreak main.main",
        "-ex",
        "continue",
        "-ex",
        "continue",
        "-ex",
        "bt",
        image("hello"),
    )
    gate.unlink(missing_ok=True)
    assert re.search(r"Breakpoint 1, .*core_main", done.stdout), done.stdout
    assert re.search(r"Breakpoint 2, .*main\.main", done.stdout), done.stdout


def test_run_gdb(image):
    """`unigornel run --gdb` on a terminal: gdb with the sources of the kernel and the names of the
    program; the machine ends with it."""
    gdb = pexpect.spawn(
        str(guest.UNIGORNEL),
        ["run", "--gdb", str(image("hello"))],
        env=dict(os.environ, TERM="dumb", PAGER="cat"),
        timeout=guest.TIMEOUT,
        echo=False,
    )
    try:
        gdb.expect_exact("(gdb) ")
        assert b"boot/entry.asm" in gdb.before
        for words, answer in (
            ("hbreak core_main", "core/main.c"),
            ("continue", "Breakpoint .*core_main"),
            ("hbreak main.main", "hello/main.go"),
            ("continue", "Breakpoint .*main.main"),
        ):
            gdb.sendline(words)
            gdb.expect_exact("(gdb) ")
            assert re.search(answer, gdb.before.decode()), gdb.before
        gdb.sendline("quit")
        gdb.expect(pexpect.EOF)
    finally:
        gdb.close(force=True)
    assert gdb.exitstatus == 0
