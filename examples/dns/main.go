// SPDX-License-Identifier: MIT

// Dns looks up the names that its arguments are, by the system's name servers. With -listen it is a
// name server over UDP and TCP, which knows one name, example.test; with neither it asks its own
// server, over both and by Go's resolver.
package main

import (
	"context"
	"flag"
	"fmt"
	"log"
	"net"
	"time"

	"github.com/miekg/dns"
)

func must[T any](value T, err error) T {
	if err != nil {
		log.Fatal(err)
	}
	return value
}

func answer(w dns.ResponseWriter, r *dns.Msg) {
	m := new(dns.Msg)
	m.SetReply(r)
	q := r.Question[0]
	switch {
	case q.Name != "example.test.":
		m.Rcode = dns.RcodeNameError
	case q.Qtype == dns.TypeA:
		m.Answer = append(m.Answer, must(dns.NewRR(q.Name+" 60 A 192.0.2.1")))
	case q.Qtype == dns.TypeAAAA:
		m.Answer = append(m.Answer, must(dns.NewRR(q.Name+" 60 AAAA 2001:db8::1")))
	}
	w.WriteMsg(m)
}

// serve returns the address once both are there.
func serve(address string) string {
	packets := must(net.ListenPacket("udp", address))
	listener := must(net.Listen("tcp", packets.LocalAddr().String()))
	go func() {
		log.Fatal((&dns.Server{PacketConn: packets, Handler: dns.HandlerFunc(answer)}).ActivateAndServe())
	}()
	go func() {
		log.Fatal((&dns.Server{Listener: listener, Handler: dns.HandlerFunc(answer)}).ActivateAndServe())
	}()
	return listener.Addr().String()
}

func both() {
	address := serve("127.0.0.1:5300")
	for _, network := range []string{"udp", "tcp"} {
		client := &dns.Client{Net: network, Timeout: time.Minute}
		question := new(dns.Msg)
		question.SetQuestion("example.test.", dns.TypeA)
		reply, _, err := client.Exchange(question, address)
		if err != nil || len(reply.Answer) != 1 {
			log.Fatalf("%s: %v", network, err)
		}
		fmt.Println(network, reply.Answer[0])
	}
	// Go's resolver sends its two questions back to back.
	resolver := &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, network, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, network, address)
	}}
	for range 20 {
		if addresses := must(resolver.LookupHost(context.Background(), "example.test")); len(addresses) != 2 {
			log.Fatal(addresses)
		}
	}
	fmt.Println("20 lookups")
}

func main() {
	address := flag.String("listen", "", "where to listen")
	flag.Parse()
	if *address != "" {
		serve(*address)
		select {}
	}
	if flag.NArg() == 0 {
		both()
	}
	for _, name := range flag.Args() {
		fmt.Println(name, must(net.LookupHost(name)))
	}
}
