// SPDX-License-Identifier: MIT

// Echo sends back what the first connection sends, until it closes.
package main

import (
	"fmt"
	"io"
	"net"
	"os"
)

func main() {
	listener, err := net.Listen("tcp", ":7")
	if err == nil {
		fmt.Println("listening")
		var connection net.Conn
		if connection, err = listener.Accept(); err == nil {
			// Without the interfaces that would hand the copy to the kernel.
			_, err = io.Copy(struct{ io.Writer }{connection}, struct{ io.Reader }{connection})
			connection.Close()
		}
		// The machine's end drops what is not sent yet: the client says when it has all.
		if err == nil {
			_, err = listener.Accept()
		}
	}
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
}
