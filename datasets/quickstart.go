package datasets

import (
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/budgetmem/budgetmem/internal/atomicfile"
)

//go:embed quickstart
var quickstart embed.FS

// Quickstart makes a folder with a small data set of one's own, to be opened by its path or to be filled with other
// conversations and questions. It returns the files it wrote; a folder that holds something is refused.
func Quickstart(dir string) (files []string, err error) {
	if entries, err := os.ReadDir(dir); err == nil && len(entries) > 0 {
		return nil, fmt.Errorf("%s is not empty; name a new folder", dir)
	} else if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("make a data set: %w", err)
	}
	err = fs.WalkDir(quickstart, "quickstart", func(path string, e fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		to := filepath.Join(dir, filepath.FromSlash(strings.TrimPrefix(path, "quickstart")))
		if e.IsDir() {
			return os.MkdirAll(to, 0o755)
		}
		data, err := quickstart.ReadFile(path)
		if err != nil {
			return err
		}
		files = append(files, to)
		return atomicfile.WriteFile(to, data, 0o644)
	})
	if err != nil {
		return files, fmt.Errorf("make a data set: %w", err)
	}
	return files, nil
}
