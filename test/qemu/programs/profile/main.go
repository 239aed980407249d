// SPDX-License-Identifier: MIT

// Profile takes a CPU profile of itself (SIGPROF) and says whether the function that burns the CPU
// is in it.
package main

import (
	"bytes"
	"compress/gzip"
	"fmt"
	"io"
	"os"
	"runtime/pprof"
	"time"
)

//go:noinline
func burn(n int) int {
	x := 1
	for i := range n {
		x = x*31 + i
	}
	return x
}

func main() {
	var profile bytes.Buffer
	if err := pprof.StartCPUProfile(&profile); err != nil {
		fmt.Println("start:", err)
		os.Exit(1)
	}
	x := 0
	for start := time.Now(); time.Since(start) < time.Second; {
		x += burn(1_000_000)
	}
	pprof.StopCPUProfile()

	unpacked, err := gzip.NewReader(&profile)
	if err != nil {
		fmt.Println("gzip:", err)
		os.Exit(1)
	}
	text, err := io.ReadAll(unpacked)
	if err != nil {
		fmt.Println("gzip:", err)
		os.Exit(1)
	}
	// The profile's string table names only functions that a sample has met.
	fmt.Println("burn in profile:", bytes.Contains(text, []byte("main.burn")), x != 0)
}
