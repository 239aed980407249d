// SPDX-License-Identifier: MIT

package main

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"io"
	"net"
	"os"
	"sort"
	"strings"
	"syscall"
	"time"
	"unsafe"
)

const (
	atFdCwd      = -100
	oTmpfile     = 0x410000
	ofdSetLock   = 37
	ofdGetLock   = 36
	utimeOmit    = 1<<30 - 2
	renameNew    = 1
	renameSwap   = 2
	seekData     = 3
	seekHole     = 4
	fallocKeep   = 1
	fallocPunch  = 2
	lockExcluded = syscall.LOCK_EX | syscall.LOCK_NB
)

// Named pipes, sockets and devices that the host has made: the folder has their names, the machine
// their contents.
func special() {
	for _, name := range []string{"fifo", "socket", "null"} {
		info := must(os.Lstat(at(name)))
		say(name, info.Mode(), info.Sys().(*syscall.Stat_t).Rdev)
	}
	go func() {
		writer := must(os.OpenFile(at("fifo"), os.O_WRONLY, 0))
		writer.WriteString("through the pipe")
		writer.Close()
	}()
	say("through it", string(must(os.ReadFile(at("fifo")))))
	_, err := net.Dial("unix", at("socket"))
	say("nobody listens", err)
	_, err = os.Open(at("socket"))
	say("opened", err)
	null := must(os.OpenFile(at("null"), os.O_RDWR, 0))
	count, err := null.Read(make([]byte, 5))
	say("nothing", must(null.WriteString("gone")), count, err == io.EOF)
	check(null.Close())
	say("again", syscall.Mkfifo(at("fifo"), 0))
	for _, name := range []string{"fifo", "socket", "null"} {
		say("removed", name, os.Rename(at(name), at(name+"2")), os.Remove(at(name+"2")))
	}
}

// Names of every byte there is, in pieces and in one.
func bytesInNames() {
	check(os.Mkdir(at("bytes"), 0o700))
	var all []byte
	for b := 1; b < 256; b++ {
		if b != '/' {
			all = append(all, byte(b))
		}
	}
	for i := 0; i < len(all); i += 20 {
		piece := all[i:min(i+20, len(all))]
		check(os.WriteFile(at("bytes/"+string(piece)), piece, 0o600))
	}
	check(os.WriteFile(at("bytes/"+string(all)), all, 0o600))
	sum := sha256.New()
	entries := must(os.ReadDir(at("bytes")))
	for _, entry := range entries {
		fmt.Fprintf(sum, "%q %q\n", entry.Name(), must(os.ReadFile(at("bytes/"+entry.Name()))))
	}
	say("names of any byte", len(entries), fmt.Sprintf("%x", sum.Sum(nil)))
	say("removed", os.RemoveAll(at("bytes")))
}

