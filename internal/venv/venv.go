// Package venv finds the Python environment that `make setup` makes, which holds the XLA engine and Jupyter.
//
// Code is loaded from it, so it is never looked for in the working folder or above: only beside the program, and where Env
// says. What other users could have written is refused.
package venv

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"path/filepath"
)

// Env names the environment variable with the Python environment to use instead of the .venv beside the program.
const Env = "BUDGETMEM_VENV"

const module = "github.com/budgetmem/budgetmem"

// Folders lists the environments that are there: the one in Env, or else the folders .venv beside the executable and above
// it, up to the root of the checkout that it lies in. A program that lies in no checkout is taken for installed as bin/bmem:
// then .venv lies beside the program or its folder.
func Folders() []string {
	if v := os.Getenv(Env); v != "" {
		return []string{v}
	}
	var found []string
	for _, dir := range own() {
		path := filepath.Join(dir, ".venv")
		if info, err := os.Stat(path); err == nil && info.IsDir() {
			found = append(found, path)
		}
	}
	return found
}

// Program returns the path of a program of the first environment that has it, such as python or jupyter. It fails if none
// has it, or if other users could have written it; the error says what to do.
func Program(name string) (string, error) {
	folders := Folders()
	for _, folder := range folders {
		path, err := filepath.Abs(filepath.Join(folder, "bin", name))
		if err != nil {
			return "", fmt.Errorf("find %s: %w", name, err)
		}
		if _, err := os.Stat(path); err != nil {
			continue
		}
		if err := Trusted(path); err != nil {
			return "", fmt.Errorf("refuse to run %s: %w", name, err)
		}
		return path, nil
	}
	return "", fmt.Errorf("no %s in a Python environment .venv beside this program (looked into %q): run `make setup`, or name an environment in %s", name, folders, Env)
}

// Checkout returns the folder with the sources of this module that the executable lies in; ok is false if it lies in none.
func Checkout() (dir string, ok bool) {
	for _, dir := range above() {
		if IsSource(dir) == nil {
			return dir, true
		}
	}
	return "", false
}

// IsSource returns nil if a folder has the sources of this module, and else what is wrong with it.
func IsSource(dir string) error {
	f, err := os.Open(filepath.Join(dir, "go.mod"))
	if err != nil {
		return err
	}
	defer f.Close()
	for lines := bufio.NewScanner(f); lines.Scan(); {
		if lines.Text() == "module "+module {
			return nil
		}
	}
	return fmt.Errorf("%s is not the module %s", f.Name(), module)
}

// own lists the folders that belong to the program: those from the executable's up to the root of its checkout, or the
// executable's and the one above.
func own() []string {
	dirs := above()
	for i, dir := range dirs {
		if IsSource(dir) == nil {
			return dirs[:i+1]
		}
	}
	return dirs[:min(2, len(dirs))]
}

// above lists the executable's folder and all above it.
func above() []string {
	exe, err := os.Executable()
	if err != nil {
		return nil
	}
	if real, err := filepath.EvalSymlinks(exe); err == nil {
		exe = real
	}
	var dirs []string
	for dir := filepath.Dir(exe); ; dir = filepath.Dir(dir) {
		dirs = append(dirs, dir)
		if dir == filepath.Dir(dir) {
			return dirs
		}
	}
}

// errUntrusted is the cause of errors of Trusted.
var errUntrusted = errors.New("other users can change it")

// Trusted returns nil if only this user and root can change the file at path: they own the file and all folders above it, as
// the path is written and with links followed, and nobody else may write to them. A folder that all may write to is fine
// if it is sticky, as /tmp is. The error wraps errUntrusted, and names the file or folder and what to do.
func Trusted(path string) error {
	abs, err := filepath.Abs(path)
	if err != nil {
		return err
	}
	real, err := filepath.EvalSymlinks(abs)
	if err != nil {
		return err
	}
	for _, p := range []string{abs, real} {
		for ; ; p = filepath.Dir(p) {
			if err := trusted(p); err != nil {
				return fmt.Errorf("%s: %w", path, err)
			}
			if p == filepath.Dir(p) {
				break
			}
		}
	}
	return nil
}
