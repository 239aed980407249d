# SPDX-License-Identifier: MIT
"""Fixtures of the tests that boot real images: build a program once, run it by `unigornel run`, or
boot QEMU itself.

Nothing here looks at how long something took, except to give up. What each boot has said is
attached to the report of a test that fails. Every process that a test starts is gone when the test
is over.
"""

import contextlib
import fcntl
import pathlib
import shutil

import pytest

import guest
import platforms
from xen.lab import Lab
from xen.run import Server

# What `image("hello")` means: the folders that programs are looked for in.
PROGRAMS = (guest.ROOT / "examples", pathlib.Path(__file__).parent / "programs")


PLATFORMS = ("kvm", "xen-pv", "xen-pvh")


class FailuresAtOnce:
    """Names each test that fails when it does: a run that is stopped has no summary."""

    def __init__(self, config):
        self.config = config

    def pytest_runtest_logreport(self, report):
        if report.failed:
            terminal = self.config.pluginmanager.get_plugin("terminalreporter")
            why = (report.longreprtext.splitlines() or [""])[-1]
            terminal.write_line(f"\n{report.nodeid} ({report.duration:.0f} s): {why}")


def pytest_configure(config):
    config.addinivalue_line(
        "markers", "kvm_only(reason): not for domains of Xen, which have no such thing"
    )
    config.addinivalue_line("markers", "alone(reason): while no other test runs")
    if not hasattr(
        config, "workerinput"
    ):  # not in pytest-xdist's workers, which share what is built
        shutil.rmtree(guest.BUILD, ignore_errors=True)
        config.pluginmanager.register(FailuresAtOnce(config))
    guest.BUILD.mkdir(parents=True, exist_ok=True)
    missing = [p for p in (guest.UNIGORNEL, guest.KERNEL) if not p.exists()]
    if missing:
        pytest.exit(f"{missing[0]} is missing; scripts/test builds it", returncode=1)


def pytest_generate_tests(metafunc):
    """A test that runs programs does so on all platforms, unless it says why not."""
    only = metafunc.definition.get_closest_marker("kvm_only")
    if only:
        assert only.args, f"{metafunc.definition.nodeid}: kvm_only needs a reason"
    elif "platform" in metafunc.fixturenames:
        metafunc.parametrize("platform", PLATFORMS, indirect=True)


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item, call):
    report = (yield).get_result()
    if report.failed:
        for title, text in guest.transcripts():
            report.sections.append((title, text))


@pytest.fixture(autouse=True)
def clean_up():
    """Ends what the test has left running."""
    guest.forget_transcripts()
    yield
    guest.end_all()


@pytest.fixture(autouse=True)
def room(request):
    """Tests run side by side but for those marked `alone`; who waits for all others to end lets none
    begin."""
    alone = request.node.get_closest_marker("alone")
    assert alone is None or alone.args, f"{request.node.nodeid}: alone needs a reason"
    how = fcntl.LOCK_EX if alone else fcntl.LOCK_SH
    with contextlib.ExitStack() as held:
        with guest.locked(guest.BUILD / "door.lock"):
            held.enter_context(guest.locked(guest.BUILD / "room.lock", how))
        yield


def find_program(name):
    for folder in PROGRAMS:
        if (folder / name / "go.mod").exists():
            return folder / name
    raise LookupError(f"no program {name}")


@pytest.fixture(scope="session")
def binary():
    """binary(NAME): the program built by the stock toolchain alone, a static Linux executable."""
    return lambda name: guest.once(
        f"{name}.bin", lambda to: guest.go("build", "-o", to, ".", folder=find_program(name))
    )


@pytest.fixture(scope="session")
def image():
    """image(NAME): the program built by `unigornel build`."""
    return lambda name: guest.once(
        f"{name}.elf", lambda to: guest.tool("build", "-o", to, ".", folder=find_program(name))
    )


@pytest.fixture(scope="session")
def lab(worker_id):
    """The worker's laboratory (xen/lab.py), started by the first test that wants it."""
    made = Lab(guest.BUILD / f"xen-{worker_id}")
    yield made
    made.close()


@pytest.fixture(scope="session")
def domains_of_exec(lab):
    """The environment in which `unigornel exec` runs domains in the laboratory."""
    return Server(lab).environment


@pytest.fixture(params=["pv", "pvh"])
def domain(request, lab, image):
    """domain(NAME, ...): the program's image as a domain of both kinds; see Lab.create."""
    return lambda name, *words, **others: lab.create(
        image(name), *words, kind=request.param, **others
    )


@pytest.fixture
def platform(request):
    name = getattr(request, "param", "kvm")
    if name == "kvm":
        return platforms.Kvm()
    return platforms.Xen(request.getfixturevalue("lab"), name.removeprefix("xen-"))


@pytest.fixture
def run(platform, image):
    """run(NAME, *ARGS, options=[...], stdin=b""): what becomes of the program on the platform, with
    options of `unigornel run`, as a guest.Result."""
    return lambda name, *args, **options: platform.run(image(name), *args, **options)


@pytest.fixture
def boot(platform, image):
    """boot(NAME, ...): a machine or domain that boots the image by itself: see platforms.py."""
    return lambda name, **options: platform.boot(image(name), **options)
