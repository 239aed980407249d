// SPDX-License-Identifier: MIT

// Wx asks for memory that is writable and executable at once, in the ways there are, and prints
// what it is told; and shows that its own code cannot be written, and that data cannot be run.
package main

import (
	"fmt"
	"reflect"
	"runtime/debug"
	"syscall"
	"unsafe"
)

const (
	rw  = syscall.PROT_READ | syscall.PROT_WRITE
	rwx = rw | syscall.PROT_EXEC
)

func attempt(name string, f func()) {
	defer func() { fmt.Println(name, recover()) }()
	f()
}

func main() {
	debug.SetPanicOnFault(true)
	_, err := syscall.Mmap(-1, 0, 4096, rwx, syscall.MAP_PRIVATE|syscall.MAP_ANON)
	fmt.Println("mmap rwx:", err == syscall.EACCES, err)
	page, err := syscall.Mmap(-1, 0, 4096, rw, syscall.MAP_PRIVATE|syscall.MAP_ANON)
	fmt.Println("mmap rw:", err)
	err = syscall.Mprotect(page, rwx)
	fmt.Println("mprotect rwx:", err == syscall.EACCES, err)

	code := (*byte)(unsafe.Pointer(reflect.ValueOf(main).Pointer()))
	attempt("write to code:", func() { *code = 0xc3 })

	page[0] = 0xc3 // ret
	address := unsafe.Pointer(&page[0])
	function := unsafe.Pointer(&address)
	attempt("run data:", func() { (*(*func())(unsafe.Pointer(&function)))() })

	fmt.Println("mprotect rx:", syscall.Mprotect(page, syscall.PROT_READ|syscall.PROT_EXEC))
	attempt("run code:", func() { (*(*func())(unsafe.Pointer(&function)))() })
}
