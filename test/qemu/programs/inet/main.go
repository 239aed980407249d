// SPDX-License-Identifier: MIT

// Inet checks itself: servers and clients in one machine over loopback, by the net package's own
// means. Each check says "NAME ok" or what was wrong. With the argument "serve" it is a web server
// instead, for clients outside.
package main

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"sync"
	"syscall"
	"time"
)

func must[T any](value T, err error) T {
	if err != nil {
		panic(err)
	}
	return value
}

func want(condition bool, format string, arguments ...any) {
	if !condition {
		panic(fmt.Sprintf(format, arguments...))
	}
}

func listen(address string) net.Listener {
	return must(net.Listen("tcp", address))
}

// pair is both ends of a connection.
func pair(address string) (client, server *net.TCPConn) {
	l := listen(address)
	defer l.Close()
	client = must(net.Dial("tcp", l.Addr().String())).(*net.TCPConn)
	return client, must(l.Accept()).(*net.TCPConn)
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

func web() {
	l := listen(":0") // both families
	port := l.Addr().(*net.TCPAddr).Port
	go http.Serve(l, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprint(w, r.URL.Path)
	}))
	for _, host := range []string{"127.0.0.1", "127.1.2.3", "[::1]", "[::ffff:127.0.0.1]"} {
		for i := 0; i < 20; i++ { // on one connection: every request is a new event of an old edge
			reply := must(http.Get(fmt.Sprintf("http://%s:%d/%d", host, port, i)))
			body := must(io.ReadAll(reply.Body))
			reply.Body.Close()
			want(string(body) == fmt.Sprintf("/%d", i), "%s", body)
		}
	}
}