// More than one open file of the same name, and of a name that becomes another's.
func handles() {
	first := must(os.OpenFile(at("shared"), os.O_RDWR|os.O_CREATE, 0o644))
	second := must(os.OpenFile(at("shared"), os.O_RDWR, 0))
	end := must(os.OpenFile(at("shared"), os.O_WRONLY|os.O_APPEND, 0))
	must(first.WriteString("0123456789"))
	say("truncated by the other", second.Truncate(4), must(first.Stat()).Size(), contents("shared"))
	say("appended", must(end.WriteString("abc")), must(first.Write([]byte("xy"))), contents("shared"))
	say("appended after", must(end.WriteString("END")), must(second.Stat()).Size(), contents("shared"))
	third := must(os.OpenFile(at("shared"), os.O_WRONLY|os.O_TRUNC, 0))
	say("emptied", must(first.Stat()).Size(), must(third.WriteString("new")), contents("shared"))
	buffer := make([]byte, 100)
	n, err := first.ReadAt(buffer, 0)
	say("read by the first", string(buffer[:n]), err == io.EOF)
	must(end.WriteString(" and more"))
	position := must(end.Seek(0, io.SeekCurrent))
	say("position", position, first.Truncate(8192), must(second.Seek(-1, io.SeekEnd)))
	for _, file := range []*os.File{first, second, end, third} {
		check(file.Close())
	}

	check(os.WriteFile(at("old"), []byte("the old one"), 0o644))
	check(os.WriteFile(at("new"), []byte("the new one"), 0o644))
	old := must(os.OpenFile(at("old"), os.O_RDWR, 0))
	fresh := must(os.OpenFile(at("new"), os.O_RDWR, 0))
	say("rename over", os.Rename(at("new"), at("old")), contents("old"), contents("new"))
	must(old.WriteAt([]byte("THE"), 0))
	must(fresh.WriteAt([]byte("The"), 0))
	n, _ = old.ReadAt(buffer, 0)
	say("the one that was replaced", string(buffer[:n]), must(old.Stat()).Size())
	n, _ = fresh.ReadAt(buffer, 0)
	say("the one that was renamed", string(buffer[:n]), contents("old"), os.SameFile(must(fresh.Stat()), must(os.Stat(at("old")))))
	say("sync", old.Sync(), fresh.Sync(), old.Close(), fresh.Close())
	folder := must(os.Open(root))
	say("of the folder", folder.Sync(), folder.Close())
	_, err = os.OpenFile(root, os.O_WRONLY, 0)
	say("folder for writing", err)
	_, err = os.OpenFile(at("old"), syscall.O_DIRECTORY, 0)
	say("file as a folder", err)
	synced := must(os.OpenFile(at("old"), os.O_RDWR|os.O_SYNC, 0))
	say("at once", must(synced.WriteAt([]byte("!"), 11)), contents("old"), synced.Close())
}

func far() {
	file := must(os.OpenFile(at("far"), os.O_RDWR|os.O_CREATE, 0o600))
	const place = 5<<30 - 3
	say("past 4 GiB", must(file.WriteAt([]byte("far away"), place)), must(file.Stat()).Size())
	buffer := make([]byte, 10)
	n, err := file.ReadAt(buffer, place)
	say("read", string(buffer[:n]), err == io.EOF)
	say("between", must(file.ReadAt(buffer, 1<<32-5)), buffer)
	page := int64(place &^ 4095)
	mapped := must(syscall.Mmap(int(file.Fd()), page, 8192, syscall.PROT_READ, syscall.MAP_SHARED))
	say("mapped", string(mapped[place-page:place-page+8]))
	check(syscall.Munmap(mapped))
	say("shorter", file.Truncate(1<<32+1), must(file.Seek(0, io.SeekEnd)), must(os.Stat(at("far"))).Size())
	check(file.Close())
	check(os.Remove(at("far")))
}

func locks() {
	check(os.WriteFile(at("lock"), []byte("0123456789"), 0o600))
	first := must(os.OpenFile(at("lock"), os.O_RDWR, 0))
	second := must(os.OpenFile(at("lock"), os.O_RDWR, 0))
	say("flock", syscall.Flock(int(first.Fd()), lockExcluded), syscall.Flock(int(second.Fd()), lockExcluded))
	say("let go", syscall.Flock(int(first.Fd()), syscall.LOCK_UN), syscall.Flock(int(second.Fd()), syscall.LOCK_SH|syscall.LOCK_NB))
	lock := syscall.Flock_t{Type: syscall.F_WRLCK, Start: 2, Len: 3}
	say("range", syscall.FcntlFlock(first.Fd(), ofdSetLock, &lock))
	lock = syscall.Flock_t{Type: syscall.F_RDLCK, Start: 0, Len: 10}
	say("held", syscall.FcntlFlock(second.Fd(), ofdSetLock, &lock), syscall.FcntlFlock(second.Fd(), ofdGetLock, &lock))
	say("by", lock.Type, lock.Start, lock.Len)
	lock = syscall.Flock_t{Type: syscall.F_WRLCK, Start: 6, Len: 2}
	say("beside it", syscall.FcntlFlock(second.Fd(), ofdSetLock, &lock))
	check(first.Close())
	lock = syscall.Flock_t{Type: syscall.F_WRLCK, Start: 2, Len: 3}
	say("after the close", syscall.FcntlFlock(second.Fd(), ofdSetLock, &lock), second.Close())
}

