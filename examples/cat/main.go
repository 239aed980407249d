// SPDX-License-Identifier: MIT

// Cat copies standard input to standard output until it ends, and says on standard error how much
// that was.
package main

import (
	"fmt"
	"io"
	"os"
)

func main() {
	n, err := io.Copy(os.Stdout, os.Stdin)
	if err != nil {
		fmt.Fprintln(os.Stderr, "cat:", err)
		os.Exit(1)
	}
	fmt.Fprintf(os.Stderr, "%d bytes\n", n)
}
