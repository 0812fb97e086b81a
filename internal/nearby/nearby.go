// Package nearby looks for what belongs to the project near the running program.
package nearby

import (
	"os"
	"path/filepath"
)

// Above lists the folders for which has is true: the first one at or above the executable, and the first at or above the
// working directory; none, one, or both in this order.
func Above(has func(dir string) bool) []string {
	var starts, found []string
	if exe, err := os.Executable(); err == nil {
		if real, err := filepath.EvalSymlinks(exe); err == nil {
			exe = real
		}
		starts = append(starts, filepath.Dir(exe))
	}
	if wd, err := os.Getwd(); err == nil {
		starts = append(starts, wd)
	}
	for _, dir := range starts {
		for ; ; dir = filepath.Dir(dir) {
			if has(dir) {
				found = append(found, dir)
				break
			}
			if dir == filepath.Dir(dir) {
				break
			}
		}
	}
	return found
}
