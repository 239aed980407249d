# SPDX-License-Identifier: MIT
"""The network's numbers. QEMU and the load generator (programs/netload) run in a network namespace
of their own, joined by a tap; the guest runs programs/netserve. Times are taken without a plugin;
instructions with insn_profile, in another boot: what the guest executes between two moments at which
nothing is under way, by address: the program's own, the vDSO's, and the rest, which is the kernel's."""

import bisect
import collections
import contextlib
import mmap
import os
import re
import statistics
import struct
import subprocess
import time

import elf
from machine import BUILD, ROOT, command, fail, go_build, plugin, qemu, started

HOST4, GUEST4 = "10.99.0.1", "10.99.0.2"
HOST6, GUEST6 = "fd99::1", "fd99::2"
CONNECTIONS = (1, 16, 64, 512)
IDLE_CONNECTIONS = 10_000
BOOT_PATIENCE = 60
NETDEV = "tap,id=net,ifname=tap0,script=no,downscript=no,vhost=off"
DEVICE = (
    *("-netdev", NETDEV, "-device", "virtio-net-pci,netdev=net"),
    *("-device", "virtio-rng-pci"),  # else Linux waits for entropy
)


class Namespace:
    """A network namespace with a tap. It lives as long as the process that holds it, which ends with
    its standard input, that is with us at the latest."""

    def __enter__(self):
        words = ("unshare", "--net", "sh", "-c", "echo && exec cat")
        self.holder = subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        if self.holder.stdout.readline() == b"":
            fail("`unshare --net` failed; the network is measured as root")
        set_up = f"""
            ip link set lo up
            ip tuntap add dev tap0 mode tap
            ip addr add {HOST4}/24 dev tap0
            ip addr add {HOST6}/64 dev tap0 nodad
            ip link set tap0 up"""
        command(*self.inside("sh", "-ec", set_up))
        return self

    def __exit__(self, *_):
        self.holder.stdin.close()
        self.holder.wait()

    def inside(self, *words):
        return ["nsenter", "-t", str(self.holder.pid), "--net", "--", *map(str, words)]


class Load:
    """A netload that is ready; `run` has it go to work and returns its numbers."""

    def __init__(self, space, kind, host=GUEST4, **options):
        words = [f"-{name}={value}" for name, value in options.items()]
        self.process = subprocess.Popen(
            space.inside(BUILD / "netload", "-host", host, *words, kind),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self.numbers = self.read("ready")

    def read(self, end):
        numbers = {}
        for line in self.process.stdout:
            if line.strip() == end:
                return numbers
            name, value = line.split()
            numbers[name] = float(value)
        return None

    def go(self):
        self.process.stdin.write("\n")
        self.process.stdin.flush()

    def run(self):
        if self.numbers is None:
            return None
        self.go()
        done = self.read("done")
        return None if done is None else self.numbers | done

    def __enter__(self):
        return self

    def __exit__(self, *_):
        with contextlib.suppress(OSError):
            self.process.stdin.close()
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


@contextlib.contextmanager
def serving(space, side, program, memory=512, extra=()):
    """A guest that serves; None when it does not come up."""
    boot = side.boot(program, static=True)
    words = space.inside(*qemu(boot, memory=memory, extra=(*DEVICE, *extra)))
    with started(words) as process:
        deadline = time.monotonic() + BOOT_PATIENCE
        os.set_blocking(process.stdout.fileno(), False)
        text = b""
        while b"ready" not in text and process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.02)
            text += process.stdout.read() or b""
        if b"ready" in text:
            yield process
        else:
            print(f"netserve on {side.name} did not come up:\n{text.decode(errors='replace')}")
            yield None


def http_get(space, path):
    """The body of an answer of the guest's, in words; none when there is no answer."""
    request = f"GET {path} HTTP/1.0\r\n\r\n"
    script = f"exec 3<>/dev/tcp/{GUEST4}/8080; printf '{request}' >&3; cat <&3"
    words = space.inside("timeout", "30", "bash", "-c", script)
    answer = subprocess.run(words, stdout=subprocess.PIPE, check=False).stdout.decode()
    return answer.rpartition("\r\n\r\n")[2].split()


