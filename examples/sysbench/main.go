// SPDX-License-Identifier: MIT

// Sysbench measures what a Go program gets from the system below it, and prints a line `name N
// ns/op` for each benchmark. Usage: sysbench [-run REGEXP] [-cpus N] [-time DURATION]
package main

import (
	"crypto/sha256"
	"flag"
	"fmt"
	"os"
	"regexp"
	"runtime"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
	"unsafe"
)

// A benchmark does its operation n times and returns how long that took, without what it needs to
// get ready.
type benchmark struct {
	name string
	run  func(n int) time.Duration
}

var benchmarks = []benchmark{
	{"getppid", getppid},
	{"time_now", timeNow},
	{"thread_handover", threadHandover},
	{"futex_handover", futexHandover},
	{"first_touch_4k", firstTouch},
	{"pipe_round_trip", pipeRoundTrip},
	{"thread_pipe_round_trip", threadPipeRoundTrip},
	{"goroutine_ping_pong", goroutinePingPong},
	{"mutex", mutex},
	{"mutex_contended", mutexContended},
	{"binary_trees", binaryTrees},
	{"gc_cycle", gcCycle},
	{"sha256_8k", sha256Sum},
}

func timed(f func()) time.Duration {
	start := time.Now()
	f()
	return time.Since(start)
}

func check(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, "sysbench:", err)
		os.Exit(1)
	}
}

func getppid(n int) time.Duration {
	return timed(func() {
		for range n {
			syscall.RawSyscall(syscall.SYS_GETPPID, 0, 0, 0)
		}
	})
}

func timeNow(n int) time.Duration {
	return timed(func() {
		for range n {
			time.Now()
		}
	})
}

// pingPong lets two goroutines hand a token to and fro n times, each bound to a thread of its own
// when `locked`. The Go scheduler then wakes the other thread by futex for each hand-over.
func pingPong(n int, locked bool) time.Duration {
	there, back := make(chan int), make(chan int)
	go func() {
		if locked {
			runtime.LockOSThread()
		}
		for token := range there {
			back <- token
		}
		close(back)
	}()
	if locked {
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
	}
	there <- 0
	<-back
	elapsed := timed(func() {
		for i := range n {
			there <- i
			<-back
		}
	})
	close(there)
	<-back
	return elapsed
}

func threadHandover(n int) time.Duration { return pingPong(n, true) }

func goroutinePingPong(n int) time.Duration { return pingPong(n, false) }

const (
	futexWaitPrivate = 128
	futexWakePrivate = 129
)

// futexHandover is the same without the Go scheduler: two threads wait for and wake each other by
// futex system calls.
func futexHandover(n int) time.Duration {
	// A raw system call keeps its P while it waits, so each of the two threads needs one, and the
	// scheduler one more.
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(3))
	var turn uint32
	futex := func(operation, value uintptr) {
		syscall.RawSyscall6(syscall.SYS_FUTEX, uintptr(unsafe.Pointer(&turn)), operation, value, 0, 0, 0)
	}
	wait := func(mine uint32) {
		for {
			seen := atomic.LoadUint32(&turn)
			if seen == mine {
				return
			}
			futex(futexWaitPrivate, uintptr(seen))
		}
	}
	give := func(whose uint32) {
		atomic.StoreUint32(&turn, whose)
		futex(futexWakePrivate, 1)
	}
	var ready, done sync.WaitGroup
	ready.Add(1)
	done.Add(1)
	go func() {
		runtime.LockOSThread()
		ready.Done()
		for range n {
			wait(1)
			give(0)
		}
		done.Done()
	}()
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	ready.Wait()
	elapsed := timed(func() {
		for range n {
			give(1)
			wait(0)
		}
	})
	done.Wait()
	return elapsed
}

// firstTouch writes to n pages of fresh anonymous memory, in mappings of 64 MiB; mapping and
// unmapping is not counted.
func firstTouch(n int) time.Duration {
	const pages = 16384
	var elapsed time.Duration
	for n > 0 {
		memory, err := syscall.Mmap(-1, 0, pages*4096, syscall.PROT_READ|syscall.PROT_WRITE,
			syscall.MAP_PRIVATE|syscall.MAP_ANON)
		check(err)
		count := min(n, pages)
		elapsed += timed(func() {
			for i := range count {
				memory[i*4096] = 1
			}
		})
		check(syscall.Munmap(memory))
		n -= count
	}
	return elapsed
}

