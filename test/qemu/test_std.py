# SPDX-License-Identifier: MIT
"""A part of Go's own tests, with one and with four CPUs; std.py runs the whole list."""

import pytest

import stdtests


@pytest.mark.parametrize("cpus", (1, 4))
@pytest.mark.parametrize("package", stdtests.CI_LIST)
def test_std(package, cpus):
    folder = stdtests.expand([package])[package]
    comparison = stdtests.compare(package, folder, cpus)
    assert comparison.good, f"{comparison.trouble}\n" + "\n".join(
        f"{test}: {said}" for test, said in list(comparison.failed.items())[:10]
    )
    assert comparison.passed > 0
