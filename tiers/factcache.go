package tiers

import (
	"context"
	"encoding/json"
	"fmt"
	"sync"

	"github.com/budgetmem/budgetmem/bmem/chunk"
)

// FactCache keeps what was extracted from chunks, so that it is computed once. The memory's store is one.
type FactCache interface {
	// Facts returns the list that the named method made of the chunk, or computes it, keeps it and returns it. The method
	// name carries a version, and the chunk counts by its content, so one cache serves any number of memories. An error of
	// compute is returned and nothing is kept. Safe for concurrent use.
	Facts(ctx context.Context, method string, c chunk.Chunk, compute func(context.Context) ([]string, error)) ([]string, error)
}

// newFactCache returns a FactCache that lives as long as the process.
func newFactCache() FactCache { return &factCache{kept: map[string][]string{}} }

type factCache struct {
	mu   sync.Mutex
	kept map[string][]string
}

func (p *factCache) Facts(ctx context.Context, method string, c chunk.Chunk, compute func(context.Context) ([]string, error)) ([]string, error) {
	c.ID, c.Tokens = "", 0 // what it is called and how it was measured is not what it says
	content, err := json.Marshal(c)
	if err != nil {
		return nil, fmt.Errorf("fact cache, method %s: %w", method, err)
	}
	key := method + "\x00" + string(content)
	p.mu.Lock()
	facts, ok := p.kept[key]
	p.mu.Unlock()
	if ok {
		return facts, nil
	}
	if facts, err = compute(ctx); err != nil {
		return nil, err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.kept[key] = facts
	return facts, nil
}
