// SPDX-License-Identifier: MIT

// Netload is the host's side of the network benchmarks (bench/network.py). It makes its connections,
// warms up, prints "ready", and waits for a line; then it loads the guest and prints its numbers as
// `name value` lines and "done", and waits for another line before it closes anything, so that who
// counts the guest's instructions counts nothing else.
package main

import (
	"bufio"
	"bytes"
	"errors"
	"flag"
	"fmt"
	"io"
	"log"
	"net"
	"os"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"time"
)

var (
	host     = flag.String("host", "", "the guest's address")
	conns    = flag.Int("conns", 1, "connections, or UDP sockets")
	duration = flag.Duration("time", 3*time.Second, "how long")
	warm     = flag.Duration("warm", 500*time.Millisecond, "how long before that")
	mebibyte = flag.Int64("mib", 256, "bulk: how much")
)

const patience = 30 * time.Second

var input = bufio.NewReader(os.Stdin)

func step(say string) {
	fmt.Println(say)
	if _, err := input.ReadString('\n'); err != nil {
		os.Exit(1)
	}
}

func dial(port string) net.Conn {
	c, err := net.DialTimeout("tcp", net.JoinHostPort(*host, port), patience)
	if err != nil {
		log.Fatal(err)
	}
	return c
}

// Runs `once` in a loop on every one of `*conns` users for a while; the time of each.
func together(length time.Duration, once []func() error) (times []time.Duration, failed int) {
	var (
		lock sync.Mutex
		wait sync.WaitGroup
	)
	end := time.Now().Add(length)
	for _, f := range once {
		wait.Add(1)
		go func() {
			defer wait.Done()
			var own []time.Duration
			errs := 0
			for last := time.Now(); last.Before(end); {
				err := f()
				now := time.Now()
				if err != nil {
					errs++
				} else {
					own = append(own, now.Sub(last))
				}
				last = now
			}
			lock.Lock()
			times = append(times, own...)
			failed += errs
			lock.Unlock()
		}()
	}
	wait.Wait()
	return times, failed
}

func load(once []func() error) {
	together(*warm, once)
	step("ready")
	start := time.Now()
	times, failed := together(*duration, once)
	seconds := time.Since(start).Seconds()
	fmt.Println("count", len(times))
	fmt.Println("failed", failed)
	fmt.Printf("rate %.1f\n", float64(len(times))/seconds)
	if len(times) != 0 {
		slices.Sort(times)
		for _, percent := range []int{50, 99, 100} {
			at := times[(len(times)-1)*percent/100]
			fmt.Printf("p%d %.4f\n", percent, float64(at.Nanoseconds())/1e6)
		}
	}
	step("done")
}

// An exchange asks for a path and gets an answer whose body has this end.
type exchange struct {
	request, end []byte
}

func newExchange(path, end string) exchange {
	return exchange{[]byte("GET " + path + " HTTP/1.1\r\nHost: guest\r\n\r\n"), []byte(end)}
}

// The length of an answer, from the first one; all others are as long.
func (e exchange) answerLength(c net.Conn) int {
	c.Write(e.request)
	buffer := make([]byte, 128<<10)
	got := 0
	for {
		n, err := c.Read(buffer[got:])
		if err != nil {
			log.Fatal(err)
		}
		got += n
		if bytes.HasSuffix(buffer[:got], e.end) {
			return got
		}
	}
}

func (e exchange) once(c net.Conn, answer []byte) error {
	c.SetDeadline(time.Now().Add(patience))
	if _, err := c.Write(e.request); err != nil {
		return err
	}
	if _, err := io.ReadFull(c, answer); err != nil {
		return err
	}
	if !bytes.HasPrefix(answer, []byte("HTTP/1.1 200 OK\r\n")) || !bytes.HasSuffix(answer, e.end) {
		log.Fatalf("a wrong answer: %q", answer)
	}
	return nil
}

func (e exchange) load() {
	var once []func() error
	length := 0
	for range *conns {
		c := dial("8080")
		if length == 0 {
			length = e.answerLength(c)
		}
		answer := make([]byte, length)
		once = append(once, func() error {
			err := e.once(c, answer)
			if err != nil { // what is still to come on this connection is no answer to the next request
				c.Close()
				c = dial("8080")
			}
			return err
		})
	}
	load(once)
}

var hello = newExchange("/", "\r\n\r\nHello, world\n")

func httpHello() { hello.load() }

// A file of 64 KiB from http.FileServer.
func httpFile() { newExchange("/files/64KiB", "the end of the file\n").load() }

