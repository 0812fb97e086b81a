package kernelspec

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"time"

	"github.com/budgetmem/budgetmem/internal/venv"
	"github.com/budgetmem/budgetmem/kernel/tools"
)

// Check is one thing that notebooks need.
type Check struct {
	Name string `json:"name"`
	// Found describes what was found. If it is "", Problem says what is wrong, and Do what helps.
	Found   string `json:"found,omitempty"`
	Problem string `json:"problem,omitempty"`
	Do      string `json:"do,omitempty"`
}

// Doctor checks everything that notebooks need, and builds a cell.
func Doctor(ctx context.Context) []Check {
	const install = "run `bmem kernel install`"
	dir, s, err := Find()
	if err != nil {
		return []Check{{Name: "kernel", Problem: err.Error(), Do: install}, jupyter(ctx)}
	}
	checks := []Check{{Name: "kernel", Found: Path(dir)}}
	add := func(name, do string, look func() (string, error)) {
		c := Check{Name: name}
		if c.Found, err = look(); err != nil {
			c.Found, c.Problem, c.Do = "", err.Error(), do
		}
		checks = append(checks, c)
	}
	add("bmem", install, func() (string, error) { return s.Bmem, executable(s.Bmem) })
	add("source", install, func() (string, error) { return s.Source, venv.IsSource(s.Source) })
	add("go", "install Go, and put its folder on PATH", func() (string, error) {
		env, err := s.environ(ctx, os.Environ())
		if err != nil {
			return "", err
		}
		out, err := s.goCommand(ctx, env, s.Source, "version")
		return string(bytes.TrimSpace(out)), err
	})
	for _, name := range tools.Names() {
		add(name, install, func() (string, error) {
			path := filepath.Join(s.Tools, name)
			return path, executable(path)
		})
	}
	checks = append(checks, jupyter(ctx))
	for _, c := range checks {
		if c.Problem != "" {
			return checks // a cell would fail for the same reasons
		}
	}
	add("cell", "see what go says; `go clean -cache` helps against a damaged build cache", func() (string, error) {
		took, err := s.Compile(ctx)
		return fmt.Sprintf("built in %.1f s", took.Round(100*time.Millisecond).Seconds()), err
	})
	return checks
}

func jupyter(ctx context.Context) Check {
	c := Check{Name: "jupyter"}
	path, err := JupyterLab()
	if err == nil {
		c.Found, err = version(ctx, path, "--version")
		c.Found = "JupyterLab " + c.Found + ", " + path
	}
	if err != nil {
		c = Check{Name: "jupyter", Problem: err.Error(), Do: "run `make setup` in the project's folder, or `pip install jupyterlab` in a Python environment on PATH"}
	}
	return c
}

// JupyterLab returns the path of JupyterLab: the one of the project's Python environment, or else on PATH.
func JupyterLab() (string, error) {
	path, err := venv.Program("jupyter-lab")
	if err == nil {
		return path, nil
	}
	if path, found := exec.LookPath("jupyter-lab"); found == nil {
		return path, nil
	}
	return "", fmt.Errorf("%w; and none is on PATH", err)
}

func executable(path string) error {
	info, err := os.Stat(path)
	if err == nil && (info.IsDir() || runtime.GOOS != "windows" && info.Mode()&0o111 == 0) {
		err = fmt.Errorf("%s cannot be run", path)
	}
	return err
}

// version is the first line that a program prints.
func version(ctx context.Context, path string, args ...string) (string, error) {
	out, err := exec.CommandContext(ctx, path, args...).CombinedOutput()
	line, _, _ := strings.Cut(string(bytes.TrimSpace(out)), "\n")
	if err != nil {
		return "", fmt.Errorf("%s: %w: %s", path, err, line)
	}
	return line, nil
}
