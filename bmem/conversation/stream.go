package conversation

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/budgetmem/budgetmem/internal/filelock"
)

// keptPattern names the temporary files.
const keptPattern = "bmem-conversation-*"

// OpenStream is Open for what can be read only once, such as the standard input. It is kept in a temporary file, readable by its
// owner only, until Close; what a killed process left of that kind is removed.
func OpenStream(ctx context.Context, r io.Reader, name string) (*File, error) {
	file, err := keep(ctx, r, name)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("read %s: %w", name, err), file.Close())
	}
	opened, err := open(ctx, file, nil)
	if err != nil {
		return nil, errors.Join(err, file.Close())
	}
	return opened, nil
}

// keep copies a stream into a temporary file, which is locked as long as it is needed.
func keep(ctx context.Context, r io.Reader, name string) (*File, error) {
	removeLeft()
	f, err := os.CreateTemp("", keptPattern)
	if err != nil {
		return &File{}, err
	}
	file := &File{path: f.Name(), name: name, kept: f}
	if err := filelock.Try(f); err != nil {
		return file, err
	}
	done := make(chan error, 1)
	go func() {
		_, err := io.Copy(f, r)
		done <- err
	}()
	select {
	case err = <-done:
	case <-ctx.Done(): // a read that waits ends with the stream; closing the file ends the copying
		err = context.Cause(ctx)
	}
	return file, err
}

// openPipe is OpenStream for a named pipe, or what a shell gives as <(command).
func openPipe(ctx context.Context, path string) (*File, error) {
	f, err := openReader(ctx, path)
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", path, err)
	}
	defer f.Close()
	return OpenStream(ctx, f, path)
}

// removeLeft removes temporary files that nobody holds, as their process was killed.
func removeLeft() {
	left, err := filepath.Glob(filepath.Join(os.TempDir(), keptPattern))
	if err != nil {
		return // the folder's name has a bracket
	}
	for _, path := range left {
		f, err := os.OpenFile(path, os.O_RDWR, 0)
		if err != nil {
			continue // somebody else's
		}
		if filelock.Try(f) == nil {
			_ = os.Remove(path) // the next one tries again
		}
		f.Close()
	}
}

// Close removes what was kept of a stream.
func (f *File) Close() error {
	if f == nil || f.kept == nil {
		return nil
	}
	kept := f.kept
	f.kept = nil
	return errors.Join(os.Remove(f.path), kept.Close())
}
