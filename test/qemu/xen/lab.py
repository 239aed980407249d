# SPDX-License-Identifier: MIT
"""A real Xen: the hypervisor and a Linux dom0 in QEMU under TCG, and domains in it. Started once for
all tests of a session.

TCG decides the CPU model. Its XSAVE ignores CR0.TS, which breaks Xen's lazy switch of the FPU; with
SMAP dom0 dies at its first IRET; an intercepted RDTSCP is reported as RDTSC. qemu64 has none of
them. So domains here see neither XSAVE, SMAP, SMEP nor RDTSCP."""

import pathlib
import re
import shutil
import socket
import subprocess
import time

from . import build

CPU = "qemu64,+svm,+npt,+rdrand"
MEMORY = 1024
DOM0_MEMORY = 512
TIMEOUT = 180  # seconds; reached only by what hangs


def wait_for(what, condition, timeout=TIMEOUT):
    deadline = time.monotonic() + timeout
    while True:
        result = condition()
        if result:
            return result
        if time.monotonic() > deadline:
            raise TimeoutError(f"xen: waited {timeout} s for {what}")
        time.sleep(0.05)


class Domain:
    """A domain that has been created; its console is a file that grows."""

    def __init__(self, lab, name):
        self.lab, self.name = lab, name
        self.log = lab.folder / "console" / f"guest-{name}.log"

    def text(self):
        said = self.log.read_bytes() if self.log.exists() else b""
        return said.decode(errors="replace").replace("\r\n", "\n")  # it is a terminal

    def expect(self, pattern, timeout=TIMEOUT):
        return wait_for(
            f"{pattern!r} of {self.name}, which says\n{self.text()}",
            lambda: re.search(pattern, self.text()),
            timeout,
        )

    def write(self, text):
        """Types into the console."""
        (self.lab.folder / f"{self.name}.in").write_text(text)
        self.lab.command(
            f"cat /job/{self.name}.in > $(xenstore-read"
            f" /local/domain/$(xl domid {self.name})/console/tty)"
        )

    def shutdown(self, how="poweroff"):
        """Asks for it by control/shutdown, as `xl shutdown` does."""
        self.lab.command(
            f"xenstore-write /local/domain/$(xl domid {self.name})/control/shutdown {how}"
        )

    def end(self):
        """Waits until the domain has shut down: "poweroff", "reboot" or "crash"; then it is gone."""
        reasons = {"0": "poweroff", "1": "reboot", "3": "crash"}
        # Name, ID, Mem, VCPUs, State, Time, UUID, Reason-Code, Security Label.
        status = self.lab.command(
            f"for i in $(seq 600); do set -- $(xl list -v {self.name} | tail -n 1);"
            f" case $5 in *s*) echo $8; break;; esac; usleep 200000; done; xl destroy {self.name}"
        ).strip()
        return reasons.get(status, f"still there: {status}")


class Lab:
    def __init__(self, folder):
        """Boots; `folder` is what the host and dom0 share."""
        self.folder = pathlib.Path(folder)
        shutil.rmtree(self.folder, ignore_errors=True)
        (self.folder / "console").mkdir(parents=True)
        self.jobs = 0
        self.domains = 0
        made = build.build()
        ours, theirs = socket.socketpair()
        self.line = ours.makefile("rw", buffering=1)
        ours.settimeout(TIMEOUT)
        xen = (
            f"console=com1 com1=115200,8n1 dom0_mem={DOM0_MEMORY}M,max:{DOM0_MEMORY}M"
            " dom0_max_vcpus=1 loglvl=warning guest_loglvl=all"
        )
        self.process = subprocess.Popen(
            [
                *("qemu-system-x86_64", "-M", "pc", "-accel", "tcg", "-cpu", CPU),
                *("-m", str(MEMORY), "-display", "none", "-nodefaults", "-no-reboot"),
                *("-kernel", made / "xen", "-append", xen),
                *("-initrd", f"{made / 'dom0'} console=hvc0 quiet,{made / 'initramfs'}"),
                *("-serial", f"file:{self.folder / 'xen.log'}"),
                *("-chardev", f"socket,id=jobs,fd={theirs.fileno()}", "-serial", "chardev:jobs"),
                *("-virtfs", f"local,path={self.folder},mount_tag=job,security_model=none"),
                *("-netdev", "user,id=net,restrict=on,net=10.0.0.0/24,host=10.0.0.254"),
                *("-device", "virtio-net-pci,netdev=net"),
            ],
            pass_fds=[theirs.fileno()],
            stdin=subprocess.DEVNULL,
        )
        theirs.close()
        if self.line.readline().strip() != "ready":
            raise RuntimeError(f"xen: dom0 did not come up\n{self.xen_log()}")

    def xen_log(self):
        return (self.folder / "xen.log").read_bytes().decode(errors="replace")

    def command(self, script):
        """Runs a shell script in dom0; returns what it says."""
        self.jobs += 1
        name = f"job{self.jobs}"
        (self.folder / name).write_text(script)
        self.line.write(name + "\n")
        answer = self.line.readline().split()
        output = (self.folder / f"{name}.out").read_bytes().decode(errors="replace")
        if answer != [name, "0"]:
            raise RuntimeError(f"xen: {script}\n{answer}\n{output}")
        return output

    def create(self, image, kind="pv", memory=64, vcpus=1, extra="", more=""):
        """Starts a domain of `kind` "pv" or "pvh"."""
        self.domains += 1
        name = f"d{self.domains}"
        shutil.copyfile(image, self.folder / f"{name}.elf")
        settings = {"name": name, "type": kind, "kernel": f"/job/{name}.elf", "cmdline": extra}
        lines = [f'{key}="{value}"' for key, value in settings.items()]
        lines += [f"memory={memory}", f"vcpus={vcpus}", more]
        lines += [f'on_{event}="preserve"' for event in ("poweroff", "reboot", "crash")]
        (self.folder / f"{name}.cfg").write_text("\n".join(lines) + "\n")
        self.command(f"xl create -e /job/{name}.cfg")
        return Domain(self, name)

    def close(self):
        self.process.kill()
        self.process.wait()
