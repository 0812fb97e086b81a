package local

import (
	"os"
	"path/filepath"
	"sync"

	"github.com/gomlx/gomlx/core/tensors"

	"github.com/budgetmem/budgetmem/tiers/llm/local/adapter"
)

// Shared keeps the weights that models of one GGUF file have in common once in memory, such as those of a model with and without
// an adapter. A matrix is freed with the last model that uses it. All models must be on one backend. The zero value is ready for
// use, also by several goroutines.
type Shared struct {
	mu   sync.Mutex
	held map[weightKey]*sharedWeight
	keys map[*tensors.Tensor]weightKey
}

// weightKey identifies a tensor by its file and its name there, the first if it is made of several.
type weightKey struct {
	file   fileID
	tensor string
}

// fileID tells a file from another that took its place.
type fileID struct {
	path     string
	size     int64
	modified int64 // Unix time in nanoseconds
}

type sharedWeight struct {
	load  sync.Once
	users int
	t     *tensors.Tensor
	err   error
}

// identify returns the identity of the file at path.
func identify(path string) (fileID, error) {
	abs, err := filepath.Abs(path)
	if err != nil {
		return fileID{}, err
	}
	info, err := os.Stat(abs)
	if err != nil {
		return fileID{}, err
	}
	return fileID{abs, info.Size(), info.ModTime().UnixNano()}, nil
}

// take returns the tensor of a key, which load makes if nobody has it yet. It must be released.
func (s *Shared) take(key weightKey, load func() (*tensors.Tensor, error)) (*tensors.Tensor, error) {
	s.mu.Lock()
	if s.held == nil {
		s.held, s.keys = map[weightKey]*sharedWeight{}, map[*tensors.Tensor]weightKey{}
	}
	w := s.held[key]
	if w == nil {
		w = &sharedWeight{}
		s.held[key] = w
	}
	w.users++
	s.mu.Unlock()
	w.load.Do(func() { w.t, w.err = load() })
	s.mu.Lock()
	defer s.mu.Unlock()
	if w.err != nil {
		if s.held[key] == w {
			delete(s.held, key) // the next to ask tries again
		}
		return nil, w.err
	}
	s.keys[w.t] = key
	return w.t, nil
}

// release gives a tensor back. It returns false for one that is not shared.
func (s *Shared) release(t *tensors.Tensor) bool {
	if s == nil {
		return false
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	key, ok := s.keys[t]
	if !ok {
		return false
	}
	w := s.held[key]
	if w.users--; w.users == 0 {
		delete(s.held, key)
		delete(s.keys, t)
		t.FinalizeAll()
	}
	return true
}

// sharing says which weights of a file a model shares: all that its adapter leaves as they are.
type sharing struct {
	with    *Shared // nil: none
	file    fileID
	adapter *adapter.Adapter // nil without one
}

// shares reports whether tensor i of layer l is shared.
func (s sharing) shares(c *Config, l, i int) bool {
	if s.with == nil {
		return false
	}
	if s.adapter == nil {
		return true
	}
	for k := range s.adapter.Pairs {
		if p, ok := c.Projection(k.Target); ok && k.Layer == l && p.Tensor == i {
			return false
		}
	}
	return true
}
