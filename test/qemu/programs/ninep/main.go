// SPDX-License-Identifier: MIT

// Does everything that can be done to files in a folder and says what came of it: the same words on
// the host's own file system as on the folder shared with a guest. ninep FOLDER; ninep FOLDER found,
// limits or refused.
package main

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"sort"
	"strings"
	"sync"
	"syscall"
	"time"
	"unsafe"
)

var root string

func at(name string) string { return filepath.Join(root, name) }

// say prints results with the folder's name left out.
func say(what string, results ...any) {
	text := what + ":"
	for _, result := range results {
		if err, ok := result.(error); ok {
			var errno syscall.Errno
			if errors.As(err, &errno) {
				result = fmt.Sprintf("errno %d", int(errno))
			}
		}
		text += fmt.Sprintf(" %v", result)
	}
	fmt.Println(strings.ReplaceAll(text, root, "ROOT"))
}

func must[T any](value T, err error) T {
	if err != nil {
		panic(err)
	}
	return value
}

func check(err error) {
	if err != nil {
		_, _, line, _ := runtime.Caller(1)
		fmt.Printf("line %d: %v\n", line, err)
		os.Exit(1)
	}
}

func contents(name string) string {
	data, err := os.ReadFile(at(name))
	if err != nil {
		return "unreadable"
	}
	if len(data) > 40 {
		return fmt.Sprintf("%d bytes, %x", len(data), sha256.Sum256(data))
	}
	return fmt.Sprintf("%q", data)
}

func names() {
	say("mkdir", os.Mkdir(at("d"), 0o750), os.Mkdir(at("d"), 0o750))
	say("mkdir in nothing", os.Mkdir(at("no/d"), 0o700))
	say("create", os.WriteFile(at("d/a"), []byte("hello\n"), 0o640))
	_, err := os.OpenFile(at("d/a"), os.O_CREATE|os.O_EXCL|os.O_RDWR, 0o600)
	say("exclusive", err)
	file, err := os.OpenFile(at("d/r"), os.O_CREATE|os.O_EXCL|os.O_RDWR, 0o400)
	say("made read-only", err)
	say("written to", must(file.Write([]byte("data"))), file.Close(), contents("d/r"))
	say("symlink", os.Symlink("a", at("d/s")), contents("d/s"), must(os.Readlink(at("d/s"))))
	long := strings.Repeat("x/", 2000)
	say("long symlink", os.Symlink(long, at("d/l")), must(os.Readlink(at("d/l"))) == long)
	say("loop", os.Symlink("loop", at("d/loop")))
	_, err = os.Stat(at("d/loop"))
	say("its stat", err)
	say("link", os.Link(at("d/a"), at("d/b")), must(os.Stat(at("d/b"))).Sys().(*syscall.Stat_t).Nlink)
	say("same", os.SameFile(must(os.Stat(at("d/a"))), must(os.Stat(at("d/b")))))
	say("rename", os.Rename(at("d/b"), at("d/c")), contents("d/b"), contents("d/c"))
	say("onto itself", os.Rename(at("d/c"), at("d/a")), contents("d/c"))
	check(os.WriteFile(at("d/over"), []byte("old"), 0o600))
	say("rename over", os.Rename(at("d/over"), at("d/c")), contents("d/c"), contents("d/a"))
	check(os.MkdirAll(at("e/f/g"), 0o755))
	say("directory over file", syscall.Rename(at("e"), at("d/c")))
	say("file over directory", syscall.Rename(at("d/c"), at("e")))
	say("into itself", os.Rename(at("e"), at("e/f/h")))
	say("move directory", os.Rename(at("e/f"), at("d/f")), must(os.Stat(at("d/f/g"))).IsDir())
	say("rmdir full", syscall.Rmdir(at("d/f")), "rmdir file", syscall.Rmdir(at("d/a")))
	say("unlink directory", syscall.Unlink(at("e")), "unlink nothing", syscall.Unlink(at("zz")))
	say("not a directory", os.Mkdir(at("d/a/x"), 0o700))
	say("too long", os.WriteFile(at(strings.Repeat("n", 256)), nil, 0o600))
	say("longest", os.WriteFile(at(strings.Repeat("n", 255)), nil, 0o600))
	odd := "odd \x01\xff\n\"\\name"
	say("any bytes", os.WriteFile(at(odd), []byte("odd"), 0o600), contents(odd))
	check(os.Chdir(at("d/f/g")))
	check(os.Rename(at("d/f"), at("d/moved")))
	say("moved below", must(syscallGetwd()))
	check(os.Chdir("/"))
}

