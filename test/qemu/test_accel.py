# SPDX-License-Identifier: MIT
"""`--accel auto`: KVM is taken only where the kernel has come up under it, and a machine that KVM
cannot run ends the command."""

import os
import pathlib
import shutil
import time

import pytest

import guest


@pytest.fixture
def fake(tmp_path, image):
    """fake(SCRIPT, ...): a tool with a probe answer of its own runs hello, with this shell script
    for QEMU under KVM and the real one otherwise."""
    if not os.access("/dev/kvm", os.R_OK | os.W_OK):
        pytest.skip("the tool does not probe without /dev/kvm")
    (tmp_path / "bin").mkdir()
    shutil.copy(guest.UNIGORNEL, tmp_path / "bin")
    shutil.copy(guest.KERNEL, tmp_path)
    real = shutil.which("qemu-system-x86_64")
    qemu = tmp_path / "path" / "qemu-system-x86_64"
    qemu.parent.mkdir()
    program = image("hello")

    def run(script, *options):
        qemu.write_text(
            f'#!/bin/bash\ncase " $* " in\n*" -accel kvm "*) {script} ;;\n*) exec {real} "$@" ;;\nesac\n'
        )
        qemu.chmod(0o755)
        path = f"{qemu.parent}:{os.environ['PATH']}"
        return guest.result(
            tmp_path / "bin" / "unigornel", "run", *options, program, env={"PATH": path}
        )

    return run


def test_kernel_answers_the_probe():
    """What the tool boots: status 42 after all CPUs are up and a timer has ended a halt."""
    assert guest.Machine(guest.KERNEL, cpus=2, memory=32, words="probe").status() == 42


def test_takes_kvm_where_the_kernel_comes_up(fake):
    done = fake("exit 85", "--dry-run")
    assert done.status == 0 and "-accel kvm" in done.stdout


def test_takes_tcg_where_the_kernel_hangs(fake, tmp_path):
    """The probe's QEMU is killed, and the answer is kept until the host's next boot."""
    pid = tmp_path / "pid"
    done = fake(f"echo $$ > {pid}; exec sleep 1000", "-v")
    assert done.status == 0 and "Hello" in done.stdout and "took tcg" in done.stderr
    assert not pathlib.Path(f"/proc/{pid.read_text().strip()}").exists()
    begin = time.monotonic()
    assert "-accel tcg" in fake("exit 85", "--dry-run").stdout
    assert time.monotonic() - begin < 4


@pytest.mark.parametrize("script", ("exit 1", "exit 0", "kill -9 $$", "exit 129"))
def test_takes_tcg_where_qemu_fails(fake, script):
    assert "-accel tcg" in fake(script, "--dry-run").stdout


@pytest.mark.parametrize(
    "words", ("KVM internal error. Suberror: 1", "error: kvm run failed Bad address")
)
def test_ends_a_machine_that_kvm_stops(fake, words):
    """QEMU would keep the stopped machine for ever."""
    done = fake(f"echo {words} >&2; exec sleep 1000", "--accel", "kvm")
    assert done.status == 71 and "--accel tcg" in done.stderr
