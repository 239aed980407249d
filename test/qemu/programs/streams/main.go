// SPDX-License-Identifier: MIT

// Streams writes every byte value and long text to standard output, and something else to standard
// error.
package main

import (
	"bytes"
	"os"
)

func main() {
	all := make([]byte, 256)
	for i := range all {
		all[i] = byte(i)
	}
	os.Stdout.Write(all)
	os.Stderr.WriteString("to standard error\n")
	os.Stdout.Write(bytes.Repeat(all, 1024))
	os.Stdout.WriteString("no newline at the end")
}
