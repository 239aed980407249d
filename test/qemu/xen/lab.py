# SPDX-License-Identifier: MIT
"""A real Xen: the hypervisor and a Linux dom0 in QEMU under TCG, and domains in it. Started once by
each of pytest's workers.

TCG decides the CPU model. Its XSAVE ignores CR0.TS, which breaks Xen's lazy switch of the FPU; with
SMAP dom0 dies at its first IRET; an intercepted RDTSCP is reported as RDTSC. qemu64 has none of
them. So domains here see neither XSAVE, SMAP, SMEP nor RDTSCP. Nor does TCG say that the TSC is
invariant; Xen would therefore emulate it, which takes a domain 60 us for each look at the clock.
There is one CPU, so domains here have it as it is."""

import os
import pathlib
import re
import shutil
import socket
import subprocess
import time

import guest

from . import build

CPU = "qemu64,+svm,+npt,+rdrand"
MEMORY = 3072  # one domain at a time has more than half of it; what is not used costs nothing
DOM0_MEMORY = 512
GUEST = "10.0.0.2"
VIF = 'vif=["bridge=xenbr0,mac=00:16:3e:00:00:02"]'  # of a domain's configuration
PANICKED = 127  # guest.Machine's status of a kernel panic
TIMEOUT = 400  # seconds; reached only by what hangs, however busy the host is


def wait_for(what, condition, timeout=TIMEOUT, pause=0.05):
    deadline = time.monotonic() + timeout
    while True:
        result = condition()
        if result:
            return result
        if time.monotonic() > deadline:
            raise TimeoutError(f"xen: waited {timeout} s for {what}")
        time.sleep(pause)


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


class Streams:
    """What a console with `hostlink` has carried (goruntime/hostlink.h)."""

    ESCAPE = 0x10

    def __init__(self, said):
        streams = {"O": bytearray(), "E": bytearray()}
        now, at, merged = streams["E"], 0, bytearray()

        def add(some):
            now.extend(some)
            merged.extend(some)

        self.status = None
        while at < len(said):
            escape = said.find(self.ESCAPE, at)
            if escape < 0 or escape + 1 >= len(said):
                add(said[at:] if escape < 0 else said[at:escape])
                break
            add(said[at:escape])
            kind = chr(said[escape + 1])
            at = escape + 2
            if said[escape + 1] == self.ESCAPE:
                add(b"\x10")
            elif kind in streams:
                now = streams[kind]
            else:  # a record: X, the status; B, the program begins
                end = said.find(b"\n", at)
                if end < 0:
                    break
                if kind == "X":
                    self.status = int(said[at:end])
                at = end + 1
        self.out, self.err = bytes(streams["O"]), bytes(streams["E"])
        self.merged = bytes(merged)  # in the order in which they came


