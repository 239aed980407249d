// SPDX-License-Identifier: MIT

package main

import (
	"bytes"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"sync"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

func interfaces() {
	found := false
	for _, i := range must(net.Interfaces()) {
		for _, address := range must(i.Addrs()) {
			prefix := must(netip.ParsePrefix(address.String()))
			found = found || i.Flags&net.FlagLoopback != 0 && prefix.Addr().IsLoopback()
		}
	}
	want(found, "no loopback")
}

// bulk sends 16 MiB each way at once and compares the sums.
func bulk(address string) {
	const size = 16 << 20
	client, server := pair(address)
	data := make([]byte, size)
	for i := range data {
		data[i] = byte(i * 7 >> 3)
	}
	var group sync.WaitGroup
	group.Add(1)
	go func() {
		defer group.Done()
		must(io.Copy(server, server))
		server.CloseWrite()
	}()
	go func() {
		for at := 0; at < size; at += 50000 {
			must(client.Write(data[at:min(at+50000, size)]))
		}
		client.CloseWrite()
	}()
	sum := sha256.New()
	n := must(io.Copy(sum, client))
	group.Wait()
	wanted := sha256.Sum256(data)
	want(n == size && bytes.Equal(sum.Sum(nil), wanted[:]), "%d bytes came back", n)
	client.Close()
	server.Close()
}

// crowd has 600 connections open at once, more than any pool or queue of a small stack; nobody accepts
// before all are made.
func crowd() {
	l := listen("127.0.0.1:0")
	defer l.Close()
	var clients []net.Conn
	for range 600 {
		clients = append(clients, must(net.Dial("tcp", l.Addr().String())))
	}
	for range clients {
		c := must(l.Accept())
		go func() {
			io.Copy(c, c)
			c.Close()
		}()
	}
	for i, c := range clients {
		fmt.Fprintf(c, "%04d", i)
	}
	for i, c := range clients {
		var b [4]byte
		must(io.ReadFull(c, b[:]))
		want(string(b[:]) == fmt.Sprintf("%04d", i), "%s for %d", b, i)
		c.Close()
	}
}

// failures are what Go says when things go wrong.
func failures() {
	_, err := net.Dial("tcp", "127.0.0.1:9")
	want(err != nil && err.Error() == "dial tcp 127.0.0.1:9: connect: connection refused", "%v", err)
	_, err = net.Dial("tcp", "[::1]:9")
	fails(err, "connect: connection refused")
	_, err = net.Dial("tcp", "198.51.100.1:9")
	fails(err, "connect: network is unreachable")
	l := listen("127.0.0.1:0")
	_, err = net.Listen("tcp", l.Addr().String())
	want(err != nil && err.Error() == "listen tcp "+l.Addr().String()+": bind: address already in use", "%v", err)
	_, err = net.Listen("tcp", "198.51.100.1:0")
	fails(err, "bind: cannot assign requested address")
	accepting := make(chan error)
	go func() {
		_, err := l.Accept()
		accepting <- err
	}()
	time.Sleep(10 * time.Millisecond)
	l.Close()
	want(errors.Is(<-accepting, net.ErrClosed), "accept")

	client, server := pair("127.0.0.1:0")
	server.SetLinger(0)
	server.Close()
	_, err = client.Read(make([]byte, 1))
	fails(err, "read: connection reset by peer")
	client.Close()

	client, server = pair("127.0.0.1:0")
	client.SetReadDeadline(time.Now().Add(20 * time.Millisecond))
	_, err = client.Read(make([]byte, 1))
	want(errors.Is(err, os.ErrDeadlineExceeded), "%v", err)
	fails(err, ": i/o timeout")
	server.Close()
	client.SetReadDeadline(time.Time{})
	_, err = client.Read(make([]byte, 1))
	want(err == io.EOF, "%v", err)
	for err = nil; err == nil; { // the first write is answered by a reset
		_, err = client.Write([]byte("x"))
	}
	want(errors.Is(err, syscall.EPIPE) || errors.Is(err, syscall.ECONNRESET), "%v", err)
	client.Close()
}

// proxy copies between two connections, half-closed at the end: trap 21, splice.
func proxy() {
	back, front := listen("127.0.0.1:0"), listen(":0")
	defer back.Close()
	defer front.Close()
	data := make([]byte, 4<<20)
	rand.Read(data)
	wanted := sha256.Sum256(data)
	go func() {
		c := must(back.Accept())
		io.Copy(c, bytes.NewReader(must(io.ReadAll(c))))
		c.Close()
	}()
	go func() {
		from := must(front.Accept()).(*net.TCPConn)
		to := must(net.Dial("tcp", back.Addr().String())).(*net.TCPConn)
		go func() {
			io.Copy(to, from)
			to.CloseWrite()
		}()
		io.Copy(from, to)
		from.Close()
	}()
	c := must(net.Dial("tcp", fmt.Sprintf("localhost:%d", front.Addr().(*net.TCPAddr).Port))).(*net.TCPConn)
	go func() {
		must(c.Write(data))
		c.CloseWrite()
	}()
	got := sha256.Sum256(must(io.ReadAll(c)))
	want(got == wanted, "wrong bytes")
}

// files: what is sent from an open file (sendfile), and from several buffers at once (writev).
func files() {
	data := make([]byte, 3<<20+77)
	rand.Read(data)
	name := os.TempDir() + "/sent"
	want(os.WriteFile(name, data, 0o600) == nil, "no file")
	defer os.Remove(name)
	client, server := pair("127.0.0.1:0")
	go func() {
		must(io.Copy(server, must(os.Open(name))))
		buffers := net.Buffers{data[:1], nil, data[1:70000], data[70000:]}
		must(buffers.WriteTo(server))
		server.Close()
	}()
	got := must(io.ReadAll(client))
	client.Close()
	want(bytes.Equal(got, append(bytes.Clone(data), data...)), "%d other bytes", len(got))
}

// families: a socket for both takes IPv4 and IPv6, and says which it was; one for IPv6 alone leaves IPv4
// to another on the same port.
func families() {
	l := listen("[::]:0")
	defer l.Close()
	packets := must(net.ListenPacket("udp", "[::]:0"))
	defer packets.Close()
	for _, host := range []string{"127.0.0.1", "::1"} {
		c := must(net.Dial("tcp", fmt.Sprintf("[%s]:%d", host, l.Addr().(*net.TCPAddr).Port)))
		peer := must(l.Accept())
		want(peer.RemoteAddr().String() == c.LocalAddr().String(), "%v, not %v", peer.RemoteAddr(), c.LocalAddr())
		peer.Close()
		c.Close()
		c = must(net.Dial("udp", fmt.Sprintf("[%s]:%d", host, packets.LocalAddr().(*net.UDPAddr).Port)))
		must(c.Write([]byte("x")))
		_, from, err := packets.ReadFrom(make([]byte, 10))
		want(err == nil && from.String() == c.LocalAddr().String(), "%v, not %v: %v", from, c.LocalAddr(), err)
		c.Close()
	}
	six := must(net.Listen("tcp6", "[::]:7781"))
	defer six.Close()
	four := must(net.Listen("tcp4", "0.0.0.0:7781"))
	defer four.Close()
	must(net.Dial("tcp4", "127.0.0.1:7781")).Close()
	must(four.Accept()).Close()
}

// control calls a function with the descriptor of a connection or listener.
func control(c syscall.Conn, f func(fd int)) {
	must(c.SyscallConn()).Control(func(fd uintptr) { f(int(fd)) })
}

// window: both ends scale their windows, an accepted connection as well (trap 24).
func window() {
	client, server := pair("127.0.0.1:0")
	defer client.Close()
	defer server.Close()
	for _, c := range []*net.TCPConn{client, server} {
		control(c, func(fd int) {
			info := must(unix.GetsockoptTCPInfo(fd, unix.IPPROTO_TCP, unix.TCP_INFO))
			scale := *(*uint8)(unsafe.Add(unsafe.Pointer(info), unsafe.Offsetof(info.Options)+1))
			want(info.Options&4 != 0 && scale&15 != 0 && scale>>4 != 0, "options %x, scales %x", info.Options, scale)
		})
	}
}

func sharing(network, address string, c syscall.RawConn) (err error) {
	c.Control(func(fd uintptr) { err = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_REUSEPORT, 1) })
	return err
}