func syscallGetwd() (string, error) {
	buffer := make([]byte, 4096)
	n, err := syscall.Getcwd(buffer)
	if err != nil {
		return "", err
	}
	return string(buffer[:n-1]), nil
}

func data() {
	big := make([]byte, 3<<20+17)
	for i := range big {
		big[i] = byte(i * 7 >> 3)
	}
	check(os.WriteFile(at("big"), big, 0o644))
	say("big", contents("big"), bytes.Equal(must(os.ReadFile(at("big"))), big))
	file := must(os.OpenFile(at("io"), os.O_RDWR|os.O_CREATE, 0o644))
	say("sparse", must(file.WriteAt([]byte("end"), 100000)), must(file.Stat()).Size())
	buffer := make([]byte, 5)
	say("hole", must(file.ReadAt(buffer, 50)), buffer)
	_, err := file.ReadAt(buffer, 100001)
	say("over the end", err, string(buffer[:2]))
	say("truncate", file.Truncate(10), must(file.Stat()).Size(), must(file.Seek(0, io.SeekEnd)))
	say("longer", file.Truncate(5000), must(file.Stat()).Size())
	say("sync", file.Sync())
	logFile := must(os.OpenFile(at("log"), os.O_APPEND|os.O_WRONLY|os.O_CREATE, 0o644))
	for i := 0; i < 3; i++ {
		fmt.Fprintf(logFile, "line %d\n", i)
		other := must(os.OpenFile(at("log"), os.O_APPEND|os.O_WRONLY, 0))
		fmt.Fprintf(other, "other %d\n", i)
		check(other.Close())
	}
	say("append", contents("log"))
	_, err = logFile.Read(buffer)
	say("read what is for writing", err)
	say("open to truncate", os.WriteFile(at("log"), []byte("new"), 0), contents("log"))

	gone := must(os.OpenFile(at("gone"), os.O_RDWR|os.O_CREATE, 0o600))
	must(gone.WriteString("still here"))
	check(os.Remove(at("gone")))
	_, err = os.Stat(at("gone"))
	say("unlinked", err, must(gone.Stat()).Size())
	must(gone.WriteString(", all of it"))
	text := make([]byte, 100)
	n, _ := gone.ReadAt(text, 0)
	say("its contents", string(text[:n]), must(gone.Stat()).Size())
	check(os.WriteFile(at("gone"), []byte("another"), 0o600))
	n, _ = gone.ReadAt(text, 0)
	say("two of a name", string(text[:n]), must(gone.Stat()).Size(), contents("gone"))
	check(gone.Close())
}

func attributes() {
	check(os.WriteFile(at("attr"), []byte("x"), 0o644))
	say("chmod", os.Chmod(at("attr"), 0o4711), must(os.Stat(at("attr"))).Mode())
	when := time.Unix(1234567890, 123456789)
	say("chtimes", os.Chtimes(at("attr"), when, when.Add(time.Hour)))
	stat := must(os.Stat(at("attr"))).Sys().(*syscall.Stat_t)
	say("times", stat.Atim, stat.Mtim, stat.Uid, stat.Gid, stat.Size, stat.Nlink)
	check(os.WriteFile(at("attr"), []byte("y"), 0o644))
	age := time.Since(must(os.Stat(at("attr"))).ModTime())
	say("written again", age > -5*time.Second && age < time.Minute)
	var statfs syscall.Statfs_t
	say("statfs", syscall.Statfs(root, &statfs), statfs.Blocks > 0, statfs.Bfree > 0, statfs.Namelen)
	say("no such attribute", syscall.Removexattr(at("nothing"), "user.a"))
}

func list() {
	for i := 0; i < 500; i++ {
		check(os.WriteFile(at(fmt.Sprintf("e/file-%03d", i)), nil, 0o600))
	}
	entries := must(os.ReadDir(at("e")))
	say("entries", len(entries), entries[0].Name(), entries[499].Name())
	directory := must(os.Open(at("e")))
	some := must(directory.Readdirnames(100))
	rest := must(directory.Readdirnames(-1))
	all := append(some, rest...)
	sort.Strings(all)
	say("in two parts", len(some), len(rest), all[0], all[499])
	must(directory.Seek(0, io.SeekStart))
	say("again", len(must(directory.Readdirnames(-1))))
	check(filepath.WalkDir(root, func(path string, entry fs.DirEntry, err error) error {
		check(err)
		if !strings.HasPrefix(path, at("e/")) {
			info := must(entry.Info())
			say("walk", fmt.Sprintf("%q", path), info.Mode())
		}
		return nil
	}))
	say("remove all", os.RemoveAll(at("e")))
}

