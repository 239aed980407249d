// SPDX-License-Identifier: MIT

// Disk works on a raw disk or a file on one: disk write DEVICE, disk errors FILE, disk write-errors
// DEVICE, disk random FILE, disk large FILE, disk gone DEVICE FILE, disk survive DEVICE.
package main

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"math/rand"
	"os"
	"runtime/debug"
	"sync"
	"syscall"
	"unsafe"
)

func check(err error) {
	if err != nil {
		fmt.Println("error:", err)
		os.Exit(1)
	}
}

func ioctl(file *os.File, command uintptr, argument unsafe.Pointer) error {
	_, _, errno := syscall.Syscall(syscall.SYS_IOCTL, file.Fd(), command, uintptr(argument))
	if errno != 0 {
		return errno
	}
	return nil
}

const (
	blkGetSize64 = 0x80081272
	blkSszGet    = 0x1268
	blkRoGet     = 0x125e
	blkDiscard   = 0x1277
	blkFlushBuf  = 0x1261
	blkZeroOut   = 0x127f
)

// Writes pieces of all sizes, whose contents follow from a seed, and reads everything back.
func write(path string) {
	file, err := os.OpenFile(path, os.O_RDWR, 0)
	check(err)
	var size uint64
	var sector, readOnly int32
	check(ioctl(file, blkGetSize64, unsafe.Pointer(&size)))
	check(ioctl(file, blkSszGet, unsafe.Pointer(&sector)))
	check(ioctl(file, blkRoGet, unsafe.Pointer(&readOnly)))
	end, err := file.Seek(0, io.SeekEnd)
	check(err)
	fmt.Println("size", size, "sector", sector, "read-only", readOnly, "end", end)
	expected := make([]byte, size)
	_, err = file.ReadAt(expected, 0)
	check(err)
	random := rand.New(rand.NewSource(1))
	for i := range 200 {
		length := 1 + random.Intn(5000)
		if i%20 == 0 {
			length = 1 + random.Intn(300000)
		}
		at := random.Intn(int(size) - length)
		random.Read(expected[at : at+length])
		_, err := file.WriteAt(expected[at:at+length], int64(at))
		check(err)
	}
	check(file.Sync())
	discard := [2]uint64{1 << 20, 1 << 19}
	if err := ioctl(file, blkDiscard, unsafe.Pointer(&discard)); err == nil {
		clear(expected[1<<20 : 1<<20+1<<19])
	} else {
		fmt.Println("discard:", err)
	}
	_, err = file.WriteAt([]byte("x"), int64(size))
	fmt.Println("past the end:", errors.Is(err, syscall.ENOSPC))
	found := make([]byte, size)
	_, err = file.ReadAt(found, 0)
	check(err)
	mapped, err := syscall.Mmap(int(file.Fd()), 0, int(size), syscall.PROT_READ, syscall.MAP_SHARED)
	check(err)
	_, err = syscall.Mmap(int(file.Fd()), 0, int(size), syscall.PROT_WRITE, syscall.MAP_SHARED)
	fmt.Println("shared writable mapping:", err)
	fmt.Println("read", string(found) == string(expected), "mapped", string(mapped) == string(expected))
	check(file.Close())
	fmt.Printf("%x\n", sha256.Sum256(expected))
}

var touched byte

// Reads one byte of a mapping: a SIGBUS becomes a panic.
func touch(bytes []byte, at int) (result string) {
	defer func() {
		if recover() != nil {
			result = "fault"
		}
	}()
	debug.SetPanicOnFault(true)
	touched += bytes[at]
	return "read"
}

// Reads a file in pieces, of which some cannot be read.
func readErrors(path string) {
	file, err := os.Open(path)
	check(err)
	size, err := file.Seek(0, io.SeekEnd) // also of a disk, whose inode has no size
	check(err)
	piece := make([]byte, 4096)
	var good, bad []int64
	for pass := range 2 {
		good, bad = nil, nil
		for at := int64(0); at < size; at += 4096 {
			_, err := file.ReadAt(piece, at)
			if err == nil || err == io.EOF {
				good = append(good, at/4096)
			} else if errors.Is(err, syscall.EIO) {
				bad = append(bad, at/4096)
			} else {
				check(err)
			}
		}
		fmt.Println("pass", pass, "good", len(good), "bad", bad)
	}
	mapped, err := syscall.Mmap(int(file.Fd()), 0, int(size), syscall.PROT_READ, syscall.MAP_PRIVATE)
	check(err)
	for _, page := range bad {
		fmt.Println("mapped", page, touch(mapped, int(page)*4096))
	}
	fmt.Println("mapped", good[0], touch(mapped, int(good[0])*4096))
	os.Stdout.Sync()
}