// turns: listeners that share a port by SO_REUSEPORT all get connections.
func turns() {
	config := net.ListenConfig{Control: sharing}
	address := "127.0.0.1:7777"
	counts := make(chan int)
	for i := range 4 {
		l := must(config.Listen(nil, "tcp", address))
		defer l.Close()
		go func() {
			for {
				c, err := l.Accept()
				if err != nil {
					return
				}
				c.Close()
				counts <- i
			}
		}()
	}
	var got [4]int
	for range 100 {
		c := must(net.Dial("tcp", address))
		got[<-counts]++
		c.Close()
	}
	want(min(got[0], got[1], got[2], got[3]) > 0, "%v", got)
}

func options() {
	client, server := pair("127.0.0.1:0")
	defer client.Close()
	defer server.Close()
	client.SetKeepAliveConfig(net.KeepAliveConfig{Enable: true, Idle: 30 * time.Second, Interval: 5 * time.Second, Count: 3})
	control(client, func(fd int) {
		get := func(level, name int) int { return must(syscall.GetsockoptInt(fd, level, name)) }
		want(get(syscall.IPPROTO_TCP, syscall.TCP_NODELAY) == 1, "nodelay")
		want(get(syscall.IPPROTO_TCP, syscall.TCP_KEEPIDLE) == 30, "keepidle")
		want(get(syscall.IPPROTO_TCP, syscall.TCP_KEEPINTVL) == 5, "keepintvl")
		want(get(syscall.IPPROTO_TCP, syscall.TCP_KEEPCNT) == 3, "keepcnt")
		want(get(syscall.IPPROTO_IP, syscall.IP_TTL) == 64, "ttl")
		want(get(syscall.SOL_SOCKET, syscall.SO_ERROR) == 0, "error")
	})
	_, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_STREAM, 262) // IPPROTO_MPTCP: trap 22
	want(err == syscall.EPROTONOSUPPORT, "mptcp: %v", err)
	client.SetLinger(60) // close waits for the peer's acknowledgement, which comes at once
	begin := time.Now()
	must(client.Write(make([]byte, 1000)))
	client.Close()
	want(time.Since(begin) < 30*time.Second, "close took %v", time.Since(begin))
}
