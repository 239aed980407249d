# SPDX-License-Identifier: MIT
"""What the benchmarks need from an ELF64 file: the addresses of symbols, and where a PVH loader
enters."""

import struct

SHT_SYMTAB = 2
PT_NOTE = 4
XEN_ELFNOTE_PHYS32_ENTRY = 18  # xen/include/public/elfnote.h


class Elf:
    def __init__(self, path):
        with open(path, "rb") as f:
            self.data = f.read()
        if self.data[:5] != b"\x7fELF\x02":
            raise ValueError(f"{path}: not an ELF64 file")
        self.phoff, self.shoff = struct.unpack_from("<QQ", self.data, 32)
        self.phentsize, self.phnum, self.shentsize, self.shnum = struct.unpack_from(
            "<HHHH", self.data, 54
        )

    def symbols(self):
        """Name and value of each symbol."""
        for i in range(self.shnum):
            _, kind, _, _, offset, size, link = struct.unpack_from(
                "<IIQQQQI", self.data, self.shoff + i * self.shentsize
            )
            if kind != SHT_SYMTAB:
                continue
            (strings,) = struct.unpack_from(
                "<Q", self.data, self.shoff + link * self.shentsize + 24
            )
            for at in range(offset, offset + size, 24):
                (st_name,) = struct.unpack_from("<I", self.data, at)
                end = self.data.index(b"\0", strings + st_name)
                name = self.data[strings + st_name : end].decode(errors="replace")
                yield name, struct.unpack_from("<Q", self.data, at + 8)[0]

    def symbol(self, name):
        """The value of a symbol; KeyError when there is none."""
        for other, value in self.symbols():
            if other == name:
                return value
        raise KeyError(name)

    def pvh_entry(self):
        """The physical address that the PVH note gives; KeyError without the note."""
        for i in range(self.phnum):
            kind, _, offset, _, _, size = struct.unpack_from(
                "<IIQQQQ", self.data, self.phoff + i * self.phentsize
            )
            if kind != PT_NOTE:
                continue
            at = offset
            while at + 12 <= offset + size:
                name_size, value_size, note = struct.unpack_from("<III", self.data, at)
                name = self.data[at + 12 : at + 12 + name_size].rstrip(b"\0")
                value = at + 12 + (name_size + 3 & ~3)
                if name == b"Xen" and note == XEN_ELFNOTE_PHYS32_ENTRY:
                    return int.from_bytes(self.data[value : value + value_size], "little")
                at = value + (value_size + 3 & ~3)
        raise KeyError("XEN_ELFNOTE_PHYS32_ENTRY")
