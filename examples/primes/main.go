// SPDX-License-Identifier: MIT

// Primes counts the primes below N by trial division, a block of numbers at a time, on as many
// goroutines as there are CPUs. It allocates nothing while it counts: what it measures is the CPUs.
// Usage: primes [N [WORKERS]]
package main

import (
	"fmt"
	"os"
	"runtime"
	"strconv"
	"sync"
	"sync/atomic"
	"time"
)

const block = 1000

func isPrime(n uint32) bool {
	if n < 4 {
		return n > 1
	}
	if n%2 == 0 {
		return false
	}
	for d := uint32(3); d*d <= n; d += 2 {
		if n%d == 0 {
			return false
		}
	}
	return true
}

func argument(index, otherwise int) int {
	if len(os.Args) <= index {
		return otherwise
	}
	n, err := strconv.Atoi(os.Args[index])
	if err != nil || n < 1 || n > 1<<31 {
		fmt.Fprintln(os.Stderr, "usage: primes [N [WORKERS]]")
		os.Exit(2)
	}
	return n
}

func main() {
	limit := uint32(argument(1, 1_000_000))
	workers := argument(2, runtime.NumCPU())

	start := time.Now()
	var next, total atomic.Uint32
	var all sync.WaitGroup
	for range workers {
		all.Add(1)
		go func() {
			defer all.Done()
			found := uint32(0)
			for first := next.Add(block) - block; first < limit; first = next.Add(block) - block {
				for n := first; n < min(first+block, limit); n++ {
					if isPrime(n) {
						found++
					}
				}
			}
			total.Add(found)
		}()
	}
	all.Wait()
	fmt.Printf("%d primes below %d, %d workers on %d CPUs, %d ms\n",
		total.Load(), limit, workers, runtime.NumCPU(), time.Since(start).Milliseconds())
}
