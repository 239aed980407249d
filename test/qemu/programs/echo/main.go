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
	}
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
}
