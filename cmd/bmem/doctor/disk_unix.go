//go:build linux || darwin

package doctor

import "golang.org/x/sys/unix"

// diskFree is how many bytes a user may still write in dir, which need not be there yet; 0 if the system does not tell.
func diskFree(dir string) uint64 {
	var s unix.Statfs_t
	if err := unix.Statfs(existing(dir), &s); err != nil {
		return 0
	}
	return s.Bavail * uint64(s.Bsize)
}
