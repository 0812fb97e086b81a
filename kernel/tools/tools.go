// Package tools builds the programs that a notebook kernel is made of: GoNB, with a few corrections, goimports and gopls, at the
// versions that the module pins.
package tools

import (
	"bytes"
	"context"
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/bluekeyes/go-gitdiff/gitdiff"
)

const gonb = "github.com/janpfeifer/gonb"

// Names are the programs that Build makes.
func Names() []string { return []string{"gonb", "goimports", "gopls"} }

//go:embed gonb.patch
var corrections []byte

// Build builds the programs into the folder bin. Source is a folder with the sources of this module, whose go.mod says which
// versions. It needs Go, and a module proxy for what is not in the module cache.
func Build(ctx context.Context, source, bin string) (err error) {
	defer func() {
		if err != nil {
			err = fmt.Errorf("build the kernel's programs: %w", err)
		}
	}()
	if bin, err = filepath.Abs(bin); err != nil {
		return err
	}
	if err := os.MkdirAll(bin, 0o755); err != nil {
		return err
	}
	work, err := os.MkdirTemp("", "budgetmem-kernel-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(work)) }()
	if err := correct(ctx, source, filepath.Join(work, "gonb")); err != nil {
		return err
	}
	// go.mod as it is, but for the corrected copy.
	modfile := filepath.Join(work, "go.mod")
	for _, name := range []string{"go.mod", "go.sum"} {
		data, err := os.ReadFile(filepath.Join(source, name))
		if err == nil {
			err = os.WriteFile(filepath.Join(work, name), data, 0o644)
		}
		if err != nil {
			return err
		}
	}
	if _, err := run(ctx, source, "mod", "edit", "-replace="+gonb+"="+filepath.Join(work, "gonb"), modfile); err != nil {
		return err
	}
	if err := build(ctx, source, modfile, bin, gonb, "golang.org/x/tools/cmd/goimports"); err != nil {
		return err
	}
	// gopls works with its own golang.org/x/tools.
	return build(ctx, source, filepath.Join("kernel", "tools", "gopls.mod"), bin, "golang.org/x/tools/gopls")
}

func build(ctx context.Context, source, modfile, bin string, packages ...string) error {
	_, err := run(ctx, source, append([]string{"build", "-modfile=" + modfile, "-trimpath", "-ldflags=-s -w", "-o", bin + string(filepath.Separator)}, packages...)...)
	return err
}

// run runs go in a folder and returns what it prints.
func run(ctx context.Context, dir string, args ...string) ([]byte, error) {
	cmd := exec.CommandContext(ctx, "go", args...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "GOWORK=off")
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("go %s: %w\n%s", strings.Join(args, " "), err, bytes.TrimSpace(stderr.Bytes()))
	}
	return out, nil
}

// correct makes a corrected copy of GoNB's sources in the folder to.
func correct(ctx context.Context, source, to string) error {
	out, err := run(ctx, source, "mod", "download", "-json", gonb)
	if err != nil {
		return err
	}
	var module struct{ Dir string }
	if err := json.Unmarshal(out, &module); err != nil || module.Dir == "" {
		return fmt.Errorf("go mod download %s names no folder: %w", gonb, err)
	}
	if err := os.CopyFS(to, os.DirFS(module.Dir)); err != nil {
		return fmt.Errorf("copy %s: %w", gonb, err)
	}
	files, _, err := gitdiff.Parse(bytes.NewReader(corrections))
	if err != nil {
		return fmt.Errorf("gonb.patch: %w", err)
	}
	for _, f := range files {
		if err := apply(f, to); err != nil {
			return fmt.Errorf("gonb.patch: %s: %w (go.mod asks for another version of GoNB than the patch is for)", f.NewName, err)
		}
	}
	return nil
}

func apply(f *gitdiff.File, dir string) error {
	path := filepath.Join(dir, filepath.FromSlash(f.NewName))
	old, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	var corrected bytes.Buffer
	if err := gitdiff.Apply(&corrected, bytes.NewReader(old), f); err != nil {
		return err
	}
	return os.WriteFile(path, corrected.Bytes(), 0o644)
}
