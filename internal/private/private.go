// Package private makes files and folders that only their owner can read: conversations, replies and what was spent.
package private

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
)

// The modes of what this package makes.
const (
	FileMode = 0o600
	dirMode  = 0o700
)

// Dir makes a folder and those above it that are missing. Folders that are there keep their mode.
func Dir(path string) error { return os.MkdirAll(path, dirMode) }

// File makes an empty file, or takes other users' rights away from one that is there, and from the files that SQLite
// keeps beside it. A file that belongs to somebody else keeps its mode.
func File(path string) error {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_RDWR, FileMode)
	if err == nil {
		return f.Close()
	} else if !errors.Is(err, fs.ErrExist) {
		return err
	}
	for _, name := range []string{path, path + "-wal", path + "-shm"} {
		info, err := os.Stat(name)
		if err != nil || !info.Mode().IsRegular() || info.Mode().Perm()&0o077 == 0 {
			continue
		}
		if err := os.Chmod(name, info.Mode().Perm()&0o700); err != nil && !errors.Is(err, fs.ErrPermission) && !readOnly(err) {
			return fmt.Errorf("make %s private: %w", name, err)
		}
	}
	return nil
}
