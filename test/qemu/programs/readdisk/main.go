// SPDX-License-Identifier: MIT

// Readdisk reads the disk at /dev/NAME with many readers at once and prints its digest; with a second
// argument it first writes that at 1 MiB and waits until it lasts.
package main

import (
	"crypto/sha256"
	"fmt"
	"io"
	"os"
	"sync"
)

const chunk = 96 << 10

func check(err error) {
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
}

func main() {
	file, err := os.OpenFile("/dev/"+os.Args[1], os.O_RDWR, 0)
	check(err)
	if len(os.Args) > 2 {
		_, err = file.WriteAt([]byte(os.Args[2]), 1<<20)
		check(err)
		check(file.Sync())
	}
	size, err := file.Seek(0, io.SeekEnd)
	check(err)
	contents := make([]byte, size)
	var readers sync.WaitGroup
	for at := int64(0); at < size; at += chunk {
		readers.Add(1)
		go func() {
			defer readers.Done()
			_, err := file.ReadAt(contents[at:min(at+chunk, size)], at)
			check(err)
		}()
	}
	readers.Wait()
	fmt.Printf("%d bytes, %x\n", size, sha256.Sum256(contents))
}
