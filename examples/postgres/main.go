// SPDX-License-Identifier: MIT

// Postgres fills a table in the database that its argument names (postgres://USER@HOST:PORT/DATABASE)
// and adds its squares up.
package main

import (
	"context"
	"fmt"
	"log"
	"os"

	"github.com/jackc/pgx/v5"
)

func main() {
	if len(os.Args) != 2 {
		log.Fatal("give the database's URL")
	}
	ctx := context.Background()
	c, err := pgx.Connect(ctx, os.Args[1])
	if err != nil {
		log.Fatal(err)
	}
	defer c.Close(ctx)
	if _, err := c.Exec(ctx, "create temporary table numbers (n integer, square bigint)"); err != nil {
		log.Fatal(err)
	}
	for i := range 50 {
		if _, err := c.Exec(ctx, "insert into numbers values ($1, $2)", i, i*i); err != nil {
			log.Fatal(err)
		}
	}
	var sum int
	if err := c.QueryRow(ctx, "select sum(square) from numbers").Scan(&sum); err != nil {
		log.Fatal(err)
	}
	fmt.Println("sum", sum)
}
