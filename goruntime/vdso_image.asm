; SPDX-License-Identifier: MIT
; The vDSO inside the kernel's text, on pages that the program may execute.

global vdso_start
global vdso_end

section .text.vdso progbits alloc exec nowrite align=16
vdso_start:
    incbin VDSO_PATH
vdso_end:

section .note.GNU-stack noalloc noexec nowrite progbits
