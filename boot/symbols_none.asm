; SPDX-License-Identifier: MIT
; The empty table of names for the first link (scripts/symbols.py makes the real one).
section .symbols progbits alloc noexec nowrite align=8
global symbol_count, symbol_addresses, symbol_names, symbol_strings
symbol_count: dd 0
symbol_addresses:
symbol_names:
symbol_strings: db 0
section .note.GNU-stack noalloc noexec nowrite progbits
