//go:build !unix

package private

// readOnly says whether a change failed because the disk cannot be written.
func readOnly(error) bool { return false }
