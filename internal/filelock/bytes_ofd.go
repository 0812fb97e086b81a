//go:build linux || darwin

package filelock

import (
	"errors"
	"io"
	"os"
	"runtime"

	"golang.org/x/sys/unix"
)

// setLock is F_OFD_SETLK, which package unix does not have for macOS: there it is in sys/fcntl.h.
func setLock() int {
	if runtime.GOOS == "darwin" {
		return 90
	}
	return 37
}

// lockByte locks one byte of a file, which need not be there. The lock belongs to the open file, not to the process, so that
// closing another descriptor of the same file does not end it.
func lockByte(f *os.File, at int64) error {
	err := setByte(f, at, unix.F_WRLCK)
	if errors.Is(err, unix.EAGAIN) || errors.Is(err, unix.EACCES) {
		return ErrHeld
	}
	return err
}

func unlockByte(f *os.File, at int64) {
	_ = setByte(f, at, unix.F_UNLCK) // fails only once f is closed, which unlocks too
}

func setByte(f *os.File, at int64, kind int16) error {
	return control(f, func(fd uintptr) error {
		return unix.FcntlFlock(fd, setLock(), &unix.Flock_t{Type: kind, Whence: io.SeekStart, Start: at, Len: 1})
	})
}
