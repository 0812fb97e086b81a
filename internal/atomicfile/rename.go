package atomicfile

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
)

// Rename puts the finished file tmp in the place of path, on the same file system, with the guarantees of WriteFile. It is
// for files too large to write in one go, such as a download that is resumed. On error tmp stays where it is.
func Rename(tmp, path string) error {
	f, err := os.OpenFile(tmp, os.O_RDWR, 0)
	if err == nil {
		err = errors.Join(f.Sync(), f.Close())
	}
	if err == nil {
		err = os.Rename(tmp, path)
	}
	if err == nil {
		err = SyncDir(filepath.Dir(path))
	}
	if err != nil {
		return fmt.Errorf("put %s in place: %w", path, err)
	}
	return nil
}
