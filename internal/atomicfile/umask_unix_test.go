//go:build unix

package atomicfile

import "syscall"

// The tests compare modes, which the user's umask has a part in.
func init() { syscall.Umask(0o022) }
