// SPDX-License-Identifier: MIT

// Args prints what a program is given: arguments, environment, working directory, process id, CPUs.
package main

import (
	"fmt"
	"os"
	"runtime"
)

func main() {
	for i, a := range os.Args {
		fmt.Printf("argv[%d] %q\n", i, a)
	}
	for _, e := range os.Environ() {
		fmt.Printf("env %q\n", e)
	}
	cwd, err := os.Getwd()
	fmt.Printf("cwd %q %v\n", cwd, err)
	host, err := os.Hostname()
	fmt.Printf("hostname %q %v\n", host, err)
	fmt.Printf("pid %d\n", os.Getpid())
	fmt.Printf("cpus %d gomaxprocs %d\n", runtime.NumCPU(), runtime.GOMAXPROCS(0))
	fmt.Printf("page size %d\n", os.Getpagesize())
}
