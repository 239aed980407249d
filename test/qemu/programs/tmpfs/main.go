// SPDX-License-Identifier: MIT

// Tmpfs does to the files of a folder what file systems differ in, and prints what came of it, so
// that the kernel below can be compared with Linux: tmpfs FOLDER. With one more word it fills the file system.
package main

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime/debug"
	"sort"
	"strings"
	"syscall"
	"time"
	"unsafe"
)

const (
	atFdcwd     = -100
	atEmptyPath = 0x1000
	oTmpfile    = 0x410000
	seekData    = 3
	seekHole    = 4
	keepSize    = 1
	punchHole   = 2
	zeroRange   = 16
	noReplace   = 1
	exchange    = 2
	ofdGetlk    = 36
	ofdSetlk    = 37
)

var folder string

func path(name string) string { return filepath.Join(folder, name) }

func show(what string, results ...any) {
	text := fmt.Sprintln(append([]any{what + ":"}, results...)...)
	fmt.Print(strings.ReplaceAll(text, folder, "FOLDER"))
}

func must(err error) {
	if err != nil {
		panic(err)
	}
}

func open(name string, flags int) int {
	fd, err := syscall.Open(path(name), flags|syscall.O_CLOEXEC, 0o644)
	must(err)
	return fd
}

func stat(name string) syscall.Stat_t {
	var s syscall.Stat_t
	must(syscall.Lstat(path(name), &s))
	return s
}

func names(name string) []string {
	entries, err := os.ReadDir(path(name))
	must(err)
	var list []string
	for _, entry := range entries {
		list = append(list, entry.Name())
	}
	sort.Strings(list)
	return list
}

func errno(_ uintptr, _ uintptr, err syscall.Errno) any {
	if err == 0 {
		return "ok"
	}
	return err
}

func creation() {
	fd, err := syscall.Open(path("a"), syscall.O_CREAT|syscall.O_EXCL|syscall.O_RDWR, 0o640)
	show("create", fd > 0, err)
	_, err = syscall.Open(path("a"), syscall.O_CREAT|syscall.O_EXCL, 0o640)
	show("create again", err)
	_, err = syscall.Open(path("a/b"), syscall.O_RDONLY, 0)
	show("below a file", err)
	_, err = syscall.Open(path("a/"), syscall.O_RDONLY, 0)
	show("slash", err)
	_, err = syscall.Open(path(strings.Repeat("n", 256)), syscall.O_CREAT|syscall.O_RDWR, 0o644)
	show("long name", err)
	_, err = syscall.Open("/"+strings.Repeat("n/", 2100), syscall.O_RDONLY, 0)
	show("long path", err)
	strange := "strange\x01\xff\n\" name"
	_, err = syscall.Open(path(strange), syscall.O_CREAT|syscall.O_RDWR, 0o644)
	show("any byte", err, names("."))
	show("umask", stat("a").Mode)
	must(syscall.Unlink(path(strange)))
	must(syscall.Symlink("loop2", path("loop1")))
	must(syscall.Symlink("loop1", path("loop2")))
	_, err = syscall.Open(path("loop1"), syscall.O_RDONLY, 0)
	show("loop", err)
	_, err = syscall.Open(path("loop1"), syscall.O_RDONLY|syscall.O_NOFOLLOW, 0)
	show("no follow", err)
	must(syscall.Symlink("made-through", path("dangling")))
	_, err = syscall.Open(path("dangling"), syscall.O_CREAT|syscall.O_EXCL, 0o644)
	show("exclusive through a link", err)
	_, err = syscall.Open(path("dangling"), syscall.O_CREAT, 0o644)
	show("through a link", err, names("."))
	_, err = syscall.Open(folder, syscall.O_RDWR, 0)
	show("write to a folder", err)
	syscall.Close(fd)
}

