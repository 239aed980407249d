# SPDX-License-Identifier: MIT
"""Running things: the tool, Go, and QEMU with its serial line and its monitor."""

import contextlib
import fcntl
import itertools
import json
import os
import pathlib
import signal
import socket
import subprocess
import time

import pexpect

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
UNIGORNEL = ROOT / "build" / "bin" / "unigornel"
KERNEL = ROOT / "build" / "kernel.elf"
BUILD = ROOT / "build" / "test-qemu"

# Long enough for TCG on a busy machine: a test that reaches it has hung.
TIMEOUT = 180

# isa-debug-exit's port (goruntime/gate.h); QEMU's status is (value << 1) | 1.
DEBUG_EXIT = ("-device", "isa-debug-exit,iobase=0xf4,iosize=0x04")

_transcripts = []
_processes = []
_machines = []
_numbers = itertools.count()


def transcripts():
    return _transcripts + [(m.title, m.text()) for m in _machines]


def register(machine):
    """Something that boots: its title and text() are reported, destroy() ends it with the test."""
    _machines.append(machine)


def forget_transcripts():
    _transcripts.clear()
    _machines.clear()


def end_all():
    """Ends each process group that is still there."""
    for process in _processes:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    _processes.clear()
    for machine in _machines:
        machine.destroy()


class Result:
    """How a command ended and what it said."""

    def __init__(self, words, status, stdout, stderr):
        self.words, self.status = words, status
        self.stdout, self.stderr = stdout.decode(errors="replace"), stderr.decode(errors="replace")
        self.stdout_bytes = stdout

    def __repr__(self):
        return f"<{' '.join(self.words)}: status {self.status}>"


def start(*words, folder=None, env=None):
    """Starts a command in a process group of its own, which ends with the test."""
    process = subprocess.Popen(
        [str(w) for w in words],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        cwd=folder,
        env=dict(os.environ, **(env or {})),
        start_new_session=True,
    )
    _processes.append(process)
    return process


def result(*words, stdin=b"", timeout=TIMEOUT, folder=None, env=None):
    """Runs a command to its end; its whole process group is killed when it takes too long."""
    words = [str(w) for w in words]
    process = start(*words, folder=folder, env=env)
    try:
        stdout, stderr = process.communicate(stdin, timeout)
        status = process.returncode
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        stdout, stderr = process.communicate()
        status = "timeout"
    done = Result(words, status, stdout, stderr)
    _transcripts.append(
        (f"{' '.join(words)} [{status}]", f"{done.stdout}\n--- stderr\n{done.stderr}")
    )
    return done


def tool_result(*words, **options):
    return result(UNIGORNEL, *words, **options)


def succeed(done):
    if done.status != 0:
        raise RuntimeError(f"{done}\n{done.stdout}{done.stderr}")
    return done


def tool(*words, **options):
    return succeed(tool_result(*words, timeout=600, **options))


def go(*words, env=None, **options):
    return succeed(
        result("go", *words, timeout=600, env={"CGO_ENABLED": "0", **(env or {})}, **options)
    )


@contextlib.contextmanager
def locked(path, how=fcntl.LOCK_EX):
    """Holds a lock among the workers, of which the file is only the name."""
    with open(path, "w") as lock:
        fcntl.flock(lock, how)
        yield


def once(name, make):
    """The file `name` in the build folder, made by make(path) by whichever worker comes first."""
    path = BUILD / name
    with locked(BUILD / f"{name}.lock"):
        if not path.exists():
            making = BUILD / f"{name}.new"
            make(making)
            making.rename(path)
    return path


class Machine:
    """A QEMU that boots an image by itself, its serial line under pexpect. Standard output and
    error of the program and the kernel's log all come out of the serial line. `words` are the
    kernel's, `args` the program's; `iso` boots that file instead of the image, `firmware` is the
    path of a UEFI's code."""

    def __init__(
        self,
        image,
        machine="microvm",
        cpus=1,
        cpu="max",
        memory=128,
        words="",
        args=(),
        iso=None,
        firmware=None,
        debug_exit=True,
        extra=(),
    ):
        command = [
            "-machine",
            machine,
            "-accel",
            "tcg",
            "-cpu",
            cpu,
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
            *(DEBUG_EXIT if debug_exit else ()),
        ]
        if iso:
            command += ["-cdrom", str(iso)]
        else:
            append = " ".join([words, *(["--", *args] if args else [])]).strip()
            command += ["-kernel", str(image), *(["-append", append] if append else [])]
        if firmware:
            command += ["-drive", f"if=pflash,format=raw,readonly=on,file={firmware}"]
        # Short, since a socket's path has at most 107 characters; relative to QEMU's working
        # directory.
        self.monitor = BUILD / f"qmp-{os.getpid()}-{next(_numbers)}"
        command += ["-qmp", f"unix:{self.monitor.name},server=on,wait=off", *extra]
        self.title = "qemu-system-x86_64 " + " ".join(command)
        self.log = open(BUILD / f"{self.monitor.name}.log", "w+b")
        self.serial = pexpect.spawn(
            "qemu-system-x86_64", command, timeout=TIMEOUT, cwd=str(BUILD), echo=False
        )
        self.serial.logfile_read = self.log
        register(self)

    @property
    def pid(self):
        return self.serial.pid

    def text(self):
        if not self.log.closed:
            self.log.flush()
        return pathlib.Path(self.log.name).read_bytes().decode(errors="replace")

    def expect(self, pattern, **options):
        """Waits for the pattern on the serial line; returns pexpect's match."""
        self.serial.expect(pattern, **options)
        return self.serial.match

    def status(self):
        """Waits for the end. The status that the guest gave to isa-debug-exit, or "off" when it
        switched the machine off."""
        self.serial.expect(pexpect.EOF)
        self.serial.close()
        if self.serial.signalstatus is not None:
            return f"signal {self.serial.signalstatus}"
        return self.serial.exitstatus >> 1 if self.serial.exitstatus & 1 else "off"

    def command(self, name, /, **arguments):
        """A QMP command; returns what it returns, or None when QEMU ended before it could say."""
        with socket.socket(socket.AF_UNIX) as connection:
            deadline = time.monotonic() + TIMEOUT
            while True:  # QEMU makes the socket a little after it has started
                try:
                    connection.connect(str(self.monitor))
                    break
                except (FileNotFoundError, ConnectionRefusedError):
                    if time.monotonic() > deadline:
                        raise
                    time.sleep(0.1)
            connection.settimeout(TIMEOUT)
            stream = connection.makefile("rw")
            stream.readline()  # the greeting
            for request in (
                {"execute": "qmp_capabilities"},
                {"execute": name, "arguments": arguments},
            ):
                stream.write(json.dumps(request) + "\n")
                stream.flush()
                answer = {"event": None}
                while "event" in answer:
                    try:
                        line = stream.readline()
                    except ConnectionResetError:
                        line = ""
                    if not line:
                        return None
                    answer = json.loads(line)
            return answer["return"]

    def cpu_seconds(self):
        """What QEMU has used so far, all its threads together."""
        fields = pathlib.Path(f"/proc/{self.pid}/stat").read_text().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def destroy(self):
        if self.serial.isalive():  # close() would not wait long enough on a busy machine
            self.serial.kill(signal.SIGKILL)
            self.serial.wait()
        self.serial.close()
        self.log.close()
        self.monitor.unlink(missing_ok=True)
