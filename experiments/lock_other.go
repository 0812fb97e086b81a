//go:build !unix

package experiments

import "os"

// lock does nothing where the system has no advisory locks: two processes must not work on one run.
func lock(*os.File) error { return nil }
