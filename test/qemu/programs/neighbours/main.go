// SPDX-License-Identifier: MIT

// Neighbours talks to a machine, and prints what the kernel has learned of it, by the library that
// programs read rtnetlink with: neighbours INTERFACE ADDRESS.
package main

import (
	"errors"
	"fmt"
	"net"
	"os"
	"strings"
	"syscall"
	"time"

	"github.com/vishvananda/netlink"
)

func must[T any](value T, err error) T {
	if err != nil {
		panic(err)
	}
	return value
}

func find(index, family int, address net.IP) *netlink.Neigh {
	for _, one := range must(netlink.NeighList(index, family)) {
		if one.IP.Equal(address) {
			return &one
		}
	}
	return nil
}

func main() {
	link := must(netlink.LinkByName(os.Args[1]))
	address := net.ParseIP(os.Args[2])
	family := netlink.FAMILY_V4
	if address.To4() == nil {
		family = netlink.FAMILY_V6
	}
	fmt.Println("before:", find(link.Attrs().Index, family, address) != nil)
	end := time.Now().Add(20 * time.Second)
	connection, err := net.Dial("udp", net.JoinHostPort(os.Args[2], "9"))
	for errors.Is(err, syscall.ENETUNREACH) && time.Now().Before(end) { // no address of its own yet
		time.Sleep(10 * time.Millisecond)
		connection, err = net.Dial("udp", net.JoinHostPort(os.Args[2], "9"))
	}
	must(connection, err)
	must(connection.Write([]byte("hello")))
	var one *netlink.Neigh
	for ; time.Now().Before(end); time.Sleep(10 * time.Millisecond) {
		one = find(link.Attrs().Index, family, address)
		if one != nil && one.State == netlink.NUD_REACHABLE {
			break
		}
	}
	fmt.Println("after:", one.State == netlink.NUD_REACHABLE, len(one.HardwareAddr), one.LinkIndex == link.Attrs().Index)
	fmt.Println("any family:", find(0, netlink.FAMILY_ALL, address) != nil)
	table := string(must(os.ReadFile("/proc/net/arp")))
	row := strings.Contains(table, address.String()+" ") && strings.Contains(table, "0x2 ") &&
		strings.Contains(table, one.HardwareAddr.String()) && strings.Contains(table, os.Args[1])
	fmt.Println("in the table:", row == (family == netlink.FAMILY_V4))
}
