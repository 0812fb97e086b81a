//go:build unix

package conversation

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"
)

// A pipe is read once, and one without a writer does not keep a command from ending.
func TestOpenPipe(t *testing.T) {
	pipe := filepath.Join(t.TempDir(), "pipe")
	if err := syscall.Mkfifo(pipe, 0o600); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if _, err := Open(ctx, pipe, nil); !errors.Is(err, context.DeadlineExceeded) {
		t.Error(err)
	}
	wrote := make(chan error, 1)
	go func() { wrote <- os.WriteFile(pipe, []byte(`{"text": "We meet at the old mill."}`), 0) }()
	f, err := Open(t.Context(), pipe, nil)
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	for turn, err := range f.All() {
		if n++; err != nil || turn.Text != "We meet at the old mill." {
			t.Errorf("%+v, %v", turn, err)
		}
	}
	if err := errors.Join(f.Close(), <-wrote); n != 1 || err != nil {
		t.Errorf("%d turns, %v", n, err)
	}
}
