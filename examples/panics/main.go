// SPDX-License-Identifier: MIT

// Panics ends in the way that its argument names; without one it recovers from a nil dereference
// and goes on. Usage: panics [recover | panic | exit N | deadlock | nil | divide |
// stackoverflow [BYTES] | oom]
package main

import (
	"fmt"
	"os"
	"runtime/debug"
	"strconv"
	"sync"
)

type point struct {
	pad [40]byte
	x   int
}

//go:noinline
func load(p *point) int { return p.x }

//go:noinline
func divide(a, b int) int { return a / b }

//go:noinline
func descend(n int) int { return descend(n+1) + 1 }

// plunge does the same by large steps: to copy a gigabyte of small frames takes Go a minute.
func plunge(n int) int {
	var frame [2048]byte
	frame[n%len(frame)] = byte(n)
	return plunge(n+1) + int(frame[n/2%len(frame)])
}

// attempt runs f and prints what it panics with.
func attempt(name string, f func()) {
	defer func() {
		fmt.Printf("recovered from %s: %v\n", name, recover())
	}()
	f()
}

func main() {
	mode := "recover"
	if len(os.Args) > 1 {
		mode = os.Args[1]
	}
	switch mode {
	case "recover":
		attempt("nil dereference", func() { load(nil) })
		attempt("division", func() { divide(1, 0) })
		attempt("index", func() { _ = os.Args[len(os.Args)] })
		fmt.Println("still here")
	case "panic":
		panic("as asked")
	case "exit":
		status := 0
		if len(os.Args) > 2 {
			status, _ = strconv.Atoi(os.Args[2])
		}
		os.Exit(status)
	case "deadlock":
		var m sync.Mutex
		m.Lock()
		m.Lock()
	case "nil":
		load(nil)
	case "divide":
		divide(1, 0)
	case "stackoverflow":
		if len(os.Args) == 2 {
			plunge(0)
		} else {
			limit, err := strconv.Atoi(os.Args[2])
			if err != nil {
				fmt.Fprintln(os.Stderr, "panics stackoverflow:", err)
				os.Exit(2)
			}
			debug.SetMaxStack(limit)
			descend(0)
		}
	case "oom":
		var all [][]byte
		for {
			b := make([]byte, 16<<20)
			for i := 0; i < len(b); i += 4096 {
				b[i] = 1
			}
			all = append(all, b)
		}
	default:
		fmt.Fprintln(os.Stderr,
			"usage: panics [recover | panic | exit N | deadlock | nil | divide | stackoverflow [BYTES] | oom]")
		os.Exit(2)
	}
}