func temporary() {
	fd, err := syscall.Open(folder, oTmpfile|syscall.O_RDWR, 0o600)
	show("tmpfile", fd > 0, err)
	syscall.Write(fd, []byte("hidden"))
	var s syscall.Stat_t
	must(syscall.Fstat(fd, &s))
	show("tmpfile stat", s.Nlink, s.Size, s.Mode)
	from, _ := syscall.BytePtrFromString(fmt.Sprintf("/proc/self/fd/%d", fd))
	to, _ := syscall.BytePtrFromString(path("linked"))
	at := atFdcwd
	show("link it", errno(syscall.Syscall6(syscall.SYS_LINKAT, uintptr(at), uintptr(unsafe.Pointer(from)), uintptr(at),
		uintptr(unsafe.Pointer(to)), 0x400, 0)))
	content, err := os.ReadFile(path("linked"))
	show("linked", string(content), err, stat("linked").Nlink)
	empty, _ := syscall.BytePtrFromString("")
	again, _ := syscall.BytePtrFromString(path("again"))
	show("link it by its descriptor", errno(syscall.Syscall6(syscall.SYS_LINKAT, uintptr(fd), uintptr(unsafe.Pointer(empty)), uintptr(at),
		uintptr(unsafe.Pointer(again)), atEmptyPath, 0)), stat("linked").Nlink)
	show("link over", errno(syscall.Syscall6(syscall.SYS_LINKAT, uintptr(fd), uintptr(unsafe.Pointer(empty)), uintptr(at),
		uintptr(unsafe.Pointer(again)), atEmptyPath, 0)))
	must(syscall.Unlink(path("linked")))
	must(syscall.Unlink(path("again")))
	must(syscall.Fstat(fd, &s))
	show("unlinked again", s.Nlink, errno(syscall.Syscall6(syscall.SYS_LINKAT, uintptr(at), uintptr(unsafe.Pointer(from)), uintptr(at),
		uintptr(unsafe.Pointer(to)), 0x400, 0)))
	_, err = syscall.Open(path("a"), oTmpfile|syscall.O_RDWR, 0o600)
	show("tmpfile in a file", err)
	_, err = syscall.Open(path("none"), oTmpfile|syscall.O_RDWR, 0o600)
	show("tmpfile in nothing", err)
	_, err = syscall.Open(folder, 0x400000|syscall.O_RDWR, 0o600)
	show("half of the flag", err)
	_, err = syscall.Open(folder, oTmpfile|syscall.O_RDONLY, 0o600)
	show("read-only tmpfile", err)
	fd, err = syscall.Open(folder, oTmpfile|syscall.O_RDWR|syscall.O_EXCL, 0o600)
	must(err)
	from, _ = syscall.BytePtrFromString(fmt.Sprintf("/proc/self/fd/%d", fd))
	to, _ = syscall.BytePtrFromString(path("never"))
	show("link an exclusive one", errno(syscall.Syscall6(syscall.SYS_LINKAT, uintptr(at), uintptr(unsafe.Pointer(from)),
		uintptr(at), uintptr(unsafe.Pointer(to)), 0x400, 0)))
}

