package conversation

import (
	"archive/zip"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"iter"
	"os"
	"path"
	"path/filepath"
	"strings"

	"github.com/budgetmem/budgetmem/bmem/chunk"
)

// File is a file, folder or zip file with a conversation that was read once, to check it, and can be read turn by turn. Only
// ids that the file gives, and one element of a list of JSON, are held in memory.
type File struct {
	Seen
	// Turns is how many there are.
	Turns int

	path, name string
	kept       *os.File // the temporary file, held while it is needed; nil for a file of the user's
	ids        map[string]int
}

// Open reads a conversation through and says what is in it. Its forms and errors are those of Read; progress, which may be nil, is
// called with how many bytes of the file, or of the largest file of an export, are read of how many.
func Open(ctx context.Context, path string, progress func(done, total int64)) (*File, error) {
	if info, err := os.Stat(path); err == nil && !info.Mode().IsRegular() && !info.IsDir() {
		return openPipe(ctx, path)
	}
	return open(ctx, &File{path: path, name: path}, progress)
}

func open(ctx context.Context, f *File, progress func(done, total int64)) (*File, error) {
	ids := numbers{}
	c := newCollector(func(t chunk.Turn, line int) *LineError {
		f.Turns++
		return ids.take(t.ID, line)
	})
	c.ctx, c.progress = ctx, progress
	if err := c.path(f.path, f.name); err != nil {
		return nil, err
	}
	if f.Turns == 0 {
		return nil, noTurns(f.name)
	}
	f.Seen, f.ids = c.Seen, ids.given
	return f, nil
}

// All reads the turns, each with its session and id. After an error it ends; the file may have changed since Open.
func (f *File) All() iter.Seq2[chunk.Turn, error] {
	return func(yield func(chunk.Turn, error) bool) {
		ids := numbers{given: f.ids}
		stop := &LineError{}
		c := newCollector(func(t chunk.Turn, _ int) *LineError {
			ids.number(&t)
			if !yield(t, nil) {
				return stop
			}
			return nil
		})
		err := c.path(f.path, f.name)
		if err != nil && !errors.Is(err, stop) {
			yield(chunk.Turn{}, err)
		}
	}
}

// path reads a file, or the folder or zip file of an export. name is what it is called.
func (c *collector) path(path, name string) error {
	f, err := os.Open(path)
	if err != nil {
		return fmt.Errorf("read a conversation: %w", err)
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return fmt.Errorf("read a conversation: %w", err)
	}
	if info.IsDir() {
		return c.folder(os.DirFS(path), name)
	}
	magic := make([]byte, 4)
	if n, _ := f.ReadAt(magic, 0); n == 4 && string(magic) == "PK\x03\x04" {
		z, err := zip.NewReader(f, info.Size())
		if err != nil {
			return fmt.Errorf("read a conversation from %s: %w; is the file cut off?", name, err)
		}
		return c.folder(z, name)
	}
	return c.file(c.watch(f, info.Size()), name)
}

// watch says how far the reading is, and ends it with the context.
func (c *collector) watch(r io.Reader, total int64) io.Reader {
	return &watched{c.ctx, r, 0, total, c.progress}
}

type watched struct {
	ctx         context.Context // nil for none
	r           io.Reader
	done, total int64
	progress    func(done, total int64) // nil for none
}

func (w *watched) Read(p []byte) (int, error) {
	if w.ctx != nil && w.ctx.Err() != nil {
		return 0, w.ctx.Err()
	}
	n, err := w.r.Read(p)
	w.done += int64(n)
	if w.progress != nil {
		w.progress(w.done, w.total)
	}
	return n, err
}

// exportFiles are what the conversations of an export are in: ChatGPT and Claude, Telegram, WhatsApp.
var exportFiles = []string{"conversations.json", "conversations-*.json", "result.json", "_chat.txt", "WhatsApp Chat*.txt"}

// folder reads an export that is a folder or a zip file.
func (c *collector) folder(folder fs.FS, name string) error {
	if isSlackExport(folder) {
		return c.slack(folder, name)
	}
	for _, pattern := range exportFiles {
		files, err := fs.Glob(folder, pattern)
		if err != nil {
			return fmt.Errorf("read %s: %w", name, err)
		}
		for _, file := range files {
			if err := c.inFolder(folder, name, file); err != nil {
				return err
			}
		}
		if len(files) > 0 {
			return nil
		}
	}
	entries, err := fs.ReadDir(folder, ".")
	if err != nil {
		return fmt.Errorf("read %s: %w", name, err)
	}
	var inner []fs.DirEntry
	for _, e := range entries {
		if !strings.HasPrefix(e.Name(), ".") && e.Name() != "__MACOSX" {
			inner = append(inner, e)
		}
	}
	if len(inner) == 1 && inner[0].IsDir() { // packed with the folder that it was in
		sub, err := fs.Sub(folder, inner[0].Name())
		if err != nil {
			return fmt.Errorf("read %s: %w", name, err)
		}
		return c.folder(sub, path.Join(filepath.ToSlash(name), inner[0].Name()))
	}
	if len(inner) == 1 {
		return c.inFolder(folder, name, inner[0].Name())
	}
	return fmt.Errorf("%s holds no export that is known (Slack's folders of days, conversations.json of ChatGPT or Claude, result.json of Telegram, the chat of "+
		"WhatsApp): name the file of the conversation in it, or add its files one by one", name)
}

func (c *collector) inFolder(folder fs.FS, name, file string) error {
	f, err := folder.Open(file)
	if err != nil {
		return fmt.Errorf("read %s: %w", path.Join(filepath.ToSlash(name), file), err)
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return fmt.Errorf("read %s: %w", path.Join(filepath.ToSlash(name), file), err)
	}
	if info.IsDir() {
		return fmt.Errorf("%s is a folder, and no export", path.Join(filepath.ToSlash(name), file))
	}
	return c.file(c.watch(f, info.Size()), path.Join(filepath.ToSlash(name), file))
}
