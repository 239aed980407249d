# SPDX-License-Identifier: MIT
"""How the sources look: scripts/lint as one test."""

import shutil

import pytest

import guest


def test_lint():
    missing = [tool for tool in ("clang-format", "clang-tidy") if not shutil.which(tool)]
    if missing:
        pytest.skip(f"{' and '.join(missing)} not installed: scripts/setup all")
    done = guest.result(guest.ROOT / "scripts" / "lint", timeout=600)
    assert done.status == 0, (done.stdout + done.stderr)[-5000:]
