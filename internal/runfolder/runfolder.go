// Package runfolder keeps a run's folder to one process.
package runfolder

import (
	"errors"
	"fmt"
	"path/filepath"

	"github.com/gofrs/flock"

	"github.com/budgetmem/budgetmem/internal/atomicfile"
	"github.com/budgetmem/budgetmem/internal/private"
)

// ErrLocked is wrapped when another process works in the same folder.
var ErrLocked = errors.New("another process works in this folder")

// Claim makes the folder and keeps other processes out of it until release. The system releases it when the process ends, however it
// does. Temporary files that a killed process left in the folder, and in its subfolders of the given names, are removed.
func Claim(dir string, subfolders ...string) (release func() error, err error) {
	if err := private.Dir(dir); err != nil {
		return nil, err
	}
	l := flock.New(filepath.Join(dir, ".lock"))
	switch ok, err := l.TryLock(); {
	case err != nil:
		return nil, err
	case !ok:
		return nil, fmt.Errorf("%w: %s", ErrLocked, dir)
	}
	err = atomicfile.RemoveTemporary(dir)
	for _, s := range subfolders {
		err = errors.Join(err, atomicfile.RemoveTemporary(filepath.Join(dir, s)))
	}
	if err != nil {
		return nil, errors.Join(err, l.Unlock())
	}
	return l.Unlock, nil
}