func pipeRoundTrip(n int) time.Duration {
	thereR, thereW, err := os.Pipe()
	check(err)
	backR, backW, err := os.Pipe()
	check(err)
	go func() {
		b := make([]byte, 1)
		for {
			if _, err := thereR.Read(b); err != nil {
				backW.Close()
				return
			}
			backW.Write(b)
		}
	}()
	b := make([]byte, 1)
	elapsed := timed(func() {
		for range n {
			_, err := thereW.Write(b)
			check(err)
			_, err = backR.Read(b)
			check(err)
		}
	})
	thereW.Close()
	backR.Read(b) // until the other side is gone
	thereR.Close()
	backR.Close()
	return elapsed
}

// threadPipeRoundTrip is the same without the Go scheduler and its poller: two threads that wait in
// the system calls themselves.
func threadPipeRoundTrip(n int) time.Duration {
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(3)) // as futexHandover
	var there, back [2]int
	check(syscall.Pipe2(there[:], syscall.O_CLOEXEC))
	check(syscall.Pipe2(back[:], syscall.O_CLOEXEC))
	call := func(number uintptr, fd int, b *byte) bool {
		n, _, _ := syscall.RawSyscall(number, uintptr(fd), uintptr(unsafe.Pointer(b)), 1)
		return n == 1
	}
	var done sync.WaitGroup
	done.Add(1)
	go func() {
		runtime.LockOSThread()
		var b byte
		for call(syscall.SYS_READ, there[0], &b) {
			call(syscall.SYS_WRITE, back[1], &b)
		}
		done.Done()
	}()
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	var b byte
	elapsed := timed(func() {
		for range n {
			if !call(syscall.SYS_WRITE, there[1], &b) || !call(syscall.SYS_READ, back[0], &b) {
				panic("sysbench: the pipe is closed")
			}
		}
	})
	syscall.Close(there[1])
	done.Wait()
	syscall.Close(there[0])
	syscall.Close(back[0])
	syscall.Close(back[1])
	return elapsed
}

func mutex(n int) time.Duration {
	var m sync.Mutex
	return timed(func() {
		for range n {
			m.Lock()
			m.Unlock()
		}
	})
}

func mutexContended(n int) time.Duration {
	var m sync.Mutex
	var all sync.WaitGroup
	shared := 0
	return timed(func() {
		for range 4 {
			all.Add(1)
			go func() {
				defer all.Done()
				for range n / 4 {
					m.Lock()
					shared++
					m.Unlock()
				}
			}()
		}
		all.Wait()
	})
}

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

// binaryTrees builds, walks and drops one tree of 8191 nodes per operation, on all CPUs.
func binaryTrees(n int) time.Duration {
	long := build(16)
	elapsed := timed(func() {
		var next atomic.Int64
		var all sync.WaitGroup
		for range runtime.GOMAXPROCS(0) {
			all.Add(1)
			go func() {
				defer all.Done()
				for next.Add(1) <= int64(n) {
					if build(12).count() != 8191 {
						panic("a tree lost nodes")
					}
				}
			}()
		}
		all.Wait()
	})
	runtime.KeepAlive(long)
	return elapsed
}

// gcCycle collects a heap of some 16 MiB that stays alive.
func gcCycle(n int) time.Duration {
	long := build(18)
	elapsed := timed(func() {
		for range n {
			runtime.GC()
		}
	})
	runtime.KeepAlive(long)
	return elapsed
}

func sha256Sum(n int) time.Duration {
	block := make([]byte, 8192)
	return timed(func() {
		for range n {
			sum := sha256.Sum256(block)
			block[0] = sum[0]
		}
	})
}

func main() {
	pattern := flag.String("run", ".", "run only the benchmarks that match this regular expression")
	cpus := flag.Int("cpus", 0, "set GOMAXPROCS (0: leave it)")
	target := flag.Duration("time", 300*time.Millisecond, "how long each benchmark should run")
	flag.Parse()
	selected, err := regexp.Compile(*pattern)
	check(err)
	if *cpus > 0 {
		runtime.GOMAXPROCS(*cpus)
	}
	for _, b := range benchmarks {
		if !selected.MatchString(b.name) {
			continue
		}
		runtime.GC()
		n, elapsed := 1, b.run(1)
		for elapsed < *target && n < 1e9 {
			// Aim a little past the target, but never trust a short run for more than a factor of 50.
			guess := float64(n) * 1.2 * float64(*target) / float64(max(elapsed, 1))
			n = int(min(guess+1, float64(n)*50))
			elapsed = b.run(n)
		}
		fmt.Printf("%s %.1f ns/op\n", b.name, float64(elapsed.Nanoseconds())/float64(n))
	}
}