func renames() {
	must(os.WriteFile(path("r1"), []byte("one"), 0o644))
	must(os.WriteFile(path("r2"), []byte("two"), 0o644))
	must(os.Mkdir(path("d1"), 0o755))
	must(os.MkdirAll(path("d2/sub"), 0o755))
	open2 := open("r2", syscall.O_RDONLY)
	show("over", syscall.Rename(path("r1"), path("r2")), names("."))
	content, _ := os.ReadFile(path("r2"))
	old := make([]byte, 10)
	n, err := syscall.Read(open2, old)
	show("contents", string(content), string(old[:n]), err)
	var s syscall.Stat_t
	must(syscall.Fstat(open2, &s))
	show("links of the old", s.Nlink)
	show("file over folder", syscall.Rename(path("r2"), path("d1")))
	show("folder over file", syscall.Rename(path("d1"), path("r2")))
	show("folder over a full one", syscall.Rename(path("d1"), path("d2")))
	show("folder over an empty one", syscall.Rename(path("d2"), path("d1")), names("d1"))
	show("below itself", syscall.Rename(path("d1"), path("d1/sub/x")))
	show("links", stat("d1").Nlink, stat("d1/sub").Nlink)
	show("remove a full one", syscall.Rmdir(path("d1")))
	show("unlink a folder", syscall.Unlink(path("d1")))
	show("rmdir a file", syscall.Rmdir(path("r2")))
	show("rmdir dot", syscall.Rmdir(path("d1/.")))
	must(syscall.Link(path("r2"), path("r3")))
	show("hard links", stat("r2").Nlink, stat("r2").Ino == stat("r3").Ino)
	rename2 := func(from, to string, flags uintptr) any {
		old, _ := syscall.BytePtrFromString(path(from))
		new, _ := syscall.BytePtrFromString(path(to))
		at := atFdcwd
		return errno(syscall.Syscall6(316, uintptr(at), uintptr(unsafe.Pointer(old)), uintptr(at), uintptr(unsafe.Pointer(new)), flags, 0))
	}
	must(os.WriteFile(path("x1"), []byte("first"), 0o644))
	must(os.Mkdir(path("x2"), 0o755))
	show("no replace", rename2("x1", "x2", noReplace), rename2("x1", "x1", noReplace), rename2("x1", "x3", noReplace), names("."))
	show("exchange", rename2("x3", "x2", exchange), stat("x2").Size, stat("x3").Nlink, rename2("x2", "x2", exchange))
	show("exchange with nothing", rename2("x2", "x9", exchange), rename2("x9", "x2", exchange))
	show("exchange below itself", rename2("x3", "d1/sub", exchange), names("d1"), rename2("d1", "d1/sub", exchange))
	show("other flags", rename2("x2", "x4", noReplace|exchange), rename2("x2", "x4", 8), rename2("x2", "d1", noReplace|exchange))
	must(syscall.Rmdir(path("x3")))
	must(syscall.Unlink(path("x2")))
	must(os.MkdirAll(path("x3"), 0o755))
	show("between names of one file", syscall.Rename(path("r2"), path("r3")), names("."))
	show("link over", syscall.Link(path("r2"), path("r3")))
	show("link a folder", syscall.Link(path("d1"), path("d3")))
	must(syscall.Unlink(path("r3")))
	must(syscall.Unlink(path("r2")))
	n, err = syscall.Pread(open2, old, 0)
	show("after unlink", string(old[:n]), err)
}

// Where data and holes begin.
func extents(fd int, size int64) (list []any) {
	for at := int64(0); at < size; {
		data, err := syscall.Seek(fd, at, seekData)
		if err != nil {
			list = append(list, err)
			break
		}
		hole, err := syscall.Seek(fd, data, seekHole)
		must(err)
		list = append(list, data, hole)
		at = hole
	}
	return list
}

