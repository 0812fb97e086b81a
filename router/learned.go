package router

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"sync"

	"github.com/budgetmem/budgetmem/router/portable"
)

// Learned is the greedy policy of a trained router: for each module, the most probable tier at a λ. A router with a calibration of
// answers also looks at answers before they count.
type Learned struct {
	answers  // by the router's calibration, if it has one
	router   *portable.Router
	deciders *sync.Pool
}

// NewLearned returns the policy of a router at a λ. A router that was trained for other modules or tiers than those of space,
// or for a range without λ, is an error.
func NewLearned(r *portable.Router, space Space, lambda float64) (*Learned, error) {
	info := r.Info()
	if !space.equal(info.Modules) {
		return nil, fmt.Errorf("the router was trained for the tiers %v, this memory has %v", info.Modules, space)
	}
	a, err := newAnswers(info.Answers, space, lambda)
	if err != nil {
		return nil, fmt.Errorf("the router's answers: %w", err)
	}
	l := &Learned{answers: a, router: r, deciders: &sync.Pool{New: func() any { return r.NewDecider() }}}
	return l.At(lambda)
}

// cutLambda reads FILE or FILE@λ. What follows the last @ belongs to the file's name unless it is a number.
func cutLambda(spec string) (file string, lambda float64, given bool) {
	if i := strings.LastIndexByte(spec, '@'); i >= 0 {
		if l, err := strconv.ParseFloat(spec[i+1:], 64); err == nil {
			return spec[:i], l, true
		}
	}
	return spec, 0, false
}

// openLearned reads FILE or FILE@λ; without λ it is the smallest that the router was trained for.
func openLearned(spec string, space Space) (*Learned, error) {
	file, lambda, given := cutLambda(spec)
	r, err := portable.ReadFile(file)
	if err != nil {
		return nil, err
	}
	if !given {
		lambda = r.Info().Lambda.Min
	}
	return NewLearned(r, space, lambda)
}

// At returns the policy of the same router at another λ. A λ outside the range that it was trained for is an error.
func (l *Learned) At(lambda float64) (*Learned, error) {
	if r := l.router.Info().Lambda; !(lambda >= r.Min && lambda <= r.Max) {
		return nil, fmt.Errorf("λ is %v, the router was trained for %v to %v", lambda, r.Min, r.Max)
	}
	c := *l
	c.lambda = lambda
	return &c, nil
}

// Info describes the router.
func (l *Learned) Info() portable.Info { return l.router.Info() }

// Lambda is the weight of cost against score that the policy decides with.
func (l *Learned) Lambda() float64 { return l.lambda }

// Name implements Policy: "router@0.3" at λ = 0.3.
func (l *Learned) Name() string { return "router@" + strconv.FormatFloat(l.lambda, 'g', -1, 64) }

// Decide implements Policy. It returns the error of s.Memory, and an error for embeddings of another width than the router's.
func (l *Learned) Decide(ctx context.Context, s State) (int, error) {
	memory, err := s.Memory(ctx)
	if err != nil {
		return 0, err
	}
	d := l.deciders.Get().(*portable.Decider)
	defer l.deciders.Put(d)
	if err := d.Question(s.Query, l.lambda); err != nil {
		return 0, err
	}
	if err := d.Memory(memory); err != nil {
		return 0, err
	}
	if info := l.router.Info(); s.Module == len(info.Modules)-1 {
		if err := d.Signals(signalValues(info.Signals, s.Signals)); err != nil {
			return 0, err
		}
	}
	return d.Decide(s.Module), nil
}
