// SPDX-License-Identifier: MIT

// Linux_init is /init of the Linux guest that bench/run compares with: it runs the program that its
// arguments name, waits for it, and switches the machine off. What it writes around the program is
// marked with "init:".
package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"unsafe"
)

const sysFinitModule = 313

func main() {
	// Programs read these, and Debian's initramfs has them too. A failure shows in what the program
	// does.
	for _, m := range [][2]string{{"proc", "/proc"}, {"sysfs", "/sys"}, {"devtmpfs", "/dev"}} {
		os.MkdirAll(m[1], 0o755)
		syscall.Mount(m[0], m[1], m[0], 0, "")
	}
	// Drivers, in the order of their names, which is that of their needs.
	modules, _ := filepath.Glob("/module-*")
	for _, path := range modules {
		file, err := os.Open(path)
		if err == nil {
			_, _, errno := syscall.Syscall(sysFinitModule, file.Fd(), uintptr(unsafe.Pointer(&[1]byte{})), 0)
			if errno != 0 {
				err = errno
			}
			file.Close()
		}
		if err != nil {
			fmt.Println("init:", path, err)
		}
	}
	status := 127
	if len(os.Args) > 1 {
		c := exec.Command(os.Args[1], os.Args[2:]...)
		c.Stdin, c.Stdout, c.Stderr = os.Stdin, os.Stdout, os.Stderr
		c.Env = append(os.Environ(), "HOME=/")
		if err := c.Run(); err != nil && c.ProcessState == nil {
			fmt.Println("init:", err)
		} else {
			status = c.ProcessState.ExitCode()
		}
	}
	fmt.Println("init: status", status)
	syscall.Sync()
	// On a machine without ACPI the kernel restarts it instead, and QEMU's -no-reboot ends it.
	syscall.Reboot(syscall.LINUX_REBOOT_CMD_RESTART)
	select {}
}
