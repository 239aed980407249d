#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Runs the domains of `unigornel exec` and `unigornel test std` in the laboratory:

    test/qemu/xen/run.py build/bin/unigornel test std --platform xen-pv --short PACKAGES

starts one and then the command, whose UNIGORNEL_XEN_RUN is this file with --domain: that hands a
configuration to the laboratory by a socket, copies what the domain says, and ends with its status.
"""

import contextlib
import os
import pathlib
import re
import select
import socket
import subprocess
import sys
import tempfile
import threading

sys.path.insert(0, str(pathlib.Path(__file__).parent.parent))

from xen.lab import GUEST, Lab

LAB = "UNIGORNEL_XEN_LAB"  # the socket's path
PANICKED = 70  # what `unigornel run` ends with when the kernel panicked
LOST = 71  # and when there is no status
MEMORY = 4096


class Server:
    """Runs one domain at a time, for whoever connects to the socket in the laboratory's folder: who
    sends a line with the path of a configuration gets the domain's output, then a NUL and the status."""

    def __init__(self, lab):
        self.lab = lab
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.bind(str(lab.folder / "run"))
        self.socket.listen()
        threading.Thread(target=self.serve, daemon=True).start()
        # Where dom0 sees the files, too.
        temporary = lab.folder / "tmp"
        temporary.mkdir()
        self.environment = {
            LAB: str(lab.folder / "run"),
            "UNIGORNEL_XEN_RUN": f"{sys.executable} {__file__} --domain",
            "TMPDIR": str(temporary),
        }

    def serve(self):
        while True:
            connection, _ = self.socket.accept()
            with connection, contextlib.suppress(BrokenPipeError, ConnectionResetError):
                path = connection.makefile().readline().rstrip("\n")
                try:
                    status = self.run(connection, pathlib.Path(path))
                except (RuntimeError, TimeoutError) as error:  # of the laboratory
                    connection.sendall(f"{error}\n".encode())
                    status = LOST
                connection.sendall(b"\0%d" % status)

    def run(self, connection, path):
        # Files are elsewhere for dom0; there is no DHCP; the streams tell when all is said.
        text = re.sub(
            "(?m)^(kernel|disk) = .*",
            lambda line: line[0].replace(str(self.lab.folder), "/job"),
            path.read_text(),
        )
        text = re.sub("(?m)^(name|on_.*) = .*\n", "", text)
        text = text.replace('cmdline = "', f'cmdline = "hostlink ip={GUEST}/24 ', 1)
        domain = self.lab.start(text)
        try:
            return self.follow(connection, domain)
        finally:
            domain.destroy()
            domain.log.unlink(missing_ok=True)

    def follow(self, connection, domain):
        sent = 0
        while True:
            said = domain.said()
            streams = domain.streams()
            connection.sendall(streams.merged[sent:].replace(b"\0", b" "))
            sent = len(streams.merged)
            if streams.status is not None or b"kernel panic on CPU" in said:
                break
            if select.select([connection], [], [], 0.5)[0]:
                raise ConnectionResetError
        how = domain.end()
        if how == "crash":
            return PANICKED
        return streams.status if domain.exit_status == streams.status else LOST


def run_domain(path):
    """The status of the domain, whose output goes to ours."""
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect(os.environ[LAB])
        connection.sendall(f"{pathlib.Path(path).resolve()}\n".encode())
        end, status = b"", b""
        while chunk := connection.recv(65536):
            if not end:
                text, end, chunk = chunk.partition(b"\0")
                sys.stdout.buffer.write(text)
                sys.stdout.buffer.flush()
            status += chunk
    return int(status) if status else LOST


def main(words):
    if words[:1] == ["--domain"]:
        return run_domain(words[1])
    with tempfile.TemporaryDirectory(prefix="xen-run-") as folder:
        lab = Lab(pathlib.Path(folder) / "lab", memory=MEMORY)
        try:
            return subprocess.run(words, env={**os.environ, **Server(lab).environment}).returncode
        finally:
            lab.close()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
