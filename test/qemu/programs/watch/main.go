// SPDX-License-Identifier: MIT

// Watch changes files in a folder in every way that inotify(7) tells of, and prints what it is told,
// so that the kernel below can be compared with Linux: watch FOLDER [full].
package main

import (
	"fmt"
	"os"
	"path/filepath"
	"sort"
	"strings"
	"sync"
	"syscall"
	"time"
	"unsafe"

	"github.com/fsnotify/fsnotify"
)

const (
	exclUnlink = 0x4000000
	maskCreate = 0x10000000
	maskAdd    = 0x20000000
	onlyDir    = 0x1000000
	dontFollow = 0x2000000
	oneShot    = 0x80000000
	allEvents  = 0xfff
)

var (
	folder string
	fd     int
	labels = map[int32]string{}
)

func path(name string) string { return filepath.Join(folder, name) }

func must(err error) {
	if err != nil {
		panic(err)
	}
}

func write(name, text string) { must(os.WriteFile(path(name), []byte(text), 0o644)) }

func watch(name string, mask uint32) int {
	wd, err := syscall.InotifyAddWatch(fd, path(name), mask)
	if err != nil {
		fmt.Printf("watch %s: %v\n", name, err)
		return -1
	}
	labels[int32(wd)] = name
	return wd
}

var bits = []string{"ACCESS", "MODIFY", "ATTRIB", "CLOSE_WRITE", "CLOSE_NOWRITE", "OPEN", "MOVED_FROM",
	"MOVED_TO", "CREATE", "DELETE", "DELETE_SELF", "MOVE_SELF"}

func names(mask uint32) string {
	var words []string
	for i, name := range bits {
		if mask&(1<<i) != 0 {
			words = append(words, name)
		}
	}
	for bit, name := range map[uint32]string{syscall.IN_IGNORED: "IGNORED", syscall.IN_Q_OVERFLOW: "OVERFLOW"} {
		if mask&bit != 0 {
			words = append(words, name)
		}
	}
	if mask&syscall.IN_ISDIR != 0 {
		words = append(words, "ISDIR")
	}
	return strings.Join(words, "|")
}

// Show prints all that has happened since the last time, in its order.
func show(what string) {
	var lines []string
	defer func() { fmt.Println(what + ":\n" + strings.Join(lines, "\n")) }()
	cookies := map[uint32]int{}
	buffer := make([]byte, 4096)
	for {
		n, err := syscall.Read(fd, buffer)
		if err == syscall.EAGAIN {
			return
		}
		must(err)
		for at := 0; at < n; {
			event := (*syscall.InotifyEvent)(unsafe.Pointer(&buffer[at]))
			name := strings.TrimRight(string(buffer[at+syscall.SizeofInotifyEvent:at+syscall.SizeofInotifyEvent+int(event.Len)]), "\x00")
			cookie := 0
			if event.Cookie != 0 {
				if cookies[event.Cookie] == 0 {
					cookies[event.Cookie] = len(cookies) + 1
				}
				cookie = cookies[event.Cookie]
			}
			lines = append(lines, fmt.Sprintf("  %s: %s %q len %d cookie %d", labels[event.Wd], names(event.Mask), name, event.Len, cookie))
			at += syscall.SizeofInotifyEvent + int(event.Len)
		}
	}
}

func files() {
	watch(".", allEvents)
	write("a", "text")
	show("create")
	file, err := os.OpenFile(path("a"), os.O_RDWR, 0)
	must(err)
	buffer := make([]byte, 100)
	file.Read(buffer)
	file.Read(buffer)
	file.WriteString("more")
	must(file.Truncate(2))
	must(file.Chmod(0o600))
	must(file.Close())
	show("open file")
	watch("a", allEvents)
	must(os.Truncate(path("a"), 1))
	must(os.Chmod(path("a"), 0o640))
	must(os.Chtimes(path("a"), time.Unix(1, 0), time.Unix(2, 0)))
	must(os.Link(path("a"), path("b")))
	must(os.Symlink("a", path("s")))
	show("attributes and links")
	must(os.Rename(path("a"), path("c")))
	show("rename")
	must(os.Remove(path("b")))
	show("one name of two")
	file, err = os.Open(path("c"))
	must(err)
	must(os.Remove(path("c")))
	show("remove while open")
	must(file.Close())
	show("last close")
	_, err = os.ReadDir(folder)
	must(err)
	show("list")
	fd, err := syscall.Open(path("s"), 0x200000 /* O_PATH */ |syscall.O_NOFOLLOW, 0)
	must(err)
	syscall.Close(fd)
	show("O_PATH")
}

func folders() {
	must(os.Mkdir(path("one"), 0o755))
	must(os.Mkdir(path("two"), 0o755))
	show("mkdir")
	watch("one", allEvents)
	watch("two", allEvents)
	write("one/x", "x")
	write("two/y", "y")
	show("below")
	watch("two/y", allEvents)
	must(os.Rename(path("one/x"), path("two/y")))
	show("rename over")
	must(os.Rename(path("two"), path("three")))
	show("rename a folder")
	write("three/"+strings.Repeat("n", 255), "")
	show("a long name, in the moved folder")
	must(os.Remove(path("three/" + strings.Repeat("n", 255))))
	must(os.Remove(path("three/y")))
	must(os.Remove(path("three")))
	show("remove a folder")
	must(os.RemoveAll(path("one")))
	show("remove another")
	must(os.Mkdir(path("four"), 0o755))
	must(os.Mkdir(path("five"), 0o755))
	watch("five", allEvents)
	watch("four", allEvents)
	show("two more")
	must(syscall.Rename(path("four"), path("five")))
	show("rename a folder over another")
	must(os.Remove(path("five")))
	write("g", "")
	must(os.Link(path("g"), path("h")))
	watch("g", allEvents)
	show("a file of two names")
	must(os.Remove(path("g")))
	must(os.Remove(path("h")))
	show("remove both")
}

