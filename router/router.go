// Package router decides, module by module, which tier a question gets. It knows nothing of what a tier does: modules
// and tiers are indexes with names.
//
// Policies that need no training are Static and Random. A Trainer trains a Network by PPO, playing the questions of an
// Environment; package offline trains one from measured episodes. Network.Portable exports the trained router for use
// without GoMLX (package portable), and NewLearned makes a Policy of it.
package router

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/budgetmem/budgetmem/router/portable"
)

// State is what a policy may look at when it decides for one module.
type State struct {
	// Question identifies the question, so that a random policy draws the same tiers whichever order questions run in.
	Question string
	// Module is the module to decide for, an index into Space.
	Module int
	// Query is the question's unit embedding [d] float32.
	Query []float32
	// Memory computes the memory embedding [d] float32 that belongs to the module: the mean over the retrieved chunks, the
	// kept chunks or the extracted facts. It is a function because embedding the facts costs time that a policy which looks
	// at nothing should not spend. Calling it twice computes once.
	Memory func(context.Context) ([]float32, error)
}

// Policy chooses tiers. Implementations are safe for concurrent use, and what they decide depends on State alone.
type Policy interface {
	// Name is how tables call the policy: "low", "random", "low,high,mid,low,high".
	Name() string
	// Decide returns the tier of s.Module, an index into that module's tiers in Space.
	Decide(ctx context.Context, s State) (int, error)
}

// Blind returns the tiers that a policy gives a question, by its name, if it looks at nothing else, as static and random
// policies do; ok is false for others.
func Blind(p Policy, space Space, question string) (choices []int, ok bool) {
	switch p.(type) {
	case *Static, *Random, *Shuffled:
	default:
		return nil, false
	}
	choices = make([]int, len(space))
	for m := range space {
		choice, err := p.Decide(context.Background(), State{Question: question, Module: m})
		if err != nil {
			return nil, false
		}
		choices[m] = choice
	}
	return choices, true
}

// Module is one decision: its name and the names of its tiers, cheapest first.
type Module = portable.Module

// Space lists the decisions of a question, in the order in which they are made.
type Space []Module

// Choices turns names of tiers, one a module, into indexes of the modules' tiers.
func (s Space) Choices(names []string) ([]int, error) {
	if len(names) != len(s) {
		return nil, fmt.Errorf("%d tiers for %d modules", len(names), len(s))
	}
	out := make([]int, len(s))
	for m, name := range names {
		if out[m] = slices.Index(s[m].Tiers, name); out[m] < 0 {
			return nil, fmt.Errorf("module %s has no tier %q; it has %s", s[m].Name, name, strings.Join(s[m].Tiers, ", "))
		}
	}
	return out, nil
}

// Uniform lists the names of tiers that all modules have, in the order of the first module's.
func (s Space) Uniform() []string {
	var out []string
	for _, tier := range s[0].Tiers {
		if !slices.ContainsFunc(s, func(m Module) bool { return !slices.Contains(m.Tiers, tier) }) {
			out = append(out, tier)
		}
	}
	return out
}

// maxCombinations bounds the table of outcomes; beyond it, PPO needs no table.
const maxCombinations = 4096

// Combinations lists all combinations of tiers, one tier a module each; the last module's changes fastest. More than 4,096
// are refused.
func (s Space) Combinations() ([][]int, error) {
	out := [][]int{nil}
	for _, m := range s {
		var longer [][]int
		for _, c := range out {
			for tier := range m.Tiers {
				longer = append(longer, append(c[:len(c):len(c)], tier))
			}
		}
		if out = longer; len(out) > maxCombinations {
			return nil, fmt.Errorf("there are more than %d combinations of tiers", maxCombinations)
		}
	}
	return out, nil
}

// MaxTiers is the largest number of tiers that a module has.
func (s Space) MaxTiers() int {
	most := 0
	for _, m := range s {
		most = max(most, len(m.Tiers))
	}
	return most
}

// names lists the modules' names for messages.
func (s Space) names() string {
	out := make([]string, len(s))
	for i, m := range s {
		out[i] = m.Name
	}
	return strings.Join(out, ",")
}

// Parse reads a policy: "random", the third of a question's shuffled combinations ("random:3", see Shuffled), one tier for all
// modules ("low"), one tier a module, separated by commas in the order of the space ("low,high,mid,low,high"), or an exported
// router at a λ ("router:FILE@0.3"; without λ at the smallest that it was trained for). The seed is that of both random ones.
func Parse(spec string, space Space, seed int64) (Policy, error) {
	if spec == "random" {
		return NewRandom(space, seed), nil
	}
	if number, ok := strings.CutPrefix(spec, "random:"); ok {
		p, err := parseShuffled(number, space, seed)
		if err != nil {
			return nil, fmt.Errorf("policy %q: %w", spec, err)
		}
		return p, nil
	}
	if file, ok := strings.CutPrefix(spec, "router:"); ok {
		p, err := openLearned(file, space)
		if err != nil {
			return nil, fmt.Errorf("policy %q: %w", spec, err)
		}
		return p, nil
	}
	parts := strings.Split(spec, ",")
	if len(parts) != 1 && len(parts) != len(space) {
		return nil, fmt.Errorf("policy %q names %d tiers; give one tier, or %d for %s, or \"random\", or \"router:FILE\"", spec, len(parts), len(space), space.names())
	}
	names := make([]string, len(space))
	for m := range space {
		names[m] = strings.TrimSpace(parts[min(m, len(parts)-1)])
	}
	choice, err := space.Choices(names)
	if err != nil {
		return nil, fmt.Errorf("policy %q: %w", spec, err)
	}
	return NewStatic(space, choice)
}
