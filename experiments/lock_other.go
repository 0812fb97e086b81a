//go:build !unix

package experiments

import "os"

// Lock does nothing where the system has no advisory locks: two processes must not work on one run.
func Lock(*os.File) error { return nil }
