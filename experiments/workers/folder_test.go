package workers_test

import (
	"errors"
	"testing"

	"github.com/budgetmem/budgetmem/experiments/workers"
	"github.com/budgetmem/budgetmem/internal/filelock"
)

// Two processes that coordinate one run would take it from each other.
func TestFolderHasOneCoordinator(t *testing.T) {
	dir := t.TempDir()
	unlock, err := workers.LockFolder(dir)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := workers.LockFolder(dir); !errors.Is(err, filelock.ErrHeld) {
		t.Errorf("a second coordinator: %v", err)
	}
	unlock()
	if unlock, err = workers.LockFolder(dir); err != nil {
		t.Fatal(err)
	}
	unlock()
}
