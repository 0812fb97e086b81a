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

// Giving up leaves other readers of a pipe alone, and needs no right to write to it.
func TestOpenPipeGivenUp(t *testing.T) {
	pipe := filepath.Join(t.TempDir(), "pipe")
	if err := syscall.Mkfifo(pipe, 0o400); err != nil {
		t.Fatal(err)
	}
	read := make(chan string, 1)
	go func() {
		data, err := os.ReadFile(pipe) // waits for a writer
		read <- string(data)
		if err != nil {
			t.Error(err)
		}
	}()
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if _, err := Open(ctx, pipe, nil); !errors.Is(err, context.DeadlineExceeded) {
		t.Error(err)
	}
	select {
	case got := <-read:
		t.Fatalf("the other reader was ended, with %q", got)
	case <-time.After(20 * time.Millisecond):
	}
	if err := os.Chmod(pipe, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(pipe, []byte("for the other one"), 0); err != nil {
		t.Fatal(err)
	}
	if got := <-read; got != "for the other one" {
		t.Errorf("the other reader got %q", got)
	}
}

// A writer that writes nothing, and one whose words come late, are read to their end.
func TestOpenPipeWriters(t *testing.T) {
	for _, words := range []string{"", `{"text": "Late."}`} {
		pipe := filepath.Join(t.TempDir(), "pipe")
		if err := syscall.Mkfifo(pipe, 0o600); err != nil {
			t.Fatal(err)
		}
		wrote := make(chan error, 1)
		go func() {
			w, err := os.OpenFile(pipe, os.O_WRONLY, 0)
			time.Sleep(100 * time.Millisecond)
			if err == nil {
				_, err = w.WriteString(words)
				err = errors.Join(err, w.Close())
			}
			wrote <- err
		}()
		f, err := Open(t.Context(), pipe, nil)
		if (err == nil) != (words != "") {
			t.Errorf("%q: %v", words, err)
		}
		if err := errors.Join(f.Close(), <-wrote); err != nil {
			t.Error(err)
		}
	}
}

// A writer that stops in the middle does not keep a command from ending either.
func TestOpenPipeStalledWriter(t *testing.T) {
	pipe := filepath.Join(t.TempDir(), "pipe")
	if err := syscall.Mkfifo(pipe, 0o600); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	closed := make(chan error, 1)
	go func() {
		w, err := os.OpenFile(pipe, os.O_WRONLY, 0)
		if err == nil {
			_, err = w.WriteString(`{"text": "half`)
			<-ctx.Done()
			for range 200 { // until nobody reads any more
				if _, gone := w.WriteString("x"); errors.Is(gone, syscall.EPIPE) {
					closed <- errors.Join(err, w.Close())
					return
				}
				time.Sleep(10 * time.Millisecond)
			}
			err = errors.Join(err, errors.New("somebody still reads"), w.Close())
		}
		closed <- err
	}()
	if _, err := Open(ctx, pipe, nil); !errors.Is(err, context.DeadlineExceeded) {
		t.Error(err)
	}
	if err := <-closed; err != nil {
		t.Error(err)
	}
}
