# SPDX-License-Identifier: MIT
"""The numbers under Xen: our image and Debian's Linux as paravirtual domains of one dom0, in the
laboratory of the tests (test/qemu/xen): a real hypervisor in QEMU under TCG. Each number is the
median of runs that alternate. The load of the network comes from dom0, which both share."""

import contextlib
import os
import re
import shutil
import statistics
import sys
import time

from machine import BUILD, ROOT, go_build, initramfs

sys.path.append(str(ROOT / "test" / "qemu"))

from xen import build as laboratory  # noqa: E402
from xen.lab import VIF, Lab, wait_for  # noqa: E402

LINUX_WORDS = "console=hvc0 quiet panic=-1"
MEMORY, LINUX_MEMORY = 64, 160  # MiB; Linux does not come up with much less
GUEST4, GUEST6 = "10.0.0.2", "fd00::2"
DISK_SIZE = 64 << 20
CALLS = {"getppid": 50, "time_now": None, "futex_handover": None, "pipe_round_trip": None}


class Side:
    """`name` of the table, and how a program's domain is configured."""

    def __init__(self, name, lab, programs):
        self.name, self.lab, self.programs = name, lab, programs

    def file(self, path):
        shared = self.lab.folder / path.name
        if not shared.exists():
            shutil.copyfile(path, shared)
        return f"/job/{path.name}"

    def with_modules(self, program):
        """The program in an initramfs that has the front ends' drivers."""
        path = BUILD / f"{program.name}-xen.cpio"
        files = {"init": BUILD / "linux_init", program.name: program.binary}
        files.update({f"module-{m.name}": m for m in laboratory.LAB.glob("*.ko")})
        return initramfs(path, files)

    def configuration(self, program, arguments, network, disk):
        program = self.programs[program]
        settings = {}
        if network:
            settings = {"BENCH_IP": f"{GUEST4}/24", "BENCH_IP6": f"{GUEST6}/64"}
            settings["BENCH_WAIT"] = "/sys/class/net/eth0"
        elif disk:
            settings["BENCH_WAIT"] = "/dev/xvda"
        if self.name == "ours":
            words = [f"ip={GUEST4}/24", f"ip6={GUEST6}/64"] if network else []
            files = f'kernel = "{self.file(program.image)}"'
            memory = 256 if network else MEMORY
        else:
            initrd = program.initrd_alone
            if network or arguments:
                initrd = self.with_modules(program)
            words = [LINUX_WORDS, *(f"{n}={v}" for n, v in settings.items())]
            if initrd != program.initrd_alone:
                arguments = [f"/{program.name}", *arguments]
            kernel = self.file(laboratory.LAB / "dom0")
            files = f'kernel = "{kernel}"\nramdisk = "{self.file(initrd)}"'
            memory = 256 if network else LINUX_MEMORY
        line = " ".join([*words, *(["--", *arguments] if arguments else [])])
        more = VIF if network else ""
        if disk:
            more = 'disk = ["/job/disk.img,raw,xvda,r"]'
        return f'type = "pv"\n{files}\ncmdline = "{line}"\nmemory = {memory}\nvcpus = 1\n{more}\n'

    @contextlib.contextmanager
    def started(self, program, arguments=(), network=False, disk=False, paused=False):
        domain = self.lab.start(
            self.configuration(program, arguments, network, disk), paused=paused
        )
        try:
            yield domain
        finally:
            domain.destroy()


def measure_start(table, sides, programs, options):
    """To hello's line: from `xl create`, most of whose time is the toolstack's, and from the moment
    at which the domain may run."""
    seen = {"create": {}, "unpause": {}}
    for _ in range(3 if options.quick else 7):
        for side in sides:
            for how in seen:
                paused = how == "unpause"
                begin = time.monotonic()
                with side.started("hello", paused=paused) as domain:
                    if paused:
                        begin = time.monotonic()
                        domain.unpause()
                    wait_for(f"hello on {side.name}", lambda: b"Hello" in domain.said(), pause=0.002)
                    seen[how].setdefault(side.name, []).append((time.monotonic() - begin) * 1000)
    for how, times in seen.items():
        linux, ours = (round(statistics.median(times[s.name]), 1) for s in sides)
        good = linux / ours >= 10 if how == "create" else None
        table.add(
            f"Xen: xl {how} to first line",
            *(f"{linux} ms", f"{ours} ms", f"{linux / ours:.1f}"),
            ">= 10 times" if how == "create" else None,
            good,
        )