// Writes to a disk of which some blocks cannot be written, and whose first flush fails.
func writeErrors(path string) {
	file, err := os.OpenFile(path, os.O_RDWR, 0)
	check(err)
	var bad []int
	for i := range 32 {
		_, err := file.WriteAt(bytes.Repeat([]byte{byte(i + 1)}, 4096), int64(i)*4096)
		if errors.Is(err, syscall.EIO) {
			bad = append(bad, i)
		} else {
			check(err)
		}
	}
	fmt.Println("bad", bad, "sync", errors.Is(file.Sync(), syscall.EIO), file.Sync())
	check(ioctl(file, blkFlushBuf, nil))
	wrong := 0
	piece := make([]byte, 4096)
	for i := range 32 {
		_, err := file.ReadAt(piece, int64(i)*4096)
		check(err)
		if len(bad) > 0 && i == bad[0] {
			fmt.Println("not written:", bytes.Count(piece, []byte{0}) == 4096)
		} else if bytes.Count(piece, []byte{byte(i + 1)}) != 4096 {
			wrong++
		}
	}
	zero := [2]uint64{8192, 8192}
	fmt.Println("wrong", wrong, "zeroes", ioctl(file, blkZeroOut, unsafe.Pointer(&zero)))
	_, err = file.ReadAt(piece, 8192+100)
	fmt.Println("zero:", err, bytes.Count(piece, []byte{0}))
}

// Many goroutines read at random; each 8 bytes of the file hold their own number.
func random(path string) {
	file, err := os.Open(path)
	check(err)
	size, err := file.Seek(0, io.SeekEnd) // also of a disk, whose inode has no size
	check(err)
	var group sync.WaitGroup
	for i := range 32 {
		group.Add(1)
		go func() {
			defer group.Done()
			random := rand.New(rand.NewSource(int64(i)))
			piece := make([]byte, 4096)
			for range 100 {
				at := random.Int63n(size/8-512) * 8
				_, err := file.ReadAt(piece, at)
				check(err)
				for j := 0; j < len(piece); j += 8 {
					if found := *(*int64)(unsafe.Pointer(&piece[j])); found != (at+int64(j))/8 {
						fmt.Println("at", at+int64(j), "found", found)
						os.Exit(1)
					}
				}
			}
		}()
	}
	group.Wait()
	fmt.Println("all right")
}

// A file larger than the memory: by read, by mmap, while the program's own memory grows.
func large(path string) {
	file, err := os.Open(path)
	check(err)
	size, err := file.Seek(0, io.SeekEnd) // also of a disk, whose inode has no size
	check(err)
	table := crc32.MakeTable(crc32.Castagnoli) // quick where QEMU translates
	sum := crc32.New(table)
	_, err = io.Copy(sum, io.NewSectionReader(file, 0, size))
	check(err)
	mapped, err := syscall.Mmap(int(file.Fd()), 0, int(size), syscall.PROT_READ, syscall.MAP_SHARED)
	check(err)
	fmt.Println("read and mapped alike:", sum.Sum32() == crc32.Checksum(mapped, table))
	var memory [][]byte
	for range 24 { // half of what the guest has
		block := make([]byte, 1<<20)
		for i := range block {
			block[i] = byte(i)
		}
		memory = append(memory, block)
	}
	fmt.Println("with memory in use:", sum.Sum32() == crc32.Checksum(mapped, table), len(memory))
}

// Writes on both sides of 2 TiB, the end of 32 bits of sectors, and at the end of the disk, and reads
// and maps it back.
func far(path string) {
	file, err := os.OpenFile(path, os.O_RDWR, 0)
	check(err)
	end, err := file.Seek(0, io.SeekEnd)
	check(err)
	fmt.Println("size", end)
	for i, at := range []int64{0, 1<<41 - 3000, 1<<41 + 1<<20, end - 5000} {
		text := bytes.Repeat([]byte{byte('a' + i)}, 5000)
		_, err = file.WriteAt(text, at)
		check(err)
		check(file.Sync())
		got := make([]byte, 5000)
		_, err = file.ReadAt(got, at)
		check(err)
		page := at &^ 4095
		mapped, err := syscall.Mmap(int(file.Fd()), page, 8192, syscall.PROT_READ, syscall.MAP_SHARED)
		check(err)
		fmt.Println(at, bytes.Equal(got, text), bytes.Equal(mapped[at-page : 8192][:3000], text[:3000]))
	}
	_, err = file.WriteAt([]byte("x"), end)
	fmt.Println("past the end:", errors.Is(err, syscall.ENOSPC))
}