// crowd has 300 connections open at once, more than any pool or queue of a small stack.
func crowd() {
	l := listen("127.0.0.1:0")
	defer l.Close()
	var clients []net.Conn
	for i := 0; i < 300; i++ { // nobody accepts yet
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

func fails(err error, text string) {
	want(err != nil && strings.HasSuffix(err.Error(), text), "%v, not %s", err, text)
}

func failures() {
	_, err := net.Dial("tcp", "127.0.0.1:9")
	fails(err, "connect: connection refused")
	_, err = net.Dial("tcp", "[::1]:9")
	fails(err, "connect: connection refused")
	_, err = net.Dial("tcp", "198.51.100.1:9")
	fails(err, "connect: network is unreachable")
	l := listen("127.0.0.1:0")
	_, err = net.Listen("tcp", l.Addr().String())
	fails(err, "bind: address already in use")
	_, err = net.Listen("tcp", "198.51.100.1:0")
	fails(err, "bind: cannot assign requested address")
	l.Close()

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

// aborted connections in the queue must not end a server (trap 20).
func aborted() {
	l := listen("127.0.0.1:0")
	defer l.Close()
	for i := 0; i < 20; i++ {
		c := must(net.Dial("tcp", l.Addr().String())).(*net.TCPConn)
		c.SetLinger(0)
		c.Close()
	}
	last := must(net.Dial("tcp", l.Addr().String()))
	want(must(last.Write([]byte("here"))) == 4, "write")
	for {
		c, err := l.Accept()
		want(err == nil, "accept: %v", err)
		b := make([]byte, 4)
		n, _ := io.ReadFull(c, b)
		c.Close()
		if n == 4 {
			return
		}
	}
}

// proxied bytes go from one connection to another (trap 21: splice).
func proxied() {
	left, leftEnd := pair("127.0.0.1:0")
	right, rightEnd := pair("127.0.0.1:0")
	go func() {
		io.Copy(right, leftEnd)
		right.CloseWrite()
	}()
	data := bytes.Repeat([]byte("0123456789abcdef"), 100000)
	go func() {
		left.Write(data)
		left.CloseWrite()
	}()
	want(bytes.Equal(must(io.ReadAll(rightEnd)), data), "other bytes")
}

func datagrams(network, address string) {
	server := must(net.ListenPacket(network, address))
	client := must(net.Dial(network, server.LocalAddr().String()))
	b := make([]byte, 70000)
	for _, size := range []int{0, 1, 1400, 9000, 65000} {
		must(client.Write(bytes.Repeat([]byte{7}, size)))
		n, from, err := server.ReadFrom(b)
		want(err == nil && n == size && from.String() == client.LocalAddr().String(), "%d %v %v", n, from, err)
		must(server.WriteTo(b[:n], from))
		n, err = client.Read(b)
		want(err == nil && n == size, "%d %v", n, err)
	}
	_, err := client.Write(make([]byte, 66000))
	fails(err, "message too long")
	server.Close()
	must(client.Write([]byte("x")))
	_, err = client.Read(b)
	fails(err, "read: connection refused")
	client.Close()
}

// echo asks this machine itself by an ICMP socket.
func echo() {
	fd := must(syscall.Socket(syscall.AF_INET, syscall.SOCK_DGRAM, syscall.IPPROTO_ICMP))
	defer syscall.Close(fd)
	request := []byte{8, 0, 0, 0, 0, 0, 0, 1, 'h', 'i'}
	to := &syscall.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}
	if err := syscall.Sendto(fd, request, 0, to); err != nil {
		panic(err)
	}
	reply := make([]byte, 100)
	n, _, err := syscall.Recvfrom(fd, reply, 0)
	want(err == nil && n == len(request) && reply[0] == 0 && string(reply[8:n]) == "hi", "%v %v", reply[:max(n, 0)], err)
}

func options() {
	client, server := pair("127.0.0.1:0")
	defer client.Close()
	defer server.Close()
	client.SetKeepAliveConfig(net.KeepAliveConfig{Enable: true, Idle: 30 * time.Second, Interval: 5 * time.Second, Count: 3})
	raw := must(client.SyscallConn())
	raw.Control(func(fd uintptr) {
		get := func(level, name int) int { return must(syscall.GetsockoptInt(int(fd), level, name)) }
		want(get(syscall.IPPROTO_TCP, syscall.TCP_NODELAY) == 1, "nodelay")
		want(get(syscall.IPPROTO_TCP, syscall.TCP_KEEPIDLE) == 30, "keepidle")
		want(get(syscall.IPPROTO_TCP, syscall.TCP_KEEPINTVL) == 5, "keepintvl")
		want(get(syscall.IPPROTO_TCP, syscall.TCP_KEEPCNT) == 3, "keepcnt")
		want(get(syscall.IPPROTO_IP, syscall.IP_TTL) == 64, "ttl")
		want(get(syscall.SOL_SOCKET, syscall.SO_ERROR) == 0, "error")
	})
	_, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_STREAM, 262) // IPPROTO_MPTCP (trap 22)
	want(err == syscall.EPROTONOSUPPORT, "mptcp: %v", err)
}

func serve() {
	http.HandleFunc("/bytes", func(w http.ResponseWriter, r *http.Request) {
		block := bytes.Repeat([]byte("0123456789abcdef"), 4096)
		for i := 0; i < 256; i++ {
			w.Write(block)
		}
	})
	http.HandleFunc("/sum", func(w http.ResponseWriter, r *http.Request) {
		sum := sha256.New()
		n, err := io.Copy(sum, r.Body)
		fmt.Fprintf(w, "%d %v %x", n, err, sum.Sum(nil))
	})
	http.HandleFunc("/end", func(w http.ResponseWriter, r *http.Request) { os.Exit(0) })
	http.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, "hello "+r.URL.Path) })
	l := listen(":8080")
	fmt.Println("serving")
	panic(http.Serve(l, nil))
}

func main() {
	if len(os.Args) > 1 && os.Args[1] == "serve" {
		serve()
	}
	for _, check := range []struct {
		name string
		run  func()
	}{
		{"bulk4", func() { bulk("127.0.0.1:0") }},
		{"bulk6", func() { bulk("[::1]:0") }},
		{"web", web},
		{"crowd", crowd},
		{"failures", failures},
		{"aborted", aborted},
		{"proxied", proxied},
		{"udp4", func() { datagrams("udp4", "127.0.0.1:0") }},
		{"udp6", func() { datagrams("udp6", "[::1]:0") }},
		{"echo", echo},
		{"options", options},
	} {
		func() {
			defer func() {
				if wrong := recover(); wrong != nil {
					fmt.Println(check.name, "failed:", wrong)
					return
				}
				fmt.Println(check.name, "ok")
			}()
			check.run()
		}()
	}
}