func sparse() {
	fd := open("sparse", syscall.O_RDWR|syscall.O_CREAT)
	must(syscall.Ftruncate(fd, 1<<30))
	syscall.Pwrite(fd, []byte("middle"), 5<<20)
	syscall.Pwrite(fd, []byte("end"), 1<<30)
	s := stat("sparse")
	show("sparse", s.Size, s.Blocks, extents(fd, s.Size))
	_, err := syscall.Seek(fd, 1<<30+3, seekData)
	show("data past the end", err)
	_, err = syscall.Seek(fd, -1, seekHole)
	show("hole at -1", err)
	hole, err := syscall.Seek(fd, 1<<30+1, seekHole)
	show("last hole", hole, err)
	show("allocate", syscall.Fallocate(fd, 0, 1<<20, 10000), stat("sparse").Blocks)
	show("keep size", syscall.Fallocate(fd, keepSize, 2<<30, 4096), stat("sparse").Size)
	show("punch", syscall.Fallocate(fd, punchHole|keepSize, 5<<20-100, 200), stat("sparse").Blocks)
	piece := make([]byte, 300)
	n, err := syscall.Pread(fd, piece, 5<<20-150)
	show("punched", n, err, string(bytes.Trim(piece, "\x00")))
	show("punch pages", syscall.Fallocate(fd, punchHole|keepSize, 5<<20, 1<<20), stat("sparse").Blocks)
	show("punch alone", syscall.Fallocate(fd, punchHole, 0, 4096))
	show("nothing", syscall.Fallocate(fd, 0, 0, 0))
	show("negative", syscall.Fallocate(fd, 0, -1, 5))
	show("too large", syscall.Ftruncate(fd, -1), syscall.Fallocate(fd, 0, 1<<62, 1<<62))
	for _, mode := range []uint32{8, 32, 64, 64 | keepSize, 128, keepSize | punchHole | zeroRange} {
		show("mode", mode, syscall.Fallocate(fd, mode, 1<<20+100, 5000), stat("sparse").Size, stat("sparse").Blocks)
	}
	show("unaligned", syscall.Fallocate(fd, 8, 1, 4096), syscall.Fallocate(fd, 32, 4096, 1))
	onlyRead := open("sparse", syscall.O_RDONLY)
	show("allocate for a reader", syscall.Fallocate(onlyRead, 0, 0, 1), syscall.Fallocate(onlyRead, 1<<20, 0, 1))
	show("allocate a folder", syscall.Fallocate(open(".", syscall.O_RDONLY), 0, 0, 1))
	must(syscall.Ftruncate(fd, 0))
	show("cut", stat("sparse").Blocks, extents(fd, 0))
	n, err = syscall.Pread(fd, piece, 0)
	show("read nothing", n, err)
	reader := open("sparse", syscall.O_RDONLY)
	show("truncate a reader", syscall.Ftruncate(reader, 1))
	_, err = syscall.Write(reader, []byte("x"))
	show("write to a reader", err)
	_, err = syscall.Read(open("sparse", syscall.O_WRONLY), piece)
	show("read from a writer", err)
	syscall.Pwrite(fd, []byte("0123456789"), 0)
	appender := open("sparse", syscall.O_WRONLY|syscall.O_APPEND)
	n, err = syscall.Pwrite(appender, []byte("abc"), 2)
	content, _ := os.ReadFile(path("sparse"))
	show("append", n, err, string(content))
}

var touched byte

func touch(memory []byte, at int) (result string) {
	defer func() {
		if recover() != nil {
			result = "fault"
		}
	}()
	touched += memory[at]
	return fmt.Sprintf("%q", memory[at])
}

func poke(memory []byte, at int, value byte) (result string) {
	defer func() {
		if recover() != nil {
			result = "fault"
		}
	}()
	memory[at] = value
	return "done"
}

