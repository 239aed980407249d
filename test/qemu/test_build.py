# SPDX-License-Identifier: MIT
"""The tool: what it makes of good and bad input, without booting where that is not the point."""

import os
import re
import shutil
import subprocess

import pytest

import guest

COMMANDS = ("build", "run", "exec", "test", "image", "xen", "mkfs")


def one_line_of_complaint(done):
    """A non-zero status, and one line that a user can read."""
    lines = done.stderr.strip().splitlines()
    return (
        done.status not in (0, "timeout")
        and done.status > 0
        and len(lines) == 1
        and lines[0].startswith("unigornel")
    )


@pytest.mark.parametrize("command", COMMANDS)
def test_help(command):
    done = guest.tool_result(command, "--help")
    assert done.status == 0 and "usage: unigornel " + command in done.stdout


def test_overview():
    done = guest.tool_result("--help")
    assert done.status == 0 and all(command in done.stdout for command in COMMANDS)


@pytest.mark.parametrize(
    "words",
    (
        ("frobnicate",),
        ("run", "--frobnicate"),
        ("run", "--smp", "none", "x.elf"),
        ("run", "--smp", "0", "x.elf"),
        ("run", "no-such-image.elf"),
        ("run",),
        ("run", "-p", "80:80", "x.elf"),
        ("build", "--fs", "x", "."),
        ("mkfs", "a", "b"),
        ("run", "--fs", "x", "x.elf"),
        ("xen", "x.elf"),
        ("image", "--format", "tape", "x.elf"),
    ),
    ids=" ".join,
)
def test_bad_words(words, tmp_path):
    assert one_line_of_complaint(guest.tool_result(*words, folder=tmp_path))


def compile_c(path, *flags):
    subprocess.run(
        ["gcc", "-x", "c", "-", "-o", path, *flags],
        input=b"int main(void) { return 0; }",
        check=True,
    )


def freestanding_c(path, *flags):
    subprocess.run(
        ["gcc", "-x", "c", "-", "-o", path, "-nostdlib", "-static", *flags],
        check=True,
        input=b"void _start(void) { for (;;) { } }",
    )


