# SPDX-License-Identifier: MIT
"""Sockets and the network: local sockets, servers and clients, what goes wrong on the way."""

import pytest


@pytest.mark.parametrize("cpus", ("1", "4"))
def test_unix_sockets(run, cpus):
    done = run("unixsockets", options=("--smp", cpus))
    names = "transfer http rpc datagrams rights failures edges"
    assert (done.status, done.stdout.split()) == (0, names.split()), done.stderr
