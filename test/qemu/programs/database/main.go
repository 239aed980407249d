// SPDX-License-Identifier: MIT

// Database uses SQLite (in pure Go) as programs do, and prints what came of it, so that the kernel
// below can be compared with Linux:
//
//	database make FILE        writes a database
//	database read FILE        reads it, opened read-only
//	database write FOLDER     makes databases with every kind of journal, by several connections at once
package main

import (
	"database/sql"
	"fmt"
	"os"
	"path/filepath"
	"sync"

	_ "modernc.org/sqlite"
)

const rows = 2000

func must[T any](value T, err error) T {
	if err != nil {
		panic(err)
	}
	return value
}

func fill(db *sql.DB) {
	must(db.Exec("CREATE TABLE words (id INTEGER PRIMARY KEY, word TEXT, size INTEGER)"))
	tx := must(db.Begin())
	for i := range rows {
		must(tx.Exec("INSERT INTO words (word, size) VALUES (?, ?)", fmt.Sprintf("word-%d", i*7919%rows), i%17))
	}
	must(0, tx.Commit())
	must(db.Exec("CREATE INDEX by_word ON words (word)"))
}

func read(db *sql.DB) {
	var count, sum int
	must(0, db.QueryRow("SELECT count(*), sum(size) FROM words").Scan(&count, &sum))
	var id int
	must(0, db.QueryRow("SELECT id FROM words WHERE word = 'word-1234'").Scan(&id))
	var check string
	must(0, db.QueryRow("PRAGMA integrity_check").Scan(&check))
	fmt.Println(count, sum, id, check)
	list := must(db.Query("SELECT word, size FROM words WHERE size = 3 ORDER BY word DESC LIMIT 3"))
	for list.Next() {
		var word string
		var size int
		must(0, list.Scan(&word, &size))
		fmt.Println(word, size)
	}
	must(0, list.Close())
}

func write(folder string) {
	for _, mode := range []string{"DELETE", "TRUNCATE", "PERSIST", "MEMORY", "WAL"} {
		path := filepath.Join(folder, mode+".db")
		db := must(sql.Open("sqlite", "file:"+path+"?_pragma=busy_timeout(60000)&_pragma=journal_mode("+mode+")&_txlock=immediate"))
		fill(db)
		var have string
		must(0, db.QueryRow("PRAGMA journal_mode").Scan(&have))
		// A transaction that is taken back.
		tx := must(db.Begin())
		must(tx.Exec("DELETE FROM words"))
		must(0, tx.Rollback())
		var group sync.WaitGroup
		for worker := range 4 {
			group.Add(1)
			go func() {
				defer group.Done()
				for i := range 10 {
					must(db.Exec("INSERT INTO words (word, size) VALUES (?, ?)", fmt.Sprintf("worker-%d-%d", worker, i), 100))
				}
			}()
		}
		group.Wait()
		must(db.Exec("DELETE FROM words WHERE size = 5"))
		must(db.Exec("VACUUM"))
		must(0, db.Close())
		fmt.Println(mode, have)
		again := must(sql.Open("sqlite", path))
		read(again)
		must(0, again.Close())
	}
}

func main() {
	switch os.Args[1] {
	case "make":
		db := must(sql.Open("sqlite", os.Args[2]))
		fill(db)
		must(0, db.Close())
	case "read":
		db := must(sql.Open("sqlite", "file:"+os.Args[2]+"?mode=ro"))
		read(db)
		_, err := db.Exec("DELETE FROM words")
		fmt.Println(err)
		must(0, db.Close())
	case "write":
		write(os.Args[2])
	}
}
