package atomicfile

import (
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
)

func TestWriteFileReplaces(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a.json")
	for _, want := range []string{"first", "", "third, longer than the others"} {
		if err := WriteFile(path, []byte(want), 0o640); err != nil {
			t.Fatal(err)
		}
		got, err := os.ReadFile(path)
		if err != nil || string(got) != want {
			t.Fatalf("read %q, %v; want %q", got, err, want)
		}
	}
	info, err := os.Stat(path)
	if err != nil || info.Mode().Perm() != 0o640 {
		t.Fatalf("mode %v, %v; want 0640", info.Mode(), err)
	}
	onlyFile(t, filepath.Dir(path), "a.json")
}

func TestFailedWriteKeepsOldFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a.json")
	if err := WriteFile(path, []byte("old"), 0o644); err != nil {
		t.Fatal(err)
	}
	broken := errors.New("disk on fire")
	err := Write(path, 0o644, func(w io.Writer) error {
		io.WriteString(w, "half of the n")
		return broken
	})
	if !errors.Is(err, broken) || !strings.Contains(err.Error(), path) {
		t.Fatalf("error %v; want it to wrap the cause and to name %s", err, path)
	}
	if got, _ := os.ReadFile(path); string(got) != "old" {
		t.Fatalf("file holds %q; want the old content", got)
	}
	onlyFile(t, filepath.Dir(path), "a.json")

	// A folder in the file's place makes the last step, the rename, fail.
	dir := filepath.Join(t.TempDir(), "d")
	if err := os.MkdirAll(filepath.Join(dir, "x"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := WriteFile(dir, []byte("new"), 0o644); err == nil {
		t.Fatal("replaced a folder by a file")
	}
	onlyFile(t, filepath.Dir(dir), "d")

	if err := WriteFile(filepath.Join(t.TempDir(), "missing", "a"), nil, 0o644); !errors.Is(err, os.ErrNotExist) {
		t.Fatalf("missing folder: %v; want os.ErrNotExist", err)
	}
}

// A reader beside many writers must only ever see one of the whole contents.
func TestReadersSeeWholeFiles(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a")
	contents := []string{strings.Repeat("a", 100_000), strings.Repeat("b", 50_000)}
	if err := WriteFile(path, []byte(contents[0]), 0o644); err != nil {
		t.Fatal(err)
	}
	var writers sync.WaitGroup
	for _, c := range contents {
		writers.Add(1)
		go func() {
			defer writers.Done()
			for range 20 {
				if err := WriteFile(path, []byte(c), 0o644); err != nil {
					t.Error(err)
				}
			}
		}()
	}
	done := make(chan struct{})
	go func() { writers.Wait(); close(done) }()
	for {
		got, err := os.ReadFile(path)
		if err != nil || (string(got) != contents[0] && string(got) != contents[1]) {
			t.Fatalf("read %d bytes, %v: not one of the written contents", len(got), err)
		}
		select {
		case <-done:
			onlyFile(t, filepath.Dir(path), "a")
			return
		default:
		}
	}
}

func TestRemoveTemporary(t *testing.T) {
	dir := t.TempDir()
	for _, name := range []string{"a", ".a.tmp-123", ".b.c.tmp-9", "x.tmp-1", ".a.tmp-", ".a.tmp-1x", ".tmp-1"} {
		if err := os.WriteFile(filepath.Join(dir, name), nil, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if err := RemoveTemporary(dir); err != nil {
		t.Fatal(err)
	}
	var left []string
	entries, err := os.ReadDir(dir)
	for _, e := range entries {
		left = append(left, e.Name())
	}
	if want := []string{".a.tmp-", ".a.tmp-1x", ".tmp-1", "a", "x.tmp-1"}; err != nil || !slices.Equal(left, want) {
		t.Errorf("%v, %v are left, want %v", left, err, want)
	}
	if err := RemoveTemporary(filepath.Join(dir, "none")); err != nil {
		t.Error(err)
	}
}

func onlyFile(t *testing.T, dir, name string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil || len(entries) != 1 || entries[0].Name() != name {
		t.Fatalf("folder holds %v, %v; want only %s", entries, err, name)
	}
}

// A file has no more rights than its folder, the umask and the file before it allow.
func TestRights(t *testing.T) {
	dir := t.TempDir()
	secret := filepath.Join(dir, "secret")
	if err := os.Mkdir(secret, 0o700); err != nil {
		t.Fatal(err)
	}
	kept := filepath.Join(dir, "kept")
	if err := os.WriteFile(kept, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]os.FileMode{filepath.Join(dir, "shared"): 0o644, filepath.Join(secret, "own"): 0o600, kept: 0o600} {
		if err := WriteFile(path, []byte("x"), 0o644); err != nil {
			t.Fatal(err)
		}
		if info, err := os.Stat(path); err != nil || info.Mode().Perm() != want {
			t.Errorf("%s has mode %v, %v; want %v", path, info.Mode(), err, want)
		}
	}
}
