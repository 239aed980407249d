// SPDX-License-Identifier: MIT

// Netserve is the server that bench/network.py loads: HTTP, echo, discard and chargen (the ports of RFC
// 862 to 864), all at once. Over HTTP it also serves a file, tells how much memory is free, and times
// round trips over its own loopback.
package main

import (
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"os"
	"runtime"
	"strings"
	"syscall"
	"time"
)

func serve(port string, each func(net.Conn)) {
	listener, err := net.Listen("tcp", ":"+port)
	if err != nil {
		log.Fatal(err)
	}
	go func() {
		for {
			c, err := listener.Accept()
			if err != nil {
				log.Fatal(err)
			}
			go each(c)
		}
	}()
}

func echo(c net.Conn) {
	defer c.Close()
	buffer := make([]byte, 4096)
	for {
		n, err := c.Read(buffer)
		if err != nil {
			return
		}
		if _, err = c.Write(buffer[:n]); err != nil {
			return
		}
	}
}

// What arrives until the peer says that it was all; the answer is how much that was.
func discard(c net.Conn) {
	defer c.Close()
	buffer := make([]byte, 128<<10)
	total := 0
	for {
		n, err := c.Read(buffer)
		total += n
		if err == io.EOF {
			break
		}
		if err != nil {
			return
		}
	}
	fmt.Fprintln(c, total)
}

func generate(c net.Conn) {
	defer c.Close()
	buffer := make([]byte, 128<<10)
	for i := range buffer {
		buffer[i] = byte(i * 7)
	}
	for {
		if _, err := c.Write(buffer); err != nil {
			return
		}
	}
}

func echoDatagrams() {
	c, err := net.ListenUDP("udp", &net.UDPAddr{Port: 7})
	if err != nil {
		log.Fatal(err)
	}
	buffer := make([]byte, 2048)
	for {
		n, from, err := c.ReadFromUDPAddrPort(buffer)
		if err != nil {
			log.Fatal(err)
		}
		c.WriteToUDPAddrPort(buffer[:n], from)
	}
}

// Nanoseconds of a round trip of one byte between two goroutines.
func loopback(w http.ResponseWriter, r *http.Request) {
	c, err := net.Dial("tcp", "127.0.0.1:7")
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	defer c.Close()
	buffer := make([]byte, 1)
	count := 0
	start := time.Now()
	for time.Since(start) < time.Second {
		c.Write(buffer)
		if _, err := c.Read(buffer); err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
		count++
	}
	fmt.Fprintln(w, time.Since(start).Nanoseconds()/int64(count))
}

// KiB that are free, and that the program has of the system.
func memory(w http.ResponseWriter, r *http.Request) {
	var info syscall.Sysinfo_t
	syscall.Sysinfo(&info)
	var own runtime.MemStats
	runtime.ReadMemStats(&own)
	fmt.Fprintln(w, info.Freeram*uint64(max(info.Unit, 1))>>10, own.Sys>>10)
}

// http.FileServer with a file of 64 KiB in the memory file system.
func files() http.Handler {
	const folder, end = "/tmp/files", "the end of the file\n"
	err := os.MkdirAll(folder, 0o755)
	if err == nil {
		err = os.WriteFile(folder+"/64KiB", []byte(strings.Repeat("-", 64<<10-len(end))+end), 0o644)
	}
	if err != nil {
		log.Fatal(err)
	}
	return http.StripPrefix("/files/", http.FileServer(http.Dir(folder)))
}

func main() {
	serve("7", echo)
	serve("9", discard)
	serve("19", generate)
	go echoDatagrams()
	http.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, "Hello, world\n") })
	http.Handle("/files/", files())
	http.HandleFunc("/loopback", loopback)
	http.HandleFunc("/memory", memory)
	listener, err := net.Listen("tcp", ":8080")
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println("ready")
	log.Fatal(http.Serve(listener, nil))
}
