// SPDX-License-Identifier: MIT

// What a test may expect of the files around it, whether it runs here or on Linux.
package pkg

import (
	"debug/elf"
	"debug/gosym"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func expectFile(t *testing.T, path, want string) {
	t.Helper()
	if got, err := os.ReadFile(path); err != nil || string(got) != want {
		t.Errorf("%s: %q, %v", path, got, err)
	}
}

func TestWorkingFolder(t *testing.T) {
	expectFile(t, "testdata/input", "input\n")
	expectFile(t, "../other/file", "sibling\n")
	folder, err := os.Getwd()
	if err != nil || filepath.Base(folder) != "pkg" || folder != os.Getenv("PWD") {
		t.Errorf("working folder %s, %v", folder, err)
	}
}

// As `go test -update` of many packages does; the host's side looks for the files.
func TestGoldenFile(t *testing.T) {
	if err := os.WriteFile("testdata/golden", []byte("golden\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.Remove("testdata/stale"); err != nil {
		t.Fatal(err)
	}
}

func TestTemporaryFolder(t *testing.T) {
	path := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(path, []byte("temporary"), 0o600); err != nil {
		t.Fatal(err)
	}
	expectFile(t, path, "temporary")
}

func TestExecutable(t *testing.T) {
	path, err := os.Executable()
	if err != nil || path != os.Args[0] {
		t.Fatalf("%s, %v, argv[0] %s", path, err, os.Args[0])
	}
	if _, err := os.Stat(path); err != nil {
		t.Fatal(err)
	}
	file, err := elf.Open("/proc/self/exe")
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	lines, err := file.Section(".gopclntab").Data()
	if err != nil {
		t.Fatal(err)
	}
	table, err := gosym.NewTable(nil, gosym.NewLineTable(lines, file.Section(".text").Addr))
	if err != nil {
		t.Fatal(err)
	}
	if name := table.LookupFunc("main.main"); name == nil {
		t.Error("no main.main")
	}
	maps, err := os.ReadFile("/proc/self/maps")
	if err != nil || !strings.Contains(string(maps), path) {
		t.Errorf("%s is not in /proc/self/maps, %v:\n%s", path, err, maps)
	}
}

func TestTimeZone(t *testing.T) {
	if _, err := time.LoadLocation("Europe/Berlin"); err != nil {
		t.Error(err)
	}
}
