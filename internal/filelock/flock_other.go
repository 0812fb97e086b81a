//go:build !unix

package filelock

import "os"

// Try does nothing where the system has no advisory locks: the user must not run two processes on one folder.
func Try(*os.File) error { return nil }