func mapping() {
	debug.SetPanicOnFault(true)
	fd := open("mapped", syscall.O_RDWR|syscall.O_CREAT)
	syscall.Write(fd, bytes.Repeat([]byte("x"), 20000))
	shared, err := syscall.Mmap(fd, 0, 32768, syscall.PROT_READ|syscall.PROT_WRITE, syscall.MAP_SHARED)
	must(err)
	private, err := syscall.Mmap(fd, 0, 32768, syscall.PROT_READ|syscall.PROT_WRITE, syscall.MAP_PRIVATE)
	must(err)
	reader, err := syscall.Mmap(fd, 0, 32768, syscall.PROT_READ, syscall.MAP_SHARED)
	must(err)
	show("touch", touch(shared, 19999), touch(private, 19999), touch(reader, 19999), touch(shared, 20001))
	show("past the last page", touch(shared, 20480), touch(private, 20480), touch(reader, 24576))
	show("poke", poke(shared, 0, 'S'), poke(private, 4096, 'P'), poke(reader, 0, 'R'))
	piece := make([]byte, 1)
	syscall.Pread(fd, piece, 0)
	show("seen by read", string(piece))
	syscall.Pread(fd, piece, 4096)
	show("private is not", string(piece), touch(shared, 4096), touch(private, 4096))
	syscall.Pwrite(fd, []byte("W"), 8192)
	show("seen in mappings", touch(shared, 8192), touch(reader, 8192))
	must(syscall.Ftruncate(fd, 5000))
	show("after truncate", touch(shared, 8192), touch(reader, 8192), touch(private, 8192), touch(private, 4096),
		touch(shared, 4999), touch(shared, 5001))
	must(syscall.Ftruncate(fd, 20000))
	show("longer again", touch(shared, 8192), touch(reader, 8192), touch(shared, 5001), touch(private, 4096))
	show("poke a hole", poke(shared, 16384, 'H'))
	must(syscall.Fallocate(fd, punchHole|keepSize, 16384, 4096))
	show("punched", touch(shared, 16384), touch(reader, 16384))
	must(syscall.Unlink(path("mapped")))
	syscall.Close(fd)
	show("after unlink and close", touch(shared, 0), poke(shared, 1, 'U'), touch(reader, 1))
	must(syscall.Munmap(shared))
	must(syscall.Munmap(private))
	must(syscall.Munmap(reader))
	must(os.WriteFile(path("ro"), []byte("read"), 0o644))
	only := open("ro", syscall.O_RDONLY)
	_, err = syscall.Mmap(only, 0, 4096, syscall.PROT_WRITE, syscall.MAP_SHARED)
	show("write mapping of a reader", err)
	_, err = syscall.Mmap(only, 0, 4096, syscall.PROT_WRITE, syscall.MAP_PRIVATE)
	show("private one", err)
	_, err = syscall.Mmap(only, 100, 4096, syscall.PROT_READ, syscall.MAP_SHARED)
	show("odd offset", err)
	_, err = syscall.Mmap(open(".", syscall.O_RDONLY), 0, 4096, syscall.PROT_READ, syscall.MAP_SHARED)
	show("folder", err)
}

func locks() {
	a, b := open("locked", syscall.O_RDWR|syscall.O_CREAT), open("locked", syscall.O_RDWR)
	const try = syscall.LOCK_NB
	show("shared", syscall.Flock(a, syscall.LOCK_SH|try), syscall.Flock(b, syscall.LOCK_SH|try))
	show("exclusive", syscall.Flock(a, syscall.LOCK_EX|try))
	show("unlock", syscall.Flock(b, syscall.LOCK_UN), syscall.Flock(a, syscall.LOCK_EX|try))
	show("other", syscall.Flock(b, syscall.LOCK_SH|try))
	c, err := syscall.Dup(a)
	must(err)
	show("dup", syscall.Flock(c, syscall.LOCK_EX|try))
	syscall.Close(a)
	show("dup still has it", syscall.Flock(b, syscall.LOCK_EX|try))
	done := make(chan error)
	go func() { done <- syscall.Flock(b, syscall.LOCK_EX) }()
	time.Sleep(20 * time.Millisecond)
	syscall.Close(c)
	show("waited", <-done)
	show("bad", syscall.Flock(b, 16))
	d := open("locked", syscall.O_RDWR)
	lock := func(fd, command int, kind int16, start, length int64) any {
		l := syscall.Flock_t{Type: kind, Start: start, Len: length}
		err := syscall.FcntlFlock(uintptr(fd), command, &l)
		if command == ofdGetlk || command == syscall.F_GETLK {
			return fmt.Sprint(err, " ", l.Type, " ", l.Start, " ", l.Len)
		}
		return err
	}
	show("ofd", lock(b, ofdSetlk, syscall.F_WRLCK, 10, 10), lock(d, ofdSetlk, syscall.F_WRLCK, 0, 10))
	show("conflict", lock(d, ofdSetlk, syscall.F_RDLCK, 15, 1), lock(d, ofdGetlk, syscall.F_RDLCK, 0, 100))
	show("split", lock(b, ofdSetlk, syscall.F_UNLCK, 14, 2), lock(d, ofdSetlk, syscall.F_WRLCK, 14, 2),
		lock(d, ofdGetlk, syscall.F_WRLCK, 16, 0))
	show("posix", lock(b, syscall.F_SETLK, syscall.F_WRLCK, 100, 0), lock(d, syscall.F_SETLK, syscall.F_WRLCK, 100, 0),
		lock(d, syscall.F_GETLK, syscall.F_WRLCK, 100, 0))
	r := open("locked", syscall.O_RDONLY)
	show("write lock on a reader", lock(r, syscall.F_SETLK, syscall.F_WRLCK, 0, 1), lock(r, ofdSetlk, 77, 0, 1))
}

