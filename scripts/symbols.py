#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Makes the kernel's own table of function names from `nm -n -S` of its first link (read from standard input): assembly
for nasm, on standard output. It is an ELF symbol table (gABI, chapter 4) and its strings, of which `unigornel build` makes
the first part of the image's own. Both lie behind the text, so the second link moves no function."""
import sys

# st_info: STB_LOCAL, STT_FUNC. st_shndx: SHN_ABS, until the tool knows the section.
INFO, SECTION = 0x02, 0xFFF1


def functions(lines):
    """(address, size, name) of each; what assembly defines has no size."""
    seen = set()
    for line in lines:
        address, *size, kind, name = line.split()
        if kind in "tT" and "." not in name and address not in seen:
            seen.add(address)
            yield int(address, 16), int(size[0], 16) if size else 0, name


def main():
    table = list(functions(sys.stdin))
    print("section .symbol_names progbits alloc noexec nowrite align=1")
    for _, _, name in table:
        print(f'db "{name}", 0')
    print("section .symbols progbits alloc noexec nowrite align=8")
    print("times 24 db 0")
    offset = 0
    for address, size, name in table:
        print(f"dd {offset}\ndb {INFO}, 0\ndw {SECTION}\ndq {address:#x}, {size}")
        offset += len(name) + 1
    print("section .note.GNU-stack noalloc noexec nowrite progbits")


main()
