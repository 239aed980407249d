// SPDX-License-Identifier: MIT

// Linux_init is /init of the Linux guest that bench/run compares with: it runs the program that its
// arguments name, waits for it, and switches the machine off. What it writes around the program is
// marked with "init:". Where the kernel's command line says BENCH_IP and BENCH_IP6 (ADDRESS/LENGTH),
// which come as environment, eth0 gets these addresses.
package main

import (
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"time"
	"unsafe"
)

const sysFinitModule = 313

// Struct ifreq and in6_ifreq (netdevice(7), linux/ipv6.h).
type interfaceRequest struct {
	name  [16]byte
	value [24]byte
}

type address6Request struct {
	address [16]byte
	length  uint32
	index   int32
}

func control(family int, request uintptr, argument unsafe.Pointer) error {
	fd, err := syscall.Socket(family, syscall.SOCK_DGRAM, 0)
	if err != nil {
		return err
	}
	defer syscall.Close(fd)
	if _, _, errno := syscall.Syscall(syscall.SYS_IOCTL, uintptr(fd), request, uintptr(argument)); errno != 0 {
		return errno
	}
	return nil
}

func bringUp(name string) error {
	v4, err := netip.ParsePrefix(os.Getenv("BENCH_IP"))
	if err != nil {
		return err
	}
	v6, err := netip.ParsePrefix(os.Getenv("BENCH_IP6"))
	if err != nil {
		return err
	}
	// The address is nobody else's: it can be used at once.
	os.WriteFile("/proc/sys/net/ipv6/conf/"+name+"/accept_dad", []byte("0"), 0)
	loopback := interfaceRequest{name: [16]byte{'l', 'o'}, value: [24]byte{syscall.IFF_UP}}
	if err := control(syscall.AF_INET, syscall.SIOCSIFFLAGS, unsafe.Pointer(&loopback)); err != nil {
		return err
	}
	var request interfaceRequest
	copy(request.name[:], name)
	words := func(bytes []byte) {
		request.value = [24]byte{0: syscall.AF_INET}
		copy(request.value[4:], bytes)
	}
	words(v4.Addr().AsSlice())
	if err := control(syscall.AF_INET, syscall.SIOCSIFADDR, unsafe.Pointer(&request)); err != nil {
		return err
	}
	words(net.CIDRMask(v4.Bits(), 32))
	if err := control(syscall.AF_INET, syscall.SIOCSIFNETMASK, unsafe.Pointer(&request)); err != nil {
		return err
	}
	request.value = [24]byte{syscall.IFF_UP, syscall.IFF_MULTICAST >> 8}
	if err := control(syscall.AF_INET, syscall.SIOCSIFFLAGS, unsafe.Pointer(&request)); err != nil {
		return err
	}
	index, err := net.InterfaceByName(name)
	if err != nil {
		return err
	}
	request6 := address6Request{v6.Addr().As16(), uint32(v6.Bits()), int32(index.Index)}
	return control(syscall.AF_INET6, syscall.SIOCSIFADDR, unsafe.Pointer(&request6))
}

func main() {
	// Programs read these, and Debian's initramfs has them too. A failure shows in what the program
	// does.
	for _, m := range [][2]string{{"proc", "/proc"}, {"sysfs", "/sys"}, {"devtmpfs", "/dev"}} {
		os.MkdirAll(m[1], 0o755)
		syscall.Mount(m[0], m[1], m[0], 0, "")
	}
	// Drivers, in the order of their names, which is that of their needs.
	modules, _ := filepath.Glob("/module-*")
	for _, path := range modules {
		file, err := os.Open(path)
		if err == nil {
			_, _, errno := syscall.Syscall(sysFinitModule, file.Fd(), uintptr(unsafe.Pointer(&[1]byte{})), 0)
			if errno != 0 {
				err = errno
			}
			file.Close()
		}
		if err != nil {
			fmt.Println("init:", path, err)
		}
	}
	// Xen's devices come some time after their drivers.
	if path := os.Getenv("BENCH_WAIT"); path != "" {
		for range 1000 {
			if _, err := os.Stat(path); err == nil {
				break
			}
			time.Sleep(10 * time.Millisecond)
		}
	}
	if os.Getenv("BENCH_IP") != "" {
		if err := bringUp("eth0"); err != nil {
			fmt.Println("init:", err)
		}
	}
	status := 127
	if len(os.Args) > 1 {
		c := exec.Command(os.Args[1], os.Args[2:]...)
		c.Stdin, c.Stdout, c.Stderr = os.Stdin, os.Stdout, os.Stderr
		c.Env = append(os.Environ(), "HOME=/")
		if err := c.Run(); err != nil && c.ProcessState == nil {
			fmt.Println("init:", err)
		} else {
			status = c.ProcessState.ExitCode()
		}
	}
	fmt.Println("init: status", status)
	syscall.Sync()
	// On a machine without ACPI the kernel restarts it instead, and QEMU's -no-reboot ends it.
	syscall.Reboot(syscall.LINUX_REBOOT_CMD_RESTART)
	select {}
}
