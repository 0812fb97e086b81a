package models

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/budgetmem/budgetmem/internal/atomicfile"
)

// ErrMissing is what Path wraps for a model that is not on this machine.
var ErrMissing = errors.New("model is not on this machine")

// HashError says that a file does not have the catalogue's hash or size.
type HashError struct {
	File      string // path on this machine
	Want, Got string // SHA-256 in hexadecimal
}

func (e *HashError) Error() string {
	return fmt.Sprintf("%s has SHA-256 %s, want %s", e.File, e.Got, e.Want)
}

// FileStatus is what became of checking one file.
type FileStatus struct {
	File    string `json:"file"` // path on this machine
	Want    string `json:"want"` // SHA-256
	Got     string `json:"got"`  // SHA-256; "" when the file is missing
	OK      bool   `json:"ok"`
	Missing bool   `json:"missing,omitempty"`
}

// Path returns the path of the model called name: its file if it has only one, else its folder. A model of which a file is missing
// gives an ErrMissing that says how to get it; one with a file that is not what it should be, a *HashError. Files are
// hashed on first sight and when their size or time has changed, so this is quick.
func (c *Catalogue) Path(ctx context.Context, name string) (string, error) {
	m, err := c.Find(name)
	if err != nil {
		return "", err
	}
	files, err := c.status(ctx, m, false)
	if err != nil {
		return "", err
	}
	for _, f := range files {
		switch {
		case f.Missing:
			return "", fmt.Errorf("%w: %s (%s not found): run `bmem models pull %s`", ErrMissing, m.Name, f.File, m.Name)
		case !f.OK:
			return "", fmt.Errorf("model %s is damaged: %w: run `bmem models pull %s`", m.Name, &HashError{f.File, f.Want, f.Got}, m.Name)
		}
	}
	return c.place(m), nil
}

// Present reports whether Path would succeed.
func (c *Catalogue) Present(ctx context.Context, name string) bool {
	_, err := c.Path(ctx, name)
	return err == nil
}

// Verify hashes every file of the model called name, also those whose hash is remembered.
func (c *Catalogue) Verify(ctx context.Context, name string) ([]FileStatus, error) {
	m, err := c.Find(name)
	if err != nil {
		return nil, err
	}
	return c.status(ctx, m, true)
}

// seen is the remembered hash of a file.
type seen struct {
	Size   int64  `json:"size"`
	Time   int64  `json:"mtime_ns"`
	SHA256 string `json:"sha256"`
}

func (s seen) same(info fs.FileInfo) bool {
	return s.Size == info.Size() && s.Time == info.ModTime().UnixNano()
}

// status checks all files of m. Unless afresh, a hash taken before of a file of the same size and time counts.
func (c *Catalogue) status(ctx context.Context, m Model, afresh bool) ([]FileStatus, error) {
	memory := filepath.Join(c.Dir, m.Name, ".verified.json")
	known := map[string]seen{}
	if data, err := os.ReadFile(memory); err == nil && json.Unmarshal(data, &known) != nil {
		known = map[string]seen{} // a memory that cannot be read is no memory: everything is hashed again
	}
	changed := false
	out := make([]FileStatus, len(m.Files))
	for i, f := range m.Files {
		out[i] = FileStatus{File: c.file(m, f), Want: f.SHA256}
		info, err := os.Stat(out[i].File)
		if errors.Is(err, fs.ErrNotExist) {
			out[i].Missing = true
			continue
		} else if err != nil {
			return nil, fmt.Errorf("check model %s: %w", m.Name, err)
		}
		k, ok := known[f.Path]
		if afresh || !ok || !k.same(info) {
			sum, err := hashFile(ctx, out[i].File)
			if err != nil {
				return nil, fmt.Errorf("check model %s: %w", m.Name, err)
			}
			k = seen{info.Size(), info.ModTime().UnixNano(), sum}
			known[f.Path], changed = k, true
		}
		out[i].Got, out[i].OK = k.SHA256, strings.EqualFold(k.SHA256, f.SHA256)
	}
	if changed {
		if data, err := json.Marshal(known); err == nil {
			// In a folder that cannot be written to, the next check hashes again: slower, not wrong.
			_ = atomicfile.WriteFile(memory, data, 0o644)
		}
	}
	return out, nil
}

// hashFile returns the SHA-256 of the file at path.
func hashFile(ctx context.Context, path string) (string, error) {
	f, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer f.Close()
	h := sha256.New()
	if _, err := copyContext(ctx, h, f); err != nil {
		return "", fmt.Errorf("hash %s: %w", path, err)
	}
	return hex.EncodeToString(h.Sum(nil)), nil
}

// copyContext is io.Copy that ends with ctx.
func copyContext(ctx context.Context, dst io.Writer, src io.Reader) (int64, error) {
	return io.Copy(dst, readerFunc(func(p []byte) (int, error) {
		if err := ctx.Err(); err != nil {
			return 0, err
		}
		return src.Read(p)
	}))
}

type readerFunc func([]byte) (int, error)

func (f readerFunc) Read(p []byte) (int, error) { return f(p) }
