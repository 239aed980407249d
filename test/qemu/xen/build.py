# SPDX-License-Identifier: MIT
"""Builds the laboratory out of Debian's packages, which are only unpacked: the hypervisor, dom0's
kernel and an initramfs with the toolstack. All of it is kept in build/xen-lab until one of its
sources here or the machine's QEMU changes."""

import gzip
import hashlib
import lzma
import os
import pathlib
import re
import shutil
import stat
import struct
import subprocess
import warnings

import guest

HERE = pathlib.Path(__file__).parent
LAB = HERE.parent.parent.parent / "build" / "xen-lab"
XEN = "4.17"

PROGRAMS = [
    *(
        f"usr/lib/xen-{XEN}/bin/{name}"
        for name in "xl xenstored xenconsoled xen-init-dom0 libxl-save-helper xenctx".split()
    ),
    *(f"usr/bin/xenstore-{name}" for name in "ls read write rm exists watch".split()),
    "bin/busybox",
]
# Loaded by pthread_cancel when it is needed: xl aborts without it.
DLOPENED = ["lib/x86_64-linux-gnu/libgcc_s.so.1"]
LIBRARY_FOLDERS = [
    "lib/x86_64-linux-gnu",
    "usr/lib/x86_64-linux-gnu",
    "lib64",
    f"usr/lib/xen-{XEN}/lib/x86_64-linux-gnu",
]
MODULES = (
    "xen-evtchn xen-privcmd xen-gntdev xen-gntalloc xenfs xen-netback xen-blkback bridge loop"
    " virtio_pci virtio_net 9p 9pnet_virtio"
).split()
# Of a Linux guest, for the benchmarks (bench/domains.py).
GUEST_MODULES = ("xen-netfront", "xen-blkfront")
QEMU = pathlib.Path("/usr/bin/qemu-system-x86_64")
# Where that finds what it comes with; it would look beside itself.
QEMU_DATA = ("/usr/share/qemu", "/usr/share/seabios", "/usr/lib/ipxe/qemu")
QEMU_MODULES = "/usr/lib/x86_64-linux-gnu/qemu"
FOLDERS = (
    "proc sys dev run tmp job usr/sbin etc/xen/scripts var/lib/xen var/lib/xenstored var/log/xen"
).split()


def run(*words, **options):
    return subprocess.run(words, check=True, capture_output=True, **options).stdout


def packages():
    lines = (HERE / "packages.txt").read_text().splitlines()
    return [line for line in lines if line and not line.startswith("#")]


def unpack_packages(root):
    folder = LAB / "packages"
    folder.mkdir()
    download = ("apt-get", "-o", "APT::Sandbox::User=root", "download", *packages())
    if subprocess.run(download, cwd=folder, capture_output=True).returncode != 0:
        run("apt-get", "update")  # there were no lists of packages, or old ones
        run(*download, cwd=folder)
    for package in sorted(folder.iterdir()):
        run("dpkg", "-x", package, root)
    shutil.rmtree(folder)


def kernel_elf(path):
    """The ELF file inside a bzImage (Linux, Documentation/arch/x86/boot.rst)."""
    image = path.read_bytes()
    start = (image[0x1F1] + 1) * 512 + struct.unpack_from("<I", image, 0x248)[0]
    size = struct.unpack_from("<I", image, 0x24C)[0]
    # The compressed stream is followed by its size.
    return lzma.LZMADecompressor().decompress(image[start : start + size])


def closure(root, names):
    """The shared libraries that programs need, as pairs of a path in `root` and one in dom0."""
    found, todo = {}, [root / name for name in names]
    while todo:
        text = run("readelf", "-dlW", todo.pop()).decode()
        needed = re.findall(r"NEEDED.*\[(.*?)\]", text)
        needed += [os.path.basename(p) for p in re.findall(r"interpreter: (.*?)\]", text)]
        for name in needed:
            if name not in found:
                place = next(root / f / name for f in LIBRARY_FOLDERS if (root / f / name).exists())
                found[name] = place
                todo.append(place)
    return [
        (place, f"lib64/{name}" if name.startswith("ld-") else f"lib/x86_64-linux-gnu/{name}")
        for name, place in found.items()
    ]


def modules(root, names):
    """The kernel's modules that are wanted and those that they need."""
    index = {p.stem.replace("-", "_"): p for p in (root / "lib/modules").rglob("*.ko")}
    found, todo = set(), list(names)
    while todo:
        name = todo.pop().replace("-", "_")
        if name not in found:
            found.add(name)
            depends = re.search(rb"\0depends=([^\0]*)\0", index[name].read_bytes())[1].decode()
            todo += [d for d in depends.split(",") if d]
    return [index[name] for name in sorted(found)]


class Archive:
    """A cpio archive in the "new ASCII" format (Linux, Documentation/driver-api/early-userspace/
    buffer-format.rst)."""

    def __init__(self):
        self.parts, self.names = [], set()

    def add(self, name, mode, contents=b""):
        for parent in reversed(pathlib.PurePath(name).parents):
            if str(parent) != "." and str(parent) not in self.names:
                self.add(str(parent), stat.S_IFDIR | 0o755)
        if name in self.names:
            return
        self.names.add(name)
        fields = [len(self.names), mode, 0, 0, 1, 0, len(contents), 0, 0, 0, 0, len(name) + 1, 0]
        head = b"070701" + b"".join(b"%08x" % f for f in fields) + name.encode() + b"\0"
        for part in (head, contents):
            self.parts.append(part + b"\0" * (-len(part) % 4))

    def add_file(self, name, path, mode=0o755):
        self.add(name, stat.S_IFREG | mode, path.read_bytes())

    def link(self, name, target):
        self.add(name, stat.S_IFLNK | 0o777, target.encode())

    def bytes(self):
        self.add("TRAILER!!!", 0)
        return b"".join(self.parts)