# --- times ----------------------------------------------------------------------------------------


def loads(quick):
    """Name of the row, and what netload is to do."""
    seconds = {"time": "1s", "warm": "300ms"} if quick else {"time": "3s", "warm": "500ms"}
    mib = 64 if quick else 256
    for conns in CONNECTIONS:
        yield f"HTTP, {conns} connection{'s' if conns > 1 else ''}", ("http", GUEST4, {"conns": conns, **seconds})
    for conns in (1, 16):
        name = f"http.FileServer, 64 KiB, {conns} connection{'s' if conns > 1 else ''}"
        yield name, ("file", GUEST4, {"conns": conns, **seconds})
    yield "TCP request-response", ("rr", GUEST4, seconds)
    yield "connect-request-close", ("crc", GUEST4, seconds)
    for conns in (1, 16):
        yield f"UDP echo, {conns} under way", ("udp", GUEST4, {"conns": conns, **seconds})
    for version, guest in (("IPv4", GUEST4), ("IPv6", GUEST6)):
        yield f"TCP bulk in, {version}", ("in", guest, {"mib": mib})
        yield f"TCP bulk out, {version}", ("out", guest, {"mib": mib})


TARGETS = {  # how many times the rate of Linux
    "HTTP, 1 connection": 2,
    **{f"HTTP, {conns} connections": 2 for conns in CONNECTIONS[1:]},
    "http.FileServer, 64 KiB, 1 connection": 1.5,
    "http.FileServer, 64 KiB, 16 connections": 1.5,
    "UDP echo, 1 under way": 2,
    "UDP echo, 16 under way": 2,
    **{f"TCP bulk {way}, IPv{v}": 1 for way in ("in", "out") for v in (4, 6)},
}


def measure_times(table, sides, program, options, space):
    seen = {side.name: collections.defaultdict(list) for side in sides}
    for _ in range(options.repeat):  # alternating, so that a busy host hits both
        for side in sides:
            with serving(space, side, program) as guest:
                if guest is None:
                    continue
                for name, (kind, host, words) in loads(options.quick):
                    with Load(space, kind, host, **words) as load:
                        done = load.run()
                    if done is None or done.get("failed"):
                        print(f"{name} on {side.name}: {done}")
                    if done is not None:
                        seen[side.name][name].append((done["rate"], done.get("p99")))
                answer = http_get(space, "/loopback")
                if len(answer) == 1:
                    seen[side.name]["loopback"].append((1e9 / float(answer[0]), None))

    def median(side, name, which):
        values = [value[which] for value in seen.get(side, {}).get(name, ())]
        values = [value for value in values if value is not None]
        return statistics.median(values) if values else None

    def row(name, which, unit, target, rising):
        linux, ours = (median(side, name, which) for side in ("Linux", "ours"))
        show = lambda v: None if v is None else f"{v:,.1f} {unit}"
        ratio = None
        if linux and ours:
            ratio = ours / linux if rising else linux / ours
        label = name if which == 0 else f"{name}, p99"
        good = None if target is None or ratio is None else ratio >= target
        times = f">= {target} times" if target is not None else None
        table.add(label, show(linux), show(ours), f"{ratio:.2f}" if ratio else None, times, good)

    for name, (kind, _, _) in loads(options.quick):
        unit = {"in": "MiB/s", "out": "MiB/s"}.get(kind, "/s")
        row(name, 0, unit, TARGETS.get(name), True)
        if kind == "http":
            row(name, 1, "ms", 1, False)
    row("loopback", 0, "round trips/s", 3, True)


# --- instructions ---------------------------------------------------------------------------------


class Profile:
    """The file that insn_profile keeps."""

    SLOT = struct.Struct("<QQ")

    def __init__(self, name):
        self.path = BUILD / f"{name}.profile"
        self.words = ("-plugin", f"{plugin('insn_profile')},counts={self.path}")

    def starting_at(self, address):
        return (self.words[0], f"{self.words[1]},start={address:#x}")

    def read(self):
        """Instructions by the address of their block."""
        with open(self.path, "r+b") as file, mmap.mmap(file.fileno(), 0) as table:
            return {address: n for address, n in self.SLOT.iter_unpack(table[:]) if address and n}


