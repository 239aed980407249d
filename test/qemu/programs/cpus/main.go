// SPDX-License-Identifier: MIT

// Cpus keeps one thread per CPU busy until it has seen each CPU run one of them, and prints how
// many there were. Then it moves to each CPU by sched_setaffinity.
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

const (
	sysSchedSetaffinity = 203
	sysGetcpu           = 309
)

func getcpu() uint32 {
	var cpu uint32
	_, _, errno := syscall.RawSyscall(sysGetcpu, uintptr(unsafe.Pointer(&cpu)), 0, 0)
	if errno != 0 {
		fmt.Println("getcpu:", errno)
		os.Exit(1)
	}
	return cpu
}

func moveTo(cpu uint32) {
	mask := uint64(1) << cpu
	_, _, errno := syscall.RawSyscall(sysSchedSetaffinity, 0, unsafe.Sizeof(mask),
		uintptr(unsafe.Pointer(&mask)))
	if now := getcpu(); errno != 0 || now != cpu {
		fmt.Printf("sched_setaffinity to CPU %d: %v, and on CPU %d\n", cpu, errno, now)
	}
}

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
				cpu := getcpu()
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
	runtime.LockOSThread()
	for cpu := range uint32(runtime.NumCPU()) {
		moveTo(cpu)
	}
	fmt.Printf("%d CPUs, %d used\n", runtime.NumCPU(), len(seen))
}
