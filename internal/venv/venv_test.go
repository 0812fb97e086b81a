package venv

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

func TestFoldersAboveTheWorkingFolder(t *testing.T) {
	root, err := filepath.EvalSymlinks(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	t.Setenv(Env, "")
	for _, dir := range []string{filepath.Join(root, "a", "b"), filepath.Join(root, ".venv", "bin")} {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	t.Chdir(filepath.Join(root, "a", "b"))
	if got := Folders(); !slices.Contains(got, filepath.Join(root, ".venv")) {
		t.Errorf("folders %q", got)
	}
	if _, err := Program("no-such-program"); err == nil || !strings.Contains(err.Error(), "make setup") {
		t.Errorf("a missing program: %v", err)
	}
	python := filepath.Join(root, ".venv", "bin", "budgetmem-test-program")
	if err := os.WriteFile(python, nil, 0o755); err != nil {
		t.Fatal(err)
	}
	if got, err := Program("budgetmem-test-program"); err != nil || got != python {
		t.Errorf("found %q, %v, want %q", got, err, python)
	}
}

func TestEnvReplacesTheSearch(t *testing.T) {
	t.Setenv(Env, "/elsewhere")
	if got := Folders(); !slices.Equal(got, []string{"/elsewhere"}) {
		t.Errorf("folders %q", got)
	}
}