func mappings() {
	page := os.Getpagesize()
	check(os.WriteFile(at("map"), bytes.Repeat([]byte("0123456789abcdef"), 1024), 0o644))
	file := must(os.OpenFile(at("map"), os.O_RDWR, 0))
	private := must(syscall.Mmap(int(file.Fd()), 0, 4*page, syscall.PROT_READ|syscall.PROT_WRITE, syscall.MAP_PRIVATE))
	shared := must(syscall.Mmap(int(file.Fd()), 0, 4*page, syscall.PROT_READ|syscall.PROT_WRITE, syscall.MAP_SHARED))
	copy(private[page:], "PRIVATE")
	copy(shared[2*page:], "SHARED")
	buffer := make([]byte, 10)
	must(file.ReadAt(buffer, int64(2*page)))
	say("read sees the mapping", string(buffer), string(private[page:page+10]))
	must(file.WriteAt([]byte("WRITTEN"), int64(3*page)))
	say("the mapping sees write", string(shared[3*page:3*page+10]))
	_, _, errno := syscall.Syscall(syscall.SYS_MSYNC, uintptr(unsafe.Pointer(&shared[0])), uintptr(len(shared)), syscall.MS_SYNC)
	say("msync", int(errno))
	copy(shared[100:], "LAST")
	check(syscall.Munmap(shared))
	check(file.Close())
	say("after all", contents("map"))
	part := must(os.OpenFile(at("part"), os.O_RDWR|os.O_CREATE, 0o644))
	must(part.WriteString("short"))
	tail := must(syscall.Mmap(int(part.Fd()), 0, page, syscall.PROT_READ|syscall.PROT_WRITE, syscall.MAP_SHARED))
	copy(tail[3:], "in and behind")
	check(part.Truncate(7))
	check(syscall.Munmap(tail))
	say("a page's part", contents("part"))
	check(part.Close())
	leftFile := must(os.OpenFile(at("left"), os.O_RDWR|os.O_CREATE, 0o644))
	check(leftFile.Truncate(int64(page)))
	left := must(syscall.Mmap(int(leftFile.Fd()), 0, page, syscall.PROT_READ|syscall.PROT_WRITE, syscall.MAP_SHARED))
	copy(left, "never unmapped")
}

// Many threads at a time, each with files of its own and one that all append to.
func threads() {
	var group sync.WaitGroup
	check(os.Mkdir(at("many"), 0o755))
	bad := make([]error, 16)
	for i := range bad {
		group.Add(1)
		go func() {
			defer group.Done()
			name := at(fmt.Sprintf("many/%d", i))
			data := bytes.Repeat([]byte{byte('a' + i)}, 50000)
			for turn := 0; turn < 5; turn++ {
				if err := os.WriteFile(name, data, 0o600); err != nil {
					bad[i] = err
				}
				got, err := os.ReadFile(name)
				if err != nil || !bytes.Equal(got, data) {
					bad[i] = fmt.Errorf("turn %d: %v, %d bytes", turn, err, len(got))
				}
				file, err := os.OpenFile(at("many/all"), os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
				if err == nil {
					_, err = fmt.Fprintf(file, "%02d %d\n", i, turn)
					file.Close()
				}
				if err == nil {
					err = os.Rename(name, name+"x")
				}
				if err == nil {
					err = os.Remove(name + "x")
				}
				if err != nil {
					bad[i] = err
				}
			}
		}()
	}
	group.Wait()
	for i, err := range bad {
		if err != nil {
			say("thread", i, err)
		}
	}
	lines := strings.Split(strings.TrimSpace(string(must(os.ReadFile(at("many/all"))))), "\n")
	sort.Strings(lines)
	say("appended", len(lines), lines[0], lines[len(lines)-1])
}

func main() {
	root = os.Args[1]
	syscall.Umask(0o022)
	if len(os.Args) > 2 {
		map[string]func(){"found": found, "limits": limits, "refused": refused}[os.Args[2]]()
		return
	}
	names()
	data()
	attributes()
	list()
	threads()
	bytesInNames()
	handles()
	far()
	locks()
	more()
	mappings()
}