class Domain:
    """A domain that has been created; its console is a file that grows."""

    def __init__(self, lab, name):
        self.lab, self.name, self.boot = lab, name, lab.boots
        self.title = f"domain {name}"
        self.log = lab.folder / "console" / f"guest-{name}.log"
        self.exit_status = None
        self.gone = False
        guest.register(self)

    def said(self):
        # The second is of after a migration: the daemon keeps to the name that it was told first.
        logs = self.log, self.log.with_stem(f"{self.log.stem}--incoming")
        return b"".join(log.read_bytes() for log in logs if log.exists())

    def text(self):
        return self.said().decode(errors="replace").replace("\r\n", "\n")  # it is a terminal

    def streams(self):
        return Streams(self.said())

    def wait_for(self, what, condition, timeout):
        """The TimeoutError says where each of the domain's CPUs is and what events it has."""
        try:
            return wait_for(what, condition, timeout)
        except TimeoutError as error:
            raise TimeoutError(f"{error}\n{self.text()}\n{self.lab.state_of(self.name)}") from None

    def expect(self, pattern, timeout=TIMEOUT):
        return self.wait_for(
            f"{pattern!r} of {self.name}", lambda: re.search(pattern, self.text()), timeout
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

    def wait_for_memory(self, mib):
        """Until the domain has so much, as Xen counts."""
        answer = self.lab.command(
            f"for i in $(seq 100); do set -- $(xl list {self.name} | tail -n 1);"
            f" [ $3 = {mib} ] && break; usleep 200000; done; echo $3"
        ).strip()
        assert answer == str(mib), f"{answer} MiB\n{self.text()}"

    def end(self):
        """Waits until the domain has shut down: "poweroff", "reboot" or "crash"; then it is gone.
        `exit_status` is then the program's, from xenstore, or None."""
        reasons = {"0": "poweroff", "1": "reboot", "3": "crash"}
        # Name, ID, Mem, VCPUs, State, Time, UUID, Reason-Code, Security Label.
        answer = self.lab.command(
            f"for i in $(seq 600); do set -- $(xl list -v {self.name} | tail -n 1);"
            f" case $5 in *s*) echo $8; break;; esac; usleep 200000; done;"
            f" xenstore-read /local/domain/$2/data/exit-status; xl destroy {self.name}"
        ).split()
        self.gone = True
        if len(answer) > 1 and answer[1].isdigit():
            self.exit_status = int(answer[1])
        return reasons.get(answer[0] if answer else "", f"still there: {answer}")

    def save(self, *options):
        """`xl save`; without -c or -p the domain is gone afterwards."""
        self.lab.command(f"xl save {' '.join(options)} {self.name} /run/{self.name}.saved")

    def restore(self):
        """The domain that was saved goes on, with another number."""
        self.lab.command(f"xl restore -e /run/{self.name}.saved; status=$?;"
                         f" rm /run/{self.name}.saved; exit $status")

    def migrate(self):
        """`xl migrate` to the host where it is: it runs on while its memory is copied, and has another
        number afterwards."""
        self.lab.command(f"xl migrate -s '' {self.name} 'xl migrate-receive -e' 2>&1")

    def unpause(self):
        self.lab.command(f"xl unpause {self.name}")

    def destroy(self):
        if not self.gone and self.boot == self.lab.boots:
            self.lab.command(f"xl destroy {self.name}")
            self.gone = True

    def status(self):
        """The program's exit status, or PANICKED when the kernel panicked, as a guest.Machine has it."""
        how = self.end()
        return {"poweroff": self.exit_status, "crash": PANICKED}.get(how, how)

    def wait_for_end_of_output(self, timeout=TIMEOUT):
        """With `hostlink`: until the program's end or the kernel's has been told."""
        self.wait_for(
            f"the end of {self.name}",
            lambda: self.streams().status is not None or b"kernel panic on CPU" in self.said(),
            timeout,
        )


class Lab:
    def __init__(self, folder, memory=MEMORY):
        """Boots; `folder` is what the host and dom0 share, `memory` the machine's in MiB. The host
        reaches port 8080 of GUEST, by way of dom0's bridge, at 127.0.0.1 and `port`, by TCP: QEMU
        drops the answers to datagrams."""
        self.folder = pathlib.Path(folder)
        self.memory = memory
        shutil.rmtree(self.folder, ignore_errors=True)
        (self.folder / "console").mkdir(parents=True)
        self.boots = 0
        self.jobs = 0
        self.domains = 0
        self.shared = {}
        self.boot()

    def boot(self):
        self.boots += 1
        made = build.build()
        self.port = free_port()
        net = (
            "user,id=net,restrict=on,ipv6=off,net=10.0.0.0/24,host=10.0.0.254"
            f",hostfwd=tcp:127.0.0.1:{self.port}-{GUEST}:8080"
        )
        ours, theirs = socket.socketpair()
        self.line = ours.makefile("rw", buffering=1)
        ours.settimeout(TIMEOUT)
        xen = (
            f"console=com1 com1=115200,8n1 dom0_mem={DOM0_MEMORY}M,max:{DOM0_MEMORY}M"
            " dom0_max_vcpus=1 bootscrub=0 loglvl=warning guest_loglvl=all"
        )
        self.process = subprocess.Popen(
            [
                *(made / "qemu", *(word for folder in build.QEMU_DATA for word in ("-L", folder))),
                *("-M", "pc", "-accel", "tcg", "-cpu", CPU),
                *("-m", str(self.memory), "-display", "none", "-nodefaults", "-no-reboot"),
                *("-kernel", made / "xen", "-append", xen),
                *("-initrd", f"{made / 'dom0'} console=hvc0 quiet,{made / 'initramfs'}"),
                *("-serial", f"file:{self.folder / 'xen.log'}"),
                *("-chardev", f"socket,id=jobs,fd={theirs.fileno()}", "-serial", "chardev:jobs"),
                *("-virtfs", f"local,path={self.folder},mount_tag=job,security_model=none"),
                *("-netdev", net, "-device", "virtio-net-pci,netdev=net"),
            ],
            pass_fds=[theirs.fileno()],
            env={**os.environ, "QEMU_MODULE_DIR": build.QEMU_MODULES},
            stdin=subprocess.DEVNULL,
        )
        theirs.close()
        if self.next_line() != "ready":
            self.close()
            raise RuntimeError(f"xen: dom0 did not come up\n{self.xen_log()}")

    def next_line(self):
        """What dom0 says next; None when it says nothing."""
        try:
            return self.line.readline().strip()
        except TimeoutError:
            return None

    def xen_log(self):
        return (self.folder / "xen.log").read_bytes().decode(errors="replace")

    def command(self, script):
        """Runs a shell script in dom0; returns what it says."""
        self.jobs += 1
        name = f"job{self.jobs}"
        (self.folder / name).write_text(script)
        self.line.write(name + "\n")
        line = self.next_line()
        if line is None:
            # The test fails, and those that follow have a laboratory that answers.
            log = self.xen_log()
            self.close()
            self.boot()
            raise TimeoutError(f"xen: dom0 has not answered in {TIMEOUT} s: {script}\n{log}")
        answer = line.split()
        output = (self.folder / f"{name}.out").read_bytes().decode(errors="replace")
        if answer != [name, "0"]:
            raise RuntimeError(f"xen: {script}\n{answer}\n{output}")
        return output

    def state_of(self, name):
        """What Xen and the toolstack know of a domain."""
        seen = len(self.xen_log())
        # The keys' answers are on Xen's console: event channels, then domains with their VCPUs.
        state = self.command(
            f"xl list -v; xl vcpu-list; xenstore-ls /local/domain/$(xl domid {name});"
            f" xenctx -a -C $(xl domid {name}) 2>&1; xl debug-keys e; xl debug-keys q; sleep 1"
        )
        # Of QEMU's threads: nanoseconds that they ran, and waited for a CPU (Linux, sched-stats.rst).
        tasks = pathlib.Path(f"/proc/{self.process.pid}/task").iterdir()
        times = "".join(
            f"{(task / 'comm').read_text().strip()}: {(task / 'schedstat').read_text()}" for task in tasks
        )
        return times + state + self.xen_log()[seen:]

    def share(self, path):
        """A file where dom0 sees it: copied, unless it is there."""
        path = pathlib.Path(path)
        if self.folder not in path.parents:
            copy = self.folder / f"file{len(self.shared)}-{path.name}"
            shutil.copyfile(path, copy)
            self.shared[copy] = path
            path = copy
        return path

    def give_back(self):
        """What domains have written to copies of files goes where those came from."""
        for copy, path in self.shared.items():
            if copy.suffix != ".elf" and path.exists():
                shutil.copyfile(copy, path)
            copy.unlink()
        self.shared.clear()

    def create(
        self, image, *options, kind="pv", args=(), line=None, stdin=None, more=""
    ):
        """Starts a domain of `kind` "pv" or "pvh" by the configuration that `unigornel xen` writes
        with these options, with `line` in place of a command line made of words, and with the lines
        `more`. `stdin` is then typed into its console."""
        configuration = self.folder / "written.cfg"
        words = ["xen", "--type", kind, "-o", configuration, *options]
        guest.tool(*words, self.share(image), *(["--", *args] if args else []))
        text = configuration.read_text().replace(str(self.folder), "/job")
        # `name` and what is done at the end are ours.
        text = re.sub("(?m)^(name|on_.*) = .*\n", "", text)
        if line:
            quoted = line.replace("\\", "\\\\").replace('"', '\\"')
            more += f'\ncmdline = "{quoted}"'
        return self.start(text + more, stdin)

    def start(self, configuration, stdin=None, paused=False):
        """Starts a domain. The toolstack leaves it for us to look at when it has ended."""
        self.domains += 1
        name = f"d{self.domains}"
        lines = [f'name = "{name}"', configuration]
        if "tsc_mode" not in configuration:
            lines.append('tsc_mode = "native"')
        lines += [f'on_{event} = "preserve"' for event in ("poweroff", "reboot", "crash")]
        (self.folder / f"{name}.cfg").write_text("\n".join(lines) + "\n")
        script = f"xl create -e {'-p' if paused else ''} /job/{name}.cfg"
        if stdin is not None:
            (self.folder / f"{name}.in").write_bytes(stdin)
            console = f"/local/domain/$(xl domid {name})/console/tty"
            script += f" || exit 1\ncat /job/{name}.in > $(xenstore-read {console}) &"
        self.command(script)
        return Domain(self, name)

    def close(self):
        self.process.kill()
        self.process.wait()
