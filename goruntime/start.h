/* SPDX-License-Identifier: MIT */
/* The program's beginning: what the stock runtime expects to find on its stack. */
#pragma once

/* On the program's first thread: makes its stack with argv, environment and auxiliary vector
 * (System V ABI for x86-64, 3.4.1), and enters it. Ends the machine with one line when there is no
 * memory for that. */
_Noreturn void program_start(void);
