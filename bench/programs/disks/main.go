// SPDX-License-Identifier: MIT

// Disks measures reads of /dev/vda, or of the disk that it is given, of which each call is a cold boot's
// first, and the memory root.
package main

import (
	"fmt"
	"io"
	"math/rand"
	"os"
	"sync"
	"syscall"
	"time"
)

func check(err error) {
	if err != nil {
		fmt.Println("error:", err)
		os.Exit(1)
	}
}

// MiB/s of reading [0, size) in pieces.
func sequential(disk *os.File, size int64) float64 {
	buffer := make([]byte, 128<<10)
	_, err := disk.Seek(0, io.SeekStart)
	check(err)
	begin := time.Now()
	for at := int64(0); at < size; at += int64(len(buffer)) {
		_, err := io.ReadFull(disk, buffer)
		check(err)
	}
	return float64(size) / (1 << 20) / time.Since(begin).Seconds()
}

// Reads per second of 32 goroutines in [from, from+size).
func random(disk *os.File, from, size int64) float64 {
	const workers, reads = 32, 250
	var group sync.WaitGroup
	begin := time.Now()
	for i := range workers {
		group.Add(1)
		go func() {
			defer group.Done()
			random := rand.New(rand.NewSource(int64(i)))
			buffer := make([]byte, 4096)
			for range reads {
				_, err := disk.ReadAt(buffer, from+random.Int63n(size/4096)*4096)
				check(err)
			}
		}()
	}
	group.Wait()
	return workers * reads / time.Since(begin).Seconds()
}

// Nanoseconds of open, fstat and close.
func open() float64 {
	const path, rounds = "/bench-file", 20000
	check(os.WriteFile(path, []byte("contents"), 0o644))
	var stat syscall.Stat_t
	begin := time.Now()
	for range rounds {
		fd, err := syscall.Open(path, syscall.O_RDONLY|syscall.O_CLOEXEC, 0)
		check(err)
		check(syscall.Fstat(fd, &stat))
		check(syscall.Close(fd))
	}
	return float64(time.Since(begin).Nanoseconds()) / rounds
}

func main() {
	path := "/dev/vda"
	if len(os.Args) > 1 {
		path = os.Args[1]
	}
	disk, err := os.Open(path)
	check(err)
	size, err := disk.Seek(0, io.SeekEnd)
	check(err)
	half := size / 2 &^ (1<<20 - 1)
	fmt.Printf("read_cold %.1f\n", sequential(disk, half))
	fmt.Printf("read_cached %.1f\n", sequential(disk, half))
	fmt.Printf("random_4k %.1f\n", random(disk, half, half))
	fmt.Printf("open_stat_close %.1f\n", open())
}
