# SPDX-License-Identifier: MIT
"""Files: the root file system in the image and beside it, compared with what the host's own Linux
says of the same folder."""

import contextlib
import hashlib
import os
import stat

import pytest

import guest


def make_tree(root):
    """Every kind of file that EROFS knows, at the sizes where its layouts change."""
    for folder in ("long", "deep/er", "empty"):
        (root / folder).mkdir(parents=True)
    for size in (0, 1, 100, 4095, 4096, 4097, 8192, 12289, 300000):
        (root / f"size-{size}").write_bytes(os.urandom(size))
    for i in range(1500):
        (root / f"long/name-{i:04}").write_text(f"{i}\n")
    os.link(root / "size-100", root / "hard")
    (root / "link").symlink_to("size-100")
    (root / "long-link").symlink_to("x" * 3000)
    os.mkfifo(root / "fifo")
    if os.geteuid() == 0:
        os.mknod(root / "character", stat.S_IFCHR | 0o640, os.makedev(1, 3))
        os.mknod(root / "block", stat.S_IFBLK | 0o600, os.makedev(254, 17))
        os.chown(root / "size-4097", 1000, 70000)
    (root / "size-1").chmod(0o4751)
    os.utime(root / "size-1", ns=(0, 981173106_123456789))
    os.utime(root / "size-0", ns=(0, -31536000_000000000))
    with contextlib.suppress(OSError):  # where the host's file system takes them
        os.setxattr(root / "size-100", "user.a", b"hello")
        os.setxattr(root / "size-1", "user.long", b"y" * 2000)
        for i in range(5):
            os.setxattr(root / f"long/name-{i:04}", "user.shared", b"z" * 60)
        os.setxattr(root / "deep", "trusted.folder", b"1")
    with open(root / "sparse", "wb") as file:
        file.seek(3000000)
        file.write(b"end")


@pytest.fixture(scope="module")
def tree(tmp_path_factory):
    root = tmp_path_factory.mktemp("files") / "tree"
    make_tree(root)
    return root


def host_says(binary, tree):
    return guest.succeed(guest.result(binary("tree"), tree)).stdout


def test_files_in_the_image(binary, tree, tmp_path):
    """mkfs, the segment in the image, read in place: attributes, contents by read and by mmap."""
    guest.tool("build", "--fs", tree, "-o", tmp_path / "app.elf", "--from", binary("tree"))
    done = guest.tool_result("run", "-m", "32M", tmp_path / "app.elf", "--", "/")
    assert (done.status, done.stdout) == (0, host_says(binary, tree))


def test_templates(tmp_path):
    """html/template and embed, from the files in the image."""
    folder = guest.ROOT / "examples" / "files"
    guest.tool("build", "--fs", "root", "-o", tmp_path / "files.elf", ".", folder=folder)
    done = guest.tool_result("run", tmp_path / "files.elf")
    assert done.status == 0
    assert "<p>1 of &lt;bread&gt;</p>\n<p>12 of apples &amp; pears</p>" in done.stdout


def test_files_beside_the_image(run, binary, tree):
    done = run("tree", "/", options=("--fs", tree))
    assert (done.status, done.stdout) == (0, host_says(binary, tree))


# --- disks

MACHINES = ("microvm", "q35", "pc")


@pytest.fixture(scope="module")
def tree_disk(tree, tmp_path_factory):
    disk = tmp_path_factory.mktemp("disks") / "tree.img"
    guest.tool("mkfs", tree, disk)
    return disk


@pytest.mark.kvm_only("disks of QEMU's machines; for Xen see test_mounted_disks")
@pytest.mark.parametrize("machine", MACHINES)
def test_root_on_a_disk(run, binary, tree, tree_disk, machine):
    done = run(
        "tree",
        "/",
        options=("--machine", machine, "--smp", 2, "--disk", f"{tree_disk},ro", "--append", "root=vda"),
    )
    assert (done.status, done.stdout) == (0, host_says(binary, tree))


def test_mounted_disks(run, platform, binary, tree, tree_disk):
    """Two disks, one of them below a folder that is made for it."""
    disk = f"{tree_disk},ro"
    first = platform.disk
    words = f"mount={first[:-1]}b:/srv/data root={first}"
    options = ("--disk", disk, "--disk", disk, "--append", words)
    done = run("tree", "/srv/data", options=(*platform.machine("q35"), *options))
    assert (done.status, done.stdout) == (0, host_says(binary, tree))


@pytest.mark.parametrize("word", ("root=vdc", "mount=vda:data", "mount=vda:/x:rx", "mount=vdz:/x"))
def test_bad_disk_words(run, platform, tree_disk, word):
    word = word.replace("vd", platform.disk[:-1])
    done = run("tree", "/", options=("--disk", tree_disk, "--append", word))
    assert done.status == 64 and done.stdout == ""
    assert word.partition(":")[0].partition("=")[2] in done.stderr


