//go:build linux || darwin

package filelock_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/budgetmem/budgetmem/internal/filelock"
)

func TestTry(t *testing.T) {
	path := filepath.Join(t.TempDir(), "f")
	var files [2]*os.File
	for i := range files {
		f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		files[i] = f
	}
	if err := filelock.Try(files[0]); err != nil {
		t.Fatal(err)
	}
	if err := filelock.Try(files[1]); !errors.Is(err, filelock.ErrHeld) {
		t.Errorf("a held lock: %v", err)
	}
	files[0].Close()
	if err := filelock.Wait(t.Context(), files[1]); err != nil {
		t.Error(err)
	}
}

// Of those that want one key, one at a time has it; other keys are free.
func TestKeys(t *testing.T) {
	path := filepath.Join(t.TempDir(), "keys")
	var all sync.WaitGroup
	var mu sync.Mutex
	holding, most := 0, 0
	for range 5 {
		keys, err := filelock.OpenKeys(path)
		if err != nil {
			t.Fatal(err)
		}
		defer keys.Close()
		all.Go(func() {
			release, err := keys.Wait(t.Context(), 1<<63)
			if err != nil {
				t.Error(err)
				return
			}
			mu.Lock()
			holding++
			most = max(most, holding)
			mu.Unlock()
			time.Sleep(5 * time.Millisecond)
			mu.Lock()
			holding--
			mu.Unlock()
			release()
		})
	}
	all.Wait()
	if most != 1 {
		t.Errorf("%d held the key at one time", most)
	}
	a, err := filelock.OpenKeys(path)
	if err != nil {
		t.Fatal(err)
	}
	defer a.Close()
	b, err := filelock.OpenKeys(path)
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	if _, err := a.Wait(t.Context(), 4); err != nil {
		t.Fatal(err)
	}
	if _, err := b.Wait(t.Context(), 8); err != nil {
		t.Errorf("another key: %v", err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	if _, err := b.Wait(ctx, 4); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("a held key: %v", err)
	}
	if release, err := (*filelock.Keys)(nil).Wait(ctx, 1); err != nil {
		t.Error(err)
	} else {
		release()
	}
}

// Closing keys while others wait for them, or give them up, is an error for those that wait and touches no other file.
func TestKeysAreClosedWhileWanted(t *testing.T) {
	path := filepath.Join(t.TempDir(), "keys")
	for range 20 {
		keys, err := filelock.OpenKeys(path)
		if err != nil {
			t.Fatal(err)
		}
		var all sync.WaitGroup
		for i := range 4 {
			all.Go(func() {
				for {
					release, err := keys.Wait(t.Context(), uint64(i)<<8)
					if errors.Is(err, os.ErrClosed) {
						return
					} else if err != nil {
						t.Error(err)
						return
					}
					release()
				}
			})
		}
		time.Sleep(time.Millisecond)
		if err := keys.Close(); err != nil {
			t.Error(err)
		}
		all.Wait()
	}
}
