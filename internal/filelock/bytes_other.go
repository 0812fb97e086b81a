//go:build !linux && !darwin

package filelock

import "os"

func lockByte(*os.File, int64) error { return nil }

func unlockByte(*os.File, int64) {}