def test_disk_of_a_program_without_files(run, platform, tree_disk):
    """Its kernel has no disks: who starts the machine need not know."""
    words = f"root={platform.disk} mount={platform.disk}:/x"
    options = ("--disk", tree_disk, "--append", words, "--log", "info")
    done = run("hello", options=options)
    assert (done.status, done.stdout) == (0, "Hello from Go, and nothing but Go.\n")
    assert done.stderr.count("not mounted: the program was found to open no files") == 2


@pytest.mark.parametrize("kind", ("zeroes", "lz4", "truncated", "super"))
def test_disk_that_is_no_file_system(run, platform, tree, tmp_path, kind):
    disk = tmp_path / "disk.img"
    guest.tool("mkfs", tree, disk)
    image = bytearray(disk.read_bytes())
    if kind == "zeroes":
        disk.write_bytes(bytes(1 << 20))
    elif kind == "lz4":
        guest.succeed(guest.result("mkfs.erofs", "--quiet", "-zlz4hc", disk, tree))
    elif kind == "truncated":
        disk.write_bytes(image[: len(image) // 2])
    else:
        image[1024 + 16] ^= 1
        disk.write_bytes(image)
    done = run("tree", "/", options=("--disk", f"{disk},ro", "--append", f"root={platform.disk}"))
    expected = {"zeroes": "not an EROFS image", "lz4": "is compressed", "truncated": "truncated"}
    assert done.status == 64 and done.stdout == ""
    assert expected.get(kind, "checksum") in done.stderr


@pytest.mark.parametrize("machine, cpus", (("microvm", 1), ("q35", 4)))
def test_raw_disk(run, platform, tmp_path, machine, cpus):
    """Writes reach the file; what is read and mapped afterwards is the same."""
    disk = tmp_path / "raw.img"
    disk.write_bytes(os.urandom(3 << 20))
    options = (*platform.machine(machine), "--smp", cpus, "--disk", disk)
    device = f"/dev/{platform.disk}"
    done = run("disk", "write", device, options=options)
    lines = done.stdout.splitlines()
    assert done.status == 0
    assert lines[:5] == [
        "size 3145728 sector 512 read-only 0 end 3145728",
        "past the end: true",
        "shared writable mapping: no such device",
        "read true mapped true",
        hashlib.sha256(disk.read_bytes()).hexdigest(),
    ]
    read_only = run("disk", "write", device, options=("--disk", f"{disk},ro"))
    assert read_only.status == 1 and "permission denied" in read_only.stdout


@pytest.mark.kvm_only("QEMU's blkdebug; Xen's lab has no disk that fails")
def test_disk_with_errors(run, tmp_path):
    """An error of the disk is the error of that call, or a SIGBUS; everything else goes on."""
    files, disk = tmp_path / "files", tmp_path / "disk.img"
    files.mkdir()
    (files / "data").write_bytes(os.urandom(200 * 4096))
    guest.tool("mkfs", files, disk)
    start = disk.read_bytes().index((files / "data").read_bytes()[:4096]) // 512
    errors = ",".join(
        f"inject-error.{i}.event=none,inject-error.{i}.iotype=read,inject-error.{i}.sector={sector}"
        for i, sector in enumerate((start + 8 * 50 + 3, start + 8 * 120))
    )
    done = run(
        "disk",
        "errors",
        "/mnt/data",
        options=(
            "--qemu-arg=-blockdev",
            f"--qemu-arg=driver=blkdebug,node-name=bad,image.driver=file,image.filename={disk},{errors}",
            "--qemu-arg=-device",
            "--qemu-arg=virtio-blk-device,drive=bad",
            "--append",
            "mount=vda:/mnt",
        ),
    )
    assert (done.status, done.stdout.splitlines()) == (
        0,
        [
            "pass 0 good 198 bad [50 120]",
            "pass 1 good 198 bad [50 120]",
            "mapped 50 fault",
            "mapped 120 fault",
            "mapped 0 read",
        ],
    )


@pytest.mark.kvm_only("QEMU's blkdebug; Xen's lab has no disk that fails")
def test_disk_that_cannot_be_written(run, tmp_path):
    """What fails is the call's, and nothing of it is in the cache; zeroes are written by the device."""
    disk = tmp_path / "disk.img"
    disk.write_bytes(bytes(1 << 20))
    errors = (
        "inject-error.0.event=none,inject-error.0.iotype=write,inject-error.0.sector=45,"
        "inject-error.1.event=none,inject-error.1.iotype=flush,inject-error.1.once=on"
    )
    done = run(
        "disk",
        "write-errors",
        "/dev/vda",
        options=(
            *("--machine", "q35"),
            "--qemu-arg=-blockdev",
            f"--qemu-arg=driver=blkdebug,node-name=bad,image.driver=file,image.filename={disk},{errors}",
            "--qemu-arg=-device",
            "--qemu-arg=virtio-blk-pci,drive=bad,write-cache=on",
        ),
    )
    assert (done.status, done.stdout.splitlines()) == (
        0,
        ["bad [5] sync true <nil>", "not written: true", "wrong 0 zeroes <nil>", "zero: <nil> 4096"],
    )


NATIVE = ("-global", "ICH9-LPC.acpi-pci-hotplug-with-bridge-support=off")
PORTS = ("-device", "pcie-root-port,id=one,chassis=1", "-device", "pcie-root-port,id=two,chassis=2")


@pytest.mark.kvm_only("PCI devices")
@pytest.mark.parametrize(
    "machine, options, bus, properties",
    (
        ("pc", (), "pci.0", ""),
        ("pc", (), "pci.0", ",disable-modern=on,vectors=0"),
        ("q35", PORTS, "two", ",num-queues=4"),
        ("q35", (*PORTS, *NATIVE), "two", ",num-queues=4,packed=on"),
    ),
)
def test_disk_that_goes_away(boot, tmp_path, machine, options, bus, properties):
    """device_del: whatever needs the disk fails with EIO, everything else goes on, one line says so."""
    files, disk = tmp_path / "files", tmp_path / "disk.img"
    files.mkdir()
    (files / "data").write_bytes(os.urandom(8 << 20))
    guest.tool("mkfs", files, disk)
    program = boot(
        "disk",
        machine=machine,
        cpus=2,
        words="mount=vda:/mnt",
        args=["gone", "/dev/vda", "/mnt/data"],
        extra=(
            *options,
            *("-drive", f"if=none,id=disk,format=raw,file={disk}"),
            *("-device", f"virtio-blk-pci,drive=disk,id=leaver,bus={bus}{properties}"),
        ),
    )
    program.expect("reading")
    program.command("device_del", id="leaver")
    program.expect("others: text <nil>")
    assert "leaver" not in str(program.command("qom-list", path="/machine/peripheral"))
    program.serial.sendline()
    assert program.status() == 0
    said = program.text().replace("\r", "")
    assert "write: true sync: true\nfile: true mapped: fault\nopen: true\nclose: <nil> <nil>\n" in said
    assert said.count("vda (type 2): it was taken out; it is closed") == 1
    assert "a reader" not in said and "error" not in said


@pytest.mark.kvm_only("the queues of QEMU's disk; for Xen see test_xen.py")
def test_random_reads(run, tmp_path):
    """32 goroutines on several queues."""
    disk = tmp_path / "numbers.img"
    disk.write_bytes(b"".join(i.to_bytes(8, "little") for i in range(1 << 21)))
    done = run(
        "disk",
        "random",
        "/dev/vda",
        options=(
            *("--machine", "q35", "--smp", 4, "-m", "64M"),
            "--qemu-arg=-drive",
            f"--qemu-arg=if=none,id=numbers,format=raw,file={disk}",
            "--qemu-arg=-device",
            "--qemu-arg=virtio-blk-pci,drive=numbers,num-queues=4",
        ),
    )
    assert (done.status, done.stdout) == (0, "all right\n")


def test_file_larger_than_memory(run, platform, tmp_path):
    """The cache and the mapped pages make room for each other and for the program."""
    disk = tmp_path / "large.img"
    disk.write_bytes(os.urandom(64 << 20))
    device = f"/dev/{platform.disk}"
    done = run("disk", "large", device, options=("-m", "48M", "--disk", f"{disk},ro"))
    assert (done.status, done.stdout) == (
        0,
        "read and mapped alike: true\nwith memory in use: true 24\n",
    )


@pytest.mark.kvm_only("the laboratory copies disks whole")
def test_disk_larger_than_2_tib(run, tmp_path):
    """A sector's number does not fit into 32 bits; it must not come back at the beginning."""
    disk, size = tmp_path / "far.img", 3 << 40
    with open(disk, "wb") as file:
        file.truncate(size)
    done = run("disk", "far", "/dev/vda", options=("--disk", disk))
    places = (0, (1 << 41) - 3000, (1 << 41) + (1 << 20), size - 5000)
    lines = [f"size {size}", *(f"{at} true true" for at in places), "past the end: true"]
    assert (done.status, done.stdout.splitlines()) == (0, lines)
    with open(disk, "rb") as file:
        for at, letter in zip(places, b"abcd"):
            file.seek(at)
            assert file.read(5000) == bytes([letter]) * 5000


# --- files in memory


@pytest.mark.parametrize("cpus", (1, 4))
def test_files_in_memory(run, binary, cpus):
    """What the calls on files say, compared with what the host's Linux says of its own tmpfs."""
    host = guest.succeed(guest.result(binary("tmpfs"), "/dev/shm")).stdout
    done = run("tmpfs", "/tmp", options=("--smp", cpus))
    assert (done.status, done.stdout) == (0, host)


def test_full_memory(run):
    """At its limit nothing that was written before is lost, and room that is freed can be used."""
    done = run("tmpfs", "/tmp", "full", options=("-m", "32M"))
    assert (done.status, done.stdout.splitlines()) == (
        0,
        [
            "full: true true",
            "make another: true",
            "allocate: no space left on device 65536",
            "free: true",
            "wrong: 0",
            "wrong afterwards: 0 0",
        ],
    )


@pytest.mark.kvm_only("the folder of the host")
def test_inotify(run, binary, tmp_path):
    """Every event, and the fsnotify module, as on Linux: in memory, and on a folder of the host."""
    mine, also_mine, shared = (tmp_path / name for name in ("mine", "also-mine", "shared"))
    for folder in (mine, also_mine, shared):
        folder.mkdir()
    expected = guest.succeed(guest.result(binary("watch"), mine, "full")).stdout
    done = run("watch", "/tmp", "full", options=("--smp", 2))
    assert (done.status, done.stdout) == (0, expected)
    expected = guest.succeed(guest.result(binary("watch"), also_mine)).stdout
    done = run("watch", "/srv", options=("--smp", 2, "--mount", f"{shared}:/srv:rw"))
    assert (done.status, done.stdout) == (0, expected)


@pytest.mark.parametrize("cpus", (1, 4))
def test_proc(run, cpus, tmp_path):
    """/proc, /sys and /dev agree with the calls and with what the program does, by the libraries that
    programs read them with; so do the numbers that the Prometheus client exports."""
    (tmp_path / "disk").write_bytes(bytes(4 << 20))
    disk = f"{tmp_path / 'disk'},ro"
    done = run("proc", options=("-m", "512M", "--smp", cpus, "--disk", disk))
    assert (done.status, done.stdout) == (0, "wrong: 0\n")


@pytest.mark.parametrize("cpus", (1, 2))
def test_signalfd(run, binary, cpus):
    """Signals by a descriptor, beside epoll, as on the host's Linux. Go sends itself none meanwhile:
    those are an edge for epoll as well, on Linux, too."""
    expected = guest.succeed(guest.result(binary("signalfd"))).stdout
    done = run("signalfd", options=("--smp", cpus, "--env", "GODEBUG=asyncpreemptoff=1"))
    assert (done.status, done.stdout) == (0, expected)


@pytest.mark.kvm_only("the folder of the host")
def test_database(run, binary, tmp_path):
    """SQLite: read-only from the image and from a disk, and with every journal in memory and in a
    folder of the host."""
    files, mine, shared = (tmp_path / name for name in ("files", "mine", "shared"))
    for folder in (files, mine, shared):
        folder.mkdir()
    guest.succeed(guest.result(binary("database"), "make", files / "x.db"))
    expected = guest.succeed(guest.result(binary("database"), "read", files / "x.db")).stdout
    assert "2000 15967 1887 ok" in expected and "readonly" in expected
    done = run("database", "read", "/x.db", options=("-m", "256M", "--fs", files))
    assert (done.status, done.stdout) == (0, expected)
    guest.tool("mkfs", files, tmp_path / "disk.img")
    disk = ("--disk", f"{tmp_path / 'disk.img'},ro", "--append", "mount=vda:/data")
    done = run("database", "read", "/data/x.db", options=("-m", "256M", *disk))
    assert (done.status, done.stdout) == (0, expected)
    expected = guest.succeed(guest.result(binary("database"), "write", mine)).stdout
    for folder, options in (("/tmp", ()), ("/mnt", ("--mount", f"{shared}:/mnt:rw"))):
        done = run("database", "write", folder, options=("-m", "256M", "--smp", 2, *options))
        assert (done.status, done.stdout) == (0, expected)


def test_bad_pointers(run, binary):
    """Each call refuses them as Linux does, and nothing that a program asks for brings the kernel
    down."""
    expected = guest.succeed(guest.result(binary("badpointers"), 1, 0)).stdout
    assert expected.startswith("wrong: 0\n")
    for seed in (1, 2, 3):
        done = run("badpointers", seed, 20000, options=("--smp", 2))
        assert done.status == 0 and done.stdout.startswith("wrong: 0\n")
        assert done.stdout.endswith("random calls: true unharmed: true\n")
