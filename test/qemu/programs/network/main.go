// SPDX-License-Identifier: MIT

// The network as Go's own packages use it, over loopback. Each check prints its name, or the program
// ends with what is wrong.
package main

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"net/netip"
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

// A certificate for localhost, and a pool that trusts it.
func certificate() (tls.Certificate, *x509.CertPool) {
	key := must(ecdsa.GenerateKey(elliptic.P256(), rand.Reader))
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1),
		Subject:      pkix.Name{CommonName: "localhost"},
		DNSNames:     []string{"localhost"},
		IPAddresses:  []net.IP{net.IPv4(127, 0, 0, 1), net.IPv6loopback},
		NotBefore:    time.Now().Add(-time.Hour),
		NotAfter:     time.Now().Add(time.Hour),
		IsCA:         true, BasicConstraintsValid: true,
	}
	der := must(x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key))
	pool := x509.NewCertPool()
	pool.AddCert(must(x509.ParseCertificate(der)))
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, pool
}

var cert, pool = certificate()

func interfaces() {
	found := false
	for _, i := range must(net.Interfaces()) {
		for _, address := range must(i.Addrs()) {
			prefix := must(netip.ParsePrefix(address.String()))
			found = found || i.Flags&net.FlagLoopback != 0 && prefix.Addr().IsLoopback()
		}
	}
	expect(found, "no loopback")
}

func datagrams() {
	for _, address := range []string{"127.0.0.1:0", "[::1]:0"} {
		server := must(net.ListenPacket("udp", address)).(*net.UDPConn)
		go func() {
			buffer := make([]byte, 2000)
			for {
				n, from, err := server.ReadFromUDPAddrPort(buffer)
				if err != nil {
					return
				}
				server.WriteToUDPAddrPort(buffer[:n], from)
			}
		}()
		client := must(net.Dial("udp", server.LocalAddr().String()))
		buffer := make([]byte, 2000)
		for i := range 200 {
			client.Write(bytes.Repeat([]byte{byte(i)}, i*5))
			n := must(client.Read(buffer))
			expect(n == i*5, "%d bytes of %d", n, i*5)
		}
		client.Close()
		server.Close()
	}
}

// What Go says when things go wrong.
func failures() {
	listener := must(net.Listen("tcp", "127.0.0.1:0"))
	address := listener.Addr().String()
	_, err := net.Listen("tcp", address)
	expect(err != nil && err.Error() == "listen tcp "+address+": bind: address already in use", "%v", err)
	accepting := make(chan error)
	go func() {
		_, err := listener.Accept()
		accepting <- err
	}()
	time.Sleep(10 * time.Millisecond)
	listener.Close()
	expect(errors.Is(<-accepting, net.ErrClosed), "accept")
	_, err = net.Dial("tcp", address)
	expect(err != nil && err.Error() == "dial tcp "+address+": connect: connection refused", "%v", err)
	_, err = net.Dial("tcp", "127.0.0.1:notaport")
	expect(err != nil, "a port without a name")
	udp := must(net.Dial("udp", address))
	udp.Write([]byte("x"))
	udp.SetReadDeadline(time.Now().Add(time.Minute))
	_, err = udp.Read(make([]byte, 1))
	expect(errors.Is(err, syscall.ECONNREFUSED), "%v", err)
	listener = must(net.Listen("tcp", "127.0.0.1:0"))
	c := must(net.Dial("tcp", listener.Addr().String())).(*net.TCPConn)
	peer := must(listener.Accept()).(*net.TCPConn)
	c.SetReadDeadline(time.Now().Add(20 * time.Millisecond))
	_, err = c.Read(make([]byte, 1))
	expect(err != nil && strings.HasSuffix(err.Error(), ": i/o timeout"), "%v", err)
	c.SetReadDeadline(time.Time{})
	peer.SetLinger(0)
	peer.Close()
	_, err = c.Read(make([]byte, 1))
	expect(err != nil && strings.HasSuffix(err.Error(), ": connection reset by peer"), "%v", err)
	fd, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_STREAM, 262 /* IPPROTO_MPTCP */)
	expect(err == syscall.EPROTONOSUPPORT, "%d %v", fd, err)
}

// Bytes through a proxy that copies between two TCP connections, half-closed at the end.
func proxy() {
	back := must(net.Listen("tcp", "127.0.0.1:0"))
	front := must(net.Listen("tcp", ":0"))
	defer back.Close()
	defer front.Close()
	data := make([]byte, 4<<20)
	rand.Read(data)
	want := sha256.Sum256(data)
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
	expect(got == want, "wrong bytes")
}

// More connections at once than small pools hold, all accepted and answered.
func crowd() {
	const count = 600
	listener := must(net.Listen("tcp", "127.0.0.1:0"))
	defer listener.Close()
	go func() {
		for {
			c, err := listener.Accept()
			if err != nil {
				return
			}
			go func() {
				io.Copy(c, c)
				c.Close()
			}()
		}
	}()
	connections := make([]net.Conn, count)
	for i := range connections {
		connections[i] = must(net.Dial("tcp", listener.Addr().String()))
	}
	for i, c := range connections {
		fmt.Fprintf(c, "%04d", i)
	}
	for i, c := range connections {
		var answer [4]byte
		must(io.ReadFull(c, answer[:]))
		expect(string(answer[:]) == fmt.Sprintf("%04d", i), "%d: %q", i, answer)
		c.Close()
	}
}

// HTTP/1.1 and HTTP/2 over TLS, many requests at once on few connections.
func https() {
	handler := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprintf(w, "%s %s", r.Proto, r.URL.Path)
	})
	server := &http.Server{Handler: handler, TLSConfig: &tls.Config{Certificates: []tls.Certificate{cert}}}
	listener := must(net.Listen("tcp", "127.0.0.1:0"))
	go server.ServeTLS(listener, "", "")
	defer server.Close()
	for _, two := range []bool{false, true} {
		client := &http.Client{Transport: &http.Transport{
			TLSClientConfig: &tls.Config{RootCAs: pool}, ForceAttemptHTTP2: two}}
		proto := map[bool]string{false: "HTTP/1.1", true: "HTTP/2.0"}[two]
		var group sync.WaitGroup
		for i := range 32 {
			group.Add(1)
			go func() {
				defer group.Done()
				response := must(client.Get(fmt.Sprintf("https://%s/%d", listener.Addr(), i)))
				body := must(io.ReadAll(response.Body))
				response.Body.Close()
				expect(string(body) == fmt.Sprintf("%s /%d", proto, i), "%q", body)
			}()
		}
		group.Wait()
		client.CloseIdleConnections()
	}
}

func main() {
	for _, check := range []struct {
		name string
		run  func()
	}{
		{"interfaces", interfaces}, {"datagrams", datagrams}, {"failures", failures},
		{"proxy", proxy}, {"crowd", crowd}, {"https", https},
	} {
		check.run()
		fmt.Println(check.name)
	}
}
