// SPDX-License-Identifier: MIT

// Files makes a page from a template and data in its root file system, with a style sheet that is
// embedded in the program:
//
//	unigornel run --fs root .
package main

import (
	"embed"
	"encoding/json"
	"fmt"
	"html/template"
	"io/fs"
	"os"
)

//go:embed style.css
var embedded embed.FS

type item struct {
	Name   string
	Amount int
}

func run() error {
	root := os.DirFS("/")
	bytes, err := fs.ReadFile(root, "data/items.json")
	if err != nil {
		return err
	}
	var items []item
	if err := json.Unmarshal(bytes, &items); err != nil {
		return err
	}
	style, err := fs.ReadFile(embedded, "style.css")
	if err != nil {
		return err
	}
	pages, err := template.ParseFS(root, "templates/*.html")
	if err != nil {
		return err
	}
	return pages.ExecuteTemplate(os.Stdout, "page.html", map[string]any{
		"Style": template.CSS(style),
		"Items": items,
	})
}

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "files:", err)
		os.Exit(1)
	}
}
