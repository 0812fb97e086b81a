package venv

import (
	"errors"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
)

// program writes an executable file, with the folders above it.
func program(t *testing.T, path string) string {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, nil, 0o755); err != nil {
		t.Fatal(err)
	}
	return path
}

// A folder that somebody is merely working in runs no code of its own.
func TestWorkingFolderIsNotSearched(t *testing.T) {
	t.Setenv(Env, "")
	root := t.TempDir()
	program(t, filepath.Join(root, ".venv", "bin", "python"))
	sub := filepath.Join(root, "sub")
	if err := os.Mkdir(sub, 0o755); err != nil {
		t.Fatal(err)
	}
	for _, dir := range []string{root, sub} {
		t.Chdir(dir)
		for _, folder := range Folders() {
			if strings.HasPrefix(folder, root) {
				t.Errorf("in %s the folder %s is searched", dir, folder)
			}
		}
	}
}

func TestEnvReplacesTheSearch(t *testing.T) {
	root := t.TempDir()
	t.Setenv(Env, root)
	if got := Folders(); !slices.Equal(got, []string{root}) {
		t.Errorf("folders %q", got)
	}
	if _, err := Program("no-such-program"); err == nil || !strings.Contains(err.Error(), "make setup") {
		t.Errorf("a missing program: %v", err)
	}
	python := program(t, filepath.Join(root, "bin", "python"))
	if got, err := Program("python"); err != nil || got != python {
		t.Errorf("found %q, %v, want %q", got, err, python)
	}
}

func TestTrusted(t *testing.T) {
	if runtime.GOOS == "windows" {
		return // no owners and modes of this kind
	}
	root := t.TempDir()
	good := program(t, filepath.Join(root, "good", "bin", "python"))
	link := filepath.Join(root, "link")
	if err := os.Symlink(good, link); err != nil {
		t.Fatal(err)
	}
	file, folder := program(t, filepath.Join(root, "file", "python")), program(t, filepath.Join(root, "folder", "bin", "python"))
	sticky := program(t, filepath.Join(root, "sticky", "python"))
	through := filepath.Join(root, "through")
	if err := errors.Join(os.Chmod(file, 0o757), os.Chmod(filepath.Join(root, "folder"), 0o777), os.Chmod(filepath.Join(root, "sticky"), 0o777|os.ModeSticky), os.Symlink(folder, through)); err != nil {
		t.Fatal(err)
	}
	cases := map[string]bool{good: true, link: true, sticky: true, file: false, folder: false, through: false}
	if os.Geteuid() == 0 { // only root can give files away
		other := program(t, filepath.Join(root, "other", "python"))
		if err := os.Chown(filepath.Join(root, "other"), 65534, 65534); err != nil {
			t.Fatal(err)
		}
		cases[other] = false
	}
	for path, want := range cases {
		if err := Trusted(path); (err == nil) != want || err != nil && !errors.Is(err, errUntrusted) {
			t.Errorf("%s: %v", path, err)
		}
	}
	t.Setenv(Env, filepath.Join(root, "folder"))
	if _, err := Program("python"); !errors.Is(err, errUntrusted) {
		t.Errorf("a program that everybody may write: %v", err)
	}
}
