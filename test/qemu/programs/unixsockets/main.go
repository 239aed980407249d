// SPDX-License-Identifier: MIT

// Local sockets as Go programs use them: each check prints its name, or what is wrong.
package main

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/rpc"
	"os"
	"path/filepath"
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

func expect(ok bool, format string, values ...any) {
	if !ok {
		panic(fmt.Sprintf(format, values...))
	}
}

func path(name string) string {
	return filepath.Join(os.TempDir(), name)
}

// Bytes of many connections at once, each checked by its sum.
func transfer() {
	listener := must(net.Listen("unix", path("transfer")))
	defer listener.Close()
	go func() {
		for {
			c, err := listener.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				io.Copy(c, c)
			}()
		}
	}()
	data := bytes.Repeat([]byte("0123456789abcdef"), 1<<16)
	want := sha256.Sum256(data)
	var group sync.WaitGroup
	for range 16 {
		group.Add(1)
		go func() {
			defer group.Done()
			c := must(net.Dial("unix", listener.Addr().String())).(*net.UnixConn)
			defer c.Close()
			go func() {
				c.Write(data)
				c.CloseWrite()
			}()
			got := sha256.Sum256(must(io.ReadAll(c)))
			expect(got == want, "wrong bytes")
		}()
	}
	group.Wait()
}

func httpOverUnix() {
	listener := must(net.Listen("unix", path("http")))
	go http.Serve(listener, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprintf(w, "you asked for %s", r.URL.Path)
	}))
	client := &http.Client{Transport: &http.Transport{Dial: func(_, _ string) (net.Conn, error) {
		return net.Dial("unix", path("http"))
	}}}
	for i := range 50 {
		response := must(client.Get(fmt.Sprintf("http://unix/%d", i)))
		body := must(io.ReadAll(response.Body))
		response.Body.Close()
		expect(string(body) == fmt.Sprintf("you asked for /%d", i), "%q", body)
	}
	listener.Close()
	_, err := os.Stat(path("http"))
	expect(os.IsNotExist(err), "closing removes the name: %v", err)
}

type Arith int

func (*Arith) Add(args [2]int, sum *int) error {
	*sum = args[0] + args[1]
	return nil
}

func rpcOverPair() {
	fds := must(syscall.Socketpair(syscall.AF_UNIX, syscall.SOCK_STREAM, 0))
	var ends [2]net.Conn
	for i, fd := range fds {
		file := os.NewFile(uintptr(fd), "pair")
		ends[i] = must(net.FileConn(file))
		file.Close()
	}
	server := rpc.NewServer()
	server.Register(new(Arith))
	go server.ServeConn(ends[0])
	client := rpc.NewClient(ends[1])
	var sum int
	for i := range 200 {
		expect(client.Call("Arith.Add", [2]int{i, i}, &sum) == nil && sum == 2*i, "%d", sum)
	}
	client.Close()
}

// Datagrams with names, abstract names, and a reader that is slow.
func datagrams() {
	server := must(net.ListenUnixgram("unixgram", &net.UnixAddr{Name: "@server", Net: "unixgram"}))
	defer server.Close()
	client := must(net.DialUnix("unixgram", &net.UnixAddr{Name: path("client"), Net: "unixgram"},
		&net.UnixAddr{Name: "@server", Net: "unixgram"}))
	defer client.Close()
	go func() {
		for i := range 500 {
			fmt.Fprintf(client, "datagram %d", i)
		}
	}()
	buffer := make([]byte, 100)
	for i := range 500 {
		n, from, err := server.ReadFromUnix(buffer)
		expect(err == nil && string(buffer[:n]) == fmt.Sprintf("datagram %d", i) &&
			from.Name == path("client"), "%v %q from %v", err, buffer[:n], from)
		if i%50 == 0 {
			time.Sleep(time.Millisecond)
		}
	}
}

