// SPDX-License-Identifier: MIT

// Cpus keeps one thread per CPU busy until it has seen each CPU run one of them, and prints how
// many there were.
package main

import (
	"fmt"
	"os"
	"runtime"
	"sync"
	"syscall"
	"time"
	"unsafe"
)

const sysGetcpu = 309

func main() {
	var lock sync.Mutex
	seen := map[uint32]bool{}
	var all sync.WaitGroup
	for range runtime.NumCPU() {
		all.Add(1)
		go func() {
			defer all.Done()
			runtime.LockOSThread()
			for start := time.Now(); time.Since(start) < 20*time.Second; {
				var cpu uint32
				_, _, errno := syscall.RawSyscall(sysGetcpu, uintptr(unsafe.Pointer(&cpu)), 0, 0)
				if errno != 0 {
					fmt.Println("getcpu:", errno)
					os.Exit(1)
				}
				lock.Lock()
				seen[cpu] = true
				done := len(seen) == runtime.NumCPU()
				lock.Unlock()
				if done {
					return
				}
			}
		}()
	}
	all.Wait()
	fmt.Printf("%d CPUs, %d used\n", runtime.NumCPU(), len(seen))
}