func utimes(fd int, times [2]syscall.Timespec) error {
	_, _, errno := syscall.Syscall6(syscall.SYS_UTIMENSAT, uintptr(fd), 0, uintptr(unsafe.Pointer(&times)), 0, 0, 0)
	if errno != 0 {
		return errno
	}
	return nil
}

func more() {
	file := must(os.OpenFile(at("times"), os.O_RDWR|os.O_CREATE, 0o600))
	when := syscall.Timespec{Sec: 981173106, Nsec: 123456789}
	say("times by descriptor", utimes(int(file.Fd()), [2]syscall.Timespec{when, {Sec: -5, Nsec: 1}}))
	say("one of them", utimes(int(file.Fd()), [2]syscall.Timespec{{Nsec: utimeOmit}, when}))
	stat := must(file.Stat()).Sys().(*syscall.Stat_t)
	say("are", stat.Atim, stat.Mtim)
	before := time.Now().Add(-time.Hour)
	must(file.WriteString("x"))
	say("after a write", must(file.Stat()).ModTime().After(before))
	say("owner", os.Chown(at("times"), 1000, 70000), file.Chmod(0o2755), must(file.Stat()).Mode())
	stat = must(os.Stat(at("times"))).Sys().(*syscall.Stat_t)
	say("is", stat.Uid, stat.Gid)
	check(os.Symlink("times", at("link")))
	say("of a link", os.Lchown(at("link"), 7, 8), must(os.Lstat(at("link"))).Sys().(*syscall.Stat_t).Uid, must(os.Stat(at("link"))).Sys().(*syscall.Stat_t).Uid)
	say("access", syscall.Access(at("times"), 4), syscall.Access(at("none"), 0))
	check(file.Close())

	from := must(os.Open(at("big")))
	to := must(os.OpenFile(at("copy"), os.O_RDWR|os.O_CREATE, 0o600))
	say("copied", must(io.Copy(to, from)), bytes.Equal(must(os.ReadFile(at("big"))), must(os.ReadFile(at("copy")))))
	vector := []syscall.Iovec{{Base: &[]byte("one ")[0], Len: 4}, {Base: &[]byte("two")[0], Len: 3}}
	n, _, errno := syscall.Syscall6(syscall.SYS_PWRITEV, to.Fd(), uintptr(unsafe.Pointer(&vector[0])), 2, 4090, 0, 0)
	buffer := make([]byte, 7)
	must(to.ReadAt(buffer, 4090))
	say("vector", n, int(errno), string(buffer))
	check(from.Close())
	check(to.Close())
	check(os.Chdir(root))
	check(os.Mkdir("here", 0o700))
	check(os.Chdir("here"))
	_, err := os.Stat("../here")
	say("relative", err, os.WriteFile("file", []byte("x"), 0o600), os.Remove("../here/file"))
	say("removed under it", os.Remove(at("here")), os.WriteFile("file", nil, 0o600))
	check(os.Chdir("/"))
}

// What the host has put there: special files, many names, and attributes that nobody can set from
// here.
func found() {
	special()
	entries := must(os.ReadDir(at("many")))
	sum := sha256.New()
	for _, entry := range entries {
		fmt.Fprintln(sum, entry.Name(), entry.Type())
	}
	say("many names", len(entries), fmt.Sprintf("%x", sum.Sum(nil)))
	folder := must(os.Open(at("many")))
	var all []string
	for {
		names, err := folder.Readdirnames(37)
		all = append(all, names...)
		if err != nil {
			break
		}
		os.Remove(at("many/" + names[0]))
	}
	sort.Strings(all)
	distinct := 1
	for i := 1; i < len(all); i++ {
		if all[i] != all[i-1] {
			distinct++
		}
	}
	say("while some go", len(all), distinct, len(must(os.ReadDir(at("many")))))
	buffer := make([]byte, 70000)
	n, err := syscall.Listxattr(at("attributes"), buffer)
	names := strings.Split(strings.TrimSuffix(string(buffer[:max(n, 0)]), "\x00"), "\x00")
	sort.Strings(names)
	say("attributes", err, names)
	for _, name := range names {
		n, err := syscall.Getxattr(at("attributes"), name, buffer)
		say("value", name, n, err, fmt.Sprintf("%x", sha256.Sum256(buffer[:max(n, 0)])))
	}
	_, err = syscall.Getxattr(at("attributes"), "user.none", buffer)
	say("none", err)
	_, err = syscall.Getxattr(at("attributes"), names[len(names)-1], buffer[:1])
	say("too short", err)
	var statfs syscall.Statfs_t
	check(syscall.Statfs(root, &statfs))
	say("statfs", statfs.Blocks*uint64(statfs.Bsize)>>20, statfs.Files, statfs.Namelen)
}