// An open file, a pipe's end and a socket go to another holder.
func rights() {
	fds := must(syscall.Socketpair(syscall.AF_UNIX, syscall.SOCK_STREAM, 0))
	reader, writer, err := os.Pipe()
	expect(err == nil, "%v", err)
	expect(syscall.Sendmsg(fds[0], []byte{1}, syscall.UnixRights(int(writer.Fd())), nil, 0) == nil, "sendmsg")
	writer.Close()
	data, oob := make([]byte, 1), make([]byte, 64)
	_, n, _, _, err := syscall.Recvmsg(fds[1], data, oob, 0)
	expect(err == nil, "%v", err)
	messages := must(syscall.ParseSocketControlMessage(oob[:n]))
	got := must(syscall.ParseUnixRights(&messages[0]))
	file := os.NewFile(uintptr(got[0]), "received")
	file.WriteString("through the copy")
	file.Close()
	text := string(must(io.ReadAll(reader)))
	expect(text == "through the copy", "%q", text)
	expect(syscall.SetsockoptInt(fds[1], syscall.SOL_SOCKET, syscall.SO_PASSCRED, 1) == nil, "SO_PASSCRED")
	syscall.Write(fds[0], []byte("x"))
	_, n, _, _, err = syscall.Recvmsg(fds[1], data, oob, 0)
	messages = must(syscall.ParseSocketControlMessage(oob[:n]))
	credentials := must(syscall.ParseUnixCredentials(&messages[0]))
	expect(credentials.Pid == int32(os.Getpid()) && credentials.Uid == 0, "%v", credentials)
	peer := must(syscall.GetsockoptUcred(fds[0], syscall.SOL_SOCKET, syscall.SO_PEERCRED))
	expect(*peer == *credentials, "%v", peer)
}

// What Go says when things go wrong.
func failures() {
	_, err := net.Dial("unix", path("nobody"))
	expect(strings.HasSuffix(err.Error(), "nobody: connect: no such file or directory"), "%v", err)
	listener := must(net.Listen("unix", path("taken")))
	_, err = net.Listen("unix", path("taken"))
	expect(strings.HasSuffix(err.Error(), "taken: bind: address already in use"), "%v", err)
	listener.(*net.UnixListener).SetUnlinkOnClose(false)
	listener.Close()
	_, err = net.Dial("unix", path("taken"))
	expect(errors.Is(err, syscall.ECONNREFUSED), "%v", err)
	listener = must(net.Listen("unix", path("deadline")))
	defer listener.Close()
	c := must(net.Dial("unix", path("deadline")))
	c.SetReadDeadline(time.Now().Add(10 * time.Millisecond))
	_, err = c.Read(make([]byte, 1))
	expect(errors.Is(err, os.ErrDeadlineExceeded), "%v", err)
	go func() {
		time.Sleep(5 * time.Millisecond)
		c.Close()
	}()
	c.SetReadDeadline(time.Time{})
	_, err = c.Read(make([]byte, 1))
	expect(errors.Is(err, net.ErrClosed), "%v", err)
	left := must(net.Dial("unix", path("deadline")))
	must(listener.Accept()).Close()
	must(listener.Accept()).Close()
	_, err = io.ReadAll(left)
	expect(err == nil, "%v", err)
	_, err = left.Write([]byte("x"))
	expect(errors.Is(err, syscall.EPIPE), "%v", err)
}

// An edge-triggered watch tells of each arrival, and of the end once.
func edges() {
	fds := must(syscall.Socketpair(syscall.AF_UNIX, syscall.SOCK_STREAM|syscall.SOCK_NONBLOCK, 0))
	epoll := must(syscall.EpollCreate1(0))
	const edge = 1 << 31
	event := syscall.EpollEvent{Events: syscall.EPOLLIN | syscall.EPOLLRDHUP | edge, Fd: int32(fds[0])}
	expect(syscall.EpollCtl(epoll, syscall.EPOLL_CTL_ADD, fds[0], &event) == nil, "epoll_ctl")
	events := make([]syscall.EpollEvent, 4)
	for range 3 {
		syscall.Write(fds[1], []byte("x"))
		n := must(syscall.EpollWait(epoll, events, 1000))
		expect(n == 1 && events[0].Events == syscall.EPOLLIN, "%d %v", n, events[0])
		n = must(syscall.EpollWait(epoll, events, 0))
		expect(n == 0, "again: %v", events[0])
	}
	syscall.Close(fds[1])
	n := must(syscall.EpollWait(epoll, events, 1000))
	const end = syscall.EPOLLIN | syscall.EPOLLRDHUP | syscall.EPOLLHUP
	expect(n == 1 && events[0].Events == end, "%d %#x", n, events[0].Events)
	n = must(syscall.EpollWait(epoll, events, 20))
	expect(n == 0, "the end twice: %v", events[0])
	file := must(os.Create(path("regular")))
	err := syscall.EpollCtl(epoll, syscall.EPOLL_CTL_ADD, int(file.Fd()), &event)
	expect(err == syscall.EPERM, "a regular file: %v", err)
}

func main() {
	for _, check := range []struct {
		name string
		run  func()
	}{
		{"transfer", transfer}, {"http", httpOverUnix}, {"rpc", rpcOverPair}, {"datagrams", datagrams},
		{"rights", rights}, {"failures", failures}, {"edges", edges},
	} {
		check.run()
		fmt.Println(check.name)
	}
}
