// Package filelock has locks between processes, which end with the process that holds them, even if it is killed. They are
// advisory: only programs that ask for them keep to them. Where a system has none, every lock is granted.
package filelock

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"
)

// ErrHeld is the error for a lock that somebody else holds.
var ErrHeld = errors.New("in use by another process")

// Wait takes the lock of a file or folder as soon as it is free. The lock ends when f is closed. The error wraps ctx's.
func Wait(ctx context.Context, f *os.File) error {
	return poll(ctx, func() error { return Try(f) })
}

// poll calls try, less and less often, until it returns something other than ErrHeld.
func poll(ctx context.Context, try func() error) error {
	const most = 250 * time.Millisecond
	for pause := 2 * time.Millisecond; ; pause = min(2*pause, most) {
		if err := try(); !errors.Is(err, ErrHeld) {
			return err
		}
		select {
		case <-time.After(pause):
		case <-ctx.Done():
			return fmt.Errorf("wait for a lock: %w", context.Cause(ctx))
		}
	}
}

// Keys is a file whose keys can be locked one by one, so that only one Keys holds it, in
// whatever process.
// A nil Keys grants every lock.
type Keys struct{ f *os.File }

// OpenKeys opens or creates the file at path, which stays empty.
func OpenKeys(path string) (*Keys, error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	return &Keys{f}, nil
}

// Close gives up all locks.
func (k *Keys) Close() error {
	if k == nil {
		return nil
	}
	return k.f.Close()
}

// Wait takes the lock of a key as soon as no other Keys has it, and returns what gives it up. The error wraps ctx's.
func (k *Keys) Wait(ctx context.Context, key uint64) (release func(), err error) {
	if k == nil {
		return func() {}, nil
	}
	at := int64(key >> 2) // a lock's place must be positive, also with its length added
	if err := poll(ctx, func() error { return lockByte(k.f, at) }); err != nil {
		return nil, err
	}
	return func() { unlockByte(k.f, at) }, nil
}
