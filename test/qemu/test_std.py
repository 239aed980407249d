# SPDX-License-Identifier: MIT
"""A part of the standard library's own tests, with one and with four CPUs; `unigornel test std`
runs all of them."""

import json
import pathlib
import signal
import xml.etree.ElementTree

import pytest

import guest

PACKAGES = (
    *("bytes", "compress/flate", "container/heap", "container/list", "context", "crypto/sha256"),
    *("debug/elf", "encoding/hex", "encoding/json", "errors", "fmt", "io/fs", "math", "math/bits"),
    *("net", "net/http/httptest", "net/rpc", "os", "os/user", "path/filepath", "regexp", "sort"),
    *("strings", "sync", "sync/atomic", "syscall", "unicode/utf16", "unicode/utf8"),
)
MODULES = pathlib.Path(__file__).parent.parent / "std/modules"
MODULE_PACKAGES = (
    *("go.etcd.io/raft/v3/quorum", "golang.org/x/net/bpf", "golang.org/x/net/ipv4"),
    *("golang.org/x/net/ipv6", "golang.org/x/sync/errgroup", "golang.org/x/sys/unix"),
)


def all_pass(packages, cpus, report):
    """One guest at a time: pytest runs two tests."""
    done = guest.tool_result(
        *("test", "std", "--short", "-v", "-j", 1, "--cpus", cpus, "--json", report, *packages),
        timeout=1500,
    )
    assert done.status == 0, done.stdout
    runs = json.loads(report.read_text())["packages"]
    assert sorted(run["package"] for run in runs) == sorted(packages)
    assert all(run["good"] and run["cpus"] == cpus and run["passed"] for run in runs)


@pytest.mark.parametrize("cpus", (1, 4))
def test_std(cpus, tmp_path):
    all_pass(PACKAGES, cpus, tmp_path / "report.json")


def test_std_time(tmp_path):
    """With one CPU, --short leaves TestLongAdjustTimers out."""
    all_pass(("time",), 1, tmp_path / "report.json")


@pytest.mark.alone("TestLongAdjustTimers wants a million rounds in a minute")
def test_std_time_with_4_cpus(tmp_path):
    all_pass(("time",), 4, tmp_path / "report.json")


def test_modules():
    """Packages of other modules, as they are in the module cache."""
    done = guest.tool_result(
        *("test", "std", "--short", "-v", "-j", 1, "--cpus", 2, *MODULE_PACKAGES),
        folder=MODULES,
        timeout=600,
    )
    assert done.status == 0, done.stdout
    assert all(package in done.stdout for package in MODULE_PACKAGES)


@pytest.mark.parametrize("platform_name", ("xen-pv", "xen-pvh"))
def test_in_domains(platform_name, domains_of_exec, tmp_path):
    """One package of the standard library, whose root is GOROOT, and one of a module, whose root
    is the module; test/qemu/xen/run.py runs more."""
    (tmp_path / "go.mod").write_text("module small\n\ngo 1.24\n")
    (tmp_path / "beside").write_text("the module's own file")
    (tmp_path / "small_test.go").write_text(
        """package small

import ("bytes"; "os"; "testing")

func TestFiles(t *testing.T) {
    if text, err := os.ReadFile("beside"); string(text) != "the module's own file" { t.Error(err) }
    self, err := os.ReadFile("/proc/self/exe")
    if !bytes.HasPrefix(self, []byte("\\x7fELF")) { t.Error(err) }
    if err := os.WriteFile("new", nil, 0o600); err != nil { t.Error(err) }
}
func TestBad(t *testing.T) { print("no newline"); t.Error("said") }
"""
    )
    words = ("test", "std", "--short", "-v", "-j", 1, "--cpus", 2, "-m", "1G")
    options = {"folder": tmp_path, "env": domains_of_exec, "timeout": 600}
    done = guest.tool_result(*words, "--platform", platform_name, "go/build/constraint", **options)
    assert done.status == 0 and " 89     89 " in done.stdout, done.stdout
    done = guest.tool_result(*words, "--platform", platform_name, ".", **options)
    assert done.status == 1 and "failed: TestBad" in done.stdout, done.stdout
    assert "2 tests, 1 passed, 1 failed" in done.stdout and not (tmp_path / "new").exists()


