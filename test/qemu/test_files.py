# SPDX-License-Identifier: MIT
"""Files: the root file system in the image and beside it, compared with what the host's own Linux
says of the same folder."""

import contextlib
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


def test_files_beside_the_image(run, binary, tree):
    done = run("tree", "/", options=("--fs", tree))
    assert (done.status, done.stdout) == (0, host_says(binary, tree))
