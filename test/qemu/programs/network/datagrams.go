// SPDX-License-Identifier: MIT

package main

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"syscall"
	"time"

	"golang.org/x/net/icmp"
	"golang.org/x/net/ipv4"
	"golang.org/x/net/ipv6"
	"golang.org/x/sys/unix"
)

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

// flows: sockets that share a port by SO_REUSEPORT all get datagrams, those of one sender the same.
func flows() {
	config := net.ListenConfig{Control: sharing}
	counts := make(chan int)
	for i := range 4 {
		c := must(config.ListenPacket(nil, "udp4", "127.0.0.1:7778"))
		defer c.Close()
		go func() {
			b := make([]byte, 10)
			for {
				if _, _, err := c.ReadFrom(b); err != nil {
					return
				}
				counts <- i
			}
		}()
	}
	var got [4]int
	for range 64 {
		c := must(net.Dial("udp4", "127.0.0.1:7778"))
		must(c.Write([]byte("x")))
		first := <-counts
		must(c.Write([]byte("x")))
		want(<-counts == first, "one sender's datagrams went to two sockets")
		got[first]++
		c.Close()
	}
	want(min(got[0], got[1], got[2], got[3]) > 0, "%v", got)
}

// groups: multicast over loopback, for IPv4 and IPv6; both members hear it once, and nobody who has left.
func groups() {
	loopback := must(net.InterfaceByName("lo"))
	for _, network := range []string{"udp4", "udp6"} {
		group := &net.UDPAddr{IP: net.ParseIP("224.0.0.250"), Port: 7779}
		if network == "udp6" {
			group = &net.UDPAddr{IP: net.ParseIP("ff02::1234"), Port: 7780, Zone: "lo"}
		}
		first := must(net.ListenMulticastUDP(network, loopback, group))
		second := must(net.ListenMulticastUDP(network, loopback, group))
		sender := must(net.ListenPacket(network, ""))
		if network == "udp4" {
			p := ipv4.NewPacketConn(sender)
			want(p.SetMulticastInterface(loopback) == nil, "interface")
		} else {
			p := ipv6.NewPacketConn(sender)
			want(p.SetMulticastInterface(loopback) == nil, "interface")
		}
		b := make([]byte, 100)
		for i := range 3 {
			text := fmt.Sprint("message ", i)
			must(sender.WriteTo([]byte(text), group))
			for _, member := range []*net.UDPConn{first, second} {
				member.SetReadDeadline(time.Now().Add(time.Minute))
				n, _, err := member.ReadFrom(b)
				want(err == nil && string(b[:n]) == text, "%s: %q, %v", network, b[:n], err)
			}
		}
		first.SetReadDeadline(time.Now().Add(20 * time.Millisecond))
		n, _, err := first.ReadFrom(b)
		want(err != nil, "%s: %q came twice", network, b[:n])
		first.Close()
		second.Close()
		sender.Close()
	}
}

// sources: members of a group that want to hear one sender only, or all but one.
func sources() {
	loopback := must(net.InterfaceByName("lo"))
	group := &net.UDPAddr{IP: net.IPv4(224, 0, 0, 251), Port: 7782}
	sender := must(net.ListenPacket("udp4", "127.0.0.1:0"))
	defer sender.Close()
	want(ipv4.NewPacketConn(sender).SetMulticastInterface(loopback) == nil, "interface")
	c := must(net.ListenPacket("udp4", "224.0.0.251:7782"))
	defer c.Close()
	member := ipv4.NewPacketConn(c)
	one, other := &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)}, &net.UDPAddr{IP: net.IPv4(127, 0, 0, 9)}
	for i, step := range []struct {
		change func() error
		hears  bool
	}{
		{func() error { return member.JoinSourceSpecificGroup(loopback, group, other) }, false},
		{func() error { return member.JoinSourceSpecificGroup(loopback, group, one) }, true},
		{func() error { return member.LeaveSourceSpecificGroup(loopback, group, other) }, true},
		{func() error { return member.LeaveSourceSpecificGroup(loopback, group, one) }, false},
		{func() error { return member.JoinGroup(loopback, group) }, true},
		{func() error { return member.ExcludeSourceSpecificGroup(loopback, group, one) }, false},
		{func() error { return member.IncludeSourceSpecificGroup(loopback, group, one) }, true},
	} {
		err := step.change()
		want(err == nil, "step %d: %v", i, err)
		must(sender.WriteTo([]byte{byte(i)}, group))
		patience := 20 * time.Millisecond
		if step.hears {
			patience = time.Minute
		}
		b := make([]byte, 10)
		c.SetReadDeadline(time.Now().Add(patience))
		n, _, err := c.ReadFrom(b)
		want((err == nil) == step.hears, "step %d: %v, %v", i, b[:n], err)
		want(!step.hears || b[0] == byte(i), "step %d heard %d", i, b[0])
	}
	err := member.LeaveSourceSpecificGroup(loopback, group, one)
	want(errors.Is(err, syscall.EINVAL) || errors.Is(err, syscall.EADDRNOTAVAIL), "%v", err)
}

