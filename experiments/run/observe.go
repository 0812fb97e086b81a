package run

import (
	"context"
	"slices"
	"sync"

	"github.com/budgetmem/budgetmem/bmem"
	"github.com/budgetmem/budgetmem/experiments/episodes"
	"github.com/budgetmem/budgetmem/router"
)

// States are the embeddings that a question's decisions could see.
type States struct {
	// Query is the question's embedding [dim].
	Query episodes.Vector `json:"query"`
	// Memory has one embedding [dim] for each number in bmem.MemoryIndex, empty where there was nothing to embed.
	Memory []episodes.Vector `json:"memory"`
}

// observer records the embeddings that a router would see, and decides as another policy does.
type observer struct {
	router.Policy
	index []int // number of the memory embedding of each module

	mu   sync.Mutex
	seen States
}

func observe(p router.Policy) *observer {
	index := bmem.MemoryIndex()
	return &observer{Policy: p, index: index, seen: States{Memory: make([]episodes.Vector, slices.Max(index)+1)}}
}

// Decide implements router.Policy.
func (o *observer) Decide(ctx context.Context, s router.State) (int, error) {
	memory, err := s.Memory(ctx)
	if err != nil {
		return 0, err
	}
	o.mu.Lock()
	o.seen.Query, o.seen.Memory[o.index[s.Module]] = s.Query, memory
	o.mu.Unlock()
	return o.Policy.Decide(ctx, s)
}

// states returns the embeddings seen, once the question is answered.
func (o *observer) states() *States {
	o.mu.Lock()
	defer o.mu.Unlock()
	s := o.seen
	return &s
}
