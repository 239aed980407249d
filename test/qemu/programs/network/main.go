// SPDX-License-Identifier: MIT

// Network checks itself: servers and clients in one machine over loopback, by the means of the net
// package and of golang.org/x/net. Each check says "NAME ok" or what was wrong. With arguments it is a
// server for clients outside, or a client (client.go).
package main

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
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

func fails(err error, text string) {
	want(err != nil && strings.HasSuffix(err.Error(), text), "%v, not %s", err, text)
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

func serve() {
	http.HandleFunc("/bytes", func(w http.ResponseWriter, r *http.Request) {
		block := bytes.Repeat([]byte("0123456789abcdef"), 4096)
		count := 256
		fmt.Sscan(r.FormValue("blocks"), &count)
		for range count {
			w.Write(block)
		}
	})
	http.HandleFunc("/sum", func(w http.ResponseWriter, r *http.Request) {
		sum := sha256.New()
		n, err := io.Copy(sum, r.Body)
		fmt.Fprintf(w, "%d %v %x", n, err, sum.Sum(nil))
	})
	http.HandleFunc("/print", func(w http.ResponseWriter, r *http.Request) {
		go fmt.Println(strings.Repeat("again and ", 5000) + "printed")
	})
	http.HandleFunc("/end", func(w http.ResponseWriter, r *http.Request) { os.Exit(0) })
	http.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, "hello "+r.URL.Path) })
	l := listen(":8080")
	fmt.Println("serving")
	panic(http.Serve(l, nil))
}

func main() {
	if len(os.Args) > 1 {
		command(os.Args[1:])
		return
	}
	for _, check := range []struct {
		name string
		run  func()
	}{
		{"interfaces", interfaces},
		{"bulk4", func() { bulk("127.0.0.1:0") }},
		{"bulk6", func() { bulk("[::1]:0") }},
		{"crowd", crowd},
		{"failures", failures},
		{"proxy", proxy},
		{"files", files},
		{"families", families},
		{"window", window},
		{"turns", turns},
		{"options", options},
		{"edges", edges},
		{"hangup", hangup},
		{"pollable", pollable},
		{"aborted", aborted},
		{"udp4", func() { datagrams("udp4", "127.0.0.1:0") }},
		{"udp6", func() { datagrams("udp6", "[::1]:0") }},
		{"flows", flows},
		{"groups", groups},
		{"sources", sources},
		{"path mtu", pathMTU},
		{"ping", ping},
		{"raw", raw},
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