def test_reports(tmp_path):
    """A module of the user's own: what fails, what is listed and fails, what is listed and passes,
    and what ends the whole binary."""
    (tmp_path / "go.mod").write_text("module small\n\ngo 1.24\n")
    (tmp_path / "small_test.go").write_text(
        """package small

import ("os"; "os/exec"; "testing")

func TestGood(t *testing.T) {}
func TestSkipped(t *testing.T) { t.Skip() }
func TestExec(t *testing.T) {
    if err := exec.Command("/bin/true").Run(); err != nil { t.Fatal(err) }
}
func TestBad(t *testing.T) { print("no newline"); t.Run("sub", func(t *testing.T) { t.Error("a <reason> & more") }) }
func TestKills(t *testing.T) { os.Exit(3) }
"""
    )
    exceptions, table, junit = (tmp_path / name for name in ("list.txt", "out.json", "out.xml"))

    def run(listed, *options):
        exceptions.write_text("".join(f"small {line}\n" for line in listed))
        words = ("test", "std", "--cpus", 1, "--json", table, "--junit", junit)
        return guest.tool_result(
            *words, "--exceptions", exceptions, *options, ".", folder=tmp_path
        )

    def verdicts():
        (run,) = json.loads(table.read_text())["packages"]
        return {test["name"]: test["verdict"] for test in run["tests"]}

    done = run(("TestGood exec", "TestExec exec", "TestKills exec kills"))
    assert done.status == 1
    assert "surprise: TestGood" in done.stdout and "failed: TestBad/sub" in done.stdout
    assert verdicts() == {
        "TestGood": "surprise",
        "TestSkipped": "skipped",
        "TestExec": "excepted",
        "TestBad": "failed",
        "TestBad/sub": "failed",
    }
    (suite,) = xml.etree.ElementTree.parse(junit).getroot()
    assert (suite.get("tests"), suite.get("failures"), suite.get("skipped")) == ("5", "3", "2")
    assert "a <reason> & more" in "".join(suite.itertext())

    done = run(("TestExec exec", "TestKills exec kills", "TestBad/sub exec"))
    assert done.status == 0 and verdicts()["TestBad"] == "excepted", done.stdout

    done = run(("TestExec exec", "TestBad exec"))
    assert done.status == 1 and "did not end: TestKills" in done.stdout
    (suite,) = xml.etree.ElementTree.parse(junit).getroot()
    assert suite.get("errors") == "1" and suite.find("testcase/error") is not None

    done = run((), "--run", "Good")
    assert done.status == 0 and verdicts() == {"TestGood": "passed"}
    done = run((), "--run", "Exec", "--platform", "host")
    assert done.status == 0 and verdicts() == {"TestExec": "passed"}
    assert run(("TestExec because",)).status == 1

    run((), "--run", "Bad", "--platform", "host")
    linux = table.rename(tmp_path / "linux.json")
    done = run((), "--run", "Bad", "--compare", linux)
    assert done.status == 0 and verdicts()["TestBad/sub"] == "excepted"


def test_an_interrupted_run_reports(tmp_path):
    """What has ended by then is in the table and in the file."""
    (tmp_path / "go.mod").write_text("module small\n\ngo 1.24\n")
    for name, body in (("a", ""), ("b", "select {}")):
        (tmp_path / name).mkdir()
        (tmp_path / name / "one_test.go").write_text(
            f'package {name}\n\nimport "testing"\n\nfunc TestOne(t *testing.T) {{ {body} }}\n'
        )
    table = tmp_path / "out.json"
    process = guest.start(
        *(guest.UNIGORNEL, "test", "std", "--platform", "host", "--cpus", 1, "-j", 1),
        *("--json", table, "./a", "./b"),
        folder=tmp_path,
    )
    assert process.stdout.readline().startswith(b"package")
    assert process.stdout.readline().startswith(b"small/a")
    process.send_signal(signal.SIGTERM)
    stdout, _ = process.communicate(timeout=guest.TIMEOUT)
    assert process.returncode == 1 and b"interrupted: 1 of 2 packages" in stdout
    (only,) = json.loads(table.read_text())["packages"]
    assert only["package"] == "small/a" and only["good"]
