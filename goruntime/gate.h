/* SPDX-License-Identifier: MIT */
/* The system-call gate: where the overlay's replacement of SYSCALL jumps to. The program executes
 *     lea r11, [rip + 7]; mov ecx, GATE_ADDRESS; jmp rcx
 * with everything else as for SYSCALL; the gate returns to R11. Nothing is written to the program's
 * stack. */
#pragma once

#define GATE_ADDRESS 0x100000
