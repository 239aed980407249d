# SPDX-License-Identifier: MIT
"""What is particular to domains of Xen (xen/lab.py), paravirtual and with hardware virtualisation;
most tests of the other files run there too."""

import gzip
import hashlib
import random
import re
import socket
import subprocess
import threading
import time

import guest
import pytest
from xen.lab import GUEST, TIMEOUT, VIF, wait_for


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
    d = domain("hello", "-m", 16)
    assert d.end() == "poweroff"
    assert d.text() == "Hello from Go, and nothing but Go.\n"


@pytest.mark.parametrize("kind", ["pv", "pvh"])
def test_a_compressed_image(lab, image, kind):
    (lab.folder / "hello.gz").write_bytes(gzip.compress(image("hello").read_bytes()))
    d = lab.start(f'type = "{kind}"\nkernel = "/job/hello.gz"\nmemory = 32\nvcpus = 1')
    assert d.end() == "poweroff" and d.exit_status == 0
    assert "Hello" in d.text()


def test_32_cpus(domain):
    d = domain("args", "-m", 128, "--smp", 32)
    assert d.end() == "poweroff"
    assert "cpus 32 gomaxprocs 32" in d.text()


def test_every_call_of_the_benchmark(domain):
    """Pages, threads and pipes of all kinds, for as long as it takes."""
    d = domain("sysbench", "-m", 128)
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
    d = domain("hello", "--append", "crash=panic")
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
        *("-m", 128, "--smp", 2, "--disk", disk),
        args=("xvda", "written"),
    )
    assert d.end() == "poweroff"
    contents[1 << 20 : (1 << 20) + 7] = b"written"
    assert f"{4 << 20} bytes, {hashlib.sha256(contents).hexdigest()}" in d.text()
    assert disk.read_bytes() == contents


def test_disk_back_ends_come_and_go(lab, domain):
    """What the program writes and reads meanwhile is right, and nothing fails, until the toolstack
    detaches the disk. Another driver has the same rings, a state of the back end brings new ones."""
    disk = lab.folder / "disk.img"
    disk.write_bytes(bytes(2 << 20))
    d = domain(
        "disk",
        *("-m", 128, "--smp", 2, "--disk", disk, "--log", "info"),
        args=("survive", "/dev/xvda"),
    )
    number = lab.command(f"xl domid {d.name}").strip()
    backend = f"/local/domain/0/backend/vbd/{number}/51712"

    def wait_for_round():
        rounds = d.text().count("round ")
        d.expect(f"(round [0-9]+(?s:.*)){{{rounds + 2}}}")

    wait_for_round()
    lab.command(
        f"cd /sys/bus/xen-backend/drivers/vbd; echo vbd-{number}-51712 > unbind;"
        f" echo vbd-{number}-51712 > bind"
    )
    wait_for_round()
    assert "has left" not in d.text()
    for time in range(3):
        lab.command(f"xenstore-write {backend}/state 5")
        d.expect(f"(a back end is there again(?s:.*)){{{time + 1}}}")
        wait_for_round()
    lab.command(f"xl block-detach {d.name} 51712")
    d.expect("failed: .* true")
    assert d.end() == "poweroff"
    assert d.exit_status == 0 and "wrong" not in d.text()


def test_the_exit_status_is_in_xenstore(domain):
    d = domain("panics", args=("exit", "255"))
    assert d.end() == "poweroff"
    assert d.exit_status == 255


def test_an_emulated_tsc(domain):
    """As where Xen does not trust the machine's: each look at the clock is a trap."""
    d = domain("timers", more='tsc_mode = "always_emulate"')
    d.expect("clocks ok")
    assert d.end() == "poweroff"


