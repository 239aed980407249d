// SPDX-License-Identifier: MIT

// Hello prints one line and ends with status 0.
package main

import "fmt"

func main() {
	fmt.Println("Hello from Go, and nothing but Go.")
}
