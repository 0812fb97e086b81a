//go:build unix

package private_test

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/budgetmem/budgetmem/internal/private"
)

func TestModes(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "a", "b")
	if err := private.Dir(dir); err != nil {
		t.Fatal(err)
	}
	fresh, old := filepath.Join(dir, "new.db"), filepath.Join(dir, "old.db")
	for _, name := range []string{old, old + "-wal"} {
		if err := os.WriteFile(name, []byte("data"), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	for _, name := range []string{fresh, old} {
		if err := private.File(name); err != nil {
			t.Fatal(err)
		}
	}
	for name, want := range map[string]os.FileMode{dir: 0o700, fresh: 0o600, old: 0o600, old + "-wal": 0o600} {
		info, err := os.Stat(name)
		if err != nil || info.Mode().Perm() != want {
			t.Errorf("%s has mode %v (%v), want %v", name, info.Mode().Perm(), err, want)
		}
	}
	if data, err := os.ReadFile(old); string(data) != "data" {
		t.Errorf("the file holds %q, %v", data, err)
	}
	if err := private.File(filepath.Join(dir, "none", "x")); err == nil {
		t.Error("made a file in a folder that is not there")
	}
}