def test_the_configuration_that_the_tool_writes(image, tmp_path):
    copy, disk = tmp_path / 'o"dd.elf', tmp_path / "disk"
    copy.write_bytes(image("webserver").read_bytes())
    disk.write_bytes(b"")

    def configuration(*words):
        guest.tool("xen", *words, folder=tmp_path)
        return (tmp_path / "c.cfg").read_text().splitlines()

    assert configuration("-o", "c.cfg", copy) == [
        'name = "o\\"dd"',
        'type = "pv"',
        f'kernel = "{tmp_path}/o\\"dd.elf"',
        "memory = 128",
        "vcpus = 1",
        'vif = [""]',
        'on_poweroff = "destroy"',
        'on_reboot = "restart"',
        'on_crash = "preserve"',
    ]
    words = "--name n --type pvh -m 1G --smp 3 --disk disk --disk disk,ro --net bridge=br7 -o c.cfg"
    text = configuration(
        *words.split(), "--env", 'A="b c"', "--ip", "10.0.0.9/24", copy, "--", "one", "two 2"
    )
    assert text[:2] == ['name = "n"', 'type = "pvh"']
    assert r'cmdline = "\"env.A=\\\"b c\\\"\" ip=10.0.0.9/24 -- one \"two 2\""' in text
    assert "memory = 1024" in text and "vcpus = 3" in text
    assert f'disk = ["{disk},raw,xvda,w", "{disk},raw,xvdb,r"]' in text
    assert 'vif = ["bridge=br7"]' in text
    assert not any("vif" in line for line in configuration("--net", "none", "-o", "c.cfg", copy))


@pytest.mark.parametrize(
    "words, complaint",
    (
        (("-m", "4M"), "at least 8M"),
        (("--type", "hvm"), "give pv or pvh"),
        (("--smp", "65"), "from 1 to 64"),
        (("--net", "user"), "give bridge"),
        (("--disk", "nowhere"), "cannot be found"),
        (("--env", "A=" + 1024 * "x"), "gets 1023"),
    ),
)
def test_configurations_that_the_tool_refuses(image, tmp_path, words, complaint):
    done = guest.tool_result("xen", *words, image("hello"), folder=tmp_path)
    assert done.status != 0 and complaint in done.stderr
    assert not list(tmp_path.iterdir())


def test_balloon(lab, domain):
    """Memory goes when the toolstack wants it, and comes back; the program does not notice."""
    d = domain("sigterm", "-m", 64)
    d.expect("ready")
    for target in (48, 64, 40, 64):
        lab.command(f"xl mem-set {d.name} {target}")
        d.wait_for_memory(target)
    d.shutdown()
    assert d.end() == "poweroff"
    assert d.text() == "ready\ngot terminated\n"


def ask(d, round):
    """What the program `suspended` says of its last `round`: how far the wall clock and the clock
    that counts a suspend are ahead of the monotonic clock, in seconds."""
    d.write("next\n")
    said = d.expect(rf"round {round}: \d+ cpus, clocks ahead (\S+) (\S+), backwards 0")
    return float(said[1]), float(said[2])


def connect(lab):
    return socket.create_connection(("127.0.0.1", lab.port), TIMEOUT)


def echo(connection, text):
    connection.sendall(text)
    assert connection.recv(len(text), socket.MSG_WAITALL) == text


@pytest.mark.parametrize("cpus", [1, 3])
def test_save_and_restore(lab, domain, cpus):
    """Twice, a few seconds apart: the program goes on on all CPUs, with its timers, and the clocks
    are as on Linux."""
    d = domain("suspended", "-m", 64, "--smp", cpus, "--net", "none", "--log", "info")
    d.expect("ready")
    assert ask(d, 1) == (0, 0)
    for round in (2, 3):
        d.save()
        lab.command("sleep 3")
        d.restore()
        d.expect("(xen: restored(?s:.*)){%d}" % (round - 1))
        wall, boot = ask(d, round)
        assert wall >= 3 * (round - 1) and wall == pytest.approx(boot, abs=0.2)
    d.expect("timer expired")
    d.write("\x04")
    assert d.end() == "poweroff"


