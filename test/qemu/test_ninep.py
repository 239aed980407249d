# SPDX-License-Identifier: MIT
"""A folder of the host by 9P: the same program does the same there and on the host's own Linux, and
each side sees what the other does."""

import os
import socket
import stat

import guest
import pytest

pytestmark = pytest.mark.kvm_only("9P is virtio's; that of Xen needs a QEMU in dom0")


def tree_of(root):
    """Names, types, permissions and contents."""
    found = {}
    for folder, directories, files in os.walk(root):
        for name in directories + files:
            path = os.path.join(folder, name)
            status = os.lstat(path)
            content = None
            if os.path.islink(path):
                content = os.readlink(path)
            elif name == "all":  # threads write to it in any order
                with open(path, "rb") as file:
                    content = sorted(file)
            elif os.path.isfile(path):
                with open(path, "rb") as file:
                    content = file.read()
            found[os.path.relpath(path, root)] = (oct(status.st_mode), content)
    return found


@pytest.mark.parametrize("machine", ["microvm", "q35"])
def test_everything_a_folder_can(run, binary, tmp_path, machine):
    mine, shared = tmp_path / "mine", tmp_path / "shared,with:odd"
    mine.mkdir()
    shared.mkdir()
    expected = guest.succeed(guest.result(binary("ninep"), mine)).stdout
    options = ("--smp", 2, "--machine", machine, "--mount", f"{shared}:/mnt/a:rw")
    done = run("ninep", "/mnt/a", options=options, timeout=3 * guest.TIMEOUT)
    assert (done.status, done.stdout) == (0, expected.replace(str(mine), "/mnt/a"))
    assert tree_of(shared) == tree_of(mine)


def test_what_the_host_has(run, binary, tmp_path):
    """A pipe, a socket and a device, 10,000 names, extended attributes, and the size of its file
    system."""
    mine, shared = tmp_path / "mine", tmp_path / "shared"
    for folder in (mine, shared):
        (folder / "many/folder").mkdir(parents=True)
        for i in range(10000):
            (folder / f"many/a longer name, number {i}").touch()
        os.mkfifo(folder / "fifo", 0o640)
        os.mknod(folder / "null", stat.S_IFCHR | 0o606, os.makedev(1, 3))
        with socket.socket(socket.AF_UNIX) as unbound:
            unbound.bind(str(folder / "socket"))
        (folder / "attributes").touch()
        for name, value in (("user.a", b"1"), ("user.empty", b""), ("user.long", bytes(3000))):
            os.setxattr(folder / "attributes", name, value)
    expected = guest.succeed(guest.result(binary("ninep"), mine, "found")).stdout.splitlines()
    done = run("ninep", "/mnt", "found", options=("--mount", f"{shared}:/mnt:rw"))
    lines = done.stdout.splitlines()
    assert (done.status, lines[:-1]) == (0, expected[:-1])
    # QEMU counts in larger blocks.
    size, files, longest = (int(word) for word in lines[-1].split()[1:])
    assert [files, longest] == [int(word) for word in expected[-1].split()[2:]]
    assert abs(size - int(expected[-1].split()[1])) <= 1


def test_what_9p_has_not(run, tmp_path):
    """As Linux's v9fs answers: nothing is faked."""
    done = run("ninep", "/mnt", "limits", options=("--mount", f"{tmp_path}:/mnt:rw"))
    assert (done.status, done.stdout.splitlines()) == (
        0,
        [
            "fallocate: errno 95 errno 95 errno 22",
            "O_TMPFILE: errno 95",
            "renameat2: 22 22 22 0",
            "holes: 5 <nil> 100003",
            "past the end: errno 6",
        ],
    )


def test_what_the_host_refuses(binary, image):
    """ENOSPC, EACCES, EPERM, EROFS and EXDEV come from the host as they are: the same to a process of
    an ordinary user there as to a guest whose QEMU is one."""
    script = """
        mount -t tmpfs -o mode=777 files /mnt
        cd /mnt
        mkdir full closed ro
        mount -t tmpfs -o size=1m,mode=777 full full
        echo text | tee ro/file secret readable > closed/file
        mount --bind ro ro
        mount -o remount,bind,ro ro
        chmod 700 closed && chmod 600 secret && chmod 644 readable
        exec setpriv --reuid=65534 --regid=65534 --clear-groups "$@"
    """
    guest_command = ("run", "--mount", "/mnt:/mnt:rw", image("ninep"), "--", "/mnt", "refused")
    host, shared = (
        guest.succeed(guest.result("unshare", "-m", "sh", "-ec", script, "sh", *command)).stdout
        for command in ((binary("ninep"), "/mnt", "refused"), (guest.UNIGORNEL, *guest_command))
    )
    assert "full: errno 28 1048576" in host
    assert shared == host


def test_read_only(run, binary, tmp_path):
    (tmp_path / "file").write_text("text")
    done = run("ninep", "/mnt", options=("--mount", f"{tmp_path}:/mnt"))
    assert "mkdir: errno 30 errno 30" in done.stdout
    assert tree_of(tmp_path) == {"file": (oct(0o100644), b"text")}


def test_not_a_folder(tmp_path):
    done = guest.tool_result("run", "--mount", f"{tmp_path}/none:/mnt:rw", "x.elf")
    assert done.status == 2 and "not a folder" in done.stderr
    done = guest.tool_result("run", "--mount", f"{tmp_path}", "x.elf")
    assert done.status == 2 and "HOSTDIR:DIR" in done.stderr


def test_program_without_files(run, tmp_path):
    """Its kernel shares nothing, and who starts it need not know."""
    done = run("hello", options=("--mount", f"{tmp_path}:/mnt", "--append", "cwd=/mnt"))
    assert done.status == 0
