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

// modelCache keeps the models that a source opened, within a limit of memory.
type modelCache struct {
	source Source
	limit  int64 // bytes; 0 for none

	mu      sync.Mutex
	open    map[string]*cached
	changed chan struct{} // closed and replaced when a model becomes idle or is removed
}

// cached is a model that is open or being opened.
type cached struct {
	size  int64
	ready chan struct{} // closed once model or err is set
	model ClosableModel
	err   error
	users int
	used  time.Time // when it was last released
}

// take returns the model of a name, and opens it if necessary. The model stays open until it is released. If memory is
// short, take waits until a model is idle.
func (c *modelCache) take(ctx context.Context, name string) (ChatModel, func(), error) {
	m, err := c.find(name)
	if m == nil && err == nil {
		m, err = c.add(ctx, name)
	}
	if err != nil {
		return nil, nil, err
	}
	release := sync.OnceFunc(func() { c.release(m) })
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

// find returns the model of a name and counts one more user; nil if it is not open.
func (c *modelCache) find(name string) (*cached, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.open == nil {
		return nil, &apiError{Status: http.StatusServiceUnavailable, Message: "the server is stopping"}
	}
	m := c.open[name]
	if m != nil {
		m.users++
	}
	return m, nil
}

// add begins to open a model as soon as there is room, unless another request has done so. It counts one more user.
func (c *modelCache) add(ctx context.Context, name string) (*cached, error) {
	size, err := c.source.Size(ctx, name)
	if err != nil {
		return nil, &apiError{Status: http.StatusNotFound, Param: "model", Code: "model_not_found", Message: err.Error()}
	}
	if c.limit > 0 && size > c.limit {
		return nil, &apiError{Status: http.StatusBadRequest, Param: "model", Code: "model_too_large",
			Message: fmt.Sprintf("model %s needs about %s of memory, and the server may take %s (bmem serve --max-memory)", name, humanize.Bytes(uint64(size)), humanize.Bytes(uint64(c.limit)))}
	}
	for {
		if m, err := c.find(name); m != nil || err != nil {
			return m, err
		}
		m, changed, err := c.begin(ctx, name, size)
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

// begin begins to open a model. It returns nil if there is no room and no idle model to close, or if the cache changed
// meanwhile; the channel is then closed when it is time to try again.
func (c *modelCache) begin(ctx context.Context, name string, size int64) (*cached, <-chan struct{}, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.open == nil || c.open[name] != nil {
		now := make(chan struct{})
		close(now)
		return nil, now, nil
	}
	if room, err := c.makeRoom(size); err != nil || !room {
		return nil, c.changed, err
	}
	m := &cached{size: size, ready: make(chan struct{}), users: 1}
	c.open[name] = m
	go c.load(context.WithoutCancel(ctx), name, m) // others may wait for it
	return m, nil, nil
}

// makeRoom closes idle models, the longest idle first, until size more bytes fit. It must be called with mu held.
func (c *modelCache) makeRoom(size int64) (bool, error) {
	for {
		taken, oldest := int64(0), ""
		for name, m := range c.open {
			taken += m.size
			if m.idle() && (oldest == "" || m.used.Before(c.open[oldest].used)) {
				oldest = name
			}
		}
		switch {
		case c.limit == 0 || taken+size <= c.limit:
			return true, nil
		case oldest == "":
			return false, nil
		}
		m := c.open[oldest]
		delete(c.open, oldest)
		if err := m.model.Close(); err != nil {
			return false, fmt.Errorf("close model %s to make room: %w", oldest, err)
		}
	}
}

func (c *modelCache) load(ctx context.Context, name string, m *cached) {
	model, err := c.source.Open(ctx, name)
	c.mu.Lock()
	defer c.mu.Unlock()
	if m.model, m.err = model, err; err != nil && c.open[name] == m {
		delete(c.open, name)
	}
	m.used = time.Now()
	close(m.ready)
	c.notify()
}

// idle says whether the model is open and unused. It must be called with the cache's mu held.
func (m *cached) idle() bool {
	select {
	case <-m.ready:
		return m.users == 0
	default:
		return false
	}
}

func (c *modelCache) release(m *cached) {
	c.mu.Lock()
	defer c.mu.Unlock()
	m.users--
	m.used = time.Now()
	c.notify()
}

// notify wakes those who wait for room. It must be called with mu held.
func (c *modelCache) notify() {
	close(c.changed)
	c.changed = make(chan struct{})
}

// models returns the open models, sorted by name.
func (c *modelCache) models() []ChatModel {
	c.mu.Lock()
	defer c.mu.Unlock()
	var out []ChatModel
	for _, m := range c.open {
		if m.model != nil {
			out = append(out, m.model)
		}
	}
	slices.SortFunc(out, func(a, b ChatModel) int { return cmp.Compare(a.Model(), b.Model()) })
	return out
}

// close closes all models; take fails from then on.
func (c *modelCache) close() error {
	c.mu.Lock()
	all := c.open
	c.open = nil
	c.mu.Unlock()
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
