package tiers

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"sync"

	"github.com/budgetmem/budgetmem/bmem/chunk"
)

// Pool keeps what was extracted from chunks, so that it is computed once.
type Pool interface {
	// Facts returns the list kept under the key, or computes it, keeps it and returns it. An error of compute is returned
	// and nothing is kept. The key names the method with its version and the chunk's content, so a pool may be shared by
	// any number of memories. Safe for concurrent use.
	Facts(ctx context.Context, key string, compute func(context.Context) ([]string, error)) ([]string, error)
}

// NewMemoryPool returns a Pool that lives as long as the process.
func NewMemoryPool() Pool { return &memoryPool{kept: map[string][]string{}} }

type memoryPool struct {
	mu   sync.Mutex
	kept map[string][]string
}

func (p *memoryPool) Facts(ctx context.Context, key string, compute func(context.Context) ([]string, error)) ([]string, error) {
	p.mu.Lock()
	facts, ok := p.kept[key]
	p.mu.Unlock()
	if ok {
		return facts, nil
	}
	facts, err := compute(ctx)
	if err != nil {
		return nil, err
	}
	p.mu.Lock()
	p.kept[key] = facts
	p.mu.Unlock()
	return facts, nil
}

// poolKey names a method's result for a chunk by what the chunk says and not by its id, which is unique only inside a
// history.
func poolKey(method string, c chunk.Chunk) string {
	data, err := json.Marshal(struct {
		Session, Time string
		Turns         []chunk.Turn
	}{c.Session, c.Time, c.Turns})
	if err != nil { // strings only: cannot happen
		panic(err)
	}
	sum := sha256.Sum256(data)
	return method + ":" + hex.EncodeToString(sum[:])
}
