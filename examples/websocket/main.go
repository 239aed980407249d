// SPDX-License-Identifier: MIT

// Websocket sends messages to the server that its argument names (ws://HOST:PORT/), which answers with
// them in capitals. With -listen it is the server; with neither it is both.
package main

import (
	"bytes"
	"flag"
	"fmt"
	"log"
	"net"
	"net/http"
	"strings"

	"github.com/gorilla/websocket"
)

func must[T any](value T, err error) T {
	if err != nil {
		log.Fatal(err)
	}
	return value
}

func serve(listener net.Listener) {
	upgrader := websocket.Upgrader{}
	log.Fatal(http.Serve(listener, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		c, err := upgrader.Upgrade(w, r, nil)
		if err != nil {
			return
		}
		defer c.Close()
		for {
			kind, message, err := c.ReadMessage()
			if err != nil {
				return
			}
			c.WriteMessage(kind, bytes.ToUpper(message))
		}
	})))
}

func talk(url string) {
	c, _, err := websocket.DefaultDialer.Dial(url, nil)
	if err != nil {
		log.Fatal(err)
	}
	defer c.Close()
	for i := range 50 { // of all sizes
		text := strings.Repeat("x", i*i*10+1)
		if err := c.WriteMessage(websocket.TextMessage, []byte(text)); err != nil {
			log.Fatal(err)
		}
		if _, answer, err := c.ReadMessage(); err != nil || string(answer) != strings.ToUpper(text) {
			log.Fatalf("message %d: %v", i, err)
		}
	}
	fmt.Println("50 messages")
}

func main() {
	address := flag.String("listen", "", "where to listen")
	flag.Parse()
	switch {
	case *address != "":
		serve(must(net.Listen("tcp", *address)))
	case flag.NArg() != 0:
		talk(flag.Arg(0))
	default:
		listener := must(net.Listen("tcp", "[::1]:0"))
		go serve(listener)
		talk("ws://" + listener.Addr().String())
	}
}
