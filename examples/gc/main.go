// SPDX-License-Identifier: MIT

// Gc builds and drops binary trees on all CPUs, checks each, and prints how often the garbage
// collector ran. Usage: gc [DEPTH]
package main

import (
	"fmt"
	"os"
	"runtime"
	"strconv"
	"sync"
)

type tree struct{ left, right *tree }

func build(depth int) *tree {
	if depth == 0 {
		return &tree{}
	}
	return &tree{build(depth - 1), build(depth - 1)}
}

func (t *tree) count() int {
	if t.left == nil {
		return 1
	}
	return 1 + t.left.count() + t.right.count()
}

func main() {
	depth := 16
	if len(os.Args) > 1 {
		n, err := strconv.Atoi(os.Args[1])
		if err != nil || n < 4 || n > 24 {
			fmt.Fprintln(os.Stderr, "usage: gc [DEPTH]   (4 to 24)")
			os.Exit(2)
		}
		depth = n
	}

	long := build(depth) // survives everything below
	for d := 4; d <= depth; d += 2 {
		trees := 1 << (depth - d)
		counts := make([]int, trees)
		var all sync.WaitGroup
		limit := make(chan struct{}, runtime.NumCPU())
		for i := range trees {
			all.Add(1)
			limit <- struct{}{}
			go func() {
				defer all.Done()
				counts[i] = build(d).count()
				<-limit
			}()
		}
		all.Wait()
		for _, nodes := range counts {
			if nodes != 1<<(d+1)-1 {
				fmt.Printf("a tree of depth %d has %d nodes\n", d, nodes)
				os.Exit(1)
			}
		}
		fmt.Printf("%d trees of depth %d\n", trees, d)
	}
	if nodes := long.count(); nodes != 1<<(depth+1)-1 {
		fmt.Printf("the long-lived tree has %d nodes\n", nodes)
		os.Exit(1)
	}

	runtime.GC()
	var stats runtime.MemStats
	runtime.ReadMemStats(&stats)
	if stats.NumGC < 2 {
		fmt.Println("the garbage collector did not run by itself")
		os.Exit(1)
	}
	fmt.Printf("ok, %d collections\n", stats.NumGC)
}