class Places:
    """Whose the instructions at an address are."""

    def __init__(self, side, program):
        ours = side.name == "ours"
        image = elf.Elf(program.image if ours else program.binary)
        self.program = range(image.symbol("runtime.text"), image.symbol("runtime.etext"))
        # Linux runs its vDSO as a part of the program, and everything else of its own in the upper
        # half of the addresses.
        self.vdso = range(1 << 63)
        if ours:
            start = image.symbol("vdso_start")
            self.vdso = range(start, min(at for _, at in image.symbols() if at > start))

    def __call__(self, address):
        if address in self.program:
            return "program"
        return "vDSO" if address in self.vdso else "kernel"


def difference(before, after):
    return {at: n - before.get(at, 0) for at, n in after.items() if n != before.get(at, 0)}


def counted(space, profile, kind, words):
    """Instructions of one operation, by block; None when it did not work."""
    with Load(space, kind, **words) as load:
        time.sleep(0.3)  # what acknowledges late has done so
        before = profile.read()
        done = load.run()
        after = profile.read()
    if done is None or done.get("failed") or not done["count"]:
        print(f"{kind}: {done}")
        return None
    return {at: n / done["count"] for at, n in difference(before, after).items()}


def show_functions(name, image, place, blocks, most=70):
    """The functions in which the instructions of one operation are."""
    symbols = sorted((value, symbol) for symbol, value in elf.Elf(image).symbols() if value)
    starts = [value for value, _ in symbols]
    functions = collections.Counter()
    for at, n in blocks.items():
        functions[symbols[max(0, bisect.bisect_right(starts, at) - 1)][1], place(at)] += n
    print(f"{name}: {sum(blocks.values()):,.0f} instructions")
    for (function, owner), n in functions.most_common(most):
        print(f"{n:10,.0f} {owner:8} {function}")


# Row, what netload is to do, limits for all instructions and for the kernel's.
COUNTED = (
    ("HTTP, 1 connection", ("http", {"conns": 1}), None, 12_000),
    ("HTTP, 16 connections", ("http", {"conns": 16}), None, 6_000),
    ("HTTP, 64 connections", ("http", {"conns": 64}), None, 6_000),
    ("TCP request-response", ("rr", {}), 15_000, None),
    ("connect-request-close", ("crc", {}), 100_000, None),
    ("UDP echo, 1 under way", ("udp", {}), None, None),
)


def measure_instructions(table, sides, program, options, space):
    found = {}
    for side in sides:
        profile = Profile(side.name)
        place = Places(side, program)
        with serving(space, side, program, extra=profile.words) as guest:
            if guest is None:
                continue
            for name, (kind, words), _, _ in COUNTED:
                seconds = {"time": "2s" if options.quick else "5s"}
                blocks = counted(space, profile, kind, words | seconds)
                if blocks is not None:
                    owners = collections.Counter()
                    for at, n in blocks.items():
                        owners[place(at)] += n
                    found[side.name, name] = owners
                    if options.profile and side.name == "ours":
                        show_functions(name, program.image, place, blocks)
    for name, _, most, most_kernel in COUNTED:
        linux, ours = (found.get((side, name)) for side in ("Linux", "ours"))
        whole = lambda owners: round(owners.total()) if owners else None
        kernel = lambda owners: round(owners["kernel"]) if owners else None
        vdso = lambda owners: round(owners["vDSO"]) if owners else None
        for label, pick, limit in (
            ("", whole, most),
            (", kernel's", kernel, most_kernel),
            (", vDSO's", vdso, None),
        ):
            table.at_most(f"{name}{label}", pick(linux), pick(ours), limit, "insns")