// pathMTU: what the path takes is told, and what is larger may not go in pieces (RFC 3542, 11).
func pathMTU() {
	server := must(net.ListenPacket("udp6", "[::1]:0"))
	defer server.Close()
	c := must(net.Dial("udp6", server.LocalAddr().String())).(*net.UDPConn)
	defer c.Close()
	mtu := must(ipv6.NewConn(c).PathMTU())
	size := must(net.InterfaceByName("lo")).MTU
	want(mtu == size, "%d", mtu)
	p := ipv6.NewPacketConn(c)
	want(p.SetControlMessage(ipv6.FlagPathMTU, true) == nil, "IPV6_RECVPATHMTU")
	control(c, func(fd int) {
		want(unix.SetsockoptInt(fd, unix.IPPROTO_IPV6, unix.IPV6_DONTFRAG, 1) == nil, "IPV6_DONTFRAG")
	})
	must(c.Write(make([]byte, size-48)))
	_, err := c.Write(make([]byte, size-47))
	fails(err, "message too long")
	n, told, _, err := p.ReadFrom(make([]byte, 10))
	want(err == nil && n == 0 && told != nil && told.MTU == size, "%d %v %v", n, told, err)
}

// ping asks this machine itself by an ICMP datagram socket.
func ping() {
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

// raw: ICMP for both families by raw sockets, with a filter, and packets whose header the program makes.
func raw() {
	four := must(icmp.ListenPacket("ip4:icmp", "127.0.0.1"))
	defer four.Close()
	echo(four, 1, ipv4.ICMPTypeEcho, ipv4.ICMPTypeEchoReply, &net.IPAddr{IP: net.IPv4(127, 0, 0, 1)})
	six := must(icmp.ListenPacket("ip6:ipv6-icmp", "::1"))
	defer six.Close()
	var filter ipv6.ICMPFilter
	filter.SetAll(true)
	filter.Accept(ipv6.ICMPTypeEchoReply)
	want(six.IPv6PacketConn().SetICMPFilter(&filter) == nil, "filter")
	echo(six, 58, ipv6.ICMPTypeEchoRequest, ipv6.ICMPTypeEchoReply, &net.IPAddr{IP: net.IPv6loopback})

	packets := must(net.ListenPacket("ip4:200", "127.0.0.1"))
	defer packets.Close()
	own := must(ipv4.NewRawConn(packets))
	header := &ipv4.Header{Version: 4, Len: 20, TotalLen: 25, TTL: 9, Protocol: 200, Dst: net.IPv4(127, 0, 0, 1)}
	want(own.WriteTo(header, []byte("hello"), nil) == nil, "write")
	packets.SetReadDeadline(time.Now().Add(time.Minute))
	got, payload, _, err := own.ReadFrom(make([]byte, 100))
	want(err == nil && got.TTL == 9 && string(payload) == "hello", "%v %q %v", got, payload, err)
}

func echo(c *icmp.PacketConn, protocol int, request, answer icmp.Type, to net.Addr) {
	message := icmp.Message{Type: request, Body: &icmp.Echo{ID: 77, Seq: 1, Data: []byte("hi")}}
	must(c.WriteTo(must(message.Marshal(nil)), to))
	c.SetReadDeadline(time.Now().Add(time.Minute))
	b := make([]byte, 200)
	for {
		n, _, err := c.ReadFrom(b)
		want(err == nil, "%v: %v", request, err)
		got := must(icmp.ParseMessage(protocol, b[:n]))
		if got.Type == answer {
			body := got.Body.(*icmp.Echo)
			want(body.ID == 77 && string(body.Data) == "hi", "%v", body)
			return
		}
		want(protocol == 1, "%v in spite of the filter", got.Type)
	}
}
