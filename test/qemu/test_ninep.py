# SPDX-License-Identifier: MIT
"""A folder of the host by 9P: the same program does the same there and on the host's own Linux, and
each side sees what the other does."""

import os

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
    done = run(
        "ninep", "/mnt/a", options=("--smp", 2, "--machine", machine, "--mount", f"{shared}:/mnt/a:rw")
    )
    assert (done.status, done.stdout) == (0, expected.replace(str(mine), "/mnt/a"))
    assert tree_of(shared) == tree_of(mine)


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
