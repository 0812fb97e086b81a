//go:build unix

package filelock

import (
	"errors"
	"fmt"
	"os"
	"syscall"
)

// Try takes the lock of an open file or folder, or fails at once with ErrHeld. The lock ends when f is closed.
func Try(f *os.File) error {
	err := control(f, func(fd uintptr) error { return syscall.Flock(int(fd), syscall.LOCK_EX|syscall.LOCK_NB) })
	if errors.Is(err, syscall.EWOULDBLOCK) {
		return ErrHeld
	}
	return err
}

// control calls do with the descriptor of f, which stays open meanwhile: the number of one that another goroutine closes may be another
// file's a moment later.
func control(f *os.File, do func(fd uintptr) error) error {
	c, err := f.SyscallConn()
	if err != nil {
		return err
	}
	var failed error
	if err := c.Control(func(fd uintptr) { failed = do(fd) }); err != nil {
		return fmt.Errorf("lock %s: %w", f.Name(), os.ErrClosed) // its only failure, which it has another error for
	}
	return failed
}
