// SPDX-License-Identifier: MIT

package main

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"os"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// dial says how connections to each address begin.
func dial(patience time.Duration, addresses []string) {
	for _, address := range addresses {
		c, err := net.DialTimeout("tcp", address, patience)
		if err == nil {
			c.Close()
		}
		fmt.Println(err)
	}
}

// silence is a peer that is gone, with TCP_USER_TIMEOUT and with SO_LINGER.
func silence(address string) {
	const seconds = 2
	c := must(net.Dial("tcp", address)).(*net.TCPConn)
	control(c, func(fd int) { unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT, seconds*1000) })
	must(c.Write([]byte("lost")))
	begin := time.Now()
	_, err := c.Read(make([]byte, 1))
	took := time.Since(begin)
	want(took >= seconds*time.Second, "the connection ended after %v", took)
	fmt.Println(err)
	c.Close()
	c = must(net.Dial("tcp", address)).(*net.TCPConn)
	c.SetLinger(seconds)
	must(c.Write([]byte("lost")))
	begin = time.Now()
	c.Close()
	took = time.Since(begin)
	want(took >= seconds*time.Second, "close took %v", took)
	fmt.Println("closed")
}

// send sends numbered datagrams as fast as it can, the others after the answer to the first if it is to
// wait for one, and ends at once.
func send(address string, count int, wait bool) {
	c := must(net.Dial("udp", address))
	b := make([]byte, 1000)
	for i := range count {
		if wait && i == 1 {
			must(c.Read(make([]byte, len(b))))
		}
		binary.BigEndian.PutUint32(b, uint32(i))
		must(c.Write(b))
	}
	fmt.Println("sent")
}

// lookup asks the name servers, and says how long that took.
func lookup(name string) {
	begin := time.Now()
	addresses, err := new(net.Resolver).LookupHost(context.Background(), name)
	fmt.Println(len(addresses), err, time.Since(begin).Milliseconds())
}

// addresses says each address of the first device when it comes, and echoes by UDP until it is told to
// end.
func addresses() {
	c := must(net.ListenPacket("udp4", ":7"))
	go func() {
		for last := ""; ; time.Sleep(50 * time.Millisecond) {
			text := "none"
			for _, address := range must(must(net.InterfaceByName("eth0")).Addrs()) {
				if ip := address.(*net.IPNet).IP.To4(); ip != nil {
					text = ip.String()
				}
			}
			if text != last {
				fmt.Println("address", text)
			}
			last = text
		}
	}()
	b := make([]byte, 2000)
	for {
		n, from, err := c.ReadFrom(b)
		want(err == nil, "%v", err)
		must(c.WriteTo(b[:n], from))
		if string(b[:n]) == "end" {
			return
		}
	}
}

// configured says each address of the first device and each name server when they come, until there are
// as many as it is told; then what a name resolves to.
func configured(count int, name string) {
	said := map[string]bool{}
	for ; len(said) < count; time.Sleep(50 * time.Millisecond) {
		var found []string
		for _, address := range must(must(net.InterfaceByName("eth0")).Addrs()) {
			found = append(found, "address "+address.String())
		}
		for _, line := range strings.Split(string(must(os.ReadFile("/etc/resolv.conf"))), "\n") {
			if strings.HasPrefix(line, "nameserver ") {
				found = append(found, line)
			}
		}
		for _, text := range found {
			if !said[text] {
				fmt.Println(text)
			}
			said[text] = true
		}
	}
	lookup(name)
}

// names says what the machine is called and where it looks for names, and looks up its own.
func names() {
	name := must(os.Hostname())
	fmt.Println(name, must(net.LookupHost(name)), must(net.LookupHost("localhost")))
	for _, file := range []string{"/etc/resolv.conf", "/etc/nsswitch.conf"} {
		for _, line := range strings.Split(string(must(os.ReadFile(file))), "\n") {
			if fields := strings.Fields(line); len(fields) > 1 && (fields[0] == "nameserver" || fields[0] == "hosts:") {
				fmt.Println(strings.Join(fields, " "))
			}
		}
	}
}

// echo answers each connection with what comes, in small pieces and small memory.
func echoServer() {
	l := listen(":7")
	fmt.Println("serving")
	for {
		c := must(l.Accept())
		go func() {
			var b [16]byte
			for {
				n, err := c.Read(b[:])
				if err != nil {
					break
				}
				c.Write(b[:n])
			}
			c.Close()
		}()
	}
}

const echoPort = 7777

// answer sends datagrams back with the same bytes, until one says that it shall end.
func answer() {
	c := must(net.ListenPacket("udp", fmt.Sprint(":", echoPort)))
	fmt.Println("echoing")
	b := make([]byte, 1<<16)
	for {
		n, from, err := c.ReadFrom(b)
		want(err == nil, "%v", err)
		must(c.WriteTo(b[:n], from))
		if string(b[:n]) == "end" {
			return
		}
	}
}

// datagramsTo has an echo server answer at each of the hosts: datagrams of all sizes, also larger than a
// frame, and several at a time; the last one ends it.
func datagramsTo(hosts []string) {
	exchange := func(c net.Conn, size, count int) {
		for i := range count {
			b := bytes.Repeat([]byte{byte(i)}, size)
			must(c.Write(b))
		}
		seen := make([]bool, count)
		for range count {
			b := make([]byte, 1<<16)
			c.SetReadDeadline(time.Now().Add(30 * time.Second))
			n := must(c.Read(b))
			want(n == size && bytes.Count(b[:n], b[:1]) == n, "%d bytes for %d", n, size)
			if size != 0 {
				want(!seen[b[0]], "datagram %d came twice", b[0])
				seen[b[0]] = true
			}
		}
	}
	for _, host := range hosts {
		c := must(net.Dial("udp", net.JoinHostPort(host, fmt.Sprint(echoPort))))
		largest := 65507
		if strings.Contains(host, ":") {
			largest = 65487 // a packet here is at most 65535 bytes, header and all
		}
		for _, size := range []int{0, 1, 100, 1452, 1472, 1473, 2960, 4095, 4096, 4097, 9000, 33000, largest} {
			exchange(c, size, 1)
		}
		for range 20 {
			exchange(c, 1000, 16)
		}
		c.Close()
	}
	c := must(net.Dial("udp", net.JoinHostPort(hosts[0], fmt.Sprint(echoPort))))
	must(c.Write([]byte("end")))
	fmt.Println("all answered")
}

// command runs what the arguments name.
func command(words []string) {
	switch words[0] {
	case "serve":
		serve()
	case "dial":
		dial(must(time.ParseDuration(words[1])), words[2:])
	case "silence":
		silence(words[1])
	case "send", "flood":
		send(words[1], must(strconv.Atoi(words[2])), words[0] == "flood")
	case "lookup":
		lookup(words[1])
	case "configured":
		configured(must(strconv.Atoi(words[1])), words[2])
	case "names":
		names()
	case "echo":
		echoServer()
	case "addresses":
		addresses()
	case "answer":
		answer()
	case "datagrams":
		datagramsTo(words[1:])
	default:
		io.WriteString(os.Stderr, "no such command\n")
		os.Exit(2)
	}
}