func echoOnce(c net.Conn, buffer []byte) error {
	if _, err := c.Write(buffer); err != nil {
		return err
	}
	_, err := io.ReadFull(c, buffer)
	return err
}

func requestResponse() {
	var once []func() error
	for range *conns {
		c := dial("7")
		buffer := make([]byte, 1)
		once = append(once, func() error { return echoOnce(c, buffer) })
	}
	load(once)
}

func connectRequestClose() {
	buffer := make([]byte, 1)
	load([]func() error{func() error {
		c := dial("7")
		err := echoOnce(c, buffer)
		c.Close()
		return err
	}})
}

func udpEcho() {
	var once []func() error
	for range *conns {
		c, err := net.Dial("udp", net.JoinHostPort(*host, "7"))
		if err != nil {
			log.Fatal(err)
		}
		buffer := make([]byte, 64)
		answer := make([]byte, 2048)
		number := 0
		once = append(once, func() error {
			number++
			copy(buffer, strconv.Itoa(number)+" ")
			c.SetDeadline(time.Now().Add(time.Second))
			if _, err := c.Write(buffer); err != nil {
				return err
			}
			for {
				n, err := c.Read(answer)
				if err != nil || bytes.Equal(answer[:n], buffer) {
					return err
				}
			}
		})
	}
	load(once)
}

func bulkIn() {
	c := dial("9")
	buffer := make([]byte, 128<<10)
	size := *mebibyte << 20
	step("ready")
	start := time.Now()
	for left := size; left > 0; left -= int64(len(buffer)) {
		if _, err := c.Write(buffer); err != nil {
			log.Fatal(err)
		}
	}
	c.(*net.TCPConn).CloseWrite()
	answer, err := io.ReadAll(c)
	if err != nil || string(answer) != fmt.Sprintln(size) {
		log.Fatalf("answer %q, %v", answer, err)
	}
	fmt.Printf("rate %.1f\n", float64(*mebibyte)/time.Since(start).Seconds())
	step("done")
}

func bulkOut() {
	c := dial("19")
	buffer := make([]byte, 256<<10)
	size := *mebibyte << 20
	step("ready")
	start := time.Now()
	for left := size; left > 0; {
		n, err := c.Read(buffer)
		if err != nil {
			log.Fatal(err)
		}
		left -= int64(n)
	}
	fmt.Printf("rate %.1f\n", float64(*mebibyte)/time.Since(start).Seconds())
	step("done")
}

const atOnce = 64

// Calls `f` for each number below `*conns`, 64 at a time; the rest is not tried when that many failed.
func each(f func(int) error) (failed int64) {
	var wait sync.WaitGroup
	tickets := make(chan struct{}, atOnce)
	for i := range *conns {
		tickets <- struct{}{}
		if atomic.LoadInt64(&failed) >= atOnce {
			atomic.AddInt64(&failed, 1)
			<-tickets
			continue
		}
		wait.Add(1)
		go func() {
			defer wait.Done()
			if err := f(i); err != nil {
				if atomic.AddInt64(&failed, 1) == 1 {
					fmt.Fprintln(os.Stderr, "netload:", err)
				}
			}
			<-tickets
		}()
	}
	wait.Wait()
	return failed
}

func idle() {
	all := make([]net.Conn, *conns)
	failed := each(func(i int) (err error) {
		all[i], err = net.DialTimeout("tcp", net.JoinHostPort(*host, "8080"), patience)
		return err
	})
	fmt.Println("unmade", failed)
	step("ready")
	start := time.Now()
	unanswered := each(func(i int) error {
		if all[i] == nil {
			return errors.New("no connection")
		}
		return hello.once(all[i], make([]byte, len("HTTP/1.1 200 OK\r\n")+len("Date: Mon, 02 Jan 2006 15:04:05 GMT\r\n")+
			len("Content-Length: 13\r\n")+len("Content-Type: text/plain; charset=utf-8\r\n")+len("\r\nHello, world\n")))
	})
	fmt.Println("unanswered", unanswered)
	fmt.Printf("seconds %.2f\n", time.Since(start).Seconds())
	step("done")
}

func main() {
	log.SetFlags(0)
	log.SetPrefix("netload: ")
	flag.Parse()
	loads := map[string]func(){
		"http": httpHello, "file": httpFile, "rr": requestResponse, "crc": connectRequestClose, "udp": udpEcho,
		"in": bulkIn, "out": bulkOut, "idle": idle,
	}
	f := loads[flag.Arg(0)]
	if f == nil || *host == "" {
		log.Fatal("usage: netload -host ADDRESS [OPTIONS] http|file|rr|crc|udp|in|out|idle")
	}
	f()
}
