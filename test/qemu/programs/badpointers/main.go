// SPDX-License-Identifier: MIT

// Badpointers hands every system call pointers that lead nowhere: to nothing, to what is only
// readable, to the end of a page behind which there is nothing, into the kernel, and out of the
// address space. A call may refuse them as it likes; what it must not do is bring the kernel down,
// change memory that it was not given, or claim that it has read or written there. Then come calls
// with random arguments among which are such pointers: badpointers [SEED [COUNT]].
package main

import (
	"bytes"
	"fmt"
	"math/rand"
	"os"
	"runtime"
	"strconv"
	"syscall"
	"unsafe"
)

const pageSize = 4096

func must[T any](value T, err error) T {
	if err != nil {
		panic(err)
	}
	return value
}

// Those that end, stop or replace the caller, or change how it goes on.
var left = map[uintptr]string{
	syscall.SYS_EXIT: "", syscall.SYS_EXIT_GROUP: "", syscall.SYS_RT_SIGRETURN: "", syscall.SYS_CLONE: "",
	syscall.SYS_FORK: "", syscall.SYS_VFORK: "", 435: "clone3", syscall.SYS_EXECVE: "", 322: "execveat",
	syscall.SYS_PAUSE: "", syscall.SYS_RT_SIGSUSPEND: "", syscall.SYS_REBOOT: "", syscall.SYS_ARCH_PRCTL: "",
	syscall.SYS_MUNMAP: "", syscall.SYS_MMAP: "", syscall.SYS_MREMAP: "", syscall.SYS_MPROTECT: "", syscall.SYS_MADVISE: "",
	syscall.SYS_BRK: "", syscall.SYS_KILL: "", syscall.SYS_TKILL: "", syscall.SYS_TGKILL: "",
	syscall.SYS_RT_SIGQUEUEINFO: "", 297: "rt_tgsigqueueinfo", syscall.SYS_SIGALTSTACK: "", syscall.SYS_RT_SIGACTION: "",
	syscall.SYS_RT_SIGPROCMASK: "", syscall.SYS_SET_TID_ADDRESS: "", syscall.SYS_SET_ROBUST_LIST: "", 334: "rseq",
	syscall.SYS_CLOSE: "", 436: "close_range", syscall.SYS_DUP2: "", syscall.SYS_DUP3: "", syscall.SYS_ALARM: "",
	syscall.SYS_SETITIMER: "", syscall.SYS_TIMER_CREATE: "", syscall.SYS_FUTEX: "waits", syscall.SYS_RT_SIGTIMEDWAIT: "waits",
	syscall.SYS_SETRLIMIT: "", syscall.SYS_PRLIMIT64: "", syscall.SYS_PTRACE: "", syscall.SYS_SCHED_SETAFFINITY: "",
	424: "pidfd_send_signal", 311: "process_vm_writev", syscall.SYS_MSYNC: "", syscall.SYS_WAIT4: "", syscall.SYS_WAITID: "",
	syscall.SYS_SYNC: "", syscall.SYS_SELECT: "waits", syscall.SYS_PSELECT6: "waits", syscall.SYS_POLL: "waits",
	syscall.SYS_PPOLL: "waits", syscall.SYS_EPOLL_WAIT: "waits", syscall.SYS_EPOLL_PWAIT: "waits", 441: "epoll_pwait2 waits",
	syscall.SYS_SIGNALFD: "its reader waits", syscall.SYS_SIGNALFD4: "its reader waits",
	syscall.SYS_FLOCK: "waits", syscall.SYS_SETTIMEOFDAY: "", syscall.SYS_CLOCK_SETTIME: "", syscall.SYS_SETUID: "", syscall.SYS_SETGID: "",
	syscall.SYS_SETREUID: "", syscall.SYS_SETREGID: "", syscall.SYS_SETRESUID: "", syscall.SYS_SETRESGID: "", syscall.SYS_SETFSUID: "",
	syscall.SYS_SETFSGID: "", syscall.SYS_SETGROUPS: "", syscall.SYS_CAPSET: "", syscall.SYS_ACCEPT: "waits", syscall.SYS_ACCEPT4: "waits",
	syscall.SYS_NANOSLEEP: "waits", syscall.SYS_CLOCK_NANOSLEEP: "waits", syscall.SYS_PRCTL: "",
	syscall.SYS_FCNTL: "O_NONBLOCK", syscall.SYS_IOCTL: "O_NONBLOCK", syscall.SYS_RECVFROM: "waits", syscall.SYS_RECVMSG: "waits", 299: "recvmmsg waits", syscall.SYS_CHDIR: "", syscall.SYS_FCHDIR: "",
}

