// SPDX-License-Identifier: MIT

// Idle prints a line and then sleeps: what the machine uses from then on is what an idle guest
// costs.
package main

import (
	"fmt"
	"time"
)

func main() {
	fmt.Println("idle")
	time.Sleep(time.Hour)
}
