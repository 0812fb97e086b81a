//go:build unix

package private

import (
	"errors"
	"syscall"
)

// readOnly says whether a change failed because the disk cannot be written.
func readOnly(err error) bool { return errors.Is(err, syscall.EROFS) }
