#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Makes the kernel's own table of function names from `nm -n` of its first link (read from standard input): assembly for
nasm, on standard output. The table lies behind the text, so the second link moves no function."""
import sys


def functions(lines):
    seen = set()
    for line in lines:
        fields = line.split()
        if len(fields) == 3 and fields[1] in "tT" and "." not in fields[2]:
            address = int(fields[0], 16)
            if address not in seen:
                seen.add(address)
                yield address, fields[2]


def main():
    table = list(functions(sys.stdin))
    offsets, offset = [], 0
    for _, name in table:
        offsets.append(offset)
        offset += len(name) + 1
    print("section .symbols progbits alloc noexec nowrite align=8")
    print("global symbol_count, symbol_addresses, symbol_names, symbol_strings")
    print(f"symbol_count: dd {len(table)}")
    print("symbol_addresses:")
    for address, _ in table:
        print(f"dd {address:#x}")
    print("symbol_names:")
    for offset in offsets:
        print(f"dd {offset}")
    print("symbol_strings:")
    for _, name in table:
        print(f'db "{name}", 0')
    print("db 0")
    print("section .note.GNU-stack noalloc noexec nowrite progbits")


main()
