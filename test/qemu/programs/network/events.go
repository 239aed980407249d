// SPDX-License-Identifier: MIT

package main

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"syscall"
	"time"
)

// watch is an epoll set with one edge-triggered descriptor.
func watch(fd int) int {
	set := must(syscall.EpollCreate1(0))
	event := syscall.EpollEvent{Events: syscall.EPOLLIN | syscall.EPOLLOUT | syscall.EPOLLRDHUP | 1<<31, Fd: int32(fd)}
	if err := syscall.EpollCtl(set, syscall.EPOLL_CTL_ADD, fd, &event); err != nil {
		panic(err)
	}
	return set
}

// next is what epoll reports within 50 ms, 0 for nothing.
func next(set int) uint32 {
	var events [1]syscall.EpollEvent
	for {
		n, err := syscall.EpollWait(set, events[:], 50)
		if err == syscall.EINTR {
			continue
		}
		want(err == nil, "%v", err)
		return events[0].Events * uint32(n)
	}
}

// edges: every arrival is an event of its own, also when the last one has not been read (trap 17), as
// each request on a kept connection of Go's needs it.
func edges() {
	client, server := pair("127.0.0.1:0")
	defer client.Close()
	defer server.Close()
	control(server, func(fd int) {
		set := watch(fd)
		defer syscall.Close(set)
		want(next(set) == syscall.EPOLLOUT, "not writable")
		for i := range 10 {
			want(next(set) == 0, "an event too many before %d", i)
			must(client.Write([]byte{byte(i)}))
			got := next(set)
			want(got&syscall.EPOLLIN != 0, "arrival %d gave %x", i, got)
		}
	})
	l := listen(":0") // both families
	defer l.Close()
	port := l.Addr().(*net.TCPAddr).Port
	go http.Serve(l, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprint(w, r.URL.Path)
	}))
	for _, host := range []string{"127.0.0.1", "127.1.2.3", "[::1]", "[::ffff:127.0.0.1]"} {
		for i := range 20 { // on one connection
			reply := must(http.Get(fmt.Sprintf("http://%s:%d/%d", host, port, i)))
			body := must(io.ReadAll(reply.Body))
			reply.Body.Close()
			want(string(body) == fmt.Sprintf("/%d", i), "%s", body)
		}
	}
}

// hangup: the end of one direction and of both is told, once (trap 18).
func hangup() {
	client, server := pair("127.0.0.1:0")
	control(server, func(fd int) {
		set := watch(fd)
		defer syscall.Close(set)
		next(set)
		client.CloseWrite()
		got := next(set)
		want(got&syscall.EPOLLRDHUP != 0 && got&syscall.EPOLLHUP == 0, "half-closed: %x", got)
		want(next(set) == 0, "the half close is told again")
		server.CloseWrite()
		got = next(set)
		want(got&syscall.EPOLLHUP != 0, "closed: %x", got)
		for i := 0; next(set) != 0; i++ {
			want(i < 3, "the hang-up is told for ever")
		}
	})
	client.Close()
	server.Close()
	client, server = pair("127.0.0.1:0")
	control(server, func(fd int) {
		set := watch(fd)
		defer syscall.Close(set)
		next(set)
		client.SetLinger(0)
		client.Close()
		got := next(set)
		want(got&(syscall.EPOLLERR|syscall.EPOLLHUP) == syscall.EPOLLERR|syscall.EPOLLHUP, "reset: %x", got)
	})
	server.Close()
}

// pollable: a regular file is not (trap 19).
func pollable() {
	file := must(os.CreateTemp("", ""))
	defer file.Close()
	set := must(syscall.EpollCreate1(0))
	defer syscall.Close(set)
	event := syscall.EpollEvent{Events: syscall.EPOLLIN}
	err := syscall.EpollCtl(set, syscall.EPOLL_CTL_ADD, int(file.Fd()), &event)
	want(err == syscall.EPERM, "%v", err)
}

// aborted connections in the queue must not end a server (trap 20).
func aborted() {
	l := listen("127.0.0.1:0")
	defer l.Close()
	for range 150 {
		c := must(net.Dial("tcp", l.Addr().String())).(*net.TCPConn)
		c.SetLinger(0)
		c.Close()
	}
	last := must(net.Dial("tcp", l.Addr().String()))
	last.SetDeadline(time.Now().Add(time.Minute))
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