func attributes() {
	must(os.WriteFile(path("times"), []byte("x"), 0o666))
	when := []syscall.Timespec{{Sec: 1000000000, Nsec: 123456789}, {Sec: -5, Nsec: 999999999}}
	must(syscall.UtimesNano(path("times"), when))
	s := stat("times")
	show("times", s.Atim, s.Mtim, s.Ctim.Sec > 1000000000)
	must(syscall.Chmod(path("times"), 0o6755))
	show("mode", stat("times").Mode)
	show("chown", syscall.Chown(path("times"), 1234, 70000), stat("times").Mode, stat("times").Uid, stat("times").Gid)
	must(os.Mkdir(path("setgid"), 0o755))
	must(os.Chown(path("setgid"), 0, 55))
	must(syscall.Chmod(path("setgid"), 0o2775))
	must(os.WriteFile(path("setgid/file"), nil, 0o644))
	must(os.Mkdir(path("setgid/folder"), 0o755))
	show("setgid", stat("setgid/file").Gid, stat("setgid/folder").Gid, stat("setgid/folder").Mode)
	before := stat("setgid")
	time.Sleep(5 * time.Millisecond)
	must(os.WriteFile(path("setgid/more"), nil, 0o644))
	after := stat("setgid")
	show("folder's times", after.Mtim.Nano() > before.Mtim.Nano(), after.Atim == before.Atim)
	must(syscall.Mkfifo(path("fifo"), 0o600))
	must(syscall.Mknod(path("null"), syscall.S_IFCHR|0o666, 1<<8|3))
	show("nodes", stat("fifo").Mode, stat("null").Mode, stat("null").Rdev)
	content, err := os.ReadFile(path("null"))
	show("null", len(content), err)
	must(syscall.Symlink("target", path("link")))
	target, err := os.Readlink(path("link"))
	show("link", target, err, stat("link").Size, stat("link").Mode)
	_, err = os.Readlink(path("times"))
	show("readlink of a file", err)
	show("empty link", syscall.Symlink("", path("link2")))
	var fs syscall.Statfs_t
	must(syscall.Statfs(folder, &fs))
	show("statfs", fs.Bsize, fs.Namelen, fs.Blocks > fs.Bfree && fs.Bfree > 0, fs.Files > fs.Ffree && fs.Ffree > 0)
	free := fs.Bfree
	must(os.WriteFile(path("megabyte"), make([]byte, 1<<20), 0o644))
	must(syscall.Statfs(folder, &fs))
	show("statfs counts", int64(free)-int64(fs.Bfree) >= 256, int64(free)-int64(fs.Bfree) < 300)
}

