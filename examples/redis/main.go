// SPDX-License-Identifier: MIT

// Redis counts in the Redis server that its argument names (HOST:PORT), one command at a time and 200
// at once.
package main

import (
	"context"
	"fmt"
	"log"
	"os"

	"github.com/redis/go-redis/v9"
)

func must[T any](value T, err error) T {
	if err != nil {
		log.Fatal(err)
	}
	return value
}

func main() {
	if len(os.Args) != 2 {
		log.Fatal("give the server's HOST:PORT")
	}
	ctx := context.Background()
	client := redis.NewClient(&redis.Options{Addr: os.Args[1]})
	defer client.Close()
	must(client.Del(ctx, "counter").Result())
	for range 10 {
		must(client.Incr(ctx, "counter").Result())
	}
	pipe := client.Pipeline()
	for range 200 {
		pipe.Incr(ctx, "counter")
	}
	must(pipe.Exec(ctx))
	fmt.Println("counter", must(client.Get(ctx, "counter").Int()))
}
