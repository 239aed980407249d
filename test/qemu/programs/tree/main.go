// SPDX-License-Identifier: MIT
// Prints all that can be known of the files below a folder, one line each, so that two systems can
// be compared: tree FOLDER.
package main

import (
	"bufio"
	"crypto/sha256"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
)

func attributes(path string) (text string) {
	list := make([]byte, 65536)
	n, err := syscall.Listxattr(path, list)
	if err != nil {
		return err.Error()
	}
	for _, name := range strings.Split(strings.TrimSuffix(string(list[:n]), "\x00"), "\x00") {
		if name == "" {
			continue
		}
		value := make([]byte, 65536)
		n, err := syscall.Getxattr(path, name, value)
		if err != nil {
			text += fmt.Sprintf(" %s: %v", name, err)
		} else {
			text += fmt.Sprintf(" %s=%x", name, sha256.Sum256(value[:n]))
		}
	}
	return text
}

// The contents by read, and by mmap; "" for each when they differ.
func contents(path string, size int64) string {
	file, err := os.Open(path)
	if err != nil {
		return err.Error()
	}
	defer file.Close()
	read := sha256.New()
	if _, err := io.Copy(read, file); err != nil {
		return err.Error()
	}
	if size == 0 {
		return "empty"
	}
	mapped, err := syscall.Mmap(int(file.Fd()), 0, int(size), syscall.PROT_READ, syscall.MAP_SHARED)
	if err != nil {
		return err.Error()
	}
	defer syscall.Munmap(mapped)
	private, err := syscall.Mmap(int(file.Fd()), 0, int(size), syscall.PROT_READ|syscall.PROT_WRITE, syscall.MAP_PRIVATE)
	if err != nil {
		return err.Error()
	}
	defer syscall.Munmap(private)
	private[0] ^= 1
	private[0] ^= 1
	sum := sha256.Sum256(mapped)
	if string(sum[:]) != string(read.Sum(nil)) || sha256.Sum256(private) != sum {
		return "read and mmap differ"
	}
	return fmt.Sprintf("%x", sum[:8])
}

func line(path, name string, info fs.FileInfo) string {
	stat := info.Sys().(*syscall.Stat_t)
	text := fmt.Sprintf("%q mode=%o uid=%d gid=%d", name, stat.Mode, stat.Uid, stat.Gid)
	if name != "." { // the guest's own folders are in its root
		text += fmt.Sprintf(" links=%d mtime=%d.%09d", stat.Nlink, stat.Mtim.Sec, stat.Mtim.Nsec)
	}
	switch stat.Mode & syscall.S_IFMT {
	case syscall.S_IFREG:
		text += fmt.Sprintf(" size=%d %s", stat.Size, contents(path, stat.Size))
		text += attributes(path)
	case syscall.S_IFLNK:
		target, err := os.Readlink(path)
		text += fmt.Sprintf(" -> %q %v", target, err)
	case syscall.S_IFCHR, syscall.S_IFBLK:
		text += fmt.Sprintf(" rdev=%#x", stat.Rdev)
	case syscall.S_IFDIR:
		text += attributes(path)
	}
	return text
}

func main() {
	root := os.Args[1]
	skip := map[string]bool{"dev": true, "proc": true, "sys": true, "tmp": true, "etc": true, "root": true,
		"run": true, "var": true, "home": true}
	out := bufio.NewWriter(os.Stdout)
	defer out.Flush()
	filepath.WalkDir(root, func(path string, entry fs.DirEntry, err error) error {
		name, _ := filepath.Rel(root, path)
		if err != nil {
			fmt.Fprintf(out, "%q %v\n", name, err)
			return nil
		}
		if skip[name] {
			return fs.SkipDir
		}
		info, err := entry.Info()
		if err != nil {
			fmt.Fprintf(out, "%q %v\n", name, err)
			return nil
		}
		fmt.Fprintln(out, line(path, name, info))
		return nil
	})
}
