/* SPDX-License-Identifier: MIT */
/* How `unigornel run` and the guest talk over the two serial channels, so that standard input has
 * an end and exit statuses above 127 arrive. On when the kernel word `hostlink` is given; then:
 *   - to the guest (COM1): HOSTLINK_ESCAPE escapes; ESCAPE HOSTLINK_EOF ends standard input, ESCAPE
 * ESCAPE is that byte itself, ESCAPE HOSTLINK_INTERRUPT is SIGINT, ESCAPE HOSTLINK_TERMINATE is
 * SIGTERM.
 *   - from the guest (COM1): standard output, untouched.
 *   - from the guest (debug console, port 0xE9): standard error and the log; ESCAPE ESCAPE is that
 * byte itself, ESCAPE 'X' followed by a decimal number and a newline is the program's exit status;
 * ESCAPE 'P' newline: the kernel panicked; ESCAPE 'B' newline: the program starts now.
 * `hostlink=merged`: standard output comes by the debug console as well, so that it keeps its order
 * with standard error where both are one file.
 *
 * A domain of Xen has one channel, its console: input as above, all output as on the debug console,
 * where ESCAPE HOSTLINK_OUT and ESCAPE HOSTLINK_ERR say whose bytes follow; first it is the error
 * stream's. */
#pragma once

#define HOSTLINK_ESCAPE 0x10
#define HOSTLINK_EOF 0x04
#define HOSTLINK_INTERRUPT 0x03
#define HOSTLINK_TERMINATE 0x0f

#define HOSTLINK_OUT 'O'
#define HOSTLINK_ERR 'E'

#define DEBUG_CONSOLE_PORT 0xe9
#define DEBUG_EXIT_PORT 0xf4 /* isa-debug-exit: QEMU's status is (value << 1) | 1 */
/* Values: the program's status clipped to DEBUG_EXIT_CLIPPED, or: */
#define DEBUG_EXIT_CLIPPED 125 /* 125 and above: the true one comes by ESCAPE 'X' */
#define DEBUG_EXIT_REBOOT 126
#define DEBUG_EXIT_PANIC 127 /* QEMU's own status is then 255 */

#define PROBE_STATUS 42 /* what the kernel word `probe` ends with */
