package serve

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"sync"
	"time"

	"github.com/dustin/go-humanize"
)

// Source opens language models by name.
type Source interface {
	// Names lists what can be opened.
	Names(ctx context.Context) []string
	// Size is about how many bytes of memory the model takes. The error says that there is no such model, or how to get it.
	Size(ctx context.Context, name string) (int64, error)
	// Open opens it.
	Open(ctx context.Context, name string) (ClosableModel, error)
}

// ClosableModel is a model that a Source opened.
type ClosableModel interface {
	ChatModel
	io.Closer
}

// shelf keeps the models that a source opened, within a limit of memory.
type shelf struct {
	source Source
	limit  int64 // bytes; 0 for none

	mu      sync.Mutex
	open    map[string]*shelved
	changed chan struct{} // closed, and replaced, when a model falls idle or is gone
}

// shelved is a model that is open or being opened.
type shelved struct {
	size  int64
	ready chan struct{} // closed once model or err is set
	model ClosableModel
	err   error
	users int
	used  time.Time // when it was last released
}

// take returns the model of a name, opened if need be. While it is not released it stays open. Where memory is short it waits
// for a model to fall idle.
func (s *shelf) take(ctx context.Context, name string) (ChatModel, func(), error) {
	m, err := s.find(name)
	if m == nil && err == nil {
		m, err = s.add(ctx, name)
	}
	if err != nil {
		return nil, nil, err
	}
	release := sync.OnceFunc(func() { s.release(m) })
	select {
	case <-m.ready:
		err = m.err
	case <-ctx.Done():
		err = ctx.Err()
	}
	if err != nil {
		release()
		return nil, nil, err
	}
	return m.model, release, nil
}

// find returns the model of a name, with one user more; nil if it is not open.
func (s *shelf) find(name string) (*shelved, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.open == nil {
		return nil, &apiError{Status: http.StatusServiceUnavailable, Message: "the server is stopping"}
	}
	m := s.open[name]
	if m != nil {
		m.users++
	}
	return m, nil
}

// add begins to open a model, unless somebody else does by now, once there is room for it. It returns it with one user more.
func (s *shelf) add(ctx context.Context, name string) (*shelved, error) {
	size, err := s.source.Size(ctx, name)
	if err != nil {
		return nil, &apiError{Status: http.StatusNotFound, Param: "model", Code: "model_not_found", Message: err.Error()}
	}
	if s.limit > 0 && size > s.limit {
		return nil, &apiError{Status: http.StatusBadRequest, Param: "model", Code: "model_too_large",
			Message: fmt.Sprintf("model %s needs about %s of memory, and the server may take %s (bmem serve --max-memory)", name, humanize.Bytes(uint64(size)), humanize.Bytes(uint64(s.limit)))}
	}
	for {
		if m, err := s.find(name); m != nil || err != nil {
			return m, err
		}
		m, changed, err := s.begin(ctx, name, size)
		if m != nil || err != nil {
			return m, err
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

// begin begins to open a model. It returns nil if there is no room and nothing to close, or if something changed since it was
// not open; the channel then tells when to look again.
func (s *shelf) begin(ctx context.Context, name string, size int64) (*shelved, <-chan struct{}, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.open == nil || s.open[name] != nil {
		now := make(chan struct{})
		close(now)
		return nil, now, nil
	}
	if room, err := s.makeRoom(size); err != nil || !room {
		return nil, s.changed, err
	}
	m := &shelved{size: size, ready: make(chan struct{}), users: 1}
	s.open[name] = m
	go s.load(context.WithoutCancel(ctx), name, m) // others may wait for it
	return m, nil, nil
}

// makeRoom closes idle models, the longest idle first, until size more bytes fit. It is called with mu held.
func (s *shelf) makeRoom(size int64) (bool, error) {
	for {
		taken, oldest := int64(0), ""
		for name, m := range s.open {
			taken += m.size
			if m.idle() && (oldest == "" || m.used.Before(s.open[oldest].used)) {
				oldest = name
			}
		}
		switch {
		case s.limit == 0 || taken+size <= s.limit:
			return true, nil
		case oldest == "":
			return false, nil
		}
		m := s.open[oldest]
		delete(s.open, oldest)
		if err := m.model.Close(); err != nil {
			return false, fmt.Errorf("close model %s to make room: %w", oldest, err)
		}
	}
}

func (s *shelf) load(ctx context.Context, name string, m *shelved) {
	model, err := s.source.Open(ctx, name)
	s.mu.Lock()
	defer s.mu.Unlock()
	if m.model, m.err = model, err; err != nil && s.open[name] == m {
		delete(s.open, name)
	}
	m.used = time.Now()
	close(m.ready)
	s.tell()
}

// idle says whether the model is open and nobody uses it. It is called with the shelf's mu held.
func (m *shelved) idle() bool {
	select {
	case <-m.ready:
		return m.users == 0
	default:
		return false
	}
}

func (s *shelf) release(m *shelved) {
	s.mu.Lock()
	defer s.mu.Unlock()
	m.users--
	m.used = time.Now()
	s.tell()
}

// tell wakes those who wait for room. It is called with mu held.
func (s *shelf) tell() {
	close(s.changed)
	s.changed = make(chan struct{})
}

// models returns those that are open, by name.
func (s *shelf) models() []ChatModel {
	s.mu.Lock()
	defer s.mu.Unlock()
	var out []ChatModel
	for _, m := range s.open {
		if m.model != nil {
			out = append(out, m.model)
		}
	}
	slices.SortFunc(out, func(a, b ChatModel) int { return cmp.Compare(a.Model(), b.Model()) })
	return out
}

// close closes all; nothing can be taken any more.
func (s *shelf) close() error {
	s.mu.Lock()
	all := s.open
	s.open = nil
	s.mu.Unlock()
	var errs []error
	for name, m := range all {
		<-m.ready
		if m.model == nil {
			continue
		}
		if err := m.model.Close(); err != nil {
			errs = append(errs, fmt.Errorf("close model %s: %w", name, err))
		}
	}
	return errors.Join(errs...)
}