def bad_input(kind, path, binary):
    """Makes a file that is not a program for us."""
    good = binary("hello").read_bytes()
    if kind == "empty":
        path.write_bytes(b"")
    elif kind == "garbage":
        path.write_bytes(os.urandom(65536))
    elif kind == "text":
        path.write_text("#!/bin/sh\nexit 0\n")
    elif kind == "header only":
        path.write_bytes(good[:64])
    elif kind == "truncated":
        path.write_bytes(good[: len(good) // 2])
    elif kind == "headers point nowhere":
        path.write_bytes(good[:32] + b"\xff" * 8 + good[40:])
    elif kind == "too many headers":
        path.write_bytes(good[:56] + b"\xff\xff" + good[58:])
    elif kind == "other machine":
        path.write_bytes(good[:18] + (183).to_bytes(2, "little") + good[20:])  # EM_AARCH64
    elif kind == "32-bit":
        freestanding_c(path, "-m32")
    elif kind == "dynamic":
        compile_c(path)
    elif kind == "static PIE":
        compile_c(path, "-static-pie")
    elif kind == "Go PIE":
        guest.go(
            "build", "-buildmode=pie", "-o", path, ".", folder=guest.ROOT / "examples" / "hello"
        )
    elif kind == "cgo":
        (path.parent / "cgo.go").write_text(
            'package main\n\n// int one(void) { return 1; }\nimport "C"\n\nfunc main() { println(C.one()) }\n'
        )
        flags = ("-ldflags", "-linkmode external -extldflags -static")
        guest.go(
            *("build", *flags, "-o", path, "cgo.go"), folder=path.parent, env={"CGO_ENABLED": "1"}
        )
    elif kind == "static C":
        compile_c(path, "-static")
    elif kind == "object file":
        compile_c(path, "-c")
    elif kind == "folder":
        path.mkdir()


@pytest.mark.parametrize(
    "kind",
    (
        "empty",
        "garbage",
        "text",
        "header only",
        "truncated",
        "headers point nowhere",
        "too many headers",
        "other machine",
        "32-bit",
        "dynamic",
        "static PIE",
        "Go PIE",
        "cgo",
        "static C",
        "object file",
        "folder",
        "missing",
    ),
)
def test_build_from_bad_input(kind, binary, tmp_path):
    source, image = tmp_path / "input", tmp_path / "out.elf"
    bad_input(kind, source, binary)
    done = guest.tool_result("build", "--from", source, "-o", image)
    assert one_line_of_complaint(done)
    assert not image.exists(), "a refused program leaves no image behind"


@pytest.mark.parametrize("kind", ("garbage", "truncated", "dynamic"))
def test_run_and_exec_refuse_too(kind, binary, tmp_path):
    source = tmp_path / "input.elf"
    bad_input(kind, source, binary)
    assert one_line_of_complaint(guest.tool_result("run", source))
    assert one_line_of_complaint(guest.tool_result("exec", source))


def test_prebuilt_binary(binary, tmp_path):
    image = tmp_path / "hello.elf"
    report = guest.tool("build", "--verbose", "--from", binary("hello"), "-o", image).stderr
    assert "SYSCALL left in internal/runtime/syscall" in report and "gate" not in report
    done = guest.tool_result("run", image)
    assert (done.status, done.stdout) == (0, "Hello from Go, and nothing but Go.\n")


def test_replaced_calls_are_reported(tmp_path):
    folder = guest.ROOT / "examples" / "hello"
    report = guest.tool("build", "--verbose", "-o", tmp_path / "hello.elf", ".", folder=folder).stderr
    assert re.search("[1-9][0-9]* SYSCALLs are jumps through the gate", report)
    assert "SYSCALL left" not in report


def test_exec(binary):
    done = guest.tool_result("exec", binary("panics"), "exit", "42")
    assert (done.status, done.stdout) == (42, "")


def test_go_test_exec(tmp_path):
    """`go test -exec` on a package of the user's own: a pass, and a failure with its text."""
    (tmp_path / "go.mod").write_text("module small\n\ngo 1.24\n")
    (tmp_path / "small_test.go").write_text(
        'package small\n\nimport (\n\t"runtime"\n\t"testing"\n)\n\n'
        "func TestGood(t *testing.T) { t.Log(runtime.GOOS) }\n\n"
        'func TestBad(t *testing.T) { t.Error("as it should") }\n'
    )
    exec_words = f"{guest.UNIGORNEL} exec"
    good = guest.result(
        "go",
        "test",
        "-exec",
        exec_words,
        "-run",
        "Good",
        "-v",
        ".",
        folder=tmp_path,
        env={"CGO_ENABLED": "0"},
    )
    assert good.status == 0 and "--- PASS: TestGood" in good.stdout
    bad = guest.result(
        "go", "test", "-exec", exec_words, ".", folder=tmp_path, env={"CGO_ENABLED": "0"}
    )
    assert bad.status == 1 and "--- FAIL: TestBad" in bad.stdout and "as it should" in bad.stdout
    ours = guest.tool_result("test", "-run", "Good", ".", folder=tmp_path)
    assert ours.status == 0 and re.search(r"^ok\s+small", ours.stdout, re.M)


def test_files_of_a_test(tmp_path):
    """Its working folder, its module, its temporary folder and its own file, as on Linux; what it
    writes is on the host."""
    module = tmp_path / "module"
    shutil.copytree(guest.ROOT / "test/qemu/programs/tested", module)
    for run in (("go", "test"), (guest.UNIGORNEL, "test")):
        (module / "pkg/testdata/stale").write_text("old")
        (module / "pkg/testdata/golden").unlink(missing_ok=True)
        done = guest.result(*run, "-v", "./pkg", folder=module, env={"CGO_ENABLED": "0"})
        assert (done.status, done.stdout.count("--- PASS")) == (0, 5)
        assert (module / "pkg/testdata/golden").read_text() == "golden\n"
        assert not (module / "pkg/testdata/stale").exists()


def test_exec_needs_a_folder(binary):
    done = guest.tool_result("exec", binary("hello"), folder="/dev")
    assert done.status == 1 and one_line_of_complaint(done)
    assert "own /dev" in done.stderr


def test_go_build_flags(tmp_path):
    """Go's own flags and package arguments reach `go build`."""
    (tmp_path / "go.mod").write_text("module tagged\n\ngo 1.24\n")
    (tmp_path / "main.go").write_text(
        'package main\n\nvar text = "plain"\n\nfunc main() { println(text) }\n'
    )
    (tmp_path / "tagged.go").write_text(
        '//go:build special\n\npackage main\n\nfunc init() { text = "tagged" }\n'
    )
    image = tmp_path / "out.elf"
    guest.tool(
        "build",
        "-o",
        image,
        "-tags",
        "special",
        "-ldflags=-s -w",
        "-trimpath",
        ".",
        folder=tmp_path,
    )
    done = guest.tool_result("run", image)
    assert (done.status, done.stderr) == (0, "tagged\n")


def test_compile_error_is_gos_own(tmp_path):
    (tmp_path / "go.mod").write_text("module broken\n\ngo 1.24\n")
    (tmp_path / "main.go").write_text("package main\n\nfunc main() { undefined() }\n")
    done = guest.tool_result("build", ".", folder=tmp_path)
    assert done.status != 0 and "undefined: undefined" in done.stdout + done.stderr


def stable_releases():
    """The newest stable Go release and the one before it, which come as toolchain modules; empty
    where there is no module proxy."""
    known = guest.result("go", "list", "-m", "-versions", "golang.org/toolchain", timeout=120)
    newest = {}
    for minor, patch in re.findall(r"go1\.(\d+)\.(\d+)\.linux-amd64", known.stdout):
        newest[int(minor)] = max(newest.get(int(minor), 0), int(patch))
    return [f"go1.{minor}.{newest[minor]}" for minor in sorted(newest)[-2:]]


@pytest.mark.parametrize("place", (0, 1), ids=("one before", "newest"))
def test_go_releases(place, tmp_path):
    versions = stable_releases()
    if len(versions) < 2:
        pytest.skip("the module proxy offers no Go releases")
    version = versions[place]
    image = tmp_path / "panics.elf"
    folder = guest.ROOT / "examples" / "panics"
    guest.tool("build", "-o", image, ".", folder=folder, env={"GOTOOLCHAIN": version})
    assert version.encode() in image.read_bytes()
    done = guest.tool_result("run", "--smp", "2", image, "--", "exit", "42")
    assert done.status == 42
    done = guest.tool_result("run", "--smp", "2", image, "--", "nil")
    assert done.status == 2 and "nil pointer dereference" in done.stderr, done.stderr


GOROOT_CHANGES = {
    # file, what it holds, what a release that does not fit might hold instead
    "another system call": ("src/runtime/sys_linux_amd64.s", "SYSCALL", "BYTE $0x0f; BYTE $0x05"),
    "no system call": ("src/internal/runtime/syscall/linux/asm_linux_amd64.s", "SYSCALL", "NOP"),
    "another stack guard": ("src/runtime/stack.go", "stackGuard = ", "stackGuard = 1 + "),
}


@pytest.mark.parametrize("change", GOROOT_CHANGES)
def test_go_release_that_does_not_fit(change, tmp_path):
    """One line instead of an image that would not work."""
    goroot = guest.go("env", "GOROOT").stdout.strip()
    changed = tmp_path / "goroot"
    subprocess.run(["cp", "-rs", goroot, changed], check=True)
    name, old, new = GOROOT_CHANGES[change]
    file = changed / name
    if not file.exists():  # before Go 1.26
        file = changed / "src/internal/runtime/syscall/asm_linux_amd64.s"
    text = file.read_text()
    assert old in text
    file.unlink()
    file.write_text(text.replace(old, new))
    image = tmp_path / "hello.elf"
    done = guest.tool_result(
        *("build", "-o", image, "."),
        folder=guest.ROOT / "examples" / "hello",
        env={"GOROOT": str(changed), "GOTOOLCHAIN": "local"},
        timeout=600,
    )
    assert one_line_of_complaint(done) and "does not fit" in done.stderr, done.stderr
    assert not image.exists()


def test_dry_run(image):
    done = guest.tool_result("run", "--dry-run", "--smp", "2", image("hello"))
    assert done.status == 0 and "qemu-system-x86_64" in done.stdout and "-smp 2" in done.stdout


def test_timeout(image):
    """A program that does not end is ended, and nothing of it stays."""
    done = guest.tool_result("run", "--timeout", "5", "--machine", "q35", image("sigterm"))
    assert done.status == 124


def test_killed_tool_leaves_nothing(image, tmp_path):
    """QEMU ends with the tool; the temporary folder goes when the next command wants one, and that
    of a command that lives stays."""
    env = dict(os.environ, TMPDIR=str(tmp_path))
    words = [guest.UNIGORNEL, "run", image("sigterm")]
    killed, living = (subprocess.Popen(words, env=env, stdout=subprocess.PIPE) for _ in range(2))
    try:
        assert b"ready" in killed.stdout.readline() and b"ready" in living.stdout.readline()
        qemu = guest.result("pgrep", "-P", killed.pid).stdout.split()
        killed.kill()
        killed.wait()
        assert len(list(tmp_path.iterdir())) == 2
        assert guest.tool_result("run", image("hello"), env={"TMPDIR": str(tmp_path)}).status == 0
        assert len(list(tmp_path.iterdir())) == 1
        assert qemu and not os.path.exists(f"/proc/{qemu[0]}/exe")
    finally:
        living.terminate()
        assert living.wait(guest.TIMEOUT) == 7
    assert not list(tmp_path.iterdir())


def test_image_is_small(image, binary):
    """At most 256 KiB more than the program, with every name of the kernel's functions."""
    assert image("hello").stat().st_size - binary("hello").stat().st_size <= 256 * 1024


NO_SOCKETS = "import _ \"os\"; func main() {}"
SOCKETS = (
    "import \"net\"; func main() { net.Dial(\"tcp\", \"127.0.0.1:1\") }",
    "import \"syscall\"; func main() { syscall.Socket(1, 1, 0) }",
    "import \"syscall\"; func main() { syscall.Socketpair(1, 1, 0) }",
)


@pytest.mark.parametrize("source", (NO_SOCKETS, *SOCKETS))
@pytest.mark.parametrize("stripped", (False, True))
def test_network_where_there_are_sockets(source, stripped, tmp_path):
    (tmp_path / "main.go").write_text(f"package main\n{source}\n")
    flags = ["-ldflags=-s -w"] if stripped else []
    guest.go("build", *flags, "-o", tmp_path / "prog", "main.go", folder=tmp_path)
    words = ("build", "--verbose", "--from", tmp_path / "prog", "-o", tmp_path / "prog.elf")
    with_network = "with the network" in guest.tool(*words).stderr
    assert with_network == (source in SOCKETS)


def test_calls_of_the_network_without_it(tmp_path):
    """They fail as in a Linux that is built without it, and the log says what to do."""
    (tmp_path / "main.go").write_text(
        """package main
import "syscall"
func main() {
    _, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_STREAM, 0)
    println(err == syscall.ENOSYS)
}
"""
    )
    image = tmp_path / "main.elf"
    guest.tool("build", "--network", "never", "-o", image, "main.go", folder=tmp_path)
    done = guest.tool_result("run", "--log", "debug", "--append", "ip=dhcp", image)
    assert done.status == 0 and done.stderr.endswith("true\n")
    assert "system call 41 needs the network: build the image with --network always" in done.stderr


def test_network_flag(tmp_path):
    done = guest.tool_result("build", "--network", "maybe", "x", folder=tmp_path)
    assert done.status == 2 and one_line_of_complaint(done)
