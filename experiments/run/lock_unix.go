//go:build unix

package run

import (
	"os"
	"syscall"
)

// Lock locks an open file or folder for this process, or fails at once. The lock ends with the process, even if it is killed.
func Lock(f *os.File) error { return syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB) }
