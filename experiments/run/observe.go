package run

import (
	"context"
	"sync"

	"github.com/budgetmem/budgetmem/experiments/episodes"
	"github.com/budgetmem/budgetmem/router"
)

// States are the embeddings that a question's decisions could see.
type States struct {
	// Query is the question's embedding [dim].
	Query episodes.Vector `json:"query"`
	// Memory has one embedding [dim] for each number in router.Shape.MemoryIndex, empty where there was nothing to embed.
	Memory []episodes.Vector `json:"memory"`
}

// observed collects the embeddings that a router would see of a question.
type observed struct {
	index []int // number of the memory embedding of each module

	mu   sync.Mutex
	seen States
}

func newObserved(shape router.Shape) *observed {
	return &observed{index: shape.MemoryIndex, seen: States{Memory: make([]episodes.Vector, shape.Memories())}}
}

// states returns the embeddings seen, once the question is answered.
func (o *observed) states() *States {
	o.mu.Lock()
	defer o.mu.Unlock()
	s := o.seen
	return &s
}

// observe returns a policy that decides as p, and looks at all that a router would.
func (o *observed) observe(p router.Policy) router.Policy {
	if c, ok := p.(router.Cascading); ok {
		return cascadeObserver{observer{p, o}, c}
	}
	return observer{p, o}
}

// cascadeObserver is an observer of a policy that looks at answers.
type cascadeObserver struct {
	observer
	router.Cascading
}

// Name implements router.Policy.
func (o cascadeObserver) Name() string { return o.observer.Name() }

// Decide implements router.Policy.
func (o cascadeObserver) Decide(ctx context.Context, s router.State) (int, error) {
	return o.observer.Decide(ctx, s)
}

type observer struct {
	router.Policy
	*observed
}

// Decide implements router.Policy.
func (o observer) Decide(ctx context.Context, s router.State) (int, error) {
	memory, err := s.Memory(ctx)
	if err != nil {
		return 0, err
	}
	o.mu.Lock()
	o.seen.Query, o.seen.Memory[o.index[s.Module]] = s.Query, memory
	o.mu.Unlock()
	return o.Policy.Decide(ctx, s)
}
