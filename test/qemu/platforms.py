# SPDX-License-Identifier: MIT
"""The platforms that programs are tested on: QEMU by itself, and the two kinds of domains of a Xen
in QEMU. What a test asks of each, and what it gets, is the same."""

import guest

# goruntime/hostlink.h
ESCAPE, END_OF_INPUT = b"\x10", b"\x10\x04"
PANICKED = 70  # what `unigornel run` ends with when the kernel panicked


class Kvm:
    name = "kvm"
    disk = "vda"  # the first

    def machine(self, kind):
        """Options for a machine with these devices, where there is a choice."""
        return ("--machine", kind)

    def run(self, image, *args, options=(), **others):
        """What `unigornel run` makes of the image, as a guest.Result."""
        words = ["run", *options, image, *(["--", *args] if args else [])]
        return guest.tool_result(*words, **others)

    def boot(self, image, **options):
        """A guest.Machine that boots the image without `unigornel run`."""
        return guest.Machine(image, **options)


class Xen:
    disk = "xvda"

    def __init__(self, lab, kind):
        self.lab, self.kind, self.name = lab, kind, f"xen-{kind}"

    def machine(self, kind):
        return ()

    def disks_shared(self, options):
        """The options with each disk where dom0 sees it."""
        words = [str(w) for w in options]
        for i, word in enumerate(words[:-1]):
            if word == "--disk":
                path, comma, mode = words[i + 1].partition(",")
                words[i + 1] = f"{self.lab.share(path)}{comma}{mode}"
        return words

    def run(self, image, *args, options=(), stdin=b"", timeout=guest.TIMEOUT):
        """The same of a domain by `unigornel xen`, whose options are those of `unigornel run`."""
        domain = self.lab.create(
            image,
            *("--append", "hostlink"),
            *self.disks_shared(options),
            kind=self.kind,
            args=args,
            stdin=stdin.replace(ESCAPE, 2 * ESCAPE) + END_OF_INPUT,
        )
        domain.wait_for_end_of_output(timeout)
        how, streams = domain.end(), domain.streams()
        self.lab.give_back()
        status = streams.status
        if how == "crash":
            status = PANICKED
        elif how != "poweroff" or domain.exit_status != status:
            status = f"{how}, {status} on the console, {domain.exit_status} in xenstore"
        return guest.Result([domain.title], status, streams.out, streams.err)

    def boot(self, image, cpus=1, memory=128, words="", args=()):
        """A Domain: as a guest.Machine, as far as they are alike."""
        line = " ".join([words, *(["--", *args] if args else [])]).strip()
        return self.lab.create(
            image, "-m", memory, "--smp", cpus, kind=self.kind, line=line, stdin=None
        )
