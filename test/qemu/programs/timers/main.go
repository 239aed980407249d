// SPDX-License-Identifier: MIT

// Timers sleeps on idle and on busy CPUs and checks that no sleep ends early and that the clocks
// never step back.
package main

import (
	"fmt"
	"os"
	"runtime"
	"sync"
	"time"
)

func main() {
	if now := time.Now().Year(); now < 2024 {
		fmt.Println("the year is", now)
		os.Exit(1)
	}
	var all sync.WaitGroup
	for i := range 50 {
		all.Add(1)
		go func() {
			defer all.Done()
			want := time.Duration(i) * 7 * time.Millisecond
			start := time.Now()
			time.Sleep(want)
			if got := time.Since(start); got < want {
				fmt.Println("slept", got, "instead of", want)
				os.Exit(1)
			}
		}()
	}
	all.Wait()

	var lock sync.Mutex
	last := time.Now()
	for range runtime.NumCPU() {
		all.Add(1)
		go func() {
			defer all.Done()
			runtime.LockOSThread()
			for range 50_000 {
				lock.Lock()
				now := time.Now()
				if now.Before(last) {
					fmt.Println("the clock stepped back by", last.Sub(now))
					os.Exit(1)
				}
				last = now
				lock.Unlock()
			}
		}()
	}
	all.Wait()
	fmt.Println("clocks ok")
}
