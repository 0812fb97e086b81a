// Package venv finds the Python environment that `make setup` makes, which holds the XLA engine and Jupyter.
package venv

import (
	"fmt"
	"os"
	"path/filepath"
)

// Env is a Python environment to look into instead of the project's .venv.
const Env = "BUDGETMEM_VENV"

// Folders lists the environments: the one that Env names, or else a folder .venv beside the executable or the working
// directory, or in a folder above either.
func Folders() []string {
	if v := os.Getenv(Env); v != "" {
		return []string{v}
	}
	found := Above(func(dir string) bool {
		info, err := os.Stat(filepath.Join(dir, ".venv"))
		return err == nil && info.IsDir()
	})
	for i, dir := range found {
		found[i] = filepath.Join(dir, ".venv")
	}
	return found
}

// Program returns the path of a program of the first environment that has it, such as python or jupyter. The error says
// what to do.
func Program(name string) (string, error) {
	folders := Folders()
	for _, folder := range folders {
		path, err := filepath.Abs(filepath.Join(folder, "bin", name))
		if err != nil {
			return "", fmt.Errorf("find %s: %w", name, err)
		}
		if _, err := os.Stat(path); err == nil {
			return path, nil
		}
	}
	return "", fmt.Errorf("no %s in a Python environment .venv (looked into %q): run `make setup`, or name one in %s", name, folders, Env)
}

// Above lists the folders for which has is true: the first one at or above the executable, and the first at or above the
// working directory; none, one, or both in this order.
func Above(has func(dir string) bool) []string {
	var starts, found []string
	if exe, err := os.Executable(); err == nil {
		if real, err := filepath.EvalSymlinks(exe); err == nil {
			exe = real
		}
		starts = append(starts, filepath.Dir(exe))
	}
	if wd, err := os.Getwd(); err == nil {
		starts = append(starts, wd)
	}
	for _, dir := range starts {
		for ; ; dir = filepath.Dir(dir) {
			if has(dir) {
				found = append(found, dir)
				break
			}
			if dir == filepath.Dir(dir) {
				break
			}
		}
	}
	return found
}
