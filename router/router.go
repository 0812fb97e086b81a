// Package router decides, module by module, which tier a question gets. It does not know what a tier does: modules and
// tiers are indices with names.
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

// State is the observation on which a policy decides for one module.
type State struct {
	// Question identifies the question, so that a random policy samples the same tiers in whatever order questions run.
	Question string
	// Module is the module to decide for, an index into Space.
	Module int
	// Query is the question's unit embedding [d] float32.
	Query []float32
	// Memory computes the memory embedding [d] float32 of the module: the mean over the retrieved chunks, the kept chunks or
	// the extracted facts; nil if there are none. It is a function because a non-contextual policy should not spend the time
	// to embed facts. Calling it twice computes once.
	Memory func(context.Context) ([]float32, error)
	// Signals are numbers that tell how sure what was found is, by name, as far as they are known. They are given for the last
	// module, and nil for others.
	Signals map[string]float64
}

// Policy chooses tiers. Implementations are safe for concurrent use, and their decisions depend on the State alone.
type Policy interface {
	// Name is the policy's name in tables: "low", "random", "low,high,mid,low,high".
	Name() string
	// Decide returns the tier for s.Module, an index into that module's tiers in Space. It returns the error of s.Memory, and
	// an error for embeddings of another width than it was made for.
	Decide(ctx context.Context, s State) (int, error)
}

// NonContextual returns the tiers that a policy gives a question if they depend on the question's identifier alone, as those of
// static and random policies do; ok is false for other policies.
func NonContextual(p Policy, space Space, question string) (choices []int, ok bool) {
	switch p := p.(type) {
	case *FixedLast:
		choices, ok = NonContextual(p.first, space[:p.last], question)
		return append(choices, p.tier), ok
	case *Static, *Random, *RandomCombination:
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

// Choices converts names of tiers, one for each module, to indices. A wrong number of names, or a tier that a module does not
// have, is an error.
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

// Uniform lists the names of the tiers that all modules have, in the order of the first module's.
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

// Combinations lists all combinations of tiers, each with one tier for each module; the last module's changes fastest. More
// than 4,096 are an error.
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

// Parse reads a policy:
//
//	random                  every tier with equal probability
//	random:3                the third of a question's combinations in random order, see RandomCombination
//	low                     one tier for all modules
//	low,high,mid,low,high   one tier for each module, in the order of the space
//	router:FILE             an exported router at the smallest λ that it was trained for
//	router:FILE@0.3         an exported router at λ = 0.3
//	cascade:FILE@0.3        the cascade of a calibration's file at λ = 0.3, or without it at the smallest λ of its points
//	mid/high                any of these for all modules but the last, which gets the tier behind the last slash
//
// The seed is that of both random policies. Errors name the policy; those about a file wrap ErrFile or ErrVersion of the package
// portable or cascade, or the error of the file system.
func Parse(spec string, space Space, seed int64) (Policy, error) {
	if p, ok, err := parseLast(spec, space, seed); ok {
		return p, err
	}
	if spec == "random" {
		return NewRandom(space, seed), nil
	}
	if number, ok := strings.CutPrefix(spec, "random:"); ok {
		p, err := parseRandomCombination(number, space, seed)
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
	if file, ok := strings.CutPrefix(spec, "cascade:"); ok {
		p, err := openCascade(file, space)
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
