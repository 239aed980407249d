// SPDX-License-Identifier: MIT

// Services by third-party packages: servers and clients in one program over loopback, and clients of a
// real Redis and PostgreSQL elsewhere. Each check prints its name, or the program ends with what is
// wrong.
package main

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"fmt"
	"math/big"
	"net"
	"net/http"
	"os"
	"strings"
	"time"

	"github.com/gorilla/websocket"
	"github.com/jackc/pgx/v5"
	"github.com/miekg/dns"
	"github.com/redis/go-redis/v9"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/health"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
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

func webSocket() {
	upgrader := websocket.Upgrader{}
	server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		c := must(upgrader.Upgrade(w, r, nil))
		defer c.Close()
		for {
			kind, message, err := c.ReadMessage()
			if err != nil {
				return
			}
			c.WriteMessage(kind, bytes.ToUpper(message))
		}
	})}
	listener := must(net.Listen("tcp", "[::1]:0"))
	go server.Serve(listener)
	defer server.Close()
	c, _, err := websocket.DefaultDialer.Dial("ws://"+listener.Addr().String(), nil)
	expect(err == nil, "%v", err)
	defer c.Close()
	for i := range 50 {
		text := strings.Repeat("x", i*i*10+1)
		expect(c.WriteMessage(websocket.TextMessage, []byte(text)) == nil, "write")
		_, answer, err := c.ReadMessage()
		expect(err == nil && string(answer) == strings.ToUpper(text), "%d: %v", i, err)
	}
}

// One unary call after the other, and a stream that the server writes to.
func rpc() {
	listener := must(net.Listen("tcp", "127.0.0.1:0"))
	server := grpc.NewServer(grpc.Creds(credentials.NewServerTLSFromCert(&cert)))
	status := health.NewServer()
	healthpb.RegisterHealthServer(server, status)
	go server.Serve(listener)
	defer server.Stop()
	connection := must(grpc.NewClient(listener.Addr().String(),
		grpc.WithTransportCredentials(credentials.NewClientTLSFromCert(pool, ""))))
	defer connection.Close()
	client := healthpb.NewHealthClient(connection)
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	for range 50 {
		answer := must(client.Check(ctx, &healthpb.HealthCheckRequest{}))
		expect(answer.Status == healthpb.HealthCheckResponse_SERVING, "%v", answer)
	}
	stream := must(client.Watch(ctx, &healthpb.HealthCheckRequest{}))
	must(stream.Recv())
	for i := range 20 {
		want := healthpb.HealthCheckResponse_ServingStatus(1 + (i+1)%2)
		status.SetServingStatus("", want)
		answer := must(stream.Recv())
		expect(answer.Status == want, "%d: %v", i, answer)
	}
}

// A DNS server of our own over UDP and TCP, asked by its package's client and by Go's resolver, which
// sends its two questions back to back.
func names() {
	handler := dns.HandlerFunc(func(w dns.ResponseWriter, r *dns.Msg) {
		m := new(dns.Msg)
		m.SetReply(r)
		switch q := r.Question[0]; q.Qtype {
		case dns.TypeA:
			m.Answer = append(m.Answer, must(dns.NewRR(q.Name+" 60 A 192.0.2.1")))
		case dns.TypeAAAA:
			m.Answer = append(m.Answer, must(dns.NewRR(q.Name+" 60 AAAA 2001:db8::1")))
		}
		w.WriteMsg(m)
	})
	packets := must(net.ListenPacket("udp", "127.0.0.1:0"))
	listener := must(net.Listen("tcp", packets.LocalAddr().String()))
	udp := &dns.Server{PacketConn: packets, Handler: handler}
	tcp := &dns.Server{Listener: listener, Handler: handler}
	go udp.ActivateAndServe()
	go tcp.ActivateAndServe()
	defer udp.Shutdown()
	defer tcp.Shutdown()
	for _, network := range []string{"udp", "tcp"} {
		client := &dns.Client{Net: network, Timeout: time.Minute}
		question := new(dns.Msg)
		question.SetQuestion("example.test.", dns.TypeA)
		answer, _, err := client.Exchange(question, packets.LocalAddr().String())
		expect(err == nil && len(answer.Answer) == 1, "%s: %v", network, err)
	}
	resolver := &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, network, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, network, packets.LocalAddr().String())
	}}
	for range 20 {
		addresses := must(resolver.LookupHost(context.Background(), "example.test"))
		expect(len(addresses) == 2, "%v", addresses)
	}
}

func redisClient(address string) {
	ctx := context.Background()
	client := redis.NewClient(&redis.Options{Addr: address})
	defer client.Close()
	expect(client.Set(ctx, "key", "value", 0).Err() == nil, "set: %v", client.Ping(ctx).Err())
	expect(must(client.Get(ctx, "key").Result()) == "value", "get")
	pipe := client.Pipeline()
	for i := range 200 {
		pipe.Incr(ctx, fmt.Sprint("counter", i%10))
	}
	must(pipe.Exec(ctx))
	expect(must(client.Get(ctx, "counter3").Int()) == 20, "counters")
}

func postgresClient(url string) {
	ctx := context.Background()
	c := must(pgx.Connect(ctx, url))
	defer c.Close(ctx)
	must(c.Exec(ctx, "create temporary table numbers (n integer, square bigint)"))
	for i := range 50 {
		must(c.Exec(ctx, "insert into numbers values ($1, $2)", i, i*i))
	}
	var sum int
	expect(c.QueryRow(ctx, "select sum(square) from numbers").Scan(&sum) == nil && sum == 40425, "%d", sum)
}

func main() {
	checks := []struct {
		name string
		run  func()
	}{
		{"websocket", webSocket}, {"grpc", rpc}, {"dns", names},
	}
	if len(os.Args) > 1 {
		checks = nil
		for _, url := range os.Args[1:] {
			if strings.HasPrefix(url, "postgres:") {
				checks = append(checks, struct {
					name string
					run  func()
				}{"postgres", func() { postgresClient(url) }})
			} else {
				checks = append(checks, struct {
					name string
					run  func()
				}{"redis", func() { redisClient(url) }})
			}
		}
	}
	for _, check := range checks {
		check.run()
		fmt.Println(check.name)
	}
}
