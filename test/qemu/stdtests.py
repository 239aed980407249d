# SPDX-License-Identifier: MIT
"""Go's own test binaries as unikernels: each is built once by `go test -c`, run on the host and
inside, and the results of its tests are compared one by one."""

import dataclasses
import json
import pathlib
import re

import guest

REASONS = {
    "exec": "runs itself or another program",
    "network": "needs a network",
    "files": "reads files outside of its folder",
}

# What Go's tests say when they skip themselves for want of a program to run, or of something that
# the host's CPUs have and QEMU's do not, or of a second CPU.
EXCUSE = re.compile(
    r"skipping test.*('go build'|'go run'|no cgo|not found)"
    r"|implementation not supported|on 1 processor|insufficient CPU"
    r"|on uniprocessor|requires NumCPU >= 2|GOMAXPROCS <= 1|GOMAXPROCS=1"
)

# What the project is held to; `...` is expanded by `go list`.
LONG_LIST = (
    "runtime",
    "sync",
    "sync/atomic",
    "context",
    "time",
    "sort",
    "strings",
    "bytes",
    "math/...",
    "encoding/json",
    "compress/flate",
    "crypto/...",
    "regexp",
    "container/...",
    "unicode/...",
    "errors",
    "fmt",
    "reflect",
)
CI_LIST = (
    "sync/atomic",
    "sync",
    "context",
    "sort",
    "strings",
    "bytes",
    "math",
    "math/bits",
    "container/list",
    "container/heap",
    "unicode/utf8",
    "unicode/utf16",
    "errors",
    "fmt",
    "encoding/json",
    "regexp",
    "crypto/sha256",
    "time",
)


@dataclasses.dataclass
class Comparison:
    package: str
    cpus: int
    passed: int = 0
    skipped: int = 0
    unsupported: dict = dataclasses.field(default_factory=dict)  # test: reason
    failed: dict = dataclasses.field(
        default_factory=dict
    )  # test: what it said or how it is missing
    trouble: str = ""  # of the whole binary

    @property
    def good(self):
        return not self.failed and not self.trouble


def expand(patterns):
    """The packages with tests that the patterns stand for."""
    listed = guest.go(
        "list",
        "-f",
        "{{if or .TestGoFiles .XTestGoFiles}}{{.ImportPath}} {{.Dir}}{{end}}",
        *patterns,
    )
    return dict(line.split(" ", 1) for line in listed.stdout.splitlines())


def outcomes(text):
    """{test: PASS, FAIL or SKIP} of a verbose run; a test that began and did not end is
    "UNFINISHED". Addresses in names differ from run to run and are left out."""
    text = re.sub(r"0x[0-9a-f]+", "0x", text)
    seen = {}
    for word, name in re.findall(r"^\s*(?:=== (RUN)|--- (?:PASS|FAIL|SKIP):) +(\S+)", text, re.M):
        if word:
            seen.setdefault(name, "UNFINISHED")
    for word, name in re.findall(r"--- (PASS|FAIL|SKIP): (\S+)", text):
        seen[name] = word
    return seen


def read_unsupported():
    """{(package, test): why} from unsupported.txt."""
    lines = (pathlib.Path(__file__).parent / "unsupported.txt").read_text().splitlines()
    fields = [line.split() for line in lines if not line.startswith("#")]
    return {(package, test): REASONS[why] for package, test, why in fields}


UNSUPPORTED = read_unsupported()


def reason_unsupported(comparison, test, mine, text):
    """Why a test cannot pass here, or None. A test that skips itself says why in `text`; what such
    a test would have begun is missing then."""
    reason = UNSUPPORTED.get((comparison.package, test.split("/")[0]))
    if reason is None and mine == "SKIP":
        for said in re.findall(rf"^=== \w+ +{re.escape(test)}\n(.*)$", text, re.M):
            if EXCUSE.search(said):
                reason = said.strip()
    if reason is None and mine == "MISSING":
        above = (test[:at] for at, letter in enumerate(test) if letter == "/")
        reason = next((r for a in above if (r := comparison.unsupported.get(a))), None)
    return reason


def said_by(test, text):
    """The lines of one top-level test, for the report."""
    found = re.search(
        rf"=== RUN +{re.escape(test)}\n(.*?)(?=^=== RUN +[^/\s]+$|\Z)", text, re.M | re.S
    )
    return found[1][-1500:] if found else ""


def host_binary(package):
    name = package.replace("/", "_")
    return guest.once(f"{name}.test", lambda to: guest.go("test", "-c", "-o", to, package))


def guest_binary(package):
    """The same with the overlay."""
    name = package.replace("/", "_")
    return guest.once(f"{name}.overlaid", lambda to: guest.tool("test", "-c", "-o", to, package))


def host_outcomes(package, folder, timeout):
    """What the host gives; kept, since it is the same for every number of CPUs."""

    def run(path):
        binary = host_binary(package)
        done = guest.result(binary, "-test.short", "-test.v", timeout=timeout, folder=folder)
        path.write_text(json.dumps(outcomes(done.stdout)))

    return json.loads(guest.once(f"{package.replace('/', '_')}.host", run).read_text())


def compare(package, folder, cpus, timeout=guest.TIMEOUT, memory="1G"):
    """Runs one package with `cpus` CPUs. A test is good when the host's result is the guest's; one
    that passes here and not there is no fault either."""
    comparison = Comparison(package, cpus)
    expected = host_outcomes(package, folder, timeout)
    unsupported = [t for t in expected if (package, t) in UNSUPPORTED]
    words = ["-test.short", "-test.v"]
    if unsupported:
        words += ["-test.skip", "^(" + "|".join(map(re.escape, unsupported)) + ")$"]
    done = guest.tool_result(
        *("exec", "--smp", cpus, "-m", memory, guest_binary(package), *words),
        timeout=timeout,
        folder=folder,
    )
    got = outcomes(done.stdout)
    for test, outcome in expected.items():
        mine = got.get(test, "MISSING")
        reason = reason_unsupported(comparison, test, mine, done.stdout)
        if reason:
            comparison.unsupported[test] = reason
        elif outcome == "SKIP":
            comparison.skipped += 1
        elif outcome == "PASS" and mine != "PASS":
            comparison.failed[test] = f"{mine}: {said_by(test.split('/')[0], done.stdout)}"
        else:
            comparison.passed += 1
    if not expected:
        comparison.trouble = "the host ran no test"
    elif "\nPASS\n" not in f"\n{done.stdout}" and not comparison.failed:
        comparison.trouble = f"status {done.status}: {done.stdout[-500:]}{done.stderr[-1500:]}"
    return comparison
