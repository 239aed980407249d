// SPDX-License-Identifier: MIT

// Sigterm waits for the machine to be asked to stop, and ends with status 7 when it is.
package main

import (
	"fmt"
	"os"
	"os/signal"
	"syscall"
	"time"
)

func main() {
	asked := make(chan os.Signal, 1)
	signal.Notify(asked, syscall.SIGTERM)
	fmt.Println("ready")
	select {
	case s := <-asked:
		fmt.Println("got", s)
		os.Exit(7)
	case <-time.After(100 * time.Second):
		fmt.Println("nobody asked")
		os.Exit(1)
	}
}
