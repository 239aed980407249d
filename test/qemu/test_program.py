# SPDX-License-Identifier: MIT
"""What a program meets: its words and streams, its end, its CPUs, its memory and its signals, as on
Linux."""

import re
import subprocess

import pytest

import guest


@pytest.mark.parametrize(
    "args, status, message",
    (
        (("exit", "0"), 0, ""),
        (("exit", "3"), 3, ""),
        (("exit", "124"), 124, ""),
        (("exit", "127"), 127, ""),
        (("exit", "255"), 255, ""),
        (("panic",), 2, "panic: as asked\n\ngoroutine 1 \\[running\\]:\nmain.main\\(\\)"),
        (("deadlock",), 2, "fatal error: all goroutines are asleep - deadlock!"),
        (
            ("nil",),
            2,
            "panic: runtime error: invalid memory address or nil pointer dereference\n"
            r"\[signal SIGSEGV: segmentation violation code=0x1 addr=0x28 pc=0x[0-9a-f]+\]",
        ),
        (
            ("divide",),
            2,
            r"panic: runtime error: integer divide by zero\n\[signal SIGFPE|"
            "panic: runtime error: integer divide by zero",
        ),
        (("stackoverflow", "30000000"), 2, "runtime: goroutine stack exceeds 30000000-byte limit"),
    ),
    ids=lambda v: "-".join(v) if isinstance(v, tuple) else "",
)
def test_ends(run, args, status, message):
    done = run("panics", *args, options=("-m", "128M"))
    assert done.status == status
    assert re.search(message, done.stderr), done.stderr
    assert done.stdout == ""


def test_the_largest_stack(run):
    """Go's limit is 1 GB of stack, and it copies stacks."""
    done = run("panics", "stackoverflow", options=("-m", "1536M"))
    assert done.status == 2
    assert "runtime: goroutine stack exceeds 1000000000-byte limit" in done.stderr


def test_hello(run):
    done = run("hello")
    assert (done.status, done.stdout, done.stderr) == (
        0,
        "Hello from Go, and nothing but Go.\n",
        "",
    )


@pytest.mark.parametrize("cpus", ("1", "4"))
def test_recover(run, cpus):
    done = run("panics", options=("--smp", cpus))
    assert done.status == 0
    assert done.stdout == (
        "recovered from nil dereference: "
        "runtime error: invalid memory address or nil pointer dereference\n"
        "recovered from division: runtime error: integer divide by zero\n"
        "recovered from index: runtime error: index out of range [1] with length 1\n"
        "still here\n"
    )


def test_out_of_memory(run):
    """Go's own words, not a hang and not the kernel's."""
    done = run("panics", "oom", options=("-m", "128M"))
    assert done.status == 2
    assert re.search(
        "fatal error: (runtime: )?(out of memory|cannot allocate memory)", done.stderr
    ), done.stderr
    assert "kernel panic" not in done.stderr


def test_streams(run):
    """Every byte arrives as it was, each stream by itself; nothing at the end is lost or added."""
    done = run("streams")
    everything = bytes(range(256))
    assert done.status == 0
    assert done.stdout_bytes == everything * 1025 + b"no newline at the end"
    assert done.stderr == "to standard error\n"


@pytest.mark.kvm_only("the pipes of `unigornel run`")
def test_streams_into_one_file(image, tmp_path):
    """With `2>&1` both keep their order, and no byte passes for a record of the hostlink's."""
    everything = bytes(range(256))
    with open(tmp_path / "out", "wb") as out:
        status = subprocess.call(
            [guest.UNIGORNEL, "run", image("streams")],
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=out,
            timeout=guest.TIMEOUT,
        )
    assert status == 0
    assert (tmp_path / "out").read_bytes() == (
        everything + b"to standard error\n" + everything * 1024 + b"no newline at the end"
    )


def test_kernel_messages_keep_off_stdout(run):
    done = run("hello", options=("--log", "debug"))
    assert done.stdout == "Hello from Go, and nothing but Go.\n"
    assert len(done.stderr.splitlines()) > 1