def measure_first_reply(table, sides, program, options, space):
    """From the entry of the image to the first answer. The guest sleeps while it is asked for."""
    found = {}
    for side in sides:
        profile = Profile(side.name)
        entry = elf.Elf(program.image).pvh_entry() if side.name == "ours" else 0x100000
        with serving(space, side, program, extra=profile.starting_at(entry)) as guest:
            if guest is not None and http_get(space, "/"):
                found[side.name] = sum(profile.read().values())
    table.at_most(
        "entry to first HTTP reply", found.get("Linux"), found.get("ours"), 5_000_000, "insns"
    )


# --- many connections, and for long ---------------------------------------------------------------


def measure_idle_connections(table, sides, program, options, space):
    found = {}
    for side in sides:
        with serving(space, side, program, memory=256) as guest:
            if guest is not None:
                with Load(space, "idle", conns=IDLE_CONNECTIONS) as load:
                    done = load.run()
                print(f"{IDLE_CONNECTIONS} connections on {side.name}: {done}")
                if done is not None:
                    found[side.name] = IDLE_CONNECTIONS - int(max(done["unmade"], done["unanswered"]))
    show = lambda v: None if v is None else f"{v:,} answered"
    table.add(
        f"{IDLE_CONNECTIONS:,} idle connections, 256 MiB",
        show(found.get("Linux")),
        show(found.get("ours")),
        None,
        "all answered",
        found["ours"] == IDLE_CONNECTIONS if "ours" in found else None,
    )


def measure(table, sides, programs, options):
    program = programs["netserve"]
    go_build(ROOT / "bench" / "programs" / "netload", BUILD / "netload")
    with Namespace() as space:
        measure_instructions(table, sides, program, options, space)
        measure_first_reply(table, sides, program, options, space)
        if options.only_count:
            return
        measure_times(table, sides, program, options, space)
        measure_idle_connections(table, sides, program, options, space)


def resident_kib(process):
    """Memory of QEMU, which nsenter has become."""
    with open(f"/proc/{process.pid}/status", encoding="ascii") as status:
        return int(re.search(r"VmRSS:\s+(\d+)", status.read())[1])


def soak(table, sides, programs, options):
    """64 connections for a long time: the guest's free memory from the fifth minute on."""
    go_build(ROOT / "bench" / "programs" / "netload", BUILD / "netload")
    with Namespace() as space:
        for side in sides:
            with serving(space, side, programs["netserve"], memory=256) as guest:
                if guest is None:
                    continue
                seconds = options.minutes * 60
                samples = []
                with Load(space, "http", conns=64, time=f"{seconds:.0f}s") as load:
                    load.go()
                    begin = time.monotonic()
                    while (elapsed := time.monotonic() - begin) < seconds - 5:
                        answer = http_get(space, "/memory")
                        if len(answer) == 2:
                            free, own = map(int, answer)
                            samples.append((elapsed, free, own))
                            print(
                                f"{side.name}: {elapsed:6.0f} s, {free} KiB free, Go has {own} KiB,"
                                f" QEMU {resident_kib(guest)} KiB",
                                flush=True,
                            )
                        time.sleep(min(15, max(1, seconds - 5 - elapsed)))
                    done = load.read("done") or {}
                late = [s for s in samples if s[0] >= min(300, seconds / 2)]
                requests, failed = int(done.get("count", 0)), int(done.get("failed", 1))
                cell = f"{requests:,} answered, {failed} failed"
                row = {side.name: cell}
                name = f"soak of {options.minutes:g} minutes ({side.name})"
                table.add(name, row.get("Linux"), row.get("ours"), None, "none failed", failed == 0)
                if len(late) > 1:
                    # The least free memory of the first and of the second half of what is left.
                    half = len(late) // 2
                    first, second = (min(s[1] for s in part) for part in (late[:half], late[half:]))
                    row = {side.name: f"{first:,} to {second:,} KiB"}
                    table.add(
                        f"free memory, then ({side.name})",
                        row.get("Linux"),
                        row.get("ours"),
                        None,
                        "not 1 % less",
                        second >= first * 0.99 if side.name == "ours" else None,
                    )
