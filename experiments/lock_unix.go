//go:build unix

package experiments

import (
	"os"
	"syscall"
)

// lock takes the file for this process. The lock ends with the process, however that ends.
func lock(f *os.File) error { return syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB) }