// What 9P has no message for, refused as Linux's v9fs does.
func limits() {
	file := must(os.OpenFile(at("file"), os.O_RDWR|os.O_CREATE, 0o600))
	must(file.WriteAt([]byte("end"), 100000))
	fd := int(file.Fd())
	say("fallocate", syscall.Fallocate(fd, 0, 0, 4096), syscall.Fallocate(fd, fallocKeep|fallocPunch, 0, 4096), syscall.Fallocate(fd, 0, -1, 5))
	_, err := os.OpenFile(root, oTmpfile|os.O_RDWR, 0o600)
	say("O_TMPFILE", err)
	rename := func(flags uintptr) int {
		from, to := must(syscall.BytePtrFromString(at("file"))), must(syscall.BytePtrFromString(at("other")))
		cwd := atFdCwd
		_, _, errno := syscall.Syscall6(316, uintptr(cwd), uintptr(unsafe.Pointer(from)), uintptr(cwd), uintptr(unsafe.Pointer(to)), flags, 0)
		return int(errno)
	}
	say("renameat2", rename(renameNew), rename(renameSwap), rename(8), rename(0))
	data, err := file.Seek(5, seekData)
	hole, _ := file.Seek(5, seekHole)
	say("holes", data, err, hole)
	_, err = file.Seek(100003, seekData)
	say("past the end", err)
}

// What the host refuses.
func refused() {
	data := bytes.Repeat([]byte("x"), 1<<16)
	file := must(os.Create(at("full/file")))
	var err error
	total := 0
	for err == nil && total < 1<<22 {
		var n int
		n, err = file.Write(data)
		total += n
	}
	say("full", err, total)
	say("its size", must(file.Stat()).Size() == int64(total), os.Mkdir(at("full/folder"), 0o700))
	mapped := must(syscall.Mmap(int(file.Fd()), 0, 4096, syscall.PROT_READ|syscall.PROT_WRITE, syscall.MAP_SHARED))
	copy(mapped, "mapped")
	say("what is there", syscall.Munmap(mapped), file.Sync(), file.Truncate(100), file.Close(), contents("full/file")[:7])
	say("freed", os.WriteFile(at("full/more"), data, 0o600), os.Remove(at("full/more")))
	_, err = os.Open(at("secret"))
	say("secret", err)
	_, err = os.OpenFile(at("readable"), os.O_RDWR, 0)
	say("readable", err, contents("readable"), os.Chmod(at("readable"), 0o666))
	_, err = os.ReadDir(at("closed"))
	say("closed", err)
	_, err = os.Stat(at("closed/file"))
	say("below", err, os.Remove(at("readable")), os.Mkdir(at("closed/new"), 0o700))
	say("read-only", os.WriteFile(at("ro/new"), nil, 0o600), os.Remove(at("ro/file")), os.Chmod(at("ro/file"), 0o600), os.Mkdir(at("ro/d"), 0o700))
	_, err = os.OpenFile(at("ro/file"), os.O_RDWR, 0)
	say("for writing", err, contents("ro/file"), os.Truncate(at("ro/file"), 0))
	say("across", os.Rename(at("full/file"), at("file")), os.Link(at("full/file"), at("link")))
}