// Reads a disk, with nothing of it cached, until it has gone, and says what can be done without it:
// with the device, with a file on it, and with the rest.
func gone(device, path string) {
	disk, err := os.OpenFile(device, os.O_RDWR, 0)
	check(err)
	size, err := disk.Seek(0, io.SeekEnd)
	check(err)
	file, err := os.Open(path)
	check(err)
	info, err := file.Stat()
	check(err)
	mapped, err := syscall.Mmap(int(file.Fd()), 0, int(info.Size()), syscall.PROT_READ, syscall.MAP_SHARED)
	check(err)
	errs := make(chan error)
	for i := range 8 {
		go func() {
			random := rand.New(rand.NewSource(int64(i)))
			piece := make([]byte, 40000)
			for count := 0; ; count++ {
				if _, err := disk.ReadAt(piece, random.Int63n(size-40000)); err != nil {
					errs <- err
					return
				}
				if count%8 == 0 {
					ioctl(disk, blkFlushBuf, nil)
				}
				if count == 8 && i == 0 {
					fmt.Println("reading")
				}
			}
		}()
	}
	for range 8 {
		if err := <-errs; !errors.Is(err, syscall.EIO) {
			fmt.Println("a reader:", err)
		}
	}
	piece := make([]byte, 4096)
	_, err = disk.WriteAt(piece, 0)
	fmt.Println("write:", errors.Is(err, syscall.EIO), "sync:", errors.Is(disk.Sync(), syscall.EIO))
	_, err = file.ReadAt(piece, info.Size()/2)
	fmt.Println("file:", errors.Is(err, syscall.EIO), "mapped:", touch(mapped, len(mapped)/2))
	_, err = os.Open(device)
	fmt.Println("open:", errors.Is(err, syscall.ENXIO))
	fmt.Println("close:", disk.Close(), file.Close())
	check(os.WriteFile("/tmp/other", []byte("text"), 0o600))
	text, err := os.ReadFile("/tmp/other")
	fmt.Println("others:", string(text), err)
	fmt.Scanln()
}

// Many goroutines write and read their parts of a disk, round after round, until that fails for good.
func survive(path string) {
	const workers, region = 8, 160 << 10
	file, err := os.OpenFile(path, os.O_RDWR, 0)
	check(err)
	all := func(work func(at int, piece []byte) error, round int) {
		var group sync.WaitGroup
		for i := range workers {
			group.Add(1)
			go func() {
				defer group.Done()
				random := rand.New(rand.NewSource(int64(round*workers + i)))
				for done := 0; done < region; {
					piece := make([]byte, min(512*(1+random.Intn(99)), region-done))
					random.Read(piece)
					if err := work(i*region+done, piece); err != nil {
						fmt.Println("failed:", err, errors.Is(err, syscall.EIO))
						os.Exit(0)
					}
					done += len(piece)
				}
			}()
		}
		group.Wait()
	}
	for round := 1; ; round++ {
		all(func(at int, piece []byte) error {
			_, err := file.WriteAt(piece, int64(at))
			if err == nil && at%7 == 0 {
				err = file.Sync()
			}
			return err
		}, round)
		ioctl(file, blkFlushBuf, nil) // what is read now comes from the disk
		all(func(at int, piece []byte) error {
			found := make([]byte, len(piece))
			_, err := file.ReadAt(found, int64(at))
			if err == nil && !bytes.Equal(found, piece) {
				fmt.Println("wrong contents at", at)
				os.Exit(1)
			}
			return err
		}, round)
		fmt.Println("round", round)
	}
}

func main() {
	switch os.Args[1] {
	case "write":
		write(os.Args[2])
	case "errors":
		readErrors(os.Args[2])
	case "random":
		random(os.Args[2])
	case "far":
		far(os.Args[2])
	case "write-errors":
		writeErrors(os.Args[2])
	case "gone":
		gone(os.Args[2], os.Args[3])
	case "large":
		large(os.Args[2])
	case "survive":
		survive(os.Args[2])
	}
}
