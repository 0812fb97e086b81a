package tune

import (
	"errors"
	"fmt"
	"path/filepath"

	"github.com/gofrs/flock"

	"github.com/budgetmem/budgetmem/internal/private"
)

// ErrLocked is wrapped when another process trains in the same folder.
var ErrLocked = errors.New("another process is training in this folder")

// lock makes the folder and keeps other processes out of it. The system releases the lock when the process ends, however it
// does.
func lock(dir string) (unlock func() error, err error) {
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
	return l.Unlock, nil
}
