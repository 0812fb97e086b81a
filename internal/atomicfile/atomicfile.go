// Package atomicfile replaces files so that a reader, or a crash at any moment, sees the old content or the new, never a part.
package atomicfile

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
)

// WriteFile replaces the file at path by data. Once it returns nil the new content survives a power cut.
// The folder must exist. On error the old file is untouched and no temporary file is left.
//
// The file gets the rights of perm that the user's umask leaves, and none that a file in its place did not have. In a
// folder that only its owner can enter, such as that of a run, it is its owner's alone.
func WriteFile(path string, data []byte, perm fs.FileMode) error {
	return Write(path, perm, func(w io.Writer) error {
		_, err := w.Write(data)
		return err
	})
}

// WriteJSON replaces the file at path by v as indented JSON, with the guarantees of WriteFile.
func WriteJSON(path string, v any) error {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	if err := enc.Encode(v); err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	return WriteFile(path, b.Bytes(), 0o644)
}

// Write replaces the file at path by what fill writes, with the guarantees of WriteFile. If fill fails, its error is
// returned (wrapped) and the old file stays.
func Write(path string, perm fs.FileMode, fill func(io.Writer) error) error {
	if err := write(path, perm, fill); err != nil {
		return fmt.Errorf("replace %s: %w", path, err)
	}
	return nil
}

func write(path string, perm fs.FileMode, fill func(io.Writer) error) (err error) {
	dir := filepath.Dir(path)
	if perm, err = permitted(dir, path, perm); err != nil {
		return err
	}
	tmp, err := createTemporary(path, perm)
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			tmp.Close() // a second close is harmless
			os.Remove(tmp.Name())
		}
	}()
	if err := fill(tmp); err != nil {
		return err
	}
	if err := tmp.Sync(); err != nil {
		return err
	}
	if err := tmp.Close(); err != nil {
		return err
	}
	if err := os.Rename(tmp.Name(), path); err != nil {
		return err
	}
	return SyncDir(dir)
}

// permitted returns the rights of perm that a file at path may have.
func permitted(dir, path string, perm fs.FileMode) (fs.FileMode, error) {
	folder, err := os.Stat(dir)
	if err != nil {
		return 0, err
	}
	if folder.Mode().Perm()&0o077 == 0 {
		perm &= 0o700
	}
	if old, err := os.Stat(path); err == nil && old.Mode().IsRegular() {
		perm &= old.Mode().Perm() | 0o600 // a file that could not be written can be replaced all the same
	}
	return perm, nil
}

// createTemporary creates a file beside path, for only on the same file system a rename is atomic.
func createTemporary(path string, perm fs.FileMode) (*os.File, error) {
	for {
		name := filepath.Join(filepath.Dir(path), "."+filepath.Base(path)+infix+strconv.FormatUint(uint64(rand.Uint32()), 10))
		tmp, err := os.OpenFile(name, os.O_RDWR|os.O_CREATE|os.O_EXCL, perm)
		if !errors.Is(err, fs.ErrExist) {
			return tmp, err
		}
	}
}

// infix stands in a temporary file's name between that of the file and a number.
const infix = ".tmp-"

// RemoveTemporary removes the temporary files that kills in the midst of writing have left in a folder, which nobody may write
// to at the time. A folder that is not there is fine.
func RemoveTemporary(dir string) error {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("look for temporary files: %w", err)
	}
	for _, e := range entries {
		name, number, ok := strings.Cut(e.Name(), infix)
		if ok && len(name) > 1 && name[0] == '.' && number != "" && strings.Trim(number, "0123456789") == "" && e.Type().IsRegular() {
			if err := os.Remove(filepath.Join(dir, e.Name())); err != nil {
				return fmt.Errorf("remove a temporary file: %w", err)
			}
		}
	}
	return nil
}

// SyncDir makes what was created, renamed or removed in a folder durable.
func SyncDir(dir string) error {
	if runtime.GOOS == "windows" {
		return nil // a folder cannot be opened for syncing there
	}
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