def initramfs(root):
    archive = Archive()
    for folder in FOLDERS:
        archive.add(folder, stat.S_IFDIR | 0o755)
    for name in PROGRAMS:
        archive.add_file(name, root / name)
        if name.startswith("usr/lib/xen"):
            archive.link(f"usr/sbin/{os.path.basename(name)}", f"/{name}")
    for applet in run(root / "bin/busybox", "--list").decode().split():
        archive.link(f"bin/{applet}", "busybox")
    for place, name in closure(root, PROGRAMS):
        archive.add_file(name, place)
    for name in DLOPENED:
        archive.add_file(name, root / name)
    found = modules(root, MODULES)
    for path in found:
        archive.add_file(str(path.relative_to(root)), path, 0o644)
    release = found[0].relative_to(root).parts[2]
    run(root / "bin/busybox", "depmod", "-b", root, release)
    for name in ("modules.dep", "modules.alias", "modules.symbols"):
        path = root / "lib/modules" / release / name
        if path.exists():
            archive.add_file(str(path.relative_to(root)), path, 0o644)
    archive.add_file("etc/xen/xl.conf", root / "etc/xen/xl.conf", 0o644)
    archive.add_file("init", HERE / "init.sh")
    for script in ("block", "vif-bridge"):
        archive.add_file(f"etc/xen/scripts/{script}", HERE / "hotplug.sh")
    return gzip.compress(archive.bytes(), 1)


# The store to exception_index, before those to exception_is_int (0) and exception_next_eip (-1).
SECOND_DELIVERY = re.compile(
    rb"\x89\xb3....(?=\xc7\x83....\x00\x00\x00\x00\x48\xc7\x83....\xff\xff\xff\xff)", re.DOTALL
)
# orl $CPU_INTERRUPT_VIRQ, interrupt_request, before the test of a bit in hflags2
UNLOCKED_OR = re.compile(
    rb"\x81([\x88-\x8f])(....)\x00\x01\x00\x00(?=\xf6[\x80-\x87]....\x20)", re.DOTALL
)


def no_operation(store):
    return b"\x90" * len(store[0])


def locked_or(instruction):
    """The same bit, in the second byte, by `lock orb`, and a no-operation of two bytes."""
    at = int.from_bytes(instruction[2], "little", signed=True) + 1
    return b"\xf0\x80" + instruction[1] + at.to_bytes(4, "little", signed=True) + b"\x01\x66\x90"


def repaired_qemu():
    """QEMU with two faults of its VMRUN repaired (target/i386/tcg/sysemu/svm_helper.c, 7.2), as far as
    the instructions are found.

    An interrupt that Xen injects with VMRUN is delivered at once, but QEMU also notes it as an
    exception that is still to be delivered (SVM_EVTINJ_TYPE_INTR). Nothing takes the note away before
    the guest leaves or faults; when another thread of QEMU wants the CPU's attention just then, which
    on a busy host is every minute, the guest gets the interrupt once more, though it masks
    interrupts, and over the first one's frame.

    A virtual interrupt is added to those that wait without the lock that the other threads hold when
    they add theirs. A device's interrupt, or the timer's, that comes at that moment is lost."""
    program = QEMU.read_bytes()
    for pattern, repair in ((SECOND_DELIVERY, no_operation), (UNLOCKED_OR, locked_or)):
        found = list(pattern.finditer(program))
        if len(found) == 1:
            start, end = found[0].span()
            program = program[:start] + repair(found[0]) + program[end:]
        else:
            warnings.warn(f"{QEMU} is another release: left without {repair.__name__}")
    return program


def build():
    """Returns the folder with `qemu`, `xen`, `dom0` (a kernel), `initramfs` and a guest's modules."""
    sources = [HERE / n for n in ("packages.txt", "init.sh", "hotplug.sh", "build.py")]
    stamp = hashlib.sha256(b"".join(s.read_bytes() for s in (*sources, QEMU))).hexdigest()
    LAB.mkdir(parents=True, exist_ok=True)
    with guest.locked(LAB.with_suffix(".lock")):
        if not (LAB / "stamp").exists() or (LAB / "stamp").read_text() != stamp:
            shutil.rmtree(LAB)
            make()
            (LAB / "stamp").write_text(stamp)
    return LAB


def make():
    root = LAB / "root"
    root.mkdir(parents=True)
    unpack_packages(root)
    boot = root / "boot"
    (LAB / "xen").write_bytes(gzip.decompress((boot / f"xen-{XEN}-amd64.gz").read_bytes()))
    (LAB / "dom0").write_bytes(kernel_elf(next(boot.glob("vmlinuz-*"))))
    (LAB / "initramfs").write_bytes(initramfs(root))
    (LAB / "qemu").write_bytes(repaired_qemu())
    (LAB / "qemu").chmod(0o755)
    for path in modules(root, GUEST_MODULES):
        shutil.copyfile(path, LAB / path.name)
    shutil.rmtree(root)
