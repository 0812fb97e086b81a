//go:build unix

package main

import (
	"bufio"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
)

// diary counts what a torture test has done, by kind. In the long form it also notes in a file what has held, so that a test which
// was stopped goes on from there. The file's name has a digest of the test program: another program starts from nothing.
type diary struct {
	mu    sync.Mutex
	file  *os.File // nil in the short form
	held  map[string]bool
	count map[string]int
}

// entry is a line of a diary: what was done, and what of each kind.
type entry struct {
	Name  string         `json:"name"`
	Count map[string]int `json:"count"`
}

// openDiary opens a diary in the folder that tortureEnv names.
func openDiary(t *testing.T, name string) *diary {
	t.Helper()
	d := &diary{held: map[string]bool{}, count: map[string]int{}}
	dir := os.Getenv(tortureEnv)
	if dir == "" {
		return d
	}
	program, err := os.Open(os.Args[0])
	if err != nil {
		t.Fatal(err)
	}
	defer program.Close()
	digest := sha256.New()
	if _, err := io.Copy(digest, program); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, fmt.Sprintf("%s-%.6x.jsonl", name, digest.Sum(nil)))
	if d.file, err = os.OpenFile(path, os.O_CREATE|os.O_RDWR|os.O_APPEND, 0o600); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { d.file.Close() })
	lines := bufio.NewScanner(d.file)
	for lines.Scan() {
		var e entry
		if json.Unmarshal(lines.Bytes(), &e) == nil { // the last one may be cut
			d.add(e)
		}
	}
	t.Logf("%s: %d done before", path, len(d.held))
	return d
}

func (d *diary) long() bool { return d.file != nil }

func (d *diary) has(name string) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.held[name]
}

// add counts an entry. The caller holds the lock, or is the only one.
func (d *diary) add(e entry) {
	d.held[e.Name] = true
	for kind, n := range e.Count {
		d.count[kind] += n
	}
}

// note counts and writes down what was done and has held.
func (d *diary) note(t *testing.T, name string, count map[string]int) {
	d.mu.Lock()
	defer d.mu.Unlock()
	e := entry{name, count}
	d.add(e)
	if d.file == nil {
		return
	}
	line, err := json.Marshal(e)
	if err == nil {
		_, err = d.file.Write(append(line, '\n'))
	}
	if err != nil {
		t.Error(err)
	}
}

// summarise writes what was done, a line a kind.
func (d *diary) summarise(t *testing.T, title string) {
	t.Helper()
	var b strings.Builder
	fmt.Fprintf(&b, "torture: %s, %d held\n", title, len(d.held))
	for _, kind := range slices.Sorted(maps.Keys(d.count)) {
		fmt.Fprintf(&b, "%8d %s\n", d.count[kind], kind)
	}
	t.Log(b.String())
}
