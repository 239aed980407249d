# SPDX-License-Identifier: MIT
"""Fixtures of the tests that boot real images: build a program once, run it by `unigornel run`, or
boot QEMU itself.

Nothing here looks at how long something took, except to give up. What each boot has said is
attached to the report of a test that fails. Every process that a test starts is gone when the test
is over.
"""

import pathlib
import shutil

import pytest

import guest

# What `image("hello")` means: the folders that programs are looked for in.
PROGRAMS = (guest.ROOT / "examples", pathlib.Path(__file__).parent / "programs")


def pytest_configure(config):
    if not hasattr(
        config, "workerinput"
    ):  # not in pytest-xdist's workers, which share what is built
        shutil.rmtree(guest.BUILD, ignore_errors=True)
    guest.BUILD.mkdir(parents=True, exist_ok=True)
    missing = [p for p in (guest.UNIGORNEL, guest.KERNEL) if not p.exists()]
    if missing:
        pytest.exit(f"{missing[0]} is missing; scripts/test builds it", returncode=1)


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


@pytest.fixture
def run(image):
    """run(NAME, *ARGS, options=[...], stdin=b""): what `unigornel run` makes of it, as a
    guest.Result."""

    def run_image(name, *args, options=(), **others):
        words = ["run", *options, image(name), *(["--", *args] if args else [])]
        return guest.tool_result(*words, **others)

    return run_image


@pytest.fixture
def boot(image):
    """boot(NAME, ...): a guest.Machine that boots the image without `unigornel run`: see there."""
    return lambda name, **options: guest.Machine(image(name), **options)
