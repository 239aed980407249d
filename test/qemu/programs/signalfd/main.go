// SPDX-License-Identifier: MIT

// Signalfd reads signals from a descriptor in every way that signalfd(2) has, and prints what it gets,
// so that the kernel below can be compared with Linux.
package main

import (
	"fmt"
	"os"
	"runtime"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

const (
	sysSignalfd  = 282
	sysSignalfd4 = 289
	siQueue      = -1
)

type siginfo struct {
	Signo                    uint32
	Errno, Code              int32
	Pid, UID                 uint32
	Fd                       int32
	Tid, Band, Overrun, Trap uint32
	Status, Int              int32
	Ptr                      uint64
	_                        [72]byte
}

func must(err error) {
	if err != nil {
		panic(err)
	}
}

func check(err syscall.Errno) {
	if err != 0 {
		panic(err)
	}
}

func bit(signal syscall.Signal) uint64 { return 1 << (signal - 1) }

func signalfd(fd int, set uint64, size, flags uintptr) (int, syscall.Errno) {
	result, _, err := syscall.Syscall6(sysSignalfd4, uintptr(fd), uintptr(unsafe.Pointer(&set)), size, flags, 0, 0)
	return int(result), err
}

func mask(how uintptr, set uint64) {
	_, _, err := syscall.RawSyscall6(syscall.SYS_RT_SIGPROCMASK, how, uintptr(unsafe.Pointer(&set)), 0, 8, 0, 0)
	check(err)
}

func send(thread int, signal syscall.Signal) {
	_, _, err := syscall.RawSyscall(syscall.SYS_TGKILL, uintptr(os.Getpid()), uintptr(thread), uintptr(signal))
	check(err)
}

func queue(thread int, signal syscall.Signal, value uint64) {
	info := struct {
		signo, errno, code, pad int32
		pid, uid                int32
		value                   uint64
		rest                    [96]byte
	}{signo: int32(signal), code: siQueue, pid: int32(os.Getpid()), uid: int32(os.Getuid()), value: value}
	_, _, err := syscall.RawSyscall6(syscall.SYS_RT_TGSIGQUEUEINFO, uintptr(os.Getpid()), uintptr(thread), uintptr(signal),
		uintptr(unsafe.Pointer(&info)), 0, 0)
	check(err)
}

func read(fd, room int) {
	buffer := make([]byte, room)
	n, err := syscall.Read(fd, buffer)
	fmt.Println("read:", n, err)
	for at := 0; at+128 <= n; at += 128 {
		info := (*siginfo)(unsafe.Pointer(&buffer[at]))
		fmt.Println("  signal", info.Signo, info.Errno, info.Code, info.Pid == uint32(os.Getpid()), info.UID == uint32(os.Getuid()), info.Int, info.Ptr)
	}
}

func ready(epoll int) {
	var events [4]syscall.EpollEvent
	n, err := syscall.EpollWait(epoll, events[:], 0)
	fmt.Println("ready:", n, err, events[0].Events)
}

func main() {
	runtime.LockOSThread()
	const first, second, third = syscall.SIGUSR1, syscall.SIGUSR2, syscall.Signal(40)
	all := bit(first) | bit(second) | bit(third)
	mask(0 /* SIG_BLOCK */, all)
	me := syscall.Gettid()
	fd, err2 := unix.Signalfd(-1, &unix.Sigset_t{Val: [16]uint64{bit(first) | bit(third) | bit(syscall.SIGKILL)}}, unix.SFD_CLOEXEC|unix.SFD_NONBLOCK)
	fmt.Println("made:", fd > 0, err2)
	epoll, err2 := syscall.EpollCreate1(0)
	must(err2)
	must(syscall.EpollCtl(epoll, syscall.EPOLL_CTL_ADD, fd, &syscall.EpollEvent{Events: syscall.EPOLLIN | 1<<31}))
	read(fd, 128)
	ready(epoll)
	send(me, second)
	ready(epoll)
	read(fd, 1024)
	send(me, first)
	ready(epoll)
	ready(epoll)
	send(me, first)
	read(fd, 127)
	read(fd, 300)
	for value := range uint64(4) {
		queue(me, third, 1<<40|value)
	}
	send(me, first)
	ready(epoll)
	read(fd, 300)
	read(fd, 1024)
	_, err := signalfd(fd, bit(second), 8, 0)
	fmt.Println("changed:", err)
	ready(epoll)
	read(fd, 128)
	send(me, first)
	read(fd, 128)
	_, err = signalfd(fd, all, 8, 0)
	fmt.Println("changed again:", err)
	must(syscall.SetNonblock(fd, false))
	read(fd, 128)
	go func() {
		time.Sleep(20 * time.Millisecond)
		queue(me, second, 7)
	}()
	read(fd, 128)
	number, err2 := syscall.Write(fd, make([]byte, 128))
	fmt.Println("write:", number, err2)
	_, err = signalfd(fd, all, 4, 0)
	fmt.Println("size:", err)
	_, err = signalfd(-1, all, 8, 1)
	fmt.Println("flags:", err)
	_, err = signalfd(0, all, 8, 0)
	fmt.Println("another descriptor:", err)
	_, err = signalfd(999, all, 8, 0)
	fmt.Println("no descriptor:", err)
	_, _, err = syscall.Syscall6(sysSignalfd4, uintptr(fd), 8, 8, 0, 0, 0)
	fmt.Println("bad set:", err)
	queue(me, third, 0)
	_, _, err = syscall.Syscall(syscall.SYS_READ, uintptr(fd), 8, 128)
	fmt.Println("bad buffer:", err)
	old, _, err := syscall.Syscall(sysSignalfd, ^uintptr(0), uintptr(unsafe.Pointer(&all)), 8)
	fmt.Println("old call:", int(old) > 0, err)
	must(syscall.Close(fd))
	send(me, first)
	read(int(old), 128)
}
