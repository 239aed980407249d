// SPDX-License-Identifier: MIT

// Goroutines starts many goroutines that all wait for each other, so that they exist at the same
// time, and adds up what they send. Usage: goroutines [COUNT]
package main

import (
	"fmt"
	"os"
	"strconv"
	"sync"
)

func main() {
	count := 100_000
	if len(os.Args) > 1 {
		n, err := strconv.Atoi(os.Args[1])
		if err != nil || n < 1 {
			fmt.Fprintln(os.Stderr, "usage: goroutines [COUNT]")
			os.Exit(2)
		}
		count = n
	}

	var ready sync.WaitGroup
	start := make(chan struct{})
	results := make(chan int, 128)
	ready.Add(count)
	for i := range count {
		go func() {
			ready.Done()
			<-start
			results <- i
		}()
	}
	ready.Wait()
	close(start)

	sum := 0
	for range count {
		sum += <-results
	}
	if want := count * (count - 1) / 2; sum != want {
		fmt.Printf("wrong sum %d, want %d\n", sum, want)
		os.Exit(1)
	}
	fmt.Printf("%d goroutines, sum %d\n", count, sum)
}
