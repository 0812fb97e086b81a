//go:build !unix

package run

import "os"

// Lock does nothing where the system has no advisory locks: the user must not run two processes on one folder.
func Lock(*os.File) error { return nil }
