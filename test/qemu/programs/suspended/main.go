// SPDX-License-Identifier: MIT

// Suspended goes on for as long as its console has lines for it, each of which it answers with what has gone on since the
// line before: work on all CPUs, a ticker, the clocks, and where its arguments say so a disk and a TCP connection.
package main

import (
	"bufio"
	"bytes"
	"flag"
	"fmt"
	"io"
	"net"
	"os"
	"runtime"
	"sync/atomic"
	"syscall"
	"time"
	"unsafe"
)

const clockBoottime = 7

func check(err error) {
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
}

func clock(id int) time.Duration {
	var t syscall.Timespec
	if _, _, e := syscall.Syscall(syscall.SYS_CLOCK_GETTIME, uintptr(id), uintptr(unsafe.Pointer(&t)), 0); e != 0 {
		check(e)
	}
	return time.Duration(t.Nano())
}

var (
	counts     []atomic.Uint64
	ticks      atomic.Uint64
	backwards  atomic.Uint64
	timerFired = make(chan time.Duration, 1)
)

// Counts, and looks that the monotonic clock never steps back.
func count(i int) {
	last := time.Now()
	for {
		counts[i].Add(1)
		now := time.Now()
		if now.Before(last) { // by the monotonic clock
			backwards.Add(1)
		}
		last = now
		if counts[i].Load()%64 == 0 {
			runtime.Gosched()
		}
	}
}

func serve() {
	listener, err := net.Listen("tcp", ":8080")
	check(err)
	for {
		connection, err := listener.Accept()
		check(err)
		go io.Copy(connection, connection)
	}
}

// What is written now is there afterwards, and so is what was written before.
func checkDisk(disk *os.File, round int) {
	block := bytes.Repeat([]byte{byte(round)}, 1<<20)
	_, err := disk.WriteAt(block, int64(round)<<20)
	check(err)
	check(disk.Sync())
	for i := 1; i <= round; i++ {
		got := make([]byte, 1<<20)
		_, err := disk.ReadAt(got, int64(i)<<20)
		check(err)
		if !bytes.Equal(got, bytes.Repeat([]byte{byte(i)}, 1<<20)) {
			check(fmt.Errorf("block %d is not what was written", i))
		}
	}
}

func main() {
	diskName := flag.String("disk", "", "a disk of /dev to use")
	listen := flag.Bool("listen", false, "echo at port 8080")
	flag.Parse()
	var disk *os.File
	if *diskName != "" {
		var err error
		disk, err = os.OpenFile("/dev/"+*diskName, os.O_RDWR, 0)
		check(err)
	}
	if *listen {
		go serve()
	}
	counts = make([]atomic.Uint64, runtime.NumCPU())
	for i := range counts {
		go count(i)
	}
	go func() {
		for range time.Tick(10 * time.Millisecond) {
			ticks.Add(1)
		}
	}()
	wall := time.Now().Round(0)
	mono, boot := time.Now(), clock(clockBoottime)
	// Held over what happens between the first line and the second.
	time.AfterFunc(time.Second, func() { fmt.Println("timer expired") })
	fmt.Println("ready")
	lines := bufio.NewScanner(os.Stdin)
	for round := 1; lines.Scan(); round++ {
		before := make([]uint64, len(counts))
		for i := range counts {
			before[i] = counts[i].Load()
		}
		ticked := ticks.Load()
		for i := range counts {
			for counts[i].Load() == before[i] || ticks.Load() == ticked {
				time.Sleep(time.Millisecond)
			}
		}
		if disk != nil {
			checkDisk(disk, round)
		}
		ahead := time.Now().Round(0).Sub(wall) - time.Since(mono)
		bootAhead := clock(clockBoottime) - boot - time.Since(mono)
		fmt.Printf("round %d: %d cpus, clocks ahead %.1f %.1f, backwards %d\n",
			round, len(counts), ahead.Seconds(), bootAhead.Seconds(), backwards.Load())
	}
}
