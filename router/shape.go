package router

import (
	"errors"
	"fmt"
	"math"
	"slices"

	"github.com/budgetmem/budgetmem/router/portable"
)

// Default widths of the network's layers, as in BudgetMem.
const (
	defaultHidden = 256
	defaultActor  = 128
)

// Shape describes the decisions of a router and the widths of its network.
type Shape struct {
	// Dim is the width of the embeddings, and Embedder the id of the model that makes them, which every file records.
	Dim      int    `json:"dim"`
	Embedder string `json:"embedder"`
	// Modules are the decisions, in the order in which they are made.
	Modules Space `json:"modules"`
	// MemoryIndex[m] is the number of the memory embedding that module m is decided on. Modules that look at the same
	// embedding, such as the three relation modules, have the same number, and it is then processed once. The numbers are
	// 0, 1, … in the order of first use. Nil means that each module has its own.
	MemoryIndex []int `json:"states"`
	// Signals are what the last module is decided on beside the embeddings; see State.Signals.
	Signals []Signal `json:"signals,omitempty"`
	// Hidden is the width of the shared layers (default 256), Actor that of the last hidden layers (default 128).
	Hidden int `json:"hidden"`
	Actor  int `json:"actor"`
}

// Signal is a number that the last module is decided on beside the embeddings.
type Signal = portable.Signal

// CheckSignals returns an error for a signal without a name or with a scale that is not positive.
func CheckSignals(signals []Signal) error { return portable.CheckSignals(signals) }

// signalValues returns the values of the shape's signals [n], NaN for those that are unknown.
func signalValues(signals []Signal, known map[string]float64) []float32 {
	out := make([]float32, len(signals))
	for i, s := range signals {
		out[i] = float32(math.NaN())
		if v, ok := known[s.Name]; ok {
			out[i] = float32(v)
		}
	}
	return out
}

// SignalInputs lays out known signals as the network sees them: [2·len(s.Signals)] float32, see portable.SignalInputs.
func (s Shape) SignalInputs(known map[string]float64) []float32 {
	out := make([]float32, 2*len(s.Signals))
	portable.SignalInputs(s.Signals, signalValues(s.Signals, known), out)
	return out
}

// complete returns the shape with defaults for zero fields, or an error that says which parts do not fit together.
func (s Shape) complete() (Shape, error) {
	if s.Hidden == 0 {
		s.Hidden = defaultHidden
	}
	if s.Actor == 0 {
		s.Actor = defaultActor
	}
	if s.MemoryIndex == nil {
		for m := range s.Modules {
			s.MemoryIndex = append(s.MemoryIndex, m)
		}
	}
	switch {
	case s.Dim < 1 || s.Hidden < 1 || s.Actor < 1:
		return s, fmt.Errorf("router of dim %d, hidden %d, actor %d: widths must be at least 1", s.Dim, s.Hidden, s.Actor)
	case len(s.Modules) == 0:
		return s, errors.New("router without modules")
	case len(s.MemoryIndex) != len(s.Modules):
		return s, fmt.Errorf("router: memory indices of %d modules for the %d modules %s", len(s.MemoryIndex), len(s.Modules), s.Modules.names())
	}
	if err := portable.CheckSignals(s.Signals); err != nil {
		return s, fmt.Errorf("router: %w", err)
	}
	for m, module := range s.Modules {
		if len(module.Tiers) < 2 {
			return s, fmt.Errorf("router: module %s has %d tiers; there is nothing to choose", module.Name, len(module.Tiers))
		}
		if next := slices.Max(append([]int{-1}, s.MemoryIndex[:m]...)) + 1; s.MemoryIndex[m] < 0 || s.MemoryIndex[m] > next {
			return s, fmt.Errorf("router: module %s has memory index %d; they are numbered in the order of first use, so at most %d", module.Name, s.MemoryIndex[m], next)
		}
	}
	return s, nil
}

// Memories is how many different memory embeddings a question's decisions look at. The shape must be complete.
func (s Shape) Memories() int { return slices.Max(s.MemoryIndex) + 1 }

// MaxTiers is the largest number of tiers of a module.
func (s Shape) MaxTiers() int { return s.Modules.MaxTiers() }

// equal reports whether a network of one shape can take the weights of the other.
func (s Shape) equal(o Shape) bool {
	return s.Dim == o.Dim && s.Embedder == o.Embedder && s.Hidden == o.Hidden && s.Actor == o.Actor && slices.Equal(s.MemoryIndex, o.MemoryIndex) && slices.Equal(s.Signals, o.Signals) && s.Modules.equal(o.Modules)
}

func (s Space) equal(o Space) bool {
	return slices.EqualFunc(s, o, func(a, b Module) bool { return a.Name == b.Name && slices.Equal(a.Tiers, b.Tiers) })
}
