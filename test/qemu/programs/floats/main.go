// SPDX-License-Identifier: MIT

// Floats computes the same sums on many goroutines that preempt each other all the time, with
// calls, page faults and collections between: a register that is not kept shows as a wrong sum.
package main

import (
	"fmt"
	"math"
	"os"
	"runtime"
	"sync"
	"time"
)

//go:noinline
func sum(n int) (float64, float32) {
	a, b, c, d := 0.0, 1.0, 0.5, float32(0)
	for i := 1; i <= n; i++ {
		x := float64(i)
		a += math.Sqrt(x)
		b = b*1.0000001 + 1/x
		c = math.FMA(c, 0.999, x)
		d += float32(i%7) * 0.25
	}
	return a + b + c, d
}

func main() {
	const n = 200_000
	want, want32 := sum(n)
	var all sync.WaitGroup
	stop := make(chan struct{})
	go func() { // collections stop every goroutine wherever it is
		for {
			select {
			case <-stop:
				return
			case <-time.After(time.Millisecond):
				runtime.GC()
			}
		}
	}()
	for range 4 * runtime.NumCPU() {
		all.Add(1)
		go func() {
			defer all.Done()
			for range 5 {
				fresh := make([]byte, 64<<10)
				fresh[len(fresh)-1] = 1
				if got, got32 := sum(n); got != want || got32 != want32 {
					fmt.Println("wrong sum", got, want, got32, want32)
					os.Exit(1)
				}
			}
		}()
	}
	all.Wait()
	close(stop)
	fmt.Println("all sums equal")
}