// Whether it would make a named pipe, the next open of which waits for somebody at the other end.
func makesPipe(number uintptr, args [6]uintptr) bool {
	mode := args[1]
	if number == syscall.SYS_MKNODAT {
		mode = args[2]
	}
	return (number == syscall.SYS_MKNOD || number == syscall.SYS_MKNODAT) && mode&syscall.S_IFMT == syscall.S_IFIFO
}

// A call with the arguments that let it come as far as its pointers. P stands for the bad pointer.
type call struct {
	name   string
	number uintptr
	args   [6]any
	write  bool // the kernel writes there: what is only readable is bad too
	size   uintptr
}

const P = "bad pointer"

type testbed struct {
	file, directory, pipeOut, epoll, event, timer, socket, path uintptr
	scratch                                                     unsafe.Pointer
}

func calls(t testbed) []call {
	const at = ^uintptr(99) // AT_FDCWD
	good := uintptr(t.scratch)
	return []call{
		{"read", syscall.SYS_READ, [6]any{t.file, P, 64}, true, 64},
		{"write", syscall.SYS_WRITE, [6]any{t.file, P, 64}, false, 64},
		{"pread64", syscall.SYS_PREAD64, [6]any{t.file, P, 64, 0}, true, 64},
		{"pwrite64", syscall.SYS_PWRITE64, [6]any{t.file, P, 64, 0}, false, 64},
		{"readv", syscall.SYS_READV, [6]any{t.file, P, 2}, false, 32},
		{"writev", syscall.SYS_WRITEV, [6]any{t.file, P, 2}, false, 32},
		{"preadv", syscall.SYS_PREADV, [6]any{t.file, P, 2, 0}, false, 32},
		{"pwritev", syscall.SYS_PWRITEV, [6]any{t.file, P, 2, 0}, false, 32},
		{"write to a pipe", syscall.SYS_WRITE, [6]any{t.pipeOut, P, 64}, false, 64},
		{"write to an eventfd", syscall.SYS_WRITE, [6]any{t.event, P, 8}, false, 8},
		{"read an eventfd", syscall.SYS_READ, [6]any{t.event, P, 8}, true, 8},
		{"open", syscall.SYS_OPEN, [6]any{P, 0, 0}, false, 1},
		{"openat", syscall.SYS_OPENAT, [6]any{at, P, 0, 0}, false, 1},
		{"openat2", 437, [6]any{at, t.path, P, 24}, false, 24},
		{"stat", syscall.SYS_STAT, [6]any{P, good}, false, 1},
		{"stat to", syscall.SYS_STAT, [6]any{t.path, P}, true, 144},
		{"lstat to", syscall.SYS_LSTAT, [6]any{t.path, P}, true, 144},
		{"fstat", syscall.SYS_FSTAT, [6]any{t.file, P}, true, 144},
		{"newfstatat", syscall.SYS_NEWFSTATAT, [6]any{at, t.path, P, 0}, true, 144},
		{"statx", 332, [6]any{at, t.path, 0, 0x7ff, P}, true, 256},
		{"statfs", syscall.SYS_STATFS, [6]any{t.path, P}, true, 120},
		{"fstatfs", syscall.SYS_FSTATFS, [6]any{t.file, P}, true, 120},
		{"access", syscall.SYS_ACCESS, [6]any{P, 0}, false, 1},
		{"faccessat", syscall.SYS_FACCESSAT, [6]any{at, P, 0}, false, 1},
		{"readlink", syscall.SYS_READLINK, [6]any{P, good, 64}, false, 1},
		{"readlinkat", syscall.SYS_READLINKAT, [6]any{at, P, good, 64}, false, 1},
		{"getdents64", syscall.SYS_GETDENTS64, [6]any{t.directory, P, 4096}, true, 64},
		{"getcwd", syscall.SYS_GETCWD, [6]any{P, 4096}, true, 2},
		{"mkdir", syscall.SYS_MKDIR, [6]any{P, 0o700}, false, 1},
		{"mkdirat", syscall.SYS_MKDIRAT, [6]any{at, P, 0o700}, false, 1},
		{"mknodat", syscall.SYS_MKNODAT, [6]any{at, P, 0o100600, 0}, false, 1},
		{"unlink", syscall.SYS_UNLINK, [6]any{P}, false, 1},
		{"unlinkat", syscall.SYS_UNLINKAT, [6]any{at, P, 0}, false, 1},
		{"rmdir", syscall.SYS_RMDIR, [6]any{P}, false, 1},
		{"rename", syscall.SYS_RENAME, [6]any{P, t.path}, false, 1},
		{"rename to", syscall.SYS_RENAME, [6]any{t.path, P}, false, 1},
		{"renameat2", 316, [6]any{at, P, at, t.path, 0}, false, 1},
		{"link", syscall.SYS_LINK, [6]any{P, t.path}, false, 1},
		{"linkat to", syscall.SYS_LINKAT, [6]any{at, t.path, at, P, 0}, false, 1},
		{"symlink", syscall.SYS_SYMLINK, [6]any{P, t.path}, false, 1},
		{"symlinkat to", syscall.SYS_SYMLINKAT, [6]any{t.path, at, P}, false, 1},
		{"chmod", syscall.SYS_CHMOD, [6]any{P, 0o600}, false, 1},
		{"fchmodat", syscall.SYS_FCHMODAT, [6]any{at, P, 0o600}, false, 1},
		{"chown", syscall.SYS_CHOWN, [6]any{P, 0, 0}, false, 1},
		{"fchownat", syscall.SYS_FCHOWNAT, [6]any{at, P, 0, 0, 0}, false, 1},
		{"utimensat", syscall.SYS_UTIMENSAT, [6]any{at, t.path, P, 0}, false, 32},
		{"truncate", syscall.SYS_TRUNCATE, [6]any{P, 0}, false, 1},
		{"chdir", syscall.SYS_CHDIR, [6]any{P}, false, 1},
		{"getxattr", syscall.SYS_GETXATTR, [6]any{P, t.path, good, 16}, false, 1},
		{"getxattr's name", syscall.SYS_GETXATTR, [6]any{t.path, P, good, 16}, false, 1},
		{"listxattr", syscall.SYS_LISTXATTR, [6]any{P, good, 16}, false, 1},
		{"sendfile", syscall.SYS_SENDFILE, [6]any{t.pipeOut, t.file, P, 8}, true, 8},
		{"copy_file_range", 326, [6]any{t.file, P, t.file, good, 8, 0}, false, 8},
		{"pipe2", syscall.SYS_PIPE2, [6]any{P, 0}, true, 8},
		{"fcntl F_GETLK", syscall.SYS_FCNTL, [6]any{t.file, syscall.F_GETLK, P}, false, 32},
		{"fcntl F_SETLK", syscall.SYS_FCNTL, [6]any{t.file, syscall.F_SETLK, P}, false, 32},
		{"ioctl FIONBIO", syscall.SYS_IOCTL, [6]any{t.file, 0x5421, P}, false, 4},
		{"ioctl FIONREAD", syscall.SYS_IOCTL, [6]any{t.file, 0x541b, P}, true, 4},
		{"adjtimex", syscall.SYS_ADJTIMEX, [6]any{P}, false, 208},
		{"clock_adjtime", 305, [6]any{0, P}, false, 208},
		{"signalfd4", syscall.SYS_SIGNALFD4, [6]any{^uintptr(0), P, 8, 0}, false, 8},
		{"memfd_create", 319, [6]any{P, 0}, false, 1},
		{"epoll_ctl", syscall.SYS_EPOLL_CTL, [6]any{t.epoll, 1, t.pipeOut, P}, false, 12},
		{"epoll_wait", syscall.SYS_EPOLL_WAIT, [6]any{t.epoll, P, 4, 0}, true, 12},
		{"epoll_pwait", syscall.SYS_EPOLL_PWAIT, [6]any{t.epoll, good, 4, 0, P, 8}, false, 8},
		{"poll", syscall.SYS_POLL, [6]any{P, 1, 0}, true, 8},
		{"ppoll's time", syscall.SYS_PPOLL, [6]any{good, 0, P, 0, 8}, false, 16},
		{"select", syscall.SYS_SELECT, [6]any{8, P, 0, 0, t.path}, true, 8},
		{"timerfd_settime", syscall.SYS_TIMERFD_SETTIME, [6]any{t.timer, 0, P, 0}, false, 32},
		{"timerfd_gettime", syscall.SYS_TIMERFD_GETTIME, [6]any{t.timer, P}, true, 32},
		{"inotify_add_watch", syscall.SYS_INOTIFY_ADD_WATCH, [6]any{t.event, P, 1}, false, 0},
		{"nanosleep", syscall.SYS_NANOSLEEP, [6]any{P, 0}, false, 16},
		{"clock_gettime", syscall.SYS_CLOCK_GETTIME, [6]any{1, P}, true, 16},
		{"clock_getres", syscall.SYS_CLOCK_GETRES, [6]any{1, P}, true, 16},
		{"clock_nanosleep", syscall.SYS_CLOCK_NANOSLEEP, [6]any{1, 0, P, 0}, false, 16},
		{"gettimeofday", syscall.SYS_GETTIMEOFDAY, [6]any{P, 0}, true, 16},
		{"setitimer", syscall.SYS_SETITIMER, [6]any{0, P, 0}, false, 32},
		{"getitimer", syscall.SYS_GETITIMER, [6]any{0, P}, true, 32},
		{"timer_create", syscall.SYS_TIMER_CREATE, [6]any{1, 0, P}, true, 4},
		{"times", syscall.SYS_TIMES, [6]any{P}, true, 32},
		{"getrusage", syscall.SYS_GETRUSAGE, [6]any{0, P}, true, 144},
		{"getrlimit", syscall.SYS_GETRLIMIT, [6]any{7, P}, true, 16},
		{"setrlimit", syscall.SYS_SETRLIMIT, [6]any{7, P}, false, 16},
		{"prlimit64", syscall.SYS_PRLIMIT64, [6]any{0, 7, 0, P}, true, 16},
		{"prlimit64 to set", syscall.SYS_PRLIMIT64, [6]any{0, 7, P, 0}, false, 16},
		{"sysinfo", syscall.SYS_SYSINFO, [6]any{P}, true, 112},
		{"uname", syscall.SYS_UNAME, [6]any{P}, true, 390},
		{"getrandom", 318, [6]any{P, 64, 0}, true, 64},
		{"sched_getaffinity", syscall.SYS_SCHED_GETAFFINITY, [6]any{0, 64, P}, true, 8},
		{"sched_setaffinity", syscall.SYS_SCHED_SETAFFINITY, [6]any{0, 8, P}, false, 8},
		{"rt_sigaction", syscall.SYS_RT_SIGACTION, [6]any{10, P, 0, 8}, false, 32},
		{"rt_sigaction to", syscall.SYS_RT_SIGACTION, [6]any{10, 0, P, 8}, true, 32},
		{"rt_sigprocmask", syscall.SYS_RT_SIGPROCMASK, [6]any{0, P, 0, 8}, false, 8},
		{"rt_sigprocmask to", syscall.SYS_RT_SIGPROCMASK, [6]any{0, 0, P, 8}, true, 8},
		{"rt_sigpending", syscall.SYS_RT_SIGPENDING, [6]any{P, 8}, true, 8},
		{"rt_sigtimedwait", syscall.SYS_RT_SIGTIMEDWAIT, [6]any{P, 0, t.path, 8}, false, 8},
		{"sigaltstack", syscall.SYS_SIGALTSTACK, [6]any{P, 0}, false, 24},
		{"sigaltstack to", syscall.SYS_SIGALTSTACK, [6]any{0, P}, true, 24},
		{"futex", syscall.SYS_FUTEX, [6]any{P, 0 | 128, 0, 0}, false, 4},
		{"futex's time", syscall.SYS_FUTEX, [6]any{good, 0 | 128, 0, P}, false, 16},
		{"getresuid", syscall.SYS_GETRESUID, [6]any{P, good, good}, true, 4},
		{"mincore", syscall.SYS_MINCORE, [6]any{good &^ (pageSize - 1), pageSize, P}, true, 1},
		{"prctl PR_GET_NAME", syscall.SYS_PRCTL, [6]any{16, P}, true, 16},
		{"prctl PR_SET_NAME", syscall.SYS_PRCTL, [6]any{15, P}, false, 1},
		{"socketpair", syscall.SYS_SOCKETPAIR, [6]any{1, 1, 0, P}, true, 8},
		{"bind", syscall.SYS_BIND, [6]any{t.socket, P, 16}, false, 16},
		{"connect", syscall.SYS_CONNECT, [6]any{t.socket, P, 16}, false, 16},
		{"getsockname", syscall.SYS_GETSOCKNAME, [6]any{t.socket, good, P}, true, 4},
		{"getsockopt", syscall.SYS_GETSOCKOPT, [6]any{t.socket, 1, 2, P, t.path + 64}, true, 4},
		{"setsockopt", syscall.SYS_SETSOCKOPT, [6]any{t.socket, 1, 2, P, 4}, false, 4},
		{"sendto's address", syscall.SYS_SENDTO, [6]any{t.socket, good, 4, 0, P, 16}, false, 16},
		{"sendmsg", syscall.SYS_SENDMSG, [6]any{t.socket, P, 0}, false, 56},
		{"sendmmsg", 307, [6]any{t.socket, P, 1, 0}, false, 64},
		{"recvmsg", syscall.SYS_RECVMSG, [6]any{t.socket, P, 0x40}, false, 56},
	}
}

