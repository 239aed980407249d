# SPDX-License-Identifier: MIT
"""What the benchmarks share: where things are, commands of the preparation, and QEMU with its flags."""

import contextlib
import os
import pathlib
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent
BUILD = ROOT / "build" / "bench"


def fail(message):
    sys.exit(f"bench: {message}")


def command(*words, **options):
    """Runs a command of the preparation; its output is shown only when it fails."""
    done = subprocess.run(
        [str(w) for w in words],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        **options,
    )
    if done.returncode != 0:
        fail(f"`{' '.join(map(str, words))}` failed with status {done.returncode}\n{done.stdout}")
    return done.stdout


cpu_model = "max"  # --cpu


def plugin(name):
    """A TCG plugin of this folder, built."""
    path = BUILD / f"{name}.so"
    flags = ("-O2", "-Wall", "-Wextra", "-Werror", "-shared", "-fPIC")
    command("gcc", *flags, "-o", path, ROOT / "bench" / f"{name}.c")
    return path


def go_build(folder, binary):
    """A program built statically for the host or the Linux guest."""
    environment = dict(os.environ, CGO_ENABLED="0")
    command("go", "build", "-o", binary, ".", cwd=folder, env=environment)


def initramfs(path, files):
    """Writes a cpio archive of executables (Linux,
    Documentation/driver-api/early-userspace/buffer-format.rst)."""
    archive = bytearray()
    entries = [
        (name, 0o100755, pathlib.Path(source).read_bytes()) for name, source in files.items()
    ]
    for number, (name, mode, data) in enumerate(entries + [("TRAILER!!!", 0, b"")], 1):
        fields = (number, mode, 0, 0, 1, 0, len(data), 0, 0, 0, 0, len(name) + 1, 0)
        archive += b"070701" + b"".join(b"%08x" % f for f in fields) + name.encode() + b"\0"
        archive += bytes(-len(archive) % 4) + data
        archive += bytes(-len(archive) % 4)
    path.write_bytes(archive)
    return path


def qemu(boot, cpus=1, memory=512, machine="pc", extra=()):
    return [
        "qemu-system-x86_64",
        "-machine",
        machine,
        "-accel",
        "tcg",
        "-cpu",
        cpu_model,
        "-smp",
        str(cpus),
        "-m",
        str(memory),
        "-nodefaults",
        "-no-user-config",
        "-display",
        "none",
        "-no-reboot",
        "-serial",
        "stdio",
        "-device",
        "isa-debug-exit,iobase=0xf4,iosize=0x04",
        *extra,
        *boot,
    ]


@contextlib.contextmanager
def started(words):
    """A QEMU that is gone afterwards."""
    process = subprocess.Popen(
        words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def output_of(words, timeout):
    """All that a boot prints, also when it had to be ended."""
    process = subprocess.Popen(
        words, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )
    try:
        text, _ = process.communicate(timeout=timeout)
    except subprocess.TimeoutExpired:
        process.kill()
        text, _ = process.communicate()
    return text.decode(errors="replace")