func flags() {
	write("f", "f")
	show("file")
	first, second := watch("f", syscall.IN_ATTRIB), watch("f", maskAdd|syscall.IN_OPEN)
	fmt.Println("same:", first == second)
	watch("f", maskCreate|syscall.IN_OPEN)
	watch("f", onlyDir|syscall.IN_OPEN)
	watch("none", syscall.IN_OPEN)
	watch("f", 0)
	watch("f", 1<<20)
	must(os.Chmod(path("f"), 0o600))
	_, err := os.ReadFile(path("f"))
	must(err)
	show("added")
	_, err = syscall.InotifyRmWatch(fd, uint32(first))
	fmt.Println("remove:", err)
	_, err = syscall.InotifyRmWatch(fd, uint32(first))
	fmt.Println("remove again:", err)
	show("removed")
	watch("f", oneShot|syscall.IN_ATTRIB)
	must(os.Chmod(path("f"), 0o644))
	must(os.Chmod(path("f"), 0o600))
	show("one shot")
	watch("s", dontFollow|syscall.IN_ATTRIB)
	must(os.Lchown(path("s"), os.Getuid(), os.Getgid()))
	show("the link itself")
	must(os.Mkdir(path("e"), 0o755))
	write("e/x", "x")
	watch("e", exclUnlink|allEvents)
	file, err := os.Open(path("e/x"))
	must(err)
	must(os.Remove(path("e/x")))
	must(file.Close())
	show("excluded once unlinked")
	_, err = syscall.InotifyAddWatch(0, folder, allEvents)
	fmt.Println("not inotify:", err)
	_, err = syscall.InotifyAddWatch(999, folder, allEvents)
	fmt.Println("not open:", err)
	_, err = syscall.InotifyInit1(1)
	fmt.Println("flags:", err)
	write("q", "")
	_, err = syscall.Read(fd, make([]byte, 8))
	fmt.Println("small buffer:", err)
	var bytes int32
	_, _, number := syscall.Syscall(syscall.SYS_IOCTL, uintptr(fd), 0x541b, uintptr(unsafe.Pointer(&bytes)))
	fmt.Println("FIONREAD:", bytes, number)
	show("empty file")
}

func overflow() {
	watch("f", 0xfff)
	for i := 0; i < 10000; i++ {
		must(os.Chmod(path("f"), 0o600))
		must(os.Chtimes(path("f"), time.Time{}, time.Unix(int64(i), 0)))
	}
	count, last := 0, uint32(0)
	buffer := make([]byte, 4096)
	for {
		n, err := syscall.Read(fd, buffer)
		if err != nil {
			break
		}
		for at := 0; at < n; count++ {
			event := (*syscall.InotifyEvent)(unsafe.Pointer(&buffer[at]))
			last = event.Mask
			at += syscall.SizeofInotifyEvent + int(event.Len)
		}
	}
	fmt.Println("overflow:", count, names(last))
}

// The module that programs use: what it reports of each file, until nothing is missing.
func module() {
	root := path("module")
	must(os.MkdirAll(filepath.Join(root, "sub"), 0o755))
	watcher, err := fsnotify.NewWatcher()
	must(err)
	must(watcher.Add(root))
	must(watcher.Add(filepath.Join(root, "sub")))
	var lock sync.Mutex
	seen := map[string]bool{}
	done := make(chan bool)
	go func() {
		for event := range watcher.Events {
			name, _ := filepath.Rel(root, event.Name)
			lock.Lock()
			seen[name+" "+event.Op.String()] = true
			lock.Unlock()
			if name == "last" && event.Has(fsnotify.Remove) {
				close(done)
			}
		}
	}()
	must(os.WriteFile(filepath.Join(root, "sub/a"), []byte("a"), 0o644))
	must(os.Chmod(filepath.Join(root, "sub/a"), 0o600))
	must(os.Rename(filepath.Join(root, "sub/a"), filepath.Join(root, "b")))
	must(os.Remove(filepath.Join(root, "b")))
	must(os.Remove(filepath.Join(root, "sub")))
	must(os.WriteFile(filepath.Join(root, "last"), nil, 0o644))
	must(os.Remove(filepath.Join(root, "last")))
	<-done
	fmt.Println("watched:", len(watcher.WatchList()))
	must(watcher.Close())
	var lines []string
	for line := range seen {
		lines = append(lines, line)
	}
	sort.Strings(lines)
	fmt.Println(strings.Join(lines, "\n"))
}

// A reader that waits, as os.File does, by epoll.
func waiting() {
	waiter, err := syscall.InotifyInit1(syscall.IN_NONBLOCK | syscall.IN_CLOEXEC)
	must(err)
	_, err = syscall.InotifyAddWatch(waiter, folder, syscall.IN_CREATE)
	must(err)
	file := os.NewFile(uintptr(waiter), "inotify")
	got := make(chan int)
	go func() {
		n, _ := file.Read(make([]byte, 4096))
		got <- n
	}()
	time.Sleep(10 * time.Millisecond)
	write("late", "")
	fmt.Println("woken:", <-got)
	must(file.Close())
}

func main() {
	folder = os.Args[1]
	var err error
	fd, err = syscall.InotifyInit1(syscall.IN_NONBLOCK | syscall.IN_CLOEXEC)
	must(err)
	files()
	folders()
	flags()
	if len(os.Args) > 2 {
		overflow()
	}
	must(syscall.Close(fd))
	module()
	waiting()
}