func value(x any) uintptr {
	switch x := x.(type) {
	case int:
		return uintptr(x)
	case uintptr:
		return x
	case nil:
		return 0
	}
	panic(x)
}

func region(prot int) uintptr {
	bytes := must(syscall.Mmap(-1, 0, 3*pageSize, syscall.PROT_READ|syscall.PROT_WRITE, syscall.MAP_ANON|syscall.MAP_PRIVATE))
	base := uintptr(unsafe.Pointer(&bytes[0]))
	regions = append(regions, bytes)
	for i := range bytes[pageSize : 2*pageSize] {
		bytes[pageSize+i] = 'x'
	}
	must(0, syscall.Mprotect(bytes[:pageSize], syscall.PROT_NONE))
	must(0, syscall.Mprotect(bytes[pageSize:2*pageSize], prot))
	must(0, syscall.Mprotect(bytes[2*pageSize:], syscall.PROT_NONE))
	return base + pageSize
}

var regions [][]byte

func main() {
	seed, count := int64(1), 20000
	if len(os.Args) > 1 {
		seed = must(strconv.ParseInt(os.Args[1], 10, 64))
	}
	if len(os.Args) > 2 {
		count = must(strconv.Atoi(os.Args[2]))
	}
	runtime.LockOSThread()
	readable, writable := region(syscall.PROT_READ), region(syscall.PROT_READ|syscall.PROT_WRITE)
	scratch := must(syscall.Mmap(-1, 0, 4*pageSize, syscall.PROT_READ|syscall.PROT_WRITE, syscall.MAP_ANON|syscall.MAP_PRIVATE))
	copy(scratch[2*pageSize:], "/tmp/badpointers\x00")
	file := must(os.Create("/tmp/badpointers"))
	must(file.Write(bytes.Repeat([]byte("y"), 2*pageSize)))
	var pipe [2]int
	must(0, syscall.Pipe2(pipe[:], syscall.O_NONBLOCK))
	event, _, _ := syscall.Syscall(syscall.SYS_EVENTFD2, 1, syscall.O_NONBLOCK, 0)
	timer, _, _ := syscall.Syscall(syscall.SYS_TIMERFD_CREATE, 1, syscall.O_NONBLOCK, 0)
	epoll := must(syscall.EpollCreate1(0))
	must(0, syscall.EpollCtl(epoll, syscall.EPOLL_CTL_ADD, int(event), &syscall.EpollEvent{Events: syscall.EPOLLIN}))
	scratch[2*pageSize+64] = 4
	bed := testbed{file: file.Fd(), directory: uintptr(must(syscall.Open("/tmp", syscall.O_DIRECTORY, 0))), pipeOut: uintptr(pipe[1]),
		epoll: uintptr(epoll), event: event, timer: timer, socket: uintptr(must(syscall.Socket(2, syscall.SOCK_DGRAM|syscall.SOCK_NONBLOCK, 0))),
		path: uintptr(unsafe.Pointer(&scratch[2*pageSize])), scratch: unsafe.Pointer(&scratch[0])}

	wrong := 0
	for _, c := range calls(bed) {
		bad := map[string]uintptr{"nothing": readable - pageSize, "small": 8, "the kernel": 0x100000, "the direct map": 0xffff880000100000,
			"not canonical": 1 << 62, "the end": ^uintptr(0) - 7}
		if c.write && c.size != 0 {
			bad["only readable"] = readable
		}
		if c.size > 1 {
			bad["the end of a page"] = readable + pageSize - 1
			bad["the end of a writable page"] = writable + pageSize - 1
		}
		if c.number == syscall.SYS_FUTEX { // not aligned
			delete(bad, "the end of a page")
			delete(bad, "the end of a writable page")
		}
		if c.write {
			delete(bad, "the end of a page")
		}
		for kind, pointer := range bad {
			var args [6]uintptr
			for i, argument := range c.args {
				if argument == P {
					args[i] = pointer
				} else {
					args[i] = value(argument)
				}
			}
			syscall.Seek(int(bed.file), 0, 0)
			must(syscall.Write(int(event), []byte{1, 0, 0, 0, 0, 0, 0, 0}))
			result, _, err := syscall.RawSyscall6(c.number, args[0], args[1], args[2], args[3], args[4], args[5])
			partly := kind == "the end of a writable page" || kind == "the end of a page"
			switch {
			case err == syscall.EFAULT || err == syscall.ENOSYS:
			case c.size == 0 && err != 0: // something else is wrong first
			case partly && err == 0 && result > 0 && result < c.size: // so much was there
			default:
				wrong++
				fmt.Printf("%s, %s (%#x): %d, %v\n", c.name, kind, pointer, int(result), err)
			}
		}
	}
	fmt.Println("wrong:", wrong)

	// What is only readable must stay as it is whatever is asked.
	random := rand.New(rand.NewSource(seed))
	interesting := []uintptr{0, 1, 2, 3, 8, 64, 4096, 65536, 1 << 31, 1<<32 - 1, 1 << 47, 1 << 62, ^uintptr(0), ^uintptr(99), readable, readable + pageSize - 1,
		readable - pageSize, writable, writable + pageSize - 4, 0x100000, 0xffff880000100000, uintptr(bed.scratch), bed.path,
		bed.file, bed.directory, bed.pipeOut, bed.epoll, bed.event, bed.timer, bed.socket}
	done := 0
	for i := 0; i < count; i++ {
		number := uintptr(random.Intn(460))
		var args [6]uintptr
		for j := range args {
			args[j] = interesting[random.Intn(len(interesting))]
		}
		if _, skip := left[number]; skip || makesPipe(number, args) {
			continue
		}
		syscall.RawSyscall6(number, args[0], args[1], args[2], args[3], args[4], args[5])
		// What was made must not be waited for.
		syscall.RawSyscall(436 /* close_range */, bed.socket+1, uintptr(^uint32(0)), 0)
		done++
	}
	same := bytes.Equal(regions[0][pageSize:2*pageSize], bytes.Repeat([]byte("x"), pageSize))
	fmt.Println("random calls:", done > count/2, "unharmed:", same)
}