def measure_calls(table, sides, programs, options):
    seen = {side.name: {} for side in sides}
    for _ in range(options.repeat):
        for side in sides:
            arguments = ["-run", "|".join(CALLS), "-time", "100ms" if options.quick else "300ms"]
            with side.started("sysbench", arguments) as domain:
                domain.expect(r"pipe_round_trip .* ns/op")
                for name, value in re.findall(r"(?m)^(\w+) ([0-9.]+) ns/op", domain.text()):
                    seen[side.name].setdefault(name, []).append(float(value))
    for name, target in CALLS.items():
        linux, ours = (statistics.median(seen[side.name][name]) for side in sides)
        table.add(
            f"Xen: {name}",
            *(f"{linux:,.1f} ns", f"{ours:,.1f} ns", f"{linux / ours:.1f}"),
            f">= {target} times" if target else None,
            linux / ours >= target if target else None,
        )


def dom0_load(lab, kind, **options):
    """The numbers of a netload in dom0 that loads the domain; None when it fails."""
    words = " ".join(f"-{name}={value}" for name, value in options.items())
    text = lab.command(f"echo | /job/netload -host {GUEST4} {words} {kind} || true")
    numbers = {n: float(v) for n, v in re.findall(r"(?m)^(\w+) ([0-9.]+)$", text)}
    return numbers if "rate" in numbers and not numbers.get("failed") else None


def measure_network(table, sides, programs, options):
    time_options = {"time": "1s", "warm": "300ms"} if options.quick else {"time": "3s", "warm": "500ms"}
    loads = {
        "HTTP, 1 connection": ("http", {"conns": 1, **time_options}, "/s", 2),
        "HTTP, 16 connections": ("http", {"conns": 16, **time_options}, "/s", 2),
        "TCP bulk in": ("in", {"mib": 32 if options.quick else 128}, "MiB/s", 1),
        "TCP bulk out": ("out", {"mib": 32 if options.quick else 128}, "MiB/s", 1),
    }
    netload = BUILD / "netload"
    go_build(ROOT / "bench" / "programs" / "netload", netload)
    shutil.copy(netload, sides[0].lab.folder)
    seen = {(name, side.name): [] for name in loads for side in sides}
    for _ in range(options.repeat):
        for side in sides:
            with side.started("netserve", network=True) as domain:
                domain.expect("ready")
                for name, (kind, words, _, _) in loads.items():
                    numbers = dom0_load(side.lab, kind, **words)
                    if numbers:
                        seen[name, side.name].append(numbers["rate"])
                    else:
                        print(f"{name} on {side.name} failed")
    for name, (_, _, unit, target) in loads.items():
        add_rates(table, name, unit, target, *(seen[name, side.name] for side in sides))


def add_rates(table, name, unit, target, linux, ours):
    """A row of rates, of which larger ones are better."""
    linux, ours = (statistics.median(v) if v else None for v in (linux, ours))
    show = lambda v: None if v is None else f"{v:,.1f} {unit}"
    ratio = ours / linux if linux and ours else None
    table.add(
        f"Xen: {name}",
        *(show(linux), show(ours), f"{ratio:.2f}" if ratio else None),
        f">= {target} times",
        bool(ratio and ratio >= target),
    )


def measure_disk(table, sides, programs, options):
    disk = sides[0].lab.folder / "disk.img"
    disk.write_bytes(os.urandom(DISK_SIZE))
    names = {"read_cold": "MiB/s", "random_4k": "reads/s"}
    seen = {(name, side.name): [] for name in names for side in sides}
    for _ in range(options.repeat):
        for side in sides:
            with side.started("disks", ["/dev/xvda"], disk=True) as domain:
                domain.expect("open_stat_close ")
                for name, value in re.findall(r"(?m)^(\w+) ([0-9.]+)$", domain.text()):
                    if name in names:
                        seen[name, side.name].append(float(value))
    for name, unit in names.items():
        add_rates(table, name, unit, 1, *(seen[name, side.name] for side in sides))


def measure(table, sides, programs, options):
    if len(sides) != 2:
        print("xen: measured on both sides together only")
        return
    lab = Lab(BUILD / "xen")
    try:
        # As Xen has it: dom0 makes the load, and must not take all of the CPU from who answers.
        lab.command("xl sched-credit2 -d Domain-0 -w 256")
        both = [Side(side.name, lab, programs) for side in sides]
        measure_start(table, both, programs, options)
        measure_calls(table, both, programs, options)
        measure_network(table, both, programs, options)
        measure_disk(table, both, programs, options)
    finally:
        lab.close()
