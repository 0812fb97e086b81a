package experiments

import (
	"context"
	"sync"

	"github.com/budgetmem/budgetmem/bmem"
	"github.com/budgetmem/budgetmem/experiments/episodes"
	"github.com/budgetmem/budgetmem/router"
)

// States are what a question's decisions could look at.
type States struct {
	// Query is the question's embedding [dim].
	Query episodes.Vector `json:"query"`
	// Memory has one embedding [dim] a state of bmem.States, empty where there was nothing to embed.
	Memory []episodes.Vector `json:"memory"`
}

// observer is a policy that notes what a router would look at, and decides as another policy does.
type observer struct {
	router.Policy
	states []int

	mu   sync.Mutex
	seen States
}

func newObserver(p router.Policy) *observer {
	states := bmem.States()
	return &observer{Policy: p, states: states, seen: States{Memory: make([]episodes.Vector, len(states))}}
}

// Decide implements router.Policy.
func (o *observer) Decide(ctx context.Context, s router.State) (int, error) {
	memory, err := s.Memory(ctx)
	if err != nil {
		return 0, err
	}
	o.mu.Lock()
	o.seen.Query, o.seen.Memory[o.states[s.Module]] = s.Query, memory
	o.mu.Unlock()
	return o.Policy.Decide(ctx, s)
}

// result is what was seen once the question is answered.
func (o *observer) result() *States {
	o.mu.Lock()
	defer o.mu.Unlock()
	n := 0
	for _, s := range o.states {
		n = max(n, s+1)
	}
	s := o.seen
	s.Memory = s.Memory[:n]
	return &s
}
