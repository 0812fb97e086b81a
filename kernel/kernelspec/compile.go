package kernelspec

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"
)

// probe is a cell with the packages that most notebooks use.
const probe = `package main

import (
	"fmt"

	_ "github.com/budgetmem/budgetmem/bmem/quick"
	_ "github.com/budgetmem/budgetmem/experiments/frontier"
	_ "github.com/budgetmem/budgetmem/kernel/chart"
	_ "github.com/budgetmem/budgetmem/kernel/display"
)

func main() { fmt.Println("ok") }
`

// Compile builds a cell as the kernel does, and returns how long that took. The first time on a machine compiles all packages
// that notebooks use, which takes minutes; later cells are built from what that leaves in Go's build cache.
func (s Spec) Compile(ctx context.Context) (took time.Duration, err error) {
	defer func() {
		if err != nil {
			err = fmt.Errorf("build a cell: %w", err)
		}
	}()
	env, err := s.environ(ctx, os.Environ())
	if err != nil {
		return 0, err
	}
	dir, err := os.MkdirTemp("", "budgetmem-cell-")
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	if err := os.WriteFile(filepath.Join(dir, "main.go"), []byte(probe), 0o600); err != nil {
		return 0, err
	}
	start := time.Now()
	for _, args := range [][]string{
		{"mod", "init", "cell"},
		{"work", "init"},
		{"work", "use", s.Source, "."},
		{"mod", "edit", "-replace=github.com/budgetmem/budgetmem=" + s.Source},
		{"get"},
		{"build", "-o", "cell"},
	} {
		if _, err := s.goCommand(ctx, env, dir, args...); err != nil {
			return 0, err
		}
	}
	return time.Since(start), nil
}
