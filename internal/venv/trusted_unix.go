//go:build unix

package venv

import (
	"fmt"
	"os"
	"syscall"
)

// trusted checks owner and mode of one file, folder or link.
func trusted(path string) error {
	info, err := os.Lstat(path)
	if err != nil {
		return err
	}
	if stat, ok := info.Sys().(*syscall.Stat_t); ok && stat.Uid != 0 && int(stat.Uid) != os.Geteuid() {
		return fmt.Errorf("%w: %s belongs to user %d; make it your own or root's (chown)", errUntrusted, path, stat.Uid)
	}
	mode := info.Mode()
	if mode&os.ModeSymlink == 0 && mode.Perm()&0o002 != 0 && !(mode.IsDir() && mode&os.ModeSticky != 0) {
		return fmt.Errorf("%w: everybody may write to %s (chmod o-w)", errUntrusted, path)
	}
	return nil
}