func copies() {
	must(os.WriteFile(path("from"), bytes.Repeat([]byte("0123456789"), 2000), 0o644))
	in, out := open("from", syscall.O_RDONLY), open("to", syscall.O_RDWR|syscall.O_CREAT)
	inAt, outAt := int64(5), int64(100)
	n, _, err := syscall.Syscall6(326, uintptr(in), uintptr(unsafe.Pointer(&inAt)), uintptr(out),
		uintptr(unsafe.Pointer(&outAt)), 15000, 0)
	show("copy_file_range", n, err, inAt, outAt, stat("to").Size)
	n, _, err = syscall.Syscall6(326, uintptr(in), 0, uintptr(out), 0, 1<<20, 0)
	at, _ := syscall.Seek(out, 0, 1)
	show("all of it", n, err, at)
	n, _, err = syscall.Syscall6(326, uintptr(in), 0, uintptr(out), 0, 1<<20, 0)
	show("at the end", n, err)
	n, _, err = syscall.Syscall6(326, uintptr(out), uintptr(unsafe.Pointer(&outAt)), uintptr(out), uintptr(unsafe.Pointer(&outAt)), 10, 0)
	show("onto itself", err)
	content, _ := os.ReadFile(path("to"))
	source, _ := os.ReadFile(path("from"))
	show("same", bytes.Equal(content, source))
	syscall.Ftruncate(out, 0)
	syscall.Seek(out, 0, 0)
	offset := int64(19995)
	sent, err2 := syscall.Sendfile(out, in, &offset, 100)
	show("sendfile", sent, err2, offset)
	sent, err2 = syscall.Sendfile(out, in, &offset, 100)
	show("sendfile at the end", sent, err2)
	var pipe [2]int
	must(syscall.Pipe(pipe[:]))
	offset = 0
	sent, err2 = syscall.Sendfile(pipe[1], in, &offset, 10)
	piece := make([]byte, 20)
	got, _ := syscall.Read(pipe[0], piece)
	show("to a pipe", sent, err2, string(piece[:got]))
	vector := [2]syscall.Iovec{{Base: &piece[0], Len: 3}, {Base: &piece[10], Len: 5}}
	n, _, err = syscall.Syscall6(295, uintptr(in), uintptr(unsafe.Pointer(&vector)), 2, 7, 0, 0)
	show("preadv", n, err, string(piece[:3]), string(piece[10:15]))
	n, _, err = syscall.Syscall6(296, uintptr(out), uintptr(unsafe.Pointer(&vector)), 2, 50, 0, 0)
	show("pwritev", n, err, stat("to").Size)
	n, _, err = syscall.Syscall6(295, uintptr(in), 8, 2, 7, 0, 0)
	show("bad vector", err)
	n, _, err = syscall.Syscall(syscall.SYS_READ, uintptr(in), 8, 10)
	show("bad buffer", err)
	n, _, err = syscall.Syscall(syscall.SYS_OPEN, 8, 0, 0)
	show("bad path", err)
}

// Fills the file system: what was written before stays, and room that is freed can be used.
func full() {
	part := bytes.Repeat([]byte("0123456789abcdef"), 4096)
	var files int
	var last error
	for last == nil {
		part[0] = byte(files)
		last = os.WriteFile(path(fmt.Sprint(files)), part, 0o644)
		files++
	}
	files-- // the last was not written whole
	show("full", errors.Is(last, syscall.ENOSPC), files > 100)
	show("make another", errors.Is(os.Mkdir(path("folder"), 0o755), syscall.ENOSPC) || os.Mkdir(path("x"), 0o755) != nil)
	fd := open("0", syscall.O_RDWR)
	show("allocate", syscall.Fallocate(fd, 0, 0, 64<<20), stat("0").Size)
	var fs syscall.Statfs_t
	must(syscall.Statfs(folder, &fs))
	show("free", fs.Bfree < 64)
	check := func(from, to int) (wrong int) {
		for i := from; i < to; i++ {
			content, err := os.ReadFile(path(fmt.Sprint(i)))
			part[0] = byte(i)
			if err != nil || !bytes.Equal(content, part) {
				wrong++
			}
		}
		return wrong
	}
	show("wrong", check(0, files))
	for i := range files / 2 {
		must(syscall.Unlink(path(fmt.Sprint(i))))
	}
	must(syscall.Unlink(path(fmt.Sprint(files))))
	for i := range files/2 - 1 {
		part[0] = byte(i)
		must(os.WriteFile(path(fmt.Sprint(i)), part, 0o644))
	}
	show("wrong afterwards", check(0, files/2-1), check(files/2, files))
}

func main() {
	var err error
	folder, err = os.MkdirTemp(os.Args[1], "tmpfs-test-")
	must(err)
	syscall.Umask(0o022)
	if len(os.Args) > 2 {
		full()
		return
	}
	for _, part := range []func(){creation, temporary, renames, sparse, mapping, locks, attributes, copies} {
		part()
	}
	must(os.RemoveAll(folder))
	_, err = os.Stat(folder)
	show("gone", os.IsNotExist(err))
}
