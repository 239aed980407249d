// SPDX-License-Identifier: MIT

// Preempt runs one tight loop per P, which only SIGURG can stop, and collects garbage meanwhile,
// for which every goroutine must stop. Usage: preempt GOMAXPROCS
package main

import (
	"fmt"
	"os"
	"runtime"
	"strconv"
	"time"
)

func main() {
	procs, err := strconv.Atoi(os.Args[1])
	if err != nil {
		panic(err)
	}
	runtime.GOMAXPROCS(procs)
	for range procs {
		go func() {
			for i := uint64(1); i != 0; i++ { // no call in it: no other place to stop at
			}
		}()
	}
	for range 5 {
		time.Sleep(20 * time.Millisecond)
		runtime.GC()
	}
	fmt.Println("preempted with", procs)
}
