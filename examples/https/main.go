// SPDX-License-Identifier: MIT

// Https gets the address that its argument names, trusting the system's CA certificates, and prints
// what comes back. With -listen it serves HTTP/1.1 and HTTP/2 over TLS instead, under a certificate
// that it makes at the start. With neither it is both, many requests at once.
package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"flag"
	"fmt"
	"io"
	"log"
	"math/big"
	"net"
	"net/http"
	"os"
	"sync"
	"time"
)

func must[T any](value T, err error) T {
	if err != nil {
		log.Fatal(err)
	}
	return value
}

// certificate makes one for this machine.
func certificate() tls.Certificate {
	key := must(ecdsa.GenerateKey(elliptic.P256(), rand.Reader))
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1),
		Subject:      pkix.Name{CommonName: "localhost"},
		DNSNames:     []string{"localhost"},
		IPAddresses:  []net.IP{net.IPv4(127, 0, 0, 1), net.IPv6loopback},
		NotBefore:    time.Now().Add(-time.Hour),
		NotAfter:     time.Now().Add(24 * time.Hour),
		IsCA:         true, BasicConstraintsValid: true,
	}
	der := must(x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key))
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key, Leaf: must(x509.ParseCertificate(der))}
}

func handle(w http.ResponseWriter, r *http.Request) {
	fmt.Fprintf(w, "%s %s", r.Proto, r.URL.Path)
}

func serve(listener net.Listener, cert tls.Certificate) {
	server := &http.Server{Handler: http.HandlerFunc(handle), TLSConfig: &tls.Config{Certificates: []tls.Certificate{cert}}}
	log.Fatal(server.ServeTLS(listener, "", ""))
}

func get(client *http.Client, url string) string {
	response := must(client.Get(url))
	defer response.Body.Close()
	return string(must(io.ReadAll(response.Body)))
}

// both is a server and its client, which trusts the server's certificate.
func both() {
	cert := certificate()
	pool := x509.NewCertPool()
	pool.AddCert(cert.Leaf)
	listener := must(net.Listen("tcp", "localhost:0"))
	go serve(listener, cert)
	for _, version := range []string{"HTTP/1.1", "HTTP/2.0"} {
		client := &http.Client{Transport: &http.Transport{
			TLSClientConfig: &tls.Config{RootCAs: pool}, ForceAttemptHTTP2: version == "HTTP/2.0", MaxConnsPerHost: 8}}
		var group sync.WaitGroup
		for i := range 32 {
			group.Go(func() {
				body := get(client, fmt.Sprintf("https://%s/%d", listener.Addr(), i))
				if body != fmt.Sprintf("%s /%d", version, i) {
					log.Fatalf("%q", body)
				}
			})
		}
		group.Wait()
		fmt.Println("32 answers by", version)
	}
}

func main() {
	address := flag.String("listen", "", "where to listen")
	flag.Parse()
	if *address != "" {
		serve(must(net.Listen("tcp", *address)), certificate())
	}
	if flag.NArg() == 0 {
		both()
		return
	}
	fmt.Fprintln(os.Stdout, get(http.DefaultClient, flag.Arg(0)))
}