def test_words(run):
    done = run(
        "args",
        "one",
        "two words",
        'quo"te',
        "back\\slash",
        "",
        "--",
        "-x",
        options=("--smp", "3", "--env", "NAME=a value", "--env", "EMPTY="),
    )
    lines = done.stdout.splitlines()
    assert done.status == 0
    assert lines[1:8] == [
        f"argv[{i}] {text}"
        for i, text in enumerate(
            ('"one"', '"two words"', r'"quo\"te"', r'"back\\slash"', '""', '"--"', '"-x"'), 1
        )
    ]
    assert [line for line in lines if line.startswith("env ")] == [
        'env "NAME=a value"',
        'env "EMPTY="',
        'env "HOME=/root"',
    ]
    assert 'cwd "/" <nil>' in lines
    assert "cpus 3 gomaxprocs 3" in lines
    assert "page size 4096" in lines
    assert "pid 1" in lines


def test_stdin(run):
    """All of it, escapes of the link included, and then its end."""
    text = bytes(range(256)) * 64 + b"\x10\x04\x10\x10 the last line"
    done = run("cat", stdin=text)
    assert done.status == 0
    assert done.stdout_bytes == text
    assert done.stderr == f"{len(text)} bytes\n"


def test_empty_stdin(run):
    done = run("cat", stdin=b"")
    assert (done.status, done.stdout, done.stderr) == (0, "", "0 bytes\n")


@pytest.mark.parametrize("cpus", (1, 2, 4))
def test_primes_on_all_cpus(run, cpus):
    done = run("primes", "300000", options=("--smp", cpus))
    assert done.status == 0
    assert done.stdout.startswith(f"25997 primes below 300000, {cpus} workers on {cpus} CPUs, ")


@pytest.mark.parametrize("cpus", (1, 4))
def test_every_cpu_runs_threads(run, cpus):
    done = run("cpus", options=("--smp", cpus))
    assert (done.status, done.stdout) == (0, f"{cpus} CPUs, {cpus} used\n")


@pytest.mark.parametrize("cpus", (1, 4))
def test_goroutines(run, cpus):
    done = run("goroutines", options=("--smp", cpus, "-m", "512M"))
    assert (done.status, done.stdout) == (0, "100000 goroutines, sum 4999950000\n")


@pytest.mark.parametrize("cpus", (1, 4))
def test_gc(run, cpus):
    done = run("gc", "15", options=("--smp", cpus, "-m", "256M"))
    assert done.status == 0
    assert re.search("ok, [0-9]+ collections\n$", done.stdout)


@pytest.mark.parametrize("cpus, procs", ((1, 1), (2, 1), (2, 2), (4, 4), (2, 6)))
def test_preemption(run, cpus, procs):
    done = run("preempt", str(procs), options=("--smp", cpus))
    assert (done.status, done.stdout) == (0, f"preempted with {procs}\n")


@pytest.mark.parametrize("cpus", (1, 4))
def test_profile(run, cpus):
    done = run("profile", options=("--smp", cpus))
    assert (done.status, done.stdout) == (0, "burn in profile: true true\n")


@pytest.mark.parametrize("cpus", (1, 4))
def test_registers_survive(run, cpus):
    done = run("floats", options=("--smp", cpus, "-m", "256M"))
    assert (done.status, done.stdout) == (0, "all sums equal\n")


@pytest.mark.parametrize("cpus", (1, 4))
def test_timers(run, cpus):
    done = run("timers", options=("--smp", cpus))
    assert (done.status, done.stdout) == (0, "clocks ok\n")


def test_write_xor_execute(run):
    done = run("wx")
    assert done.status == 0
    assert done.stdout.splitlines()[0] == "mmap rwx: true permission denied"
    assert "mprotect rwx: true permission denied" in done.stdout
    assert re.search("^write to code: runtime error: ", done.stdout, re.M)
    assert re.search("^run data: runtime error: ", done.stdout, re.M)
    assert "mprotect rx: <nil>\nrun code: <nil>\n" in done.stdout
