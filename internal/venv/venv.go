// Package venv finds the Python environment that `make setup` makes, which holds the XLA engine and Jupyter.
package venv

import (
	"fmt"
	"os"
	"path/filepath"

	"github.com/budgetmem/budgetmem/internal/nearby"
)

// Env is a Python environment to look into instead of the project's .venv.
const Env = "BUDGETMEM_VENV"

// Folders lists the environments: the one that Env names, or else a folder .venv beside the executable or the working
// directory, or in a folder above either.
func Folders() []string {
	if v := os.Getenv(Env); v != "" {
		return []string{v}
	}
	found := nearby.Above(func(dir string) bool {
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
