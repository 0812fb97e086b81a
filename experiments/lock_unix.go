//go:build unix

package experiments

import (
	"os"
	"syscall"
)

// Lock takes an open file or folder for this process, or fails at once. The lock ends with the process, however that ends.
func Lock(f *os.File) error { return syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB) }
