package router

import (
	"errors"
	"fmt"
	"slices"
)

// Default widths of the network's layers, those of BudgetMem.
const (
	DefaultHidden = 256
	DefaultActor  = 128
)

// Shape is what a network is built for: the embedder's width and the decisions.
type Shape struct {
	// Dim is the width of an embedding; the network's input is as wide as the embedder's output. Embedder is the embedder's
	// id, which goes into every file.
	Dim      int    `json:"dim"`
	Embedder string `json:"embedder"`
	// Modules are the decisions, in their order.
	Modules Space `json:"modules"`
	// States[m] numbers the memory embedding that module m is decided on. Modules that look at the same embedding, such as
	// the three relation modules, have the same number, and it is then processed once. The numbers are 0, 1, … in the
	// order of first use. Nil means that each module has its own.
	States []int `json:"states"`
	// Hidden is the width of the shared layers (default 256), Actor that of the layer before logits and value (default 128).
	Hidden int `json:"hidden"`
	Actor  int `json:"actor"`
}

// Complete returns the shape with defaults for what is zero, or an error that names what does not fit together.
func (s Shape) Complete() (Shape, error) {
	if s.Hidden == 0 {
		s.Hidden = DefaultHidden
	}
	if s.Actor == 0 {
		s.Actor = DefaultActor
	}
	if s.States == nil {
		for m := range s.Modules {
			s.States = append(s.States, m)
		}
	}
	switch {
	case s.Dim < 1 || s.Hidden < 1 || s.Actor < 1:
		return s, fmt.Errorf("router of dim %d, hidden %d, actor %d: widths must be at least 1", s.Dim, s.Hidden, s.Actor)
	case len(s.Modules) == 0:
		return s, errors.New("router without modules")
	case len(s.States) != len(s.Modules):
		return s, fmt.Errorf("router: %d states for the %d modules %s", len(s.States), len(s.Modules), s.Modules.names())
	}
	for m, module := range s.Modules {
		if len(module.Tiers) < 2 {
			return s, fmt.Errorf("router: module %s has %d tiers; there is nothing to choose", module.Name, len(module.Tiers))
		}
		if next := slices.Max(append([]int{-1}, s.States[:m]...)) + 1; s.States[m] < 0 || s.States[m] > next {
			return s, fmt.Errorf("router: module %s has state %d; numbers are given in the order of first use, so at most %d", module.Name, s.States[m], next)
		}
	}
	return s, nil
}

// Memories is how many different memory embeddings a question's decisions look at. The shape must be complete.
func (s Shape) Memories() int { return slices.Max(s.States) + 1 }

// MaxTiers is the largest number of tiers of a module.
func (s Shape) MaxTiers() int { return s.Modules.MaxTiers() }

// equal says whether a network of one shape can take the weights of the other.
func (s Shape) equal(o Shape) bool {
	return s.Dim == o.Dim && s.Embedder == o.Embedder && s.Hidden == o.Hidden && s.Actor == o.Actor && slices.Equal(s.States, o.States) && s.Modules.equal(o.Modules)
}

func (s Space) equal(o Space) bool {
	return slices.EqualFunc(s, o, func(a, b Module) bool { return a.Name == b.Name && slices.Equal(a.Tiers, b.Tiers) })
}
