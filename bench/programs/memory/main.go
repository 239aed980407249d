// SPDX-License-Identifier: MIT

// Memory touches anonymous memory until there is no more, and prints after each MiB how many there
// were. However it ends, the last line says how much a program can use.
package main

import (
	"fmt"
	"syscall"
)

func main() {
	const mib = 1 << 20
	for n := 1; ; n++ {
		memory, err := syscall.Mmap(-1, 0, mib, syscall.PROT_READ|syscall.PROT_WRITE,
			syscall.MAP_PRIVATE|syscall.MAP_ANON)
		if err != nil {
			return
		}
		for i := 0; i < mib; i += 4096 {
			memory[i] = 1
		}
		fmt.Println("touched", n)
	}
}