def test_a_suspend_that_is_cancelled(domain):
    """`xl save -c` lets the domain go on."""
    d = domain("suspended", "-m", 64, "--smp", 2, "--net", "none", "--log", "info")
    d.expect("ready")
    ask(d, 1)
    d.save("-c")
    d.expect("xen: the suspend was cancelled")
    assert ask(d, 2) == (0, 0)
    d.save()
    d.restore()
    d.expect("xen: restored")
    ask(d, 3)
    d.write("\x04")
    assert d.end() == "poweroff"


def test_devices_after_a_restore(lab, domain):
    """A disk has what was written before and takes more; a TCP connection goes on, and new ones
    come."""
    disk = lab.folder / "disk.img"
    disk.write_bytes(bytes(8 << 20))
    d = domain(
        "suspended",
        *("-m", 64, "--smp", 2, "--disk", disk),
        line=f"ip={GUEST}/24 log=info -- -listen -disk xvda",
        more=VIF,
    )
    d.expect("ready")
    ask(d, 1)
    with connect(lab) as connection:
        echo(connection, b"before")
        d.save()
        d.restore()
        d.expect("xen: restored")
        ask(d, 2)
        echo(connection, b"after")
    with connect(lab) as connection:
        echo(connection, b"anew")
    d.write("\x04")
    assert d.end() == "poweroff"
    contents = disk.read_bytes()
    assert contents[1 << 20 : 3 << 20] == b"\1" * (1 << 20) + b"\2" * (1 << 20)


def test_live_migration(lab, image):
    """A client is answered while memory is copied, and on the same connection afterwards. Debian's
    Xen is built without shadow page tables, by which it would see what a paravirtual domain writes:
    `xl migrate` refuses those (EOPNOTSUPP)."""
    d = lab.create(
        image("suspended"),
        *("-m", 64, "--smp", 2),
        kind="pvh",
        line=f"ip={GUEST}/24 log=info -- -listen",
        more=VIF,
    )
    d.expect("ready")
    ask(d, 1)
    answers = []
    migrated = threading.Event()

    def talk():
        with connect(lab) as connection:
            while not migrated.is_set():
                echo(connection, b"still there?")
                answers.append(time.monotonic())

    client = threading.Thread(target=talk)
    client.start()
    wait_for("an answer", lambda: answers)
    began = time.monotonic()
    d.migrate()
    ended = time.monotonic()
    d.expect("xen: restored")
    wait_for("an answer after the migration", lambda: answers[-1] > ended)
    migrated.set()
    client.join()
    assert any(began < answer < ended for answer in answers)
    ask(d, 2)
    d.write("\x04")
    assert d.end() == "poweroff"


def get(lab, path):
    with connect(lab) as connection:
        connection.sendall(f"GET {path} HTTP/1.0\r\n\r\n".encode())
        return connection.makefile("rb").read()


def test_a_console_that_nobody_reads(lab, domain):
    """Whoever writes more than fits waits, and nobody else, with the only CPU."""
    d = domain(
        "network",
        *("-m", 64, "--smp", 1),
        line=f"ip={GUEST}/24 -- serve",
        more=VIF,
    )
    d.expect("serving")
    daemon = "$(cat /run/xenconsoled.pid)"
    lab.command(f"kill -STOP {daemon}")
    try:
        assert b"200 OK" in get(lab, "/print")
        for _ in range(5):
            assert get(lab, "/here").endswith(b"hello /here")
    finally:
        lab.command(f"kill -CONT {daemon}")
    d.expect("(again and ){5000}printed\n")
    get(lab, "/end")
    assert d.end() == "poweroff"


def test_events_by_fifo(domain):
    d = domain("hello", "--log", "debug", "--smp", 2)
    assert d.end() == "poweroff"
    assert "event channels by the FIFO ABI" in d.text()


def test_events_by_2_levels(domain):
    """The word makes it as on a Xen that has nothing else: all events, on all CPUs."""
    d = domain("sysbench", "-m", 128, "--smp", 4, "--log", "debug", "--append", "events=2level")
    assert d.end() == "poweroff"
    assert "event channels by the 2-level ABI" in d.text()
    assert "sha256_8k" in d.text()
